"""What an MFER file says besides its samples: patient, device, time, events and notes."""

import re
from datetime import datetime

from hub.ecg.formats.mfer_tags import Definitions, Number, Tag
from hub.ecg.waveform import Filters, PatientText
from hub.kit.text import decode_text

_MAX_STATEMENTS = 500
_MAX_TEXT = 1024
_SEX = {1: "M", 2: "F"}
_FILTER = re.compile(r"(HPF|LPF|BEF)\s*=\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})")
_CHARSETS = (
    (re.compile(r"jis[ _-]?x|iso[ _-]?2022|rfc[ _-]?1468", re.IGNORECASE), "ISO 2022 IR 87"),
    (re.compile(r"shift|sjis", re.IGNORECASE), "shift_jis"),
    (re.compile(r"utf-?8|unicode", re.IGNORECASE), "ISO_IR 192"),
    (re.compile(r"gb", re.IGNORECASE), "GB18030"),
)
"""How devices state the sets, and the DICOM term or codec of each."""


class TextReader:
    """Decodes the texts of one file by the character set that it states, as far as it is true."""

    def __init__(self, found: Definitions, override: str | None) -> None:
        stated = found.last(Tag.TXC)
        self.declared = re.sub(rb"[^ -~]", b"", stated.raw).decode().strip()[:64] if stated else ""
        self.unsure = False
        self._term = next((term for pattern, term in _CHARSETS if pattern.match(self.declared)), "")
        self._override = override

    def read(self, raw: bytes) -> str:
        """Return a text; remember whether any needed a doubtful reading."""
        decoded = decode_text(raw[: 4 * _MAX_TEXT], self._term, self._override)
        self.unsure = self.unsure or decoded.unsure
        return "".join(c for c in decoded.text[:_MAX_TEXT] if c.isprintable()).strip()


def patient_of(found: Definitions, reader: TextReader) -> PatientText:
    """Return what the file says about the patient.

    The parts of a name are family, given and middle name with a phonetic form after each.
    """
    name, number = found.last(Tag.PNM), found.last(Tag.PID)
    parts = [part.strip() for part in reader.read(name.raw).split("^")] if name else []
    sex, age = found.last(Tag.SEX), found.last(Tag.AGE)
    return PatientText(
        local_id=reader.read(number.raw).split("^")[0].strip() if number else "",
        name=" ".join(part for part in parts[::2] if part),
        sex=_SEX.get(sex.unsigned(0, 1), "") if sex else "",
        birth_date=_birth_date(age) if age else "",
        age=str(age.raw[0]) if age and age.raw and age.raw[0] else "",
        charset=reader.declared,
        unsure=reader.unsure,
    )


def _birth_date(age: Number) -> str:
    """Read year, month and day behind the years and days of age."""
    if len(age.raw) < 7:  # noqa: PLR2004 - 1 + 2 + 2 + 1 + 1 bytes
        return ""
    try:
        born = datetime(age.unsigned(3, 5), age.raw[5], age.raw[6])  # noqa: DTZ001 - a date
    except ValueError:
        return ""
    return f"{born.year:04d}{born.month:02d}{born.day:02d}"


def start_of(found: Definitions) -> datetime | None:
    """Return the measurement time, naive: the device's own clock."""
    value = found.last(Tag.TIM)
    if value is None or len(value.raw) < 7:  # noqa: PLR2004 - year to second
        return None
    fraction = value.unsigned(7, 9) * 1000 + value.unsigned(9, 11)
    try:
        moment = datetime(value.unsigned(0, 2), *value.raw[2:7])  # noqa: DTZ001 - the device's clock
        return moment.replace(microsecond=fraction) if fraction < 1_000_000 else moment  # noqa: PLR2004
    except ValueError:
        return None


def device_of(found: Definitions, reader: TextReader) -> str:
    """Return maker and model."""
    value = found.last(Tag.MAN)
    return " ".join(part.strip() for part in reader.read(value.raw).split("^")[:2]).strip() if value else ""


def filters_of(found: Definitions, reader: TextReader) -> Filters:
    """Read filters of the forms ``HPF=0.05``, ``LPF=150`` and ``BEF=50``."""
    stated: dict[str, float] = {}
    for value in found.every(Tag.FLT):
        for kind, number in _FILTER.findall(reader.read(value.raw)):
            stated[kind] = float(number)
    return Filters(stated.get("HPF") or None, stated.get("LPF") or None, stated.get("BEF") or None)


def statements_of(found: Definitions, reader: TextReader, rate_hz: float) -> tuple[str, ...]:
    """Return notes, values, and events with their time in seconds after the first sample."""
    texts: dict[str, None] = {}
    for tag, value in found.values:
        if len(texts) >= _MAX_STATEMENTS:
            break
        if tag is Tag.NTE:
            texts[reader.read(value.raw)] = None
        elif tag is Tag.EVT and len(value.raw) > 10:  # noqa: PLR2004 - code, start, duration
            texts[f"{value.signed(2, 6) / rate_hz:g} s: {reader.read(value.raw[10:])}"] = None
        elif tag is Tag.VAL and len(value.raw) > 6:  # noqa: PLR2004 - code, time
            texts[f"value {value.unsigned(0, 2)}: {reader.read(value.raw[6:]).replace('^', ' ')}"] = None
    return tuple(text for text in texts if text)
