"""What the readers of a database marked: beats, waves lead by lead, and intervals over all leads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hub.ecg.formats.wfdb_annotations import BEATS, Mark

_SAME_BEAT_S = 0.12
_T_WITHIN_S = 0.6
_P_WITHIN_S = 0.4
_LEADS_NEEDED = 3


@dataclass(frozen=True, slots=True)
class Wave:
    """One marked wave; None where its beginning or end was not marked."""

    on: int | None
    peak: int
    off: int | None


@dataclass(frozen=True, slots=True)
class LeadMarks:
    """The waves that were marked in one lead, and the stretch in which marks were made."""

    p: tuple[Wave, ...]
    qrs: tuple[Wave, ...]
    t: tuple[Wave, ...]
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class GlobalBeat:
    """One beat over all leads: second-earliest beginning, second-latest end, median end of T."""

    sample: int
    qrs_on: float | None = None
    qrs_off: float | None = None
    t_off: float | None = None
    p_on: float | None = None
    p_off: float | None = None


@dataclass(frozen=True)
class Reference:
    """Everything that was marked in one recording.

    Attributes
    ----------
    beats : tuple of int
        Samples of the marked beats.
    first, last : int
        The stretch in which beats were marked; what is found outside does not count.
    leads : mapping of str to LeadMarks
        By lead name; empty when only beats were marked.
    """

    beats: tuple[int, ...]
    first: int
    last: int
    leads: Mapping[str, LeadMarks] = field(default_factory=dict)


def lead_marks(marks: Sequence[Mark]) -> LeadMarks | None:
    """Return the waves of one lead's marks: ``(`` and ``)`` around ``p``, ``N`` and ``t``."""
    waves: dict[str, list[Wave]] = {"p": [], "N": [], "t": []}
    for number, mark in enumerate(marks):
        if mark.symbol not in waves:
            continue
        before = marks[number - 1] if number else None
        after = marks[number + 1] if number + 1 < len(marks) else None
        on = before.sample if before is not None and before.symbol == "(" else None
        off = after.sample if after is not None and after.symbol == ")" else None
        waves[mark.symbol].append(Wave(on, mark.sample, off))
    if not waves["N"]:
        return None
    samples = [mark.sample for mark in marks]
    return LeadMarks(tuple(waves["p"]), tuple(waves["N"]), tuple(waves["t"]), min(samples), max(samples))


def from_leads(leads: Mapping[str, LeadMarks]) -> Reference:
    """Return a reference from per-lead marks; beats are those of lead II, or of the first lead without it."""
    lead = leads.get("II") or next(iter(leads.values()))
    beats = tuple(wave.peak for wave in lead.qrs)
    return Reference(beats, beats[0], beats[-1], leads)


def from_beats(marks: Iterable[Mark], n_samples: int) -> Reference | None:
    """Return a reference from plain beat marks (``.atr``), over the whole recording."""
    beats = tuple(mark.sample for mark in marks if mark.symbol in BEATS)
    return Reference(beats, 0, n_samples - 1) if beats else None


def _second(values: Iterable[int | None], *, latest: bool) -> float | None:
    known = sorted((each for each in values if each is not None), reverse=latest)
    if not known:
        return None
    return float(known[min(1, len(known) - 1)])


def global_beats(reference: Reference, rate_hz: float) -> list[GlobalBeat]:
    """Return each beat over all leads, as far as at least three leads show the wave.

    P and T count when their peak lies within 0.4 s before or 0.6 s after the beat.
    """
    out = []
    marks = reference.leads.values()
    for beat in reference.beats:
        qrs = [w for lead in marks for w in lead.qrs if abs(w.peak - beat) < _SAME_BEAT_S * rate_hz]
        t_waves = [w for lead in marks for w in lead.t if 0 < w.peak - beat < _T_WITHIN_S * rate_hz]
        p_waves = [w for lead in marks for w in lead.p if 0 < beat - w.peak < _P_WITHIN_S * rate_hz]
        t_ends = [w.off for w in t_waves if w.off is not None]
        has_p = len(p_waves) >= _LEADS_NEEDED
        out.append(
            GlobalBeat(
                beat,
                _second((w.on for w in qrs), latest=False),
                _second((w.off for w in qrs), latest=True),
                float(np.median(t_ends)) if len(t_ends) >= _LEADS_NEEDED else None,
                _second((w.on for w in p_waves), latest=False) if has_p else None,
                _second((w.off for w in p_waves), latest=True) if has_p else None,
            )
        )
    return out


def intervals(reference: Reference, rate_hz: float) -> dict[str, float]:
    """Return P, PR, QRS and QT of a recording in ms: the medians over its marked beats.

    P and PR only where at least half of the beats, and two, have a P wave.
    """
    beats = global_beats(reference, rate_hz)
    found: dict[str, list[float]] = {"p_ms": [], "pr_ms": [], "qrs_ms": [], "qt_ms": []}
    ends = {
        "p_ms": ("p_on", "p_off"),
        "pr_ms": ("p_on", "qrs_on"),
        "qrs_ms": ("qrs_on", "qrs_off"),
        "qt_ms": ("qrs_on", "t_off"),
    }
    for beat in beats:
        for name, (begin, end) in ends.items():
            low, high = getattr(beat, begin), getattr(beat, end)
            if low is not None and high is not None:
                found[name].append((high - low) * 1000.0 / rate_hz)
    needed = {"p_ms": max(2, len(beats) / 2), "pr_ms": max(2, len(beats) / 2)}
    return {
        name: float(np.median(values)) for name, values in found.items() if len(values) >= needed.get(name, 1)
    }
