"""One way in for every ECG format."""

from collections.abc import Mapping

from hub.ecg.errors import RecordingTooLarge, UnknownFormat
from hub.ecg.formats import wfdb
from hub.ecg.formats.sniff import is_wfdb_header, name_of_unread
from hub.ecg.formats.table import format_of
from hub.ecg.formats.wfdb_header import roots
from hub.ecg.limits import MAX_FILE_BYTES, MAX_FILES
from hub.ecg.waveform import Waveform


def read_ecg(files: Mapping[str, bytes], *, charset_override: str | None = None) -> Waveform:
    """Read the files of one recording as calibrated millivolts.

    Parameters
    ----------
    files : mapping of str to bytes
        By name: one file of a format of `hub.ecg.formats.table`, or a WFDB header with all that it names.
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
    found = {name: each for name, data in files.items() if (each := format_of(data))}
    headers = roots({n: data for n, data in files.items() if n not in found and is_wfdb_header(data)})
    if len(found) + len(headers) > 1:
        raise UnknownFormat("several recordings were sent as one", seen="several recordings")
    for name, each in found.items():
        return each.read(files[name], charset_override=charset_override)
    if headers:
        return wfdb.read_wfdb(files, headers[0])
    names = sorted({name_of_unread(data) for data in files.values()}) or ["nothing"]
    raise UnknownFormat(f"not an ECG format that is read: {', '.join(names)}", seen=", ".join(names))
