"""A recording made ready for measuring: gaps bridged, one working rate, pacing spikes taken out."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.stretches import LEAST_S, longest_run, recorded, segments
from hub.ecg.waveform import Waveform

Floats = NDArray[np.float64]
Indexes = NDArray[np.intp]

WORK_HZ = 500.0
"""Everything is measured at about this rate; results go back in the recording's own samples."""

FLAT_MV = 0.02
"""A lead that swings less than this over the whole recording carries no ECG."""

_MOSTLY_MISSING = 0.5
_NEAR_WORK_HZ = (450.0, 550.0)
_SPIKE_MV = 0.15
_SPIKE_S = 0.008
_SPIKE_RATE_HZ = 400.0
_DECAY_S = 0.06
_DECAY_FIT_S = 0.008
_DECAY_CONSTANT_S = (0.002, 0.02)
_MAINS_HZ = (50.0, 60.0)
_MAINS_OFF_HZ = 0.3
_MAINS_MV = 0.02
_MAINS_CLEAR = 5.0
_CALM_S = 0.016
_CALM_SHARE = 0.4
_SHORTEST_S = 0.1


@dataclass(frozen=True, eq=False)
class Signal:
    """Samples at the working rate.

    Attributes
    ----------
    mv : numpy.ndarray
        Shape ``(n_leads, n_samples)``, no NaN, pacing spikes replaced by straight lines.
    rate_hz : float
        The working rate, exactly.
    scale : float
        Samples of the recording for one sample here.
    leads : tuple of str
        One name per column.
    usable : numpy.ndarray
        bool, shape ``(n_leads,)``: False for leads that are flat or mostly missing.
    spikes : numpy.ndarray
        Working samples of the pacing spikes that were taken out.
    recorded : numpy.ndarray or None
        bool, the shape of `mv`: when each lead was recorded; None when all were throughout.
    """

    mv: Floats
    rate_hz: float
    scale: float
    leads: tuple[str, ...]
    usable: NDArray[np.bool_]
    spikes: Indexes
    recorded: NDArray[np.bool_] | None = None

    @property
    def per_ms(self) -> float:
        """Working samples per millisecond."""
        return self.rate_hz / 1000.0

    def ms(self, milliseconds: float) -> int:
        """Return a duration in working samples, at least one."""
        return max(1, round(milliseconds * self.rate_hz / 1000.0))

    @property
    def when(self) -> NDArray[np.bool_] | None:
        """When the usable leads were recorded; None when all were throughout."""
        return None if self.recorded is None else self.recorded[self.usable]

    def intervals(self, places: Indexes) -> Floats:
        """Return the intervals between neighbouring places over which some lead was always recorded."""
        found = np.diff(places).astype(np.float64)
        if self.recorded is None or not found.size:
            return found
        silent = np.concatenate([[0], np.cumsum(~self.recorded.any(axis=0))])
        return np.asarray(found[silent[places[1:]] == silent[places[:-1]]])

    def original(self, sample: float, n_samples: int) -> int:
        """Return the recording's own sample for a working sample."""
        return min(max(0, round(sample * self.scale)), n_samples - 1)


def prepare(waveform: Waveform) -> Signal:
    """Bring a recording to the working rate.

    Parameters
    ----------
    waveform : Waveform
        Any rate and number of leads; NaN where nothing was recorded.

    Returns
    -------
    Signal
    """
    when = recorded(waveform.samples_mv.T, waveform.rate_hz)
    samples, usable = _bridged(waveform.samples_mv, when, waveform.rate_hz)
    up, down = _ratio(waveform.rate_hz)
    if when is None:
        samples, spikes = _cleaned(samples, usable, waveform.rate_hz)
    else:
        samples, spikes = _cleaned_by_turns(samples, usable, when, waveform.rate_hz)
    if (up, down) != (1, 1):
        from scipy.signal import resample_poly

        # The edges are padded with the first and last value, or they would ring.
        samples = resample_poly(samples, up, down, axis=1, padtype="edge")
    return Signal(
        mv=samples,
        rate_hz=waveform.rate_hz * up / down,
        scale=down / up,
        leads=waveform.leads,
        usable=usable,
        spikes=np.round(spikes * (up / down)).astype(np.intp),
        recorded=None if when is None else _at_rate(when, down / up, samples.shape[1]),
    )


