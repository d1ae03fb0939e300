"""What can be measured of the recording technique in each lead: gaps, rails, mains, muscle, wander."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.stretches import longest_run, one_after_another, recorded
from hub.ecg.waveform import Waveform

Floats = NDArray[np.float64]

MAINS_HZ = (50.0, 60.0)
_MAINS_REACH_HZ = 0.6
_BESIDE_HZ = (1.5, 4.0)
_MAINS_BLOCK_S = 10.0
_SHORTEST_MAINS_S = 1.0
_MUSCLE_FROM_HZ = 35.0
_MUSCLE_RATE_HZ = 140.0
_LEAST_BLOCKS = 4
_QUIET_BLOCK_S = 0.1
_QUIET_PERCENTILE = 30
_WANDER_S = 1.0
_SWING_S = 2.0
_STEEP_MV_PER_S = 2.0
_STEEP_STEPS = 2.5
"""The top of a wave turns round slowly, a rail cuts it off: a slope beside a flat stretch of at least this
much, and more than the recorder's own steps explain."""

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
    judged_s : numpy.ndarray
        How long the stretch is that the other numbers were taken from, in seconds: the whole
        recording, or the longest turn of a lead that was recorded by turns with others.
    recorded_s : float
        How long any lead was recorded, in seconds.
    """

    missing_s: Floats
    stuck_s: Floats
    swing_mv: Floats
    rail_s: Floats
    mains_uv: Floats
    muscle_uv: Floats
    wander_mv: Floats
    judged_s: Floats
    recorded_s: float


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
    # Rows in memory are leads here: what runs along time runs along contiguous samples.
    samples = np.ascontiguousarray(waveform.samples_mv.T)
    missing = ~np.isfinite(samples)
    when = recorded(samples, waveform.rate_hz)
    if when is None:
        return _measured(samples, missing, waveform.lsb_mv, waveform.rate_hz)
    turns = one_after_another(when, waveform.rate_hz)
    # Between turns nothing at all may have been recorded, which says nothing against a lead.
    some = when.any(axis=0) | ~turns.any()
    own = [longest_run(row) if turn else (0, 0) for row, turn in zip(when, turns, strict=True)]
    found = _measured(samples[:, some], missing[:, some], waveform.lsb_mv, waveform.rate_hz)
    for begin, end in sorted({stretch for stretch in own if stretch[1]}):
        rows = [row for row, stretch in enumerate(own) if stretch == (begin, end)]
        lsb = tuple(waveform.lsb_mv[row] for row in rows)
        theirs = _measured(samples[rows, begin:end], missing[rows, begin:end], lsb, waveform.rate_hz)
        for name in _BY_LEAD:
            getattr(found, name)[rows] = getattr(theirs, name)
    return found


_BY_LEAD = ("missing_s", "stuck_s", "swing_mv", "rail_s", "mains_uv", "muscle_uv", "wander_mv", "judged_s")


def _measured(
    samples: Floats, missing: NDArray[np.bool_], lsbs_mv: tuple[float | None, ...], rate: float
) -> LeadSignal:
    """Measure one stretch, shape ``(n_leads, n_samples)``."""
    samples = bridged(samples, missing)
    mains = _mains_uv(samples, rate)
    wander, baseline = _wander(samples, rate)
    rails = [
        _rail_samples(lead, lsb_mv, rate, gaps)
        for lead, lsb_mv, gaps in zip(samples, lsbs_mv, missing, strict=True)
    ]
    return LeadSignal(
        missing_s=np.array([longest(lead) for lead in missing]) / rate,
        stuck_s=_stuck_samples(samples, missing) / rate,
        swing_mv=_swing_mv(samples - baseline, rate),
        rail_s=np.array(rails) / rate,
        mains_uv=mains,
        muscle_uv=_muscle_uv(samples, rate, mains),
        wander_mv=wander,
        judged_s=np.full(len(samples), samples.shape[1] / rate),
        recorded_s=samples.shape[1] / rate,
    )


def bridged(samples_mv: Floats, missing: NDArray[np.bool_]) -> Floats:
    """Return rows with gaps closed by straight lines, a lead without any sample as zeros."""
    if not missing.any():
        return samples_mv
    samples = samples_mv.copy()
    places = np.arange(samples.shape[1])
    for row in np.flatnonzero(missing.any(axis=1)):
        gap = missing[row]
        samples[row] = 0.0 if gap.all() else np.interp(places, places[~gap], samples_mv[row, ~gap])
    return samples


def longest(flags: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of True."""
    if not flags.any():
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return int((edges[1::2] - edges[::2]).max())


def _stuck_samples(samples: Floats, missing: NDArray[np.bool_]) -> Floats:
    """Return the longest run of one value in every lead, gaps not counted."""
    same = (samples[:, 1:] == samples[:, :-1]) & ~missing[:, 1:]
    return np.array([longest(lead) + 1 if lead.any() else 0 for lead in same], dtype=np.float64)


