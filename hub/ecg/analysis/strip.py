"""One stretch of a recording, from found complexes to the boundaries of every beat."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis import beats as cutting
from hub.ecg.analysis import atria, delineate, tuning
from hub.ecg.analysis.atria import Residue
from hub.ecg.analysis.delineate import Waves
from hub.ecg.analysis.model import BeatClass
from hub.ecg.analysis.signal import Floats, Indexes, Signal

_KNOT_MS = (-10.0, 6.0)
_EARLY = 0.85
_SPIKE_MS = 60.0
_WIDER_MS = 20.0


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
    rest : Residue
        What is left when the beats are taken away.
    fibrillation : float
        Likelihood of atrial fibrillation.
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
    rest: Residue
    fibrillation: float


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
    rr = np.diff(centres).astype(np.float64)
    usual = float(np.median(rr)) if rr.size else float(post)
    following = np.append(rr, np.inf)
    medians, waves = [], []
    for shape in aligned.shapes:
        cut = cutting.windows(level, centres[shape.members], pre, post)
        inside = (centres[shape.members] >= pre) & (centres[shape.members] + post < n_samples)
        median = cutting.median_of(cut, inside)
        next_rr = following[shape.members]
        next_rr = next_rr[np.isfinite(next_rr)]
        shortest = float(np.quantile(next_rr, 0.1)) if next_rr.size else usual
        medians.append(median)
        waves.append(_delineated(median, signal.usable, pre, usual, shortest, per_ms))
    used = level[signal.usable]
    dominant = aligned.shapes[0].members
    early = np.append(np.inf, rr)[dominant] < _EARLY * usual
    common = atria.likeness(used, centres[dominant[~early]], waves[0], pre, per_ms)
    rest = atria.residue(
        _without_beats(level, centres, aligned.shape_of, medians, waves, pre, usual)[signal.usable],
        signal.rate_hz,
    )
    p_long = (waves[0].over_all["p_off"] - waves[0].over_all["p_on"]) / per_ms
    kinds = _kinds(signal, aligned, waves, pre)
    paced = sum(kind == "paced" for kind in kinds) > len(kinds) / 2
    fibrillation = atria.fibrillation(rr, common, rest, paced=paced)
    has_p = (
        common >= tuning.P_COMMON
        and not rest.is_wave
        and fibrillation < tuning.AF_LIKELY
        and p_long >= tuning.P_SHORTEST_MS
    )
    p_lag, t_lag = np.full(len(centres), np.nan), np.zeros(len(centres))
    if has_p:
        p_lag[dominant] = _p_lags(used, centres[dominant], medians[0][signal.usable], waves[0], pre, per_ms)
    if np.isfinite(waves[0].over_all["t_off"]):
        t_lag[dominant] = _t_lags(used, centres[dominant], medians[0][signal.usable], waves[0], pre, per_ms)
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
        kinds=kinds,
        rest=rest,
        fibrillation=fibrillation,
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


def _without_beats(
    level: Floats,
    centres: Indexes,
    shape_of: Indexes,
    medians: list[Floats],
    waves: list[Waves],
    pre: int,
    usual: float,
) -> Floats:
    """Take each beat's median away, from the end of the T before to the end of its own T."""
    out = level.copy()
    n_samples = level.shape[1]
    done = 0
    for number, centre in enumerate(centres.tolist()):
        median, at = medians[shape_of[number]], waves[shape_of[number]].over_all
        t_off = at["t_off"] if np.isfinite(at["t_off"]) else at["qrs_off"] + usual / 4
        begin = max(0, centre - pre + max(0, min(round(t_off - usual), round(at["qrs_on"]) - 5)), done)
        end = min(n_samples, centre - pre + min(median.shape[1], round(t_off) + 15))
        if number + 1 < len(centres):
            end = min(end, int(centres[number + 1]) - pre + round(at["qrs_on"]) - 5)
        if end > begin:
            offset = begin - (centre - pre)
            out[:, begin:end] -= median[:, offset : offset + end - begin]
            done = end
    return out


def _p_lags(used: Floats, centres: Indexes, median: Floats, waves: Waves, pre: int, per_ms: float) -> Floats:
    """Return how far the P of each beat lies from the median's; NaN where nothing like it is found."""
    begin = max(0, round(waves.over_all["p_on"] - 10 * per_ms))
    end = round(waves.over_all["p_off"] + 10 * per_ms)
    room = round(waves.over_all["qrs_on"]) - end
    reach = max(2, min(round(tuning.P_SHIFT_MS * per_ms), room))
    wave = delineate.smoothed(median, 4.0)[:, begin:end]
    lag, alike = atria.shifts(used, centres, wave, begin - pre, reach)
    return np.where(alike >= tuning.P_ALIKE, lag, np.nan)


def _t_lags(used: Floats, centres: Indexes, median: Floats, waves: Waves, pre: int, per_ms: float) -> Floats:
    """Return how far the T of each beat lies from the median's; 0 where that is not clear."""
    end = min(median.shape[1], round(waves.over_all["t_off"] + 20 * per_ms))
    begin = max(round(waves.over_all["qrs_off"] + 20 * per_ms), end - round(200 * per_ms))
    wave = delineate.smoothed(median, 4.0)[:, begin:end]
    lag, alike = atria.shifts(used, centres, wave, begin - pre, round(tuning.T_SHIFT_MS * per_ms))
    return np.where(alike >= tuning.T_ALIKE, lag, 0.0)


def _kinds(signal: Signal, aligned: Aligned, waves: list[Waves], pre: int) -> tuple[BeatClass, ...]:
    """Class each beat: paced after a spike; of another shape and wide or early: ectopic.

    A beat that the edge of the recording cuts cannot be classed by its shape.
    """
    per_ms = signal.rate_hz / 1000.0
    centres = aligned.centres
    rr = np.append(np.nan, np.diff(centres))
    usual = float(np.median(np.diff(centres))) if len(centres) > 1 else np.nan
    width = np.array([found.over_all["qrs_off"] - found.over_all["qrs_on"] for found in waves])
    out: list[BeatClass] = []
    for number, centre in enumerate(centres.tolist()):
        shape = aligned.shape_of[number]
        at = waves[shape].over_all
        begin = centre - pre + at["qrs_on"] - _SPIKE_MS * per_ms
        spiked = bool(((signal.spikes >= begin) & (signal.spikes <= centre)).any())
        cut = begin < 0 or centre - pre + at["qrs_off"] >= signal.mv.shape[1]
        wide = width[shape] > width[0] + _WIDER_MS * per_ms
        if spiked:
            out.append("paced")
        elif shape == 0:
            out.append("dominant")
        elif not cut and (wide or rr[number] < _EARLY * usual):
            out.append("ectopic")
        else:
            out.append("unclassified")
    return tuple(out)
