"""Beats sorted by shape, each with one fiducial point, and paced ones known by their spikes."""

from dataclasses import dataclass

import numpy as np

from hub.ecg.analysis import beats as cutting
from hub.ecg.analysis import delineate
from hub.ecg.analysis.signal import Indexes, Signal

EARLY = 0.85
"""A beat that comes after less than this share of the usual interval is premature."""

_SPIKE_BEFORE_MS = 150.0
_RIVAL_SIZE = 0.7


@dataclass(frozen=True, eq=False)
class Aligned:
    """Beats sorted by shape and laid over each other.

    Attributes
    ----------
    centres : numpy.ndarray
        Fiducial points, the largest deflection of each shape, in working samples, ascending.
    shapes : tuple of numpy.ndarray
        Numbers of the beats of each shape; the dominant one first.
    shape_of : numpy.ndarray
        Number of the shape of each beat.
    onsets : numpy.ndarray
        Where QRS begins in each beat.
    spikes : tuple of float
        For each shape, where its pacing spike lies from the fiducial point; NaN without.
    """

    centres: Indexes
    shapes: tuple[Indexes, ...]
    shape_of: Indexes
    onsets: Indexes
    spikes: tuple[float, ...]


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
    shapes = _leading_first([np.sort(rank[members]) for members in shapes], centres)
    n_samples = signal.mv.shape[1]
    complete = (centres >= pre) & (centres + post < n_samples)
    shape_of = np.zeros(len(centres), dtype=np.intp)
    onsets = centres.copy()
    spikes = []
    for number, members in enumerate(shapes):
        cut = cutting.windows(signal.mv[signal.usable], centres[members], pre, post)
        on, peak, _ = delineate.qrs_extent(cutting.median_of(cut, complete[members]), pre, per_ms)
        onsets[members] += on - pre
        centres[members] += peak - pre
        shape_of[members] = number
        spikes.append(_spike(signal, centres[members]))
    return Aligned(np.clip(centres, 0, n_samples - 1), tuple(shapes), shape_of, onsets, tuple(spikes))


def _leading_first(shapes: list[Indexes], centres: Indexes) -> list[Indexes]:
    """Put the leading shape first: the most frequent one, unless it comes early and has a near rival.

    In bigeminy and couplets there may be more extrasystoles than beats of the basic rhythm.
    """
    rr = np.append(np.nan, np.diff(centres).astype(np.float64))
    following = np.append(np.diff(centres).astype(np.float64), np.nan)
    largest = shapes[0]
    rivals = [shape for shape in shapes[1:] if len(shape) >= max(2, _RIVAL_SIZE * len(largest))]

    def lateness(members: Indexes) -> float:
        before, after = rr[members], following[members]
        known = np.isfinite(before) & np.isfinite(after)
        return float(np.median(before[known] / after[known])) if known.any() else 1.0

    if not rivals or lateness(largest) >= EARLY:
        return shapes
    best = max(rivals, key=lateness)
    return [best, *(shape for shape in shapes if shape is not best)]


def _spike(signal: Signal, centres: Indexes) -> float:
    """Return where a shape's spike lies from its fiducial point; NaN unless half of its beats have one."""
    if not signal.spikes.size:
        return float("nan")
    back = centres[:, None] - signal.spikes
    near = (back >= 0) & (back <= signal.ms(_SPIKE_BEFORE_MS))
    paced = near.any(axis=1)
    if paced.sum() * 2 < len(centres):
        return float("nan")
    return -float(np.median(np.where(near, back, back.max() + 1).min(axis=1)[paced]))
