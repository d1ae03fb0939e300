"""What devices report of the exams they take: modality performed procedure steps (PS3.4 annex F).

A step is kept as it was reported, whether it names an order of ours or not. One that does
moves the order's exam: the patient has come when the device begins, the exam is taken when
it ends. One that was given up moves nothing; people see it with its reason.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.service import ActorRef
from hub.audit.tags import Tag
from hub.auth.actor import SYSTEM
from hub.db.repository import insert_or_get
from hub.dicom.wire.status import DUPLICATE_INSTANCE, MISSING_ATTRIBUTE
from hub.errors import Conflict, Malformed, NotFound
from hub.jobs.queue import enqueue
from hub.kit.people import has_han
from hub.kit.uids import BadUid, parse_uid
from hub.patients import service as patients
from hub.patients.repository import PatientRepository
from hub.patients.service import Person
from hub.sites.service import DeviceKnown
from hub.worklist.models import Exam, Order, ProcedureStep
from hub.worklist.news import tell
from hub.worklist.repository import StepRow, WorklistRepository
from hub.worklist.service import advance
from hub.worklist.states import Event, State

IN_PROGRESS, COMPLETED, DISCONTINUED = "in_progress", "completed", "discontinued"
STATUSES = {"IN PROGRESS": IN_PROGRESS, "COMPLETED": COMPLETED, "DISCONTINUED": DISCONTINUED}
"""Performed Procedure Step Status as sent to the word that is kept."""

SCHEDULED, SERIES = "00400270", "00400340"
STATUS, STATION, STEP_ID, DESCRIPTION = "00400252", "00400241", "00400253", "00400254"
START_DATE, START_TIME = "00400244", "00400245"
MODALITY, STUDY_UID, ACCESSION = "00080060", "0020000D", "00080050"
PATIENT_NAME, PATIENT_ID, PATIENT_SEX = "00100010", "00100020", "00100040"
DISCONTINUATION, OPERATORS, MEANING = "00400281", "00081070", "00080104"
_SERIES_UID, _SOP_CLASS, _SOP_INSTANCE = "0020000E", "00081150", "00081155"
_REFERENCES = ("00081140", "00400220")
"""Referenced Image Sequence and Referenced Non-Image Composite SOP Instance Sequence."""

REQUIRED = (STEP_ID, STATION, START_DATE, START_TIME, STATUS, MODALITY)
"""Type 1 of an N-CREATE (Table F.7.2-1), beside the study that the step belongs to."""

UNCHANGEABLE = frozenset(
    {SCHEDULED, STEP_ID, STATION, START_DATE, START_TIME, MODALITY, "00200010", "00400242", "00400243"}
    | {PATIENT_NAME, PATIENT_ID, "00100021", "00100030", PATIENT_SEX, "00081120"}
)
"""What an N-SET may not change (Table F.7.2-1); values sent all the same are not taken."""

WAITING_DAYS = 7
"""An order is found by its patient alone within so many days."""

Attributes = Mapping[str, Any]
"""DICOM JSON by tag."""


class DuplicateStep(Conflict):
    """The site has reported a procedure step with this UID before."""

    dimse_status = DUPLICATE_INSTANCE


class NoSuchStep(NotFound):
    """The site has reported no procedure step with this UID."""


class StepFinal(Conflict):
    """A procedure step that was completed or discontinued is not changed any more."""


class AttributeMissing(Malformed):
    """An attribute is missing that a procedure step must have."""

    dimse_status = MISSING_ATTRIBUTE


class AttributeEmpty(Malformed):
    """An attribute is empty that must have a value in a procedure step."""

    dimse_status = 0x0121


class AttributeInvalid(Malformed):
    """An attribute of the procedure step has a value that it cannot have."""

    dimse_status = 0x0106


def items_of(attributes: Attributes, tag: str) -> list[Attributes]:
    """Return the items of a sequence; none when it is absent."""
    return [item for item in attributes.get(tag, {}).get("Value", ()) if isinstance(item, dict)]


def text_of(attributes: Attributes, tag: str) -> str:
    """Return the first value as text; of a name the characters if there are any, else the letters."""
    values = attributes.get(tag, {}).get("Value") or ("",)
    value = values[0]
    if isinstance(value, dict):
        value = value.get("Ideographic") or value.get("Alphabetic") or ""
    return "" if value is None else str(value).strip()


def objects_of(attributes: Attributes) -> Iterator[tuple[str, str, str]]:
    """Yield series, SOP class and SOP instance UID of each object that a step lists."""
    for series in items_of(attributes, SERIES):
        for tag in _REFERENCES:
            for reference in items_of(series, tag):
                if text_of(reference, _SOP_INSTANCE):
                    yield (
                        text_of(series, _SERIES_UID),
                        text_of(reference, _SOP_CLASS),
                        text_of(reference, _SOP_INSTANCE),
                    )


@dataclass(frozen=True)
class ShownStep:
    """What a page shows of a step; texts are the device's own words."""

    status: str
    device: str
    received_at: datetime
    updated_at: datetime
    accession: str
    local_id: str
    modality: str
    description: str
    operator: str
    objects: int
    reason: str
    """Why it was given up."""


