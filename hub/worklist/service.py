"""Moving exams: orders, claims, releases, rejections. Every change of state goes through `advance`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue import service as catalogue
from hub.catalogue.conflicts import refuse_contested
from hub.config import Settings
from hub.errors import Conflict, Forbidden, NotFound, Rejected
from hub.kit.uids import new_uid
from hub.patients import service as patients
from hub.patients.repository import PatientRepository
from hub.patients.service import Person
from hub.sites.models import Site
from hub.sites.repository import SiteRepository
from hub.worklist.models import Exam, Order
from hub.worklist.news import tell
from hub.worklist.plans import Plan, check_plan
from hub.worklist.repository import WorklistRepository
from hub.worklist.states import LEASED_STATES, NEEDS_ONE_PATIENT, TRANSITIONS, Event, State, step
from hub.worklist.triage import URGENCIES, priority_of

REJECT_CODES = (
    "identity",
    "side_marker",
    "cut_off",
    "motion",
    "exposure",
    "artefact",
    "position",
    "missing_view",
    "missing_series",
    "lead_off",
    "lead_reversal",
    "noise",
    "too_short",
    "other",
)
"""Why an exam goes back to be taken again (requirements §3.6); names are in the catalogue."""

ACCESSION_PER_DAY = 10_000


class AlreadyClaimed(Conflict):
    """Another reader has this exam."""


class LeaseLost(Conflict):
    """The claim has run out or somebody else holds the exam now; the draft is kept."""


class ReturnedToWriter(AlreadyClaimed):
    """A returned report goes back to its writer."""


class ChangedMeanwhile(Conflict):
    """The exam has changed in the meantime: look again."""


class NotHolder(Forbidden):
    """Only the reader who holds it or a director may release an exam."""


class ReasonMissing(Rejected):
    """Say in words why, so that others can act on it."""


class OutOfScope(Forbidden):
    """The account is not licensed to report on that modality."""


def advance(
    session: Session,
    exam: Exam,
    event: Event,
    actor: Actor,
    now: datetime,
    *,
    reason: str = "",
    conditions: tuple[ColumnElement[bool], ...] = (),
    values: dict[str, Any] | None = None,
) -> None:
    """Move an exam by one event, with its timeline row, audit row and live event.

    Parameters
    ----------
    conditions
        More that must hold of the row at the very moment, e.g. that it is still unowned.
    values
        Columns that change together with the state.

    Raises
    ------
    IllegalTransition, NotBuilt
        The table has no such step.
    Forbidden
        The actor holds none of the roles that may take it at the exam's site.
    Conflict
        Somebody else has moved the exam in the meantime, or objects of another patient came
        under its study and nobody has sorted them out.
    """
    state = State(exam.state)
    transition = step(state, event)
    _check_role(actor, transition.roles, exam.site_id)
    if event in NEEDS_ONE_PATIENT:
        refuse_contested(session, exam.study_id)
    changed = WorklistRepository(session).move(
        exam.id, state, {"state": str(transition.to), **(values or {})}, *conditions
    )
    if not changed:
        raise ChangedMeanwhile(exam_id=exam.id)
    _note(session, exam, event, state, transition.to, actor, now, reason)


def _check_role(actor: Actor, roles: frozenset[Any], site_id: str) -> None:
    if actor.kind == "system":
        return
    if not any(post.role in roles and post.site_id in (None, site_id) for post in actor.posts):
        raise Forbidden


def possible(actor: Actor, exam: Exam, event: Event) -> bool:
    """Tell whether the actor could cause `event` just now: for pages, which offer nothing else."""
    transition = TRANSITIONS.get((State(exam.state), event))
    if transition is None or not transition.built:
        return False
    return any(post.role in transition.roles and post.site_id in (None, exam.site_id) for post in actor.posts)


def _note(  # noqa: PLR0917 - the columns of one timeline row
    session: Session,
    exam: Exam,
    event: Event,
    before: State | None,
    after: State,
    actor: Actor,
    now: datetime,
    reason: str,
) -> None:
    WorklistRepository(session).add_step(
        exam_id=exam.id,
        at=now,
        event=str(event),
        from_state=None if before is None else str(before),
        to_state=str(after),
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_name=actor.name,
        reason=reason[:500],
    )
    audit.record(
        session,
        Tag.EXAM_TRANSITION,
        actor=actor.ref,
        subject_kind="exam",
        subject_id=exam.id,
        site_id=exam.site_id,
        patient_id=exam.patient_id,
        address=actor.address,
        event=str(event),
        to=str(after),
    )
    tell(session, exam)


def begin(
    session: Session,
    event: Event,
    actor: Actor,
    now: datetime,
    *,
    site: Site,
    settings: Settings,
    **fields: Any,
) -> Exam:
    """Create an exam by its first event (order, first object, conflict) with a number of its own."""
    transition = step(None, event)
    _check_role(actor, transition.roles, site.id)
    number = fields.pop("number", None) or next_number(session, site, settings, now)
    exam = Exam(
        number=number, site_id=site.id, state=transition.to, created_at=now, **{"conflicts": [], **fields}
    )
    exam.priority = priority_of(exam.urgency or "routine")
    session.add(exam)
    session.flush()
    _note(session, exam, event, None, transition.to, actor, now, "")
    return exam


def next_number(session: Session, site: Site, settings: Settings, now: datetime) -> str:
    """Return a new exam number, also the accession number: site, day, running number; 13 digits.

    DICOM gives an accession number 16 characters (PS3.5 6.2, SH). The site's number in
    front keeps two sites apart even where somebody forgets that the key is (site, number).
    """
    day = now.astimezone(settings.zone)
    running = WorklistRepository(session).next_accession(site.id, f"{day:%Y%m%d}")
    if running >= ACCESSION_PER_DAY:
        raise Conflict("this site has used up its exam numbers of today")
    return f"{site.number:03d}{day:%y%m%d}{running:04d}"


class ModalityMissing(Rejected):
    """The modality is missing."""


class PatientNumberTaken(Conflict):
    """This patient number belongs to another name or sex at this site: check it."""


class PossibleDuplicate(Conflict):
    """The same kind of exam was ordered for this patient within a week; say that it is meant."""


DUPLICATE_WINDOW = timedelta(days=7)
"""Two orders of one modality for one patient within this time may be one order entered twice."""


@dataclass(frozen=True)
class NewOrder:
    """What the order form asks for."""

    site_id: str
    person: Person
    modality: str
    body_part: str = ""
    clinical_question: str = ""
    urgency: str = "routine"
    plan: Plan = field(default_factory=Plan)


def create_order(session: Session, actor: Actor, new: NewOrder, *, settings: Settings, now: datetime) -> Exam:
    """Enter an order and begin its exam.

    Raises
    ------
    Rejected
        A field is missing or cannot be what it claims.
    Forbidden
        The actor may not order at this site.
    Conflict
        The site's number of the patient belongs to somebody else there.
    """
    if not actor.may(Permission.ORDER_CREATE, new.site_id):
        raise Forbidden
    site = SiteRepository(session).site(new.site_id)
    if site is None or not site.active:
        raise NotFound("no such site")
    if new.urgency not in URGENCIES:
        raise Rejected(f"urgency is one of {', '.join(URGENCIES)}")
    modality = new.modality.strip().upper()
    if not modality.isascii() or not 1 < len(modality) <= 16:  # noqa: PLR2004 - PS3.5 6.2, CS
        raise ModalityMissing
    check_plan(session, site.id, new.plan)
    number = next_number(session, site, settings, now)
    person = patients.checked(new.person)
    if not person.local_id:
        person = replace(person, local_id=_known_number(session, site.id, person) or "H" + number)
    patient = patients.get_or_create(session, site.id, person, now)
    known = Person(patient.local_id, patient.name, patient.sex, patient.birth_date)
    if patients.disagreements(known, person):
        raise PatientNumberTaken
    order = Order(
        site_id=site.id,
        patient_id=patient.id,
        accession=number,
        study_uid=new_uid(),
        modality=modality,
        body_part=new.body_part.strip()[:64],
        clinical_question=new.clinical_question.strip(),
        urgency=new.urgency,
        ordered_by=actor.id,
        ordered_by_name=actor.name,
        created_at=now,
        scheduled_at=new.plan.scheduled_at,
        station_ae=new.plan.station_ae,
        expected_objects=new.plan.expected_objects,
    )
    session.add(order)
    session.flush()
    exam = begin(
        session,
        Event.ORDER,
        actor,
        now,
        site=site,
        settings=settings,
        number=number,
        patient_id=patient.id,
        order_id=order.id,
        modality=catalogue.study_modality(modality),
        body_part=order.body_part,
        urgency=order.urgency,
    )
    audit.record(
        session,
        Tag.ORDER_CREATE,
        actor=actor.ref,
        subject_kind="order",
        subject_id=order.id,
        site_id=site.id,
        patient_id=patient.id,
        accession=number,
    )
    return exam


def _known_number(session: Session, site_id: str, person: Person) -> str:
    """Return the number under which the site knows the holder of this identity document, by this name."""
    if not person.id_number:
        return ""
    known = PatientRepository(session).by_id_number(site_id, person.id_number)
    return known.local_id if known and known.name == person.name else ""


def duplicates(session: Session, actor: Actor, new: NewOrder, *, now: datetime) -> Sequence[Exam]:
    """Return exams of the same modality that were ordered for what seems the same patient of late.

    A hint for the person who orders, nothing more: whoever shares name and birth date
    stays another identity.

    Raises
    ------
    Rejected
        The person's data cannot be what they claim.
    """
    person = patients.checked(new.person)
    alike = PatientRepository(session).alike(
        new.site_id, person.local_id, person.name, person.sex, person.birth_date, person.id_number
    )
    modality = catalogue.study_modality(new.modality.strip().upper())
    return WorklistRepository(session).ordered_since(
        actor, [patient.id for patient in alike], modality, now - DUPLICATE_WINDOW
    )


def visible(session: Session, actor: Actor, exam_id: str) -> Exam:
    """Return an exam that the actor may see, or raise `NotFound`."""
    exam = WorklistRepository(session).readable_exam(actor, exam_id)
    if exam is None:
        raise NotFound("no such exam")
    return exam


def claim(session: Session, actor: Actor, exam_id: str, *, settings: Settings, now: datetime) -> Exam:
    """Take an exam to read it. Of two readers who click at once exactly one gets it.

    Raises
    ------
    OutOfScope
        No post of the reader is licensed for the modality.
    AlreadyClaimed
        Somebody else was first.
    """
    exam = visible(session, actor, exam_id)
    if not actor.reads(exam.modality):
        raise OutOfScope
    state = State(exam.state)
    if state in LEASED_STATES and exam.owner_id == actor.id:
        renew(session, actor, exam.id, settings=settings, now=now)
        return exam
    if state in LEASED_STATES:
        raise AlreadyClaimed
    if state is State.RETURNED and exam.writer_id != actor.id:
        raise ReturnedToWriter
    try:
        advance(session, exam, Event.CLAIM, actor, now, values=_owned(actor, settings, now))
    except Conflict as error:
        if WorklistRepository(session).exam(exam.id) and exam.owner_id not in (None, actor.id):
            raise AlreadyClaimed from error
        raise
    return exam


def _owned(actor: Actor, settings: Settings, now: datetime) -> dict[str, Any]:
    return {
        "owner_id": actor.id,
        "owner_name": actor.name,
        "lease_until": now + timedelta(seconds=settings.lease_seconds),
    }


NOBODY: dict[str, Any] = {"owner_id": None, "owner_name": "", "lease_until": None}
"""Values of an exam that no reader holds."""


def renew(session: Session, actor: Actor, exam_id: str, *, settings: Settings, now: datetime) -> datetime:
    """Prolong a claim: the reader's page shows a sign of life. Return the new end of the lease.

    Raises
    ------
    LeaseLost
        The exam is not held by this reader any more.
    """
    exam = visible(session, actor, exam_id)
    until = now + timedelta(seconds=settings.lease_seconds)
    state = State(exam.state)
    held = state in LEASED_STATES and WorklistRepository(session).move(
        exam.id, state, {"lease_until": until}, Exam.owner_id == actor.id
    )
    if not held:
        raise LeaseLost
    return until


def require_held(session: Session, actor: Actor, exam_id: str) -> Exam:
    """Return an exam that the actor holds, or raise `LeaseLost`."""
    exam = visible(session, actor, exam_id)
    if State(exam.state) not in LEASED_STATES or exam.owner_id != actor.id:
        raise LeaseLost
    return exam


def release(session: Session, actor: Actor, exam_id: str, *, reason: str, now: datetime) -> Exam:
    """Give an exam back to the worklist; its draft is kept. Owners release their own, directors any."""
    exam = visible(session, actor, exam_id)
    if exam.owner_id != actor.id and not actor.may(Permission.EXAM_RELEASE, exam.site_id):
        raise NotHolder
    if exam.owner_id != actor.id and not reason.strip():
        raise ReasonMissing
    advance(session, exam, Event.RELEASE, actor, now, reason=reason, values=NOBODY)
    return exam


def expire(session: Session, exam: Exam, actor: Actor, now: datetime) -> None:
    """Take an exam from a reader whose page has been silent for the whole lease."""
    advance(
        session,
        exam,
        Event.EXPIRE,
        actor,
        now,
        reason="lease",
        values=NOBODY,
        conditions=(Exam.lease_until < now,),
    )


def reject(session: Session, actor: Actor, exam_id: str, *, code: str, text: str, now: datetime) -> Exam:
    """Send an exam back to be taken again, with a coded reason and words the technician can act on."""
    if code not in REJECT_CODES:
        raise Rejected(f"the reason is one of {', '.join(REJECT_CODES)}")
    if not text.strip():
        raise ReasonMissing
    exam = visible(session, actor, exam_id)
    if exam.owner_id not in (None, actor.id):
        raise AlreadyClaimed
    values = {"reject_code": code, "reject_text": text.strip()[:500], **NOBODY}
    advance(session, exam, Event.REJECT, actor, now, reason=f"{code}: {text.strip()}", values=values)
    return exam


def cancel(session: Session, actor: Actor, exam_id: str, *, reason: str, now: datetime) -> Exam:
    """Cancel an exam that nobody has begun to read."""
    if not reason.strip():
        raise ReasonMissing
    exam = visible(session, actor, exam_id)
    advance(session, exam, Event.CANCEL, actor, now, reason=reason)
    return exam


def finish_sending(session: Session, actor: Actor, exam_id: str, *, now: datetime) -> Exam:
    """The technician says that everything was sent: the study settles now, not after the quiet time."""
    exam = visible(session, actor, exam_id)
    if not actor.may(Permission.EXAM_SEND, exam.site_id):
        raise Forbidden
    if exam.study_id is None or State(exam.state) is not State.RECEIVING:
        raise Conflict("nothing is being received for this exam")
    catalogue.settle_now(session, exam.study_id, now=now)
    return exam


def viewed(session: Session, actor: Actor, exam: Exam) -> None:
    """Note that somebody looked at an exam."""
    audit.record(
        session,
        Tag.EXAM_VIEW,
        actor=actor.ref,
        subject_kind="exam",
        subject_id=exam.id,
        site_id=exam.site_id,
        patient_id=exam.patient_id,
        address=actor.address,
    )
