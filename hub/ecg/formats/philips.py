"""Philips (Sierra) ECG XML, versions 1.03 to 1.04.02, as public readers describe it."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import FormatFeature, NoLeads, Truncated
from hub.ecg.formats.philips_xli import with_limb_leads, xli_leads
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
    listed_samples,
    measured,
    moment_from,
    need_samples,
    number_of,
    rate_of,
    resolution_mv,
    whole_number_of,
)
from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.limits import check_size
from hub.ecg.waveform import DeviceMeasurement, Filters, Part, PatientText, Waveform
from hub.errors import HubError

_TYPES = {"SierraECG", "PhilipsECG"}
_VERSIONS = {"1.03", "1.04", "1.04.01", "1.04.02"}
_STANDARD_SETS = {"STD-12", "10-WIRE"}
_LIMB_LEADS = STANDARD_LEADS[:6]
_MV_PER_UNIT = 1e-3
"""Resolutions are in microvolts."""

_MAX_COMPRESSED_BYTES = 2 * 1024 * 1024
"""Eleven seconds take 24 kB; unfolding costs a second for this much."""

_PULSE_MV = 1.0
_PULSE_SECONDS = (0.05, 0.5)
_NAMES = {
    "heartrate": ("hr_bpm", "bpm"),
    "rrint": ("rr_mean_ms", "ms"),
    "pdur": ("p_ms", "ms"),
    "print": ("pr_ms", "ms"),
    "meanprint": ("pr_ms", "ms"),
    "qrsdur": ("qrs_ms", "ms"),
    "meanqrsdur": ("qrs_ms", "ms"),
    "qtint": ("qt_ms", "ms"),
    "meanqtint": ("qt_ms", "ms"),
    "meanqtc": ("qtc_ms", "ms"),
    "qtcb": ("qtc_bazett_ms", "ms"),
    "qtcf": ("qtc_fridericia_ms", "ms"),
    "pfrontaxis": ("p_axis_deg", "deg"),
    "qrsfrontaxis": ("qrs_axis_deg", "deg"),
    "tfrontaxis": ("t_axis_deg", "deg"),
}


def matches(data: bytes) -> bool:
    """Say whether the document element is restingecgdata."""
    return root_of(data)[0] == "restingecgdata"


def read_philips(data: bytes, *, charset_override: str | None = None) -> Waveform:
    """Read one Philips ECG as calibrated millivolts.

    Parameters
    ----------
    data : bytes
        The XML file.
    charset_override : str, optional
        What this device is known to send, whatever the XML declares.

    Returns
    -------
    Waveform
        The leads that are declared valid. A calibration pulse of 1 mV at the end, with the
        zeros around it, is cut off (``calibration_pulse_cut``). Representative beats that state
        their rate and resolution are a part of kind ``"median"``.

    Raises
    ------
    FormatFeature
        Another document type or version, compression or encoding.
    UnitsMissing, RateMissing, NoLeads, Truncated, RecordingTooLarge, Malformed
        As their names say.
    """
    document = parse_xml(data, charset_override=charset_override)
    root = document.root
    _check_version(document)
    acquisition = root.find("dataacquisition")
    signal = acquisition.find("signalcharacteristics")
    parsed = root.find("waveforms/parsedwaveforms")
    if not parsed:
        raise NoLeads("the file holds no parsed waveforms")
    shown = _rhythm(parsed, signal)
    offset_unclear = _stated(parsed, signal, "signaloffset") not in {"", "0"}
    end = calibration_begins(shown.samples_mv, shown.lsb_mv[0] or 0.0, shown.rate_hz)
    warnings = list(shown.warnings)
    warnings += ["calibration_pulse_cut"] if end is not None else []
    warnings += ["offset_not_applied"] if offset_unclear else []
    started_at = _began(acquisition)
    interpretations = root.all("interpretations/interpretation")
    return Waveform(
        samples_mv=shown.samples_mv[:end],
        rate_hz=shown.rate_hz,
        leads=shown.leads,
        format="philips",
        started_at=started_at,
        started_at_source="dataacquisition" if started_at else "",
        lsb_mv=shown.lsb_mv,
        filters=_filters(parsed, signal),
        patient=_patient(document),
        device=_device(document, acquisition),
        device_measurements=_measurements(root, interpretations),
        device_statements=_statements(document, interpretations),
        parts=_median(root.find("waveforms/repbeats")),
        warnings=tuple(warnings),
    )


def _check_version(document: Document) -> None:
    about = document.root.find("documentinfo")
    kind, version = about.find("documenttype").text, about.find("documentversion").text
    if kind not in _TYPES or version not in _VERSIONS:
        seen = document.read(f"{kind} {version}")[:32]
        raise FormatFeature("this version of the format is not read", feature=seen)


def _stated(parsed: Element, signal: Element, name: str) -> str:
    """Return what the waveform says of itself, else what was said of the acquisition."""
    return parsed.get(name) or signal.find(name).text


def _rhythm(parsed: Element, signal: Element) -> Block:
    rate_hz = rate_of(parsed.get("samplespersecond") or signal.find("samplingrate").text)
    milliseconds = number_of(parsed.get("durationperchannel"))
    if milliseconds is None or milliseconds <= 0:
        raise Truncated("the waveform does not state how long it is")
    names = _lead_names(parsed, signal)
    check_size(round(min(milliseconds, 1e12) * min(rate_hz, 1e9) / 1000), len(names), rate_hz)
    n_samples = round(milliseconds * rate_hz / 1000)
    lsb_mv = resolution_mv(
        parsed.get("resolution") or signal.find("resolution").text or signal.find("signalresolution").text,
        _MV_PER_UNIT,
    )
    if _stated(parsed, signal, "signalsigned").lower() == "false":
        raise FormatFeature("unsigned samples are not read", feature="unsigned samples")
    if (parsed.get("nbitspersample") or _stated(parsed, signal, "bitspersample") or "16") != "16":
        raise FormatFeature("only 16-bit samples are read", feature="bits per sample")
    valid = whole_number_of(signal.find("numberchannelsvalid").text)
    columns = _stored(parsed, names, n_samples)[: len(names) if valid is None else max(valid, 0)]
    return block([Lead(name, column, lsb_mv) for name, column in zip(names, columns, strict=False)], rate_hz)


def _lead_names(parsed: Element, signal: Element) -> list[str]:
    """Return one name for every stored lead, empty where nothing says what it is."""
    names = parsed.get("leadlabels").split()
    count = whole_number_of(parsed.get("numberofleads"))
    if count is None and not names:
        count = whole_number_of(signal.find("numberchannelsallocated").text)
    count = len(names) if count is None else count
    if count < 1:
        raise NoLeads("the waveform states no number of leads")
    sets = {signal.find("acquisitiontype").text, signal.find("leadset").text}
    if not names and sets & _STANDARD_SETS:
        names = list(STANDARD_LEADS)
    check_size(1, count, 1.0)
    return (names + [""] * count)[:count]


def _stored(parsed: Element, names: list[str], n_samples: int) -> list[NDArray[np.float64]]:
    """Return the stored samples of every lead."""
    method = parsed.get("compression") or parsed.get("compressmethod")
    compressed = parsed.get("compressflag").lower() != "false" and method.lower() not in {
        "",
        "none",
        "uncompressed",
    }
    encoding = parsed.get("dataencoding")
    if encoding not in {"Base64", "Plain"} or (compressed and (method != "XLI" or encoding != "Base64")):
        raise FormatFeature("the encoding of the waveform is not read", feature="waveform encoding")
    if compressed:
        data = base64_bytes(parsed.text)
        if len(data) > _MAX_COMPRESSED_BYTES:
            raise FormatFeature("so long a compressed waveform is not read", feature="long XLI waveform")
        unfolded = xli_leads(data, len(names), n_samples)
        if tuple(names[:6]) == _LIMB_LEADS:
            unfolded = with_limb_leads(unfolded)
        return [lead.astype(np.float64) for lead in unfolded]
    text = parsed.text
    values = int16_samples(base64_bytes(text)) if encoding == "Base64" else listed_samples(text)
    values = need_samples(values, len(names) * n_samples)
    return list(values.reshape(len(names), n_samples))


def calibration_begins(samples_mv: NDArray[np.float64], lsb_mv: float, rate_hz: float) -> int | None:
    """Return where the calibration at the end of a recording begins, None when there is none.

    Parameters
    ----------
    samples_mv : numpy.ndarray
        Shape ``(n_samples, n_leads)``.
    lsb_mv : float
        One stored unit, by which the pulse may miss 1 mV.
    rate_hz : float
        Samples per second.

    Returns
    -------
    int or None
        First sample of the zeros before the pulse. Only this shape counts: in every lead at the
        same time exactly zero, then 1 mV for 50 to 500 ms, then zero up to the end.
    """
    zero = np.all(samples_mv == 0, axis=1)
    high = np.all(np.abs(samples_mv - _PULSE_MV) <= abs(lsb_mv), axis=1)
    pulse_end = len(zero) - _run_at_end(zero)
    pulse = pulse_end - _run_at_end(high[:pulse_end])
    before = pulse - _run_at_end(zero[:pulse])
    shortest, longest = (seconds * rate_hz for seconds in _PULSE_SECONDS)
    whole = before < pulse and pulse_end < len(zero) and before > 0
    return before if whole and shortest <= pulse_end - pulse <= longest else None


def _run_at_end(flags: NDArray[np.bool_]) -> int:
    """Count how many hold without a gap up to the last one."""
    others = np.flatnonzero(~flags)
    return len(flags) - (int(others[-1]) + 1 if len(others) else 0)


def _median(beats: Element) -> tuple[Part, ...]:
    """Read representative beats; those that state no rate or resolution are left out."""
    encoding = beats.get("dataencoding")
    try:
        if beats.get("compression") or encoding not in {"Base64", "Plain"}:
            return ()
        rate_hz = rate_of(beats.get("samplespersec") or beats.get("samplespersecond"))
        lsb_mv = resolution_mv(beats.get("resolution"), _MV_PER_UNIT)
        beat = block([_beat(one, encoding, rate_hz, lsb_mv) for one in beats.all("repbeat")], rate_hz)
    except HubError:
        return ()
    return (Part("median", "repbeats", beat.samples_mv, rate_hz, beat.leads),)


def _beat(one: Element, encoding: str, rate_hz: float, lsb_mv: float) -> Lead:
    holder = one.find("waveform") or one
    text = holder.text
    stored = int16_samples(base64_bytes(text)) if encoding == "Base64" else listed_samples(text)
    milliseconds = number_of(holder.get("duration") or one.get("duration"))
    declared = None if milliseconds is None else round(min(milliseconds, 1e9) * min(rate_hz, 1e6) / 1000)
    return Lead(one.get("leadname"), need_samples(stored, declared), lsb_mv)


def _began(acquisition: Element) -> datetime | None:
    text = f"{acquisition.get('date')} {acquisition.get('time')}"
    return moment_from(text, ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"))


def _filters(parsed: Element, signal: Element) -> Filters:
    """Return the filters of the stored waveform; those of the printout are another matter."""
    low, _, high = signal.find("signalbandwidth").text.partition("-")
    high_pass = number_of(_stated(parsed, signal, "hipass") or low) or None
    low_pass = number_of(_stated(parsed, signal, "lowpass") or high) or None
    applied = _stated(parsed, signal, "notchfiltered").lower() == "true"
    notch = number_of(_stated(parsed, signal, "notchfilterfreqs")) if applied else None
    return Filters(high_pass, low_pass, notch or None)


def _device(document: Document, acquisition: Element) -> str:
    machine = acquisition.find("machine")
    maker, _, rest = machine.get("detaildescription").partition(":")
    version = rest.partition(":")[2]
    return " ".join(document.read(part) for part in (maker, machine.text, version) if part)


def _patient(document: Document) -> PatientText:
    about = document.root.find("patient/generalpatientdata")
    name = about.find("name")
    age = about.find("age")
    years = age.find("years").text
    local_id = document.read(about.find("patientid").text or about.find("MRN").text)
    return PatientText(
        local_id=local_id,
        name=document.read(
            join_name(name.find("lastname").text, name.find("firstname").text, name.find("middlename").text)
        ),
        sex=document.read(about.find("sex").text),
        birth_date=document.read(
            day(age.find("dateofbirth").text or about.find("dateofbirth").text, ("%Y-%m-%d",))
        ),
        age=document.read(age_of(years, "Y")),
        charset=document.charset,
        unsure=document.unsure,
    )


def _measurements(root: Element, interpretations: list[Element]) -> tuple[DeviceMeasurement, ...]:
    """Return global values; what a person has edited is not the device's."""
    holders = [
        one.find(name)
        for one in interpretations
        for name in ("interpretationmeasurements", "globalmeasurements")
    ]
    holders += [root.find("internalmeasurements/crossleadmeasurements")]
    found: dict[str, DeviceMeasurement] = {}
    for holder in holders:
        for child in holder.children:
            name, unit = _NAMES.get(child.name, ("", ""))
            if name and child.get("editedflag").lower() != "true":
                for each in measured(name, child.text, unit):
                    found.setdefault(name, each)
    return tuple(found.values())


def _statements(document: Document, interpretations: list[Element]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for one in interpretations:
        for statement in one.all("statement"):
            if statement.get("editedflag").lower() == "true":
                continue
            words, reason = statement.find("leftstatement").text, statement.find("rightstatement").text
            text = document.read(f"{words} ({reason})" if words and reason else words or reason)
            found |= {text: None} if text else {}
        severity = document.read(one.find("severity").text.strip("- "))
        found |= {severity: None} if severity else {}
    return tuple(found)
