"""Shares with their Wilson intervals, and errors summed up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

_Z95 = 1.959964


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share; (0, 1) of nothing."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = hits / n, _Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def share(hits: int, n: int) -> dict[str, Any]:
    """Return a share in percent with its interval, JSON-ready."""
    low, high = wilson(hits, n)
    return {
        "hits": hits,
        "n": n,
        "percent": round(100 * hits / n, 3) if n else None,
        "ci95": [round(100 * low, 3), round(100 * high, 3)],
    }


@dataclass(slots=True)
class Counts:
    """What was found of what is there."""

    hits: int = 0
    false: int = 0
    missed: int = 0

    def add(self, hits: int, false: int, missed: int) -> None:
        """Count further."""
        self.hits += hits
        self.false += false
        self.missed += missed

    @property
    def f1(self) -> float | None:
        """Harmonic mean of sensitivity and positive predictive value; None of nothing."""
        whole = 2 * self.hits + self.false + self.missed
        return 2 * self.hits / whole if whole else None

    def table(self) -> dict[str, Any]:
        """Return n, sensitivity, positive predictive value and F1, JSON-ready.

        F1 has the interval of a share of ``2 hits`` in ``2 hits + false + missed``.
        """
        whole = 2 * self.hits + self.false + self.missed
        return {
            "n": self.hits + self.missed,
            "false": self.false,
            "missed": self.missed,
            "se": share(self.hits, self.hits + self.missed),
            "ppv": share(self.hits, self.hits + self.false),
            "f1": share(2 * self.hits, whole),
        }


def match(found: Iterable[float], true: Iterable[float], tolerance: float) -> tuple[Counts, list[float]]:
    """Pair what was found with what is there, each once, the nearest first found in order of time.

    Returns
    -------
    Counts
    list of float
        Found minus true, of the pairs.
    """
    free = sorted(found)
    counts, errors = Counts(), []
    for place in sorted(true):
        near = [each for each in free if abs(each - place) <= tolerance]
        if not near:
            counts.missed += 1
            continue
        best = min(near, key=lambda each: abs(each - place))
        free.remove(best)
        counts.hits += 1
        errors.append(best - place)
    counts.false = len(free)
    return counts, errors


def errors_table(errors: Sequence[float], missing: int = 0) -> dict[str, Any]:
    """Return n, mean, SD, median and 95th percentile of the absolute error, JSON-ready.

    Parameters
    ----------
    errors : sequence of float
        Found minus true.
    missing : int
        Where a value is known and none was found.
    """
    values = np.asarray(errors, dtype=np.float64)
    if not values.size:
        return {"n": 0, "missing": missing}
    return {
        "n": int(values.size),
        "missing": missing,
        "mean": round(float(values.mean()), 2),
        "sd": round(float(values.std(ddof=1)), 2) if values.size > 1 else None,
        "median_abs": round(float(np.median(np.abs(values))), 2),
        "p95_abs": round(float(np.percentile(np.abs(values), 95)), 2),
    }
