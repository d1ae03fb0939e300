"""Making identities; comparing what two sources say of one person."""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.db.repository import insert_or_get
from hub.errors import Rejected
from hub.kit.people import comparable_name, same_script, sex_of_id_number, valid_id_number
from hub.patients.models import Patient

BIRTH_DATE = re.compile(r"(\d{4}(\d{2}(\d{2})?)?)?")
SEXES = ("M", "F", "O", "")
FULL_DATE = 8


class NameMissing(Rejected):
    """The patient's name is missing."""


class BadSex(Rejected):
    """Sex is M, F, O or empty."""


class BadBirthDate(Rejected):
    """A birth date is a day of the calendar, YYYYMMDD."""


class BadIdNumber(Rejected):
    """The identity number is not valid: check its digits."""


class IdNumberSex(Rejected):
    """The identity number belongs to the other sex."""


class IdNumberBirthDate(Rejected):
    """The identity number states another birth date."""


@dataclass(frozen=True)
class Person:
    """What a form or an object says of a patient."""

    local_id: str
    name: str
    sex: str = ""
    birth_date: str = ""
    id_number: str = ""
    phone: str = ""


def checked(person: Person) -> Person:
    """Return `person` normalised, filling sex and birth date from a valid identity number.

    Raises
    ------
    Rejected
        A field cannot be what it claims to be, or contradicts the identity number.
    """
    name, number = person.name.strip(), person.id_number.strip().upper()
    if not name:
        raise NameMissing
    if person.sex not in SEXES:
        raise BadSex
    birth_date = person.birth_date.replace("-", "")
    if not BIRTH_DATE.fullmatch(birth_date) or not _is_calendar_day(birth_date):
        raise BadBirthDate
    sex = person.sex
    if number:
        if not valid_id_number(number):
            raise BadIdNumber
        if sex and sex != sex_of_id_number(number):
            raise IdNumberSex
        if birth_date and birth_date != number[6:14]:
            raise IdNumberBirthDate
        sex, birth_date = sex_of_id_number(number), number[6:14]
    return Person(person.local_id.strip(), name, sex, birth_date, number, person.phone.strip())


def _is_calendar_day(text: str) -> bool:
    """Tell whether a full date exists; what is known by year or month only is taken as it is."""
    if len(text) != FULL_DATE:
        return True
    try:
        datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007 - a calendar day has no zone
    except ValueError:
        return False
    return True


def get_or_create(session: Session, site_id: str, person: Person, now: datetime) -> Patient:
    """Return the identity (site, local id), making it when new; an existing one is never overwritten."""
    row, _ = insert_or_get(
        session,
        Patient,
        {"site_id": site_id, "local_id": person.local_id},
        {
            "name": person.name[:200],
            "sex": person.sex,
            "birth_date": person.birth_date,
            "id_number": person.id_number,
            "phone": person.phone,
            "created_at": now,
        },
    )
    return row


def rename(session: Session, patient: Patient, name: str, actor: Actor) -> None:
    """Correct how the name of one identity is written. Two identities are never joined by this."""
    patient.name = name[:200]
    audit.record(
        session,
        Tag.PATIENT_RENAME,
        actor=actor.ref,
        subject_kind="patient",
        subject_id=patient.id,
        site_id=patient.site_id,
        patient_id=patient.id,
        address=actor.address,
    )


def viewed(session: Session, actor: Actor, patient: Patient) -> None:
    """Note that somebody was shown an identity's data."""
    audit.record(
        session,
        Tag.PATIENT_VIEW,
        actor=actor.ref,
        subject_kind="patient",
        subject_id=patient.id,
        site_id=patient.site_id,
        patient_id=patient.id,
        address=actor.address,
    )


def disagreements(known: Person, seen: Person, *, compare_ids: bool = True) -> list[str]:
    """Name the fields in which two sources contradict each other: ``name``, ``id``, ``sex``.

    An empty field contradicts nothing. A name in pinyin cannot be compared with one in
    Han characters and does not count; the caller sees it as ``name_script`` instead.
    """
    found = []
    if known.name and seen.name:
        if not same_script(known.name, seen.name):
            found.append("name_script")
        elif comparable_name(known.name) != comparable_name(seen.name):
            found.append("name")
    if compare_ids and known.local_id and seen.local_id and known.local_id != seen.local_id:
        found.append("id")
    if {known.sex, seen.sex} == {"M", "F"}:
        found.append("sex")
    return found
