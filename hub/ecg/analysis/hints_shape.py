"""Rules of shape: wide QRS and bundle branches, voltage, QTc, hyperkalaemia, pacing."""

import numpy as np

from hub.ecg.analysis.hints_facts import Evidence, Facts, Floats
from hub.ecg.analysis.hints_rules import Limits

_LATERAL = ("I", "V6")
_FIRST_SHARE = 0.3
_LAST_SHARE = 2 / 3
_P_ABSENT = 0.2


def _wide(facts: Facts, limits: Limits) -> float | None:
    qrs = facts.value("qrs_ms")
    return qrs if qrs is not None and qrs >= limits["qrs_ms"] else None


def wide_qrs(facts: Facts, limits: Limits) -> Evidence | None:
    """QRS at or above the limit."""
    qrs = _wide(facts, limits)
    return None if qrs is None else Evidence(numbers={"qrs_ms": qrs, "limit_qrs_ms": limits["qrs_ms"]})


def lbbb(facts: Facts, limits: Limits) -> Evidence | None:
    """Wide QRS, negative in V1, with a broad R without Q in I and V6."""
    qrs, right = _wide(facts, limits), facts.qrs("V1")
    left = [facts.qrs(lead) for lead in _LATERAL]
    if qrs is None or right is None or facts.paced:
        return None
    if right.sum() >= 0 or right.max() > limits["share"] * -right.min():
        return None
    for lead in left:
        if lead is None or lead.sum() <= 0 or -_beginning(lead).min() > limits["q_mv"]:
            return None
        if -lead.min() > limits["share"] * lead.max():
            return None
    return Evidence(("V1", *_LATERAL), {"qrs_ms": qrs, "limit_qrs_ms": limits["qrs_ms"]})


def rbbb(facts: Facts, limits: Limits) -> Evidence | None:
    """Wide QRS with a late R in V1 or V2 and a broad S in I or V6."""
    qrs = _wide(facts, limits)
    if qrs is None or facts.paced:
        return None
    for lead in ("V1", "V2"):
        right = facts.qrs(lead)
        if right is None or right[round(_LAST_SHARE * len(right) * 0.75) :].max() < limits["late_r_mv"]:
            continue
        broad = [name for name in _LATERAL if _s_ms(facts, name, limits) >= limits["s_ms"]]
        if broad:
            return Evidence((lead, *broad), {"qrs_ms": qrs, "limit_qrs_ms": limits["qrs_ms"]})
    return None


def _beginning(qrs: Floats) -> Floats:
    return qrs[: max(1, round(_FIRST_SHARE * len(qrs)))]


def _s_ms(facts: Facts, lead: str, limits: Limits) -> float:
    """Return how long the QRS is negative after its R, in ms."""
    qrs = facts.qrs(lead)
    if qrs is None:
        return 0.0
    after = qrs[int(np.argmax(qrs)) :]
    return float((after < -limits["s_mv"]).sum() / facts.waveform.rate_hz * 1000.0)


def lvh_voltage(facts: Facts, limits: Limits) -> Evidence | None:
    """S in V1 plus the taller R of V5 and V6."""
    if not facts.amplitudes_hold:
        return None
    right = facts.qrs("V1")
    left = {lead: qrs for lead in ("V5", "V6") if (qrs := facts.qrs(lead)) is not None}
    if right is None or not left:
        return None
    tallest = max(left, key=lambda lead: float(left[lead].max()))
    voltage = float(left[tallest].max()) - float(right.min())
    if voltage < limits["mv"]:
        return None
    return Evidence(("V1", tallest), {"sokolow_mv": voltage, "limit_sokolow_mv": limits["mv"]})


def qtc_long(facts: Facts, limits: Limits) -> Evidence | None:
    """QTc by the formula in the limit's name at or above it."""
    qtc = facts.value("qtc_fridericia_ms")
    if qtc is None or qtc < limits["qtc_fridericia_ms"]:
        return None
    numbers = {"qtc_fridericia_ms": qtc, "limit_qtc_fridericia_ms": limits["qtc_fridericia_ms"]}
    for name in ("qt_ms", "hr_bpm"):
        value = facts.value(name)
        numbers |= {name: value} if value is not None else {}
    return Evidence(numbers=numbers)


def hyperkalaemia(facts: Facts, limits: Limits) -> Evidence | None:
    """Tall narrow T waves in several leads with a wide QRS or without P."""
    if not facts.amplitudes_hold or facts.paced:
        return None
    wide = _wide(facts, limits)
    no_p = facts.measurement.atrial.p_share is not None and facts.p_share <= _P_ABSENT
    if wide is None and not (no_p and facts.measurement.atrial.fibrillation < _HALF):
        return None
    tall = {
        lead: t
        for lead in (facts.measurement.median.leads if facts.measurement.median else ())
        if (t := _tall_t(facts, lead, limits)) is not None
    }
    if len(tall) < limits["leads"]:
        return None
    numbers = {f"{lead}_t_mv": mv for lead, mv in tall.items()} | {"limit_t_mv": limits["t_mv"]}
    numbers |= {"qrs_ms": wide} if wide is not None else {"p_share": facts.p_share}
    return Evidence(tuple(tall), numbers)


_HALF = 0.5


def _tall_t(facts: Facts, lead: str, limits: Limits) -> float | None:
    """Return the height of a T wave that is tall, beside QRS too, and narrow at half its height."""
    beat, median = facts.beat(lead), facts.measurement.median
    if beat is None or median is None or median.over_all.qrs_off is None:
        return None
    rest = beat[median.over_all.qrs_off : median.over_all.t_off]
    height = facts.of_lead(lead, "t_mv")
    if height is None or height < limits["t_mv"] or not rest.size:
        return None
    qrs = facts.qrs(lead)
    peak = int(np.argmax(rest))
    half = rest > rest[peak] / 2
    left = np.flatnonzero(~half[:peak])
    right = np.flatnonzero(~half[peak:])
    start = int(left[-1]) if left.size else 0
    stop = peak + int(right[0]) if right.size else len(rest)
    width = (stop - start) / facts.waveform.rate_hz * 1000.0
    against = float(np.abs(qrs).max()) if qrs is not None else 0.0
    return height if width <= limits["t_half_width_ms"] and height >= limits["t_to_r"] * against else None


def pacing(facts: Facts, limits: Limits) -> Evidence | None:
    """Beats that the measurement found to be paced."""
    count = facts.paced
    return Evidence(numbers={"paced_beats": float(count)}) if count >= limits["beats"] else None
