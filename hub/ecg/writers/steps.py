"""From millivolts back to the whole numbers that a device stored, as far as they are such."""

from dataclasses import dataclass
from math import floor, isfinite, log10

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import CannotHold
from hub.ecg.waveform import Waveform

_ON_STEP = 1e-4
"""Furthest that a sample may lie from a whole number of steps, in steps; float arithmetic stays far below."""
_FINE = 256
"""Steps to a stored unit where samples lie between the units."""


@dataclass(frozen=True, eq=False)
class Steps:
    """One lead as whole numbers.

    Attributes
    ----------
    stored : numpy.ndarray
        int64 of shape ``(n_samples,)``; 0 where `missing`.
    missing : numpy.ndarray
        bool of the same shape.
    step_mv : float
        Millivolts per stored unit; zero is stored as 0.
    exact : bool
        Whether nothing was rounded.
    """

    stored: NDArray[np.int64]
    missing: NDArray[np.bool_]
    step_mv: float
    exact: bool

    @property
    def largest(self) -> int:
        """The largest stored magnitude."""
        return int(np.abs(self.stored).max(initial=0))


def steps_of(waveform: Waveform, column: int, most: int, *, exact: bool) -> Steps:
    """Return one lead in whole steps, of which none is larger than `most`.

    The step is the device's own, or half of it: derived leads and converters' ranges that are not
    symmetrical lie on half units. For a lead that states none, the steps of the others are tried.

    Parameters
    ----------
    waveform : Waveform
        The recording.
    column : int
        Which lead.
    most : int
        Largest magnitude that the target stores.
    exact : bool
        Whether to refuse what is not a whole number of steps within `most`; else it is rounded to
        a step as fine as `most` allows.

    Raises
    ------
    CannotHold
        Only when `exact`; the fact ``feature`` says why.
    """
    samples = waveform.samples_mv[:, column]
    missing = np.isnan(samples)
    filled = np.where(missing, 0.0, samples)
    own = waveform.lsb_mv[column]
    known = [own] if own else sorted({lsb for lsb in waveform.lsb_mv if lsb}, reverse=True)
    found = None
    for step_mv in [step for lsb in known for step in (lsb, lsb / 2)]:
        counts = filled / step_mv
        if not np.isfinite(counts).all() or np.abs(counts).max() > 2**53:
            continue
        stored = np.rint(counts)
        if np.abs(counts - stored).max() <= _ON_STEP:
            found = Steps(stored.astype(np.int64), missing, step_mv, exact=True)
            break
    if found is not None and found.largest <= most:
        return found
    if exact:
        raise CannotHold(feature="range of a lead" if found else "resolution of a lead", column=column)
    finest = float(np.abs(filled).max()) / most
    step_mv = max(_rounded_up(finest), (min(known) if known else 1e-3) / _FINE)
    return Steps(np.rint(filled / step_mv).astype(np.int64), missing, step_mv, exact=False)


def _rounded_up(value: float) -> float:
    """Return the next larger number of two digits: 0.01234 becomes 0.013."""
    if value <= 0 or not isfinite(value):
        return 0.0
    unit = 10.0 ** (floor(log10(value)) - 1)
    return float(f"{(floor(value / unit) + 1) * unit:.6g}")
