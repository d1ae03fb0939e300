"""How well a recording was taken, so that a bad one is repeated before the patient leaves."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.hints_rules import read_table
from hub.ecg.analysis.model import Finding, Measurement, Quality
from hub.ecg.analysis.quality_lead import LeadSignal, measure_leads
from hub.ecg.analysis.stretches import LEAST_S
from hub.ecg.analysis.swaps import NEEDED, swaps
from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.waveform import Waveform

Floats = NDArray[np.float64]
_Tables = Mapping[str, Mapping[str, Any]]

_ORDER = (
    "lead_off",
    "flat",
    "clipped",
    "units_doubtful",
    "too_short",
    "rate_too_low",
    "mains",
    "muscle",
    "wander",
    "leads_missing",
)
BAD = frozenset({"lead_off", "flat", "clipped"})
NOISE = frozenset({"mains", "muscle"})
"""Findings that make a lead bad: always, and where they ask for a new recording."""

_PER_LEAD = frozenset({*BAD, *NOISE, "wander"})
_DERIVED = ("III", "aVR", "aVL", "aVF")
_QRS_REACH_S = 0.1
_LEAST_REACH = 4
_ENOUGH = 2000


def assess(waveform: Waveform, measurement: Measurement | None = None) -> Quality:
    """Say how well a recording was taken.

    Parameters
    ----------
    waveform : Waveform
        Any shape and number of leads.
    measurement : Measurement, optional
        Its beats show whether a lead carries the heart at all, and whether electrodes were
        interchanged; without it neither is looked for.

    Returns
    -------
    Quality
        ``repeat`` when any finding asks for a new recording. Limits and their sources stand in
        ``rules/quality.toml``. A lead that was recorded by turns with others is judged over its own
        stretch.
    """
    limits = read_table("quality")
    leads = measure_leads(waveform)
    found = [*_of_leads(waveform, leads, limits), *_of_whole(waveform, leads, limits)]
    off = {lead for each in found if each.code in BAD for lead in each.leads}
    if measurement is not None:
        found += _without_heart(waveform, measurement, limits, off)
        doubtful = {lead for each in found if each.code in {*BAD, "units_doubtful"} for lead in each.leads}
        if _have_common_time(waveform, NEEDED):
            found += swaps(measurement, doubtful=frozenset(doubtful))
    return _judged(waveform.leads, _merged(found))


def _of_leads(waveform: Waveform, leads: LeadSignal, limits: _Tables) -> list[Finding]:
    found = []
    for i, name in enumerate(waveform.leads):
        found += _of_lead(name, i, leads, limits)
    return found


def _of_lead(name: str, i: int, leads: LeadSignal, limits: _Tables) -> list[Finding]:
    off, flat = limits["lead_off"], limits["flat"]
    duration_s = leads.judged_s[i]
    stuck_limit = min(off["stuck_s"], duration_s / 2)
    if leads.missing_s[i] >= min(off["missing_s"], duration_s / 2):
        return [_finding("lead_off", name, repeat=True, missing_s=leads.missing_s[i])]
    if leads.stuck_s[i] >= stuck_limit:
        return [_finding("lead_off", name, repeat=True, stuck_s=leads.stuck_s[i])]
    if leads.swing_mv[i] < flat["swing_mv"]:
        return [_finding("flat", name, repeat=True, swing_mv=leads.swing_mv[i])]
    found = []
    if leads.rail_s[i] >= limits["clipped"]["rail_s"]:
        found.append(_finding("clipped", name, repeat=True, rail_s=leads.rail_s[i]))
    for code, measured, unit in (
        ("mains", leads.mains_uv[i], "uv"),
        ("muscle", leads.muscle_uv[i], "uv"),
        ("wander", leads.wander_mv[i], "mv"),
    ):
        usable, repeat = limits[code][f"usable_{unit}"], limits[code][f"repeat_{unit}"]
        if measured >= usable:
            found.append(_finding(code, name, repeat=measured >= repeat, **{f"{code}_{unit}": measured}))
    return found


def _of_whole(waveform: Waveform, leads: LeadSignal, limits: _Tables) -> list[Finding]:
    found = []
    short, slow = limits["too_short"], limits["rate_too_low"]
    if leads.recorded_s < short["usable_s"]:
        repeat = leads.recorded_s < short["repeat_s"]
        found.append(_finding("too_short", repeat=repeat, duration_s=leads.recorded_s))
    if waveform.rate_hz < slow["rate_hz"]:
        found.append(_finding("rate_too_low", rate_hz=waveform.rate_hz))
    present = {*waveform.leads, *(_DERIVED if {"I", "II"} <= set(waveform.leads) else ())}
    absent = [name for name in STANDARD_LEADS if name not in present]
    if absent:
        found.append(Finding("leads_missing", tuple(absent), numbers={"leads": float(len(absent))}))
    return [*found, *_units(waveform, limits["units_doubtful"])]


def _units(waveform: Waveform, limits: Mapping[str, float]) -> list[Finding]:
    """Say whether the scale of the leads can be right: Einthoven's law, and a human size."""
    one, two, three = (waveform.lead(name) for name in ("I", "II", "III"))
    if one is not None and two is not None and three is not None:
        gap, level = _spread(two - one - three), _spread(two)
        if gap > limits["einthoven_mv"] and gap > limits["einthoven_share"] * level:
            numbers = {"einthoven_mv": gap, "lead_ii_mv": level}
            return [Finding("units_doubtful", _limb(waveform.leads), numbers=numbers)]
    sizes = [_spread(waveform.samples_mv[:, i]) for i in range(len(waveform.leads))]
    largest = max(sizes)
    if largest > limits["largest_mv"] or 0 < largest < limits["smallest_mv"]:
        return [Finding("units_doubtful", (), numbers={"largest_mv": largest})]
    return []


