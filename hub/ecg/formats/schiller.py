"""Schiller SEMA XML (document element ``...SchillerEDI``); not specified in public, read as others read it.

Tested with files made for it only: none that a device wrote may be passed on.
"""

from hub.ecg.errors import FormatFeature, NoLeads, RateMissing
from hub.ecg.formats.xml import Document, Element, parse_xml, root_of
from hub.ecg.formats.xml_values import (
    Block,
    Lead,
    block,
    day,
    join_name,
    listed_samples,
    longest_of,
    measured,
    moment_from_digits,
    need_samples,
    rate_of,
    resolution_mv,
    whole_number_of,
)
from hub.ecg.limits import check_size
from hub.ecg.waveform import DeviceMeasurement, Part, PatientText, Waveform
from hub.errors import HubError

_MV_PER_UNIT = {"uv": 1e-3, "mv": 1.0}
_RHYTHM = {"ECG_RHYTHM", "ECG_RHYTHMS"}
_MEDIAN = {"ECG_AVERAGES"}


def matches(data: bytes) -> bool:
    """Say whether the document element is SchillerEDI, with or without its Java package."""
    return root_of(data)[0].rpartition(".")[2] == "SchillerEDI"


def read_schiller(data: bytes, *, charset_override: str | None = None) -> Waveform:
    """Read one SEMA export as calibrated millivolts.

    Parameters
    ----------
    data : bytes
        The XML file.
    charset_override : str, optional
        What this device is known to send, whatever the XML declares.

    Returns
    -------
    Waveform
        The longest wave data of type ECG_RHYTHMS; ECG_AVERAGES are a part of kind ``"median"``.

    Raises
    ------
    FormatFeature
        Samples are not separated by commas, or the rate has an exponent other than 1.
    UnitsMissing
        The resolution is not stated in uV or mV per bit.
    NoLeads, RateMissing, Truncated, RecordingTooLarge, Malformed
        As their names say.
    """
    document = parse_xml(data, charset_override=charset_override)
    root = document.root
    waves = root.all("eventdata/event/wavedata")
    strips = [_block(one) for one in waves if one.find("type").text.upper() in _RHYTHM]
    if not strips:
        raise NoLeads("the file holds no rhythm")
    shown, others, unseen = longest_of(strips, "ECG_RHYTHMS")
    start = root.find("examdescript/startdatetime")
    started_at = moment_from_digits(start.find("date").text[:8] + start.find("time").text[:6])
    return Waveform(
        samples_mv=shown.samples_mv,
        rate_hz=shown.rate_hz,
        leads=shown.leads,
        format="schiller",
        started_at=started_at,
        started_at_source="startdatetime" if started_at else "",
        lsb_mv=shown.lsb_mv,
        patient=_patient(document),
        device=_device(document),
        device_measurements=_measurements(root),
        parts=(*others, *_medians(waves)),
        warnings=(*shown.warnings, *unseen),
    )


def _block(wave: Element) -> Block:
    resolution = wave.find("resolution")
    rate, step = resolution.find("samplerate"), resolution.find("yres")
    if not rate.find("exponent"):
        raise RateMissing
    if whole_number_of(rate.find("exponent").text) != 1:
        raise FormatFeature("what a rate's exponent means is not public", feature="exponent of the rate")
    rate_hz = rate_of(rate.find("value").text)
    lsb_mv = resolution_mv(step.find("unitperbit").text, _MV_PER_UNIT.get(step.find("units").text.lower()))
    channels = wave.all("channel")
    check_size(1, len(channels), rate_hz)
    return block([_lead(one, lsb_mv) for one in channels], rate_hz)


def _lead(channel: Element, lsb_mv: float) -> Lead:
    if channel.find("datastype").text.upper() != "COMMASEPARATE":
        raise FormatFeature("the encoding of the samples is not read", feature="sample encoding")
    stored = listed_samples(channel.find("data").text, comma=True)
    declared = whole_number_of(channel.find("samplecount").text)
    return Lead(channel.find("name").text, need_samples(stored, declared), lsb_mv)


def _medians(waves: list[Element]) -> list[Part]:
    """Read averages; what cannot be calibrated is left out, the rhythm is not."""
    parts = []
    for one in waves:
        if one.find("type").text.upper() not in _MEDIAN:
            continue
        try:
            beat = _block(one)
        except HubError:
            continue
        parts.append(Part("median", "ECG_AVERAGES", beat.samples_mv, beat.rate_hz, beat.leads))
    return parts


def _patient(document: Document) -> PatientText:
    about = document.root.find("patdata")
    local_id = document.read(about.find("id").text)
    return PatientText(
        local_id=local_id,
        name=document.read(join_name(about.find("lastname").text, about.find("firstname").text)),
        sex=document.read(about.find("gender").text),
        birth_date=document.read(day(about.find("birthdate").text, ("%Y%m%d", "%Y-%m-%d"))),
        charset=document.charset,
        unsure=document.unsure,
    )


def _device(document: Document) -> str:
    device = document.root.find("examdescript/aquiringdevice")
    parts = [device.find(path).text for path in ("hardware/vendor", "hardware/model", "software/version")]
    return " ".join(document.read(part) for part in parts if part)


def _measurements(root: Element) -> tuple[DeviceMeasurement, ...]:
    """Return the heart rate; the units of the other global values are not public."""
    for group in root.all("eventdata/event/annotation_global"):
        for name, value in zip(group.all("name"), group.all("value"), strict=False):
            if name.text == "HR":
                return measured("hr_bpm", value.text, "bpm")
    return ()