def _wander(samples: Floats, rate: float) -> tuple[Floats, Floats]:
    """Return the peak to peak of the slow part, shape (n_leads,), and the slow part itself."""
    from scipy.ndimage import uniform_filter1d

    width = min(samples.shape[1], max(1, round(_WANDER_S * rate)))
    slow = uniform_filter1d(samples, width, axis=1, mode="nearest")
    inner = slow[:, width // 2 : slow.shape[1] - width // 2]
    return np.asarray(np.ptp(inner if inner.size else slow, axis=1), dtype=np.float64), slow


def _swing_mv(level: Floats, rate: float) -> Floats:
    size = max(1, round(_SWING_S * rate))
    count = level.shape[1] // size
    if not count:
        return np.asarray(np.ptp(level, axis=1), dtype=np.float64)
    blocks = level[:, : count * size].reshape(len(level), count, size)
    return np.asarray(np.median(np.ptp(blocks, axis=2), axis=1), dtype=np.float64)


def _rail_samples(lead: Floats, lsb_mv: float | None, rate: float, missing: NDArray[np.bool_]) -> int:
    """Return how many samples lie on a rail: flat at an extreme, cut off in full flight on both sides."""
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
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            if stop - start >= _RAIL_SAMPLES and _cut_off(lead, start, stop, lsb_mv, rate):
                found += stop - start
    return found


def _cut_off(lead: Floats, start: int, stop: int, lsb_mv: float | None, rate: float) -> bool:
    """Say whether a flat stretch begins and ends in a slope, or is too long for any wave's top."""
    if stop - start >= _RAIL_REST_S * rate:
        return True
    if not start or stop == len(lead):
        return False
    slope = min(abs(lead[start] - lead[start - 1]), abs(lead[stop] - lead[stop - 1]))
    return bool(slope >= max(_STEEP_MV_PER_S / rate, _STEEP_STEPS * (lsb_mv or 0.0)))


def _mains_uv(samples: Floats, rate: float) -> Floats:
    """Return the amplitude of a mains line that stands out of its neighbourhood, in uV."""
    n_leads, n_samples = samples.shape
    size = min(n_samples, round(_MAINS_BLOCK_S * rate))
    result = np.zeros(n_leads)
    if size < _SHORTEST_MAINS_S * rate or rate < 2 * (MAINS_HZ[0] + _BESIDE_HZ[1]):
        return result
    blocks = samples[:, : n_samples // size * size].reshape(n_leads, -1, size)
    window, hz = _mains_window(size, rate)
    centred = (blocks - blocks.mean(axis=2, keepdims=True)) * window
    wanted = slice(int(hz[0] * size / rate + 0.5), int(hz[0] * size / rate + 0.5) + len(hz))
    spectrum = np.abs(np.fft.rfft(centred, axis=2)[:, :, wanted]) * (2.0 / window.sum())
    level = np.sqrt((spectrum**2).mean(axis=1)) * 1000.0
    for line in MAINS_HZ:
        away = np.abs(hz - line)
        beside = (away >= _BESIDE_HZ[0]) & (away <= _BESIDE_HZ[1])
        on = away <= max(_MAINS_REACH_HZ, rate / size)
        if not beside.any() or not on.any():
            continue
        peak = level[:, on].max(axis=1)
        ground = np.median(level[:, beside], axis=1)
        result = np.maximum(result, np.where(peak > _STANDS_OUT * ground, peak, 0.0))
    return result


@lru_cache(maxsize=16)
def _mains_window(size: int, rate: float) -> tuple[Floats, Floats]:
    """Return the taper of one block and the frequencies around the mains lines that are looked at."""
    step = rate / size
    low, high = MAINS_HZ[0] - _BESIDE_HZ[1], min(MAINS_HZ[1] + _BESIDE_HZ[1], rate / 2)
    hz = np.arange(int(low / step), int(high / step) + 1) * step
    return np.hanning(size).astype(np.float64), hz.astype(np.float64)


_STANDS_OUT = 3.0
"""Times that a mains line must be above its neighbourhood: steep QRS complexes reach into 50 Hz too."""


@lru_cache(maxsize=16)
def _muscle_band(rate: float) -> Floats:
    from scipy.signal import butter

    return np.asarray(butter(2, _MUSCLE_FROM_HZ, btype="highpass", fs=rate, output="sos"))


def _muscle_uv(samples: Floats, rate: float, mains_uv: Floats) -> Floats:
    from scipy.signal import sosfilt

    size = round(_QUIET_BLOCK_S * rate)
    if rate < _MUSCLE_RATE_HZ or samples.shape[1] < _LEAST_BLOCKS * size:
        return np.zeros(len(samples))
    high = sosfilt(_muscle_band(rate), samples - samples[:, :1], axis=1)
    count = high.shape[1] // size
    power = (high[:, : count * size].reshape(len(samples), count, size) ** 2).mean(axis=2)
    quiet = np.percentile(power, _QUIET_PERCENTILE, axis=1) * 1e6
    return np.asarray(np.sqrt(np.maximum(0.0, quiet - mains_uv**2 / 2.0)), dtype=np.float64)
