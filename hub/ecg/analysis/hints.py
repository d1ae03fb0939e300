"""Rules that a recording meets: they order the queue and warn, and are no diagnosis."""

from collections.abc import Mapping
from types import MappingProxyType

from hub.ecg.analysis import hints_shape, rhythm, st_rules
from hub.ecg.analysis.hints_facts import Check, Evidence, Facts
from hub.ecg.analysis.hints_rules import DEFAULT_PROFILE, Rule, profiles, rules_of
from hub.ecg.analysis.model import Hint, Measurement, Quality
from hub.ecg.waveform import Waveform

__all__ = ["CHECKS", "DEFAULT_PROFILE", "hints", "profiles"]

CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "vf_like": rhythm.vf_like,
        "vt_polymorphic": rhythm.vt_polymorphic,
        "vt_whole_strip": rhythm.vt_whole_strip,
        "vt_in_strip": rhythm.vt_in_strip,
        "preexcited_fibrillation": rhythm.preexcited_fibrillation,
        "mi_pattern": st_rules.mi_pattern,
        "st_elevation": st_rules.st_elevation,
        "av_block_3": rhythm.av_block_3,
        "rhythm_unclear": rhythm.rhythm_unclear,
        "slow_without_p": rhythm.slow_without_p,
        "pause": rhythm.pause,
        "rate_low": rhythm.rate_low,
        "rate_high": rhythm.rate_high,
        "atrial_fast": rhythm.atrial_fast,
        "qtc_r_on_t": rhythm.qtc_r_on_t,
        "hyperkalaemia": hints_shape.hyperkalaemia,
        "av_block_2": rhythm.av_block_2,
        "r_on_t": rhythm.r_on_t,
        "qtc_long": hints_shape.qtc_long,
        "atrial_fibrillation": rhythm.atrial_fibrillation,
        "atrial_flutter": rhythm.atrial_flutter,
        "lbbb": hints_shape.lbbb,
        "rbbb": hints_shape.rbbb,
        "wide_qrs": hints_shape.wide_qrs,
        "st_elevation_doubtful": st_rules.st_elevation_doubtful,
        "q_waves": st_rules.q_waves,
        "lvh_voltage": hints_shape.lvh_voltage,
        "pacing": hints_shape.pacing,
    }
)
"""The check of every rule of ``rules/common.toml``, in the order in which hints of one level are shown."""

_WEIGHT = {"critical": 0, "urgent": 1, "note": 2}
_SEXES = {"M": "M", "F": "F", "MALE": "M", "FEMALE": "F"}
_OLDEST = 130.0


def hints(
    waveform: Waveform,
    measurement: Measurement,
    quality: Quality,
    *,
    profile: str = DEFAULT_PROFILE,
    sex: str = "",
    age_years: float | None = None,
) -> tuple[Hint, ...]:
    """Return the rules that a recording meets.

    Parameters
    ----------
    waveform, measurement, quality
        One recording, measured and assessed.
    profile : str
        A name of `profiles`: which list of critical values applies.
    sex : str
        ``"M"`` or ``"F"``; anything else counts as unknown.
    age_years : float, optional
        Anything outside 0 to 130 counts as unknown.

    Returns
    -------
    tuple of Hint
        The heaviest first. At most one for a rule: its critical version when the profile has one
        and it is met, else what holds everywhere.

    Raises
    ------
    ValueError
        There is no such list.
    """
    known = age_years if age_years is not None and 0 <= age_years <= _OLDEST else None
    facts = Facts(waveform, measurement, quality, _SEXES.get(sex.strip().upper(), ""), known)
    rules = rules_of(profile).rules
    found = [hint for name, check in CHECKS.items() if (hint := _first_met(check, facts, rules[name]))]
    return tuple(sorted(found, key=lambda hint: _WEIGHT[hint.level]))


def _first_met(check: Check, facts: Facts, versions: tuple[Rule, ...]) -> Hint | None:
    refused: Mapping[str, float] | None = None
    for rule in versions:
        if rule.limits == refused:
            continue
        evidence = check(facts, rule.limits)
        if evidence is not None:
            return _hint(rule, evidence)
        refused = rule.limits
    return None


def _hint(rule: Rule, evidence: Evidence) -> Hint:
    numbers = {name: round(float(value), 3) for name, value in evidence.numbers.items()}
    return Hint(rule.id, rule.level, rule.source, evidence.leads, numbers)
