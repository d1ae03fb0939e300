"""How large a recording may be. Checked against what a file declares, before memory is taken."""

from hub.ecg.errors import RecordingTooLarge

MAX_FILE_BYTES = 256 * 1024 * 1024
"""All files of one recording together."""

MAX_FILES = 64
"""Files handed over as one recording; a WFDB record has a header and a few data files."""

MAX_LEADS = 64
"""Channels of one recording; body-surface maps have more and are not read here."""

MAX_SECONDS = 26 * 3600
"""A Holter day with a margin for late removal."""

MAX_VALUES = 64_000_000
"""Samples times leads: 512 MB as float64. 12 leads x 500 Hz fit for almost 3 hours, 3 x 200 Hz for a day."""


def check_size(n_samples: int, n_leads: int, rate_hz: float) -> None:
    """Refuse a recording that is too long or too wide to be decoded.

    Parameters
    ----------
    n_samples, n_leads : int
        Declared shape.
    rate_hz : float
        Declared sampling rate, positive.

    Raises
    ------
    RecordingTooLarge
        A limit of this module is passed; the fact ``limit`` says which.
    """
    if n_leads > MAX_LEADS:
        raise RecordingTooLarge(limit="leads", declared=n_leads)
    if n_samples * n_leads > MAX_VALUES:
        raise RecordingTooLarge(limit="values", declared=n_samples * n_leads)
    if n_samples / rate_hz > MAX_SECONDS:
        raise RecordingTooLarge(limit="seconds", declared=int(min(n_samples / rate_hz, 1e15)))
