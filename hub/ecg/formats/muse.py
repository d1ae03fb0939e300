"""GE MUSE XML (document element RestingECG), as public readers of its exports describe it."""

import zlib
from collections.abc import Iterable
from datetime import datetime

from hub.ecg.errors import ChecksumWrong, FormatFeature, NoLeads, RateMissing
from hub.ecg.formats.xml import Document, Element, parse_xml, root_of
from hub.ecg.formats.xml_values import (
    Block,
    Lead,
    age_of,
    base64_bytes,
    block,
    day,
    int16_samples,
    join_name,
    longest_of,
    measured,
    moment_from,
    need_samples,
    number_of,
    rate_of,
    resolution_mv,
    whole_number_of,
)
from hub.ecg.limits import MAX_LEADS, check_size
from hub.ecg.waveform import DeviceMeasurement, Filters, Part, PatientText, Waveform
from hub.errors import HubError

_MV_PER_UNIT = {"MICROVOLTS": 1e-3, "MILLIVOLTS": 1.0}
_HIGH_PASS_HZ = 0.01
"""The high-pass filter is written in hundredths of a hertz: 16 is 0.16 Hz."""

_MAX_POWER = 6
_LINE_END = "ENDSLINE"
_DAYS = ("%m-%d-%Y", "%m/%d/%Y", "%Y-%m-%d", "%d-%b-%Y")
_NAMES = {
    "VentricularRate": ("hr_bpm", "bpm"),
    "PRInterval": ("pr_ms", "ms"),
    "QRSDuration": ("qrs_ms", "ms"),
    "QTInterval": ("qt_ms", "ms"),
    "QTCorrected": ("qtc_ms", "ms"),
    "QTcFrederica": ("qtc_fridericia_ms", "ms"),
    "PAxis": ("p_axis_deg", "deg"),
    "RAxis": ("qrs_axis_deg", "deg"),
    "TAxis": ("t_axis_deg", "deg"),
}
_BOUNDARIES = {
    "POnset": "median_p_on_ms",
    "POffset": "median_p_off_ms",
    "QOnset": "median_qrs_on_ms",
    "QOffset": "median_qrs_off_ms",
    "TOffset": "median_t_off_ms",
}


def matches(data: bytes) -> bool:
    """Say whether the document element is RestingECG."""
    return root_of(data)[0] == "RestingECG"


def read_muse(data: bytes, *, charset_override: str | None = None) -> Waveform:
    """Read one MUSE export as calibrated millivolts.

    Parameters
    ----------
    data : bytes
        The XML file.
    charset_override : str, optional
        What this device is known to send, whatever the XML declares.

    Returns
    -------
    Waveform
        The leads that are stored, usually eight: `Waveform.with_derived_limb_leads` gives twelve.
        Median beats are a part. Measurements and statements are the device's original ones where
        the file keeps them beside those that a person confirmed.

    Raises
    ------
    UnitsMissing
        A rhythm lead states no units per bit, or not in microvolts or millivolts.
    ChecksumWrong
        A rhythm lead does not have the CRC-32 that is stated for it.
    FormatFeature
        Samples are not of 16 bits.
    NoLeads, RateMissing, Truncated, RecordingTooLarge, Malformed
        As their names say.
    """
    document = parse_xml(data, charset_override=charset_override)
    root = document.root
    waveforms = root.all("Waveform")
    rhythms = [one for one in waveforms if one.find("WaveformType").text.lower() in {"rhythm", ""}]
    if not rhythms:
        raise NoLeads("the file holds no rhythm")
    blocks = [_block(one) for one in rhythms]
    shown, others, unseen = longest_of(blocks, "Rhythm")
    main = next(one for one, each in zip(rhythms, blocks, strict=True) if each is shown)
    started_at = _began(root)
    return Waveform(
        samples_mv=shown.samples_mv,
        rate_hz=shown.rate_hz,
        leads=shown.leads,
        format="muse",
        started_at=started_at,
        started_at_source="AcquisitionDate AcquisitionTime" if started_at else "",
        lsb_mv=shown.lsb_mv,
        filters=_filters(main),
        patient=_patient(document),
        device=_device(document),
        device_measurements=_measurements(root),
        device_statements=_statements(document),
        parts=(*others, *_medians(one for one in waveforms if one not in rhythms)),
        warnings=(*shown.warnings, *_warnings(main), *unseen),
    )


def _block(waveform: Element) -> Block:
    rate_hz = _rate(waveform.find("SampleBase"), waveform.find("SampleExponent"))
    leads = waveform.all("LeadData")
    check_size(1, len(leads), rate_hz)
    return block([_lead(one) for one in leads[: MAX_LEADS + 1]], rate_hz)


def _rate(base: Element, exponent: Element) -> float:
    """Return base * 10 ^ exponent."""
    power = whole_number_of(exponent.text or "0")
    if power is None or abs(power) > _MAX_POWER:
        raise RateMissing
    return rate_of(base.text) * 10.0**power


