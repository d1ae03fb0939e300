"""HL7 aECG with annotations, after the HL7 sample file and its guide (PORT_MT020001, 2005-03-21)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.model import Measurement
from hub.ecg.errors import CannotHold
from hub.ecg.leads import lead_from_text
from hub.ecg.waveform import Part, Waveform
from hub.ecg.writers.aecg_annotations import beats, device_set, hub_set, median_set
from hub.ecg.writers.aecg_elements import ACT, CPT, MDC, Clock, code, pq, tag, ts
from hub.ecg.writers.aecg_subject import age, subject
from hub.ecg.writers.steps import known_steps, rounded_steps, steps_of

_MOST = 2**31 - 1
"""Digits are integers of no stated width; readers keep them in 32 bits or floats."""

_FINE = 256
_FINEST_MV = 1e-6
"""A nanovolt, in which leads are written that have no unit of their own."""

_ON_STEP = 1e-4
_NAMESPACES = {
    "xmlns": "urn:hl7-org:v3",
    "xmlns:voc": "urn:hl7-org:v3/voc",
    "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "type": "Observation",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Digits:
    """One lead as integers: ``mV = origin_mv + step_mv * digit``."""

    digits: NDArray[np.int64]
    step_mv: float
    origin_mv: float = 0.0


def write_aecg(waveform: Waveform, *, measurement: Measurement | None = None, exact: bool = True) -> bytes:
    """Write a recording as one annotated ECG.

    Parameters
    ----------
    waveform : Waveform
        What to write, with its patient text, device, filters, measurements, statements and parts.
    measurement : Measurement, optional
        Whose global values and wave boundaries are written as an annotation set of the hub's own.
    exact : bool
        Whether to refuse samples that are no whole number of the device's units or halves of them,
        counted from any origin. Otherwise they are rounded, to at most 1/512 of a unit. Leads that
        have no unit of their own, computed ones and parts, are kept to half a nanovolt.

    Returns
    -------
    bytes
        UTF-8. Every lead has its own scale and, where its zero lies between the units, its own
        origin. Times are absolute when the start is known, else relative. The same recording gives
        the same bytes.

    Raises
    ------
    CannotHold
        A sample is missing, which aECG cannot say; a lead has no MDC code; or, when `exact`, the
        samples are no whole numbers.
    """
    clock = Clock(waveform.started_at, waveform.rate_hz)
    leads = [(name, _lead(waveform, n, exact=exact)) for n, name in enumerate(waveform.leads)]
    medians = [part for part in waveform.parts if part.kind == "median"]
    others = [part for part in waveform.parts if part.kind == "rhythm"]
    fingerprint = sha256(waveform.samples_mv.tobytes() + repr((waveform.leads, clock)).encode()).hexdigest()
    series = tag(
        "series",
        {},
        _id(fingerprint, "series"),
        code("RHYTHM", *ACT),
        _period(clock, waveform.n_samples),
        _author(waveform.device),
        _filters(waveform),
        _sequences(clock, leads),
        device_set(waveform),
        hub_set(measurement, beats(measurement, clock)) if measurement is not None else "",
        "".join(_derived(part, waveform, fingerprint, n) for n, part in enumerate(medians)),
    )
    document = tag(
        "AnnotatedECG",
        _NAMESPACES,
        _id(fingerprint, "document"),
        code("93000", *CPT),
        _period(clock, waveform.n_samples),
        subject(waveform.patient),
        age(waveform.patient),
        tag("component", {}, series),
        "".join(_further(part, waveform, fingerprint, n) for n, part in enumerate(others)),
    )
    return ('<?xml version="1.0" encoding="UTF-8"?>\n' + document + "\n").encode()


def _lead(waveform: Waveform, column: int, *, exact: bool) -> _Digits:
    samples = waveform.samples_mv[:, column]
    if np.isnan(samples).any():
        raise CannotHold(reason="gap", column=column)
    try:
        steps = steps_of(waveform, column, _MOST)
    except CannotHold:
        shifted = _from_an_origin(samples, known_steps(waveform, column))
        if shifted is not None:
            return shifted
        if waveform.lsb_mv[column] is None:
            steps = rounded_steps(waveform, column, _MOST, _FINEST_MV)
        elif exact:
            raise
        else:
            steps = rounded_steps(waveform, column, _MOST, min(known_steps(waveform, column)) / _FINE)
    return _Digits(steps.stored, steps.step_mv)


def _from_an_origin(samples: NDArray[np.float64], candidates: Iterable[float]) -> _Digits | None:
    """Count whole steps from a zero that lies between them, as a device with a baseline stores it."""
    for step_mv in candidates:
        origin_mv = float(samples[0] - np.rint(samples[0] / step_mv) * step_mv)
        counts = (samples - origin_mv) / step_mv
        digits = np.rint(counts)
        if np.abs(counts - digits).max() <= _ON_STEP and np.abs(digits).max() <= _MOST:
            return _Digits(digits.astype(np.int64), step_mv, origin_mv)
    return None


def _part_leads(part: Part, waveform: Waveform) -> list[tuple[str, _Digits]]:
    """Return a part's leads, whose own units are not known: in those of the recording or in nanovolts."""
    units = dict(zip(waveform.leads, waveform.lsb_mv, strict=True))
    without = Waveform(part.samples_mv, part.rate_hz, part.leads, waveform.format)
    alike = replace(without, lsb_mv=tuple(units.get(name) for name in part.leads))
    found = []
    for n, name in enumerate(part.leads):
        try:
            found.append((name, _lead(alike, n, exact=True)))
        except CannotHold:
            found.append((name, _lead(without, n, exact=True)))
    return found