def shown_step(row: StepRow) -> ShownStep:
    """Return what a page shows of a step."""
    step, told = row.step, row.step.attributes
    reason = next((text_of(item, MEANING) for item in items_of(told, DISCONTINUATION)), "")
    return ShownStep(
        status=step.status,
        device=row.device.label or row.device.ae_title,
        received_at=step.received_at,
        updated_at=step.updated_at,
        accession=step.accession,
        local_id=step.local_id,
        modality=step.modality,
        description=text_of(told, DESCRIPTION),
        operator=_plain_name(text_of(told, OPERATORS)),
        objects=len(step.objects),
        reason=reason,
    )


def _plain_name(name: str) -> str:
    return name.replace("^", "" if has_han(name) else " ").strip()


def begin_step(
    session: Session,
    device: DeviceKnown,
    sop_uid: str,
    attributes: Attributes,
    *,
    address: str,
    now: datetime,
) -> ProcedureStep:
    """Enter a step that a device has begun (N-CREATE).

    Raises
    ------
    AttributeMissing, AttributeEmpty, AttributeInvalid
        It is not what Table F.7.2-1 wants of a new step.
    DuplicateStep
        The UID was used before.
    """
    _check_new(attributes)
    study_uid = _study_uid(attributes)
    order = _order_of(session, device.site_id, attributes, now)
    accessions = (text_of(item, ACCESSION) for item in items_of(attributes, SCHEDULED))
    step, created = insert_or_get(
        session,
        ProcedureStep,
        {"site_id": device.site_id, "sop_uid": sop_uid},
        {
            "device_id": device.id,
            "status": IN_PROGRESS,
            "order_id": order.id if order else None,
            "study_uid": study_uid,
            "accession": next(filter(None, accessions), "")[:64],
            "local_id": text_of(attributes, PATIENT_ID)[:64],
            "modality": text_of(attributes, MODALITY)[:16],
            "objects": [list(one) for one in objects_of(attributes)],
            "attributes": dict(attributes),
            "received_at": now,
            "updated_at": now,
        },
    )
    if not created:
        raise DuplicateStep
    _follow(session, device, step, address, now)
    return step


def change_step(
    session: Session,
    device: DeviceKnown,
    sop_uid: str,
    attributes: Attributes,
    *,
    address: str,
    now: datetime,
) -> ProcedureStep:
    """Take in what a device adds to a step (N-SET).

    Raises
    ------
    NoSuchStep
        The device's site has none with this UID.
    StepFinal
        The step has ended.
    AttributeInvalid
        The status is none of the three.
    """
    step = WorklistRepository(session).procedure_step(device.site_id, sop_uid)
    if step is None:
        raise NoSuchStep
    if step.status != IN_PROGRESS:
        raise StepFinal
    status = text_of(attributes, STATUS)
    if STATUS in attributes and status not in STATUSES:
        raise AttributeInvalid
    changes = {tag: element for tag, element in attributes.items() if tag not in UNCHANGEABLE}
    step.attributes = {**step.attributes, **changes}
    step.objects = [list(one) for one in objects_of(step.attributes)]
    step.status = STATUSES.get(status, step.status)
    step.updated_at = now
    session.flush()
    _follow(session, device, step, address, now)
    return step


