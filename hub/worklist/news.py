"""Telling open pages that an exam has changed."""

from sqlalchemy.orm import Session

from hub.web import live
from hub.worklist.models import Exam
from hub.worklist.triage import PRIORITIES

TOPIC = "exam"
"""Topic of the live events that tell open pages of a change."""


def tell(session: Session, exam: Exam) -> None:
    """Tell open pages that an exam has changed; those of a critical one are shown before others."""
    live.publish(
        session,
        TOPIC,
        site_id=exam.site_id,
        exam_id=exam.id,
        state=str(exam.state),
        pressing=exam.priority == PRIORITIES["critical"],
    )
