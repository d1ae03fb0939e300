"""ST segments of real beats set to known levels: how often the rule of ST elevation answers."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.analyse import analyse
from hub.ecg.analysis.hints_rules import usual_limits
from hub.ecg.analysis.model import Analysis, Beat, Measurement
from hub.ecg.analysis.st_rules import udmi_limit_mv
from hub.ecg.scoring.cases import Case
from hub.ecg.scoring.scale import true_scale
from hub.ecg.scoring.stats import share
from hub.ecg.waveform import Waveform

Floats = NDArray[np.float64]

GROUPS: Mapping[str, tuple[str, ...]] = {
    "inferior": ("II", "III", "aVF"),
    "lateral": ("I", "aVL"),
    "V1-V2": ("V1", "V2"),
    "V2-V3": ("V2", "V3"),
    "V3-V4": ("V3", "V4"),
    "V4-V5": ("V4", "V5"),
    "V5-V6": ("V5", "V6"),
}
"""Contiguous leads that are raised together."""

SHARES = (0.75, 1.25)
"""Of the limit of the Fourth Universal Definition."""

_FALL_S = 0.08
_ST_S = 0.24


@dataclass(frozen=True, eq=False)
class Record:
    """One recording in its true scale, with what is known of the patient."""

    name: str
    waveform: Waveform
    sex: str = ""
    age_years: float | None = None
    infarction: bool = False


@dataclass(frozen=True, slots=True)
class StCount:
    """Answers in one group of leads at one share of the limit.

    Attributes
    ----------
    plain : int
        ``st_elevation`` in leads of the group.
    marked : int
        Only ``st_elevation_doubtful`` in leads of the group: bundle branch block, pacing, hypertrophy.
    of : int
        Records tried: all in which the level could be set.
    """

    plain: int
    marked: int
    of: int


def deformation(waveform: Waveform, measurement: Measurement) -> Floats:
    """Return the shape of the injected ST-T change, 1 from J to its end and 0 between, shape (n_samples,).

    It rises while QRS does, as a current of injury grows with the part of the heart that is depolarised:
    by the share of the way that all leads together have gone since QRS began. So it comes to rest where
    QRS does. A ramp of its own up to J would go on where QRS has come to rest: that is a longer QRS,
    and the J point of the raised recording is then truly later than that of the other.
    It stays, and falls over 80 ms; at fast rates it ends where the next beat begins.
    """
    rate = waveform.rate_hz
    shape = np.zeros(waveform.n_samples)
    hold, fall = (round(s * rate) for s in (_ST_S, _FALL_S))
    down = 0.5 + 0.5 * np.cos(np.pi * (np.arange(fall) + 1) / fall)
    mv = np.nan_to_num(waveform.samples_mv)
    steps = np.diff(mv, axis=0, prepend=mv[:1])
    way = np.sqrt(np.square(steps).sum(axis=1))
    ends = [*(_begins(beat) for beat in measurement.beats[1:]), waveform.n_samples + hold]
    for beat, end in zip(measurement.beats, ends, strict=True):
        start, off = beat.over_all.qrs_on, beat.over_all.qrs_off
        if start is None or off is None:
            continue
        gone = np.cumsum(way[start : off + 1])
        up = gone / gone[-1] if gone[-1] > 0 else np.ones(len(gone))
        one = np.concatenate([up, np.ones(max(0, min(hold, end - off - fall))), down])
        low, high = max(0, start), min(len(shape), start + len(one))
        if low < high:
            shape[low:high] = np.maximum(shape[low:high], one[low - start : high - start])
    return shape


def _begins(beat: Beat) -> int:
    """Return where a beat's P wave, or else its QRS complex, begins."""
    for place in (beat.over_all.p_on, beat.over_all.qrs_on):
        if place is not None:
            return place
    return beat.sample


def raised(record: Record, measurement: Measurement, group: str, level: float) -> Waveform | None:
    """Return the recording with J of a group of leads at a part of each lead's limit.

    Einthoven's law is kept: the limb leads follow from I and II. None where a level cannot be measured.
    """
    limits = usual_limits("st_elevation")
    amounts: dict[str, float] = {}
    for lead in GROUPS[group]:
        found = measurement.by_lead.get(lead, {}).get("st_j_uv")
        if found is None or found.value is None:
            return None
        limit = udmi_limit_mv(lead, limits, record.sex, record.age_years)
        amounts[lead] = level * limit - found.value / 1000.0
    if group == "inferior":
        amounts = in_all_limb_leads(0.0, _common(amounts, level))
    elif group == "lateral":
        amounts = in_all_limb_leads(_common(amounts, level), 0.0)
    return with_st(record.waveform, deformation(record.waveform, measurement), amounts)


