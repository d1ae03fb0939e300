"""EDF, EDF+ and BDF headers: fixed-width text (edfplus.info, EDF 1992 and EDF+ 2003; biosemi.com, BDF)."""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from fractions import Fraction

from hub.ecg.errors import NoLeads, RateMissing, Truncated
from hub.ecg.waveform import PatientText
from hub.errors import Malformed
from hub.kit.text import decode_text

EDF_START = b"0       "
BDF_START = b"\xffBIOSEMI"
FIXED_BYTES = 256
SIGNAL_BYTES = 256
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2})?")
_DATE = re.compile(r"(\d{1,2})[.:/-](\d{1,2})[.:/-](\d{2}|yy)")
_TIME = re.compile(r"(\d{1,2})[.:](\d{1,2})[.:](\d{1,2})")
_LONG_DATE = re.compile(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_IDENTIFIER = re.compile(r"[\w.\-/]*\d[\w.\-/]*")
_CLIPPED = 85
"""EDF+ 2.1.3.2: two-digit years from 85 on are of the 20th century."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal as the header states it; the texts of numbers are kept until the signal is chosen."""

    per_record: int
    label: str
    unit: str
    physical_min: str
    physical_max: str
    digital_min: str
    digital_max: str
    prefilter: str


@dataclass(frozen=True, slots=True)
class EdfHeader:
    """An EDF, EDF+ or BDF header.

    Attributes
    ----------
    value_bytes : int
        2 for EDF, 3 for BDF.
    plus : str
        ``"C"`` or ``"D"`` for EDF+ and BDF+ of that kind, empty for the plain formats.
    n_records : int
        As stated; -1 while recording is in progress.
    record_seconds : fractions.Fraction
        Duration of a data record, exactly as written.
    patient : PatientText
        Local patient identification.
    equipment : str
        Of the local recording identification of EDF+.
    started_at : datetime.datetime or None
        The header's date and time; its source stands in `started_at_source`.
    """

    value_bytes: int
    plus: str
    n_records: int
    record_seconds: Fraction
    signals: tuple[Signal, ...]
    patient: PatientText
    equipment: str
    started_at: datetime | None
    started_at_source: str

    @property
    def data_start(self) -> int:
        """Offset of the first data record."""
        return FIXED_BYTES + SIGNAL_BYTES * len(self.signals)

    @property
    def record_bytes(self) -> int:
        """Bytes of one data record."""
        return self.value_bytes * sum(signal.per_record for signal in self.signals)


def parse_edf_header(data: bytes, charset_override: str | None = None) -> EdfHeader:
    """Read the header of an EDF, EDF+ or BDF file.

    Parameters
    ----------
    data : bytes
        The file.
    charset_override : str, optional
        What this device is known to send; the format allows ASCII only.

    Raises
    ------
    Truncated
        The file ends within its header.
    NoLeads
        It states no signal.
    RateMissing
        The duration of a data record is no positive number.
    Malformed
        A number is none.
    """
    if len(data) < FIXED_BYTES:
        raise Truncated(needed_bytes=FIXED_BYTES, present_bytes=len(data))
    n_signals = _whole(data[252:256])
    if n_signals <= 0:
        raise NoLeads("the EDF header states no signal")
    if len(data) < FIXED_BYTES + SIGNAL_BYTES * n_signals:
        raise Truncated(needed_bytes=FIXED_BYTES + SIGNAL_BYTES * n_signals, present_bytes=len(data))
    n_records = _whole(data[236:244])
    if n_records < -1:
        raise Malformed("EDF header states an impossible number of data records", stated=n_records)
    kind = re.match(rb"[EB]DF\+([CD])", data[192:236])
    plus = kind[1].decode() if kind else ""
    recording = _text(data[88:168], charset_override)[0].split()
    moment, source = _start(data[168:184], recording)
    return EdfHeader(
        value_bytes=3 if data.startswith(BDF_START) else 2,
        plus=plus,
        n_records=n_records,
        record_seconds=_duration(data[244:252]),
        signals=_signals(data, n_signals),
        patient=_patient(data[8:88], plus, charset_override),
        equipment=_known(recording[4:5]) if plus and recording[:1] == ["Startdate"] else "",
        started_at=moment,
        started_at_source=source,
    )


def number(text: str) -> float:
    """Return a decimal number of a header field.

    Raises
    ------
    Malformed
        It is none.
    """
    if not _NUMBER.fullmatch(text):
        raise Malformed("EDF header has a number that is none")
    return float(text)


def _signals(data: bytes, n_signals: int) -> tuple[Signal, ...]:
    """Split the signal headers, in which each field stands for all signals in turn."""
    place = FIXED_BYTES
    columns = []
    for width in (16, 80, 8, 8, 8, 8, 8, 80, 8, 32):
        field = data[place : place + width * n_signals]
        columns.append([field[n * width : (n + 1) * width] for n in range(n_signals)])
        place += width * n_signals
    labels, _, units, p_min, p_max, d_min, d_max, filters, counts, _ = columns
    signals = []
    for n in range(n_signals):
        per_record = _whole(counts[n])
        if per_record <= 0:
            raise Malformed("EDF signal has no samples in a data record", column=n)
        texts = [_plain(column[n]) for column in (labels, units, p_min, p_max, d_min, d_max, filters)]
        signals.append(Signal(per_record, *texts))
    return tuple(signals)


def _plain(field: bytes) -> str:
    """Return a technical field; a micro sign stands there with its value of ISO 8859-1."""
    text = field.strip(b" \0")
    return (
        decode_text(text, "").text.strip()
        if len(text) > 0 and b"\xb5" not in text
        else text.decode("latin-1")
    )


def _text(field: bytes, override: str | None) -> tuple[str, bool]:
    decoded = decode_text(field.strip(b" \0"), "", override)
    return decoded.text.strip(), decoded.unsure


def _whole(field: bytes) -> int:
    text = field.strip(b" \0")
    if not re.fullmatch(rb"[+-]?\d{1,8}", text):
        raise Malformed("EDF header has a whole number that is none")
    return int(text)


def _duration(field: bytes) -> Fraction:
    text = field.strip(b" \0").decode("latin-1")
    if not _NUMBER.fullmatch(text):
        raise RateMissing("the EDF header states no duration of a data record")
    duration = Fraction(text)
    if duration <= 0:
        raise RateMissing("the EDF data records have no duration")
    return duration


def _known(subfields: list[str]) -> str:
    """Return a subfield with its spaces; ``X`` stands for unknown, and spaces are written as underscores."""
    return "" if not subfields or subfields[0] == "X" else subfields[0].replace("_", " ")


def _long_date(text: str) -> datetime | None:
    found = _LONG_DATE.fullmatch(text)
    if found is None or found[2].upper() not in _MONTHS:
        return None
    try:
        return datetime(int(found[3]), _MONTHS.index(found[2].upper()) + 1, int(found[1]))  # noqa: DTZ001
    except ValueError:
        return None


def _patient(field: bytes, plus: str, override: str | None) -> PatientText:
    """Read the local patient identification: ``code sex birthdate name`` in EDF+, free text before.

    Free text of one word with a digit in it is taken for an identifier. Other free text is given as
    the name and marked as unsure: it may be anything.
    """
    text, unsure = _text(field, override)
    parts = text.split()
    subfields = len(parts) >= 4 and parts[1] in {"M", "F", "X"}  # noqa: PLR2004 - code sex birthdate name
    if subfields and (plus or parts[2] == "X" or _long_date(parts[2])):
        born = _long_date(parts[2])
        return PatientText(
            local_id=_known(parts[0:1]),
            name=_known(parts[3:4]),
            sex=_known(parts[1:2]),
            birth_date=born.strftime("%Y%m%d") if born else _known(parts[2:3]),
            unsure=unsure,
        )
    if _IDENTIFIER.fullmatch(text):
        return PatientText(local_id=text, unsure=unsure)
    if not text or set(parts) == {"X"}:
        return PatientText()
    return PatientText(name=text, unsure=True)


def _start(field: bytes, recording: list[str]) -> tuple[datetime | None, str]:
    """Return when the recording began.

    The date field has two digits for the year. A ``Startdate`` in the recording identification that
    agrees with the rest of it supplies the century; alone it counts only where the field gives ``yy``.
    1 January 1985 with an unknown Startdate is what anonymised EDF+ files say.
    """
    short = _DATE.fullmatch(field[:8].strip(b" \0").decode("latin-1"))
    clock = _TIME.fullmatch(field[8:].strip(b" \0").decode("latin-1"))
    stated = recording[1] if len(recording) > 1 and recording[0] == "Startdate" else ""
    long = _long_date(stated)
    try:
        if short is None or clock is None:
            return None, ""
        hour = time(int(clock[1]), int(clock[2]), int(clock[3]))
        if short[3] == "yy":
            return (datetime.combine(long, hour), "EDF Startdate") if long else (None, "")
        year = int(short[3]) + (1900 if int(short[3]) >= _CLIPPED else 2000)
        moment = datetime.combine(datetime(year, int(short[2]), int(short[1])), hour)  # noqa: DTZ001
    except ValueError:
        return None, ""
    if long and (long.day, long.month, long.year % 100) == (moment.day, moment.month, moment.year % 100):
        return datetime.combine(long, hour), "EDF Startdate"
    if stated == "X" and moment.date() == datetime(1985, 1, 1).date():  # noqa: DTZ001 - the device's clock
        return None, ""
    return moment, "EDF start date"


def moved(moment: datetime | None, seconds: float) -> datetime | None:
    """Return a start that lies a fraction of a second after the header's, as EDF+ keeps it."""
    if moment is None or not 0 <= seconds < 1:
        return moment
    return moment + timedelta(microseconds=round(seconds * 1_000_000))
