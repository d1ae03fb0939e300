"""EDF+ recordings: 16-bit samples in data records that follow each other (EDF+C)."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hub.ecg.errors import CannotHold
from hub.ecg.waveform import Filters, PatientText, Waveform
from hub.ecg.writers.steps import Steps, rounded_steps, steps_of

_MOST = 32767
_FIELD = 8
"""Characters of a number in an EDF header."""
_MOST_RECORD_BYTES = 61440
"""Data records should not be larger (EDF 1992)."""
_ROUNDED_MOST = 32_000
_FINEST_MV = 1e-6
_SAME = 1e-12
_UNITS = (("uV", Fraction(1000)), ("mV", Fraction(1)), ("V", Fraction(1, 1000)), ("nV", Fraction(1_000_000)))
_MOST_REMARKS = 1000
_TIME_DIGITS = 12
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_FIRST_YEAR, _LAST_YEAR = 1985, 2084
"""Years that two digits can say (EDF+ 2.1.3.2)."""


@dataclass(frozen=True, slots=True)
class _Channel:
    """One signal as its header states it; `highest` belongs to the stored value `most`."""

    label: str
    unit: str
    highest: str
    most: int
    lead: Steps


def write_edf(waveform: Waveform, *, patient: PatientText | None = None, exact: bool = True) -> bytes:
    """Write a recording as an EDF+ file.

    Parameters
    ----------
    waveform : Waveform
        What to write. Its own patient text and statements are left out.
    patient : PatientText, optional
        Whom to name in the file. EDF+ allows ASCII only: what is not ASCII becomes ``X``, unknown.
    exact : bool
        Whether to refuse what EDF+ cannot hold. Otherwise samples are rounded to 16 bits of the
        lead's own range (the step follows from the channel's ranges in the header), and what is
        missing, or fills up the last data record, is written as 0 with an annotation
        ``no data`` that names the leads.

    Returns
    -------
    bytes
        EDF+C (its annotation signal as long as the others, for readers that expect
        equal signals) with one channel for each lead in uV or mV, symmetrical ranges, and the start in
        whole seconds with its fraction in the annotations. The device's own units are kept as
        the stored values.

    Raises
    ------
    CannotHold
        Only when `exact`; the fact ``reason`` says why: ``gap`` (EDF has no value for
        them), ``range`` (beyond 16 bits), ``step`` (no whole steps, or
        a step that 8 characters cannot write), ``length`` (no whole number of data records of a
        duration that 8 characters can write). A rate that they cannot write is refused in any case.
    """
    if exact and np.isnan(waveform.samples_mv).any():
        raise CannotHold(reason="gap")
    channels = [_channel(waveform, n, exact=exact) for n in range(len(waveform.leads))]
    per_record, seconds = _record(waveform, exact=exact)
    n_records = -(-waveform.n_samples // per_record)
    begins = Fraction(waveform.started_at.microsecond, 1_000_000) if waveform.started_at else Fraction(0)
    remarks = _remarks(waveform, n_records * per_record, begins)
    tals = [_tal(begins + n * seconds, "") + b"".join(remarks[n::n_records]) for n in range(n_records)]
    tal_values = max(per_record, -(-max(map(len, tals)) // 2))
    header = _header(waveform, patient, n_records, seconds, len(channels) + 1)
    header += _signals(channels, per_record, tal_values, _filters(waveform.filters))
    return header + _data(channels, per_record, tals, tal_values)


def _channel(waveform: Waveform, column: int, *, exact: bool) -> _Channel:
    try:
        return _ranged(waveform.leads[column], steps_of(waveform, column, _MOST), column)
    except CannotHold:
        if exact:
            raise
    rounded = rounded_steps(waveform, column, _ROUNDED_MOST, _FINEST_MV)
    return _ranged(waveform.leads[column], rounded, column)


def _ranged(name: str, lead: Steps, column: int) -> _Channel:
    """Find a symmetrical range that the header can write and whose unit is the lead's step."""
    step = Fraction(lead.step_mv).limit_denominator(10**9)
    if abs(float(step) - lead.step_mv) <= _SAME * lead.step_mv:
        for unit, factor in _UNITS:
            for digits in range(_FIELD - 2):
                found = _highest(step * factor, digits, max(1, lead.largest))
                if found:
                    return _Channel(_label(name), unit, found[0], found[1], lead)
    raise CannotHold(reason="step", column=column)


