"""Recordings written as SCP-ECG 2 (EN 1064): sections 0 to 7, samples exact to the last bit."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.model import Measurement
from hub.ecg.errors import CannotHold
from hub.ecg.formats.scp_huffman import DEFAULT_TABLE_MARK, encode
from hub.ecg.formats.scp_record import HEADER, MAGIC, POINTER, PREAMBLE, checksum
from hub.ecg.formats.scp_results import QTC_NAMES, UNKNOWN
from hub.ecg.leads import lead_from_code
from hub.ecg.waveform import Waveform
from hub.ecg.writers.scp_header import header_section

_PROTOCOL = 20
_STANDARD_SECTIONS = 12
_MOST_LEADS = 255
_LEAD_CODES = {name: code for code in range(255, 0, -1) if (name := lead_from_code(code))}
_ALL_AT_ONCE = 0x04
_NV_PER_MV, _US_PER_S, _US_PER_MS = 1_000_000, 1_000_000, 1000
_LARGEST = 0x7FFF
_LONGEST_LEAD = 0xFFFE
_MOST_STEP = _MOST_INTERVAL = 0xFFFF
_TOLERANCE = 1e-3
"""How far a sample may lie from a whole number of steps: rounding of float64, no more."""

_MOST_DIVISOR = 1024
_PLAIN_STEP_NV = 1000
_RATE_TOLERANCE = 1e-3
_QRS_AT_MS = 1000

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Column:
    """One lead as whole steps, from its first sample (counted from 1) to its last."""

    code: int
    first: int
    values: Integers

    @property
    def last(self) -> int:
        return self.first + len(self.values) - 1


def write_scp(
    waveform: Waveform,
    *,
    difference: Literal[0, 1, 2] = 2,
    huffman: bool = True,
    measurement: Measurement | None = None,
    exact: bool = True,
) -> bytes:
    """Write a recording as one SCP-ECG record.

    Parameters
    ----------
    waveform : Waveform
        Samples that are absent (NaN) at the beginning and the end of a lead shorten that lead.
    difference : {0, 1, 2}
        Whether amplitudes, first or second differences are stored.
    huffman : bool
        Whether the standard's own Huffman table is used.
    measurement : Measurement, optional
        What section 7 is to say; without it, what the device measured, where the recording tells.
    exact : bool
        With False, samples that are no whole steps are rounded to 1 µV, or to the smallest
        number of nanovolts with which the largest fits 16 bits, and a sample interval to
        whole microseconds if that changes the rate by less than 1 in 1000.

    Returns
    -------
    bytes
        Sections 0, 1, 3 and 6, 2 with `huffman`, 4 and 5 with a median beat, 7 with measurements.

    Raises
    ------
    CannotHold
        The fact ``reason`` says why: ``step`` (samples are no common whole number of nanovolts),
        ``range`` (more than 16 bits), ``gap`` (absent samples within a lead), ``rate``,
        ``lead`` (no code), ``leads`` (too many) or ``length`` (a lead is longer than 65,534 bytes).

    Notes
    -----
    Different resolutions by lead are held exactly in their common divisor. A median beat is kept
    when it has the leads, the rate and the resolution of the rhythm. The age, sex, name,
    number and birth date of the patient, the time, the filters and the device's name are kept;
    warnings and statements of the device are not.
    """
    interval_us = _interval_us(waveform.rate_hz, exact=exact)
    step_nv = _step_nv(waveform, exact=exact)
    columns = _columns(waveform, step_nv)
    bodies = {
        1: header_section(waveform),
        3: _lead_section(columns),
        6: _sample_section([c.values for c in columns], step_nv, interval_us, difference, huffman=huffman),
    }
    if huffman:
        bodies[2] = struct.pack("<H", DEFAULT_TABLE_MARK)
    beat = _median(waveform, step_nv, interval_us)
    if beat is not None:
        length_ms = round(len(beat[0]) * interval_us / _US_PER_MS)
        bodies[4] = struct.pack("<3H", length_ms, 0, 0)
        bodies[5] = _sample_section(beat, step_nv, interval_us, difference, huffman=huffman)
    numbers = _numbers(waveform, measurement)
    if numbers:
        bodies[7] = _measurement_section(numbers)
    return _record(bodies)


def _interval_us(rate_hz: float, *, exact: bool) -> int:
    interval = _US_PER_S / rate_hz
    whole = round(interval)
    off = abs(whole / interval - 1)
    if not 1 <= whole <= _MOST_INTERVAL or off > (_RATE_TOLERANCE if not exact else 1e-9):
        raise CannotHold(reason="rate")
    return whole


def _step_nv(waveform: Waveform, *, exact: bool) -> int:
    """Return the nanovolts per unit in which all samples are whole numbers of 16 bits."""
    samples_nv = waveform.samples_mv * _NV_PER_MV
    peak = float(np.nan_to_num(np.abs(samples_nv)).max())
    step = _common_step(waveform.lsb_mv)
    for candidate in (step, step // 2 if step % 2 == 0 else 0):
        if candidate and _whole(samples_nv, candidate):
            if peak > (_LARGEST + _TOLERANCE) * candidate:
                break
            return candidate
    if exact:
        raise CannotHold(reason="range" if step and _whole(samples_nv, step) else "step")
    rounded = max(_PLAIN_STEP_NV, int(np.ceil(peak / _LARGEST)))
    if rounded > _MOST_STEP:
        raise CannotHold(reason="range")
    return rounded


def _common_step(lsb_mv: Sequence[float | None]) -> int:
    """Return the greatest common divisor of the resolutions in nanovolts; 0 when there is none."""
    steps = [each * _NV_PER_MV for each in lsb_mv if each is not None]
    if not steps or any(abs(each - round(each)) > _TOLERANCE or round(each) == 0 for each in steps):
        return 0
    common = gcd(*map(round, steps))
    if common > _MOST_STEP * _MOST_DIVISOR:
        return 0
    # A divisor of a step that does not fit its field serves as well, where the samples still fit.
    divisor = next(n for n in range(1, common + 1) if common % n == 0 and common // n <= _MOST_STEP)
    return common // divisor


def _whole(samples_nv: NDArray[np.float64], step_nv: int) -> bool:
    steps = np.nan_to_num(samples_nv) / step_nv
    return bool(np.abs(steps - np.round(steps)).max() <= _TOLERANCE)


def _columns(waveform: Waveform, step_nv: int) -> list[_Column]:
    if len(waveform.leads) > _MOST_LEADS:
        raise CannotHold(reason="leads")
    columns = []
    for n, name in enumerate(waveform.leads):
        code = _LEAD_CODES.get(name)
        if code is None:
            raise CannotHold(reason="lead", column=n)
        column = waveform.samples_mv[:, n]
        present = np.flatnonzero(~np.isnan(column))
        if len(present) == 0 or present[-1] - present[0] + 1 != len(present):
            raise CannotHold(reason="gap", column=n)
        kept = column[present[0] : present[-1] + 1]
        values = np.round(kept * _NV_PER_MV / step_nv).astype(np.int64)
        columns.append(_Column(code, int(present[0]) + 1, values))
    return columns


def _median(waveform: Waveform, step_nv: int, interval_us: int) -> list[Integers] | None:
    """Return the median beat in the steps of the rhythm; None when it does not fit them or its leads."""
    part = waveform.median
    if part is None or part.leads != waveform.leads or part.rate_hz != waveform.rate_hz:
        return None
    samples_nv = part.samples_mv * _NV_PER_MV
    size = len(samples_nv)
    length_ms = round(size * interval_us / _US_PER_MS)
    countable = round(length_ms * _US_PER_MS / interval_us) == size and 0 < length_ms <= _MOST_INTERVAL
    fits = not np.isnan(samples_nv).any() and _whole(samples_nv, step_nv)
    if not countable or not fits or np.abs(samples_nv).max() > _LARGEST * step_nv:
        return None
    return list(np.round(samples_nv / step_nv).astype(np.int64).T)


def _lead_section(columns: Sequence[_Column]) -> bytes:
    together = len({(column.first, column.last) for column in columns}) == 1
    number = min(len(columns), 31) << 3 if together else 0
    body = struct.pack("<2B", len(columns), (_ALL_AT_ONCE if together else 0) | number)
    return body + b"".join(struct.pack("<2IB", c.first, c.last, c.code) for c in columns)


def _sample_section(
    leads: Sequence[Integers], step_nv: int, interval_us: int, difference: int, *, huffman: bool
) -> bytes:
    stored = [_even(_coded(_differences(values, difference), huffman=huffman)) for values in leads]
    longest = max(map(len, stored))
    if longest > _LONGEST_LEAD:
        raise CannotHold(reason="length", bytes=longest)
    head = struct.pack("<2H2B", step_nv, interval_us, difference, 0)
    return head + struct.pack(f"<{len(stored)}H", *map(len, stored)) + b"".join(stored)


def _differences(values: Integers, difference: int) -> Integers:
    """Return first or second differences, wrapped to 16 bits as every reader undoes them."""
    result = values.copy()
    for order in range(1, difference + 1):
        result[order:] = np.diff(values, order)
    if difference == 2 and len(values) > 1:  # noqa: PLR2004 - the second sample stands as it is
        result[1] = values[1]
    return result.astype(np.int16).astype(np.int64)


def _coded(values: Integers, *, huffman: bool) -> bytes:
    return encode(values) if huffman else values.astype("<i2").tobytes()


def _numbers(waveform: Waveform, measurement: Measurement | None) -> dict[str, float]:
    """Return the global values by name."""
    if measurement is not None:
        found = {name: each.value for name, each in measurement.values.items()}
    else:
        found = {each.name: each.value for each in waveform.device_measurements if not each.lead}
    known = {"hr_bpm", "atrial_rate_bpm", "rr_mean_ms", "pp_mean_ms", "p_ms", "pr_ms", "qrs_ms", "qt_ms"}
    known |= {"p_axis_deg", "qrs_axis_deg", "t_axis_deg", "qtc_ms", *QTC_NAMES.values()}
    return {name: value for name, value in found.items() if name in known and value is not None}


def _measurement_section(numbers: Mapping[str, float]) -> bytes:
    """Write one beat type. Intervals are stored as boundaries, laid around a QRS that begins at 1 s."""

    def whole(value: float | None, lowest: int = 1) -> int:
        return UNKNOWN if value is None or not lowest <= round(value) < UNKNOWN else round(value)

    p_ms, pr_ms, qrs_ms, qt_ms = (numbers.get(name) for name in ("p_ms", "pr_ms", "qrs_ms", "qt_ms"))
    p_on = None if pr_ms is None else _QRS_AT_MS - round(pr_ms)
    p_off = None if p_on is None or p_ms is None else p_on + round(p_ms)
    ends = [None if value is None else _QRS_AT_MS + round(value) for value in (qrs_ms, qt_ms)]
    axes = [whole(numbers.get(name), -360) for name in ("p_axis_deg", "qrs_axis_deg", "t_axis_deg")]
    formula, qtc_name = next(
        ((code, name) for code, name in QTC_NAMES.items() if name in numbers), (0, "qtc_ms")
    )
    means = [whole(numbers.get(name)) for name in ("rr_mean_ms", "pp_mean_ms")]
    rates = [whole(numbers.get(name)) for name in ("hr_bpm", "atrial_rate_bpm", qtc_name)]
    return (
        struct.pack("<2B2H", 1, 0, *means)
        + struct.pack("<5H3h", *map(whole, (p_on, p_off, _QRS_AT_MS, *ends)), *axes)
        + struct.pack("<4HB", 0, *rates, formula)
    )


def _record(bodies: Mapping[int, bytes]) -> bytes:
    """Put sections one behind another, each with its header, section 0 first."""
    sections = {number: _section(number, _even(bodies[number])) for number in sorted(bodies)}
    own = HEADER + _STANDARD_SECTIONS * POINTER
    at = PREAMBLE + own
    pointers = [struct.pack("<H2I", 0, own, PREAMBLE + 1)]
    for number in range(1, _STANDARD_SECTIONS):
        size = len(sections.get(number, b""))
        pointers.append(struct.pack("<H2I", number, size, at + 1 if size else 0))
        at += size
    first = _section(0, b"".join(pointers), MAGIC)
    whole = struct.pack("<I", at) + first + b"".join(sections.values())
    return checksum(whole) + whole


def _section(number: int, body: bytes, reserved: bytes = bytes(6)) -> bytes:
    rest = struct.pack("<HI2B", number, HEADER + len(body), _PROTOCOL, _PROTOCOL) + reserved + body
    return checksum(rest) + rest


def _even(body: bytes) -> bytes:
    return body + bytes(len(body) % 2)