def with_st(waveform: Waveform, shape: Floats, amounts: Mapping[str, float]) -> Waveform:
    """Return the recording with the shape of `deformation` added, in mV by lead."""
    columns = [
        waveform.samples_mv[:, i] + amounts.get(lead, 0.0) * shape for i, lead in enumerate(waveform.leads)
    ]
    return replace(waveform, samples_mv=np.column_stack(columns))


def _common(amounts: Mapping[str, float], level: float) -> float:
    """Return one amount for tied limb leads: what the second needs above the limit, the least below it.

    So at 1.25 two leads reach it, and at 0.75 none is above.
    """
    ordered = sorted(amounts.values())
    return ordered[1] if level > 1 else ordered[0]


def in_all_limb_leads(one: float, two: float) -> dict[str, float]:
    """Return what the six limb leads gain when I gains `one` and II gains `two` (Einthoven, Goldberger)."""
    return {
        "I": one,
        "II": two,
        "III": two - one,
        "aVR": -(one + two) / 2,
        "aVL": one - two / 2,
        "aVF": two - one / 2,
    }


def injected(records: Sequence[Record]) -> dict[tuple[str, float], StCount]:
    """Set every group of every record to every share of the limit and ask the rule.

    Returns
    -------
    dict of (group, share) to StCount
    """
    first = {record.name: _asked(record, record.waveform) for record in records}
    counts = {}
    for group, leads in GROUPS.items():
        for level in SHARES:
            plain = marked = of = 0
            for record in records:
                waveform = raised(record, first[record.name].measurement, group, level)
                if waveform is None:
                    continue
                seen = _asked(record, waveform)
                hit = _names(seen, "st_elevation", leads)
                plain += hit
                marked += not hit and _names(seen, "st_elevation_doubtful", leads)
                of += 1
            counts[group, level] = StCount(plain, marked, of)
    return counts


def false_flags(records: Sequence[Record]) -> dict[str, list[str]]:
    """Return, by rule, the records without infarction in which it is met untouched."""
    found: dict[str, list[str]] = {"st_elevation": [], "st_elevation_doubtful": [], "mi_pattern": []}
    for record in records:
        if record.infarction:
            continue
        for hint in _asked(record, record.waveform).hints:
            if hint.rule in found:
                found[hint.rule].append(record.name)
    return found


def _asked(record: Record, waveform: Waveform) -> Analysis:
    return analyse(waveform, sex=record.sex, age_years=record.age_years)


def _names(analysis: Analysis, rule: str, leads: Sequence[str]) -> bool:
    return any(hint.rule == rule and set(hint.leads) & set(leads) for hint in analysis.hints)


def record_of(case: Case) -> Record | None:
    """Return a case with what its header says of the patient: age, sex, and infarction or not.

    LUDB writes ``STEMI``, but also ``supp.NSTEMI``, which is another label.
    """
    if case.waveform is None:
        return None
    text = "\n".join(case.comments)
    sex = re.search(r"sex>?\s*:\s*([MF])", text, re.IGNORECASE)
    age = re.search(r"age>?\s*:\s*(\d+)", text, re.IGNORECASE)
    return Record(
        case.name,
        true_scale(case.waveform),
        sex.group(1).upper() if sex else "",
        float(age.group(1)) if age else None,
        re.search(r"(?<!N)STEMI", text) is not None,
    )


class StElevation:
    """ST set to 0.75 and 1.25 of its limit; and records without infarction that are flagged untouched."""

    name = "st_elevation"

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, float, str]] = Counter()
        self._false: dict[str, list[str]] = {}
        self._without = 0

    def add(self, case: Case) -> None:
        """Score one record."""
        record = record_of(case)
        if record is None:
            return
        for (group, part), count in injected([record]).items():
            self._counts[group, part, "plain"] += count.plain
            self._counts[group, part, "marked"] += count.marked
            self._counts[group, part, "of"] += count.of
        self._without += not record.infarction
        for rule, names in false_flags([record]).items():
            self._false.setdefault(rule, []).extend(names)

    def result(self) -> dict[str, Any]:
        """Return shares: flagged or only marked as doubtful, by group and level; false flags by rule."""
        levels = {
            f"{group} at {part:g}": {
                "flagged": share(self._counts[group, part, "plain"], self._counts[group, part, "of"]),
                "marked_doubtful": share(
                    self._counts[group, part, "marked"], self._counts[group, part, "of"]
                ),
            }
            for group in GROUPS
            for part in SHARES
        }
        false = {
            rule: {**share(len(names), self._without), "records": names}
            for rule, names in self._false.items()
        }
        return {"injected": levels, "false": false}
