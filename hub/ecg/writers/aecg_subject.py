"""Whose ECG it is, in an aECG."""

import re

from hub.ecg.waveform import PatientText
from hub.ecg.writers.aecg_elements import GENDER, LOINC, code, coded, pq, tag

_REPORTED_AGE = "21612-7"
_AGE = re.compile(r"0*(\d{1,3}) ?([YMWD]?)")
_AGE_UNITS = {"": "a", "Y": "a", "M": "mo", "W": "wk", "D": "d"}
_DAY = re.compile(r"\d{8}")


def subject(patient: PatientText) -> str:
    """Return the subject of a trial that is none: aECG has no other place for a patient."""
    local_id = {"extension": patient.local_id} if patient.local_id else {"nullFlavor": "UNK"}
    person = "".join((_name(patient.name), _gender(patient.sex), _birth(patient.birth_date)))
    demographics = tag("subjectDemographicPerson", {}, person) if person else ""
    inside = tag("subject", {}, tag("trialSubject", {}, tag("id", local_id), demographics))
    trial = tag("componentOf", {}, tag("clinicalTrial", {}, tag("id", {"nullFlavor": "NA"})))
    assignment = tag("componentOf", {}, tag("subjectAssignment", {}, inside, trial))
    return tag("componentOf", {}, tag("timepointEvent", {}, assignment))


def age(patient: PatientText) -> str:
    """Return the age as it was reported, where it is a number with a usual unit."""
    found = _AGE.fullmatch(patient.age.strip().upper())
    if not found:
        return ""
    value = tag("value", {"xsi:type": "PQ", **pq(int(found[1]), _AGE_UNITS[found[2]])})
    observation = tag("relatedObservation", {}, code(_REPORTED_AGE, *LOINC), value)
    return tag("controlVariable", {}, observation)


def _name(name: str) -> str:
    """Return a name; of DICOM's groups the ideographic one where there is one."""
    groups = [group.strip() for group in name.split("=")]
    chosen = next((group for group in (*groups[1:2], groups[0]) if group.strip("^ ")), "")
    family, caret, given = chosen.partition("^")
    if not caret:
        return tag("name", text=chosen) if chosen else ""
    parts = (tag("family", text=family), tag("given", text=" ".join(filter(None, given.split("^")))))
    return tag("name", {}, *parts)


def _gender(sex: str) -> str:
    if not sex.strip():
        return ""
    letter = sex.strip().upper()[0]
    known = {"M": "M", "F": "F", "男": "M", "女": "F"}.get(letter, "UN")
    return tag("administrativeGenderCode", coded(known, *GENDER))


def _birth(date: str) -> str:
    return tag("birthTime", {"value": date}) if _DAY.fullmatch(date) else ""
