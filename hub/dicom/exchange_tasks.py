"""Jobs of forwarding and commitment."""

from hub.context import Context
from hub.dicom import forward, nodes
from hub.dicom.exchange_repository import NodeRepository
from hub.dicom.forward_send import look_after_node
from hub.jobs.registry import job, scheduled

QUEUE = "exchange"


@job("dicom.forward_study")
def forward_study(context: Context, *, study_id: str) -> None:
    """Queue a settled study for the nodes that want it."""
    with context.db.reading() as session:
        hosts = [node.host for node in NodeRepository(session).nodes() if node.forward]
    addresses = nodes.addresses_of(hosts)
    with context.db.transaction() as session:
        forward.plan(session, study_id, addresses, now=context.clock())


@job("dicom.forward_to_node", queue=QUEUE)
def forward_to_node(context: Context, *, node_id: str, run_id: str) -> None:
    """Send what waits for one node."""
    look_after_node(context, node_id, run_id)


@scheduled("dicom.forward_overdue", every_seconds=60)
def forward_overdue(context: Context) -> None:
    """Wake runs for nodes that a lost timer or a dead run has left behind."""
    now = context.clock()
    with context.db.transaction() as session:
        for node_id in NodeRepository(session).due(now):
            nodes.wake(session, node_id)
