"""One stretch of a recording, from found complexes to the boundaries of every beat."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis import atria, delineate, pwaves, tuning
from hub.ecg.analysis import beats as cutting
from hub.ecg.analysis.align import EARLY, Aligned, align
from hub.ecg.analysis.atria import Residue
from hub.ecg.analysis.delineate import Frame, Waves
from hub.ecg.analysis.model import BeatClass
from hub.ecg.analysis.signal import Floats, Indexes, Signal
from hub.ecg.analysis.stretches import Flags, patterns, throughout

_KNOT_MS = (-10.0, 6.0)
_SPIKE_MS = 60.0
_WIDER_MS = 20.0
_P_MS = 400.0
_LEAST_LEADS = 3


@dataclass(frozen=True, eq=False)
class Strip:
    """What was found in one stretch.

    Attributes
    ----------
    signal : Signal
    centres : numpy.ndarray
        Fiducial points in working samples, ascending.
    shape_of : numpy.ndarray
        Number of the shape of each beat; 0 is the dominant one.
    kinds : tuple of str
        Class of each beat.
    medians : tuple of numpy.ndarray
        Median beat of each shape, ``(n_leads, width)``.
    seen : tuple of numpy.ndarray
        bool, which of each median beat was recorded; empty when all leads were recorded throughout.
    waves : tuple of Waves
        Boundaries on each median beat.
    pre : int
        Sample of the fiducial point in a median beat.
    p_lag, t_lag : numpy.ndarray
        How far P lies from where the dominant median has it, and T from where the median of the beat's
        own shape has it, in samples; NaN without P.
    p_shown : numpy.ndarray
        bool: before which beats a lead was recorded in which P could have been seen.
    p_between : numpy.ndarray
        Peaks of P waves that no beat follows.
    qrs_widths : numpy.ndarray
        QRS of each dominant beat by itself, in samples.
    rest : Residue
        What is left when the beats are taken away.
    fibrillation : float
        Likelihood of atrial fibrillation.
    n_dominant : int
        How many beats the dominant median was made of.
    """

    signal: Signal
    centres: Indexes
    shape_of: Indexes
    kinds: tuple[BeatClass, ...]
    medians: tuple[Floats, ...]
    seen: tuple[Flags, ...]
    waves: tuple[Waves, ...]
    pre: int
    p_lag: Floats
    p_shown: Flags
    t_lag: Floats
    p_between: Indexes
    qrs_widths: Floats
    rest: Residue
    fibrillation: float
    n_dominant: int


def study(signal: Signal, found: Indexes) -> Strip:
    """Sort, align, and delineate the beats of one stretch.

    Parameters
    ----------
    signal : Signal
    found : numpy.ndarray
        QRS complexes from `hub.ecg.analysis.detect.find_qrs`; at least one.
    """
    pre = signal.ms(cutting.PRE_MS)
    aligned = align(signal, found)
    centres = aligned.centres
    rr = np.diff(centres).astype(np.float64)
    usual = float(np.median(rr)) if rr.size else float(signal.ms(1000.0))
    level = _levelled(signal, aligned.onsets)
    medians, seen, waves = _medians(signal, level, aligned, usual)
    kinds = _kinds(signal, aligned, waves, pre)
    dominant = aligned.shapes[0]
    early = np.append(np.inf, rr)[dominant] < EARLY * usual
    used = level[signal.usable]
    common = _likeness(signal, used, centres[dominant[~early]], waves[0], pre)
    bare = _without_beats(level, aligned, medians, waves, pre=pre, usual=usual, recorded=signal.recorded)[
        signal.usable
    ]
    # Of a few beats, what is left without them is the difference between them.
    rest = atria.residue(bare, signal.rate_hz) if len(dominant) >= tuning.AF_LEAST_BEATS else atria.NOTHING
    paced = sum(kind == "paced" for kind in kinds) > len(kinds) / 2
    # Waves that no beat goes with are only followed where several leads were always there.
    always = np.ones(len(bare), dtype=bool) if signal.when is None else signal.when.all(axis=1)
    is_followed = signal.when is None or int(always.sum()) >= _LEAST_LEADS
    free = np.zeros(0, dtype=np.intp)
    if common < tuning.P_COMMON and not rest.is_wave and is_followed:
        free = pwaves.free_row(bare[always], _ventricles(aligned, waves, pre, bare.shape[1]), signal.per_ms)
    fibrillation = atria.fibrillation(
        signal.intervals(centres), common, rest, paced=paced, free_p=free.size > 0
    )
    p_lag, t_lag = np.full(len(centres), np.nan), np.zeros(len(centres))
    p_shown = np.ones(len(centres), dtype=bool)
    between = free if fibrillation < tuning.AF_LIKELY else free[:0]
    template = pwaves.template(medians[0][signal.usable], waves[0], pre, signal.per_ms)
    is_sinus = not common < tuning.P_COMMON and not rest.is_wave and fibrillation < tuning.AF_LIKELY
    if template is not None and is_sinus:
        onsets = centres - pre + np.array([waves[shape].over_all["qrs_on"] for shape in aligned.shape_of])
        p_lag, p_shown = _p_lags(signal, centres, onsets, aligned.shape_of == 0, template, used=used)
        of_always = replace(template, wave=template.wave[always])
        between = pwaves.between_beats(bare[always], centres, p_lag, of_always) if is_followed else free[:0]
    for number, members in enumerate(aligned.shapes):
        t_lag[members] = _t_lags(
            used, centres[members], medians[number][signal.usable], waves[number], signal
        )
    return Strip(
        signal=signal,
        centres=centres,
        shape_of=aligned.shape_of,
        kinds=kinds,
        medians=medians,
        seen=seen,
        waves=waves,
        pre=pre,
        p_lag=p_lag,
        p_shown=p_shown,
        t_lag=t_lag,
        p_between=between,
        qrs_widths=_widths(signal, used, centres[dominant], medians[0][signal.usable], waves[0]),
        rest=rest,
        fibrillation=fibrillation,
        n_dominant=len(dominant),
    )


def _levelled(signal: Signal, onsets: Indexes) -> Floats:
    """Take away a smooth line through the short stretches before each QRS; ST keeps its height.

    A high-pass filter would bend the ST segment. The line only follows what is slower than the beats.
    """
    from scipy.interpolate import CubicSpline
    from scipy.ndimage import uniform_filter1d

    if signal.recorded is not None:
        parts = [
            _levelled(replace(signal, mv=row[None], recorded=None), onsets[there[onsets]])
            for row, there in zip(signal.mv, signal.recorded, strict=True)
        ]
        return np.concatenate(parts)
    mv = signal.mv
    width = signal.ms(_KNOT_MS[1] - _KNOT_MS[0])
    smooth = uniform_filter1d(mv, width, axis=1, mode="nearest")
    knots = onsets + round(sum(_KNOT_MS) / 2 * signal.per_ms)
    knots = np.unique(knots[(knots >= 0) & (knots < mv.shape[1])])
    if knots.size == 0:
        return np.asarray(mv - np.median(mv, axis=1, keepdims=True))
    if knots.size == 1:
        return np.asarray(mv - smooth[:, knots])
    line = CubicSpline(knots, smooth[:, knots], axis=1)
    return np.asarray(mv - line(np.clip(np.arange(mv.shape[1]), knots[0], knots[-1])))


def _medians(
    signal: Signal, level: Floats, aligned: Aligned, usual: float
) -> tuple[tuple[Floats, ...], tuple[Flags, ...], tuple[Waves, ...]]:
    """Return the median beat of each shape, which of it was recorded, and its boundaries."""
    pre, post = signal.ms(cutting.PRE_MS), signal.ms(cutting.POST_MS)
    centres = aligned.centres
    following = np.append(np.diff(centres).astype(np.float64), np.inf)
    medians, every_seen, waves = [], [], []
    for members, spike in zip(aligned.shapes, aligned.spikes, strict=True):
        known = following[members][np.isfinite(following[members])]
        shortest = float(np.quantile(known, 0.1)) if known.size else usual
        if signal.recorded is not None:
            spans = cutting.spans(signal)
            median, seen = cutting.median_by_turns(level, signal.recorded, centres[members], spans)
            usable = _shown(signal, seen, spans)
            frame = Frame(pre, signal.per_ms, _last(seen[usable]), usual, shortest, spike)
            medians.append(median)
            every_seen.append(seen & usable[:, None])
            waves.append(delineate.delineated(median, usable, frame, seen))
            continue
        cut = cutting.windows(level, centres[members], pre, post)
        inside = (centres[members] >= pre) & (centres[members] + post < level.shape[1])
        median = cutting.median_of(cut, inside)
        covered = median.shape[1] - 2
        if not inside.any():
            covered = min(covered, pre + level.shape[1] - 1 - int(centres[members].min()))
        frame = Frame(pre, signal.per_ms, covered, usual, shortest, spike)
        medians.append(median)
        waves.append(delineate.delineated(median, signal.usable, frame))
    return tuple(medians), tuple(every_seen), tuple(waves)


def _shown(signal: Signal, seen: Flags, spans: tuple[tuple[int, int], ...]) -> Flags:
    """Say which leads have the QRS of a median beat; those that have any of it when none has it whole."""
    (pre, _), (before, after) = spans[0], spans[-1]
    whole = signal.usable & seen[:, pre - before : pre + after + 1].all(axis=1)
    return whole if whole.any() else signal.usable & seen.any(axis=1)


def _last(seen: Flags) -> int:
    """Return the last sample that half of the leads were recorded at."""
    width = seen.shape[1]
    return int(np.median(width - 1 - np.argmax(seen[:, ::-1], axis=1))) - 1


def _likeness(signal: Signal, used: Floats, centres: Indexes, waves: Waves, pre: int) -> float:
    """Return how alike the stretches before QRS are, of beats that were recorded in the same leads."""
    if signal.when is None:
        return atria.likeness(used, centres, waves, pre, signal.per_ms)
    found, weights = [], []
    for members, rows in patterns(throughout(signal.when, centres, signal.ms(_P_MS), 0)):
        each = atria.likeness(used[rows], centres[members], waves, pre, signal.per_ms)
        if np.isfinite(each):
            found.append(each)
            weights.append(len(members) - 1)
    return float(np.average(found, weights=weights)) if found else float("nan")


def _p_lags(
    signal: Signal, centres: Indexes, onsets: Floats, dominant: Flags, found: pwaves.Template, *, used: Floats
) -> tuple[Floats, Flags]:
    """Return how far the P of each beat lies from the median's, and where a lead could show one."""
    if signal.when is None:
        lag = pwaves.before_beats(used, centres, onsets, dominant, found)
        return lag, np.ones(len(centres), dtype=bool)
    reach = signal.ms(tuning.P_SHIFT_MS)
    end = found.begin + found.wave.shape[1]
    present = throughout(signal.when, centres, reach - found.begin, min(0, end))
    lag = np.full(len(centres), np.nan)
    for members, rows in patterns(present):
        part = replace(found, wave=found.wave[rows])
        lag[members] = pwaves.before_beats(
            used[rows], centres[members], onsets[members], dominant[members], part
        )
    return lag, np.asarray(present.any(axis=1))


