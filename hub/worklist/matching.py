"""From a study to its exam: matching orders, conflicts, completeness. Driven by jobs, mended by people."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.auth.actor import SYSTEM, Actor
from hub.auth.roles import Permission
from hub.catalogue.models import Study
from hub.catalogue.repository import CatalogueRepository
from hub.config import Settings
from hub.errors import Conflict, Forbidden, Rejected
from hub.patients import service as patients
from hub.patients.models import Patient
from hub.patients.repository import PatientRepository
from hub.patients.service import Person
from hub.sites.repository import SiteRepository
from hub.worklist import completeness, placing
from hub.worklist.models import Exam, Order
from hub.worklist.news import tell
from hub.worklist.repository import WorklistRepository
from hub.worklist.service import advance, begin, visible
from hub.worklist.states import SIGNED_STATES, Event, State

WAITING = frozenset({State.ORDERED, State.ARRIVED, State.PERFORMED, State.REJECTED})
"""An exam in one of these takes in the objects that name its order."""


def receive(session: Session, study_id: str, *, settings: Settings, now: datetime) -> Exam | None:
    """Give a study its exam, or note that more has arrived for it. Safe to run twice."""
    study = CatalogueRepository(session).lock_study(study_id)
    if study is None:
        return None
    exam = WorklistRepository(session).exam_of_study(study.id)
    if exam is None:
        exam = _first_objects(session, study, settings, now)
        completeness.look_soon(session, study, exam)
        return exam
    state = State(exam.state)
    before = placing.in_force(exam), exam.chest_pain
    if state not in SIGNED_STATES:
        placing.take_over(exam, study)
    if study.settled_at is not None and state is State.RECEIVING:
        return exam
    # An ECG settles at once: there the time of arrival tells that something has come since.
    more = study.settled_at is None or (
        state is State.REJECTED and study.last_received_at > _last_moved(session, exam)
    )
    if more and state in (State.COMPLETE, State.REJECTED):
        advance(session, exam, Event.RECEIVE, SYSTEM, now)
        completeness.look_soon(session, study, exam)
    elif state not in (State.RECEIVING, State.UNMATCHED, State.COMPLETE, State.REJECTED):
        # Counted anew each time: once when the first late object is in and again when the study
        # is quiet, so that a batch shows as what it is. A notice that was closed in between comes
        # back, because more may have arrived since.
        completed = WorklistRepository(session).completed_at(exam.id) or exam.created_at
        exam.late_objects = CatalogueRepository(session).count_objects_since(study.id, completed)
        placing.place(session, exam, settings=settings)
    elif before != (placing.in_force(exam), exam.chest_pain):
        placing.place(session, exam, settings=settings)
    return exam


def _last_moved(session: Session, exam: Exam) -> datetime:
    return WorklistRepository(session).steps(exam.id)[-1].at


def _first_objects(session: Session, study: Study, settings: Settings, now: datetime) -> Exam:
    repository = WorklistRepository(session)
    site = SiteRepository(session).site(study.site_id)
    assert site is not None  # the foreign key says so
    order = repository.order_for(study.site_id, study.accession, study.study_uid)
    common: dict[str, Any] = {
        "study_id": study.id,
        "modality": study.modality,
        "body_part": study.body_part,
        "received_at": study.first_received_at,
        "urgency": study.urgency or "routine",
        "chest_pain": study.chest_pain,
        "onset_at": study.onset_at,
    }
    if order is None:
        patient = _patient_of(session, study, now)
        return begin(
            session,
            Event.RECEIVE,
            SYSTEM,
            now,
            site=site,
            settings=settings,
            unordered=True,
            patient_id=patient.id if patient else None,
            **common,
        )
    found = _disagreements(session, order, study)
    ordered = repository.exam_of_order(order.id)
    contradicts = [field for field in found if field != "name_script"]
    if contradicts or ordered is None or State(ordered.state) not in WAITING:
        return begin(
            session,
            Event.CONFLICT,
            SYSTEM,
            now,
            site=site,
            settings=settings,
            candidate_order_id=order.id,
            conflicts=contradicts or ["order_taken"],
            **common,
        )
    _attach(session, ordered, study, SYSTEM, now, conflicts=found)
    return ordered


def _attach(
    session: Session, exam: Exam, study: Study, actor: Actor, now: datetime, *, conflicts: list[str]
) -> None:
    """Join a study to the exam of its order."""
    old_study = exam.study_id
    # Chest pain may be told with the upload only: the more urgent of the two holds.
    placing.take_over(exam, study)
    advance(
        session,
        exam,
        Event.RECEIVE,
        SYSTEM,
        now,
        values={
            "study_id": study.id,
            "modality": study.modality,
            "body_part": exam.body_part or study.body_part,
            "received_at": exam.received_at or study.first_received_at,
            "conflicts": conflicts,
        },
    )
    audit.record(
        session,
        Tag.EXAM_MATCH,
        actor=actor.ref,
        subject_kind="exam",
        subject_id=exam.id,
        site_id=exam.site_id,
        patient_id=exam.patient_id,
        study_id=study.id,
        instead_of=old_study or "",
    )


def _patient_of(session: Session, study: Study, now: datetime) -> Patient | None:
    """Return the identity that unordered objects state, unless the site's own record contradicts them."""
    if not study.local_id:
        return None
    seen = _person(study)
    known = PatientRepository(session).by_local_id(study.site_id, study.local_id)
    if known is None:
        return patients.get_or_create(session, study.site_id, seen, now)
    contradicts = patients.disagreements(Person(known.local_id, known.name, known.sex), seen)
    return None if set(contradicts) & {"name", "sex"} else known


