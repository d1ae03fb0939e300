"""Rules of infarction: ST elevation by the Fourth Universal Definition, list thresholds, Q waves."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from hub.ecg.analysis.hints_facts import Evidence, Facts
from hub.ecg.analysis.hints_rules import Limits, usual_limits
from hub.ecg.analysis.hints_shape import lbbb, lvh_voltage, rbbb
from hub.ecg.analysis.quality import BAD, NOISE

CONTIGUOUS = (
    ("I", "aVL"),
    ("II", "III"),
    ("II", "aVF"),
    ("III", "aVF"),
    ("V1", "V2"),
    ("V2", "V3"),
    ("V3", "V4"),
    ("V4", "V5"),
    ("V5", "V6"),
    ("V7", "V8"),
    ("V8", "V9"),
    ("V3R", "V4R"),
)
"""Neighbouring leads of one wall; two of them must agree."""

_RECIPROCAL: Mapping[str, tuple[str, ...]] = {
    "inferior": ("I", "aVL"),
    "lateral": ("II", "III", "aVF"),
    "anterior": ("II", "III", "aVF"),
    "posterior": ("V1", "V2", "V3"),
}
_WALL = {
    **dict.fromkeys(("II", "III", "aVF", "V3R", "V4R"), "inferior"),
    **dict.fromkeys(("I", "aVL", "V5", "V6"), "lateral"),
    **dict.fromkeys(("V1", "V2", "V3", "V4"), "anterior"),
    **dict.fromkeys(("V7", "V8", "V9"), "posterior"),
}
_MIDDLE = ("V2", "V3")
_RIGHT = ("V1", "V2", "V3")
_EXTRA = ("V7", "V8", "V9", "V3R", "V4R")
_UV = 1000.0
_ROUNDING_MV = 1e-9
_STILL_QRS_UV = 100.0


def udmi_limit_mv(lead: str, limits: Limits, sex: str, age_years: float | None) -> float:
    """Return the limit of J-point elevation of a lead in mV.

    Fourth Universal Definition, table 2. With unknown sex the limit of women, with unknown age that
    of men from 40: the lower one, so that not knowing never hides an infarction.
    """
    young_man = sex == "M" and age_years is not None and age_years < limits["young_years"]
    if lead in _EXTRA:
        return limits["right_posterior_men_young_mv" if young_man else "right_posterior_mv"]
    if lead not in _MIDDLE:
        return limits["mv"]
    if sex != "M":
        return limits["v2v3_women_mv"]
    return limits["v2v3_men_young_mv" if young_man else "v2v3_men_40_mv"]


def _raised(
    facts: Facts, limit_of: Mapping[str, float], lasting_share: float, exclusive: Iterable[str] = ()
) -> dict[str, float]:
    """Return J-point elevations in mV of all leads that reach their limit beside a contiguous one.

    A level that has fallen below a share of the limit 60 ms later was the end of QRS and no ST segment.
    """
    over = {}
    for lead, limit in limit_of.items():
        mv, later = _j_mv(facts, lead), facts.of_lead(lead, "st_j60_uv")
        if mv is None:
            continue
        if later is not None and later / _UV < lasting_share * limit:
            continue
        if mv > limit + _ROUNDING_MV or (mv >= limit - _ROUNDING_MV and lead not in exclusive):
            over[lead] = mv
    paired = {lead for pair in CONTIGUOUS if set(pair) <= set(over) for lead in pair}
    return {lead: mv for lead, mv in over.items() if lead in paired}


def _j_mv(facts: Facts, lead: str) -> float | None:
    """Return the J level in mV; where it rises by 0.1 mV within 20 ms, QRS had not ended: the later level."""
    level, soon = facts.of_lead(lead, "st_j_uv"), facts.of_lead(lead, "st_j20_uv")
    if level is None:
        return None
    return (soon if soon is not None and soon - level >= _STILL_QRS_UV else level) / _UV


def _leads() -> tuple[str, ...]:
    return tuple(dict.fromkeys(lead for pair in CONTIGUOUS for lead in pair))


def _confounders(facts: Facts) -> dict[str, float]:
    """Return what forbids reading ST by these limits: the name and its number.

    Right bundle branch block does not: its ST change is opposite to the late R of V1-V3, so that
    elevation there still means what it says.
    """
    found: dict[str, float] = {}
    if facts.paced:
        found["paced_beats"] = float(facts.paced)
    qrs = facts.value("qrs_ms")
    if lbbb(facts, usual_limits("lbbb")):
        found["lbbb"] = 1.0
    elif (
        qrs is not None
        and qrs >= usual_limits("st_elevation_doubtful")["wide_ms"]
        and not rbbb(facts, usual_limits("rbbb"))
    ):
        found["qrs_ms"] = qrs
    return found


def _hypertrophy(facts: Facts) -> dict[str, float]:
    seen = lvh_voltage(facts, usual_limits("lvh_voltage"))
    return {"sokolow_mv": seen.numbers["sokolow_mv"]} if seen else {}


def _elevated(facts: Facts, limits: Limits) -> dict[str, float]:
    limit_of = {lead: udmi_limit_mv(lead, limits, facts.sex, facts.age_years) for lead in _leads()}
    return _raised(facts, limit_of, limits["lasting_share"])


def st_elevation(facts: Facts, limits: Limits) -> Evidence | None:
    """J-point elevation in two contiguous leads, where the definition may be applied.

    Under the voltage of left ventricular hypertrophy V1-V3 are left out: elevation there is its
    usual companion. The other leads still count, so that a large heart does not hide an infarction.
    """
    if not facts.amplitudes_hold or _confounders(facts):
        return None
    raised = _elevated(facts, limits)
    if _hypertrophy(facts):
        raised = _paired({lead: mv for lead, mv in raised.items() if lead not in _RIGHT})
    return _evidence(facts, raised, limits)


def st_elevation_doubtful(facts: Facts, limits: Limits) -> Evidence | None:
    """The same elevation where the definition may not be applied, with what forbids it.

    Leads that mains or muscle noise alone makes bad are looked at too: the median of the beats shows an
    elevation through noise, and to be silent about it until the recording is repeated helps nobody.
    """
    if not facts.amplitudes_hold:
        return None
    noisy = {
        (lead, f"{each.code}_uv"): each.numbers[f"{each.code}_uv"]
        for each in facts.quality.findings
        if each.code in NOISE
        for lead in each.leads
    }
    plain = st_elevation(facts, limits)
    raised = _elevated(_through_noise(facts, {lead for lead, _ in noisy}), limits)
    raised = {lead: mv for lead, mv in raised.items() if plain is None or lead not in plain.leads}
    why = _confounders(facts) or _hypertrophy(facts)
    why |= {name: uv for (lead, name), uv in noisy.items() if lead in raised and facts.is_bad(lead)}
    evidence = _evidence(facts, raised, limits)
    return Evidence(evidence.leads, {**evidence.numbers, **why}) if why and evidence else None


def _through_noise(facts: Facts, leads: Iterable[str]) -> Facts:
    """Return the facts with leads that only noise makes bad taken for usable."""
    dead = {lead for each in facts.quality.findings if each.code in BAD for lead in each.leads}
    usable = dict.fromkeys(set(leads) - dead, "usable")
    return replace(facts, quality=replace(facts.quality, per_lead={**facts.quality.per_lead, **usable}))


def _paired(raised: Mapping[str, float]) -> dict[str, float]:
    kept = {lead for pair in CONTIGUOUS if set(pair) <= set(raised) for lead in pair}
    return {lead: mv for lead, mv in raised.items() if lead in kept}


def _evidence(facts: Facts, raised: Mapping[str, float], limits: Limits) -> Evidence | None:
    if not raised:
        return None
    numbers: dict[str, float] = {}
    for lead, mv in raised.items():
        numbers[f"{lead}_mv"] = mv
        numbers[f"limit_{lead}_mv"] = udmi_limit_mv(lead, limits, facts.sex, facts.age_years)
    opposite = {other for lead in raised for other in _RECIPROCAL[_WALL[lead]]} - set(raised)
    for lead in sorted(opposite):
        level = facts.of_lead(lead, "st_j_uv")
        if level is not None and level / _UV <= limits["reciprocal_mv"]:
            numbers[f"reciprocal_{lead}_mv"] = level / _UV
    if set(raised) & {*_MIDDLE, *_EXTRA}:
        unknown = not facts.sex or (facts.sex == "M" and facts.age_years is None)
        numbers |= {"limit_assumed": 1.0} if unknown else {}
    return Evidence(tuple(raised), numbers)


def mi_pattern(facts: Facts, limits: Limits) -> Evidence | None:
    """Elevation by the limits of a critical-value list, which know no sex and no age."""
    if not facts.amplitudes_hold or _confounders(facts):
        return None
    limit_of = {
        lead: limits["v1v3_mv"] if lead in _RIGHT else limits["mv"] for lead in _leads() if lead not in _EXTRA
    }
    raised = _raised(facts, limit_of, limits["lasting_share"], _RIGHT if "v1v3_exclusive" in limits else ())
    numbers: dict[str, float] = {}
    for lead, mv in raised.items():
        numbers |= {f"{lead}_mv": mv, f"limit_{lead}_mv": limit_of[lead]}
    return Evidence(tuple(raised), numbers) if raised else None


def q_waves(facts: Facts, limits: Limits) -> Evidence | None:
    """Q waves of infarction in two contiguous leads; whether they are new cannot be told from one ECG."""
    if not facts.amplitudes_hold or not facts.leads_hold or facts.paced:
        return None
    if lbbb(facts, usual_limits("lbbb")):
        return None
    found: dict[str, float] = {}
    depths: dict[str, float] = {}
    for lead in _leads():
        wave = _q_wave(facts, lead)
        if wave is None:
            continue
        ms, mv, share = wave
        needed = limits["v2v3_ms"] if lead in _MIDDLE else limits["ms"]
        deep = mv >= limits["mv"] and share >= limits["depth_share"]
        if ms >= needed and deep:
            found[lead], depths[lead] = ms, mv
    kept = _paired(found)
    numbers: dict[str, float] = {}
    for lead, ms in kept.items():
        numbers |= {f"{lead}_ms": ms, f"{lead}_mv": -depths[lead]}
    return (
        Evidence(tuple(kept), {**numbers, "limit_ms": limits["ms"], "limit_mv": limits["mv"]})
        if kept
        else None
    )


def _q_wave(facts: Facts, lead: str) -> tuple[float, float, float] | None:
    """Return ms, depth in mV and depth as a share of R of the first deflection, if that is negative."""
    qrs = facts.qrs(lead)
    if qrs is None:
        return None
    small = 0.02
    first = np.flatnonzero(np.abs(qrs) > small)
    if not first.size or qrs[first[0]] > 0:
        return None
    after = np.flatnonzero(qrs[first[0] :] >= 0)
    stop = int(first[0] + after[0]) if after.size else len(qrs)
    depth = float(-qrs[first[0] : stop].min())
    tall = max(float(qrs.max()), small)
    return (stop - int(first[0])) / facts.waveform.rate_hz * 1000.0, depth, depth / tall