def _at_rate(when: NDArray[np.bool_], scale: float, n_samples: int) -> NDArray[np.bool_]:
    places = np.round(np.arange(n_samples) * scale).astype(np.intp)
    return np.asarray(when[:, np.clip(places, 0, when.shape[1] - 1)])


def _cleaned(samples: Floats, usable: NDArray[np.bool_], rate_hz: float) -> tuple[Floats, Indexes]:
    """Take out pacing spikes and mains; say where the spikes were."""
    spikes = np.zeros(0, dtype=np.intp)
    # A spike is narrower than any wave; below 400 Hz the recorder has smeared it and nothing is found.
    if rate_hz >= _SPIKE_RATE_HZ and usable.any():
        samples, spikes = _without_spikes(samples, usable, rate_hz)
    return _without_mains(samples, rate_hz), spikes


def _cleaned_by_turns(
    samples: Floats, usable: NDArray[np.bool_], when: NDArray[np.bool_], rate_hz: float
) -> tuple[Floats, Indexes]:
    """Clean each stretch in the leads that were recorded then."""
    samples, spikes = samples.copy(), []
    for begin, end, present in segments(when):
        if present.any() and end - begin > round(_SHORTEST_S * rate_hz):
            samples[present, begin:end], found = _cleaned(
                samples[present, begin:end], usable[present], rate_hz
            )
            spikes += (found + begin).tolist()
    return samples, np.array(spikes, dtype=np.intp)


def _ratio(rate_hz: float) -> tuple[int, int]:
    if _NEAR_WORK_HZ[0] <= rate_hz <= _NEAR_WORK_HZ[1]:
        return 1, 1
    ratio = Fraction(WORK_HZ / rate_hz).limit_denominator(64)
    return ratio.numerator, ratio.denominator


