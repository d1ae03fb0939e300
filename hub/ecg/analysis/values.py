"""Numbers from boundaries: rate, intervals, corrected QT, axes, amplitudes, ST."""

from collections.abc import Iterable, Mapping
from math import atan2, degrees, sqrt

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.delineate import Waves
from hub.ecg.analysis.model import Value
from hub.ecg.analysis.signal import Floats

MS, BPM, DEG, MV, UV = "ms", "bpm", "deg", "mV", "uV"
ST_AFTER_MS = {"st_j_uv": 0.0, "st_j20_uv": 20.0, "st_j60_uv": 60.0, "st_j80_uv": 80.0}
_MAINS_PERIOD_MS, _UNSURE_MS, _LEAST_LEVEL_MS = 20.0, 4.0, 8.0
AMPLITUDES = ("p_mv", "q_mv", "r_mv", "s_mv", "t_mv")
GLOBAL_UNITS = {
    "hr_bpm": BPM,
    **dict.fromkeys(("rr_mean_ms", "rr_sd_ms", "rr_min_ms", "rr_max_ms", "rmssd_ms"), MS),
    **dict.fromkeys(("p_ms", "pr_ms", "qrs_ms", "qt_ms"), MS),
    **dict.fromkeys(("qtc_bazett_ms", "qtc_fridericia_ms", "qtc_framingham_ms", "qtc_hodges_ms"), MS),
    **dict.fromkeys(("p_axis_deg", "qrs_axis_deg", "t_axis_deg"), DEG),
}
LEAD_UNITS = {**dict.fromkeys(AMPLITUDES, MV), **dict.fromkeys(ST_AFTER_MS, UV)}


def nothing(reason: str) -> dict[str, Value]:
    """Return every global value as missing for one reason."""
    return {name: Value(None, unit, reason=reason) for name, unit in GLOBAL_UNITS.items()}


def nothing_by_lead(leads: Iterable[str], reason: str) -> dict[str, dict[str, Value]]:
    """Return every value of every lead as missing for one reason."""
    return {
        lead: {name: Value(None, unit, reason=reason) for name, unit in LEAD_UNITS.items()} for lead in leads
    }


def rhythm(rr_ms: NDArray[np.float64]) -> dict[str, Value]:
    """Return rate and RR statistics.

    Parameters
    ----------
    rr_ms : numpy.ndarray
        Intervals between neighbouring beats.
    """
    names = ("hr_bpm", "rr_mean_ms", "rr_sd_ms", "rr_min_ms", "rr_max_ms", "rmssd_ms")
    if not rr_ms.size:
        return {name: Value(None, GLOBAL_UNITS[name], reason="too_few_beats") for name in names}
    low, high, mean = float(rr_ms.min()), float(rr_ms.max()), float(rr_ms.mean())
    out = {
        "hr_bpm": Value(60_000.0 / mean, BPM, 60_000.0 / high, 60_000.0 / low),
        "rr_mean_ms": Value(mean, MS, low, high),
        "rr_min_ms": Value(low, MS),
        "rr_max_ms": Value(high, MS),
        "rr_sd_ms": Value(None, MS, reason="too_few_beats"),
        "rmssd_ms": Value(None, MS, reason="too_few_beats"),
    }
    if rr_ms.size > 1:
        out["rr_sd_ms"] = Value(float(rr_ms.std(ddof=1)), MS)
        out["rmssd_ms"] = Value(float(np.sqrt(np.mean(np.square(np.diff(rr_ms))))), MS)
    return out


def corrected_qt(qt: Value, rr_mean_ms: float | None) -> dict[str, Value]:
    """Return QTc by four formulas from QT and the mean RR interval.

    Bazett QT/√RR, Fridericia QT/∛RR, Framingham QT + 154 (1 - RR), Hodges QT + 1.75 (rate - 60);
    QT in ms, RR in s, rate in beats a minute.
    """
    names = ("qtc_bazett_ms", "qtc_fridericia_ms", "qtc_framingham_ms", "qtc_hodges_ms")
    if qt.value is None or rr_mean_ms is None:
        reason = qt.reason or "too_few_beats"
        return {name: Value(None, MS, reason=reason) for name in names}
    rr_s = rr_mean_ms / 1000.0

    def each(value: float) -> tuple[float, ...]:
        return (
            value / sqrt(rr_s),
            value / rr_s ** (1 / 3),
            value + 154.0 * (1.0 - rr_s),
            value + 1.75 * (60.0 / rr_s - 60.0),
        )

    rows = [each(value) for value in (qt.value, qt.low, qt.high) if value is not None]
    return {
        name: Value(rows[0][i], MS, *((rows[1][i], rows[2][i]) if len(rows) == 3 else ()))  # noqa: PLR2004
        for i, name in enumerate(names)
    }


