"""Writing the end of the audit chain down outside the database."""

import structlog

from hub.audit import repository
from hub.context import Context
from hub.jobs.registry import scheduled

log = structlog.get_logger()


@scheduled("audit.anchor", every_seconds=3600)
def anchor(context: Context) -> None:
    """Log number and hash of the last row.

    Kept with the logs, on another machine where there is one, it is what `verify_chain`
    needs to show that somebody with all rights on the database wrote a new chain.
    """
    with context.db.reading() as session:
        head = repository.head_of(session)
    if head is not None:
        log.info("audit_head", seq=head[0], hash=head[1])
