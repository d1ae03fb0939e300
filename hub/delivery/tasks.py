"""Background work of delivery."""

from hub.context import Context
from hub.delivery import service
from hub.jobs.registry import job


@job("delivery.deliver")
def deliver(context: Context, *, signed_report_id: str) -> None:
    """Bring one signed report to its site."""
    with context.db.transaction() as session:
        service.deliver(session, signed_report_id, now=context.clock())
