"""Heart rate from all leads together. A measurement for sorting and display, never a diagnosis."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hub.ecg.waveform import Waveform

Floats = NDArray[np.float64]
Reason = Literal["", "too_short", "flat", "noise", "too_few_beats", "rate_too_low"]

QRS_BAND_HZ = (6.0, 26.0)
REFRACTORY_S = 0.24
"""No two QRS complexes lie closer: 250 beats a minute."""

_ENVELOPE_S = 0.09
_T_WAVE_S = 0.40
_PACED_P_S = 0.30
_SPIKE_S = 0.006
_FLAT_MV = 0.02
_MIN_SECONDS = 1.5
_MIN_RATE_HZ = 80.0
_BLOCK_S = 2.0
_NOISE_CONTRAST = 3.0


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

    Notes
    -----
    The slope energy of all leads in the QRS band is added, so a complex that is small in one
    lead is found in another, and compared with a threshold that follows the recording in both
    directions (amplitude changes, premature beats). A long pause is searched again at half the
    threshold. Peaks within 0.4 s after a larger one whose slope is far smaller are T waves.
    Leads weigh by the square of their voltage, as on paper.
    """
    if waveform.rate_hz < _MIN_RATE_HZ:
        return _none("rate_too_low")
    if waveform.duration_s < _MIN_SECONDS:
        return _none("too_short")
    energy = _slope_energy(waveform)
    if energy is None:
        return _none("flat")
    # A running sum may end a hair below zero.
    envelope = np.sqrt(np.maximum(0.0, _moving_mean(energy, waveform.rate_hz * _ENVELOPE_S)))
    beats = _find_beats(envelope, waveform.rate_hz)
    if _is_noise(envelope, beats):
        return _none("noise")
    if len(beats) < 2:  # noqa: PLR2004 - an interval needs two
        return HeartRate(None, (), tuple(int(b) for b in beats), "too_few_beats")
    rr_ms = np.diff(beats) / waveform.rate_hz * 1000.0
    return HeartRate(
        bpm=float(60_000.0 / rr_ms.mean()),
        rr_ms=tuple(float(rr) for rr in rr_ms),
        qrs_samples=tuple(int(b) for b in beats),
        reason="",
    )


def _none(reason: Reason) -> HeartRate:
    return HeartRate(None, (), (), reason)


def _slope_energy(waveform: Waveform) -> Floats | None:
    """Return the squared slope in the QRS band, added over leads, shape (n_samples,).

    None if every lead is flat.
    """
    from scipy.ndimage import median_filter
    from scipy.signal import butter, sosfiltfilt

    spike = 2 * round(_SPIKE_S * waveform.rate_hz) + 1
    sos = butter(2, QRS_BAND_HZ, btype="bandpass", fs=waveform.rate_hz, output="sos")
    energy = np.zeros(waveform.n_samples)
    used = 0
    for column in range(len(waveform.leads)):
        lead = _bridged(waveform.samples_mv[:, column])
        if lead is None or np.ptp(lead) < _FLAT_MV:
            continue
        # The median takes out pacing spikes, which are narrower than any part of a QRS.
        filtered = sosfiltfilt(sos, median_filter(lead, size=spike, mode="nearest"))
        energy += np.gradient(filtered) ** 2
        used += 1
    return energy if used and float(energy.max()) > 0 else None


def _bridged(lead: Floats) -> Floats | None:
    """Replace missing samples by straight lines; None when too few are left."""
    present = np.isfinite(lead)
    if present.all():
        return lead
    if present.mean() < 0.5:  # noqa: PLR2004 - a lead that is mostly missing says little
        return None
    places = np.arange(lead.size)
    return np.interp(places, places[present], lead[present])


def _moving_mean(values: Floats, width: float) -> Floats:
    from scipy.ndimage import uniform_filter1d

    return np.asarray(uniform_filter1d(values, max(1, round(width)), mode="nearest"), dtype=np.float64)


def _find_beats(envelope: Floats, rate_hz: float) -> NDArray[np.intp]:
    """Return sample numbers of the QRS complexes in an envelope of slope energy."""
    from scipy.signal import find_peaks

    distance = max(1, round(REFRACTORY_S * rate_hz))
    candidates: NDArray[np.intp] = find_peaks(envelope, distance=distance)[0]
    if not candidates.size:
        return candidates
    level = _local_level(envelope, rate_hz)[candidates]
    heights = envelope[candidates]
    beats = candidates[heights > 0.35 * level]
    beats = _without_t_waves(envelope, beats, rate_hz)
    return _search_back(envelope, candidates, beats, level, rate_hz)


def _local_level(envelope: Floats, rate_hz: float) -> Floats:
    """Return the height that a QRS has here: the median of block maxima over the neighbouring blocks."""
    size = max(1, round(_BLOCK_S * rate_hz))
    n_blocks = max(1, envelope.size // size)
    maxima = np.array([block.max() for block in np.array_split(envelope, n_blocks)])
    reach = 4
    medians = np.array([np.median(maxima[max(0, i - reach) : i + reach + 1]) for i in range(n_blocks)])
    centres = (np.arange(n_blocks) + 0.5) * envelope.size / n_blocks
    return np.asarray(np.interp(np.arange(envelope.size), centres, medians), dtype=np.float64)


def _without_t_waves(envelope: Floats, beats: NDArray[np.intp], rate_hz: float) -> NDArray[np.intp]:
    """Drop T waves after a complex, and steep (paced or peaked) P waves before one."""
    kept: list[int] = []
    for beat in beats:
        gap_s = (beat - kept[-1]) / rate_hz if kept else _T_WAVE_S
        if gap_s < _T_WAVE_S and envelope[beat] < 0.4 * envelope[kept[-1]]:
            continue
        before = 0.6 if gap_s < _PACED_P_S else 0.4
        if gap_s < _T_WAVE_S and envelope[kept[-1]] < before * envelope[beat]:
            kept[-1] = int(beat)
            continue
        kept.append(int(beat))
    return np.array(kept, dtype=np.intp)


def _search_back(
    envelope: Floats, candidates: NDArray[np.intp], beats: NDArray[np.intp], level: Floats, rate_hz: float
) -> NDArray[np.intp]:
    """Look again, at half the threshold, in pauses longer than 1.6 times the usual interval."""
    if len(beats) < 3:  # noqa: PLR2004 - no usual interval yet
        return beats
    usual = float(np.median(np.diff(beats)))
    added: list[int] = []
    for left, right in pairwise(beats.tolist()):
        if right - left < 1.6 * usual:
            continue
        clear = _T_WAVE_S * rate_hz
        inside = (
            (candidates > left + clear) & (candidates < right - clear) & (envelope[candidates] > 0.22 * level)
        )
        if inside.any():
            places = candidates[inside]
            added.append(int(places[np.argmax(envelope[places])]))
    return np.array(sorted([*beats.tolist(), *added]), dtype=np.intp)


def _is_noise(envelope: Floats, beats: NDArray[np.intp]) -> bool:
    """Say whether the peaks hardly stand out of what lies between them."""
    if not len(beats):
        return True
    between = float(np.median(envelope))
    return float(np.median(envelope[beats])) < _NOISE_CONTRAST * between
