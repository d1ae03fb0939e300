"""The rules as data: limits, levels and sources from the files in ``rules/``."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal, cast

Level = Literal["critical", "urgent", "note"]
Limits = Mapping[str, float]

DEFAULT_PROFILE = "national_2017"
"""The national consensus of 2017; provinces differ."""

_PROFILES = (DEFAULT_PROFILE, "zhejiang", "shanxi", "provincial_third")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as the files have it.

    Attributes
    ----------
    id : str
        Texts stand in the catalogue as ``ecg.hint.<id>``.
    level : str
        What it weighs in the chosen profile.
    source : str
        Where rule and limits come from.
    limits : mapping of str to float
        By name, the unit in the name.
    """

    id: str
    level: Level
    source: str
    limits: Limits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules as one profile weighs them.

    Attributes
    ----------
    profile : str
        A name of `profiles`.
    rules : mapping of str to tuple of Rule
        By id, the heaviest first: what the profile calls critical, then what holds everywhere.
    """

    profile: str
    rules: Mapping[str, tuple[Rule, ...]]


def profiles() -> tuple[str, ...]:
    """Return the names of the critical-value lists that can be chosen, the default first."""
    return _PROFILES


@cache
def read_table(name: str) -> Mapping[str, Any]:
    """Read one file of ``rules/``; `name` is the program's own, never a user's."""
    text = files("hub.ecg.analysis").joinpath("rules", f"{name}.toml").read_text(encoding="utf-8")
    return MappingProxyType(tomllib.loads(text))


@cache
def rules_of(profile: str) -> RuleSet:
    """Return the rules as one profile weighs them.

    Parameters
    ----------
    profile : str
        One of `profiles`.

    Returns
    -------
    RuleSet
        Every rule of ``rules/common.toml``, preceded by its critical version where the
        profile's own file has one.

    Raises
    ------
    ValueError
        There is no such list.
    """
    if profile not in _PROFILES:
        raise ValueError(f"{profile!r} is no list of critical values; there are {', '.join(_PROFILES)}")
    own = read_table(f"profile_{profile}")
    rules = {}
    for name, table in read_table("common")["rules"].items():
        usual = MappingProxyType(dict(table.get("limits", {})))
        versions = [Rule(name, cast("Level", table["level"]), table["source"], usual)]
        if name in own["critical"]:
            strict = MappingProxyType({**usual, **own["critical"][name]})
            versions.insert(0, Rule(name, "critical", own["source"], strict))
        rules[name] = tuple(versions)
    return RuleSet(profile, MappingProxyType(rules))


def usual_limits(rule: str) -> Limits:
    """Return the limits of a rule as ``rules/common.toml`` has them, whatever the profile."""
    return rules_of(DEFAULT_PROFILE).rules[rule][-1].limits
