"""Background work of the catalogue: settling studies that have gone quiet."""

from collections.abc import Iterator
from contextlib import contextmanager

from hub.catalogue.corrections_repository import CorrectionRepository
from hub.catalogue.notes import write_note
from hub.catalogue.repository import CatalogueRepository
from hub.catalogue.service import settle
from hub.context import Context
from hub.errors import StoreUnavailable
from hub.jobs.queue import enqueue
from hub.jobs.registry import job, scheduled
from storage.errors import StorageError


@job("catalogue.settle")
def settle_quiet_study(context: Context, *, study_id: str) -> None:
    """Settle a study if its quiet time is over; otherwise look again when it will be."""
    now = context.clock()
    with context.db.transaction() as session:
        study = CatalogueRepository(session).lock_study(study_id)
        if study is None or study.settled_at is not None:
            return
        left = (study.settle_due_at - now).total_seconds()
        if left > 0:
            enqueue(session, "catalogue.settle", delay_seconds=left, once_key=study.id, study_id=study_id)
        else:
            settle(session, study, reason="quiet", now=now)


@scheduled("catalogue.settle_overdue", every_seconds=60)
def settle_overdue_studies(context: Context) -> None:
    """Settle what a lost timer has left behind; normally there is nothing to do."""
    now = context.clock()
    with context.db.transaction() as session:
        repository = CatalogueRepository(session)
        for waiting in repository.unsettled(now):
            study = repository.lock_study(waiting.id)
            if study is not None and study.settled_at is None and study.settle_due_at <= now:
                settle(session, study, reason="quiet", now=now)


@job("catalogue.note_studies", queue="heavy")
def note_studies(context: Context, *, study_ids: list[str]) -> None:
    """Note beside settled studies without DICOM objects what their files do not say."""
    with store_answers():
        for study_id in study_ids:
            write_note(context, study_id)


@job("catalogue.charset_changed")
def describe_device_anew(context: Context, *, device_id: str) -> None:
    """Forget the stored descriptions of a device's series, which hold text read in its former charset."""
    with context.db.transaction() as session:
        CorrectionRepository(session).forget_descriptions(device_id)


@contextmanager
def store_answers() -> Iterator[None]:
    """Have the job tried again when the store may answer later."""
    try:
        yield
    except StorageError as error:
        if not error.retriable:
            raise
        raise StoreUnavailable from error
