"""What the atria do: whether P waves go before the beats, and what is left when the beats are taken away."""

from dataclasses import dataclass
from math import exp, sqrt

import numpy as np

from hub.ecg.analysis import tuning
from hub.ecg.analysis.beats import windows
from hub.ecg.analysis.delineate import Waves, smoothed
from hub.ecg.analysis.signal import Floats, Indexes

_RESIDUE_HZ = 50.0
_BAND_HZ = (3.0, 12.0)
_FINE_HZ = (5.0, 9.0)


@dataclass(frozen=True, slots=True)
class Residue:
    """What is left between 3 and 12 Hz without the beats.

    Attributes
    ----------
    peak_hz : float
        Where most of it lies.
    share : float
        How much of it lies within 0.5 Hz of there.
    fine : float
        How much of it lies between 5 and 9 Hz, where f waves are.
    """

    peak_hz: float
    share: float
    fine: float

    @property
    def is_wave(self) -> bool:
        """Whether one regular wave stands out, faster than a sinus rhythm's remainders."""
        return self.peak_hz >= tuning.WAVE_LEAST_HZ and self.share >= tuning.WAVE_SHARE


NOTHING = Residue(0.0, 0.0, 0.0)
"""No residue was looked at."""


def likeness(level: Floats, centres: Indexes, waves: Waves, pre: int, per_ms: float) -> float:
    """Return how alike the stretches before QRS are from beat to beat: near 1 with P, near 0 without.

    The mean correlation of every beat with every other over all leads. Premature beats stay out:
    the T wave before them would be compared with the others' P.

    Parameters
    ----------
    level : numpy.ndarray
        Usable leads, shape ``(n_leads, n)``.
    centres : numpy.ndarray
        Beats of the dominant shape that are not premature.
    waves : Waves
        Of their median.
    pre : int
        Fiducial sample of the median.
    per_ms : float
        Samples per millisecond.
    """
    if len(centres) < 2:  # noqa: PLR2004 - nothing to compare
        return float("nan")
    high = round(waves.over_all["qrs_on"] - tuning.P_GAP_MS * per_ms)
    low = max(1, high - round(300 * per_ms))
    usual = float(np.median(np.diff(centres)))
    if np.isfinite(waves.over_all["t_off"]):
        after_t = round(waves.over_all["t_off"] - usual + 20 * per_ms)
        low = max(low, min(after_t, high - round(80 * per_ms)))
    part = smoothed(windows(level, centres, pre - low, high - pre - 1), 6 * per_ms)
    return together(part)


def together(part: Floats) -> float:
    """Return the mean correlation of every stretch with every other over all leads; NaN for fewer than two.

    Parameters
    ----------
    part : numpy.ndarray
        Shape ``(n_stretches, n_leads, width)``.
    """
    if len(part) < 2:  # noqa: PLR2004 - nothing to compare
        return float("nan")
    time = np.arange(part.shape[2]) - (part.shape[2] - 1) / 2
    part = part - part.mean(axis=2, keepdims=True)
    part -= (part @ time)[..., None] * (time / np.square(time).sum())
    flat = part.reshape(len(part), -1)
    size = np.linalg.norm(flat, axis=1, keepdims=True)
    # One disturbed beat must not outweigh the others.
    flat *= np.minimum(1.0, 1.5 * np.median(size) / np.maximum(size, 1e-9))
    total = float(np.square(flat).sum())
    common = float(np.square(flat.sum(axis=0)).sum())
    return (common - total) / ((len(flat) - 1) * total) if total > 0 else float("nan")