def _person(study: Study) -> Person:
    return Person(study.local_id, study.patient_name, study.sex, study.birth_date)


def _disagreements(session: Session, order: Order, study: Study) -> list[str]:
    known = PatientRepository(session).patient(order.patient_id)
    assert known is not None  # the foreign key says so
    person = Person(known.local_id, known.name, known.sex, known.birth_date)
    return patients.disagreements(person, _person(study))


def open_exam(
    session: Session, study_id: str, reason: str, *, settings: Settings, now: datetime
) -> Exam | None:
    """Put a settled study's exam on the worklist. Safe to run twice."""
    exam = receive(session, study_id, settings=settings, now=now)
    study = CatalogueRepository(session).study(study_id)
    if exam is None or study is None or study.settled_at is None or State(exam.state) is not State.RECEIVING:
        return exam
    complete(session, exam, reason, settings=settings, now=now)
    return exam


def complete(session: Session, exam: Exam, reason: str, *, settings: Settings, now: datetime) -> None:
    """Start the clock to the report; a first start is kept when more objects came later."""
    start = exam.complete_at or now
    advance(
        session,
        exam,
        Event.COMPLETE,
        SYSTEM,
        now,
        reason=reason,
        values={"complete_at": start, **placing.standing(exam, start, settings)},
    )


def resolve(
    session: Session,
    actor: Actor,
    exam_id: str,
    *,
    belongs: bool,
    reason: str,
    settings: Settings,
    now: datetime,
) -> Exam:
    """Decide unmatched objects: they belong to the order whose number they carry, or to none.

    Returns
    -------
    Exam
        The exam that the objects are in now. When they belong to the order it is the
        order's own exam, and the unmatched one is closed with its reason.
    """
    if not reason.strip():
        raise Rejected("say how you know")
    exam = visible(session, actor, exam_id)
    if not actor.may(Permission.DESK_MATCH, exam.site_id):
        raise Forbidden
    if State(exam.state) is not State.UNMATCHED or exam.study_id is None:
        raise Conflict("somebody has decided this already")
    study = CatalogueRepository(session).lock_study(exam.study_id)
    assert study is not None  # the foreign key says so
    target = _take_order(session, actor, exam, study, reason, now) if belongs else exam
    if not belongs:
        patient = _patient_of(session, study, now)
        advance(
            session,
            exam,
            Event.MATCH,
            actor,
            now,
            reason=reason,
            values={
                "unordered": True,
                "patient_id": patient.id if patient else None,
                "candidate_order_id": None,
            },
        )
    if study.settled_at is not None:
        complete(session, target, study.settle_reason, settings=settings, now=now)
    return target


def reconsider(
    session: Session, actor: Actor, study: Study, *, reason: str, settings: Settings, now: datetime
) -> Exam | None:
    """Compare a study anew with its order or identity, after its patient's name was corrected.

    Objects that do not contradict the order any more whose number they carry join it. An exam
    that has its order keeps it; what contradicts is shown on it.

    Returns
    -------
    Exam or None
        The exam that the study is in now; None when it has none yet.
    """
    repository = WorklistRepository(session)
    exam = repository.exam_of_study(study.id)
    if exam is None:
        return None
    order_id = exam.order_id or exam.candidate_order_id
    order = repository.order(order_id) if order_id else None
    if order is None:
        patient = _patient_of(session, study, now)
        exam.patient_id = patient.id if patient else None
    else:
        exam.conflicts = _disagreements(session, order, study)
        if State(exam.state) is State.UNMATCHED:
            exam = _join_or_stay(session, actor, exam, study, reason, settings=settings, now=now)
    tell(session, exam)
    return exam


def _join_or_stay(
    session: Session,
    actor: Actor,
    exam: Exam,
    study: Study,
    reason: str,
    *,
    settings: Settings,
    now: datetime,
) -> Exam:
    contradicts = [field for field in exam.conflicts if field != "name_script"]
    target = WorklistRepository(session).exam_of_order(exam.candidate_order_id or "")
    waits = target is not None and State(target.state) in WAITING
    if contradicts or not waits:
        exam.conflicts = contradicts or ["order_taken"]
        return exam
    target = _take_order(session, actor, exam, study, reason, now)
    if study.settled_at is not None:
        complete(session, target, study.settle_reason, settings=settings, now=now)
    return target


def _take_order(  # noqa: PLR0917 - both sides of the match and who decided
    session: Session, actor: Actor, exam: Exam, study: Study, reason: str, now: datetime
) -> Exam:
    repository = WorklistRepository(session)
    target = repository.exam_of_order(exam.candidate_order_id) if exam.candidate_order_id else None
    if target is None or State(target.state) not in WAITING:
        raise Conflict("the order has objects already: these cannot be joined to it")
    conflicts = exam.conflicts
    advance(
        session,
        exam,
        Event.CANCEL,
        SYSTEM,
        now,
        reason=f"matched to {target.number} by {actor.name}: {reason}",
        values={"study_id": None},
    )
    _attach(session, target, study, actor, now, conflicts=conflicts)
    return target