def _without_beats(
    level: Floats,
    aligned: Aligned,
    medians: tuple[Floats, ...],
    waves: tuple[Waves, ...],
    *,
    pre: int,
    usual: float,
    recorded: Flags | None,
) -> Floats:
    """Take each beat's median away, from the end of the T before to the end of its own T."""
    out = level.copy()
    n_samples, done = level.shape[1], 0
    centres = aligned.centres.tolist()
    for number, centre in enumerate(centres):
        shape = aligned.shape_of[number]
        median, at = medians[shape], waves[shape].over_all
        t_off = at["t_off"] if np.isfinite(at["t_off"]) else at["qrs_off"] + usual / 4
        begin = max(0, centre - pre + max(0, min(round(t_off - usual), round(at["qrs_on"]) - 5)), done)
        end = min(n_samples, centre - pre + min(median.shape[1], round(t_off) + 15))
        if number + 1 < len(centres):
            end = min(end, centres[number + 1] - pre + round(at["qrs_on"]) - 5)
        if end > begin:
            offset = begin - (centre - pre)
            out[:, begin:end] -= median[:, offset : offset + end - begin]
            done = end
    if recorded is not None:
        out[~recorded] = 0.0
    return out


def _ventricles(aligned: Aligned, waves: tuple[Waves, ...], pre: int, n_samples: int) -> NDArray[np.bool_]:
    """Mark where QRS complexes are."""
    out = np.zeros(n_samples, dtype=bool)
    for number, centre in enumerate(aligned.centres.tolist()):
        at = waves[aligned.shape_of[number]].over_all
        out[max(0, centre - pre + round(at["qrs_on"])) : max(0, centre - pre + round(at["qrs_off"]) + 10)] = (
            True
        )
    return out


