"""Jobs of forwarding and commitment."""

from datetime import timedelta

from hub.context import Context
from hub.dicom import commitment, forward, nodes
from hub.dicom.commitment_report import report_to_device
from hub.dicom.exchange_repository import CommitmentRepository, NodeRepository
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


@job("dicom.report_commitment", queue=QUEUE)
def report_commitment(context: Context, *, device_id: str) -> None:
    """Tell one device which of its objects are kept."""
    report_to_device(context, device_id)


@scheduled("dicom.commitment_overdue", every_seconds=60)
def commitment_overdue(context: Context) -> None:
    """Wake reports that a lost timer has left behind."""
    overdue = context.clock() - timedelta(seconds=30)
    with context.db.transaction() as session:
        for device_id in CommitmentRepository(session).due_devices(overdue):
            commitment.wake(session, device_id)
