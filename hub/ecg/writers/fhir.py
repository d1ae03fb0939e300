"""Recordings written as a FHIR R4B Observation whose components are sampled leads."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.model import Measurement
from hub.ecg.errors import CannotHold
from hub.ecg.leads import lead_from_code
from hub.ecg.waveform import Part, PatientText, Waveform
from hub.ecg.writers.dicom_codes import MEASUREMENTS
from hub.ecg.writers.dicom_samples import Column, to_columns

MDC = "urn:iso:std:iso:11073:10101"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"

_POTENTIAL = 131_328
"""MDC_ECG_ELEC_POTL; a lead's potential is this plus its number in the table of SCP-ECG and CID 3001."""

_PARTITION = 65_536
_MAX_STRING = 1_048_576
"""Characters of a FHIR string (R4B 2.24.0.1)."""

_LEAD_NUMBERS = {name: code for code in range(255, 0, -1) if (name := lead_from_code(code))}
_LOINC = {
    "hr_bpm": "8867-4",
    "pr_ms": "8625-6",
    "qrs_ms": "8633-0",
    "qt_ms": "8634-8",
    "p_axis_deg": "8626-4",
    "qrs_axis_deg": "8632-2",
    "t_axis_deg": "8638-9",
}
_UNCODED = {"qtc_framingham_ms": "QTc (Framingham)", "qtc_hodges_ms": "QTc (Hodges)"}
_UNITS = {"bpm": "/min", "ms": "ms", "deg": "deg", "mV": "mV", "uV": "uV"}

Json = dict[str, Any]


def write_fhir(
    waveform: Waveform,
    *,
    patient: Mapping[str, str] | None = None,
    measurement: Measurement | None = None,
    exact: bool = True,
) -> bytes:
    """Write a recording as one Observation in JSON.

    Parameters
    ----------
    waveform : Waveform
        Each lead is a component with SampledData: ``uV = origin + factor * data``, missing samples
        are ``E``. Further parts are contained Observations that are members of this one.
    patient : mapping of str to str, optional
        ``local_id`` and ``name`` in place of what the recording says.
    measurement : Measurement, optional
        Measured values as further components; without it, what the device measured over all leads.
    exact : bool
        With False, samples that are no whole steps are rounded.

    Returns
    -------
    bytes
        UTF-8. A start time without a zone is given as a day, because FHIR's times must have one
        (R4B 2.24.0.1, dateTime); the device's clock then stands in a note.

    Raises
    ------
    CannotHold
        Fact ``reason``: ``step``, ``range``, or ``length`` where a lead is longer than a string may be.
    """
    local_id, name = _who(waveform.patient, patient or {})
    resource = _observation(waveform, "12-lead ECG" if len(waveform.leads) == 12 else "ECG")  # noqa: PLR2004
    if local_id or name:
        subject: Json = {"identifier": {"value": local_id}} if local_id else {}
        resource["subject"] = subject | ({"display": name} if name else {})
    resource |= _when(waveform)
    if waveform.device:
        resource["device"] = {"display": waveform.device}
    notes = [
        *resource.pop("note", ()),
        *({"text": text} for text in waveform.device_statements if text.strip()),
    ]
    if notes:
        resource["note"] = notes
    resource["component"] = _leads(waveform, waveform.lsb_mv, exact=exact) + _values(waveform, measurement)
    members = [_member(n, part, exact=exact) for n, part in enumerate(waveform.parts, start=1)]
    if members:
        resource["contained"] = members
        resource["hasMember"] = [{"reference": f"#{member['id']}"} for member in members]
    return json.dumps(resource, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _who(text: PatientText, patient: Mapping[str, str]) -> tuple[str, str]:
    return patient.get("local_id", text.local_id), patient.get("name", text.name)


def _observation(source: Waveform | Part, name: str) -> Json:
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [{"system": _CATEGORY, "code": "procedure", "display": "Procedure"}]}],
        "code": {"coding": [_coding(MDC, str(_POTENTIAL), "MDC_ECG_ELEC_POTL")], "text": name},
        "method": {"text": f"{len(source.leads)} leads, {source.rate_hz:g} samples per second and lead"},
    }


def _when(waveform: Waveform) -> Json:
    started = waveform.started_at
    if started is None:
        return {}
    if started.tzinfo is not None:
        return {"effectiveDateTime": started.isoformat()}
    clock = f"Device clock at the first sample, no time zone stated: {started.isoformat()}"
    return {"effectiveDateTime": started.date().isoformat(), "note": [{"text": clock}]}


def _member(number: int, part: Part, *, exact: bool) -> Json:
    resource = _observation(part, part.label or part.kind)
    resource["id"] = f"part{number}"
    resource["component"] = _leads(part, (None,) * len(part.leads), exact=exact)
    return resource


def _leads(source: Waveform | Part, lsb_mv: Sequence[float | None], *, exact: bool) -> list[Json]:
    columns = to_columns(source.samples_mv, lsb_mv, bits=32, exact=exact)
    period_ms = 1000 / source.rate_hz
    return [
        {"code": _lead(lead), "valueSampledData": _sampled(column, period_ms, place)}
        for place, (lead, column) in enumerate(zip(source.leads, columns, strict=True))
    ]


def _lead(name: str) -> Json:
    number = _LEAD_NUMBERS.get(name)
    if number is None:
        return {"text": name}
    display = f"MDC_ECG_ELEC_POTL_{name.upper()}"
    return {"coding": [_coding(MDC, str(_POTENTIAL + number), display)], "text": name}


def _sampled(column: Column, period_ms: float, place: int) -> Json:
    data = " ".join(_words(column.raw, column.missing))
    if len(data) > _MAX_STRING:
        raise CannotHold(reason="length", column=place)
    origin = {"value": _short(float(column.baseline_uv)), "unit": "uV", "system": UCUM, "code": "uV"}
    return {
        "origin": origin,
        "period": _short(period_ms),
        "factor": _short(float(column.sensitivity_uv)),
        "dimensions": 1,
        "data": data,
    }


def _words(raw: NDArray[np.int64], missing: NDArray[np.bool_]) -> list[str]:
    words = [str(value) for value in raw.tolist()]
    for place in np.flatnonzero(missing).tolist():
        words[place] = "E"
    return words


def _short(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _values(waveform: Waveform, measurement: Measurement | None) -> list[Json]:
    if measurement is None:
        stated = [(m.name, m.value, m.unit) for m in waveform.device_measurements if not m.lead]
    else:
        stated = [(name, v.value, v.unit) for name, v in measurement.values.items() if v.value is not None]
    return [
        _value(name, value, unit) for name, value, unit in stated if name in MEASUREMENTS or name in _UNCODED
    ]


def _value(name: str, value: float, unit: str) -> Json:
    quantity: Json = {"value": _short(value)}
    if unit in _UNITS:
        quantity |= {"unit": unit, "system": UCUM, "code": _UNITS[unit]}
    return {"code": _measured(name), "valueQuantity": quantity}


def _measured(name: str) -> Json:
    if name in _UNCODED:
        return {"text": _UNCODED[name]}
    code, meaning = MEASUREMENTS[name]
    partition, _, term = code.partition(":")
    codings = [_coding(MDC, str(int(partition) * _PARTITION + int(term)), meaning)]
    if name in _LOINC:
        codings.append(_coding(LOINC, _LOINC[name]))
    return {"coding": codings, "text": meaning}


def _coding(system: str, code: str, display: str = "") -> Json:
    return {"system": system, "code": code} | ({"display": display} if display else {})