def _spread(lead: Floats) -> float:
    """Return peak to peak in mV without the outermost hundredth: a spike is not a scale."""
    present = lead[:: max(1, len(lead) // _ENOUGH)]
    present = present[np.isfinite(present)]
    if not present.size:
        return 0.0
    count = present.size // 200
    ordered = np.partition(present, (count, present.size - 1 - count))
    return float(ordered[present.size - 1 - count] - ordered[count])


def _have_common_time(waveform: Waveform, names: tuple[str, ...]) -> bool:
    """Say whether leads were recorded at one time for long enough to be held against each other."""
    columns = [waveform.leads.index(name) for name in names if name in waveform.leads]
    common = np.isfinite(waveform.samples_mv[:, columns]).all(axis=1)
    return bool(common.sum() >= min(LEAST_S * waveform.rate_hz, waveform.n_samples / 2))


def _limb(leads: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in leads if name in STANDARD_LEADS[:6])


def _without_heart(
    waveform: Waveform, measurement: Measurement, limits: _Tables, off: set[str]
) -> list[Finding]:
    """Find leads in which nothing repeats with the beats that the other leads show."""
    off_limits = limits["lead_off"]
    share = _heart_share(waveform, measurement, int(off_limits["least_beats"]))
    if share is None or np.median(share) < off_limits["heart_share_elsewhere"]:
        return []
    return [
        _finding("lead_off", name, repeat=True, heart_share=value)
        for name, value in zip(waveform.leads, share, strict=True)
        if value < off_limits["heart_share"] and name not in off
    ]


def _heart_share(waveform: Waveform, measurement: Measurement, least: int) -> Floats | None:
    """Return, by lead, which part of the voltage around the dominant beats is the same in each."""
    reach = round(_QRS_REACH_S * waveform.rate_hz)
    places = [b.sample for b in measurement.beats if b.kind == "dominant"]
    places = [p for p in places if p >= reach and p + reach < waveform.n_samples]
    if len(places) < least or reach < _LEAST_REACH:
        return None
    cut = np.stack([waveform.samples_mv[p - reach : p + reach] for p in places])
    present = np.asarray(np.isfinite(cut).all(axis=1))
    cut = np.where(present[:, None], cut - np.where(present, cut.mean(axis=1), 0.0)[:, None], 0.0)
    count = present.sum(axis=0)
    whole = (cut**2).mean(axis=1).sum(axis=0) / np.maximum(count, 1)
    same = ((cut.sum(axis=0) / np.maximum(count, 1)) ** 2).mean(axis=0)
    share = np.where(whole > 0, same / np.maximum(whole, 1e-12), 1.0)
    # What too few of the beats were recorded in cannot be accused.
    return np.asarray(np.where(count >= least, share, 1.0), dtype=np.float64)


def _finding(code: str, *leads: str, repeat: bool = False, **numbers: float) -> Finding:
    return Finding(
        code, leads, repeat=repeat, numbers={name: round(float(v), 3) for name, v in numbers.items()}
    )


def _merged(found: list[Finding]) -> list[Finding]:
    """Join findings of one kind and weight over their leads, keeping the worst number."""
    groups: dict[tuple[str, bool, tuple[str, ...]], list[Finding]] = {}
    for each in found:
        groups.setdefault((each.code, each.repeat, tuple(each.numbers)), []).append(each)
    merged = []
    for same in groups.values():
        # Of a share of the heart's beat the smallest is the worst, of everything else the largest.
        sign = -1.0 if "heart_share" in same[0].numbers else 1.0
        worst = max(same, key=lambda each: tuple(sign * v for v in each.numbers.values()))
        leads = tuple(dict.fromkeys(lead for each in same for lead in each.leads))
        merged.append(replace(worst, leads=leads) if same[0].code in _PER_LEAD else worst)
    return merged


def _judged(leads: tuple[str, ...], found: list[Finding]) -> Quality:
    def weight(each: Finding) -> tuple[bool, int, float]:
        return (
            not each.repeat,
            _ORDER.index(each.code) if each.code in _ORDER else len(_ORDER),
            -each.likelihood,
        )

    grades = dict.fromkeys(leads, "good")
    for each in found:
        for lead in each.leads:
            if lead in grades and grades[lead] != "bad":
                bad = each.code in BAD or (each.repeat and each.code in NOISE)
                grades[lead] = "bad" if bad else "usable"
    verdict: Literal["good", "usable", "repeat"]
    verdict = "repeat" if any(each.repeat for each in found) else "usable" if found else "good"
    return Quality(verdict, tuple(sorted(found, key=weight)), grades)
