"""The annotation sets that devices wrote into an aECG; what people wrote is left alone."""

from collections.abc import Iterable, Iterator

from hub.ecg.formats.xml import Document, Element
from hub.ecg.formats.xml_values import number_of
from hub.ecg.leads import lead_from_text
from hub.ecg.waveform import DeviceMeasurement

_NAMES = {
    "MDC_ECG_HEART_RATE": "hr_bpm",
    "MDC_ECG_TIME_PD_RR": "rr_mean_ms",
    "MDC_ECG_TIME_PD_P": "p_ms",
    "MDC_ECG_TIME_PD_PR": "pr_ms",
    "MDC_ECG_TIME_PD_QRS": "qrs_ms",
    "MDC_ECG_TIME_PD_QT": "qt_ms",
    "MDC_ECG_TIME_PD_QTC": "qtc_ms",
    "MDC_ECG_TIME_PD_QTCB": "qtc_bazett_ms",
    "MDC_ECG_TIME_PD_QTCF": "qtc_fridericia_ms",
    "MDC_ECG_ANGLE_P_FRONT": "p_axis_deg",
    "MDC_ECG_ANGLE_QRS_FRONT": "qrs_axis_deg",
    "MDC_ECG_ANGLE_T_FRONT": "t_axis_deg",
    "MINDRAY_ECG_P_AXIS": "p_axis_deg",
    "MINDRAY_ECG_QRS_AXIS": "qrs_axis_deg",
    "MINDRAY_ECG_T_AXIS": "t_axis_deg",
}
_UNITS = {
    "ms": ("ms", 1.0),
    "s": ("ms", 1e3),
    "us": ("ms", 1e-3),
    "bpm": ("bpm", 1.0),
    "/min": ("bpm", 1.0),
    "1/min": ("bpm", 1.0),
    "{beats}/min": ("bpm", 1.0),
    "{beat}/min": ("bpm", 1.0),
    "deg": ("deg", 1.0),
}
_STATEMENTS = {
    "MDC_ECG_INTERPRETATION",
    "MDC_ECG_INTERPRETATION_STATEMENT",
    "MDC_ECG_INTERPRETATION_SUMMARY",
    "MDC_ECG_INTERPRETATION_COMMENT",
    "MDC_ECG_RHY",
}
_WAVES = {"MDC_ECG_WAVC_PWAVE": "p", "MDC_ECG_WAVC_QRSWAVE": "qrs", "MDC_ECG_WAVC_TWAVE": "t"}
_BEAT = "MDC_ECG_BEAT"
_BOUNDARY = "support/supportingROI/component/boundary"
_MAX_FOUND = 2000


def measurements(series: Iterable[Element]) -> tuple[DeviceMeasurement, ...]:
    """Return the numbers of whole recordings and single leads, not of single beats.

    Wave boundaries of a representative beat come as ``median_p_on_ms``, ``median_qrs_off_ms`` and
    so on, in milliseconds from its first sample. Of values given several times the first counts.
    """
    found: dict[tuple[str, str], DeviceMeasurement] = {}
    for annotation in _by_devices(series):
        for each in (*_value(annotation), *_wave(annotation)):
            if len(found) < _MAX_FOUND:
                found.setdefault((each.name, each.lead), each)
    return tuple(found.values())


def statements(document: Document, series: Iterable[Element]) -> tuple[str, ...]:
    """Return what devices say in words, each once."""
    found: dict[str, None] = {}
    for annotation in _by_devices(series):
        if annotation.find("code").get("code") in _STATEMENTS and len(found) < _MAX_FOUND:
            value = annotation.find("value")
            text = document.read(value.text or value.get("displayName") or value.get("code"))
            found |= {text: None} if text else {}
    return tuple(found)


def _by_devices(series: Iterable[Element]) -> Iterator[Element]:
    """Go through annotations, nested ones too, of sets without a person as author; beats are left out."""
    for one in series:
        for group in one.all("subjectOf/annotationSet"):
            if group.find("author/assignedEntity/assignedAuthorType/assignedPerson"):
                continue
            waiting = group.all("component/annotation")[::-1]
            while waiting:
                annotation = waiting.pop()
                if annotation.find("code").get("code") == _BEAT:
                    continue
                yield annotation
                waiting.extend(annotation.all("component/annotation")[::-1])


def _value(annotation: Element) -> tuple[DeviceMeasurement, ...]:
    code = annotation.find("code").get("code")
    written = annotation.find("value")
    value = number_of(written.get("value"))
    if value is None or not code:
        return ()
    unit = written.get("unit")
    known, factor = _UNITS.get(unit, (unit[:16], 1.0))
    name = _NAMES.get(code.upper().removesuffix("_GL"))
    if name is None or not name.endswith(f"_{known}"):
        name, known, factor = code[:64], unit[:16], 1.0
    return (DeviceMeasurement(name, value * factor, known, _lead(annotation)),)


def _lead(annotation: Element) -> str:
    codes = [boundary.find("code").get("code") for boundary in annotation.all(_BOUNDARY)]
    return next((lead for code in codes if (lead := lead_from_text(code))), "")


def _wave(annotation: Element) -> tuple[DeviceMeasurement, ...]:
    """Return where a wave of the representative beat begins and ends: its times are relative."""
    wave = _WAVES.get(annotation.find("value").get("code"))
    if wave is None:
        return ()
    found = []
    for boundary in annotation.all(_BOUNDARY):
        if boundary.find("code").get("code") != "TIME_RELATIVE":
            continue
        for edge, name in (("low", "on"), ("high", "off")):
            written = boundary.find("value").find(edge)
            value = number_of(written.get("value"))
            known, factor = _UNITS.get(written.get("unit"), ("", 1.0))
            if value is not None and known == "ms":
                label = f"median_{wave}_{name}_ms"
                found.append(DeviceMeasurement(label, value * factor, "ms", _lead(annotation)))
    return tuple(found)
