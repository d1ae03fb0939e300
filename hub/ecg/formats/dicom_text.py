"""The text parts of a DICOM ECG, read from the raw elements so that odd values neither warn nor fail."""

from datetime import UTC, datetime, timedelta, timezone
from math import isfinite
from typing import TYPE_CHECKING

from hub.ecg.waveform import PatientText

if TYPE_CHECKING:
    from pydicom import Dataset

_MAX_STATEMENTS = 500
_MAX_TEXT = 4096


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


def text(ds: "Dataset", keyword: str, charsets: list[str]) -> str:
    """Decode a text element by the data set's character sets; bytes that do not fit become U+FFFD."""
    from pydicom.charset import convert_encodings, decode_bytes
    from pydicom.valuerep import TEXT_VR_DELIMS

    value = raw_value(ds, keyword)
    if isinstance(value, str):
        return value.strip(" \x00")[:_MAX_TEXT]
    value = value[: 4 * _MAX_TEXT]
    try:
        decoded = decode_bytes(value, convert_encodings(charsets), TEXT_VR_DELIMS | {ord("^"), ord("=")})
    except (UnicodeError, LookupError, ValueError, Warning):
        decoded = value.decode("ascii", errors="replace")
    return decoded.strip(" \x00\t\r\n")[:_MAX_TEXT]


def patient_text(ds: "Dataset") -> PatientText:
    """Return what the object says about the patient, decoded by its own character set."""
    declared = clean(ds, "SpecificCharacterSet")
    charsets = charsets_of(ds)
    return PatientText(
        local_id=text(ds, "PatientID", charsets),
        name=text(ds, "PatientName", charsets),
        sex=clean(ds, "PatientSex"),
        birth_date=clean(ds, "PatientBirthDate"),
        age=clean(ds, "PatientAge"),
        charset=declared,
    )


def charsets_of(ds: "Dataset") -> list[str]:
    """Return the declared character sets, one per value; the default repertoire is an empty name."""
    value = raw_value(ds, "SpecificCharacterSet")
    if isinstance(value, str):
        value = value.strip("[]").replace("'", "").replace(", ", "\\").encode("latin-1", errors="replace")
    return [part.strip() for part in value.decode("latin-1").split("\\")] or [""]


def date_time(ds: "Dataset") -> tuple[datetime | None, str]:
    """Return when recording began and the field that says so.

    Acquisition DateTime, then Content, then Study date and time. Naive without a stated
    offset (in the value or in Timezone Offset From UTC): it is then the device's own clock.
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


def statements(ds: "Dataset") -> tuple[str, ...]:
    """Return the device's annotations: free text, and coded measurements as ``name: value unit``."""
    charsets = charsets_of(ds)
    found = []
    for item in list(ds.get("WaveformAnnotationSequence") or [])[:_MAX_STATEMENTS]:
        free = text(item, "UnformattedTextValue", charsets)
        concept = _meaning(item, "ConceptNameCodeSequence", charsets)
        value = clean(item, "NumericValue")
        if free:
            found.append(free)
        elif concept and value:
            unit = _code(item, "MeasurementUnitsCodeSequence")
            found.append(f"{concept}: {value} {unit}".rstrip())
    return tuple(dict.fromkeys(found))


def _meaning(item: "Dataset", keyword: str, charsets: list[str]) -> str:
    codes = list(item.get(keyword) or [])
    return text(codes[0], "CodeMeaning", charsets) if codes else ""


def _code(item: "Dataset", keyword: str) -> str:
    codes = list(item.get(keyword) or [])
    return clean(codes[0], "CodeValue") if codes else ""
