"""Annotation sets of an aECG: what the device measured and said, and apart from it what the hub measured."""

from collections.abc import Iterable

from hub.ecg.analysis.model import BeatClass, Measurement
from hub.ecg.leads import lead_from_text
from hub.ecg.waveform import DeviceMeasurement, Waveform
from hub.ecg.writers.aecg_elements import ACT, MDC, Clock, code, coded, pq, tag

_CODES = {
    "hr_bpm": "MDC_ECG_HEART_RATE",
    "rr_mean_ms": "MDC_ECG_TIME_PD_RR",
    "p_ms": "MDC_ECG_TIME_PD_P",
    "pr_ms": "MDC_ECG_TIME_PD_PR",
    "qrs_ms": "MDC_ECG_TIME_PD_QRS",
    "qt_ms": "MDC_ECG_TIME_PD_QT",
    "qtc_ms": "MDC_ECG_TIME_PD_QTc",
    "qtc_bazett_ms": "MDC_ECG_TIME_PD_QTcB",
    "qtc_fridericia_ms": "MDC_ECG_TIME_PD_QTcF",
    "p_axis_deg": "MDC_ECG_ANGLE_P_FRONT",
    "qrs_axis_deg": "MDC_ECG_ANGLE_QRS_FRONT",
    "t_axis_deg": "MDC_ECG_ANGLE_T_FRONT",
}
_UNITS = {"bpm": "/min"}
_WAVES = (("p", "MDC_ECG_WAVC_PWAVE"), ("qrs", "MDC_ECG_WAVC_QRSWAVE"), ("t", "MDC_ECG_WAVC_TWAVE"))
_BEATS: dict[BeatClass, str] = {
    "dominant": "MDC_ECG_BEAT_DOMINANT",
    "ectopic": "MDC_ECG_BEAT_ABNORMAL",
    "paced": "MDC_ECG_BEAT_PACED",
    "unclassified": "MDC_ECG_BEAT_UNKNOWN",
}
"""ISO/IEEE 11073-10102, in DICOM PS3.16 CID 3335."""

_HUB = "township ECG hub"


def device_set(waveform: Waveform) -> str:
    """Return the device's measurements and statements, empty when it made none."""
    values = [_device_value(one) for one in waveform.device_measurements]
    found = "".join(values) + _statements(waveform.device_statements)
    return _set(waveform.device, found) if found else ""


def median_set(waveform: Waveform) -> str:
    """Return the wave boundaries that the device found in its representative beat, empty without any."""
    times = {one.name: one.value for one in waveform.device_measurements if not one.lead}
    found = []
    for wave, wave_code in _WAVES:
        edges = (("low", f"median_{wave}_on_ms"), ("high", f"median_{wave}_off_ms"))
        inner = [tag(edge, pq(times[name], "ms")) for edge, name in edges if name in times]
        if inner:
            value = tag("value", {"xsi:type": "IVL_PQ"}, *inner)
            boundary = tag("boundary", {}, code("TIME_RELATIVE", *ACT), value)
            found.append(_wave(wave_code, boundary))
    return _set(waveform.device, "".join(found)) if found else ""


def hub_set(measurement: Measurement, found_beats: str) -> str:
    """Return what the hub measured: global values that exist, and beats."""
    values = [
        _value(_CODES[name], each.value, each.unit)
        for name, each in measurement.values.items()
        if name in _CODES and each.value is not None
    ]
    return _set(_HUB, "".join(values) + found_beats)


def beats(measurement: Measurement | None, clock: Clock) -> str:
    """Return one annotation for each beat with the waves that were found in it."""
    found = []
    for beat in measurement.beats if measurement is not None else ():
        over_all = beat.over_all
        edges = {
            "p": (over_all.p_on, over_all.p_off),
            "qrs": (over_all.qrs_on, over_all.qrs_off),
            "t": (over_all.t_on, over_all.t_off),
        }
        waves = [
            _wave(wave_code, clock.boundary(*edges[wave]))
            for wave, wave_code in _WAVES
            if edges[wave] != (None, None)
        ]
        kind = tag("value", {"xsi:type": "CE", **coded(_BEATS[beat.kind], *MDC)})
        whole = _roi(clock.boundary(beat.sample, beat.sample))
        found.append(_annotation("MDC_ECG_BEAT", kind, whole, *waves))
    return "".join(found)


def _device_value(one: DeviceMeasurement) -> str:
    known = _CODES.get(one.name) or (one.name if one.name.startswith("MDC_ECG_") else "")
    if not known:
        return ""
    lead = lead_from_text(one.lead) if one.lead else None
    if one.lead and lead is None:
        return ""
    where = _roi(tag("boundary", {}, code(f"MDC_ECG_LEAD_{lead.upper()}", *MDC))) if lead else ""
    return _value(known, one.value, one.unit, where)


def _value(known: str, value: float, unit: str, where: str = "") -> str:
    quantity = tag("value", {"xsi:type": "PQ", **pq(value, _UNITS.get(unit, unit) or "1")})
    return _annotation(known, quantity, where)


def _statements(texts: Iterable[str]) -> str:
    inner = [
        _annotation("MDC_ECG_INTERPRETATION_STATEMENT", tag("value", {"xsi:type": "ST"}, text=text))
        for text in texts
        if text.strip()
    ]
    return _annotation("MDC_ECG_INTERPRETATION", *inner) if inner else ""


def _wave(wave_code: str, boundary: str) -> str:
    value = tag("value", {"xsi:type": "CE", **coded(wave_code, *MDC)})
    return _annotation("MDC_ECG_WAVC", value, _roi(boundary))


def _roi(boundary: str) -> str:
    region = tag(
        "supportingROI", {"classCode": "ROIBND"}, code("ROIPS", *ACT), tag("component", {}, boundary)
    )
    return tag("support", {}, region)


def _annotation(known: str, *inner: str) -> str:
    return tag("component", {}, tag("annotation", {}, code(known, *MDC), *inner))


def _set(author: str, found: str) -> str:
    device = tag("assignedDevice", {}, tag("manufacturerModelName", text=author) if author else "")
    entity = tag(
        "assignedEntity", {}, tag("id", {"nullFlavor": "UNK"}), tag("assignedAuthorType", {}, device)
    )
    return tag("subjectOf", {}, tag("annotationSet", {}, tag("author", {}, entity), found))
