"""Long recordings: measured block by block, in time that grows with their length and memory that does not."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from hub.ecg.analysis import values
from hub.ecg.analysis.model import Atrial, Beat, Boundaries, Measurement, MedianBeat, Value
from hub.ecg.analysis.signal import Floats
from hub.ecg.waveform import Waveform

LONG_S = 90.0
"""Longer recordings are measured in blocks."""

BLOCK_S = 60.0
_OVERLAP_S = 3.0
_TWICE_S = 0.15
_QRS_S = 0.08
_LAG_S = 0.03
_SAME_SHAPE = 0.85
_WIDER_MS = 20.0
_NAMES = ("p_ms", "pr_ms", "qrs_ms", "qt_ms", "p_axis_deg", "qrs_axis_deg", "t_axis_deg")


@dataclass(frozen=True, eq=False)
class Block:
    """A stretch of a long recording, with a little of its neighbours.

    Attributes
    ----------
    waveform : Waveform
        The stretch.
    start : int
        Its first sample in the recording.
    begin, end : int
        The samples of the recording that only this block answers for.
    rate_hz : float
    """

    waveform: Waveform
    start: int
    begin: int
    end: int
    rate_hz: float


def cut(waveform: Waveform) -> Iterator[Block]:
    """Cut a recording into blocks; the last one is never shorter than half of the others."""
    rate, whole = waveform.rate_hz, waveform.n_samples
    n_blocks = max(1, round(waveform.duration_s / BLOCK_S))
    edges = np.linspace(0, whole, n_blocks + 1).astype(int).tolist()
    reach = round(_OVERLAP_S * rate)
    for begin, end in pairwise(edges):
        start, stop = max(0, begin - reach), min(whole, end + reach)
        part = replace(waveform, samples_mv=waveform.samples_mv[start:stop])
        yield Block(part, start, begin, end, rate)


def joined(parts: Iterable[tuple[Block, list[int]]]) -> list[int]:
    """Return the beats of all blocks in samples of the recording, each once."""
    out: list[int] = []
    for block, places in parts:
        twice = _TWICE_S * block.rate_hz
        for place in places:
            sample = place + block.start
            if block.begin <= sample < block.end + twice and (not out or sample - out[-1] > twice):
                out.append(sample)
    return out


def together(parts: Iterable[tuple[Block, Measurement]]) -> Measurement | None:
    """Return one measurement of all blocks; None when nothing was found in any.

    Parameters
    ----------
    parts : iterable of (Block, Measurement)
        In order of time; taken one at a time.

    Returns
    -------
    Measurement or None
        Numbers are medians over the blocks in which the leading shape leads, ranges the widest.
    """
    kept: list[_Kept] = []
    beats: list[tuple[int, Beat]] = []
    rate_hz = 0.0
    for block, found in parts:
        rate_hz = block.rate_hz
        if found.median is None:
            continue
        twice = _TWICE_S * rate_hz
        for beat in found.beats:
            sample = beat.sample + block.start
            last = beats[-1][1].sample if beats else -twice
            if block.begin <= sample < block.end + twice and sample - last > twice:
                beats.append((len(kept), _moved(beat, block.start)))
        times = [place + block.start for place in found.atrial.p_times]
        inside = tuple(place for place in times if block.begin <= place < block.end)
        kept.append(_Kept(replace(found, beats=()), found.median, inside))
    if not beats:
        return None
    leading = _leading(kept)
    blocks = [each.found for each, leads in zip(kept, leading, strict=True) if leads]
    rr_ms = np.diff([beat.sample for _, beat in beats]) / rate_hz * 1000.0
    numbers = values.rhythm(rr_ms)
    numbers |= {name: _median([found.values[name] for found in blocks]) for name in _NAMES}
    numbers |= values.corrected_qt(numbers["qt_ms"], numbers["rr_mean_ms"].value)
    by_lead = {
        lead: {name: _median([found.by_lead[lead][name] for found in blocks]) for name in values.LEAD_UNITS}
        for lead in blocks[0].by_lead
    }
    usual = numbers["qrs_ms"].value or 0.0
    best = max((each.median for each, leads in zip(kept, leading, strict=True) if leads), key=_size)
    return Measurement(
        beats=tuple(_classed(beat, kept[number].found, leading[number], usual) for number, beat in beats),
        rr_ms=tuple(rr_ms.tolist()),
        values=numbers,
        by_lead=by_lead,
        median=replace(best, n_beats=sum(found.median.n_beats for found in blocks if found.median)),
        atrial=_atrial(kept, beats),
    )


@dataclass(frozen=True, eq=False)
class _Kept:
    """What is remembered of a block."""

    found: Measurement
    median: MedianBeat
    p_times: tuple[int, ...]


def _size(median: MedianBeat) -> int:
    return median.n_beats


def _moved(beat: Beat, start: int) -> Beat:
    def shift(found: Boundaries) -> Boundaries:
        names = ("p_on", "p_off", "qrs_on", "qrs_off", "t_on", "t_off")
        places = {name: getattr(found, name) for name in names}
        return Boundaries(**{name: None if at is None else at + start for name, at in places.items()})

    return Beat(beat.sample + start, beat.kind, shift(beat.over_all))


def _qrs(median: MedianBeat, lag: int) -> Floats:
    reach = round(_QRS_S * median.rate_hz)
    centre = median.fiducial + lag
    part = median.samples_mv[max(0, centre - reach) : centre + reach + 1]
    flat = (part - part.mean(axis=0)).ravel()
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-9))


def _leading(kept: list[_Kept]) -> list[bool]:
    """Say of each block whether its dominant shape is the one that leads the recording."""
    groups: list[tuple[Floats, list[int]]] = []
    for number, each in enumerate(kept):
        reach = max(1, round(_LAG_S * each.median.rate_hz))
        shifted = [_qrs(each.median, lag) for lag in range(-reach, reach + 1, max(1, reach // 4))]
        for first, members in groups:
            if max(float(first @ other) for other in shifted if other.size == first.size) >= _SAME_SHAPE:
                members.append(number)
                break
        else:
            groups.append((_qrs(each.median, 0), [number]))
    most = max(groups, key=lambda group: sum(kept[number].median.n_beats for number in group[1]))[1]
    return [number in set(most) for number in range(len(kept))]


def _median(found: list[Value]) -> Value:
    known = [each for each in found if each.value is not None]
    if not known:
        return found[0]
    middle = float(np.median([each.value for each in known if each.value is not None]))
    low = min(each.value if each.low is None else each.low for each in known if each.value is not None)
    high = max(each.value if each.high is None else each.high for each in known if each.value is not None)
    return Value(middle, known[0].unit, min(low, middle), max(high, middle))


def _classed(beat: Beat, found: Measurement, leads: bool, usual_qrs_ms: float) -> Beat:
    """Class a beat anew where another shape leads its block than the recording."""
    if leads or beat.kind not in {"dominant", "ectopic"}:
        return beat
    width = found.values["qrs_ms"].value or 0.0
    return replace(beat, kind="ectopic" if width > usual_qrs_ms + _WIDER_MS else "unclassified")


def _atrial(kept: list[_Kept], beats: list[tuple[int, Beat]]) -> Atrial:
    waves = [hz for each in kept if (hz := each.found.atrial.flutter_hz) is not None]
    return Atrial(
        p_share=sum(beat.over_all.p_on is not None for _, beat in beats) / len(beats),
        p_times=tuple(place for each in kept for place in each.p_times),
        flutter_hz=float(np.median(waves)) if 2 * len(waves) > len(kept) else None,
        fibrillation=float(np.median([each.found.atrial.fibrillation for each in kept])),
    )
