"""Which leads were recorded when: many carts record groups of leads one after another, or pause."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]

LEAST_S = 2.0
"""A lead that was recorded this long at one go can be judged and measured by that."""

GAP_S = 0.5
"""Shorter gaps are bridged by a straight line; longer ones are time in which the lead was not recorded."""

_OTHERS_MISSING = 1 / 3


def longest_run(flags: Flags) -> tuple[int, int]:
    """Return beginning and end of the longest run of True; two zeros without any."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    if not edges.size:
        return 0, 0
    begins, ends = edges[::2], edges[1::2]
    at = int(np.argmax(ends - begins))
    return int(begins[at]), int(ends[at])


def recorded(samples_mv: NDArray[np.float64], rate_hz: float) -> Flags | None:
    """Say when each lead was recorded.

    Parameters
    ----------
    samples_mv : numpy.ndarray
        Shape ``(n_leads, n_samples)``, NaN where nothing was recorded.
    rate_hz : float

    Returns
    -------
    numpy.ndarray or None
        bool, the same shape. None when every lead was recorded throughout, but for short gaps, or
        hardly at all: then there are no stretches to be told apart.
    """
    missing = ~np.isfinite(samples_mv)
    if not missing.any():
        return None
    out = ~missing
    for row in out:
        _bridge_short(row, round(GAP_S * rate_hz))
    least = round(LEAST_S * rate_hz)
    partly = [not row.all() and np.subtract(*longest_run(row)[::-1]) >= least for row in out]
    return out if any(partly) else None


def _bridge_short(row: Flags, longest: int) -> None:
    """Count gaps of up to `longest` samples inside a row as recorded."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ~row, [False]])))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if begin > 0 and end < row.size and end - begin <= longest:
            row[begin:end] = True


def one_after_another(when: Flags, rate_hz: float) -> Flags:
    """Say which leads have gaps because the others had their turn, shape ``(n_leads,)``.

    While such a lead was recorded, a third of all leads was not. A lead that alone stops, or several
    that stop together and do not come by turns, are something else.
    """
    absent: Flags = np.asarray(~when.all(axis=1))
    # Time in which nobody was recorded is nobody's turn.
    share = np.where(when.any(axis=0), 1.0 - when.mean(axis=0), 0.0)
    least = min(LEAST_S * rate_hz, when.shape[1] / 2)
    turns = [
        bool(absent[row])
        and np.subtract(*longest_run(when[row])[::-1]) >= least
        and float(share[when[row]].mean()) >= _OTHERS_MISSING
        for row in range(len(when))
    ]
    return np.array(turns, dtype=bool)


def segments(when: Flags) -> Iterator[tuple[int, int, Flags]]:
    """Yield beginning, end and leads, shape ``(n_leads,)``, of each stretch with the same leads."""
    changes = np.flatnonzero((when[:, 1:] != when[:, :-1]).any(axis=0)) + 1
    edges = [0, *changes.tolist(), when.shape[1]]
    for begin, end in pairwise(edges):
        yield begin, end, when[:, begin]


def throughout(when: Flags, places: NDArray[np.intp], before: int, after: int) -> Flags:
    """Say which leads were recorded all the way around each place, shape ``(n_places, n_leads)``."""
    count = np.concatenate([np.zeros((len(when), 1), dtype=np.intp), np.cumsum(when, axis=1)], axis=1)
    n_samples = when.shape[1]
    low, high = np.clip(places - before, 0, n_samples - 1), np.clip(places + after, 0, n_samples - 1) + 1
    return np.asarray((count[:, high] - count[:, low] == high - low).T)


def patterns(present: Flags) -> Iterator[tuple[NDArray[np.intp], Flags]]:
    """Yield the numbers of the beats that were recorded in the same leads, with these leads, if any."""
    if not len(present):
        return
    rows, which = np.unique(present, axis=0, return_inverse=True)
    for number, leads in enumerate(rows):
        if leads.any():
            yield np.flatnonzero(which.ravel() == number), leads
