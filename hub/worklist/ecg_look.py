"""A first glance at an ECG, in about a millisecond: whether it may be one that cannot wait.

It decides who is let in and analysed first when more ECGs arrive than can be analysed at once, and
nothing else: what is shown of an ECG comes from its analysis. It errs towards yes.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import structlog

from hub.ecg.waveform import Waveform

if TYPE_CHECKING:
    from hub.ecg.analysis.signal import Signal

log = structlog.get_logger()

LOOKED_AT = ("II", "V1", "V2", "V5")
"""Leads in which rhythm and width show; of a recording without them the first ones are taken."""

LOOKED_AT_SECONDS = 20.0
COARSE_HZ = 125.0
"""No less than this rate is looked at: QRS complexes are found by what lies below 26 Hz."""

SLOW_BPM, FAST_BPM = 45.0, 115.0
PAUSE_S = 2.0
FEW_BEATS = 3
RUN_INTERVALS, RUN_S = 4, 0.43
"""So many intervals in a row, shorter than that on average, are a run of fast beats."""

QUICK_BPM = 100.0
WIDE_S, VERY_WIDE_S = 0.15, 0.22
"""Width of complexes that stands out at and above `QUICK_BPM`, and below: bundle branch blocks and
paced beats are wide too, and common."""

SLOWISH_BPM, STEADY_P_MV = 61.0, 0.05
"""A slow rate below the first stands out unless P waves of this size stand at one distance before QRS."""

EARLY_SHARE, EARLY_S, EARLY_WIDE_S = 0.8, 0.5, 0.1
"""A beat that comes after less than that share of the usual interval, and so soon, and is so wide."""

RAISED_MV, RAISED_RIGHT_MV, RAISED_LEADS = 0.07, 0.22, 2
"""Level behind QRS over the level before it, in V1-V3 the second, in so many leads."""

TALL_T_MV, TALL_LEADS = 0.7, 3

_RIGHT = ("V1", "V2", "V3")
_OPPOSITE = "aVR"
_WIDE_SHARE = 0.25
_SMOOTHED_S = 0.09
"""By so much the detector's envelope widens every complex."""

_BEFORE_S = (-0.08, -0.055)
_BEHIND_S = ((0.06, 0.08), (0.10, 0.12))
_T_S = (0.14, 0.42)
_P_S = (-0.26, -0.07)


NO_BEATS = 4.0
"""How far one stands out in which no beats are to be found: further than any rate."""


def pressure(waveform: Waveform) -> float:
    """Return how far an ECG stands out, 0 when it does not; what stands out is analysed before others.

    Very slow or very fast, a pause, a run of fast beats, wide complexes at a quick rate, early wide beats,
    a slow rate without steady P waves, raised ST, tall T waves, or no beats to be found: whatever a list
    of critical values has, with wider limits. The detector is that of the analysis. The number is the
    largest of what was found over its limit, at least 1: when many stand out, the furthest goes first.
    """
    try:
        found = _pressure(waveform)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, nobody can say that it may wait
        log.warning("ecg_not_looked_at", error=type(error).__name__)
        return 1.0
    return found if found >= 1.0 else 0.0


def _pressure(waveform: Waveform) -> float:
    from hub.ecg.analysis import loading
    from hub.ecg.analysis.detect import find_qrs

    loading.load()
    samples, rate_hz = _coarse(waveform)
    if not len(samples):
        return NO_BEATS
    signal = _signal(samples, rate_hz, waveform)
    if not signal.usable.any():
        return NO_BEATS
    beats, envelope = find_qrs(signal)
    if len(beats) < FEW_BEATS:
        return NO_BEATS
    places = np.round(beats * signal.scale).astype(np.intp)
    return max(
        _rhythm(beats / signal.rate_hz, len(envelope) / signal.rate_hz),
        _wide(beats, envelope, signal.rate_hz),
        _slow_without_p(beats, signal),
        _raised_or_tall(samples, waveform.leads, places, rate_hz),
    )


def _rhythm(seconds: np.ndarray, length_s: float) -> float:
    """Return how far beats come too slowly, too fast, in a fast run or with a pause."""
    intervals = np.diff(seconds)
    rate = 60.0 / float(np.median(intervals))
    gap = max(float(intervals.max()), float(seconds[0]), length_s - float(seconds[-1]))
    run = 0.0
    if len(intervals) >= RUN_INTERVALS:
        run = RUN_S / float(np.convolve(intervals, np.full(RUN_INTERVALS, 1 / RUN_INTERVALS), "valid").min())
    return max(SLOW_BPM / rate, rate / FAST_BPM, gap / PAUSE_S, run)


