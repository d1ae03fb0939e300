"""Heart rate alone, for lists and drawings that need no more; the same beats as the full measurement."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hub.ecg.waveform import Waveform

Reason = Literal["", "too_short", "flat", "noise", "too_few_beats", "rate_too_low"]


@dataclass(frozen=True, slots=True)
class HeartRate:
    """Ventricular rate and where it came from.

    Attributes
    ----------
    bpm : float or None
        60 000 over the mean RR interval in ms; None when no rate can be given.
    rr_ms : tuple of float
        Intervals between neighbouring QRS complexes in milliseconds.
    qrs_samples : tuple of int
        Sample numbers of the QRS complexes, ascending.
    reason : str
        Why `bpm` is None: ``too_short``, ``flat``, ``noise``, ``too_few_beats`` or
        ``rate_too_low``; empty otherwise.
    """

    bpm: float | None
    rr_ms: tuple[float, ...]
    qrs_samples: tuple[int, ...]
    reason: Reason


def measure_heart_rate(waveform: Waveform) -> HeartRate:
    """Find the QRS complexes and measure the ventricular rate.

    Parameters
    ----------
    waveform : Waveform
        Any number of leads. Missing samples are bridged; flat leads are left out.

    Returns
    -------
    HeartRate
        With a reason in place of a rate where none can be given honestly.
    """
    from hub.ecg.analysis.measure import find_beats

    places, rr_ms, reason = find_beats(waveform)
    if reason:
        return HeartRate(None, (), (), reason)
    if not rr_ms.size:
        return HeartRate(None, (), tuple(places), "too_few_beats")
    return HeartRate(60_000.0 / float(np.mean(rr_ms)), tuple(rr_ms.tolist()), tuple(places), "")
