"""The text parts of a DICOM ECG, read from the raw elements so that odd values neither warn nor fail."""

from datetime import UTC, datetime, timedelta, timezone
from math import isfinite
from typing import TYPE_CHECKING

from hub.ecg.waveform import PatientText
from hub.kit.text import decode_text

if TYPE_CHECKING:
    from pydicom import Dataset

_MAX_TEXT = 4096
_NO_CLOCK = 1900


def raw_value(ds: "Dataset", keyword: str) -> bytes | str:
    """Return an element's value as stored where it has not been converted yet, else as text."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None or tag not in ds:
        return b""
    value = ds.get_item(tag).value
    if value is None:
        return b""
    return value if isinstance(value, bytes) else str(value)


def clean(ds: "Dataset", keyword: str) -> str:
    """Return an ASCII element (codes, numbers as text) without its padding; empty when absent."""
    value = raw_value(ds, keyword)
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return text.strip(" \x00\t\r\n")[:_MAX_TEXT]


def number(ds: "Dataset", keyword: str) -> float | None:
    """Return a decimal string as a finite number, or None."""
    try:
        value = float(clean(ds, keyword))
    except ValueError:
        return None
    return value if isfinite(value) else None


def whole_number(ds: "Dataset", keyword: str) -> int | None:
    """Return a binary integer element (US, UL), or None."""
    value = ds.get(keyword)
    return value if isinstance(value, int) else None


class TextReader:
    """Decodes the text elements of one object by its character sets, as far as they are true.

    Parameters
    ----------
    ds : pydicom.Dataset
        The object, whose Specific Character Set (0008,0005) counts for all its items.
    override : str, optional
        What this device is known to send in spite of what it declares.
    """

    def __init__(self, ds: "Dataset", override: str | None) -> None:
        self.declared = _declared_charset(ds)
        self.unsure = False
        self._override = override

    def read(self, ds: "Dataset", keyword: str) -> str:
        """Return one text element; remember whether any needed a doubtful reading."""
        value = raw_value(ds, keyword)
        if isinstance(value, str):
            return value.strip(" \x00\t\r\n")[:_MAX_TEXT]
        decoded = decode_text(value[: 4 * _MAX_TEXT], self.declared, self._override)
        self.unsure = self.unsure or decoded.unsure
        return decoded.text.strip(" \x00\t\r\n")[:_MAX_TEXT]


def patient_text(ds: "Dataset", reader: TextReader) -> PatientText:
    """Return what the object says about the patient."""
    local_id = reader.read(ds, "PatientID")
    name = reader.read(ds, "PatientName")
    return PatientText(
        local_id=local_id,
        name=name,
        sex=clean(ds, "PatientSex"),
        birth_date=clean(ds, "PatientBirthDate"),
        age=clean(ds, "PatientAge"),
        charset=reader.declared,
        unsure=reader.unsure,
    )


def _declared_charset(ds: "Dataset") -> str:
    r"""Return Specific Character Set as stored, several values joined by ``\``."""
    from pydicom.multival import MultiValue

    value = ds.get("SpecificCharacterSet")
    terms = value if isinstance(value, MultiValue) else [value or ""]
    return "\\".join(str(term).strip() for term in terms)[:_MAX_TEXT]


def date_time(ds: "Dataset") -> tuple[datetime | None, str]:
    """Return when recording began and the field that says so.

    Acquisition DateTime, then Content, then Study date and time. Naive without a stated
    offset (in the value or in Timezone Offset From UTC): it is then the device's own clock.
    The year 1900 is what devices without a clock write; no ECG was recorded then.
    """
    offset = clean(ds, "TimezoneOffsetFromUTC")
    for keyword, value in (
        ("AcquisitionDateTime", clean(ds, "AcquisitionDateTime")),
        ("ContentDate", clean(ds, "ContentDate") + clean(ds, "ContentTime")),
        ("StudyDate", clean(ds, "StudyDate") + clean(ds, "StudyTime")),
    ):
        moment = _moment(value, offset)
        if moment is not None:
            return moment, keyword
    return None, ""


def _moment(value: str, default_offset: str) -> datetime | None:
    body, sign, offset = value, "", ""
    for candidate in "+-":
        if candidate in value:
            body, _, offset = value.partition(candidate)
            sign = candidate
    digits, _, fraction = body.partition(".")
    if len(digits) not in {12, 14} or not digits.isdigit():
        return None
    try:
        moment = datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - zone follows
        zone = _zone(sign + offset if sign else default_offset)
    except ValueError:
        return None
    if moment.year <= _NO_CLOCK:
        return None
    if fraction.isdigit():
        moment = moment.replace(microsecond=int(fraction[:6].ljust(6, "0")))
    return moment if zone is None else moment.replace(tzinfo=zone)


def _zone(offset: str) -> timezone | None:
    if not offset:
        return None
    if len(offset) != 5 or not offset[1:].isdigit():  # noqa: PLR2004 - &ZZXX, PS3.5 6.2 DT
        raise ValueError
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    if minutes == 0:
        return UTC
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