def _derived(part: Part, waveform: Waveform, fingerprint: str, place: int) -> str:
    clock = Clock(None, part.rate_hz)
    inner = tag(
        "derivedSeries",
        {},
        _id(fingerprint, f"derived {place}"),
        code("REPRESENTATIVE_BEAT", *ACT),
        _period(Clock(waveform.started_at, waveform.rate_hz), waveform.n_samples),
        _author(waveform.device),
        _sequences(clock, _part_leads(part, waveform)),
        median_set(waveform) if place == 0 else "",
    )
    return tag("derivation", {}, inner)


def _further(part: Part, waveform: Waveform, fingerprint: str, place: int) -> str:
    clock = Clock(None, part.rate_hz)
    series = tag(
        "series",
        {},
        _id(fingerprint, f"further {place}"),
        code("RHYTHM", *ACT),
        _period(clock, len(part.samples_mv)),
        _author(waveform.device),
        _sequences(clock, _part_leads(part, waveform)),
    )
    return tag("component", {}, series)


def _sequences(clock: Clock, leads: Sequence[tuple[str, _Digits]]) -> str:
    sequences = [_time(clock), *(_sequence(name, lead) for name, lead in leads)]
    inner = "".join(tag("component", {}, tag("sequence", {}, one)) for one in sequences)
    return tag("component", {}, tag("sequenceSet", {}, inner))


def _time(clock: Clock) -> str:
    increment = tag("increment", {"value": f"{1 / clock.rate_hz:.15g}", "unit": "s"})
    if clock.started_at is None:
        head = tag("head", {"value": "0", "unit": "s"})
        return code("TIME_RELATIVE", *ACT) + tag("value", {"xsi:type": "GLIST_PQ"}, head, increment)
    head = tag("head", {"value": ts(clock.started_at)})
    return code("TIME_ABSOLUTE", *ACT) + tag("value", {"xsi:type": "GLIST_TS"}, head, increment)


def _sequence(name: str, lead: _Digits) -> str:
    return code(lead_code(name), *MDC) + tag(
        "value",
        {"xsi:type": "SLIST_PQ"},
        tag("origin", pq(lead.origin_mv * 1000, "uV")),
        tag("scale", pq(lead.step_mv * 1000, "uV")),
        tag("digits", {}, " ".join(map(str, lead.digits.tolist()))),
    )


def lead_code(name: str) -> str:
    """Return the MDC code of a lead; `CannotHold` for a channel that is none of the known leads."""
    known = lead_from_text(name)
    if known is None:
        raise CannotHold(reason="lead")
    return "MDC_ECG_LEAD_AVRNEG" if known == "-aVR" else f"MDC_ECG_LEAD_{known.upper()}"


def _period(clock: Clock, n_samples: int) -> str:
    if clock.started_at is None:
        return tag("effectiveTime", {"nullFlavor": "UNK"})
    low = tag("low", {"value": ts(clock.started_at), "inclusive": "true"})
    high = tag(
        "high", {"value": ts(_after(clock.started_at, n_samples / clock.rate_hz)), "inclusive": "false"}
    )
    return tag("effectiveTime", {}, low, high)


def _after(moment: datetime, seconds: float) -> datetime:
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError as error:
        raise CannotHold(reason="time") from error


def _id(fingerprint: str, what: str) -> str:
    return tag("id", {"root": str(uuid5(NAMESPACE_OID, f"{fingerprint} {what}"))})


def _author(device: str) -> str:
    if not device:
        return ""
    model = tag("manufacturerModelName", text=device)
    inner = tag("manufacturedSeriesDevice", {}, tag("id", {"nullFlavor": "UNK"}), model)
    return tag("author", {}, tag("seriesAuthor", {}, inner))


def _filters(waveform: Waveform) -> str:
    stated = (
        ("LOW_PASS", "CUTOFF", waveform.filters.low_pass_hz),
        ("HIGH_PASS", "CUTOFF", waveform.filters.high_pass_hz),
        ("NOTCH", "NOTCH", waveform.filters.notch_hz),
    )
    return "".join(_filter(kind, setting, hz) for kind, setting, hz in stated if hz)


def _filter(kind: str, setting: str, hz: float) -> str:
    prefix = "MDC_ECG_CTL_VBL_ATTR_FILTER_"
    value = tag("value", {"xsi:type": "PQ", **pq(hz, "Hz")})
    inner = tag("controlVariable", {}, code(f"{prefix}{setting}_FREQ", *MDC), value)
    filtered = tag("controlVariable", {}, code(f"{prefix}{kind}", *MDC), tag("component", {}, inner))
    return tag("controlVariable", {}, filtered)
