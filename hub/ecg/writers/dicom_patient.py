"""Who a recording is of, in the form that DICOM wants; what has no such form is refused or left out."""

import re
from datetime import datetime
from typing import TYPE_CHECKING

from hub.ecg.errors import CannotHold
from hub.ecg.waveform import PatientText

if TYPE_CHECKING:
    from pydicom import Dataset

_MAX_TEXT = 64
_SEXES = {
    **dict.fromkeys(("m", "male", "男"), "M"),
    **dict.fromkeys(("f", "female", "女"), "F"),
    **dict.fromkeys(("o", "other"), "O"),
}
_AGE = re.compile(r"^0*(\d{1,3})\s*(?:y|years?|岁)?$", re.IGNORECASE)
_DICOM_AGE = re.compile(r"^\d{3}[DWMY]$")


def add_patient(ds: "Dataset", patient: PatientText) -> None:
    """Write the Patient module (PS3.3 C.7.1.1) and the age.

    Raises
    ------
    CannotHold
        With reason ``text`` for a name or id that is longer than 64 characters: a cut one would
        be another patient's.
    """
    ds.PatientName = _text(patient.name)
    ds.PatientID = _text(patient.local_id)
    ds.PatientBirthDate = _date(patient.birth_date)
    ds.PatientSex = _SEXES.get(patient.sex.strip().casefold(), "")
    age = _age(patient.age.strip())
    if age:
        ds.PatientAge = age


def _text(value: str) -> str:
    kept = "".join(c for c in value if c.isprintable()).replace("\\", "/").strip()
    if any(len(part) > _MAX_TEXT for part in kept.split("=")):
        raise CannotHold(reason="text")
    return kept


def _date(value: str) -> str:
    digits = value.strip().replace("-", "").replace("/", "").replace(".", "")
    try:
        return datetime.strptime(digits, "%Y%m%d").strftime("%Y%m%d").zfill(8)  # noqa: DTZ007 - a day has no zone
    except ValueError:
        return ""


def _age(value: str) -> str:
    if _DICOM_AGE.match(value):
        return value
    found = _AGE.match(value)
    return f"{int(found[1]):03d}Y" if found else ""
