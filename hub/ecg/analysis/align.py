"""Beats sorted by shape, each with one fiducial point, and paced ones known by their spikes."""

from dataclasses import dataclass

import numpy as np

from hub.ecg.analysis import beats as cutting
from hub.ecg.analysis import delineate
from hub.ecg.analysis.signal import Indexes, Signal
from hub.ecg.analysis.stretches import Flags, patterns, throughout

EARLY = 0.85
"""A beat that comes after less than this share of the usual interval is premature."""

_SPIKE_BEFORE_MS = 150.0
_RIVAL_SIZE = 0.7
_QRS_MS = (100.0, 130.0)
"""A lead shows a beat when it was recorded from so long before its middle to so long after."""


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
    cut_off : numpy.ndarray
        bool: beats in which the leads changed, so that their shape is not known.
    """

    centres: Indexes
    shapes: tuple[Indexes, ...]
    shape_of: Indexes
    onsets: Indexes
    spikes: tuple[float, ...]
    cut_off: Flags


def align(signal: Signal, found: Indexes) -> Aligned:
    """Sort found complexes by shape and put one fiducial point into each.

    Parameters
    ----------
    signal : Signal
    found : numpy.ndarray
        From `hub.ecg.analysis.detect.find_qrs`; at least one.
    """
    if signal.when is not None:
        return _by_turns(signal, found, signal.when)
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
    return Aligned(
        centres=np.clip(centres, 0, n_samples - 1),
        shapes=tuple(shapes),
        shape_of=shape_of,
        onsets=onsets,
        spikes=tuple(spikes),
        cut_off=np.zeros(len(centres), dtype=bool),
    )


def shown(signal: Signal, places: Indexes, when: Flags) -> Flags:
    """Say which usable leads show each beat whole, shape ``(n_beats, n_leads)``."""
    return throughout(when, places, *(signal.ms(each) for each in _QRS_MS))


def _by_turns(signal: Signal, found: Indexes, when: Flags) -> Aligned:
    """Align beats that were not all recorded in the same leads.

    Leads that show every beat sort and align them all. Without any, the beats of each group of leads are
    sorted by themselves, the leading shapes are taken for one, and beginnings of QRS laid on each other.
    """
    present = shown(signal, found, when)
    cut_off = np.asarray(~present.any(axis=1))
    common = present[~cut_off].all(axis=0)
    groups = [(np.flatnonzero(~cut_off), common)] if common.any() else list(patterns(present))
    slope, centres = cutting.slopes(signal), found.copy()
    leading: list[Indexes] = []
    others: list[Indexes] = []
    for members, rows in groups:
        sorted_out, centres[members] = cutting.sort_by_shape(signal, slope[rows], found[members])
        shapes = [members[each] for each in sorted_out]
        shapes = _leading_first(shapes, centres) if common.any() else _usual_first(shapes, centres)
        leading.append(shapes[0])
        others += shapes[1:]
    onsets = centres.copy()
    leading.sort(key=len, reverse=True)
    first = _extent(signal, centres[leading[0]], when)
    for members in leading:
        on, _ = _extent(signal, centres[members], when)
        onsets[members] += on
        centres[members] = onsets[members] - first[0] + first[1]
    for members in others:
        on, peak = _extent(signal, centres[members], when)
        onsets[members] += on
        centres[members] += peak
    onsets[cut_off] = centres[cut_off] + first[0] - first[1]
    centres = np.clip(centres, 0, signal.mv.shape[1] - 1)
    all_shapes = (np.sort(np.concatenate(leading)), *others)
    shape_of = np.zeros(len(centres), dtype=np.intp)
    for number, members in enumerate(all_shapes):
        shape_of[members] = number
    spikes = tuple(_spike(signal, centres[members]) for members in all_shapes)
    return Aligned(centres, all_shapes, shape_of, onsets, spikes, cut_off)


def _usual_first(shapes: list[Indexes], centres: Indexes) -> list[Indexes]:
    """Put the most frequent shape of a few beats first, of equal ones that with the most usual intervals."""
    rr = np.diff(centres).astype(np.float64)
    usual = float(np.median(rr)) if rr.size else 0.0
    before = np.append(usual, rr)

    def unusual(members: Indexes) -> tuple[int, float]:
        return -len(members), float(np.abs(before[members] - usual).mean())

    return sorted(shapes, key=unusual)


def _extent(signal: Signal, centres: Indexes, when: Flags) -> tuple[int, int]:
    """Return where QRS begins and peaks in beats of one shape, from their places."""
    spans = cutting.spans(signal)
    median, seen = cutting.median_by_turns(signal.mv[signal.usable], when, centres, spans)
    core = slice(spans[0][0] - spans[-1][0], spans[0][0] + spans[-1][1] + 1)
    rows = seen[:, core].all(axis=1)
    on, peak, _ = delineate.qrs_extent(
        median[rows if rows.any() else seen.any(axis=1)], spans[0][0], signal.per_ms
    )
    return on - spans[0][0], peak - spans[0][0]


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
