"""Beats cut out of a recording: laid over each other, sorted by shape, and their median."""

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.signal import Floats, Indexes, Signal

PRE_MS = 500.0
POST_MS = 700.0
"""How much of the recording around a fiducial point belongs to a beat at most."""

_SHAPE_MS = (-70.0, 90.0)
_SLOPE_MS = 8.0
_LAG_MS = 40.0
_SAME_SHAPE = 0.85
_SAME_SIZE = 2.0
_SPANS_MS = ((PRE_MS, POST_MS), (300.0, 500.0), (100.0, 150.0))


def windows(rows: Floats, centres: Indexes, pre: int, post: int) -> Floats:
    """Cut ``centre - pre … centre + post`` out of every row; the edges are repeated beyond the ends.

    Returns
    -------
    numpy.ndarray
        Shape ``(n_beats, n_rows, pre + post + 1)``.
    """
    places = np.clip(centres[:, None] + np.arange(-pre, post + 1), 0, rows.shape[1] - 1)
    return np.asarray(rows[:, places].transpose(1, 0, 2))


def slopes(signal: Signal) -> Floats:
    """Return the rise of every usable lead over 16 ms: free of wander, little touched by noise."""
    reach = signal.ms(_SLOPE_MS)
    used = signal.mv[signal.usable]
    out = np.zeros_like(used)
    out[:, reach:-reach] = used[:, 2 * reach :] - used[:, : -2 * reach]
    return out


def sort_by_shape(signal: Signal, slope: Floats, found: Indexes) -> tuple[list[Indexes], Indexes]:
    """Group beats by the shape of their QRS over all leads and lay each group's beats over each other.

    Parameters
    ----------
    signal : Signal
    slope : numpy.ndarray
        From `slopes`.
    found : numpy.ndarray
        Working samples of the detected complexes.

    Returns
    -------
    list of numpy.ndarray
        Numbers of the beats of each group; the largest first, of equal ones the earliest.
    numpy.ndarray
        The samples moved so that beats of one shape lie on each other.
    """
    pre, post, lag = signal.ms(-_SHAPE_MS[0]), signal.ms(_SHAPE_MS[1]), signal.ms(_LAG_MS)
    cut = windows(slope, found, pre + lag, post + lag)
    n_beats = len(found)
    width = pre + post + 1
    # Every beat at every lag: (n_beats, n_lags, n_rows * width), as views until they are multiplied.
    lagged = np.lib.stride_tricks.sliding_window_view(cut, width, axis=2)
    energy = np.einsum("brlw,brlw->bl", lagged, lagged)
    shift = np.zeros(n_beats, dtype=np.intp)
    group = np.full(n_beats, -1, dtype=np.intp)
    centroids: list[Floats] = []
    sizes: list[int] = []
    for beat in range(n_beats):
        best, where, chosen = 0.0, 0, -1
        for number, centroid in enumerate(centroids):
            product = np.einsum("rlw,rw->l", lagged[beat], centroid)
            ours, theirs = energy[beat], float(np.einsum("rw,rw->", centroid, centroid))
            alike = product / np.sqrt(np.maximum(ours * theirs, 1e-12))
            at = int(np.argmax(alike))
            ratio = np.sqrt(ours[at] / max(theirs, 1e-12))
            if alike[at] > max(best, _SAME_SHAPE) and 1 / _SAME_SIZE < ratio < _SAME_SIZE:
                best, where, chosen = float(alike[at]), at - lag, number
        if chosen < 0:
            centroids.append(lagged[beat, :, lag].copy())
            sizes.append(1)
            group[beat] = len(centroids) - 1
            continue
        group[beat], shift[beat] = chosen, where
        sizes[chosen] += 1
        centroids[chosen] += (lagged[beat, :, where + lag] - centroids[chosen]) / sizes[chosen]
    order = sorted(range(len(centroids)), key=lambda number: (-sizes[number], number))
    shapes = [np.flatnonzero(group == number) for number in order]
    return shapes, found + shift


def median_of(cut: Floats, complete: NDArray[np.bool_]) -> Floats:
    """Return the median beat, shape ``(n_rows, width)``, of complete beats where there are any."""
    chosen = cut[complete] if complete.any() else cut
    return np.asarray(chosen[0] if len(chosen) == 1 else np.median(chosen, axis=0))


def median_by_turns(
    rows: Floats, when: NDArray[np.bool_], centres: Indexes, spans: tuple[tuple[int, int], ...]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the median beat of leads that were recorded at different times, each from its own beats.

    Parameters
    ----------
    rows, when : numpy.ndarray
        Samples, and bool whether they were recorded; shape ``(n_rows, n)``.
    centres : numpy.ndarray
        Fiducial points.
    spans : tuple of (int, int)
        Samples before and after the fiducial point; the first is what is cut. A lead is taken from the
        beats of which it has the second span whole, or else the next, so that no beat that its turn
        cuts off leaves a step.

    Returns
    -------
    numpy.ndarray
        Shape ``(n_rows, width)``; held level where nothing was recorded.
    numpy.ndarray
        bool, the same shape: what was recorded.
    """
    (pre, post), n_samples = spans[0], rows.shape[1]
    places = centres[:, None] + np.arange(-pre, post + 1)
    inside = (places >= 0) & (places < n_samples)
    there = windows(when.astype(np.float64), centres, pre, post).astype(bool) & inside[:, None]
    cut = windows(rows, centres, pre, post)
    width = pre + post + 1
    out, seen = np.zeros((len(rows), width)), np.zeros((len(rows), width), dtype=bool)
    every = np.arange(width)
    for row in range(len(rows)):
        beats = there[:, row]
        for before, after in spans[1:]:
            whole = beats[:, pre - before : pre + after + 1].all(axis=1)
            if whole.any():
                beats = beats[whole]
                mine = cut[whole, row]
                break
        else:
            mine = cut[:, row]
        seen[row] = beats.any(axis=0)
        if seen[row].any():
            middle = np.nanmedian(np.where(beats, mine, np.nan)[:, seen[row]], axis=0)
            out[row] = np.interp(every, every[seen[row]], middle)
    return out, seen


def spans(signal: Signal) -> tuple[tuple[int, int], ...]:
    """Return the spans of `median_by_turns`."""
    return tuple((signal.ms(before), signal.ms(after)) for before, after in _SPANS_MS)
