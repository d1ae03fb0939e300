"""HL7 Annotated ECG, "FDA XML" (ANSI/HL7 V3 ECG R1-2004, PORT_MT020001; guide of 2005-03-21)."""

from datetime import datetime
from typing import Literal

import numpy as np

from hub.ecg.errors import FormatFeature, NoLeads, RateMissing, RecordingTooLarge, UnitsMissing
from hub.ecg.formats.aecg_annotations import measurements, statements
from hub.ecg.formats.aecg_join import Strip, join
from hub.ecg.formats.channels import MV_PER_UNIT
from hub.ecg.formats.xml import Document, Element, parse_xml, root_of
from hub.ecg.formats.xml_values import (
    Lead,
    age_of,
    block,
    join_name,
    listed_samples,
    moment_from_digits,
    number_of,
    rate_from_interval,
    resolution_mv,
)
from hub.ecg.limits import check_size
from hub.ecg.waveform import Filters, Part, PatientText, Waveform
from hub.errors import HubError

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
_LEAD = "_ECG_LEAD_"
_ODD_LEADS = {"AVRNEG": "-aVR"}
_MEDIAN = "REPRESENTATIVE_BEAT"
_SUBJECT = "componentOf/timepointEvent/componentOf/subjectAssignment/subject/trialSubject"
_REPORTED_AGE = "21612-7"
"""LOINC, as in the HL7 sample file."""
_MAX_SETS = 256
_FILTER = "MDC_ECG_CTL_VBL_ATTR_FILTER_"


def matches(data: bytes) -> bool:
    """Say whether the document element is AnnotatedECG."""
    return root_of(data)[0] == "AnnotatedECG"


def read_aecg(data: bytes, *, charset_override: str | None = None) -> Waveform:
    """Read one annotated ECG as calibrated millivolts.

    Parameters
    ----------
    data : bytes
        The XML file.
    charset_override : str, optional
        What this device is known to send, whatever the XML declares.

    Returns
    -------
    Waveform
        The longest rhythm sequence set, joined with sets of the same rate that say when they begin
        beside, before or after it (``leads_sequential``; NaN where a lead was not recorded). Others
        are in ``parts``, representative beats as kind ``"median"``; ``leads_in_other_groups`` warns
        when rhythm among them holds leads that are not shown.

    Raises
    ------
    UnitsMissing
        Scale or origin of a lead states no voltage. ``SLIST_INT`` has no units at all.
    RateMissing
        The time sequence states no increment, or not in s, ms or us.
    FormatFeature
        The sampling is uneven.
    NoLeads, Truncated, RecordingTooLarge, Malformed
        As their names say.

    Notes
    -----
    ``value = origin + scale * digit``; origin and scale are per lead and may differ in unit.
    Whatever its ``xsi:type`` says, a sequence is read by what it holds: head and increment, or
    digits.
    """
    document = parse_xml(data, charset_override=charset_override)
    root = document.root
    series = root.all("component/series")
    derived = [one for parent in series for one in parent.all("derivation/derivedSeries")]
    declared = sum(len(one.all("component/sequenceSet")) for one in (*series, *derived))
    if declared > _MAX_SETS:
        raise RecordingTooLarge(limit="sequence sets", declared=declared)
    strips = [strip for one in (*series, *derived) for strip in _strips(one)]
    rhythms = [strip for strip in strips if strip.kind == "rhythm"]
    if not rhythms:
        raise NoLeads("the file holds no rhythm")
    longest = max(rhythms, key=lambda strip: strip.block.seconds)
    main, others = join(longest, [strip for strip in strips if strip is not longest])
    shown = main.block
    unseen = {lead for strip in others if strip.kind == "rhythm" for lead in strip.block.leads}
    warnings = shown.warnings + (("leads_in_other_groups",) if unseen - set(shown.leads) else ())
    started_at, source = _began(root, main)
    return Waveform(
        samples_mv=shown.samples_mv,
        rate_hz=shown.rate_hz,
        leads=shown.leads,
        format="aecg",
        started_at=started_at,
        started_at_source=source,
        lsb_mv=shown.lsb_mv,
        filters=_filters(main.series),
        patient=_patient(document),
        device=_device(document, main.series),
        device_measurements=measurements([*series, *derived]),
        device_statements=statements(document, [*series, *derived]),
        parts=tuple(_part(document, strip) for strip in others),
        warnings=warnings,
    )


def _strips(series: Element) -> list[Strip]:
    """Read the sequence sets of one series. A representative beat that cannot be read is left out."""
    median = series.find("code").get("code").upper() == _MEDIAN or series.name == "derivedSeries"
    found = []
    for group in series.all("component/sequenceSet"):
        try:
            strip = _strip(group, series, "median" if median else "rhythm")
        except HubError:
            if not median:
                raise
            continue
        found += [strip] if strip else []
    return found


