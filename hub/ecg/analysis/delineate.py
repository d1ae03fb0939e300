"""Where the waves of a beat begin and end: found on a median beat, lead by lead and over all leads."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis import tuning
from hub.ecg.analysis.signal import Floats

_STILL = 1e-9


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


@dataclass(frozen=True, slots=True)
class Frame:
    """What a median beat is cut from.

    Attributes
    ----------
    pre : int
        Sample of its fiducial point.
    per_ms : float
        Samples per millisecond.
    last : int
        Last sample that the recording covers.
    rr, rr_short : float
        Usual interval between beats, and the shortest that this shape is followed by, in samples.
    spike : float
        Where a pacing spike lies from the fiducial point; NaN without.
    """

    pre: int
    per_ms: float
    last: int
    rr: float
    rr_short: float
    spike: float


def delineated(
    median: Floats, usable: NDArray[np.bool_], frame: Frame, seen: NDArray[np.bool_] | None = None
) -> Waves:
    """Find all boundaries on one median beat.

    Parameters
    ----------
    median : numpy.ndarray
        Shape ``(n_leads, width)``, level before QRS at zero.
    usable : numpy.ndarray
        bool, shape ``(n_leads,)``.
    frame : Frame
    seen : numpy.ndarray, optional
        bool, the shape of `median`: which of it was recorded; everything when not given. No lead has a
        wave where it was not.
    """
    names = ("qrs_on", "qrs_off", "t_on", "t_peak", "t_off", "p_on", "p_peak", "p_off")
    by_lead = {name: np.full(len(median), np.nan) for name in names}
    rows, per_ms = median[usable], frame.per_ms
    on, _, off = qrs_extent(rows, frame.pre, per_ms)
    # Nothing of a paced complex comes before its spike.
    on = on if np.isnan(frame.spike) else min(off - 2, max(on, frame.pre + round(frame.spike)))
    by_lead["qrs_on"][usable], by_lead["qrs_off"][usable] = qrs_by_lead(rows, on, off, per_ms)
    rr_s = frame.rr / per_ms / 1000.0
    longest = min(on + tuning.T_QT_MOST * per_ms * rr_s**0.5, frame.last)
    next_beat = frame.pre + frame.rr_short - tuning.T_NEXT_MS * per_ms
    expected = on + (tuning.T_EXPECTED_QTC_MS * rr_s ** (1 / 3) - 40.0) * per_ms
    first = off + round(40 * per_ms)
    last = max(round(min(longest, next_beat)), min(round(longest), first + round(120 * per_ms)))
    found = t_by_lead(rows, first, last, expected, per_ms)
    if np.isfinite(found[2]).any() and most(found[2], 0.5) >= last - 1 and longest < next_beat:
        # T has not come back where nothing but the search, or the recording, ends.
        found = tuple(np.full(len(rows), np.nan) for _ in range(3))
    found = _seen(found, seen, usable)
    for name, values in zip(("t_on", "t_peak", "t_off"), found, strict=True):
        by_lead[name][usable] = values
    t_end = most(by_lead["t_off"], 0.5)
    begin = max(2, on - round(300 * per_ms))
    if np.isfinite(t_end):
        begin = max(begin, min(round(t_end - frame.rr), on - round(100 * per_ms)))
    found = p_by_lead(rows, begin, max(begin + 3, on - round(tuning.P_GAP_MS * per_ms)), per_ms)
    found = _seen(found, seen, usable)
    for name, values in zip(("p_on", "p_peak", "p_off"), found, strict=True):
        by_lead[name][usable] = values
    p_off = most(by_lead["p_off"], tuning.P_LATEST) + tuning.P_OFF_BIAS_MS * per_ms
    over_all = {
        "qrs_on": float(on),
        "qrs_off": float(off),
        "t_off": t_end,
        "p_on": most(by_lead["p_on"], tuning.P_EARLIEST) + tuning.P_ON_BIAS_MS * per_ms,
        "p_off": min(float(on), p_off),
    }
    return Waves(over_all=over_all, **by_lead)


def _seen(
    found: tuple[Floats, ...], seen: NDArray[np.bool_] | None, usable: NDArray[np.bool_]
) -> tuple[Floats, ...]:
    """Take away a wave whose beginning, peak or end was not recorded in its lead."""
    if seen is None:
        return found
    rows, last = np.flatnonzero(usable), seen.shape[1] - 1
    whole = np.isfinite(found).all(axis=0)
    for places in found:
        whole &= seen[rows, np.clip(np.round(np.nan_to_num(places)), 0, last).astype(np.intp)]
    return tuple(np.where(whole, places, np.nan) for places in found)


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
    return np.asarray(np.where(inside.any(axis=1), start - back + 1, least), dtype=np.intp)


def quiet_after(active: NDArray[np.bool_], start: int, hold: int, most: int) -> NDArray[np.intp]:
    """Return for each row the last sample before the first quiet stretch after `start`."""
    width = active.shape[1]
    mirrored = quiet_before(active[:, ::-1], width - 1 - start, hold, width - 1 - most)
    return np.asarray(width - 1 - mirrored)


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
    slope = np.sqrt(np.square(rise(rows, max(1, round(tuning.QRS_RISE_MS * per_ms)))).mean(axis=0))
    near = slice(max(0, centre - round(80 * per_ms)), centre + round(90 * per_ms))
    steepest = near.start + int(np.argmax(slope[near]))
    limits = np.array([[tuning.QRS_ON_RISE], [tuning.QRS_OFF_RISE]]) * slope[steepest] ** 0.5
    # In a wide tachycardia even the quiet quarter is QRS.
    limits += np.minimum(2.0 * limits, tuning.QRS_CALM * quiet_level(slope, centre, per_ms))
    hold = max(1, round(tuning.QRS_QUIET_MS * per_ms))
    first = max(0, centre - round(180 * per_ms))
    last = min(slope.size - 1, centre + round(240 * per_ms))
    begins = quiet_before(slope > limits, steepest, hold, first)
    on = min(steepest, int(begins[0]))
    off = max(steepest, int(quiet_after(slope[None] > limits[1], steepest, hold, last)[0]))
    inner = rows[:, on : off + 1] - rows[:, on : on + 1]
    peak = on + int(np.argmax(np.square(inner).sum(axis=0)))
    left = (on + _departure(rows, min(steepest, int(begins[1])), off, per_ms)) / 2
    right = (off + _arrival(rows, on, off, per_ms)) / 2
    fine = _fine_extent(rows, centre, (round(left), round(right)), per_ms)
    on = round((left + fine[0]) / 2 + tuning.QRS_ALL_ON_BIAS_MS * per_ms)
    off = round((right + fine[1]) / 2 + tuning.QRS_ALL_OFF_BIAS_MS * per_ms)
    return max(0, min(on, steepest)), peak, min(slope.size - 1, max(off, steepest))


def quiet_level(activity: Floats, centre: int, per_ms: float) -> float:
    """Return the activity of the quiet quarter of a beat, what noise and atria leave between the waves.

    A beat that the recording's edge cuts is held level there, which is no calm.
    """
    moving = np.flatnonzero(activity > _STILL)
    if not moving.size:
        return 0.0
    first = max(int(moving[0]), centre - round(200 * per_ms))
    last = min(int(moving[-1]), centre + round(300 * per_ms))
    return float(np.quantile(activity[first : last + 1], tuning.QRS_CALM_QUANTILE)) if first < last else 0.0


def _departure(rows: Floats, on: int, off: int, per_ms: float) -> int:
    """Return where the leads together leave the level before QRS: a second opinion on a slope's onset."""
    low, high = max(0, on - round(24 * per_ms)), max(1, on - round(8 * per_ms))
    line = rows[:, low:high].mean(axis=1, keepdims=True) if high > low else rows[:, [on]]
    away = np.sqrt(np.square(smoothed(rows[:, : off + 1], 4 * per_ms) - line).sum(axis=0))
    limit = max(tuning.QRS_AWAY_MV, tuning.QRS_AWAY_SHARE * float(away[on:].max()))
    first, last = max(0, on - round(40 * per_ms)), min(off, on + round(30 * per_ms))
    near = np.flatnonzero(away[first : last + 1] <= limit)
    return first + int(near[-1]) if near.size else first


