"""What can be measured of the recording technique in each lead: gaps, rails, mains, muscle, wander."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hub.ecg.waveform import Waveform

Floats = NDArray[np.float64]

MAINS_HZ = (50.0, 60.0)
_MAINS_REACH_HZ = 0.6
_BESIDE_HZ = (1.5, 4.0)
_MAINS_BLOCK_S = 10.0
_SHORTEST_MAINS_S = 1.0
_MUSCLE_FROM_HZ = 35.0
_QUIET_BLOCK_S = 0.1
_QUIET_PERCENTILE = 30
_WANDER_S = 1.0
_SWING_S = 2.0
_STEEP_MV = 0.03
"""A wave turns round slowly; where a lead runs into its rail it stops from a slope of this much a sample."""

_RAIL_SAMPLES = 4
_RAIL_REST_S = 0.3
_FULL_SCALE = (32767.0, 32768.0)


@dataclass(frozen=True, eq=False)
class LeadSignal:
    """Numbers of recording technique, one entry a lead.

    Attributes
    ----------
    missing_s : numpy.ndarray
        Longest stretch without samples, in seconds.
    stuck_s : numpy.ndarray
        Longest stretch at exactly one value, in seconds.
    swing_mv : numpy.ndarray
        Median over blocks of 2 s of the peak-to-peak voltage, baseline wander taken out.
    rail_s : numpy.ndarray
        Time spent at the lead's largest or smallest value after running into it, in seconds.
    mains_uv : numpy.ndarray
        Amplitude (half of peak to peak) of the stronger of 50 and 60 Hz, when it stands out.
    muscle_uv : numpy.ndarray
        Root mean square above 35 Hz in the quiet stretches, mains taken out.
    wander_mv : numpy.ndarray
        Peak to peak of the one-second mean.
    """

    missing_s: Floats
    stuck_s: Floats
    swing_mv: Floats
    rail_s: Floats
    mains_uv: Floats
    muscle_uv: Floats
    wander_mv: Floats


def measure_leads(waveform: Waveform) -> LeadSignal:
    """Measure the recording technique of every lead.

    Parameters
    ----------
    waveform : Waveform
        Any shape; NaN where nothing was recorded.

    Returns
    -------
    LeadSignal
        Arrays of shape ``(n_leads,)``. What a recording is too short or too slow for is 0.
    """
    rate = waveform.rate_hz
    missing = ~np.isfinite(waveform.samples_mv)
    samples = bridged(waveform.samples_mv, missing)
    mains = _mains_uv(samples, rate)
    wander, baseline = _wander(samples, rate)
    return LeadSignal(
        missing_s=np.array([longest(column) for column in missing.T]) / rate,
        stuck_s=_stuck_samples(samples, missing) / rate,
        swing_mv=_swing_mv(samples - baseline, rate),
        rail_s=np.array(
            [
                _rail_samples(samples[:, i], waveform.lsb_mv[i], rate, missing[:, i])
                for i in range(samples.shape[1])
            ]
        )
        / rate,
        mains_uv=mains,
        muscle_uv=_muscle_uv(samples, rate, mains),
        wander_mv=wander,
    )


def bridged(samples_mv: Floats, missing: NDArray[np.bool_]) -> Floats:
    """Return samples with gaps closed by straight lines, a lead without any sample as zeros."""
    if not missing.any():
        return samples_mv
    samples = samples_mv.copy()
    places = np.arange(len(samples))
    for column in np.flatnonzero(missing.any(axis=0)):
        gap = missing[:, column]
        samples[:, column] = 0.0 if gap.all() else np.interp(places, places[~gap], samples_mv[~gap, column])
    return samples


def longest(flags: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of True."""
    if not flags.any():
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return int((edges[1::2] - edges[::2]).max())


def _stuck_samples(samples: Floats, missing: NDArray[np.bool_]) -> Floats:
    """Return the longest run of one value in every lead, gaps not counted."""
    same = (np.diff(samples, axis=0) == 0) & ~missing[1:]
    return np.array([longest(column) + 1 if column.any() else 0 for column in same.T], dtype=np.float64)


