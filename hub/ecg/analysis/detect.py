"""QRS detection over all leads together, without a learning phase."""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.signal import Floats, Indexes, Signal
from hub.ecg.analysis.stretches import segments

QRS_BAND_HZ = (6.0, 26.0)
REFRACTORY_S = 0.24
"""No two QRS complexes lie closer: 250 beats a minute."""

_ENVELOPE_S = 0.09
_T_WAVE_S = 0.40
_PACED_P_S = 0.30
_BLOCK_S = 2.0
NOISE_CONTRAST = 3.0
_LEAST_LEVEL = 0.2
_SHORTEST_S = 0.3
_TURN_BLOCK_S = 1.25
_EDGE_S = 0.15


def find_qrs(signal: Signal) -> tuple[Indexes, Floats]:
    """Return the QRS complexes of a recording and the envelope they were found in.

    The slope energy of all usable leads in the QRS band is added, so a complex that is small in
    one lead is found in another, and compared with a threshold that follows the recording in both
    directions. A long pause is searched again at half the threshold. Peaks within 0.4 s after a
    larger one whose slope is far smaller are T waves.

    Parameters
    ----------
    signal : Signal
        With at least one usable lead.

    Returns
    -------
    numpy.ndarray
        Working samples, ascending.
    numpy.ndarray
        Envelope, shape ``(n_samples,)``.
    """
    envelope = slope_envelope(signal)
    return _find_beats(envelope, signal.rate_hz), envelope


def slope_envelope(signal: Signal) -> Floats:
    """Return the root of the smoothed slope energy in the QRS band, added over the usable leads."""
    if signal.when is not None:
        return _envelope_by_turns(signal, signal.when)
    return _envelope(signal.mv[signal.usable], signal.rate_hz)


def _envelope_by_turns(signal: Signal, when: NDArray[np.bool_]) -> Floats:
    """Return the envelope of leads that were not all there at one time, at one height throughout.

    Each stretch is filtered by itself, so that no edge looks like a QRS, and measured by its own QRS,
    for three limb leads together are far smaller than three chest leads. A stretch without any QRS must
    not be raised to the others' height.
    """
    envelope = np.zeros(signal.mv.shape[1])
    parts: list[tuple[slice, float]] = []
    for begin, end, present in segments(when):
        if not present.any() or end - begin < _SHORTEST_S * signal.rate_hz:
            continue
        place = slice(begin, end)
        part = _envelope(signal.mv[signal.usable][present, place], signal.rate_hz) / np.sqrt(present.sum())
        envelope[place] = part
        # What a complex that the edge cuts leaves there is no measure of the others.
        edge = min(part.size // 4, round(_EDGE_S * signal.rate_hz))
        inner = part[edge : part.size - edge]
        blocks = np.array_split(inner, max(1, round(inner.size / (_TURN_BLOCK_S * signal.rate_hz))))
        parts.append((place, float(np.median([block.max() for block in blocks]))))
    usual = float(np.median([level for _, level in parts])) if parts else 0.0
    for place, level in parts:
        envelope[place] /= max(level, _LEAST_LEVEL * usual, 1e-9)
    return envelope


def _envelope(mv: Floats, rate_hz: float) -> Floats:
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import sosfiltfilt

    slope = np.diff(sosfiltfilt(_band(rate_hz), mv, axis=1), axis=1, append=0.0)
    slope[:, -1] = 0.0
    energy = np.einsum("ij,ij->j", slope, slope)
    smooth = uniform_filter1d(energy, max(1, round(rate_hz * _ENVELOPE_S)), mode="nearest")
    # A running sum may end a hair below zero.
    return np.asarray(np.sqrt(np.maximum(0.0, smooth)))


@lru_cache(maxsize=16)
def _band(rate_hz: float) -> Floats:
    from scipy.signal import butter

    return np.asarray(butter(2, QRS_BAND_HZ, btype="bandpass", fs=rate_hz, output="sos"))


def _find_beats(envelope: Floats, rate_hz: float) -> Indexes:
    from scipy.signal import find_peaks

    candidates: Indexes = find_peaks(envelope, distance=max(1, round(REFRACTORY_S * rate_hz)))[0]
    if not candidates.size:
        return candidates
    level = _local_level(envelope, rate_hz)[candidates]
    beats = candidates[envelope[candidates] > 0.35 * level]
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


def _without_t_waves(envelope: Floats, beats: Indexes, rate_hz: float) -> Indexes:
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
    envelope: Floats, candidates: Indexes, beats: Indexes, level: Floats, rate_hz: float
) -> Indexes:
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


def is_noise(envelope: Floats, beats: Indexes) -> bool:
    """Say whether the peaks hardly stand out of what lies between them.

    Looked at from each peak to the next: in a fast or wide rhythm the complexes fill most of the
    time, and only the quietest tenth between two of them is free of them.
    """
    if not len(beats):
        return True
    if len(beats) == 1:
        between = float(np.median(envelope))
    else:
        between = float(np.median([np.percentile(envelope[a:b], 10) for a, b in pairwise(beats.tolist())]))
    return float(np.median(envelope[beats])) < NOISE_CONTRAST * between