def _arrival(rows: Floats, on: int, off: int, per_ms: float) -> int:
    """Return where the leads together reach the line of their ST segments: a second opinion on the end."""
    low = off + round(16 * per_ms)
    high = min(rows.shape[1] - 1, low + round(70 * per_ms))
    if high - low < round(20 * per_ms):
        return off
    place = np.arange(high + 1.0) - low
    middle = place[low:] - place[low:].mean()
    steep = rows[:, low : high + 1] @ middle / np.square(middle).sum()
    level = rows[:, low : high + 1].mean(axis=1)
    line = level[:, None] + steep[:, None] * (place - place[low:].mean())
    away = np.sqrt(np.square(smoothed(rows[:, : high + 1], 4 * per_ms) - line).sum(axis=0))
    limit = max(tuning.QRS_BACK_MV, tuning.QRS_BACK_SHARE * float(away[on : off + 1].max()))
    first = max(on, off - round(50 * per_ms))
    near = np.flatnonzero(away[first : low + 1] > limit)
    return first + int(near[-1]) if near.size else first


def _fine_extent(rows: Floats, centre: int, extent: tuple[int, int], per_ms: float) -> tuple[int, int]:
    """Return QRS as far as something moves from sample to sample, against the calm of this very beat.

    Small quick deflections at both ends of QRS, which the slope over many samples does not show, are what
    readers see first. A third opinion, near the others.
    """
    from scipy.ndimage import uniform_filter1d

    (on, off), width = extent, rows.shape[1]
    step = np.zeros(width)
    step[:-1] = np.sqrt(np.square(np.diff(rows, axis=1)).mean(axis=0)) * per_ms
    step = uniform_filter1d(step, max(1, round(tuning.QRS_STEP_MS * per_ms)))
    calm = quiet_level(step, centre, per_ms)
    active = (step > max(tuning.QRS_STEP_LEAST, tuning.QRS_STEP_CALM * calm))[None]
    hold, inner, room = (max(1, round(ms * per_ms)) for ms in (tuning.QRS_QUIET_MS, 4.0, 12.0))
    low, high = min(off, on + inner), max(on, off - inner)
    active[:, low : high + 1] = True
    begins = quiet_before(active, low, hold, max(0, on - room))
    ends = quiet_after(active, high, hold, min(width - 1, off + room))
    return int(begins[0]), int(ends[0])