def _wide(beats: np.ndarray, envelope: np.ndarray, rate_hz: float) -> float:
    """Return how wide complexes are for their rate; just 1 when only one that comes early is wide."""
    intervals = np.diff(beats) / rate_hz
    usual = float(np.median(intervals))
    widths = _widths(beats, envelope, rate_hz)
    limit = WIDE_S if usual <= 60.0 / QUICK_BPM else VERY_WIDE_S
    early = (intervals < EARLY_SHARE * usual) & (intervals < EARLY_S) & (widths[1:] > EARLY_WIDE_S)
    return max(float(np.median(widths)) / limit, float(early.any()))


def _slow_without_p(beats: np.ndarray, signal: "Signal") -> float:
    """Return how slow beats are before which no P waves stand at one distance."""
    rate = 60.0 * signal.rate_hz / float(np.median(np.diff(beats)))
    before = _around(signal.mv.T, beats, _P_S, signal.rate_hz)
    return SLOWISH_BPM / rate if float(np.ptp(before, axis=0).max()) < STEADY_P_MV else 0.0


def _raised_or_tall(samples: np.ndarray, leads: tuple[str, ...], places: np.ndarray, rate_hz: float) -> float:
    """Return how far several leads have a raised ST segment, or tall T waves."""
    before = _around(samples, places, _BEFORE_S, rate_hz).mean(axis=0)
    behind = [_around(samples, places, window, rate_hz).mean(axis=0) for window in _BEHIND_S]
    limits = [
        np.inf if lead == _OPPOSITE else RAISED_RIGHT_MV if lead in _RIGHT else RAISED_MV for lead in leads
    ]
    raised = (np.minimum(*behind) - before) / np.array(limits)
    tall = (_around(samples, places, _T_S, rate_hz).max(axis=0) - before) / TALL_T_MV
    return max(_in_several(raised, RAISED_LEADS), _in_several(tall, TALL_LEADS))


def _in_several(shares: np.ndarray, leads: int) -> float:
    """Return what so many leads reach."""
    return float(np.sort(shares)[-leads]) if len(shares) >= leads else 0.0


def _around(
    samples: np.ndarray, places: np.ndarray, window_s: tuple[float, float], rate_hz: float
) -> np.ndarray:
    """Return the usual course around the beats: the median over those that are whole, by lead."""
    begin, end = (round(second * rate_hz) for second in window_s)
    end = max(end, begin + 1)
    inner = places[(places + begin >= 0) & (places + end <= len(samples))]
    if not inner.size:
        return np.zeros((1, samples.shape[1]))
    return np.asarray(np.nan_to_num(np.median(samples[inner[:, None] + np.arange(begin, end)], axis=0)))


def _coarse(waveform: Waveform) -> tuple[np.ndarray, float]:
    """Return the beginning at a low rate, each sample the mean of several, and that rate."""
    few = max(1, int(waveform.rate_hz / COARSE_HZ))
    whole = min(waveform.n_samples, round(LOOKED_AT_SECONDS * waveform.rate_hz)) // few * few
    means = waveform.samples_mv[:whole].reshape(-1, few, len(waveform.leads)).mean(axis=1)
    return means, waveform.rate_hz / few


def _signal(samples: np.ndarray, rate_hz: float, waveform: Waveform) -> "Signal":
    """Return a few leads to find QRS complexes in; those with gaps as the analysis prepares them."""
    from hub.ecg.analysis.signal import FLAT_MV, Signal, prepare

    names = tuple(name for name in LOOKED_AT if name in waveform.leads) or waveform.leads[: len(LOOKED_AT)]
    chosen = samples[:, [waveform.leads.index(name) for name in names]]
    if np.isnan(chosen).any():
        return prepare(
            replace(waveform, samples_mv=chosen, rate_hz=rate_hz, leads=names, lsb_mv=(), parts=())
        )
    usable = np.ptp(chosen, axis=0) >= FLAT_MV
    return Signal(np.ascontiguousarray(chosen.T), rate_hz, 1.0, names, usable, np.zeros(0, dtype=np.intp))


def _widths(beats: np.ndarray, envelope: np.ndarray, rate_hz: float) -> np.ndarray:
    """Return for how many seconds the slope stands above a quarter of its height, about, by beat."""
    reach = round(0.2 * rate_hz)
    around = np.pad(envelope, reach)[beats[:, None] + np.arange(2 * reach + 1)]
    above = around > _WIDE_SHARE * around[:, [reach]]
    return np.asarray(above.sum(axis=1) / rate_hz - _SMOOTHED_S)
