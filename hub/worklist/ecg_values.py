"""The values of an ECG that a reader may put right: their names, possible ranges, and which are in force."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import cbrt, sqrt
from typing import Any

from hub.ecg.analysis.model import QTC_FORMULAS
from hub.ecg.analysis.values import GLOBAL_UNITS, LEAD_UNITS
from hub.worklist.models import EcgEdit

RANGES: Mapping[str, tuple[float, float]] = {
    "hr_bpm": (10.0, 400.0),
    **dict.fromkeys(("rr_mean_ms", "rr_min_ms", "rr_max_ms"), (100.0, 10_000.0)),
    **dict.fromkeys(("rr_sd_ms", "rmssd_ms"), (0.0, 10_000.0)),
    "p_ms": (20.0, 300.0),
    "pr_ms": (40.0, 800.0),
    "qrs_ms": (20.0, 400.0),
    "qt_ms": (100.0, 1200.0),
    **dict.fromkeys((f"qtc_{formula}_ms" for formula in QTC_FORMULAS), (100.0, 1200.0)),
    **dict.fromkeys(("p_axis_deg", "qrs_axis_deg", "t_axis_deg"), (-180.0, 180.0)),
    **dict.fromkeys((name for name, unit in LEAD_UNITS.items() if unit == "mV"), (-20.0, 20.0)),
    **dict.fromkeys((name for name, unit in LEAD_UNITS.items() if unit == "uV"), (-5000.0, 5000.0)),
}
"""What a value can be at all, in its unit; a slip of the keyboard lies outside. Not what is normal."""

UNITS: Mapping[str, str] = {**GLOBAL_UNITS, **LEAD_UNITS}


@dataclass(frozen=True)
class InForce:
    """A value as it counts now."""

    value: float | None
    edited: bool = False
    """A reader put it in the place of the measured one, or it follows from one that a reader put there."""


def measured(document: Mapping[str, Any], name: str, lead: str = "") -> float | None:
    """Return what the machine measured; None when it could not."""
    found = document.get("measurement") or {}
    value: Any
    if lead:
        table = "amplitudes_mv" if UNITS.get(name) == "mV" else "st_uv"
        short = name.removeprefix("st_").removesuffix("_uv").removesuffix("_mv")
        value = found.get(table, {}).get(lead, {}).get(short)
    elif name.startswith("qtc_"):
        value = found.get("qtc_ms", {}).get(name.removeprefix("qtc_").removesuffix("_ms"))
    elif name.endswith("_deg"):
        value = found.get("axes_deg", {}).get(name.removesuffix("_axis_deg"))
    else:
        value = found.get({"rr_mean_ms": "rr_ms"}.get(name, name))
    return None if value is None else float(value)


def leads_of(document: Mapping[str, Any]) -> frozenset[str]:
    """Return the leads that values are given for."""
    found = document.get("measurement") or {}
    return frozenset(found.get("st_uv", {})) | frozenset(found.get("amplitudes_mv", {}))


def last_edits(edits: Iterable[EcgEdit]) -> dict[tuple[str, str], EcgEdit]:
    """Return the last edit of each value that was not taken back, by name and lead."""
    last = {(edit.name, edit.lead): edit for edit in edits}
    return {key: edit for key, edit in last.items() if edit.value is not None}


def in_force(document: Mapping[str, Any], edits: Iterable[EcgEdit]) -> dict[str, InForce]:
    """Return the values of all leads together as they count now, by name.

    A corrected QT that nobody touched follows a QT or a rate that a reader has put right.
    """
    put = last_edits(edits)
    values = {
        name: InForce(put[name, ""].value, edited=True)
        if (name, "") in put
        else InForce(measured(document, name))
        for name in GLOBAL_UNITS
    }
    rate, qt = values["hr_bpm"], values["qt_ms"]
    if (rate.edited or qt.edited) and rate.value and qt.value:
        for formula in QTC_FORMULAS:
            name = f"qtc_{formula}_ms"
            if not values[name].edited:
                values[name] = InForce(corrected(qt.value, rate.value, formula), edited=True)
    return values


def corrected(qt_ms: float, hr_bpm: float, formula: str) -> float:
    """Return QT corrected for heart rate.

    Bazett QT/RR^(1/2), Fridericia QT/RR^(1/3), Framingham QT + 154 (1 - RR), Hodges
    QT + 1.75 (rate - 60), with RR in seconds and QT in milliseconds (AHA/ACCF/HRS 2009, part IV).
    """
    rr_s = 60.0 / hr_bpm
    by_formula = {
        "bazett": qt_ms / sqrt(rr_s),
        "fridericia": qt_ms / cbrt(rr_s),
        "framingham": qt_ms + 154.0 * (1.0 - rr_s),
        "hodges": qt_ms + 1.75 * (hr_bpm - 60.0),
    }
    return by_formula[formula]
