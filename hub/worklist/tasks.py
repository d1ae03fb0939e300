"""Background work of the worklist."""

from datetime import timedelta

from hub.auth.actor import SYSTEM
from hub.catalogue.repository import CatalogueRepository
from hub.context import Context
from hub.errors import Conflict
from hub.jobs.queue import enqueue
from hub.jobs.registry import job, scheduled
from hub.worklist import completeness, ecg_analysis, matching, service
from hub.worklist.ecg_repository import EcgRepository
from hub.worklist.repository import WorklistRepository


@job("worklist.receive")
def receive(context: Context, *, study_id: str) -> None:
    """Give a study that has begun to arrive its exam."""
    with context.db.transaction() as session:
        matching.receive(session, study_id, settings=context.settings, now=context.clock())


@job("worklist.open_exam")
def open_exam(context: Context, *, study_id: str, reason: str) -> None:
    """Put the exam of a settled study on the worklist; of an ECG what the machine says follows at once."""
    with context.db.reading() as session:
        study = CatalogueRepository(session).study(study_id)
    with context.db.transaction() as session:
        exam = matching.open_exam(session, study_id, reason, settings=context.settings, now=context.clock())
        if exam is not None:
            ecg_analysis.mark(session, context, exam)
    if study is not None and study.modality == "ECG":
        ecg_analysis.analyse_study(context, study_id)


@job("worklist.analyse_ecgs", queue="heavy")
def analyse_ecgs(context: Context, *, study_id: str) -> None:
    """Analyse the ECGs of a study that nobody has waited for."""
    ecg_analysis.analyse_study(context, study_id)


LEFT_SECONDS = 60.0
"""An ECG that waits to be read for so long without a machine's opinion was left behind."""

LEFT_AT_ONCE = 20
"""So many of them are taken up at a time."""


@scheduled("worklist.analyse_left", every_seconds=10)
def analyse_left(context: Context) -> None:
    """Have ECGs analysed whose turn did not come, as when many arrived or a process ended."""
    before = context.clock() - timedelta(seconds=LEFT_SECONDS)
    with context.db.reading() as session:
        left = EcgRepository(session).not_analysed(before, LEFT_AT_ONCE)
    if left:
        with context.db.transaction() as session:
            for study_id in left:
                ecg_analysis.analyse_soon(session, study_id)


LOOK_AGAIN_SECONDS = 2.0
"""Between looks whether all that was announced of a study is in; the quiet time ends them."""


@job("worklist.check_complete")
def check_complete(context: Context, *, study_id: str) -> None:
    """Settle a study once everything is in that its device or its order announced."""
    with context.db.transaction() as session:
        if completeness.check_complete(session, study_id, now=context.clock()):
            enqueue(
                session,
                "worklist.check_complete",
                delay_seconds=LOOK_AGAIN_SECONDS,
                once_key=study_id,
                study_id=study_id,
            )


@scheduled("worklist.expire_leases", every_seconds=5)
def expire_leases(context: Context) -> None:
    """Take exams back from readers whose pages have gone silent; drafts are kept."""
    now = context.clock()
    with context.db.reading() as session:
        waiting = [exam.id for exam in WorklistRepository(session).expired(now)]
    for exam_id in waiting:
        try:
            with context.db.transaction() as session:
                exam = WorklistRepository(session).exam(exam_id)
                if exam is not None:
                    service.expire(session, exam, SYSTEM, now)
        except Conflict:
            continue  # the reader came back in this very moment
