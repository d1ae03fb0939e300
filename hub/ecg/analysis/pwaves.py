"""P waves beat by beat: the median's P looked for before every beat, and between the beats."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis import tuning
from hub.ecg.analysis.atria import together
from hub.ecg.analysis.beats import windows
from hub.ecg.analysis.delineate import Waves, bump, smoothed
from hub.ecg.analysis.signal import Floats, Indexes

SMOOTH = 4.0
"""Gaussian in samples under which waves are compared."""

_MARGIN_MS = 10.0


@dataclass(frozen=True, eq=False)
class Template:
    """The P wave of the dominant median beat.

    Attributes
    ----------
    wave : numpy.ndarray
        Usable leads, shape ``(n_leads, width)``.
    begin, peak : int
        Where it begins and peaks, from the fiducial point.
    per_ms : float
        Samples per millisecond.
    """

    wave: Floats
    begin: int
    peak: int
    per_ms: float


def template(median: Floats, waves: Waves, pre: int, per_ms: float) -> Template | None:
    """Return the P wave of a median beat; None where there is none, or one too short for a P.

    What is shorter is what an atrial pacing spike leaves.
    """
    on, off = waves.over_all["p_on"], waves.over_all["p_off"]
    if not off - on >= tuning.P_SHORTEST_MS * per_ms:
        return None
    begin = max(0, round(on - _MARGIN_MS * per_ms))
    wave = smoothed(median, SMOOTH)[:, begin : round(off + _MARGIN_MS * per_ms)]
    peak = float(np.median(waves.p_peak[np.isfinite(waves.p_peak)]))
    return Template(wave, begin - pre, round(peak) - pre, per_ms)


def before_beats(
    used: Floats, centres: Indexes, onsets: Floats, dominant: NDArray[np.bool_], found: Template
) -> Floats:
    """Return how far the P of each beat lies from the dominant median's; NaN where nothing like it is found.

    Parameters
    ----------
    used : numpy.ndarray
        Usable leads, shape ``(n_leads, n)``.
    centres, onsets : numpy.ndarray
        Fiducial points and beginnings of QRS.
    dominant : numpy.ndarray
        bool: beats of the dominant shape. Others must resemble its P more closely, for there a T wave or
        the beat's own beginning is easily taken for one.
    found : Template
    """
    out = np.full(len(centres), np.nan)
    end = found.begin + found.wave.shape[1]
    for chosen, least in ((dominant, tuning.P_ALIKE), (~dominant, tuning.P_ALIKE_OTHERS)):
        if not chosen.any():
            continue
        room = float(np.median(onsets[chosen] - centres[chosen])) - end
        most = round(tuning.P_SHIFT_MS * found.per_ms)
        reach = most, max(2, min(most, round(room)))
        lag, alike, _ = shifts(used, centres[chosen], found.wave, found.begin, reach)
        free = lag + end <= onsets[chosen] - centres[chosen] + round(_MARGIN_MS * found.per_ms)
        out[chosen] = np.where((alike >= least) & free, lag, np.nan)
    return out


def between_beats(bare: Floats, centres: Indexes, p_lag: Floats, found: Template) -> Indexes:
    """Return the peaks of P waves that no beat follows.

    Parameters
    ----------
    bare : numpy.ndarray
        Usable leads without the beats, shape ``(n_leads, n)``.
    centres : numpy.ndarray
        Fiducial points.
    p_lag : numpy.ndarray
        From `before_beats`.
    found : Template
    """
    width = found.wave.shape[1]
    step = 4
    n_samples = bare.shape[1]
    places = np.arange(0, n_samples - width, step)
    if len(centres) < 2 or not places.size:  # noqa: PLR2004 - there is no between
        return np.zeros(0, dtype=np.intp)
    rows = smoothed(bare, SMOOTH)
    wave = found.wave - found.wave.mean(axis=1, keepdims=True)
    slow = rows[:, : n_samples // step * step].reshape(len(rows), -1, step).mean(axis=2)
    short = wave[:, : width // step * step].reshape(len(wave), -1, step).mean(axis=2)
    short = short - short.mean(axis=1, keepdims=True)
    lagged = np.lib.stride_tricks.sliding_window_view(slow, short.shape[1], axis=1)
    product = np.einsum("lkw,lw->k", lagged, short)
    energy = np.einsum("lkw,lkw->k", lagged, lagged)
    energy -= np.square(lagged.sum(axis=2)).sum(axis=0) / short.shape[1]
    whole = float(np.square(short).sum())
    alike = product / np.sqrt(np.maximum(energy * whole, 1e-12))
    size = product / max(whole, 1e-12)
    fits = (alike >= tuning.P_ALIKE_BETWEEN) & (size >= tuning.P_SIZE[0]) & (size <= tuning.P_SIZE[1])
    taken = np.concatenate([(centres + found.begin + p_lag)[np.isfinite(p_lag)], centres.astype(np.float64)])
    out: list[int] = []
    for place in np.flatnonzero(fits)[np.argsort(-alike[fits], kind="stable")].tolist():
        at = place * step
        apart = tuning.P_APART_MS * found.per_ms
        if (np.abs(taken - at) > apart).all() and all(abs(other - at) > apart for other in out):
            out.append(at)
    return np.sort(np.array(out, dtype=np.intp)) + (found.peak - found.begin)


def free_row(bare: Floats, ventricles: NDArray[np.bool_], per_ms: float) -> Indexes:
    """Return the peaks of a regular row of P waves that keeps no step with the beats; empty without one.

    Parameters
    ----------
    bare : numpy.ndarray
        Usable leads without the beats, shape ``(n_leads, n)``.
    ventricles : numpy.ndarray
        bool, shape ``(n,)``: where QRS is, and what is left of it says nothing.
    per_ms : float
        Samples per millisecond.

    Notes
    -----
    What stands out of its surroundings must repeat itself at one interval between 0.35 and 1.5 s, and
    what stands at that interval must look alike, by the same measure as P waves before beats.
    """
    nobody = np.zeros(0, dtype=np.intp)
    rows = smoothed(bare, SMOOTH)
    height = np.sqrt(np.square(bump(rows, round(tuning.P_BUMP_MS * per_ms))).sum(axis=0))
    # Single disturbances must not make the interval.
    height = np.where(ventricles, 0.0, np.minimum(height, 2.0 * float(np.quantile(height, 0.9))))
    wave = height - height.mean()
    n_samples = wave.size
    spectrum = np.fft.rfft(wave, 2 * n_samples)
    repeats = np.fft.irfft(np.square(np.abs(spectrum)))[:n_samples]
    low, high = round(350 * per_ms), min(round(1500 * per_ms), n_samples // 4)
    if high <= low or repeats[0] <= 0:
        return nobody
    interval = low + int(np.argmax(repeats[low:high] / (n_samples - np.arange(low, high))))
    folded = [float(height[phase::interval].mean()) for phase in range(interval)]
    near = round(50 * per_ms)
    half = round(60 * per_ms)
    places: list[int] = []
    expected = float(np.argmax(folded))
    while expected < n_samples:
        begin, end = max(half, round(expected) - near), min(n_samples - half, round(expected) + near + 1)
        if end > begin and not ventricles[begin:end].any():
            places.append(begin + int(np.argmax(height[begin:end])))
            expected = places[-1]
        expected += interval
    found = np.array(places, dtype=np.intp)
    if len(found) < tuning.P_ROW_LEAST:
        return nobody
    return found if together(windows(rows, found, half, half)) >= tuning.P_COMMON else nobody


def shifts(
    level: Floats, centres: Indexes, template: Floats, begin: int, reach: tuple[int, int]
) -> tuple[Indexes, Floats, Floats]:
    """Find where a wave of the median lies in each beat.

    Parameters
    ----------
    level : numpy.ndarray
        Shape ``(n_leads, n)``.
    centres : numpy.ndarray
        Fiducial points.
    template : numpy.ndarray
        The wave, shape ``(n_leads, width)``.
    begin : int
        Where it begins, from the fiducial point.
    reach : (int, int)
        How much earlier and how much later it may lie, in samples.

    Returns
    -------
    numpy.ndarray
        Samples that it has moved, one for each beat.
    numpy.ndarray
        Correlation there.
    numpy.ndarray
        How large it is there, as a share of the median's.
    """
    width = template.shape[1]
    time = (np.arange(width) - (width - 1) / 2) / width
    steep = float(np.square(time).sum())
    wave = template - template.mean(axis=1, keepdims=True)
    wave -= (wave @ time)[:, None] * (time / steep)
    every = 2
    earlier, later = reach[0] // every * every, reach[1]
    cut = smoothed(windows(level, centres, earlier - begin, begin + width - 1 + later), SMOOTH)
    lagged = np.lib.stride_tricks.sliding_window_view(cut, width, axis=2)[:, :, ::every]
    # A straight line in the recording adds nothing to a product with a wave that has none in it, and
    # its energy is taken off without building the straightened windows.
    product = np.einsum("blkw,lw->bk", lagged, wave)
    energy = np.einsum("blkw,blkw->bk", lagged, lagged)
    energy -= np.square(lagged.sum(axis=3)).sum(axis=1) / width
    energy -= np.square(np.einsum("blkw,w->blk", lagged, time)).sum(axis=1) / steep
    whole = float(np.square(wave).sum())
    alike = product / np.sqrt(np.maximum(energy * whole, 1e-12))
    # Of two places that fit as well, the usual one.
    places = np.arange(alike.shape[1]) * every - earlier
    best = np.argmax(alike - 0.1 * np.square(places / max(1, *reach)), axis=1)
    row = np.arange(len(best))
    return places[best], alike[row, best], product[row, best] / max(whole, 1e-12)