def _lead(one: Element) -> Lead:
    lsb_mv = resolution_mv(
        one.find("LeadAmplitudeUnitsPerBit").text,
        _MV_PER_UNIT.get(one.find("LeadAmplitudeUnits").text.upper()),
    )
    if (one.find("LeadSampleSize").text or "2") != "2":
        raise FormatFeature("only 16-bit samples are read", feature="sample size")
    payload = base64_bytes(one.find("WaveFormData").text)
    checksum = whole_number_of(one.find("LeadDataCRC32").text)
    if checksum is not None and checksum != zlib.crc32(payload):
        raise ChecksumWrong(stated=checksum, computed=zlib.crc32(payload))
    declared = whole_number_of(one.find("LeadSampleCountTotal").text)
    return Lead(one.find("LeadID").text, need_samples(int16_samples(payload), declared), lsb_mv)


def _medians(waveforms: Iterable[Element]) -> list[Part]:
    """Read median beats; one that cannot be calibrated is left out, the rhythm is not."""
    parts = []
    for one in waveforms:
        try:
            beat = _block(one)
        except HubError:
            continue
        parts.append(Part("median", "Median", beat.samples_mv, beat.rate_hz, beat.leads))
    return parts


def _warnings(main: Element) -> list[str]:
    """Return what the rhythm's leads say of themselves beside their samples."""
    leads = main.all("LeadData")
    found = []
    if any(one.find("LeadOff").text.upper() == "TRUE" for one in leads):
        found.append("lead_off_by_device")
    # Neither field is described in public: some readers add the first to the samples, others do not.
    if any(number_of(one.find("FirstSampleBaseline").text) for one in leads):
        found.append("offset_not_applied")
    if any(
        number_of(one.find(name).text)
        for one in leads
        for name in ("LeadOffsetFirstSample", "LeadTimeOffset")
    ):
        found.append("channel_skew")
    return found


def _began(root: Element) -> datetime | None:
    test = root.find("TestDemographics")
    text = f"{test.find('AcquisitionDate').text} {test.find('AcquisitionTime').text}"
    return moment_from(text, [f"{date} {time}" for date in _DAYS for time in ("%H:%M:%S", "%H:%M")])


def _filters(main: Element) -> Filters:
    high_pass = number_of(main.find("HighPassFilter").text)
    notch = [number_of(one.text) for one in main.all("ACFilter")]
    return Filters(
        high_pass_hz=high_pass * _HIGH_PASS_HZ if high_pass else None,
        low_pass_hz=number_of(main.find("LowPassFilter").text) or None,
        notch_hz=next((value for value in notch if value), None),
    )


def _patient(document: Document) -> PatientText:
    about = document.root.find("PatientDemographics")
    name = join_name(about.find("PatientLastName").text, about.find("PatientFirstName").text)
    local_id = document.read(about.find("PatientID").text)
    return PatientText(
        local_id=local_id,
        name=document.read(name),
        sex=document.read(about.find("Gender").text),
        birth_date=document.read(day(about.find("DateofBirth").text, _DAYS)),
        age=document.read(age_of(about.find("PatientAge").text, about.find("AgeUnits").text)),
        charset=document.charset,
        unsure=document.unsure,
    )


def _device(document: Document) -> str:
    test = document.root.find("TestDemographics")
    parts = [test.find(name).text for name in ("AcquisitionDevice", "AcquisitionSoftwareVersion")]
    return " ".join(document.read(part) for part in parts if part)


def _measurements(root: Element) -> tuple[DeviceMeasurement, ...]:
    """Return the original measurements; wave boundaries are samples of the median beat, given here in ms."""
    holder = root.find("OriginalRestingECGMeasurements") or root.find("RestingECGMeasurements")
    found: list[DeviceMeasurement] = []
    try:
        step_ms = 1000.0 / _rate(holder.find("ECGSampleBase"), holder.find("ECGSampleExponent"))
    except RateMissing:
        step_ms = 0.0
    for child in holder.children:
        if child.name in _NAMES:
            found += measured(_NAMES[child.name][0], child.text, _NAMES[child.name][1])
        elif child.name in _BOUNDARIES and step_ms:
            found += measured(_BOUNDARIES[child.name], child.text, "ms", factor=step_ms)
    return (*found, *measured("rr_mean_ms", root.find("QRSTimesTypes/GlobalRR").text, "ms"))


def _statements(document: Document) -> tuple[str, ...]:
    """Return the original statements, their fragments joined up to each end of a line."""
    holder = document.root.find("OriginalDiagnosis") or document.root.find("Diagnosis")
    fragments = [
        (
            document.read(one.find("StmtText").text),
            any(flag.text == _LINE_END for flag in one.all("StmtFlag")),
        )
        for one in holder.all("DiagnosisStatement")
    ]
    in_lines = any(ends for _, ends in fragments)
    lines: list[str] = []
    line: list[str] = []
    for text, ends in fragments:
        line += [text] if text else []
        if line and (ends or not in_lines):
            lines.append(" ".join(line))
            line = []
    lines += [" ".join(line)] if line else []
    return tuple(dict.fromkeys(lines))