def _bridged(
    recorded: Floats, when: NDArray[np.bool_] | None, rate_hz: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Replace missing samples by straight lines; say which leads are worth using. Leads become rows."""
    samples = np.array(recorded.T, dtype=np.float64, order="C")
    missing = ~np.isfinite(samples)
    usable = np.ones(len(samples), dtype=bool)
    if missing.any():
        places = np.arange(samples.shape[1])
        for row in np.flatnonzero(missing.any(axis=1)):
            present = ~missing[row]
            usable[row] = present.mean() >= _MOSTLY_MISSING
            if when is not None:
                begin, end = longest_run(when[row])
                usable[row] |= end - begin >= LEAST_S * rate_hz
            samples[row] = np.interp(places, places[present], samples[row, present]) if present.any() else 0.0
    usable &= np.ptp(samples, axis=1) >= FLAT_MV
    return samples, usable


def _without_spikes(samples: Floats, usable: NDArray[np.bool_], rate_hz: float) -> tuple[Floats, Indexes]:
    """Cut out pacing spikes: steep on both sides, over within 8 ms, in several leads at once."""
    reach = max(2, round(_SPIKE_S * rate_hz / 2))
    used = samples[usable]
    # How far a sample stands out of both its neighbours 4 ms away, on the same side.
    left = used[:, reach:-reach] - used[:, : -2 * reach]
    right = used[:, reach:-reach] - used[:, 2 * reach :]
    out = np.where(left * right > 0, np.minimum(np.abs(left), np.abs(right)), 0.0)
    strength = np.zeros(samples.shape[1])
    strength[reach:-reach] = np.sort(out, axis=0)[-min(3, len(out))]
    places = np.flatnonzero(strength > _SPIKE_MV)
    if not places.size:
        return samples, places
    # One place for each run, and only where it rises out of calm: an R peak has steep sides behind it.
    before = round(_CALM_S * rate_hz)
    runs = np.split(places, np.flatnonzero(np.diff(places) > before) + 1)
    tops = [int(run[np.argmax(strength[run])]) for run in runs]
    spikes = [top for top in tops if _rises_from_calm(used, out[:, top - reach], top, reach, before)]
    if not spikes:
        return samples, places[:0]
    samples = _without_discharge(samples, np.array(spikes), rate_hz)
    for spike in spikes:
        low, high = max(0, spike - reach - 1), min(samples.shape[1] - 1, spike + reach + 2)
        line = np.linspace(0, 1, high - low + 1)
        samples[:, low : high + 1] = samples[:, [low]] * (1 - line) + samples[:, [high]] * line
    return samples, np.array(spikes, dtype=np.intp)


def _without_discharge(samples: Floats, spikes: Indexes, rate_hz: float) -> Floats:
    """Take away what decays behind the spikes: electrode and recorder discharge over some 20 ms.

    It falls by the same share from sample to sample in all leads and at every spike; left there it looks
    like the beginning of QRS, which comes later.
    """
    first, n_fit = max(2, round(_SPIKE_S * rate_hz / 2)), max(2, round(_DECAY_FIT_S * rate_hz))
    length = round(_DECAY_S * rate_hz)
    samples = samples.copy()
    inside = spikes[(spikes >= 2 * first) & (spikes + length < samples.shape[1])]
    if not inside.size:
        return samples
    level = np.stack([samples[:, at - 2 * first : at - first].mean(axis=1) for at in inside])
    behind = inside[:, None] + first + np.arange(n_fit)
    away = samples[:, behind].transpose(1, 0, 2) - level[:, :, None]
    size = np.square(away[:, :, :-1]).sum(axis=(1, 2))
    kept = (away[:, :, 1:] * away[:, :, :-1]).sum(axis=(1, 2)) / np.maximum(size, 1e-12)
    decay = float(np.median(kept))
    limits = [np.exp(-1.0 / (constant * rate_hz)) for constant in _DECAY_CONSTANT_S]
    if not limits[0] <= decay <= limits[1]:
        return samples
    fit = decay ** np.arange(n_fit)
    heights = away @ fit / np.square(fit).sum()
    tail = decay ** np.arange(length - first)
    for at, height in zip(inside.tolist(), heights, strict=True):
        samples[:, at + first : at + length] -= height[:, None] * tail
    return samples


def _rises_from_calm(used: Floats, height: Floats, top: int, reach: int, before: int) -> bool:
    calm = used[:, max(0, top - reach - before) : top - reach]
    if calm.shape[1] < before // 2:
        return False
    clear = (height > _SPIKE_MV) & (np.ptp(calm, axis=1) < _CALM_SHARE * height)
    return int(clear.sum()) >= min(3, len(used))


def _without_mains(samples: Floats, rate_hz: float) -> Floats:
    """Take away a steady 50 or 60 Hz wave where one stands out; a filter would ring at every QRS.

    Its frequency is found in the lead that has most of it, to a hundredth of a hertz, for it must stay
    in step over the whole recording; then size and phase are fitted in each lead.
    """
    n_samples = samples.shape[1]
    if n_samples < rate_hz:
        return samples
    time = np.arange(n_samples) / rate_hz
    for mains in _MAINS_HZ:
        if rate_hz <= 2.2 * mains:
            continue
        parts = samples @ _probes(mains, rate_hz, n_samples).T * (2.0 / n_samples)
        below, sizes, above = np.hypot(parts[:, 0::2], parts[:, 1::2]).T
        lead = int(np.argmax(sizes))
        if sizes[lead] < max(_MAINS_MV, _MAINS_CLEAR * float(max(below[lead], above[lead]))):
            continue
        near = np.arange(mains - _MAINS_OFF_HZ, mains + _MAINS_OFF_HZ, 0.01)
        waves = np.exp(-2j * np.pi * near[:, None] * time)
        hz = float(near[np.argmax(np.abs(waves @ samples[lead]))])
        pair = np.stack([np.cos(2 * np.pi * hz * time), np.sin(2 * np.pi * hz * time)])
        samples = samples - (samples @ pair.T) @ np.linalg.inv(pair @ pair.T) @ pair
    return samples


@lru_cache(maxsize=8)
def _probes(mains: float, rate_hz: float, n_samples: int) -> Floats:
    """Return cosine and sine 3 Hz below the mains frequency, at it, and 3 Hz above: six rows."""
    time = np.arange(n_samples) / rate_hz
    phases = [2.0 * np.pi * hz * time for hz in (mains - 3.0, mains, mains + 3.0)]
    return np.stack([wave for phase in phases for wave in (np.cos(phase), np.sin(phase))])
