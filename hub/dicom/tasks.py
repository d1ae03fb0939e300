"""Background work on settled studies: descriptions, packs, and clearing away what they replaced."""

from hub.catalogue import packing
from hub.catalogue.notes import write_note
from hub.catalogue.tasks import store_answers
from hub.context import Context
from hub.dicom import series_metadata
from hub.jobs.queue import enqueue
from hub.jobs.registry import job, scheduled


@job("dicom.prepare_study", queue="heavy")
def prepare_study(context: Context, *, study_id: str) -> None:
    """Describe and pack a study that has settled, and note what its files do not say."""
    with store_answers():
        series_metadata.prepare_study(context, study_id)
        packing.pack_study(context, study_id)
        write_note(context, study_id)


@scheduled("dicom.remove_retired", every_seconds=600)
def remove_retired(context: Context) -> None:
    """Remove objects that nothing has pointed at for an hour."""
    packing.remove_retired(context)


@scheduled("dicom.retire_strays", every_seconds=86400)
def retire_strays(context: Context) -> None:
    """Find packs that a process which died never entered."""
    packing.retire_strays(context)


@scheduled("dicom.describe_forgotten", every_seconds=3600)
def describe_forgotten(context: Context) -> None:
    """Prepare studies again whose stored descriptions do not fit any more, or never came to be."""
    for study_id in series_metadata.describe_forgotten(context):
        with context.db.transaction() as session:
            enqueue(session, "dicom.prepare_study", once_key=study_id, study_id=study_id)
