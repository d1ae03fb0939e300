"""Housekeeping of the job room."""

from datetime import timedelta

from hub.context import Context
from hub.jobs import repository
from hub.jobs.registry import scheduled
from hub.kit.clock import utcnow

KEEP = timedelta(days=7)
BATCH = 500


@scheduled("jobs.purge", every_seconds=600)
def purge(context: Context) -> None:
    """Delete jobs that ended well more than a week ago, in small transactions."""
    while True:
        with context.db.transaction() as session:
            if repository.purge(session, utcnow() - KEEP, BATCH) < BATCH:
                return
