"""Why an ECG file is refused. Each cause has its own name; facts are never patient data."""

from hub.errors import Conflict, Malformed, Rejected, TooLarge, Unsupported


class UnknownFormat(Rejected):
    """The file is none of the ECG formats that are read."""


class FormatFeature(Rejected):
    """The file is of a known format but uses a part of it that is not read."""


class UnitsMissing(Rejected):
    """A channel states no usable physical units, so it must not be drawn on a millimetre grid."""


class RateMissing(Rejected):
    """The file states no usable sampling rate."""


class NoLeads(Rejected):
    """The file holds no ECG channel."""


class NotAWaveform(Malformed):
    """The numbers do not make a waveform: shape, lead names or values are inconsistent."""


class Truncated(Malformed):
    """The file holds fewer samples than it declares."""


class CompanionMissing(Rejected):
    """A file that the header names was not sent with it."""


class ChecksumWrong(Malformed):
    """A signal does not add up to the checksum that its header states."""


class RecordingTooLarge(TooLarge):
    """The recording is larger than the hub reads."""


class HeaderMissing(Rejected):
    """Sample files came without the header that says how to read them."""


class NameTwice(Rejected):
    """Two different files have the same name."""


class PatientDiffers(Rejected):
    """The file states another patient or order than what was sent along with it."""


class SentDifferently(Conflict):
    """These very files were received before, for another patient, order or urgency."""


class CannotHold(Unsupported):
    """The recording does not fit the format that was asked for without a loss."""


class OutputExists(Conflict):
    """A file of this name is there already."""
