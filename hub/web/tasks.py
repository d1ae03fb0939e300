"""Housekeeping of the web room."""

from datetime import timedelta

from hub.context import Context
from hub.jobs.registry import scheduled
from hub.kit.clock import utcnow
from hub.web import repository

KEEP = timedelta(minutes=10)


@scheduled("web.purge_news", every_seconds=60)
def purge_news(context: Context) -> None:
    """Delete news that every open page has long seen."""
    with context.db.transaction() as session:
        repository.purge_news(session, utcnow() - KEEP)
