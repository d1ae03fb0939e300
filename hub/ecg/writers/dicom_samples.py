"""Millivolts as the integers that DICOM stores, with the calibration that gives them back."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import CannotHold

MAX_DS = 16
"""Characters of a decimal string (PS3.5 6.2)."""

_UV_PER_MV = 1000.0
_TOLERANCE = 1e-4
"""How far a sample may lie from a whole number of steps: rounding of float64, no more."""

_PLAIN_STEPS_MV = (1e-3, 1e-4, 1e-5, 1e-6)
"""Tried where no step is known: a microvolt down to a nanovolt."""

_ROUNDED_STEP_MV = 1e-3


@dataclass(frozen=True, eq=False)
class Column:
    """One channel.

    Attributes
    ----------
    raw : numpy.ndarray
        int64 of shape ``(n_samples,)``; meaningless where `missing`.
    missing : numpy.ndarray
        bool of the same shape.
    sensitivity_uv, baseline_uv : str
        Decimal strings: ``uV = raw * sensitivity + baseline``.
    """

    raw: NDArray[np.int64]
    missing: NDArray[np.bool_]
    sensitivity_uv: str
    baseline_uv: str


def decimal_string(value: float) -> str:
    """Return the decimal string of at most 16 characters that is nearest to a number."""
    for digits in range(17, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= MAX_DS:
            return text
    raise CannotHold(reason="number")


def to_columns(
    samples_mv: NDArray[np.float64], lsb_mv: Sequence[float | None], *, bits: int, exact: bool
) -> list[Column]:
    """Return the stored form of a group's samples.

    Parameters
    ----------
    samples_mv : numpy.ndarray
        Shape ``(n_samples, n_leads)``; NaN where nothing was recorded.
    lsb_mv : sequence of float or None
        The step of each lead as far as it is known; median beats may have half of it. Computed leads
        have none: those of the other leads and their halves are tried (aVR is half a sum), then plain ones.
    bits : int
        16 or 32.
    exact : bool
        Whether samples that are no whole steps are refused or rounded.

    Raises
    ------
    CannotHold
        Reason ``step`` where no step fits the samples of a lead, ``range`` where it needs more bits.
    """
    known = [step for step in dict.fromkeys(lsb_mv) if step]
    guesses = [*known, *(step / 2 for step in known), *_PLAIN_STEPS_MV]
    return [
        _column(samples_mv[:, n], [own, own / 2] if own else guesses, n, bits=bits, exact=exact)
        for n, own in enumerate(lsb_mv)
    ]


def _column(
    values: NDArray[np.float64], steps: Sequence[float], place: int, *, bits: int, exact: bool
) -> Column:
    missing = np.isnan(values)
    filled = np.where(missing, 0.0, values)
    present = filled[~missing]
    half = 2 ** (bits - 1)
    reason = "step"
    for step in steps:
        origin = float(present[0]) if present.size else 0.0
        # Steps need not lie on 0 mV: a device may state an offset between them.
        offset = origin - np.rint(origin / step) * step
        found = _fitted(filled, missing, step, 0.0 if abs(offset) < _TOLERANCE * abs(step) else offset, half)
        if found is not None and _true(found, values):
            return found
        reason = "range" if found is None else reason
    if exact:
        raise CannotHold(reason=reason, column=place)
    span = float(np.ptp(present)) if present.size else 0.0
    rounded = _fitted(filled, missing, max(_ROUNDED_STEP_MV, span / (2 * half - 4)), 0.0, half)
    if rounded is None:
        raise CannotHold(reason="range", column=place)
    return rounded


def _fitted(
    filled: NDArray[np.float64], missing: NDArray[np.bool_], step: float, offset: float, half: int
) -> Column | None:
    """Return whole steps from the offset, moved into the range of the bits where they only lie beside it."""
    scaled = np.rint((filled - offset) / step)
    present = scaled[~missing]
    low, high = (float(present.min()), float(present.max())) if present.size else (0.0, 0.0)
    # The lowest number is kept for missing samples.
    if high - low > 2 * half - 2:
        return None
    moved = 0.0 if low > -half and high < half else np.rint((low + high) / 2)
    raw = np.where(missing, 0, scaled - moved).astype(np.int64)
    return Column(
        raw,
        missing,
        decimal_string(step * _UV_PER_MV),
        decimal_string((offset + moved * step) * _UV_PER_MV),
    )


def _true(column: Column, values: NDArray[np.float64]) -> bool:
    """Say whether what a reader computes from the decimal strings is what was given."""
    step = float(column.sensitivity_uv) / _UV_PER_MV
    back = column.raw * step + float(column.baseline_uv) / _UV_PER_MV
    error = np.abs(back - values)[~column.missing]
    return not error.size or float(error.max()) <= _TOLERANCE * abs(step)
