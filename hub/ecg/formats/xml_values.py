"""What electrocardiographs write as text into XML: numbers, moments, lists of samples."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import NoLeads, NotAWaveform, RateMissing, Truncated, UnitsMissing
from hub.ecg.leads import lead_from_text, unique_names
from hub.ecg.limits import check_size
from hub.ecg.waveform import DeviceMeasurement, Part
from hub.errors import Malformed

_MAX_NUMBER_CHARACTERS = 64
_SLICE = 1024 * 1024
_AGE_UNITS = {
    **dict.fromkeys(("y", "a", "yr", "year", "years"), "Y"),
    **dict.fromkeys(("m", "mo", "month", "months"), "M"),
    **dict.fromkeys(("w", "wk", "week", "weeks"), "W"),
    **dict.fromkeys(("d", "day", "days"), "D"),
}
_DIGITS = re.compile(r"^([0-9]{12}|[0-9]{14})(?:\.([0-9]{1,9}))?([+-][0-9]{4})?$")


@dataclass(frozen=True, slots=True, eq=False)
class Lead:
    """One lead as stored: ``mV = stored * lsb_mv + origin_mv``.

    Attributes
    ----------
    name : str
        As the file names it.
    stored : numpy.ndarray
        float64 of shape ``(n_samples,)``, in stored units.
    lsb_mv, origin_mv : float
        Millivolts of one stored unit, and of a stored zero.
    """

    name: str
    stored: NDArray[np.float64]
    lsb_mv: float
    origin_mv: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Leads that were recorded together, in millivolts.

    Attributes
    ----------
    samples_mv : numpy.ndarray
        float64 of shape ``(n_samples, n_leads)``.
    rate_hz : float
        Samples per second.
    leads : tuple of str
        Unique names, in the standard spelling where known.
    lsb_mv : tuple
        Millivolts per stored unit of each lead; None where it changes within the lead.
    warnings : tuple of str
        ``lead_unnamed`` and ``lead_repeated``.
    """

    samples_mv: NDArray[np.float64]
    rate_hz: float
    leads: tuple[str, ...]
    lsb_mv: tuple[float | None, ...]
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples_mv) / self.rate_hz


def longest_of(strips: Sequence[Block], label: str) -> tuple[Block, tuple[Part, ...], tuple[str, ...]]:
    """Choose the strip that is shown.

    Parameters
    ----------
    strips : sequence of Block
        At least one.
    label : str
        What the file calls a strip.

    Returns
    -------
    shown, others, warnings
        The longest, of equals the first; the others as parts; ``leads_in_other_groups`` when one of
        them holds a lead that is not shown.
    """
    shown = max(strips, key=lambda strip: strip.seconds)
    others = tuple(
        Part("rhythm", label, each.samples_mv, each.rate_hz, each.leads)
        for each in strips
        if each is not shown
    )
    unseen = {lead for part in others for lead in part.leads} - set(shown.leads)
    return shown, others, ("leads_in_other_groups",) if unseen else ()


def block(leads: Sequence[Lead], rate_hz: float) -> Block:
    """Put leads side by side.

    Raises
    ------
    NoLeads
        There is none, or they are empty.
    Truncated
        They are not equally long.
    NotAWaveform
        A sample is beyond all numbers.
    RecordingTooLarge
        A limit is passed.
    """
    lengths = {len(lead.stored) for lead in leads}
    if not leads or 0 in lengths:
        raise NoLeads
    if len(lengths) > 1:
        raise Truncated(needed_samples=max(lengths), present_samples=min(lengths))
    check_size(len(leads[0].stored), len(leads), rate_hz)
    samples_mv = np.empty((len(leads[0].stored), len(leads)))
    with np.errstate(over="ignore"):
        for n, lead in enumerate(leads):
            samples_mv[:, n] = lead.stored * lead.lsb_mv + lead.origin_mv
    if not np.isfinite(samples_mv).all():
        raise NotAWaveform("a sample is no voltage of a body")
    warnings = [] if all(lead.name for lead in leads) else ["lead_unnamed"]
    names, renamed = unique_names(
        [lead_from_text(lead.name) or lead.name[:64] or f"channel {n + 1}" for n, lead in enumerate(leads)]
    )
    warnings += ["lead_repeated"] if renamed else []
    return Block(samples_mv, rate_hz, names, tuple(lead.lsb_mv for lead in leads), tuple(warnings))


def number_of(text: str) -> float | None:
    """Return a written number if it is finite and of sane length, else None."""
    if len(text) > _MAX_NUMBER_CHARACTERS:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None


def whole_number_of(text: str) -> int | None:
    """Return a written whole number, ``"5000"`` or ``"5000.0"``, else None."""
    value = number_of(text)
    return int(value) if value is not None and value == int(value) else None


def rate_of(text: str) -> float:
    """Return a written sampling rate; `RateMissing` when it is none."""
    rate_hz = number_of(text)
    if rate_hz is None or rate_hz <= 0:
        raise RateMissing
    return rate_hz


