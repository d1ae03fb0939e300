"""Everything that is measured on one recording: the one entry to the engine."""

from typing import Literal

import numpy as np

from hub.ecg.analysis import blocks, detect, values
from hub.ecg.analysis.align import align, shown
from hub.ecg.analysis.loading import load
from hub.ecg.analysis.model import Atrial, Measurement
from hub.ecg.analysis.results import measurement_of
from hub.ecg.analysis.signal import Floats, Indexes, Signal, prepare
from hub.ecg.analysis.strip import study
from hub.ecg.waveform import Waveform

MIN_RATE_HZ = 80.0
MIN_SECONDS = 1.5

Reason = Literal["", "too_short", "flat", "noise", "rate_too_low"]


def measure(waveform: Waveform) -> Measurement:
    """Measure a recording.

    Parameters
    ----------
    waveform : Waveform
        Any number of leads, 80 Hz and more, any length. Limb leads that follow from I and II are
        measured too. Recordings beyond `hub.ecg.analysis.blocks.LONG_S` are measured block by block:
        numbers are then the medians over the blocks, and beats carry no boundaries by lead.

    Returns
    -------
    Measurement
        Never raises for what a recording holds: what cannot be measured has a reason.
    """
    if waveform.duration_s > blocks.LONG_S:
        parts = ((block, _measured(block.waveform)) for block in blocks.cut(waveform))
        return blocks.together(parts) or nothing_measured(waveform, "noise")
    return _measured(waveform)


def _measured(waveform: Waveform) -> Measurement:
    waveform = waveform.with_derived_limb_leads()
    signal, found, reason = _found(waveform)
    if reason or signal is None:
        return nothing_measured(waveform, reason)
    return measurement_of(waveform, study(signal, found))


def find_beats(waveform: Waveform) -> tuple[list[int], Floats, Reason]:
    """Find the beats alone, the same ones as `measure` and at the same samples, in a fraction of its time.

    Returns
    -------
    list of int
        Fiducial points in samples of the recording.
    numpy.ndarray
        Intervals between them in ms.
    str
        Why there is none; empty otherwise.
    """
    if waveform.duration_s > blocks.LONG_S:
        places = blocks.joined((block, _beats_of(block.waveform)[0]) for block in blocks.cut(waveform))
        return places, np.diff(places) / waveform.rate_hz * 1000.0, "" if places else "noise"
    return _beats_of(waveform)


def _beats_of(waveform: Waveform) -> tuple[list[int], Floats, Reason]:
    waveform = waveform.with_derived_limb_leads()
    signal, found, reason = _found(waveform)
    if reason or signal is None:
        return [], np.zeros(0), reason
    centres = align(signal, found).centres
    places = [signal.original(centre, waveform.n_samples) for centre in centres.tolist()]
    return places, np.diff(centres) / signal.rate_hz * 1000.0, ""


def _found(waveform: Waveform) -> tuple[Signal | None, Indexes, Reason]:
    load()
    nobody = np.zeros(0, dtype=np.intp)
    if waveform.rate_hz < MIN_RATE_HZ:
        return None, nobody, "rate_too_low"
    if waveform.duration_s < MIN_SECONDS:
        return None, nobody, "too_short"
    signal = prepare(waveform)
    if not signal.usable.any():
        return None, nobody, "flat"
    found, envelope = detect.find_qrs(signal)
    if detect.is_noise(envelope, found):
        return None, nobody, "noise"
    if signal.when is not None and not shown(signal, found, signal.when).any():
        return None, nobody, "too_short"
    return signal, found, ""


def nothing_measured(waveform: Waveform, reason: str) -> Measurement:
    """Return a measurement that only says why there is none."""
    return Measurement(
        beats=(),
        rr_ms=(),
        values=values.nothing(reason),
        by_lead=values.nothing_by_lead(waveform.leads, reason),
        median=None,
        atrial=Atrial(),
        reason=reason,
    )
