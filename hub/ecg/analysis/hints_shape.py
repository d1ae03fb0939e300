"""Rules of shape: wide QRS and bundle branches, voltage, QTc, hyperkalaemia, pacing."""

import numpy as np

from hub.ecg.analysis.hints_facts import Evidence, Facts, Floats
from hub.ecg.analysis.hints_rules import Limits

_LATERAL = ("I", "V6")
_FIRST_SHARE = 0.3
_P_ABSENT = 0.2


def _wide(facts: Facts, limits: Limits) -> float | None:
    qrs = facts.value("qrs_ms")
    return qrs if qrs is not None and qrs >= limits["qrs_ms"] else None


def wide_qrs(facts: Facts, limits: Limits) -> Evidence | None:
    """QRS at or above the limit."""
    qrs = _wide(facts, limits)
    return None if qrs is None else Evidence(numbers={"qrs_ms": qrs, "limit_qrs_ms": limits["qrs_ms"]})


def lbbb(facts: Facts, limits: Limits) -> Evidence | None:
    """Wide QRS, mostly negative in V1, with a broad R without Q in V6 or I and neither of them negative."""
    qrs, right = _wide(facts, limits), facts.qrs("V1")
    left = {lead: found for lead in _LATERAL if (found := facts.qrs(lead)) is not None}
    if qrs is None or right is None or not left or facts.paced:
        return None
    if right.sum() >= 0 or right.max() > limits["share"] * -right.min():
        return None
    if any(lead.sum() <= 0 for lead in left.values()):
        return None
    broad = [name for name, lead in left.items() if _is_plain_r(lead, limits)]
    if not broad:
        return None
    return Evidence(("V1", *broad), {"qrs_ms": qrs, "limit_qrs_ms": limits["qrs_ms"]})


def _is_plain_r(qrs: Floats, limits: Limits) -> bool:
    return bool(-_beginning(qrs).min() <= limits["q_mv"] and -qrs.min() <= limits["share"] * float(qrs.max()))


def rbbb(facts: Facts, limits: Limits) -> Evidence | None:
    """Wide QRS with a late R in V1 that its S does not dwarf, and a broad S in I or V6."""
    qrs, right = _wide(facts, limits), facts.qrs("V1")
    if qrs is None or right is None or facts.paced:
        return None
    late = float(right[len(right) // 2 :].max())
    if late < limits["late_r_mv"] or late < limits["late_r_share"] * -float(right.min()):
        return None
    broad = [name for name in _LATERAL if _s_ms(facts, name, limits) >= limits["s_ms"]]
    if not broad:
        return None
    return Evidence(("V1", *broad), {"qrs_ms": qrs, "limit_qrs_ms": limits["qrs_ms"]})


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
