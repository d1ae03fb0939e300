"""From millivolts back to the whole numbers that a device stored, as far as they are such."""

from dataclasses import dataclass
from math import floor, log10

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import CannotHold
from hub.ecg.waveform import Waveform

_ON_STEP = 1e-4
"""Furthest that a sample may lie from a whole number of steps, in steps; float arithmetic stays far below."""
_SURE = 2.0**40
"""More steps than any format stores; below, float64 tells them apart to a small part of `_ON_STEP`."""


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
    """

    stored: NDArray[np.int64]
    missing: NDArray[np.bool_]
    step_mv: float

    @property
    def largest(self) -> int:
        """The largest stored magnitude."""
        return int(np.abs(self.stored).max(initial=0))


def steps_of(waveform: Waveform, column: int, most: int) -> Steps:
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

    Raises
    ------
    CannotHold
        The samples are no whole numbers of steps, or too large; the fact ``reason`` says which.
    """
    filled, missing = _filled(waveform, column)
    found = False
    for step_mv in [step for lsb in known_steps(waveform, column) for step in (lsb, lsb / 2)]:
        counts = filled / step_mv
        if not np.isfinite(counts).all() or np.abs(counts).max() > _SURE:
            continue
        stored = np.rint(counts)
        if np.abs(counts - stored).max() <= _ON_STEP:
            found = True
            if np.abs(stored).max() <= most:
                return Steps(stored.astype(np.int64), missing, step_mv)
    raise CannotHold(reason="range" if found else "step", column=column)


def known_steps(waveform: Waveform, column: int) -> list[float]:
    """Return the lead's own resolution in mV, or those of the other leads where it states none."""
    own = waveform.lsb_mv[column]
    return [own] if own else sorted({lsb for lsb in waveform.lsb_mv if lsb}, reverse=True)


def rounded_steps(waveform: Waveform, column: int, most: int, finest_mv: float) -> Steps:
    """Return one lead rounded to the finest step of two digits that `most` allows, none below `finest_mv`."""
    filled, missing = _filled(waveform, column)
    step_mv = max(_rounded_up(float(np.abs(filled).max()) / most), finest_mv)
    return Steps(np.rint(filled / step_mv).astype(np.int64), missing, step_mv)


def _filled(waveform: Waveform, column: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    samples = waveform.samples_mv[:, column]
    missing = np.isnan(samples)
    return np.where(missing, 0.0, samples), missing


def _rounded_up(value: float) -> float:
    """Return the next larger number of two digits: 0.01234 becomes 0.013."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** (floor(log10(value)) - 1)
    return float(f"{(floor(value / unit) + 1) * unit:.6g}")