def _widths(signal: Signal, used: Floats, centres: Indexes, median: Floats, waves: Waves) -> Floats:
    pre, post = signal.ms(cutting.PRE_MS), signal.ms(cutting.POST_MS)
    inside = centres[(centres >= pre) & (centres + post < used.shape[1])]
    # QRS over all leads cannot be seen in one beat that some leads do not show.
    if not inside.size or signal.when is not None:
        return np.zeros(0)
    cut = cutting.windows(used, inside, pre, round(waves.over_all["qrs_off"]) - pre + signal.ms(100.0))
    median = median[:, : cut.shape[2]]
    return delineate.qrs_widths(
        cut, median, waves.over_all["qrs_on"], waves.over_all["qrs_off"], signal.per_ms
    )


def _t_lags(
    used: Floats, centres: Indexes, median: Floats, waves: Waves, signal: Signal
) -> NDArray[np.float64]:
    """Return how far the T of each beat lies from the median's; 0 where that is not clear."""
    per_ms, pre = signal.per_ms, signal.ms(cutting.PRE_MS)
    if len(centres) == 1 or not np.isfinite(waves.over_all["t_off"]):
        return np.zeros(len(centres))
    end = min(median.shape[1], round(waves.over_all["t_off"] + 20 * per_ms))
    begin = max(round(waves.over_all["qrs_off"] + 20 * per_ms), end - round(200 * per_ms))
    if end - begin < round(60 * per_ms):
        return np.zeros(len(centres))
    wave = delineate.smoothed(median, pwaves.SMOOTH)[:, begin:end]
    reach = round(tuning.T_SHIFT_MS * per_ms)
    if signal.when is None:
        lag, alike, _ = pwaves.shifts(used, centres, wave, begin - pre, (reach, reach))
        return np.where(alike >= tuning.T_ALIKE, lag, 0.0)
    out = np.zeros(len(centres))
    for members, rows in patterns(throughout(signal.when, centres, reach - (begin - pre), end - pre + reach)):
        lag, alike, _ = pwaves.shifts(used[rows], centres[members], wave[rows], begin - pre, (reach, reach))
        out[members] = np.where(alike >= tuning.T_ALIKE, lag, 0.0)
    return out


