"""Bringing signed reports to their sites, and keeping proof of each step."""

from datetime import datetime

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.auth.actor import SYSTEM, Actor
from hub.auth.service import require_person
from hub.db.repository import insert_or_get
from hub.delivery.models import Delivery, DeliveryAttempt, Receipt
from hub.delivery.repository import DeliveryRepository
from hub.errors import Conflict, Forbidden, NotFound
from hub.reports.models import SignedReport
from hub.reports.repository import ReportRepository
from hub.worklist import service as worklist
from hub.worklist.models import Exam
from hub.worklist.repository import WorklistRepository
from hub.worklist.states import Event, State


class NotDelivered(Conflict):
    """The report has not been delivered yet."""


class ConfirmedAlready(Conflict):
    """The report is confirmed already."""


class NotOwnSite(Forbidden):
    """Only the site that ordered the exam confirms its report."""


def deliver(session: Session, signed_report_id: str, *, now: datetime) -> Delivery:
    """Put a signed report into its site's inbox. Safe to run twice."""
    found = ReportRepository(session).any_signed(signed_report_id)
    if found is None:
        raise NotFound("no such signed report")
    delivery, _ = insert_or_get(
        session,
        Delivery,
        {"signed_report_id": found.id},
        {"exam_id": found.exam_id, "site_id": found.site_id, "created_at": now},
    )
    if delivery.delivered_at is not None:
        return delivery
    delivery.delivered_at = now
    session.add(DeliveryAttempt(delivery_id=delivery.id, at=now, channel="inbox", succeeded=True))
    exam = _exam(session, found)
    if State(exam.state) is State.SIGNED:
        worklist.advance(
            session, exam, Event.DELIVER, SYSTEM, now, reason="inbox", values={"delivered_at": now}
        )
    _audit(session, Tag.REPORT_DELIVER, SYSTEM, found, exam)
    return delivery


def opened(
    session: Session, actor: Actor, signed: SignedReport, *, now: datetime, download: bool = False
) -> None:
    """Note that somebody opened or fetched a report; at its own site this is a receipt."""
    exam = _exam(session, signed)
    delivery = DeliveryRepository(session).of_signed(signed.id)
    if delivery is not None and _of_site(actor, signed.site_id):
        if actor.kind == "token":
            _receipt(session, delivery, "fetched", actor, now)
            session.add(DeliveryAttempt(delivery_id=delivery.id, at=now, channel="api", succeeded=True))
        else:
            # The first opening by each person is the proof; every later look is in the audit trail.
            if not DeliveryRepository(session).has_opened(delivery.id, actor.id):
                _receipt(session, delivery, "opened", actor, now)
            delivery.opened_at = delivery.opened_at or now
    _audit(session, Tag.REPORT_DOWNLOAD if download else Tag.REPORT_VIEW, actor, signed, exam)


def failed(session: Session, signed: SignedReport, *, cause: str, now: datetime) -> None:
    """Keep the attempt to hand out a report whose document could not be given."""
    delivery = DeliveryRepository(session).of_signed(signed.id)
    if delivery is not None:
        session.add(
            DeliveryAttempt(delivery_id=delivery.id, at=now, channel="api", succeeded=False, detail=cause)
        )


def acknowledge(session: Session, actor: Actor, signed: SignedReport, *, now: datetime) -> Exam:
    """A named person at the site confirms having read the report.

    Raises
    ------
    Forbidden
        The actor is no person appointed at the report's own site.
    Conflict
        It has not been delivered, or is confirmed already.
    """
    require_person(actor)
    if not _of_site(actor, signed.site_id):
        raise NotOwnSite
    delivery = DeliveryRepository(session).of_signed(signed.id)
    if delivery is None or delivery.delivered_at is None:
        raise NotDelivered
    if delivery.acknowledged_at is not None:
        raise ConfirmedAlready
    exam = _exam(session, signed)
    worklist.advance(
        session, exam, Event.ACKNOWLEDGE, actor, now, values={"acked_at": now, "acked_by": actor.name[:64]}
    )
    delivery.acknowledged_at = now
    delivery.opened_at = delivery.opened_at or now
    _receipt(session, delivery, "acknowledged", actor, now)
    _audit(session, Tag.REPORT_ACKNOWLEDGE, actor, signed, exam)
    return exam


def _of_site(actor: Actor, site_id: str) -> bool:
    return any(post.site_id == site_id for post in actor.posts)


def _exam(session: Session, signed: SignedReport) -> Exam:
    exam = WorklistRepository(session).exam(signed.exam_id)
    assert exam is not None  # the foreign key says so
    return exam


def _receipt(session: Session, delivery: Delivery, kind: str, actor: Actor, now: datetime) -> None:
    session.add(
        Receipt(
            delivery_id=delivery.id,
            at=now,
            kind=kind,
            actor_kind=actor.kind,
            actor_id=actor.id,
            actor_name=actor.name,
            address=actor.address,
        )
    )


def _audit(session: Session, tag: Tag, actor: Actor, signed: SignedReport, exam: Exam) -> None:
    audit.record(
        session,
        tag,
        actor=actor.ref,
        subject_kind="signed_report",
        subject_id=signed.id,
        site_id=signed.site_id,
        patient_id=exam.patient_id,
        address=actor.address,
        exam_id=exam.id,
    )