def rate_from_interval(seconds: float) -> float:
    """Return the rate for a time between samples, without the dust of dividing decimal fractions."""
    if seconds <= 0:
        raise RateMissing
    rate_hz = 1.0 / seconds
    if not isfinite(rate_hz):
        raise RateMissing
    near = round(rate_hz, 6)
    return near if near and abs(rate_hz - near) <= 1e-9 * near else rate_hz


def resolution_mv(text: str, unit_mv: float | None) -> float:
    """Return millivolts per stored unit from a written number and its unit; `UnitsMissing` without."""
    value = number_of(text)
    lsb_mv = value * unit_mv if value and unit_mv else 0.0
    if not lsb_mv or not isfinite(lsb_mv):
        raise UnitsMissing("a lead states no usable resolution")
    return lsb_mv


def listed_samples(text: str, *, comma: bool = False) -> NDArray[np.float64]:
    """Read samples written as decimal numbers, separated by space or by commas.

    Raises
    ------
    Malformed
        Something between the separators is no finite number.
    """
    parts = [_numbers(piece, comma=comma) for piece in _slices(text, "," if comma else None)]
    return parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0)])


def _numbers(piece: str, *, comma: bool) -> NDArray[np.float64]:
    words = piece.split(",") if comma else piece.split()
    if comma and not words[-1].strip():
        del words[-1]
    try:
        values = np.fromiter(map(float, words), np.float64, count=len(words))
    except ValueError as error:
        raise Malformed("a sample is no number") from error
    if not np.isfinite(values).all():
        raise Malformed("a sample is no finite number")
    return values


def _slices(text: str, separator: str | None) -> Iterator[str]:
    """Cut a long list between its numbers: as separate strings it would take fifty times its room."""
    start = 0
    between = re.compile(re.escape(separator) if separator else r"\s")
    while start < len(text):
        cut = between.search(text, start + _SLICE)
        end = cut.end() if cut else len(text)
        if not text[start:end].isspace():
            yield text[start:end]
        start = end


def base64_bytes(text: str) -> bytes:
    """Decode base64, lines and spaces allowed; `Malformed` when it is not that."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("waveform data is not base64") from error


def int16_samples(data: bytes) -> NDArray[np.float64]:
    """Read little-endian 16-bit samples; `Malformed` for an odd number of bytes."""
    if len(data) % 2:
        raise Malformed("waveform data ends within a sample", present_bytes=len(data))
    return np.frombuffer(data, dtype="<i2").astype(np.float64)


def need_samples(stored: NDArray[np.float64], declared: int | None) -> NDArray[np.float64]:
    """Return the declared number of samples; `Truncated` when there are fewer."""
    if declared is None or declared == len(stored):
        return stored
    if declared < 0 or declared > len(stored):
        raise Truncated(needed_samples=declared, present_samples=len(stored))
    return stored[:declared]


def moment_from_digits(text: str) -> datetime | None:
    """Read ``YYYYMMDDHHMM[SS[.F]][+ZZZZ]`` (HL7 TS); naive without a zone, None when coarser."""
    found = _DIGITS.match(text)
    if not found:
        return None
    try:
        moment = datetime.strptime(found[1].ljust(14, "0"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - zone follows
        zone = _zone(found[3])
    except ValueError:
        return None
    if found[2]:
        moment = moment.replace(microsecond=int(found[2][:6].ljust(6, "0")))
    return moment if zone is None else moment.replace(tzinfo=zone)


def _zone(offset: str | None) -> timezone | None:
    if not offset:
        return None
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)) if minutes else UTC


def moment_from(text: str, patterns: Iterable[str]) -> datetime | None:
    """Read a date with its time by the first pattern that fits, naive: the device's own clock."""
    for pattern in patterns:
        try:
            return datetime.strptime(text, pattern)  # noqa: DTZ007 - devices state no zone
        except ValueError:
            continue
    return None


def measured(name: str, text: str, unit: str, *, factor: float = 1.0) -> tuple[DeviceMeasurement, ...]:
    """Return one measurement of the device, or nothing when the text is no number."""
    value = number_of(text)
    return () if value is None else (DeviceMeasurement(name, value * factor, unit),)


def join_name(family: str, given: str, middle: str = "") -> str:
    """Return a name in parts the way DICOM writes it, without trailing carets."""
    return f"{family}^{given}^{middle}".rstrip("^")


def day(text: str, patterns: Iterable[str]) -> str:
    """Return a calendar day as ``YYYYMMDD`` where it fits a pattern, else as written."""
    moment = moment_from(text, patterns) if text else None
    return f"{moment:%Y%m%d}" if moment else text


def age_of(value: str, unit: str) -> str:
    """Return an age with its unit: Y, M, W or D where it is one of these (PS3.5 6.2 AS), else as written."""
    if not value:
        return ""
    whole = whole_number_of(value)
    unit = _AGE_UNITS.get(unit.strip().lower(), unit)
    return (
        f"{value} {unit}".strip() if whole is None or unit not in {"Y", "M", "W", "D"} else f"{whole}{unit}"
    )