def _wander(samples: Floats, rate: float) -> tuple[Floats, Floats]:
    """Return the peak to peak of the slow part, shape (n_leads,), and the slow part itself."""
    from scipy.ndimage import uniform_filter1d

    width = min(len(samples), max(1, round(_WANDER_S * rate)))
    slow = uniform_filter1d(samples, width, axis=0, mode="nearest")
    inner = slow[width // 2 : len(slow) - width // 2]
    return np.asarray(np.ptp(inner if len(inner) else slow, axis=0)), slow


def _swing_mv(level: Floats, rate: float) -> Floats:
    size = max(1, round(_SWING_S * rate))
    count = max(1, len(level) // size)
    if len(level) < size:
        return np.asarray(np.ptp(level, axis=0), dtype=np.float64)
    blocks = level[: count * size].reshape(count, size, -1)
    return np.asarray(np.median(np.ptp(blocks, axis=1), axis=0), dtype=np.float64)


def _rail_samples(lead: Floats, lsb_mv: float | None, rate: float, missing: NDArray[np.bool_]) -> int:
    """Return how many samples lie on a rail: flat at an extreme that was reached in full flight."""
    low, high = float(lead.min()), float(lead.max())
    if high == low:
        return 0
    found = 0
    for rail in (low, high):
        on = (lead == rail) & ~missing
        if lsb_mv and abs(round(rail / lsb_mv)) in _FULL_SCALE:
            found += int(on.sum())
            continue
        if on.sum() < _RAIL_SAMPLES:
            continue
        edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]])))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            if stop - start >= _RAIL_SAMPLES and _flew_into(lead, int(start), int(stop), rate):
                found += int(stop - start)
    return found


def _flew_into(lead: Floats, start: int, stop: int, rate: float) -> bool:
    """Say whether a flat stretch begins or ends in a slope, or is too long for any wave's top."""
    before = abs(lead[start] - lead[start - 1]) if start else 0.0
    after = abs(lead[stop] - lead[stop - 1]) if stop < len(lead) else 0.0
    return bool(max(before, after) >= _STEEP_MV or stop - start >= _RAIL_REST_S * rate)


def _mains_uv(samples: Floats, rate: float) -> Floats:
    """Return the amplitude of a mains line that stands out of its neighbourhood, in uV."""
    size = min(len(samples), round(_MAINS_BLOCK_S * rate))
    result = np.zeros(samples.shape[1])
    if size < _SHORTEST_MAINS_S * rate or rate < 2 * (MAINS_HZ[0] + _BESIDE_HZ[1]):
        return result
    blocks = samples[: len(samples) // size * size].reshape(-1, size, samples.shape[1])
    window = np.hanning(size)
    step = rate / size
    wanted = np.arange(
        int((MAINS_HZ[0] - _BESIDE_HZ[1]) / step), int((MAINS_HZ[1] + _BESIDE_HZ[1]) / step) + 1
    )
    wanted = wanted[wanted <= size // 2]
    centred = (blocks - blocks.mean(axis=1, keepdims=True)) * window[:, None]
    spectrum = np.abs(np.fft.rfft(centred, axis=1)[:, wanted]) * (2.0 / window.sum())
    level = np.sqrt((spectrum**2).mean(axis=0)) * 1000.0
    hz = wanted * step
    for line in MAINS_HZ:
        away = np.abs(hz - line)
        beside = (away >= _BESIDE_HZ[0]) & (away <= _BESIDE_HZ[1])
        on = away <= max(_MAINS_REACH_HZ, step)
        if not beside.any() or not on.any():
            continue
        peak = level[on].max(axis=0)
        ground = np.median(level[beside], axis=0)
        result = np.maximum(result, np.where(peak > _STANDS_OUT * ground, peak, 0.0))
    return result


_STANDS_OUT = 4.0
"""Times that a mains line must be above its neighbourhood: steep QRS complexes reach into 50 Hz too."""


@lru_cache(maxsize=16)
def _muscle_band(rate: float) -> Floats:
    from scipy.signal import butter

    return np.asarray(butter(2, _MUSCLE_FROM_HZ, btype="highpass", fs=rate, output="sos"))


def _muscle_uv(samples: Floats, rate: float, mains_uv: Floats) -> Floats:
    from scipy.signal import sosfilt

    size = round(_QUIET_BLOCK_S * rate)
    if rate < 4 * _MUSCLE_FROM_HZ or len(samples) < 4 * size:
        return np.zeros(samples.shape[1])
    # Rows in memory are leads here: the filter runs along contiguous samples.
    rows = np.ascontiguousarray(samples.T)
    high = sosfilt(_muscle_band(rate), rows - rows[:, :1], axis=1)
    count = high.shape[1] // size
    power = (high[:, : count * size].reshape(len(rows), count, size) ** 2).mean(axis=2)
    quiet = np.percentile(power, _QUIET_PERCENTILE, axis=1) * 1e6
    return np.asarray(np.sqrt(np.maximum(0.0, quiet - mains_uv**2 / 2.0)), dtype=np.float64)