def _check_new(attributes: Attributes) -> None:
    items = items_of(attributes, SCHEDULED)
    if SCHEDULED not in attributes or any(tag not in attributes for tag in REQUIRED):
        raise AttributeMissing
    if not items or not all(text_of(attributes, tag) for tag in REQUIRED):
        raise AttributeEmpty
    if any(STUDY_UID not in item for item in items):
        raise AttributeMissing
    if not all(text_of(item, STUDY_UID) for item in items):
        raise AttributeEmpty
    if text_of(attributes, STATUS) != "IN PROGRESS":
        raise AttributeInvalid


def _study_uid(attributes: Attributes) -> str:
    try:
        return parse_uid(text_of(items_of(attributes, SCHEDULED)[0], STUDY_UID))
    except BadUid as error:
        raise AttributeInvalid from error


def _order_of(session: Session, site_id: str, attributes: Attributes, now: datetime) -> Order | None:
    """Return the order that a step is for, unless its patient is another one.

    By worklist UID or accession number; a step that carries neither is for the only order
    of that modality that waits for its patient number.
    """
    repository = WorklistRepository(session)
    items = items_of(attributes, SCHEDULED)
    named = (
        repository.order_for(site_id, text_of(item, ACCESSION)[:64], text_of(item, STUDY_UID)[:64])
        for item in items
    )
    order = next(filter(None, named), None)
    local_id = text_of(attributes, PATIENT_ID)
    if order is None and local_id and not any(text_of(item, ACCESSION) for item in items):
        since = now - timedelta(days=WAITING_DAYS)
        waiting = repository.waiting_orders(site_id, local_id, text_of(attributes, MODALITY), since)
        order = waiting[0].order if len(waiting) == 1 else None
    return None if order is None or _another_patient(session, order, attributes) else order


def _another_patient(session: Session, order: Order, attributes: Attributes) -> bool:
    known = PatientRepository(session).patient(order.patient_id)
    assert known is not None  # the foreign key says so
    sex = text_of(attributes, PATIENT_SEX)
    seen = Person(text_of(attributes, PATIENT_ID), text_of(attributes, PATIENT_NAME), sex)
    found = patients.disagreements(Person(known.local_id, known.name, known.sex), seen)
    return bool({"name", "id", "sex"} & set(found))


def _follow(session: Session, device: DeviceKnown, step: ProcedureStep, address: str, now: datetime) -> None:
    """Let the exam follow what the device reported, and note the report."""
    repository = WorklistRepository(session)
    exam = repository.exam_of_order(step.order_id) if step.order_id else None
    audit.record(
        session,
        Tag.STEP_REPORT,
        actor=ActorRef("device", device.id, device.ae_title),
        subject_kind="procedure_step",
        subject_id=step.id,
        site_id=step.site_id,
        patient_id=exam.patient_id if exam else None,
        address=address,
        status=step.status,
        objects=len(step.objects),
    )
    if exam is None:
        exam = repository.exam_of_study_uid(step.site_id, step.study_uid)
    if exam is None:
        return
    before = exam.state
    _move(session, exam, step, now)
    if exam.state == before:
        tell(session, exam)
    if exam.study_id and step.status == COMPLETED:
        enqueue(session, "worklist.check_complete", once_key=exam.study_id, study_id=exam.study_id)


def _move(session: Session, exam: Exam, step: ProcedureStep, now: datetime) -> None:
    """Take the steps of the exam's way that the device's report means; images may have come before."""
    ways: Iterable[tuple[State, Event]] = [(State.ORDERED, Event.ARRIVE)]
    if step.status == COMPLETED:
        ways = [*ways, (State.ARRIVED, Event.PERFORM)]
    for state, event in ways:
        if step.order_id and State(exam.state) is state:
            try:
                advance(session, exam, event, SYSTEM, now, reason="step")
            except Conflict:
                return  # its images arrived in this very moment and have moved it on
