"""Where an exam stands on the worklist: what people and machine say of it, made into class and due time.

Chest pain that a person told comes first within its class; then the due time decides, whether
a person or a hint has made the exam critical.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from hub.catalogue.models import Study
from hub.config import Settings
from hub.worklist import triage
from hub.worklist.models import Exam
from hub.worklist.news import tell
from hub.worklist.states import READING_STATES, SIGNED_STATES, State

_STARTED = READING_STATES - {State.RECEIVING, State.REJECTED}
"""States in which the clock to the report runs."""


def standing(exam: Exam, start: datetime, settings: Settings) -> dict[str, Any]:
    """Return the columns that order an exam.

    Parameters
    ----------
    start : datetime
        When everything was in; chest pain counts from the first receipt.
    """
    urgency = in_force(exam)
    start = exam.received_at or start if exam.chest_pain else start
    return {
        "priority": triage.priority_of(urgency),
        "due_at": triage.due_at(start, urgency, exam.modality, settings.due_rules),
    }


def in_force(exam: Exam) -> str:
    """Return the urgency by which an exam is ordered just now."""
    hinted = "" if exam.hint_dismissed_at else exam.hint_level
    return triage.urgency_in_force(exam.urgency or "routine", chest_pain=exam.chest_pain, hint_level=hinted)


def take_over(exam: Exam, study: Study) -> None:
    """Take over what the sender of a study says of it; nothing becomes less urgent by it."""
    exam.urgency = min(exam.urgency, study.urgency or exam.urgency, key=triage.priority_of)
    exam.chest_pain = exam.chest_pain or study.chest_pain
    onsets = [moment for moment in (exam.onset_at, study.onset_at) if moment]
    exam.onset_at = min(onsets, default=None)


def place(session: Session, exam: Exam, *, settings: Settings) -> None:
    """Order an exam anew after something was said of it, and tell open pages."""
    if State(exam.state) in _STARTED and exam.complete_at is not None:
        for name, value in standing(exam, exam.complete_at, settings).items():
            setattr(exam, name, value)
    elif State(exam.state) not in SIGNED_STATES:
        exam.priority = triage.priority_of(in_force(exam))
    session.flush()
    tell(session, exam)
