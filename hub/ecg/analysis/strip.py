"""One stretch of a recording, from found complexes to the boundaries of every beat."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis import beats as cutting
from hub.ecg.analysis import delineate, tuning
from hub.ecg.analysis.delineate import Waves
from hub.ecg.analysis.model import BeatClass
from hub.ecg.analysis.signal import Floats, Indexes, Signal

_KNOT_MS = (-10.0, 6.0)


@dataclass(frozen=True, eq=False)
class Strip:
    """What was found in one stretch.

    Attributes
    ----------
    signal : Signal
    level : numpy.ndarray
        Samples with the line through the stretches before QRS taken away, shape ``(n_leads, n)``.
    centres : numpy.ndarray
        Fiducial points in working samples, ascending.
    shape_of : numpy.ndarray
        Number of the shape of each beat; 0 is the dominant one.
    medians : tuple of numpy.ndarray
        Median beat of each shape, ``(n_leads, width)``.
    waves : tuple of Waves
        Boundaries on each median beat.
    pre : int
        Sample of the fiducial point in a median beat.
    p_lag, t_lag : numpy.ndarray
        How far P and T of each beat lie from where the median has them, in samples; NaN without P.
    kinds : tuple of str
        Class of each beat.
    common : float
        How alike the stretches before the dominant QRS are, from beat to beat.
    """

    signal: Signal
    level: Floats
    centres: Indexes
    shape_of: Indexes
    medians: tuple[Floats, ...]
    waves: tuple[Waves, ...]
    pre: int
    p_lag: Floats
    t_lag: Floats
    kinds: tuple[BeatClass, ...]
    common: float


@dataclass(frozen=True, eq=False)
class Aligned:
    """Beats sorted by shape and laid over each other.

    Attributes
    ----------
    centres : numpy.ndarray
        Fiducial points, the largest deflection of each shape, in working samples, ascending.
    shapes : list of Shape
        The largest first.
    shape_of : numpy.ndarray
        Number of the shape of each beat.
    onsets : numpy.ndarray
        Where QRS begins in each beat.
    """

    centres: Indexes
    shapes: list[cutting.Shape]
    shape_of: Indexes
    onsets: Indexes


def align(signal: Signal, found: Indexes) -> Aligned:
    """Sort found complexes by shape and put one fiducial point into each.

    Parameters
    ----------
    signal : Signal
    found : numpy.ndarray
        From `hub.ecg.analysis.detect.find_qrs`; at least one.
    """
    per_ms = signal.rate_hz / 1000.0
    pre, post = signal.ms(cutting.PRE_MS), signal.ms(cutting.POST_MS)
    shapes, centres = cutting.sort_by_shape(signal, cutting.slopes(signal), found)
    order = np.argsort(centres, kind="stable")
    rank = np.argsort(order, kind="stable")
    centres = centres[order]
    shapes = [cutting.Shape(np.sort(rank[shape.members])) for shape in shapes]
    n_samples = signal.mv.shape[1]
    complete = (centres >= pre) & (centres + post < n_samples)
    shape_of = np.zeros(len(centres), dtype=np.intp)
    onsets = centres.copy()
    for number, shape in enumerate(shapes):
        members = shape.members
        cut = cutting.windows(signal.mv[signal.usable], centres[members], pre, post)
        on, peak, _ = delineate.qrs_extent(cutting.median_of(cut, complete[members]), pre, per_ms)
        onsets[members] += on - pre
        centres[members] += peak - pre
        shape_of[members] = number
    return Aligned(np.clip(centres, 0, n_samples - 1), shapes, shape_of, onsets)


def study(signal: Signal, found: Indexes) -> Strip:
    """Sort, align, and delineate the beats of one stretch.

    Parameters
    ----------
    signal : Signal
    found : numpy.ndarray
        QRS complexes from `hub.ecg.analysis.detect.find_qrs`; at least one.
    """
    per_ms = signal.rate_hz / 1000.0
    pre, post = signal.ms(cutting.PRE_MS), signal.ms(cutting.POST_MS)
    aligned = align(signal, found)
    centres = aligned.centres
    n_samples = signal.mv.shape[1]
    level = _levelled(signal, aligned.onsets)
    medians, waves = [], []
    rr = float(np.median(np.diff(centres))) if len(centres) > 1 else float(post)
    p_lag, t_lag = np.full(len(centres), np.nan), np.zeros(len(centres))
    common = float("nan")
    for number, shape in enumerate(aligned.shapes):
        cut = cutting.windows(level, centres[shape.members], pre, post)
        inside = (centres[shape.members] >= pre) & (centres[shape.members] + post < n_samples)
        median = cutting.median_of(cut, inside)
        following = np.append(np.diff(centres), np.inf)[shape.members]
        following = following[np.isfinite(following)]
        rr_short = float(np.quantile(following, 0.1)) if following.size else rr
        found_waves = _delineated(median, signal.usable, pre, rr, rr_short, per_ms)
        if number == 0:
            common = _likeness(cut, found_waves, signal.usable, rr, per_ms)
        medians.append(median)
        if number == 0 and common >= tuning.P_COMMON:
            p_lag[shape.members] = 0.0
        waves.append(found_waves)
    return Strip(
        signal=signal,
        level=level,
        centres=centres,
        shape_of=aligned.shape_of,
        medians=tuple(medians),
        waves=tuple(waves),
        pre=pre,
        p_lag=p_lag,
        t_lag=t_lag,
        kinds=tuple("dominant" if number == 0 else "ectopic" for number in aligned.shape_of),
        common=common,
    )


def _levelled(signal: Signal, onsets: Indexes) -> Floats:
    """Take away a smooth line through the short stretches before each QRS; ST keeps its height.

    A high-pass filter would bend the ST segment. The line only follows what is slower than the beats.
    """
    from scipy.interpolate import CubicSpline
    from scipy.ndimage import uniform_filter1d

    mv = signal.mv
    width = signal.ms(_KNOT_MS[1] - _KNOT_MS[0])
    smooth = uniform_filter1d(mv, width, axis=1, mode="nearest")
    knots = onsets + round(sum(_KNOT_MS) / 2 * signal.rate_hz / 1000.0)
    knots = np.unique(knots[(knots >= 0) & (knots < mv.shape[1])])
    if knots.size == 0:
        return mv - np.median(mv, axis=1, keepdims=True)
    if knots.size == 1:
        return mv - smooth[:, knots]
    line = CubicSpline(knots, smooth[:, knots], axis=1)
    return mv - line(np.clip(np.arange(mv.shape[1]), knots[0], knots[-1]))


def _delineated(
    median: Floats, usable: NDArray[np.bool_], pre: int, rr: float, rr_short: float, per_ms: float
) -> Waves:
    """Find all boundaries on one median beat."""
    n_leads = len(median)
    rows = median[usable]
    on, _, off = delineate.qrs_extent(rows, pre, per_ms)
    by_lead = {name: np.full(n_leads, np.nan) for name in ("qrs_on", "qrs_off", "t_on", "t_peak", "t_off")}
    by_lead |= {name: np.full(n_leads, np.nan) for name in ("p_on", "p_peak", "p_off")}

    def put(names: tuple[str, ...], found: tuple[Floats, ...]) -> None:
        for name, values in zip(names, found, strict=True):
            by_lead[name][usable] = values

    put(("qrs_on", "qrs_off"), delineate.qrs_by_lead(rows, on, off, per_ms))
    rr_s = rr / per_ms / 1000.0
    longest = on + tuning.T_QT_MOST * per_ms * rr_s**0.5
    last = round(min(median.shape[1] - 2, longest, pre + rr_short - tuning.T_NEXT_MS * per_ms))
    expected = on + (tuning.T_EXPECTED_QTC_MS * rr_s ** (1 / 3) - 40.0) * per_ms
    first = off + round(40 * per_ms)
    last = max(last, first + round(120 * per_ms))
    put(("t_on", "t_peak", "t_off"), delineate.t_by_lead(rows, first, last, expected, per_ms))
    t_off = by_lead["t_off"][np.isfinite(by_lead["t_off"])]
    t_end = float(np.median(t_off)) if t_off.size else float("nan")
    first = max(2, on - round(300 * per_ms))
    if t_off.size:
        first = max(first, min(round(t_end - rr), on - round(100 * per_ms)))
    before = on - round(tuning.P_GAP_MS * per_ms)
    put(("p_on", "p_peak", "p_off"), delineate.p_by_lead(rows, first, before, per_ms))
    over_all = {
        "qrs_on": float(on),
        "qrs_off": float(off),
        "t_off": t_end,
        "p_on": delineate.most(by_lead["p_on"], tuning.P_EARLIEST) + tuning.P_ON_BIAS_MS * per_ms,
        "p_off": min(
            float(on), delineate.most(by_lead["p_off"], tuning.P_LATEST) + tuning.P_OFF_BIAS_MS * per_ms
        ),
    }
    return Waves(over_all=over_all, **by_lead)


def _likeness(cut: Floats, waves: Waves, usable: NDArray[np.bool_], rr: float, per_ms: float) -> float:
    """Return how alike the stretches before QRS are between beats: near 1 with P waves, near 0 without.

    The mean correlation of every beat with every other, over all leads.
    """
    n_beats = len(cut)
    if n_beats < 2:  # noqa: PLR2004 - nothing to compare
        return float("nan")
    high = round(waves.over_all["qrs_on"]) - 2
    low = max(1, high - round(300 * per_ms))
    if np.isfinite(waves.over_all["t_off"]):
        low = max(low, min(round(waves.over_all["t_off"] - rr) + 10, high - round(80 * per_ms)))
    part = delineate.smoothed(cut[:, usable, low:high], 6 * per_ms)
    time = np.arange(part.shape[2]) - (part.shape[2] - 1) / 2
    part = part - part.mean(axis=2, keepdims=True)
    part -= (part @ time)[..., None] * (time / np.square(time).sum())
    total = float(np.square(part).sum())
    together = float(np.square(part.sum(axis=0)).sum())
    return (together - total) / ((n_beats - 1) * total) if total > 0 else float("nan")