def _highest(step: Fraction, digits: int, least: int) -> tuple[str, int] | None:
    """Return a highest value of so many digits behind the point and the multiple of `step` that it is."""
    scaled = step * 10**digits
    every = scaled.denominator
    room = 10 ** (_FIELD - 1 - (digits > 0)) - 1
    most = min(_MOST, int(room / scaled)) // every * every
    if most < least:
        return None
    value = int(most * scaled)
    text = str(value).rjust(digits + 1, "0")
    return (f"{text[:-digits]}.{text[-digits:]}" if digits else text), most


def _record(waveform: Waveform, *, exact: bool) -> tuple[int, Fraction]:
    """Return the samples and the duration of a data record, about a second if that is possible."""
    rate = Fraction(waveform.rate_hz).limit_denominator(10**6)
    if abs(float(rate) - waveform.rate_hz) > _SAME * waveform.rate_hz:
        raise CannotHold(reason="rate")
    second = [n for n in range(1, int(rate) + 1) if _decimal(n / rate)]
    if not second:
        raise CannotHold(reason="rate")
    fitting = [n for n in _divisors(waveform.n_samples) if _decimal(n / rate)]
    near = [n for n in fitting if n * len(waveform.leads) * 2 <= _MOST_RECORD_BYTES and n * 10 >= rate]
    for candidates in (near, fitting):
        if candidates:
            best = min(candidates, key=lambda n: abs(n - rate))
            return best, best / rate
    if exact:
        raise CannotHold(reason="length")
    return second[-1], second[-1] / rate


def _divisors(number: int) -> list[int]:
    small = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})


def _decimal(value: Fraction) -> str:
    """Return a number in at most 8 characters, or nothing where they do not write it exactly."""
    digits = 0
    while digits < _FIELD and (value * 10**digits).denominator != 1:
        digits += 1
    text = f"{float(value):.{digits}f}"
    return text if len(text) <= _FIELD and Fraction(text) == value else ""


def _exactly(seconds: Fraction) -> str:
    """Return a number of seconds; durations and fractions of a second end within these digits."""
    whole, rest = divmod(seconds, 1)
    digits = ""
    while rest and len(digits) < _TIME_DIGITS:
        digit, rest = divmod(rest * 10, 1)
        digits += str(digit)
    return f"{whole}.{digits}" if digits else str(whole)


def _tal(onset: Fraction, text: str, duration: Fraction | None = None) -> bytes:
    """Return one time-stamped annotation list; without a text it keeps the time of a record (EDF+ 2.2.4)."""
    lasting = "" if duration is None else f"\x15{_exactly(duration)}"
    return f"+{_exactly(onset)}{lasting}\x14{text}\x14\0".encode()


def _remarks(waveform: Waveform, n_samples: int, begins: Fraction) -> list[bytes]:
    """Return annotations on what is missing: by stretch, with the leads in which it is."""
    missing = np.ones((n_samples, len(waveform.leads)), dtype=bool)
    missing[: waveform.n_samples] = np.isnan(waveform.samples_mv)
    stretches: dict[tuple[int, int], list[str]] = {}
    for column, name in enumerate(waveform.leads):
        edges = np.flatnonzero(
            np.diff(np.concatenate([[False], missing[:, column], [False]]).astype(np.int8))
        )
        pairs = [(int(first), int(after)) for first, after in edges.reshape(-1, 2)]
        if len(pairs) > _MOST_REMARKS:
            pairs = [(pairs[0][0], pairs[-1][1])]
        for first, after in pairs:
            stretches.setdefault((first, after), []).append(name)
    rate = Fraction(waveform.rate_hz).limit_denominator(10**6)
    return [
        _tal(begins + first / rate, f"no data: {', '.join(names)}", (after - first) / rate)
        for (first, after), names in sorted(stretches.items())
    ]


