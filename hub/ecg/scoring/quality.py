"""Faults of technique put into real recordings: how many are found, and what clean leads are accused of."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.quality import assess
from hub.ecg.scoring.cases import Case
from hub.ecg.scoring.scale import true_scale
from hub.ecg.scoring.stats import share
from hub.ecg.waveform import Waveform

Floats = NDArray[np.float64]

_RAIL_SHARE = 0.6
_BLOCK_S = 2.0
_SPIKE_S = 0.012
_MAINS_UV = 50.0
_FLAT_UV = 3.0


@dataclass(frozen=True, slots=True)
class Count:
    """How many of how many."""

    found: int
    of: int


def _off(lead: Floats, rate: float, rng: np.random.Generator) -> Floats:  # noqa: ARG001 - one signature
    """Return a lead that rests on one value from its third second on."""
    out = lead.copy()
    out[round(3 * rate) :] = lead[0]
    return out


def _missing(lead: Floats, rate: float, rng: np.random.Generator) -> Floats:  # noqa: ARG001
    """Return a lead without samples for two seconds."""
    out = lead.copy()
    out[round(4 * rate) : round(6 * rate)] = np.nan
    return out


def _flat(lead: Floats, rate: float, rng: np.random.Generator) -> Floats:  # noqa: ARG001
    """Return nothing but amplifier noise of 3 uV."""
    return np.asarray(rng.standard_normal(lead.size) * _FLAT_UV / 1000.0, dtype=np.float64)


def _clipped(lead: Floats, rate: float, rng: np.random.Generator) -> Floats:  # noqa: ARG001
    """Return a lead cut off at 0.6 of its usual swing within two seconds, pacing spikes not counted."""
    from scipy.ndimage import median_filter

    middle = float(np.median(lead))
    waves = np.abs(median_filter(lead, size=2 * round(_SPIKE_S * rate / 2) + 1, mode="nearest") - middle)
    blocks = np.array_split(waves, max(1, round(lead.size / rate / _BLOCK_S)))
    reach = _RAIL_SHARE * float(np.median([block.max() for block in blocks]))
    return np.asarray(np.clip(lead, middle - reach, middle + reach), dtype=np.float64)


def _mains(hz: float) -> Callable[[Floats, float, np.random.Generator], Floats]:
    def add(lead: Floats, rate: float, rng: np.random.Generator) -> Floats:
        time = np.arange(lead.size) / rate
        phase = rng.uniform(0, 2 * np.pi)
        drift = hz + rng.uniform(-0.2, 0.2)
        return np.asarray(
            lead + _MAINS_UV / 1000.0 * np.sin(2 * np.pi * drift * time + phase), dtype=np.float64
        )

    return add


FAULTS: Mapping[str, tuple[str, Callable[[Floats, float, np.random.Generator], Floats]]] = {
    "stuck lead": ("lead_off", _off),
    "missing samples": ("lead_off", _missing),
    "flat lead": ("flat", _flat),
    "clipped lead": ("clipped", _clipped),
    "mains 50 Hz": ("mains", _mains(50.0)),
    "mains 60 Hz": ("mains", _mains(60.0)),
}
"""By name: the code that must be found, and how a lead gets the fault."""


def injected(recordings: Sequence[Waveform], seed: int = 0) -> dict[str, Count]:
    """Put every fault into one lead after another of every recording.

    Returns
    -------
    dict of str to Count
        By fault: in how many of the leads that were clean before it was found, with the lead named.
    """
    rng = np.random.default_rng(seed)
    counts = {}
    for name, (code, fault) in FAULTS.items():
        found = of = 0
        for waveform in recordings:
            already = _accused(waveform)
            clean = [i for i, lead in enumerate(waveform.leads) if lead not in already]
            samples = waveform.samples_mv.copy()
            for i in clean:
                samples[:, i] = fault(waveform.samples_mv[:, i], waveform.rate_hz, rng)
            seen = _accused(replace(waveform, samples_mv=samples), code)
            found += sum(waveform.leads[i] in seen for i in clean)
            of += len(clean)
        counts[name] = Count(found, of)
    return counts


def accused(recordings: Sequence[Waveform]) -> dict[str, Count]:
    """Count the leads of untouched recordings that are said to be off, flat, clipped or full of mains."""
    counts = {}
    for code in ("lead_off", "flat", "clipped", "mains"):
        found = sum(len(_accused(waveform, code)) for waveform in recordings)
        counts[code] = Count(found, sum(len(waveform.leads) for waveform in recordings))
    return counts


def _accused(waveform: Waveform, *codes: str) -> set[str]:
    wanted = codes or ("lead_off", "flat", "clipped", "mains")
    return {lead for each in assess(waveform).findings if each.code in wanted for lead in each.leads}


class Faults:
    """Faults put into leads: found; and what untouched leads are accused of."""

    name = "faults"

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, case: Case) -> None:
        """Score one record."""
        if case.waveform is None:
            return
        waveform = [true_scale(case.waveform)]
        for kind, counts in (("found", injected(waveform)), ("accused", accused(waveform))):
            for name, count in counts.items():
                self._counts[kind, name, "hits"] += count.found
                self._counts[kind, name, "n"] += count.of

    def result(self) -> dict[str, Any]:
        """Return shares of leads, by fault and by accusation."""
        out: dict[str, dict[str, Any]] = {"found": {}, "accused": {}}
        for kind, name, what in self._counts:
            if what == "n":
                out[kind][name] = share(self._counts[kind, name, "hits"], self._counts[kind, name, "n"])
        return out
