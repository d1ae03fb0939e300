"""GE CardioSoft XML (document element CardiologyXML), as its own exports state units and names."""

from datetime import datetime

from hub.ecg.errors import NoLeads
from hub.ecg.formats.xml import Document, Element, parse_xml, root_of
from hub.ecg.formats.xml_values import (
    Block,
    Lead,
    age_of,
    block,
    join_name,
    listed_samples,
    longest_of,
    measured,
    moment_from,
    need_samples,
    number_of,
    rate_of,
    resolution_mv,
    whole_number_of,
)
from hub.ecg.limits import check_size
from hub.ecg.waveform import DeviceMeasurement, Filters, Part, PatientText, Waveform
from hub.errors import HubError

_MV_PER_UNIT = {"uvperlsb": 1e-3, "mvperlsb": 1.0}
_RHYTHMS = ("StripData", "ArrhythmiaData")
_MEASUREMENTS = "RestingECGMeasurements"
_NAMES = {
    "VentricularRate": "hr_bpm",
    "PQInterval": "pr_ms",
    "PDuration": "p_ms",
    "QRSDuration": "qrs_ms",
    "QTInterval": "qt_ms",
    "QTCInterval": "qtc_ms",
    "RRInterval": "rr_mean_ms",
    "PAxis": "p_axis_deg",
    "RAxis": "qrs_axis_deg",
    "TAxis": "t_axis_deg",
    "POnset": "median_p_on_ms",
    "POffset": "median_p_off_ms",
    "QOnset": "median_qrs_on_ms",
    "QOffset": "median_qrs_off_ms",
    "TOffset": "median_t_off_ms",
}
_UNITS = {"bpm": "bpm", "ms": "ms", "degrees": "deg"}


def matches(data: bytes) -> bool:
    """Say whether the document element is CardiologyXML."""
    return root_of(data)[0] == "CardiologyXML"


def read_cardiosoft(data: bytes, *, charset_override: str | None = None) -> Waveform:
    """Read one CardioSoft export as calibrated millivolts.

    Parameters
    ----------
    data : bytes
        The XML file.
    charset_override : str, optional
        What this device is known to send, whatever the XML declares.

    Returns
    -------
    Waveform
        The longest strip; further strips and the median beat are in ``parts``. Full disclosure,
        whose order of samples is not public, is not read.

    Raises
    ------
    UnitsMissing
        The strip states no resolution, or not in uV or mV per unit.
    NoLeads, RateMissing, Truncated, RecordingTooLarge, Malformed
        As their names say.
    """
    document = parse_xml(data, charset_override=charset_override)
    root = document.root
    strips = [_block(one) for name in _RHYTHMS for one in root.all(name) if one.all("WaveformData")]
    if not strips:
        raise NoLeads("the file holds no strip")
    shown, others, unseen = longest_of(strips, "StripData")
    started_at = _began(root.find("ObservationDateTime"))
    return Waveform(
        samples_mv=shown.samples_mv,
        rate_hz=shown.rate_hz,
        leads=shown.leads,
        format="cardiosoft",
        started_at=started_at,
        started_at_source="ObservationDateTime" if started_at else "",
        lsb_mv=shown.lsb_mv,
        filters=_filters(root.find("FilterSetting")),
        patient=_patient(document),
        device=_device(document),
        device_measurements=_measurements(root.find(_MEASUREMENTS)),
        device_statements=_statements(document),
        parts=(*others, *_median(root.find(f"{_MEASUREMENTS}/MedianSamples"))),
        warnings=(*shown.warnings, *unseen),
    )


def _block(strip: Element) -> Block:
    rate_hz = rate_of(strip.find("SampleRate").text)
    resolution = strip.find("Resolution")
    lsb_mv = resolution_mv(resolution.text, _MV_PER_UNIT.get(resolution.get("units").lower()))
    declared = whole_number_of(strip.find("ChannelSampleCountTotal").text)
    columns = strip.all("WaveformData")
    check_size(1, len(columns), rate_hz)
    return block(
        [
            Lead(one.get("lead"), need_samples(listed_samples(one.text, comma=True), declared), lsb_mv)
            for one in columns
        ],
        rate_hz,
    )


def _median(samples: Element) -> tuple[Part, ...]:
    """Read the median beat; one that cannot be calibrated is left out, the rhythm is not."""
    if not samples:
        return ()
    try:
        beat = _block(samples)
    except HubError:
        return ()
    return (Part("median", "MedianSamples", beat.samples_mv, beat.rate_hz, beat.leads),)


def _began(moment: Element) -> datetime | None:
    parts = [moment.find(name).text for name in ("Year", "Month", "Day", "Hour", "Minute", "Second")]
    return moment_from(" ".join(parts), ("%Y %m %d %H %M %S",))


def _filters(setting: Element) -> Filters:
    notches = [hz for hz in (50.0, 60.0) if setting.find(f"Filter{hz:.0f}Hz").text.lower() == "yes"]
    low, high = setting.find("LowPass"), setting.find("HighPass")
    return Filters(
        high_pass_hz=number_of(high.text) or None if high.get("units") == "Hz" else None,
        low_pass_hz=number_of(low.text) or None if low.get("units") == "Hz" else None,
        notch_hz=notches[0] if notches else None,
    )


def _patient(document: Document) -> PatientText:
    about = document.root.find("PatientInfo")
    name, age, born = about.find("Name"), about.find("Age"), about.find("BirthDateTime")
    parts = [born.find(part).text for part in ("Year", "Month", "Day")]
    birth = moment_from(" ".join(parts), ("%Y %m %d",))
    local_id = document.read(about.find("PID").text)
    return PatientText(
        local_id=local_id,
        name=document.read(join_name(name.find("FamilyName").text, name.find("GivenName").text)),
        sex=document.read(about.find("Gender").text),
        birth_date=f"{birth:%Y%m%d}" if birth else document.read("-".join(filter(None, parts))),
        age=document.read(age_of(age.text, age.get("units"))),
        charset=document.charset,
        unsure=document.unsure,
    )


def _device(document: Document) -> str:
    about = document.root.find("ClinicalInfo/DeviceInfo")
    parts = [about.find(name).text for name in ("Desc", "SoftwareVer")]
    return " ".join(document.read(part) for part in parts if part)


def _measurements(holder: Element) -> tuple[DeviceMeasurement, ...]:
    found: list[DeviceMeasurement] = []
    for child in holder.children:
        name, unit = _NAMES.get(child.name, ""), _UNITS.get(child.get("units").lower(), "")
        if unit and name.endswith(f"_{unit}"):
            found += measured(name, child.text, unit)
    return tuple(found)


def _statements(document: Document) -> tuple[str, ...]:
    """Return the diagnosis of the program; the conclusion beside it may be a person's."""
    lines = document.root.all("Interpretation/Diagnosis/DiagnosisText")
    texts = (document.read(line.text) for line in lines)
    return tuple(dict.fromkeys(text for text in texts if text.strip("- ")))