def qrs_widths(cut: Floats, median: Floats, on: float, off: float, per_ms: float) -> Floats:
    """Return the width of QRS in each beat by itself, as far as it lies near the median's boundaries.

    Parameters
    ----------
    cut : numpy.ndarray
        Beats laid over each other, usable leads, shape ``(n_beats, n_leads, width)``.
    median : numpy.ndarray
        Their median, shape ``(n_leads, width)``: a beat like it has the width between the boundaries.
    on, off : float
        Boundaries on the median.
    per_ms : float
        Samples per millisecond.
    """
    reach = max(1, round(tuning.QRS_SLOPE_MS * per_ms))
    cut = np.concatenate([cut, median[None]])
    slope = np.zeros((len(cut), cut.shape[2]))
    slope[:, reach:-reach] = np.sqrt(np.square(cut[:, :, 2 * reach :] - cut[:, :, : -2 * reach]).sum(axis=1))
    low, high = round(on), round(off)
    steepest = slope[:, low : high + 1].max(axis=1, keepdims=True)
    active = slope > tuning.QRS_SHARE * steepest
    hold, room = max(1, round(tuning.QRS_HOLD_MS * per_ms)), round(tuning.QRS_ROOM_MS * per_ms)
    middle = (low + high) // 2
    active[:, low + room : high - room] = True
    begins = quiet_before(active, middle, hold, max(hold, low - room))
    ends = quiet_after(active, middle, hold, min(slope.shape[1] - 1 - hold, high + room))
    widths = (ends - begins).astype(np.float64)
    return np.asarray(widths[:-1] - widths[-1] + (off - on))


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


def t_by_lead(rows: Floats, first: int, last: int, expected: float, per_ms: float) -> tuple[Floats, ...]:
    """Find T in each lead between two samples: onset, peak, end.

    One steepest return to the base line is found over all leads together, so a T wave that hardly
    shows in one lead is looked for where the others have it.

    Parameters
    ----------
    rows : numpy.ndarray
        One beat, shape ``(n_leads, width)``.
    first, last : int
        Where T may lie.
    expected : float
        About where T returns at this rate; a broad preference only, for leads and hearts with flat T.
    per_ms : float
        Samples per millisecond.
    """
    n_leads = len(rows)
    on, peak, off = (np.full(n_leads, np.nan) for _ in range(3))
    if last - first < round(60 * per_ms):
        return on, peak, off
    part = smoothed(rows, tuning.T_SMOOTH_MS * per_ms)[:, first : last + 1]
    slope = np.gradient(part, axis=1)
    size = np.maximum(np.ptp(part, axis=1), tuning.T_LEAST_MV)
    together = np.sqrt((np.square(slope) / size[:, None]).sum(axis=0))
    fall, end = _common_return(together, expected - first, per_ms)
    width = part.shape[1]
    low = max(1, fall - round(tuning.T_PEAK_MS[0] * per_ms))
    high = min(width - 2, fall + round(tuning.T_PEAK_MS[1] * per_ms))
    back = np.clip((end - np.arange(low, high + 1)) / max(1, end - low), 0.0, 1.0)
    base = part[:, [end]]
    away = part[:, low : high + 1] - base - (part[:, [low]] - base) * back
    for row, top in enumerate(low + np.argmax(np.abs(away), axis=1)):
        down = -(np.sign(away[row, top - low]) or 1.0) * slope[row]
        steep = top + int(np.argmax(down[top : max(top + 2, end + round(50 * per_ms))]))
        over = _first_below(down[steep:], tuning.T_OFF_SHARE) + steep
        off[row] = first + (over if abs(over - end) <= tuning.T_APART_MS * per_ms else end)
        peak[row] = first + top
        start = max(0, top - round(tuning.T_RISE_MS * per_ms))
        steep = start + int(np.argmax(-down[start : top + 1]))
        on[row] = first + max(0, steep - _first_below(-down[steep::-1], tuning.T_ON_SHARE))
    return on, peak, off


