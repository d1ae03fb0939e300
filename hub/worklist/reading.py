"""What a reader's page does: take the next exam, open images, look at what came late."""

from datetime import datetime

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.config import Settings
from hub.errors import Conflict
from hub.worklist.models import Exam
from hub.worklist.news import tell
from hub.worklist.repository import Filter, WorklistRepository
from hub.worklist.service import OutOfScope, claim, visible


class NothingToRead(Conflict):
    """No exam waits to be read."""


def claim_next(session: Session, actor: Actor, narrow: Filter, *, settings: Settings, now: datetime) -> Exam:
    """Take the first waiting exam that the actor may report on; those taken meanwhile are passed over.

    Raises
    ------
    NothingToRead
        No exam within `narrow` waits for this reader.
    """
    for exam in WorklistRepository(session).waiting(actor, narrow):
        if not actor.reads(exam.modality):
            continue
        try:
            return claim(session, actor, exam.id, settings=settings, now=now)
        except Conflict:
            continue  # somebody else was faster; the next one will do
    raise NothingToRead


def images_opened(session: Session, actor: Actor, exam: Exam) -> None:
    """Note that somebody opened an exam's images or tracing; signing asks for this."""
    if exam.study_id is None or not actor.may(Permission.IMAGES_VIEW, exam.site_id):
        return
    audit.record(
        session,
        Tag.STUDY_VIEW,
        actor=actor.ref,
        subject_kind="study",
        subject_id=exam.study_id,
        site_id=exam.site_id,
        patient_id=exam.patient_id,
        address=actor.address,
        exam_id=exam.id,
    )


def saw_late_objects(session: Session, actor: Actor, exam_id: str) -> Exam:
    """Close the notice of late objects: a reader licensed for the modality has looked at them."""
    exam = visible(session, actor, exam_id)
    if not actor.reads(exam.modality):
        raise OutOfScope
    seen, exam.late_objects = exam.late_objects, 0
    audit.record(
        session,
        Tag.EXAM_VIEW,
        actor=actor.ref,
        subject_kind="exam",
        subject_id=exam.id,
        site_id=exam.site_id,
        patient_id=exam.patient_id,
        address=actor.address,
        late_objects=seen,
    )
    tell(session, exam)
    return exam
