"""Mortara (Welch Allyn, Hillrom) ELI XML; no specification is public, this is what its readers agree on.

Tested with files made for it only: none that a device wrote may be passed on.
"""

from hub.ecg.errors import FormatFeature, NoLeads, Truncated, UnitsMissing
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
    measured,
    moment_from_digits,
    number_of,
    rate_of,
    whole_number_of,
)
from hub.ecg.limits import check_size
from hub.ecg.waveform import DeviceMeasurement, Filters, Part, PatientText, Waveform
from hub.errors import HubError

_ENCODING = {"BITS": "16", "FORMAT": "SIGNED", "ENCODING": "BASE64"}
_OF_THE_ROOT = {"VENT_RATE": ("hr_bpm", "bpm"), "AVERAGE_RR": ("rr_mean_ms", "ms")}
_OF_THE_CYCLE = {
    "P_DURATION": ("p_ms", "ms"),
    "PR_DURATION": ("pr_ms", "ms"),
    "QRS_DURATION": ("qrs_ms", "ms"),
    "QT": ("qt_ms", "ms"),
    "QTC": ("qtc_ms", "ms"),
    "QTB": ("qtc_bazett_ms", "ms"),
    "QTF": ("qtc_fridericia_ms", "ms"),
    "P_AXIS": ("p_axis_deg", "deg"),
    "QRS_AXIS": ("qrs_axis_deg", "deg"),
    "T_AXIS": ("t_axis_deg", "deg"),
}


def matches(data: bytes) -> bool:
    """Say whether the document element is ECG with an ACQUISITION_TIME."""
    name, attributes = root_of(data)
    return name == "ECG" and "ACQUISITION_TIME" in attributes


def read_mortara(data: bytes, *, charset_override: str | None = None) -> Waveform:
    """Read one ELI export as calibrated millivolts.

    Parameters
    ----------
    data : bytes
        The XML file.
    charset_override : str, optional
        What this device is known to send, whatever the XML declares.

    Returns
    -------
    Waveform
        All channels. The typical cycle is a part of kind ``"median"`` if it states its own rate and
        units per millivolt. A stated offset, which readers treat in two ways, is not applied
        (``offset_not_applied``).

    Raises
    ------
    FormatFeature
        The samples are not stated to be signed, of 16 bits, in base64.
    UnitsMissing
        A channel states no units per millivolt.
    NoLeads, RateMissing, Truncated, RecordingTooLarge, Malformed
        As their names say.
    """
    document = parse_xml(data, charset_override=charset_override)
    root = document.root
    channels = root.all("CHANNEL")
    if not channels:
        raise NoLeads("the file holds no channel")
    shown = _block(channels, None)
    started_at = moment_from_digits(root.get("ACQUISITION_TIME"))
    source = root.find("SOURCE")
    offset = any(number_of(one.get("OFFSET")) for one in channels)
    return Waveform(
        samples_mv=shown.samples_mv,
        rate_hz=shown.rate_hz,
        leads=shown.leads,
        format="mortara",
        started_at=started_at,
        started_at_source="ACQUISITION_TIME" if started_at else "",
        lsb_mv=shown.lsb_mv,
        filters=Filters(low_pass_hz=number_of(source.get("LOW_PASS_FILTER")) or None),
        patient=_patient(document),
        device=_device(document, source),
        device_measurements=_measurements(root),
        device_statements=_statements(document),
        parts=_median(root.find("TYPICAL_CYCLE")),
        warnings=(*shown.warnings, *(("offset_not_applied",) if offset else ())),
    )


def _block(channels: list[Element], common: Element | None) -> Block:
    """Read channels; `common` states rate, units and encoding for all of them where they do not."""
    rates = {rate_of((common or one).get("SAMPLE_FREQ")) for one in channels}
    if len(rates) > 1:
        raise FormatFeature("leads of different rates are not read", feature="several sampling rates")
    rate_hz = rates.pop()
    check_size(1, len(channels), rate_hz)
    return block([_lead(one, common or one, rate_hz) for one in channels], rate_hz)


def _lead(one: Element, about: Element, rate_hz: float) -> Lead:
    if any(about.get(name).upper() != wanted for name, wanted in _ENCODING.items()):
        raise FormatFeature("the encoding of the samples is not read", feature="sample encoding")
    per_mv = number_of(about.get("UNITS_PER_MV"))
    if per_mv is None or per_mv <= 0:
        raise UnitsMissing("a channel states no units per millivolt")
    stored = int16_samples(base64_bytes(one.get("DATA") or one.text))
    declared = whole_number_of(one.get("DURATION"))
    # Written as a number of samples; at 1000 Hz that is the same as milliseconds.
    if declared is not None and declared not in {len(stored), round(len(stored) * 1000 / rate_hz)}:
        raise Truncated(needed_samples=declared, present_samples=len(stored))
    return Lead(one.get("NAME"), stored, 1.0 / per_mv)


def _median(cycle: Element) -> tuple[Part, ...]:
    """Read the typical cycle; one that cannot be calibrated is left out, the rhythm is not."""
    channels = cycle.all("TYPICAL_CYCLE_CHANNEL")
    if not channels:
        return ()
    try:
        beat = _block(channels, cycle)
    except HubError:
        return ()
    return (Part("median", "TYPICAL_CYCLE", beat.samples_mv, beat.rate_hz, beat.leads),)


def _patient(document: Document) -> PatientText:
    root = document.root
    about = root.find("SUBJECT")
    local_id = document.read(about.get("ID") or about.get("LOCAL_ID"))
    born = about.get("DOB_XML") or about.get("DOB")
    return PatientText(
        local_id=local_id,
        name=document.read(join_name(about.get("LAST_NAME"), about.get("FIRST_NAME"))),
        sex=document.read(about.get("GENDER")),
        birth_date=document.read(day(born, ("%Y-%m-%d", "%Y%m%d"))),
        age=document.read(age_of(root.get("AGE"), root.get("AGE_UNITS"))),
        charset=document.charset,
        unsure=document.unsure,
    )


def _device(document: Document, source: Element) -> str:
    parts = [source.get(name) for name in ("MANUFACTURER", "MODEL", "ACQUIRING_DEVICE_SW_VERSION")]
    return " ".join(document.read(part) for part in parts if part)


def _measurements(root: Element) -> tuple[DeviceMeasurement, ...]:
    cycle = root.find("TYPICAL_CYCLE")
    found: list[DeviceMeasurement] = []
    for holder, names in ((root, _OF_THE_ROOT), (cycle, _OF_THE_CYCLE)):
        for attribute, (name, unit) in names.items():
            found += measured(name, holder.get(attribute), unit)
    return tuple(found)


def _statements(document: Document) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for one in document.root.all("AUTOMATIC_INTERPRETATION/STATEMENT"):
        words, reason = one.get("TEXT") or one.text, one.get("REASON")
        text = document.read(f"{words} ({reason})" if words and reason else words)
        found |= {text: None} if text else {}
    return tuple(found)
