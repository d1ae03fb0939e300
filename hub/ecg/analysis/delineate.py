"""Where the waves of a beat begin and end: found on a median beat, lead by lead and over all leads."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis import tuning
from hub.ecg.analysis.signal import Floats

NONE = -1


@dataclass(frozen=True, eq=False)
class Waves:
    """Boundaries on one beat, in working samples of its window; NaN where there is no wave.

    Attributes
    ----------
    qrs_on, qrs_off, t_on, t_peak, t_off, p_on, p_peak, p_off : numpy.ndarray
        Shape ``(n_leads,)``.
    over_all : mapping of str to float
        ``qrs_on``, ``qrs_off``, ``t_off``, ``p_on``, ``p_off``.
    """

    qrs_on: Floats
    qrs_off: Floats
    t_on: Floats
    t_peak: Floats
    t_off: Floats
    p_on: Floats
    p_peak: Floats
    p_off: Floats
    over_all: dict[str, float]


def quiet_before(active: NDArray[np.bool_], start: int, hold: int, least: int) -> NDArray[np.intp]:
    """Return for each row the first sample after the last quiet stretch before `start`.

    Parameters
    ----------
    active : numpy.ndarray
        bool, shape ``(n_rows, n_samples)``.
    start, hold, least : int
        Where to start going back, how long quiet must last, and where to stop.
    """
    count = np.cumsum(~active, axis=1, dtype=np.intp)
    quiet = np.zeros_like(active)
    quiet[:, hold:] = count[:, hold:] - count[:, :-hold] == hold
    inside = quiet[:, least : start + 1]
    back = np.argmax(inside[:, ::-1], axis=1)
    return np.where(inside.any(axis=1), start - back + 1, least)


def quiet_after(active: NDArray[np.bool_], start: int, hold: int, most: int) -> NDArray[np.intp]:
    """Return for each row the last sample before the first quiet stretch after `start`."""
    width = active.shape[1]
    return width - 1 - quiet_before(active[:, ::-1], width - 1 - start, hold, width - 1 - most)


def rise(rows: Floats, reach: int) -> Floats:
    """Return the rise over twice `reach` samples at every sample."""
    out = np.zeros_like(rows)
    out[:, reach:-reach] = rows[:, 2 * reach :] - rows[:, : -2 * reach]
    return out


def smoothed(rows: Floats, sigma: float) -> Floats:
    """Return rows under a Gaussian of `sigma` samples."""
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(rows, sigma, axis=-1, mode="nearest", truncate=3.0))


def qrs_extent(rows: Floats, centre: int, per_ms: float) -> tuple[int, int, int]:
    """Find QRS over all leads: onset, largest deflection, end.

    Parameters
    ----------
    rows : numpy.ndarray
        One beat, shape ``(n_leads, width)``, usable leads only.
    centre : int
        About where the complex is.
    per_ms : float
        Samples per millisecond.
    """
    slope = np.sqrt(np.square(rise(rows, max(1, round(tuning.QRS_SLOPE_MS * per_ms)))).sum(axis=0))
    near = slice(max(0, centre - round(80 * per_ms)), centre + round(90 * per_ms))
    steepest = near.start + int(np.argmax(slope[near]))
    active = (slope > tuning.QRS_SHARE * slope[steepest])[None]
    hold = max(1, round(tuning.QRS_HOLD_MS * per_ms))
    on = int(quiet_before(active, steepest, hold, max(0, centre - round(180 * per_ms)))[0])
    off = int(quiet_after(active, steepest, hold, min(slope.size - 1, centre + round(240 * per_ms)))[0])
    inner = rows[:, on : off + 1] - rows[:, on : on + 1]
    peak = on + int(np.argmax(np.square(inner).sum(axis=0)))
    on += round(tuning.QRS_ON_BIAS_MS * per_ms)
    off += round(tuning.QRS_OFF_BIAS_MS * per_ms)
    return max(0, on), peak, min(slope.size - 1, off)


def qrs_by_lead(rows: Floats, on: int, off: int, per_ms: float) -> tuple[Floats, Floats]:
    """Find QRS in each lead within the boundaries over all leads."""
    slope = np.abs(rise(rows, max(1, round(tuning.QRS_SLOPE_MS * per_ms))))
    inside = slope[:, on : off + 1]
    steepest = inside.max(axis=1, keepdims=True)
    active = slope > tuning.QRS_SHARE * steepest
    hold = max(1, round(tuning.QRS_HOLD_MS * per_ms))
    begins, ends = np.empty(len(rows)), np.empty(len(rows))
    for row, place in enumerate(on + np.argmax(inside, axis=1)):
        begins[row] = quiet_before(active[row : row + 1], int(place), hold, on)[0]
        ends[row] = quiet_after(active[row : row + 1], int(place), hold, off)[0]
    begins = np.maximum(on, begins + round(tuning.QRS_ON_BIAS_MS * per_ms))
    ends = np.minimum(off, ends + round(tuning.QRS_OFF_BIAS_MS * per_ms))
    return begins, ends


def t_by_lead(rows: Floats, first: int, last: int, per_ms: float) -> tuple[Floats, Floats, Floats]:
    """Find T in each lead between two samples: onset, peak, end."""
    smooth = smoothed(rows, tuning.T_SMOOTH_MS * per_ms)
    n_leads = len(rows)
    on, peak, off = (np.full(n_leads, np.nan) for _ in range(3))
    if last - first < round(40 * per_ms):
        return on, peak, off
    part = smooth[:, first : last + 1]
    chord = part[:, :1] + (part[:, -1:] - part[:, :1]) * np.linspace(0, 1, part.shape[1])
    away = part - chord
    tops = np.argmax(np.abs(away), axis=1)
    reach = round(200 * per_ms)
    for row, top in enumerate(tops):
        if top == 0 or top >= part.shape[1] - 2:
            continue
        fall = -np.sign(away[row, top]) * np.gradient(part[row])
        peak[row] = first + top
        after = fall[top : top + reach]
        steep = top + int(np.argmax(after))
        under = np.flatnonzero(fall[steep:] <= tuning.T_OFF_SHARE * fall[steep])
        off[row] = first + steep + (under[0] if under.size else part.shape[1] - 1 - steep)
        before = -fall[max(0, top - reach) : top + 1]
        steep = max(0, top - reach) + int(np.argmax(before))
        under = np.flatnonzero(-fall[: steep + 1] <= tuning.T_ON_SHARE * -fall[steep])
        on[row] = first + (under[-1] if under.size else 0)
    return on, peak, off


def p_by_lead(rows: Floats, first: int, last: int, per_ms: float) -> tuple[Floats, Floats, Floats]:
    """Find P in each lead between two samples: onset, peak, end. One common place, then lead by lead."""
    smooth = smoothed(rows, tuning.P_SMOOTH_MS * per_ms)
    n_leads = len(rows)
    on, peak, off = (np.full(n_leads, np.nan) for _ in range(3))
    part = smooth[:, first : last + 1]
    chord = part[:, :1] + (part[:, -1:] - part[:, :1]) * np.linspace(0, 1, part.shape[1])
    away = part - chord
    common = int(np.argmax(np.square(away).sum(axis=0)))
    reach, near = round(90 * per_ms), round(30 * per_ms)
    for row in range(n_leads):
        low, high = max(0, common - near), min(part.shape[1], common + near + 1)
        top = low + int(np.argmax(np.abs(away[row, low:high])))
        if top == 0 or top >= part.shape[1] - 2:
            continue
        fall = -np.sign(away[row, top]) * np.gradient(part[row])
        peak[row] = first + top
        steep = top + int(np.argmax(fall[top : top + reach]))
        under = np.flatnonzero(fall[steep:] <= tuning.P_SHARE * fall[steep])
        off[row] = first + steep + (under[0] if under.size else part.shape[1] - 1 - steep)
        low = max(0, top - reach)
        steep = low + int(np.argmax(-fall[low : top + 1]))
        under = np.flatnonzero(-fall[: steep + 1] <= tuning.P_SHARE * -fall[steep])
        on[row] = first + (under[-1] if under.size else 0)
    return on, peak, off


def second(values: Floats, *, latest: bool) -> float:
    """Return the second-earliest or second-latest of what is known; NaN when nothing is."""
    known = np.sort(values[np.isfinite(values)])
    if not known.size:
        return float("nan")
    if known.size == 1:
        return float(known[0])
    return float(known[-2] if latest else known[1])