def _kinds(signal: Signal, aligned: Aligned, waves: tuple[Waves, ...], pre: int) -> tuple[BeatClass, ...]:
    """Class each beat: paced after a spike; of another shape and wide or early: ectopic.

    A beat that the edge of the recording cuts cannot be classed by its shape.
    """
    centres = aligned.centres
    rr = np.append(np.nan, np.diff(centres))
    usual = float(np.median(np.diff(centres))) if len(centres) > 1 else np.nan
    width = np.array([found.over_all["qrs_off"] - found.over_all["qrs_on"] for found in waves])
    out: list[BeatClass] = []
    for number, centre in enumerate(centres.tolist()):
        shape = aligned.shape_of[number]
        at = waves[shape].over_all
        begin = centre - pre + at["qrs_on"] - _SPIKE_MS * signal.per_ms
        cut = begin < 0 or centre - pre + at["qrs_off"] >= signal.mv.shape[1]
        wide = width[shape] > width[0] + _WIDER_MS * signal.per_ms
        if ((signal.spikes >= begin) & (signal.spikes <= centre)).any():
            out.append("paced")
        elif aligned.cut_off[number]:
            out.append("unclassified")
        elif shape == 0:
            out.append("dominant")
        elif not cut and (wide or rr[number] < EARLY * usual):
            out.append("ectopic")
        else:
            out.append("unclassified")
    return tuple(out)
