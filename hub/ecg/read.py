"""One way in for every ECG format."""

from collections.abc import Mapping

from hub.ecg.errors import RecordingTooLarge
from hub.ecg.formats import dicom, wfdb
from hub.ecg.formats.sniff import sniff
from hub.ecg.limits import MAX_FILE_BYTES, MAX_FILES
from hub.ecg.waveform import Waveform


def read_ecg(files: Mapping[str, bytes], *, charset_override: str | None = None) -> Waveform:
    """Read the files of one recording as calibrated millivolts.

    Parameters
    ----------
    files : mapping of str to bytes
        By name: one DICOM file, or a WFDB header with its data files.
    charset_override : str, optional
        The character set that this device is known to send, whatever it declares.

    Returns
    -------
    Waveform
        Nothing is filtered, derived or repaired; what a reader of the ECG should know
        stands in its ``warnings``.

    Raises
    ------
    hub.errors.HubError
        Always one of its kind, whatever the bytes: `UnknownFormat`, `UnitsMissing`,
        `Truncated`, `RecordingTooLarge` and the others of `hub.ecg.errors`, or `Malformed`.
    """
    if len(files) > MAX_FILES:
        raise RecordingTooLarge(limit="files", declared=len(files))
    size = sum(len(data) for data in files.values())
    if size > MAX_FILE_BYTES:
        raise RecordingTooLarge(limit="bytes", declared=size)
    found = sniff(files)
    if found.format == "dicom":
        return dicom.read_dicom(files[found.main], charset_override=charset_override)
    return wfdb.read_wfdb(files, found.main)
