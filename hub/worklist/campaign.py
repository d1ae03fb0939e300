"""Campaign work: which ECGs may be read one after the other, and taking the next one.

Check-ups of whole villages bring hundreds of ECGs a day, nearly all of them normal. They may
be read quickly; nothing that a person or a rule has called pressing may ever wait among them,
and nothing that the machine could not measure.
"""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.config import Settings
from hub.errors import Conflict
from hub.worklist.models import Exam
from hub.worklist.reading import NothingToRead
from hub.worklist.repository import Filter, WorklistRepository
from hub.worklist.service import claim
from hub.worklist.states import State

WAITING = Filter(modality="ECG", states=frozenset({State.COMPLETE}), campaign=True)
"""ECGs that nobody and no rule has called pressing."""


class NotForCampaign(Conflict):
    """This ECG is not for the quick list: read it on its own page."""


def may_be_quick(exam: Exam) -> bool:
    """Tell whether an ECG may be read in the quick list; asked again before each step of it."""
    return (
        exam.modality == "ECG"
        and exam.urgency == "routine"
        and not exam.chest_pain
        and exam.hint_level in {"", "note"}
        and exam.ecg_verdict in {"good", "usable"}
        and not exam.late_objects
        and not exam.conflicts
    )


def claim_next(
    session: Session, actor: Actor, skipped: Collection[str], *, settings: Settings, now: datetime
) -> Exam:
    """Take the next ECG of the quick list, passing over those that the reader has put back.

    Raises
    ------
    NothingToRead
        None is left.
    """
    for exam in WorklistRepository(session).waiting(actor, WAITING, limit=50 + len(skipped)):
        if exam.id in skipped or not may_be_quick(exam) or not actor.reads(exam.modality):
            continue
        try:
            return claim(session, actor, exam.id, settings=settings, now=now)
        except Conflict:
            continue  # somebody else was faster
    raise NothingToRead


def pressing(session: Session, actor: Actor) -> int:
    """Return how many exams of the actor's half of the worklist wait that are not routine."""
    waiting = Filter(kind="ecg", states=frozenset({State.COMPLETE}), pressing=True)
    return WorklistRepository(session).total(actor, waiting)