def _header(
    waveform: Waveform, patient: PatientText | None, n_records: int, seconds: Fraction, n_signals: int
) -> bytes:
    moment = waveform.started_at
    if moment is None:
        date, clock, long_date = "01.01.85", "00.00.00", "X"
    else:
        year = f"{moment.year % 100:02d}" if _FIRST_YEAR <= moment.year <= _LAST_YEAR else "yy"
        date, clock = f"{moment:%d.%m.}{year}", f"{moment:%H.%M.%S}"
        long_date = f"{moment.day:02d}-{_MONTHS[moment.month - 1]}-{moment.year:04d}"
    recording = f"Startdate {long_date} X X {_subfield(waveform.device, 40)}"
    n_bytes = 256 * (n_signals + 1)
    texts = ["0", _patient(patient), recording, date, clock, str(n_bytes), "EDF+C"]
    texts += [str(n_records), _decimal(seconds), str(n_signals)]
    widths = (8, 80, 80, 8, 8, 8, 44, 8, 8, 4)
    return b"".join(text.encode("ascii").ljust(width) for text, width in zip(texts, widths, strict=True))


def _signals(channels: Sequence[_Channel], per_record: int, tal_values: int, filters: str) -> bytes:
    rows = [
        (
            c.label,
            "",
            c.unit,
            f"-{c.highest}",
            c.highest,
            str(-c.most),
            str(c.most),
            filters,
            str(per_record),
            "",
        )
        for c in channels
    ]
    rows.append(("EDF Annotations", "", "", "-1", "1", "-32768", "32767", "", str(tal_values), ""))
    widths = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
    return b"".join(
        row[place].encode("ascii").ljust(width) for place, width in enumerate(widths) for row in rows
    )


def _data(channels: Sequence[_Channel], per_record: int, tals: Sequence[bytes], tal_values: int) -> bytes:
    records = np.zeros((len(tals), len(channels) * per_record + tal_values), dtype="<i2")
    for n, channel in enumerate(channels):
        stored = np.zeros(len(tals) * per_record, dtype="<i2")
        stored[: len(channel.lead.stored)] = channel.lead.stored
        records[:, n * per_record : (n + 1) * per_record] = stored.reshape(len(tals), per_record)
    packed = b"".join(tal.ljust(2 * tal_values, b"\0") for tal in tals)
    records[:, len(channels) * per_record :] = np.frombuffer(packed, "<i2").reshape(len(tals), tal_values)
    return records.tobytes()


def _label(name: str) -> str:
    """Return ``ECG`` and the lead (EDF+ standard texts), in ASCII."""
    return f"ECG {name.encode('ascii', 'replace').decode()}"[:16]


def _subfield(text: str, most: int) -> str:
    """Return text as an EDF+ subfield, spaces as underscores; X where it is empty, no ASCII or too long."""
    word = "_".join(text.split())
    return word if word.isascii() and word.isprintable() and 0 < len(word) <= most else "X"


def _patient(patient: PatientText | None) -> str:
    if patient is None:
        return "X X X X"
    born, date = patient.birth_date, "X"
    if len(born) == 8 and born.isdecimal() and born.isascii() and 1 <= int(born[4:6]) <= 12:  # noqa: PLR2004
        date = f"{born[6:]}-{_MONTHS[int(born[4:6]) - 1]}-{born[:4]}"
    sex = patient.sex.upper() if patient.sex.upper() in {"M", "F"} else "X"
    return f"{_subfield(patient.local_id, 30)} {sex} {date} {_subfield(patient.name, 34)}"


def _filters(filters: Filters) -> str:
    stated = (("HP", filters.high_pass_hz), ("LP", filters.low_pass_hz), ("N", filters.notch_hz))
    return " ".join(f"{name}:{value:g}Hz" for name, value in stated if value is not None)