def _strip(group: Element, series: Element, kind: Literal["median", "rhythm"]) -> Strip | None:
    sequences = group.all("component/sequence")
    leads = [one for one in sequences if _LEAD in one.find("code").get("code").upper()]
    if not leads:
        return None
    check_size(1, len(leads), 1.0)
    times = [one for one in sequences if one.find("code").get("code").upper().startswith("TIME_")]
    if not times:
        raise RateMissing
    time = times[0].find("value")
    rate_hz = _rate(time)
    head = time.find("head")
    absolute = times[0].find("code").get("code").upper() == "TIME_ABSOLUTE"
    seconds = number_of(head.get("value"))
    unit = _SECONDS.get(head.get("unit"))
    return Strip(
        kind,
        series,
        block([_lead(one) for one in leads], rate_hz),
        began_at=moment_from_digits(head.get("value")) if absolute else None,
        offset_s=None if absolute or seconds is None or unit is None else seconds * unit,
    )


def _rate(time: Element) -> float:
    """Return the rate of a GLIST (head, increment), or of a SLIST whose digits are evenly spaced."""
    step = time.find("increment")
    digits = time.find("digits").text
    if not step and digits:
        moments = listed_samples(digits)
        steps = np.unique(np.diff(moments))
        if len(steps) != 1:
            raise FormatFeature("the sampling is uneven", feature="uneven sampling")
        step, count = time.find("scale"), float(steps[0])
    else:
        count = 1.0
    value = number_of(step.get("value"))
    unit = _SECONDS.get(step.get("unit"))
    if value is None or unit is None:
        raise RateMissing
    return rate_from_interval(value * count * unit)


def _lead(sequence: Element) -> Lead:
    code = sequence.find("code").get("code").upper()
    name = code[code.index(_LEAD) + len(_LEAD) :]
    value = sequence.find("value")
    scale, origin = value.find("scale"), value.find("origin")
    lsb_mv = resolution_mv(scale.get("value"), MV_PER_UNIT.get(scale.get("unit")))
    zero = number_of(origin.get("value")) if origin.get("value") else 0.0
    unit_mv = MV_PER_UNIT.get(origin.get("unit")) if zero else 0.0
    if zero is None or unit_mv is None:
        raise UnitsMissing("the origin of a lead states no voltage")
    digits = value.find("digits").text
    return Lead(_ODD_LEADS.get(name, name), listed_samples(digits), lsb_mv, zero * unit_mv)


def _part(document: Document, strip: Strip) -> Part:
    label = document.read(strip.series.find("code").get("code"))[:32] or strip.kind
    return Part(strip.kind, label, strip.block.samples_mv, strip.block.rate_hz, strip.block.leads)


def _began(root: Element, main: Strip) -> tuple[datetime | None, str]:
    """Return when the first sample was taken: by its own time, its series, or the whole document."""
    series, whole = main.series.find("effectiveTime"), root.find("effectiveTime")
    written = (
        (main.began_at, "sequence TIME_ABSOLUTE"),
        (moment_from_digits(series.find("low").get("value")), "series effectiveTime low"),
        (moment_from_digits(whole.find("low").get("value")), "effectiveTime low"),
        (moment_from_digits(whole.find("center").get("value")), "effectiveTime center"),
        (moment_from_digits(whole.get("value")), "effectiveTime"),
    )
    return next((pair for pair in written if pair[0] is not None), (None, ""))


def _filters(series: Element) -> Filters:
    found: dict[str, float | None] = {}
    for one in series.all("controlVariable/controlVariable"):
        kind = one.find("code").get("code").upper().removeprefix(_FILTER)
        for setting in one.all("component/controlVariable"):
            value = setting.find("value")
            if setting.find("code").get("code").upper().endswith("_FREQ") and value.get("unit") in {"Hz", ""}:
                found[kind] = number_of(value.get("value")) or None
    return Filters(found.get("HIGH_PASS"), found.get("LOW_PASS"), found.get("NOTCH"))


def _device(document: Document, series: Element) -> str:
    author = series.find("author/seriesAuthor")
    device = author.find("manufacturedSeriesDevice")
    parts = (
        author.find("manufacturerOrganization/name").text,
        device.find("manufacturerModelName").text,
        device.find("softwareName").text,
    )
    return " ".join(document.read(part) for part in parts if part)


def _patient(document: Document) -> PatientText:
    subject = document.root.find(_SUBJECT)
    person = subject.find("subjectDemographicPerson")
    name = person.find("name")
    family, given = (" ".join(part.text for part in name.all(kind)) for kind in ("family", "given"))
    ages = [
        one.find("value")
        for one in document.root.all("controlVariable/relatedObservation")
        if one.find("code").get("code") == _REPORTED_AGE
    ]
    age = age_of(ages[0].get("value"), ages[0].get("unit")) if ages else ""
    local_id = document.read(subject.find("id").get("extension"))
    return PatientText(
        local_id=local_id,
        name=document.read(join_name(family, given) or name.text),
        sex=document.read(person.find("administrativeGenderCode").get("code")),
        birth_date=document.read(person.find("birthTime").get("value")),
        age=document.read(age),
        charset=document.charset,
        unsure=document.unsure,
    )
