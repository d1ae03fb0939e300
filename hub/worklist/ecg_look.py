"""A first glance at an ECG, in a few milliseconds: whether it may be one that cannot wait.

It decides who is let in and analysed first when more ECGs arrive than can be analysed at once, and
nothing else: what is shown of an ECG comes from its analysis. It errs towards yes.
"""

from dataclasses import replace

import numpy as np
import structlog

from hub.ecg.waveform import Waveform

log = structlog.get_logger()

LOOKED_AT = ("II", "V1", "V2", "V5")
"""Leads in which rhythm and width show; of a recording without them the first ones are taken."""

LOOKED_AT_SECONDS = 20.0
SLOW_BPM, FAST_BPM = 45.0, 130.0
PAUSE_S = 2.0
FEW_BEATS = 3
QUICK_BPM = 100.0
WIDE_S, VERY_WIDE_S = 0.15, 0.22
"""Width of complexes that stands out at and above `QUICK_BPM`, and below: bundle branch blocks and
paced beats are wide too, and common."""

_WIDE_SHARE = 0.25
_SMOOTHED_S = 0.09
"""By so much the detector's envelope widens every complex."""

ST_MV, ST_LEADS = 0.25, 2
"""Gross shift of the ST segment: so much in so many leads."""

_BEFORE_S, _AFTER_S = 0.09, 0.11


def suspicious(waveform: Waveform) -> bool:
    """Tell whether an ECG should be analysed before others.

    Very slow or very fast, a pause, wide complexes at a quick rate, a gross shift of ST, or no beats to be
    found. The detector is that of the analysis; the limits are wider than a list of critical values has.
    """
    try:
        return _stands_out(waveform)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it takes its turn with the others
        log.warning("ecg_not_looked_at", error=type(error).__name__)
        return False


def _stands_out(waveform: Waveform) -> bool:
    from hub.ecg.analysis.detect import find_qrs
    from hub.ecg.analysis.signal import prepare

    length = max(1, round(LOOKED_AT_SECONDS * waveform.rate_hz))
    samples = waveform.samples_mv[:length]
    names = [name for name in LOOKED_AT if name in waveform.leads] or waveform.leads[: len(LOOKED_AT)]
    columns = [waveform.leads.index(name) for name in names]
    signal = prepare(
        replace(waveform, samples_mv=samples[:, columns], leads=tuple(names), lsb_mv=(), parts=())
    )
    if not signal.usable.any():
        return True
    beats, envelope = find_qrs(signal)
    if len(beats) < FEW_BEATS:
        return True
    seconds = beats / signal.rate_hz
    intervals = np.diff(seconds)
    rate = 60.0 / float(np.median(intervals))
    gaps = [float(intervals.max()), float(seconds[0]), len(envelope) / signal.rate_hz - float(seconds[-1])]
    if not SLOW_BPM <= rate <= FAST_BPM or max(gaps) > PAUSE_S:
        return True
    places = np.round(beats * signal.scale).astype(np.intp)
    wide = _width(beats, envelope, signal.rate_hz) > (WIDE_S if rate >= QUICK_BPM else VERY_WIDE_S)
    return wide or _shifted(samples, places, waveform.rate_hz)


def _width(beats: np.ndarray, envelope: np.ndarray, rate_hz: float) -> float:
    """Return for how many seconds the slope stands above a quarter of its height, about."""
    reach = round(0.2 * rate_hz)
    inner = beats[(beats >= reach) & (beats < len(envelope) - reach)]
    if not inner.size:
        return 0.0
    around = envelope[inner[:, None] + np.arange(-reach, reach + 1)]
    above = around > _WIDE_SHARE * around[:, [reach]]
    return float(np.median(above.sum(axis=1))) / rate_hz - _SMOOTHED_S


def _shifted(samples: np.ndarray, places: np.ndarray, rate_hz: float) -> bool:
    """Tell whether the level after the complexes is far from the level before them."""
    before, after = round(_BEFORE_S * rate_hz), round(_AFTER_S * rate_hz)
    inner = places[(places >= before) & (places < len(samples) - after)]
    if not inner.size:
        return False
    levels = np.median(samples[inner + after] - samples[inner - before], axis=0)
    return int((np.abs(np.nan_to_num(levels)) > ST_MV).sum()) >= ST_LEADS
