"""Saying by hand what a device without procedure steps does not report: the exam is begun, or taken."""

from datetime import datetime

from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.errors import Forbidden
from hub.worklist.models import Exam
from hub.worklist.service import advance, visible
from hub.worklist.states import Event, State


def arrive(session: Session, actor: Actor, exam_id: str, *, now: datetime) -> Exam:
    """Note that the patient has come and is who the order says."""
    exam = _own(session, actor, exam_id)
    advance(session, exam, Event.ARRIVE, actor, now)
    return exam


def perform(session: Session, actor: Actor, exam_id: str, *, now: datetime) -> Exam:
    """Note that the exam was taken; a patient who was not checked in is so in the same moment."""
    exam = _own(session, actor, exam_id)
    if State(exam.state) is State.ORDERED:
        advance(session, exam, Event.ARRIVE, actor, now)
    advance(session, exam, Event.PERFORM, actor, now)
    return exam


def _own(session: Session, actor: Actor, exam_id: str) -> Exam:
    exam = visible(session, actor, exam_id)
    if not actor.may(Permission.EXAM_SEND, exam.site_id):
        raise Forbidden
    return exam
