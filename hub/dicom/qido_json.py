"""Answers of QIDO-RS out of the index, as DICOM JSON (PS3.18 section 10.6.3 and annex F)."""

from functools import lru_cache
from typing import Any

from hub.catalogue.models import Instance, Series, Study
from hub.kit.text import person_name

Json = dict[str, Any]


def study_json(root: str, study: Study, modalities: list[str]) -> Json:
    """Return the attributes of PS3.18 Table 10.6.3-3, and the others of the study level in the index.

    Parameters
    ----------
    root : str
        Address of the service, without a trailing slash.
    modalities : list of str
        Of the study's series.
    """
    return {
        "00080005": _element("CS", "ISO_IR 192"),
        "00080020": _element("DA", study.study_date),
        "00080030": _element("TM", study.study_time),
        "00080050": _element("SH", study.accession),
        "00080056": _element("CS", "ONLINE"),
        "00080061": _element("CS", *modalities),
        "00080090": _name(study.referring_name),
        "00081030": _element("LO", study.description),
        "00081190": _element("UR", study_url(root, study)),
        "00100010": patient_name(study),
        "00100020": _element("LO", study.local_id),
        "00100030": _element("DA", study.birth_date),
        "00100040": _element("CS", study.sex),
        "0020000D": _element("UI", study.study_uid),
        "00200010": _element("SH", study.study_number),
        "00201206": _element("IS", study.n_series),
        "00201208": _element("IS", study.n_instances),
    }


def series_json(root: str, study: Study, series: Series) -> Json:
    """Return the attributes of PS3.18 Table 10.6.3-4 that are known."""
    found = {
        "00080005": _element("CS", "ISO_IR 192"),
        "00080060": _element("CS", series.modality),
        "0008103E": _element("LO", series.description),
        "00081190": _element("UR", f"{study_url(root, study)}/series/{series.series_uid}"),
        "00180015": _element("CS", series.body_part),
        "0020000D": _element("UI", study.study_uid),
        "0020000E": _element("UI", series.series_uid),
        "00200011": _element("IS", series.number),
        "00201209": _element("IS", series.n_instances),
        "00400244": _element("DA", series.performed_date),
        "00400245": _element("TM", series.performed_time),
    }
    if series.step_id or series.procedure_id:
        request = {
            "00400009": _element("SH", series.step_id),
            "00401001": _element("SH", series.procedure_id),
        }
        found["00400275"] = {"vr": "SQ", "Value": [request]}
    return found


def instance_json(root: str, study: Study, series: Series, instance: Instance) -> Json:
    """Return the attributes of PS3.18 Table 10.6.3-5 that are known."""
    found = {
        "00080005": _element("CS", "ISO_IR 192"),
        "00080016": _element("UI", instance.sop_class),
        "00080018": _element("UI", instance.sop_uid),
        "00080056": _element("CS", "ONLINE"),
        "00081190": _element("UR", instance_url(root, study, series, instance)),
        "00083002": _element("UI", instance.transfer_syntax),
        "0020000D": _element("UI", study.study_uid),
        "0020000E": _element("UI", series.series_uid),
        "00200013": _element("IS", instance.number),
    }
    if instance.rows and instance.columns:
        found["00280008"] = _element("IS", instance.frames)
        found["00280010"] = _element("US", instance.rows)
        found["00280011"] = _element("US", instance.columns)
    return found


def study_url(root: str, study: Study) -> str:
    """Return the address of a study; with its site, so that it is right whoever else has the UID."""
    return f"{root}/sites/{study.site_id}/studies/{study.study_uid}"


def instance_url(root: str, study: Study, series: Series, instance: Instance) -> str:
    """Return the address of an instance."""
    return f"{study_url(root, study)}/series/{series.series_uid}/instances/{instance.sop_uid}"


def patient_name(study: Study) -> Json:
    """Return the patient's name in its component groups, as far as they are still what is shown.

    A name that a person has corrected is shown as corrected, whatever the objects say.
    """
    if study.name_raw:
        groups = _groups(study.name_raw, study.declared_charset, study.name_charset)
        if groups.pop("display") == study.patient_name:
            return {"vr": "PN", "Value": [groups]}
    return _name(study.patient_name)


@lru_cache(maxsize=4096)
def _read(raw: bytes, declared: str, used: str) -> tuple[tuple[str, str], ...]:
    name = person_name(raw, declared, used or None)
    groups = {
        "Alphabetic": name.alphabetic,
        "Ideographic": name.ideographic,
        "Phonetic": name.phonetic,
        "display": name.display,
    }
    return tuple((group, text) for group, text in groups.items() if text or group == "display")


def _groups(raw: bytes, declared: str, used: str) -> dict[str, str]:
    return dict(_read(raw, declared, used))


def _name(text: str) -> Json:
    return {"vr": "PN", "Value": [{"Alphabetic": text}]} if text else {"vr": "PN"}


def _element(vr: str, *values: Any) -> Json:
    """Return one element of DICOM JSON; a value that is not known is left out (PS3.18 section F.2.5)."""
    present = [value for value in values if value is not None and value != ""]
    return {"vr": vr, "Value": present} if present else {"vr": vr}
