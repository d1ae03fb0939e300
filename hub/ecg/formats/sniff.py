"""Tell by content, never by file name, what bytes are."""

import re

_WFDB_RECORD_LINE = re.compile(rb"^[A-Za-z0-9_.\-]+(?:/\d+)?[ \t]+\d+(?:[ \t]+[0-9.eE+\-/()]+.*)?$")
_HEADER_PROBE_BYTES = 64 * 1024
_PREAMBLE = 128
_EXPLICIT_VR = re.compile(rb"^[A-Z]{2}$")
_MATLAB_V4 = re.compile(rb"^[\x00-\xff]\x00\x00\x00", re.DOTALL)

_KNOWN_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "PDF document"),
    (b"\x89PNG", "PNG picture"),
    (b"\xff\xd8\xff", "JPEG picture"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"MATLAB 5.0", "MATLAB 5 file"),
)


def is_dicom(data: bytes) -> bool:
    """Say whether bytes are a DICOM Part 10 file (PS3.10 7.1) or a bare explicit or implicit data set."""
    if data[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return True
    starts_group = data[:2] in {b"\x02\x00", b"\x08\x00"} and data[3:4] == b"\x00"
    if not starts_group or len(data) < _PREAMBLE:
        return False
    explicit = _EXPLICIT_VR.match(data[4:6]) is not None
    return explicit or int.from_bytes(data[4:8], "little") < len(data)


def is_wfdb_header(data: bytes) -> bool:
    """Say whether bytes are a WFDB header: text whose first line that is no comment is a record line."""
    probe = data[:_HEADER_PROBE_BYTES]
    if b"\x00" in probe:
        return False
    for raw in probe.splitlines():
        line = raw.strip()
        if line and not line.startswith(b"#"):
            return _WFDB_RECORD_LINE.match(line) is not None
    return False


def name_of_unread(data: bytes) -> str:
    """Name what bytes look like when they are of no format that is read."""
    if not data:
        return "empty file"
    if b"SCPECG" in data[10:28]:
        return "SCP-ECG"
    head = data[:4096].replace(b"\x00", b"")
    by_start = [name for start, name in _KNOWN_STARTS if data.startswith(start)]
    if by_start:
        return by_start[0]
    if head.lstrip(b"\xef\xbb\xbf\xff\xfe \r\n\t").startswith(b"<"):
        return "XML of an unknown kind"
    bare_matlab = _MATLAB_V4.match(data) is not None and data[20:24] == b"val\x00"
    return "WFDB samples in MATLAB 4 form without their header" if bare_matlab else "unknown bytes"