def axis(area: Mapping[str, float]) -> Value:
    """Return the frontal axis of net areas (mV·ms or any common unit) by lead, in (-180°, 180°].

    From I and aVF: aVF lies at +90° and its unipolar lead is 2/√3 shorter than the bipolar I.
    """
    if "I" not in area or "aVF" not in area:
        return Value(None, DEG, reason="lead_absent")
    x, y = area["I"], area["aVF"] * 2.0 / sqrt(3.0)
    if x == 0 and y == 0:
        return Value(None, DEG, reason="flat")
    angle = degrees(atan2(y, x))
    return Value(180.0 if angle <= -180.0 else angle, DEG)  # noqa: PLR2004 - one name for one direction


def net_area(median: Floats, leads: tuple[str, ...], begin: float, end: float) -> dict[str, float]:
    """Return the net area between two samples by lead, against a line between its ends."""
    low, high = round(begin), round(end)
    part = median[:, low : high + 1]
    chord = part[:, :1] + (part[:, -1:] - part[:, :1]) * np.linspace(0, 1, part.shape[1])
    return dict(zip(leads, (part - chord).sum(axis=1).tolist(), strict=True))


def lead_values(
    median: Floats,
    leads: tuple[str, ...],
    usable: NDArray[np.bool_],
    waves: Waves,
    *,
    per_ms: float,
    has_p: bool,
) -> dict[str, dict[str, Value]]:
    """Return amplitudes and ST levels of every lead, against the level before QRS.

    Parameters
    ----------
    median : numpy.ndarray
        Shape ``(n_leads, width)``, level before QRS at zero.
    """
    on, off = round(waves.over_all["qrs_on"]), round(waves.over_all["qrs_off"])
    rows = median - _level_before(median, waves, per_ms, has_p=has_p)[:, None]
    out = nothing_by_lead(leads, "flat")
    around = max(1, round(2 * per_ms))
    for number in np.flatnonzero(usable):
        row, values = rows[number], out[leads[number]]
        for name, after in ST_AFTER_MS.items():
            place = off + round(after * per_ms)
            level = row[max(0, place - around) : place + around + 1]
            values[name] = Value(float(level.mean()) * 1000.0, UV)
        values |= _deflections(row[on : off + 1])
        values["p_mv"] = _height(row, waves.p_peak[number] if has_p else np.nan, "no_p_wave")
        values["t_mv"] = _height(row, waves.t_peak[number], "t_end_unclear")
        out[leads[number]] = values
    return out


def _level_before(median: Floats, waves: Waves, per_ms: float, *, has_p: bool) -> Floats:
    """Return the mean level of each lead before QRS, between P and QRS where there is room.

    Over one period of 50 Hz mains, and up to a little before the onset, which is known no better:
    so an onset that lies some milliseconds elsewhere does not move every ST level.
    """
    on = waves.over_all["qrs_on"]
    end = on - _UNSURE_MS * per_ms
    begin = end - _MAINS_PERIOD_MS * per_ms
    p_off = waves.over_all["p_off"] if has_p else np.nan
    if np.isfinite(p_off):
        begin = max(begin, min(p_off, end - _LEAST_LEVEL_MS * per_ms))
    low = max(0, round(begin))
    return np.asarray(median[:, low : max(low + 1, round(end) + 1)].mean(axis=1))


def _height(row: Floats, place: float, reason: str) -> Value:
    return Value(float(row[round(place)]), MV) if np.isfinite(place) else Value(None, MV, reason=reason)


def _deflections(qrs: Floats) -> dict[str, Value]:
    """Return Q, R and S: the largest upward deflection and the lowest before and after it; 0 where absent."""
    top = int(np.argmax(qrs))
    height = float(qrs[top])
    if height < 0.02:  # noqa: PLR2004 - mV; no R: one downward deflection, named QS and given as S
        return {"q_mv": Value(0.0, MV), "r_mv": Value(0.0, MV), "s_mv": Value(min(0.0, float(qrs.min())), MV)}
    before, after = float(qrs[: top + 1].min()), float(qrs[top:].min())
    return {
        "q_mv": Value(min(0.0, before), MV),
        "r_mv": Value(height, MV),
        "s_mv": Value(min(0.0, after), MV),
    }