def residue(without_beats: Floats, rate_hz: float) -> Residue:
    """Look for atrial waves in what is left without the beats.

    Parameters
    ----------
    without_beats : numpy.ndarray
        Usable leads with each beat's median taken away, shape ``(n_leads, n)``.
    rate_hz : float
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import welch

    step = max(1, round(rate_hz / _RESIDUE_HZ))
    n = without_beats.shape[1] // step * step
    slow = without_beats[:, :n].reshape(len(without_beats), -1, step).mean(axis=2)
    rate = rate_hz / step
    slow = slow - uniform_filter1d(slow, max(3, round(0.4 * rate)), axis=1, mode="nearest")
    limit = 4.0 * slow.std(axis=1, keepdims=True)
    slow = np.clip(slow, -limit, limit)
    hz, power = welch(slow, fs=rate, nperseg=min(slow.shape[1], round(4.0 * rate)), axis=1)
    total = power.sum(axis=0)
    band = (hz >= _BAND_HZ[0]) & (hz <= _BAND_HZ[1])
    whole = float(total[band].sum())
    if whole <= 0:
        return NOTHING
    peak = float(hz[band][np.argmax(total[band])])
    near = np.abs(hz - peak) <= 0.5  # noqa: PLR2004 - Hz, as Residue.share says
    fine = (hz >= _FINE_HZ[0]) & (hz <= _FINE_HZ[1])
    return Residue(peak, float(total[near & band].sum()) / whole, float(total[fine].sum()) / whole)


def irregularity(rr: Floats) -> float:
    """Return how irregular intervals are, as a share of their mean.

    The median change, which single premature beats hardly move. Extrasystoles by turns (bigeminy and the
    like) change it at every beat, but they make two lengths, each nearly constant; fibrillation makes any
    length. Where two groups of three and more hold nearly all of the spread, what is left in them counts.

    Parameters
    ----------
    rr : numpy.ndarray
        At least two intervals, any unit.
    """
    mean = float(rr.mean())
    usual = float(np.median(np.abs(np.diff(rr)))) / mean
    n, least = len(rr), tuning.AF_GROUP_LEAST
    spread = float(np.square(rr - mean).sum())
    if n < 2 * least or spread <= 0:
        return usual
    ordered = np.sort(rr) - mean
    below, count = np.cumsum(ordered)[least - 1 : n - least], np.arange(least, n - least + 1)
    # The total is zero, so what the upper group sums up to is what the lower one lacks.
    within = spread - float((np.square(below) / count + np.square(below) / (n - count)).max())
    if within > tuning.AF_GROUP_SHARE * spread:
        return usual
    return min(usual, sqrt(max(0.0, within) / n) / mean)


def fibrillation(rr: Floats, common: float, rest: Residue, *, paced: bool, free_p: bool) -> float:
    """Return the likelihood of atrial fibrillation between 0 and 1.

    Three signs are weighed: irregular RR (see `irregularity`), stretches before QRS that have nothing in
    common, and what is left between 5 and 9 Hz. A paced ventricle says nothing by its rhythm.

    Parameters
    ----------
    rr : numpy.ndarray
        Intervals, any unit.
    common : float
        From `likeness`; NaN counts as undecided.
    rest : Residue
    paced : bool
    free_p : bool
        Whether a regular row of P waves was found that keeps no step with the beats.
    """
    if rr.size < tuning.AF_LEAST_BEATS:
        return 0.0
    change = np.abs(np.diff(rr))
    irregular = irregularity(rr)
    absent = tuning.AF_P_WEIGHT * (tuning.P_COMMON - (common if np.isfinite(common) else tuning.P_COMMON))
    score = absent + tuning.AF_WAVE_WEIGHT * (rest.fine - tuning.AF_WAVE_AT)
    score += tuning.AF_FREE_P if free_p else 0.0
    if paced:
        score += tuning.AF_PACED
    else:
        steep = tuning.AF_REGULAR_WEIGHT if irregular < tuning.AF_RR_AT else tuning.AF_IRREGULAR_WEIGHT
        score += steep * (min(irregular, 0.3) - tuning.AF_RR_AT)
        if rest.is_wave and float(np.sqrt(np.mean(np.square(change)))) > tuning.AF_RR_AT * float(rr.mean()):
            score = max(score, 0.5)
    return 1.0 / (1.0 + exp(-score))
