"""Section 1 of SCP-ECG, written: the patient, the time, the device and its filters."""

import re
import struct
from datetime import datetime

from hub.ecg.waveform import Waveform

_END = b"\xff\0\0"
_ASCII, _UTF8 = 0, 0x37
_PROTOCOL = 20
_COMPATIBLE = 0x90
"""Category I: the header and rhythm data without reference beat subtraction."""

_SEXES = {"M": 1, "F": 2}
_AGE = re.compile(r"0*(\d{1,3}) ?([YMWD]?)")
_AGE_UNITS = {"": 1, "Y": 1, "M": 2, "W": 3, "D": 4}
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")
_MODEL_BYTES = 5
_LONGEST_TEXT = 64
_NOTCHES = {60.0: 1, 50.0: 2}
_MOST = 0xFFFF


def header_section(waveform: Waveform) -> bytes:
    """Return section 1 without its header: tags 2, 14, 25 and 26 always, the others where known.

    Texts are ASCII, or UTF-8 where that does not do (language support code 0x37 of
    EN 1064:2005+A1:2007); texts longer than the standard's 64 bytes are cut between characters.
    """
    patient = waveform.patient
    last, _, first = patient.name.partition("^")
    tags: dict[int, bytes] = {}
    for tag, text in ((0, last), (1, first.replace("^", " ").strip())):
        if text:
            tags[tag] = _text(text)
    tags[2] = _text(patient.local_id)
    age, birth_date = _AGE.fullmatch(patient.age.strip()), _DATE.fullmatch(patient.birth_date)
    if age:
        tags[4] = struct.pack("<HB", int(age[1]), _AGE_UNITS[age[2]])
    if birth_date:
        tags[5] = struct.pack("<H2B", *map(int, birth_date.groups()))
    sex = patient.sex.strip().upper()[:1]
    if sex in _SEXES:
        tags[8] = bytes([_SEXES[sex]])
    tags[14] = _device(waveform.device, plain=_is_plain(waveform))
    tags |= _moment(waveform.started_at)
    tags |= _filters(waveform)
    body = b"".join(struct.pack("<BH", tag, len(value)) + value for tag, value in sorted(tags.items()))
    return body + _END


def _is_plain(waveform: Waveform) -> bool:
    patient = waveform.patient
    return (patient.name + patient.local_id + waveform.device).isascii()


def _text(text: str) -> bytes:
    raw = text.replace("\0", "").encode()[: _LONGEST_TEXT - 1]
    return raw.decode(errors="ignore").encode() + b"\0"


def _device(device: str, *, plain: bool) -> bytes:
    """Write the machine: its name as the maker's text, for the model has room for 5 letters only."""
    head = struct.pack("<3H2B", 0, 0, 0, 0, 255) + bytes(_MODEL_BYTES + 1)
    head += struct.pack("<5B", _PROTOCOL, _COMPATIBLE, _ASCII if plain else _UTF8, 0, 0)
    return head + bytes(16) + b"\1" + b"\0\0\0\0" + _text(device)


def _moment(moment: datetime | None) -> dict[int, bytes]:
    """Write date, time and zone; zeros where the time is not known, as the tags must be there."""
    if moment is None:
        return {25: bytes(4), 26: bytes(3)}
    tags = {
        25: struct.pack("<H2B", moment.year, moment.month, moment.day),
        26: bytes([moment.hour, moment.minute, moment.second]),
    }
    offset = moment.utcoffset()
    if offset is not None:
        tags[34] = struct.pack("<hH", int(offset.total_seconds() // 60), 0) + b"\0"
    return tags


def _filters(waveform: Waveform) -> dict[int, bytes]:
    filters, tags = waveform.filters, {}
    if filters.high_pass_hz is not None:
        tags[27] = struct.pack("<H", min(round(filters.high_pass_hz * 100), _MOST))
    if filters.low_pass_hz is not None:
        tags[28] = struct.pack("<H", min(round(filters.low_pass_hz), _MOST))
    if filters.notch_hz in _NOTCHES:
        tags[29] = bytes([_NOTCHES[filters.notch_hz]])
    return tags
