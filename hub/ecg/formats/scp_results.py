"""What the device measured and stated: sections 7, 8, 10 and 11 of SCP-ECG.

Source: EN 1064 sections 5.10 to 5.14, as public readers give them.
"""

import struct
from collections.abc import Iterator

from hub.ecg.formats.scp_header import Texts
from hub.ecg.leads import lead_from_code
from hub.ecg.waveform import DeviceMeasurement
from hub.errors import Malformed

UNKNOWN = 29999
_UNKNOWN = frozenset({UNKNOWN, 0xFFFF, -1, -0x8000})
_NO_AXIS = frozenset({UNKNOWN, 999, -999, -0x8000})
_BLOCK_BYTES, _SPIKE_BYTES, _SPIKE_NOTE_BYTES = 16, 4, 6
QTC_NAMES = {1: "qtc_bazett_ms", 2: "qtc_hodges_ms"}
_MOST_STATEMENTS = 255
_MOST_FIELDS = 16

_UV, _MV, _MS = "uV", "mV", "ms"
_LEAD_VALUES: tuple[tuple[str, str], ...] = (
    ("p_ms", _MS),
    ("pr_ms", _MS),
    ("qrs_ms", _MS),
    ("qt_ms", _MS),
    ("q_ms", _MS),
    ("r_ms", _MS),
    ("s_ms", _MS),
    ("r2_ms", _MS),
    ("s2_ms", _MS),
    ("q_mv", _MV),
    ("r_mv", _MV),
    ("s_mv", _MV),
    ("r2_mv", _MV),
    ("s2_mv", _MV),
    ("st_j_uv", _UV),
    ("p_plus_mv", _MV),
    ("p_minus_mv", _MV),
    ("t_plus_mv", _MV),
    ("t_minus_mv", _MV),
    ("st_slope_uv_per_s", "uV/s"),
    ("", ""),
    ("", ""),
    ("isoelectric_before_qrs_ms", _MS),
    ("isoelectric_after_qrs_ms", _MS),
    ("intrinsicoid_ms", _MS),
    ("", ""),
    ("st_j20_uv", _UV),
    ("st_j60_uv", _UV),
    ("st_j80_uv", _UV),
    ("st_j_rr16_uv", _UV),
    ("st_j_rr8_uv", _UV),
)
"""Section 10 in file order; morphology codes and the quality map are left out."""


def global_measurements(body: bytes) -> Iterator[DeviceMeasurement]:
    """Read section 7: rates, intervals between the boundaries of the first beat type, axes, spikes.

    Raises
    ------
    Malformed
        The counts at its beginning do not fit.
    """
    if len(body) < 6:  # noqa: PLR2004 - counts and mean intervals
        raise Malformed("the global measurements are cut off")
    n_blocks, n_spikes = body[0], body[1]
    at = 6 + n_blocks * _BLOCK_BYTES
    if len(body) < at + n_spikes * _SPIKE_BYTES:
        raise Malformed("the global measurements are cut off")
    rr_ms, pp_ms = struct.unpack_from("<2H", body, 2)
    yield from _known("rr_mean_ms", rr_ms, _MS)
    yield from _known("pp_mean_ms", pp_ms, _MS)
    if n_blocks:
        yield from _intervals(body)
    for n in range(n_spikes):
        time_ms, height_uv = struct.unpack_from("<Hh", body, at + n * _SPIKE_BYTES)
        yield DeviceMeasurement("pacemaker_spike_ms", float(time_ms), _MS)
        if height_uv not in _UNKNOWN:
            yield DeviceMeasurement("pacemaker_spike_mv", height_uv / 1000, _MV)
    yield from _rates(body, at + n_spikes * (_SPIKE_BYTES + _SPIKE_NOTE_BYTES))


def _intervals(body: bytes) -> Iterator[DeviceMeasurement]:
    """Give differences of the stored boundaries, as the standard defines the intervals, and the axes."""
    p_on, p_off, qrs_on, qrs_off, t_off = struct.unpack_from("<5H", body, 6)
    for name, begin, end in (
        ("p_ms", p_on, p_off),
        ("pr_ms", p_on, qrs_on),
        ("qrs_ms", qrs_on, qrs_off),
        ("qt_ms", qrs_on, t_off),
    ):
        if not {begin, end} & {0, *_UNKNOWN} and begin < end:
            yield DeviceMeasurement(name, float(end - begin), _MS)
    axes = struct.unpack_from("<3h", body, 16)
    for name, axis in zip(("p_axis_deg", "qrs_axis_deg", "t_axis_deg"), axes, strict=True):
        if axis not in _NO_AXIS:
            yield DeviceMeasurement(name, float(axis), "deg")


def _rates(body: bytes, at: int) -> Iterator[DeviceMeasurement]:
    """Give rates and QTc, which follow the list of beat types; older files end before."""
    if len(body) < at + 2:
        return
    at += 2 + int.from_bytes(body[at : at + 2], "little")
    if len(body) < at + 7:
        return
    ventricular, atrial, qtc_ms, formula = struct.unpack_from("<3HB", body, at)
    yield from _known("hr_bpm", ventricular, "bpm")
    yield from _known("atrial_rate_bpm", atrial, "bpm")
    yield from _known(QTC_NAMES.get(formula, "qtc_ms"), qtc_ms, _MS)


def _known(name: str, value: int, unit: str) -> Iterator[DeviceMeasurement]:
    if value and value not in _UNKNOWN:
        yield DeviceMeasurement(name, float(value), unit)


def lead_measurements(body: bytes) -> Iterator[DeviceMeasurement]:
    """Read section 10: durations and amplitudes of each lead.

    Raises
    ------
    Malformed
        The blocks do not fit.
    """
    for code, block in _lead_blocks(body):
        lead = lead_from_code(code) or f"lead {code}"
        for (name, unit), (value,) in zip(_LEAD_VALUES, struct.iter_unpack("<h", block), strict=False):
            if name and value not in _UNKNOWN:
                yield DeviceMeasurement(name, value / 1000 if unit == _MV else float(value), unit, lead)


def _lead_blocks(body: bytes) -> Iterator[tuple[int, bytes]]:
    count = int.from_bytes(body[:2], "little")
    for own_head in (0, 4):  # some writers count the head of a block in its length
        found, at = [], 4
        for _ in range(min(count, len(body) // 4)):
            code, size = struct.unpack_from("<2H", body, at) if at + 4 <= len(body) else (0, -1)
            end = at + 4 + size - own_head
            if size < own_head or end > len(body):
                break
            block = body[at + 4 : end]
            found.append((code, block[: len(block) // 2 * 2]))
            at = end
        if len(found) == count:
            yield from found
            return
    raise Malformed("the lead measurements are cut off")


def statements(body: bytes, texts: Texts, *, coded: bool) -> list[str]:
    """Read section 8, or 11 with `coded`: one text per statement.

    Raises
    ------
    Malformed
        The statements do not fit.
    """
    if len(body) < 9:  # noqa: PLR2004 - state, date, time, count
        raise Malformed("the statements are cut off")
    found, at = [], 9
    for _ in range(min(body[8], _MOST_STATEMENTS)):
        size = int.from_bytes(body[at + 1 : at + 3], "little")
        value = body[at + 3 : at + 3 + size]
        if len(value) < size or len(body) < at + 3:
            raise Malformed("the statements are cut off")
        at += 3 + size
        parts = texts.split(value[1:] if coded else value, _MOST_FIELDS)
        found.append(" ".join(part for part in parts if part))
    return [text for text in found if text]
