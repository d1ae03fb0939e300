"""Section 1 of SCP-ECG: who was recorded, when, with which device and filters.

Source: EN 1064 section 5.4. Texts are in the character set that tag 14 names; many devices
write another, which `hub.kit.text` finds out.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

from hub.ecg.waveform import Filters, PatientText
from hub.errors import Malformed
from hub.kit.text import decode_text

_END = 255
_MAX_TAGS = 1024
_MAX_TEXT = 4096
_MOST_TEXT = 1 << 15
"""Bytes of text in a record, and in one text; finding out a character set takes a while."""

_FIXED_LENGTHS = {4: 3, 5: 4, 6: 3, 7: 3, 8: 1, 9: 1, 11: 2, 12: 2, 24: 1, 25: 4, 26: 3, 27: 2, 28: 2, 29: 1}
"""Tags of one possible length, so that a wrong one can be told and mended."""

_WIDE = "utf-16-le"
_CHARSETS = {
    0x01: "ISO_IR 100",
    0x03: "ISO_IR 101",
    0x07: _WIDE,
    0x0B: "ISO_IR 110",
    0x0F: "shift_jis",
    0x13: "ISO_IR 144",
    0x17: "euc_jp",
    0x1B: "ISO_IR 127",
    0x1F: "euc_jp",
    0x23: "ISO_IR 126",
    0x27: "GB18030",
    0x2B: "ISO_IR 138",
    0x2F: "cp949",
    0x33: "ISO_IR 166",
    0x37: "ISO_IR 192",
    0x3B: "iso8859_15",
}
"""Language support code, byte 17 of tag 14; 0 is plain ASCII."""

_MAKERS = (
    *(
        "",
        "Burdick",
        "Cambridge",
        "Compumed",
        "Datamed",
        "Fukuda",
        "Hewlett-Packard",
        "Marquette Electronics",
    ),
    *("Mortara Instruments", "Nihon Kohden", "Okin", "Quinton", "Siemens", "Spacelabs", "Telemed", "Hellige"),
    *("ESA-OTE", "Schiller", "Picker-Schwarzer", "et medical devices", "Zwönitz"),
)
_MODEL = slice(8, 14)
_LANGUAGE_AT, _TEXTS_AT, _MAKER_TEXT = 16, 36, 4
_AGE_UNITS = {1: "Y", 2: "M", 3: "W", 4: "D", 5: " h"}
_SEXES = {1: "M", 2: "F"}
_NO_OFFSET = 0x7FFF
_MOST_OFFSET = 14 * 60


@dataclass
class Header:
    """What section 1 says."""

    patient: PatientText = field(default_factory=PatientText)
    started_at: datetime | None = None
    device: str = ""
    filters: Filters = field(default_factory=Filters)
    warnings: list[str] = field(default_factory=list)


class Texts:
    """Decodes the texts of one record.

    Parameters
    ----------
    code : int
        Language support code of tag 14.
    override : str, optional
        What this device is known to send in spite of what it declares.
    """

    def __init__(self, code: int, override: str | None) -> None:
        self.declared = _CHARSETS.get(code, "")
        self.unsure = False
        self._override = override
        self._left = _MOST_TEXT

    def read(self, raw: bytes) -> str:
        """Return a text up to its end mark; remember whether it needed a doubtful reading."""
        return self.split(raw, 1)[0]

    def split(self, raw: bytes, most: int) -> list[str]:
        """Return the texts of a value, which NUL characters divide, `most` of them and at least one.

        Raises
        ------
        Malformed
            The record holds more text than anybody wrote.
        """
        raw = raw[:_MAX_TEXT]
        self._left -= len(raw)
        if self._left < 0:
            raise Malformed("more text than a record has")
        if self.declared == _WIDE and self._override is None:
            return [part.strip() for part in self._wide(raw).split("\0", most)[:most]]
        return [self._narrow(part) for part in raw.split(b"\0", most)[:most]]

    def _narrow(self, part: bytes) -> str:
        decoded = decode_text(part, self.declared, self._override)
        self.unsure = self.unsure or decoded.unsure
        return decoded.text.strip()

    def _wide(self, raw: bytes) -> str:
        codec = "utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else _WIDE
        whole = raw[: len(raw) // 2 * 2]
        try:
            return whole.decode(codec)
        except UnicodeDecodeError:
            self.unsure = True
            return whole.decode(codec, errors="replace")


def read_header(body: bytes, override: str | None, *, big_endian_date: bool = False) -> tuple[Header, Texts]:
    """Read section 1; what cannot be read of it is left empty.

    Parameters
    ----------
    body : bytes
        The section without its header.
    override : str, optional
        Character set that this device is known to send.
    big_endian_date : bool
        Whether the year has its high byte first, as one maker writes it.

    Returns
    -------
    header, texts : Header, Texts
        `texts` decodes the texts of the other sections in the same way.
    """
    header = Header()
    tags = _tags(body, header.warnings)
    device = tags.get(14, [b""])[0]
    texts = Texts(device[_LANGUAGE_AT] if len(device) > _LANGUAGE_AT else 0, override)

    def first(tag: int) -> bytes:
        return tags.get(tag, [b""])[0]

    name = "^".join(texts.read(first(tag)) for tag in (0, 1)).strip("^")
    local_id = texts.read(first(2))
    header.device = _device(device, texts)
    header.patient = PatientText(
        local_id=local_id,
        name=name,
        sex=_SEXES.get(first(8)[0], "") if first(8) else "",
        birth_date=_date_text(_date(first(5))),
        age=_age(first(4)),
        charset=texts.declared,
        unsure=texts.unsure,
    )
    header.filters = _filters(first(27), first(28), first(29))
    header.started_at = _moment(first(25), first(26), first(34), big_endian=big_endian_date)
    return header, texts


def _tags(body: bytes, warnings: list[str]) -> dict[int, list[bytes]]:
    """Split the section by tag; where a length cannot be true, by the lengths of the standard."""
    found, whole = _split(body, mend=False)
    if not whole:
        mended, mended_whole = _split(body, mend=True)
        if mended_whole or len(mended) >= len(found):
            found = mended
        warnings.append("scp_structure_mended")
    tags: dict[int, list[bytes]] = {}
    for tag, value in found:
        tags.setdefault(tag, []).append(value)
    return tags


def _split(body: bytes, *, mend: bool) -> tuple[list[tuple[int, bytes]], bool]:
    """Return tags and values, and whether the walk ended properly with every length as it must be."""
    found: list[tuple[int, bytes]] = []
    at, true = 0, True
    while at + 3 <= len(body) and len(found) < _MAX_TAGS:
        tag, length = body[at], int.from_bytes(body[at + 1 : at + 3], "little")
        if tag == _END:
            return found, true
        fixed = _FIXED_LENGTHS.get(tag)
        if fixed is not None and length not in {0, fixed}:
            true = False
            length = fixed if mend else length
        at += 3
        if at + length > len(body):
            return [*found, (tag, body[at:])], False
        found.append((tag, body[at : at + length]))
        at += length
    return found, true


def _device(value: bytes, texts: Texts) -> str:
    if len(value) < _MODEL.stop:
        return ""
    strings = texts.split(value[_TEXTS_AT:], _MAKER_TEXT + 1)
    maker = strings[_MAKER_TEXT] if len(strings) > _MAKER_TEXT else ""
    code = value[7]
    maker = maker or (_MAKERS[code] if code < len(_MAKERS) else "")
    return f"{maker} {texts.read(value[_MODEL])}".strip()


def _date(value: bytes, *, big_endian: bool = False) -> tuple[int, int, int] | None:
    if len(value) < 4:  # noqa: PLR2004 - year, month, day
        return None
    year = int.from_bytes(value[:2], "big" if big_endian else "little")
    try:
        datetime(year, value[2], value[3])  # noqa: DTZ001 - only tried
    except ValueError:
        return None
    return year, value[2], value[3]


def _date_text(date: tuple[int, int, int] | None) -> str:
    return "" if date is None else f"{date[0]:04d}{date[1]:02d}{date[2]:02d}"


def _age(value: bytes) -> str:
    """Write an age as DICOM does: three digits and Y, M, W or D."""
    if len(value) < 3 or value[2] not in _AGE_UNITS:  # noqa: PLR2004 - number and unit
        return ""
    number = int.from_bytes(value[:2], "little")
    return f"{number:03d}{_AGE_UNITS[value[2]]}" if number else ""


def _filters(baseline: bytes, low_pass: bytes, bitmap: bytes) -> Filters:
    """Return the filters: hundredths of Hz, Hz, and a map whose lowest bits are notches at 60 and 50 Hz."""
    marks = bitmap[0] if bitmap else 0
    return Filters(
        high_pass_hz=int.from_bytes(baseline[:2], "little") / 100 or None,
        low_pass_hz=float(int.from_bytes(low_pass[:2], "little")) or None,
        notch_hz=60.0 if marks & 1 else 50.0 if marks & 2 else None,
    )


def _moment(date: bytes, time: bytes, zone: bytes, *, big_endian: bool) -> datetime | None:
    day = _date(date, big_endian=big_endian)
    if day is None or len(time) < 3:  # noqa: PLR2004 - hour, minute, second
        return None
    try:
        moment = datetime(*day, time[0], time[1], time[2])  # noqa: DTZ001 - the zone follows where stated
    except ValueError:
        return None
    offset = int.from_bytes(zone[:2], "little", signed=True) if len(zone) >= 2 else _NO_OFFSET  # noqa: PLR2004
    if abs(offset) > _MOST_OFFSET:
        return moment
    return moment.replace(tzinfo=timezone(timedelta(minutes=offset)) if offset else UTC)
