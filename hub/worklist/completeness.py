"""When everything is in: what devices and orders announce of a study, held against what has come.

First to come true wins over the quiet time, and the reason is kept: ``mpps`` when every
object that a completed procedure step lists is in the archive, ``views`` when as many
images are there as the order expects.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from hub.catalogue import service as catalogue
from hub.catalogue.models import Study
from hub.catalogue.repository import CatalogueRepository
from hub.jobs.queue import enqueue
from hub.worklist.models import Exam
from hub.worklist.repository import WorklistRepository
from hub.worklist.states import State
from hub.worklist.steps import COMPLETED, IN_PROGRESS


def look_soon(session: Session, study: Study, exam: Exam) -> None:
    """Look soon whether everything is in, where somebody has said what everything is."""
    if study.settled_at is None and _expectation(session, study, exam) is not None:
        enqueue(session, "worklist.check_complete", once_key=study.id, study_id=study.id)


def check_complete(session: Session, study_id: str, *, now: datetime) -> bool:
    """Settle a study once everything is in that its device or its order announced.

    Returns
    -------
    bool
        Whether it is worth looking again: something was announced and is not in yet. The
        quiet time runs beside this and ends the waiting for what never comes, such as
        objects that a device lists and was never meant to send.
    """
    study = CatalogueRepository(session).study(study_id)
    exam = WorklistRepository(session).exam_of_study(study_id)
    if study is None or exam is None or study.settled_at is not None:
        return False
    if State(exam.state) is not State.RECEIVING:
        return False
    expected = _expectation(session, study, exam)
    if expected is None:
        return False
    reason = expected.fulfilled(session, study)
    if reason:
        catalogue.complete_by(session, study.id, reason, now=now)
    return not reason


@dataclass(frozen=True)
class Expectation:
    """What was announced of a study."""

    listed: frozenset[str]
    """SOP Instance UIDs that devices say they made; empty while one of them is still at work."""
    objects: int | None
    """How many images the order expects."""

    def fulfilled(self, session: Session, study: Study) -> str:
        """Return which announcement is fulfilled, ``mpps`` or ``views``; empty for none."""
        if self.listed and self.listed <= catalogue.study_holds(session, study.site_id, self.listed):
            return "mpps"
        if self.objects is not None and study.n_instances >= self.objects:
            return "views"
        return ""


def _expectation(session: Session, study: Study, exam: Exam) -> Expectation | None:
    """Return what was announced since the study was complete the last time; None when nothing was.

    The number of views counts for the first time only: an exam that is taken again has more.
    """
    repository = WorklistRepository(session)
    before = repository.completed_at(exam.id)
    rows = repository.steps_of_study(study.site_id, study.study_uid, exam.order_id)
    steps = [row.step for row in rows if before is None or row.step.updated_at > before]
    at_work = any(step.status == IN_PROGRESS for step in steps)
    done = [] if at_work else [step for step in steps if step.status == COMPLETED]
    listed = frozenset(sop_uid for step in done for _series, _class, sop_uid in step.objects)
    order = repository.order(exam.order_id) if exam.order_id else None
    objects = order.expected_objects if order and before is None else None
    return Expectation(listed, objects) if listed or objects is not None else None