def _common_return(together: Floats, expected: float, per_ms: float) -> tuple[int, int]:
    """Return where T falls steepest over all leads, and where that fall is over."""
    width = together.size
    likely = together * np.exp(
        -0.5 * np.square((np.arange(width) - expected) / (tuning.T_EXPECTED_SD_MS * per_ms))
    )
    inner = likely[1:-1]
    tops = 1 + np.flatnonzero((inner >= likely[:-2]) & (inner > likely[2:]))
    tops = tops[tops > 30 * per_ms]
    if not tops.size:
        return int(np.argmax(likely)), width - 1
    # The last of the high ones: what comes before may be the rise of T or the end of ST.
    fall = int(tops[likely[tops] >= tuning.T_LAST_SHARE * likely[tops].max()][-1])
    # Where atria go on moving behind T the slope may never be so small; then a little more is enough.
    ends = [_first_below(together[fall:], share) for share in (tuning.T_COMMON_SHARE, tuning.T_COMMON_MOST)]
    end = ends[0] if fall + ends[0] < width - 1 else ends[1]
    return fall, min(width - 1, fall + end)


def _first_below(values: Floats, share: float) -> int:
    """Return how far it is until values fall to a share of the first; the whole length if never."""
    under = values <= share * values[0]
    return int(np.argmax(under)) if under.any() else values.size - 1


def p_by_lead(rows: Floats, first: int, last: int, per_ms: float) -> tuple[Floats, ...]:
    """Find P in each lead between two samples: onset, peak, end. One common place, then lead by lead."""
    n_leads = len(rows)
    on, peak, off = (np.full(n_leads, np.nan) for _ in range(3))
    part = smoothed(rows, tuning.P_SMOOTH_MS * per_ms)[:, first : last + 1]
    width = part.shape[1]
    away = bump(part, round(tuning.P_BUMP_MS * per_ms))
    slope = np.gradient(part, axis=1)
    common = int(np.argmax(np.square(away).sum(axis=0)))
    near, reach = round(tuning.P_NEAR_MS * per_ms), round(tuning.P_REACH_MS * per_ms)
    low, high = max(0, common - near), min(width, common + near + 1)
    for row, top in enumerate(low + np.argmax(np.abs(away[:, low:high]), axis=1)):
        if top == 0 or top >= width - 2:
            continue
        down = -(np.sign(away[row, top]) or 1.0) * slope[row]
        peak[row] = first + top
        steep = top + int(np.argmax(down[top : top + reach]))
        off[row] = first + steep + _first_below(down[steep:], tuning.P_SHARE)
        off[row] = max(first + top, off[row] + round(tuning.P_LEAD_OFF_BIAS_MS * per_ms))
        start = max(0, top - reach)
        steep = start + int(np.argmax(-down[start : top + 1]))
        on[row] = first + max(0, steep - _first_below(-down[steep::-1], tuning.P_SHARE))
    return on, peak, off


def bump(rows: Floats, reach: int) -> Floats:
    """Return how far each sample stands out of the mean of its neighbours `reach` samples away."""
    padded = np.pad(rows, ((0, 0), (reach, reach)), mode="edge")
    return rows - 0.5 * (padded[:, : -2 * reach] + padded[:, 2 * reach :])


def most(values: Floats, share: float) -> float:
    """Return the quantile of what is known; NaN when nothing is."""
    known = values[np.isfinite(values)]
    return float(np.quantile(known, share)) if known.size else float("nan")
