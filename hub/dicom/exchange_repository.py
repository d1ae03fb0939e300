"""Every query about nodes, forwarding and commitments."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, update

from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue.models import Instance, Series, Study
from hub.db.repository import Repository
from hub.dicom.models import CommitmentRequest, DicomNode, ForwardedObject, ForwardTask
from hub.sites.models import Device, Site

OPEN = ("waiting", "sending")
"""States of a task that is still on its way."""
SOME = 500
"""Values in one IN list."""


@dataclass(frozen=True)
class QueueLength:
    """What one node has before it."""

    waiting: int = 0
    failed: int = 0
    oldest: datetime | None = None


@dataclass(frozen=True)
class TaskRow:
    """A task with what a person needs to know it by."""

    task: ForwardTask
    node: DicomNode
    study: Study
    site: Site


@dataclass(frozen=True)
class CommitmentRow:
    """A commitment request with who asked."""

    request: CommitmentRequest
    device: Device
    site: Site


class NodeRepository(Repository):
    """The registry of other DICOM systems."""

    def nodes(self) -> Sequence[DicomNode]:
        """Return every node by name."""
        return self.session.scalars(select(DicomNode).order_by(DicomNode.name)).all()

    def node(self, node_id: str) -> DicomNode | None:
        """Return a node by its row id."""
        return self.session.get(DicomNode, node_id)

    def named(self, name: str) -> DicomNode | None:
        """Return a node by its name or its row id, whatever the case."""
        wanted = name.strip().lower()
        return self.session.scalars(
            select(DicomNode)
            .where(or_(func.lower(DicomNode.name) == wanted, func.lower(DicomNode.id) == wanted))
            .limit(1)
        ).first()

    def lock(self, node_id: str) -> DicomNode | None:
        """Return a node and hold its row until the transaction ends."""
        return self.session.scalars(
            select(DicomNode)
            .where(DicomNode.id == node_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one_or_none()

    def remove(self, node_id: str) -> None:
        """Delete a node with everything that is queued for it or was sent to it."""
        tasks = select(ForwardTask.id).where(ForwardTask.node_id == node_id)
        self.session.execute(delete(ForwardedObject).where(ForwardedObject.task_id.in_(tasks)))
        self.session.execute(delete(ForwardTask).where(ForwardTask.node_id == node_id))
        self.session.execute(delete(DicomNode).where(DicomNode.id == node_id))

    def due(self, now: datetime) -> Sequence[str]:
        """Return the ids of active nodes that have something to send now and that no run looks after."""
        something = (
            select(ForwardTask.id)
            .where(ForwardTask.node_id == DicomNode.id, ForwardTask.state.in_(OPEN), _due(now))
            .exists()
        )
        return self.session.scalars(
            select(DicomNode.id).where(
                DicomNode.active,
                or_(DicomNode.retry_at.is_(None), DicomNode.retry_at <= now),
                or_(DicomNode.runner == "", DicomNode.runner_until <= now),
                something,
            )
        ).all()


class ForwardRepository(Repository):
    """Studies on their way to nodes."""

    def task(self, task_id: str) -> ForwardTask | None:
        """Return a task by its row id."""
        return self.session.get(ForwardTask, task_id)

    def lock(self, task_id: str) -> ForwardTask | None:
        """Return a task and hold its row until the transaction ends."""
        return self.session.scalars(
            select(ForwardTask)
            .where(ForwardTask.id == task_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one_or_none()

    def next_due(self, node_id: str, now: datetime) -> ForwardTask | None:
        """Return the task to work on next: those that never failed first, of these the oldest."""
        return self.session.scalars(
            select(ForwardTask)
            .where(ForwardTask.node_id == node_id, ForwardTask.state.in_(OPEN), _due(now))
            .order_by(ForwardTask.attempts, ForwardTask.queued_at, ForwardTask.id)
            .limit(1)
            .execution_options(populate_existing=True)
        ).first()

    def next_moment(self, node_id: str) -> datetime | None:
        """Return when the next postponed task of a node becomes due."""
        return self.session.scalar(
            select(func.min(ForwardTask.next_at)).where(
                ForwardTask.node_id == node_id, ForwardTask.state == "waiting"
            )
        )

    def objects(self, study_id: str) -> Sequence[Instance]:
        """Return the objects of a study in display order."""
        return self.session.scalars(
            select(Instance)
            .join(Series, Series.id == Instance.series_id)
            .where(Series.study_id == study_id)
            .order_by(Series.number, Series.series_uid, Instance.number, Instance.sop_uid)
        ).all()

    def modalities(self, study_id: str) -> frozenset[str]:
        """Return the modalities of a study's series."""
        return frozenset(self.session.scalars(select(Series.modality).where(Series.study_id == study_id)))

    def sent(self, task_id: str) -> frozenset[str]:
        """Return the row ids of the objects that a task has delivered."""
        return frozenset(
            self.session.scalars(
                select(ForwardedObject.instance_id).where(ForwardedObject.task_id == task_id)
            )
        )

    def kinds(self, limit: int) -> list[tuple[str, str]]:
        """Return pairs of SOP class and transfer syntax that the archive holds."""
        statement = select(Instance.sop_class, Instance.transfer_syntax).distinct().limit(limit)
        return [(sop_class, syntax) for sop_class, syntax in self.session.execute(statement)]

    def forget_sent(self, task_id: str) -> None:
        """Forget what a task has delivered, so that all is sent again."""
        self.session.execute(delete(ForwardedObject).where(ForwardedObject.task_id == task_id))

    def let_all_go(self, node_id: str) -> None:
        """Let what waits for a node be tried at once."""
        self.session.execute(
            update(ForwardTask)
            .where(ForwardTask.node_id == node_id, ForwardTask.state == "waiting")
            .values(next_at=None)
        )

    def lengths(self) -> dict[str, QueueLength]:
        """Return what each node has before it, by node id."""
        waiting = func.sum(_one_if(ForwardTask.state.in_(OPEN)))
        failed = func.sum(_one_if(ForwardTask.state == "failed"))
        statement = (
            select(ForwardTask.node_id, waiting, failed, func.min(ForwardTask.queued_at))
            .where(ForwardTask.state.in_((*OPEN, "failed")))
            .group_by(ForwardTask.node_id)
        )
        return {
            node_id: QueueLength(int(n_waiting), int(n_failed), oldest)
            for node_id, n_waiting, n_failed, oldest in self.session.execute(statement)
        }

    def rows(
        self, actor: Actor, states: Collection[str] | None = None, limit: int = 200, *, newest: bool = False
    ) -> list[TaskRow]:
        """Return tasks of the sites this actor administers, the longest waiting first."""
        statement = (
            select(ForwardTask, DicomNode, Study, Site)
            .join(DicomNode, DicomNode.id == ForwardTask.node_id)
            .join(Study, Study.id == ForwardTask.study_id)
            .join(Site, Site.id == Study.site_id)
            .limit(limit)
        )
        order = (
            (ForwardTask.updated_at.desc(), ForwardTask.id.desc())
            if newest
            else (ForwardTask.queued_at, ForwardTask.id)
        )
        sites = actor.sites_for(Permission.ADMINISTER)
        if sites is not None:
            statement = statement.where(Study.site_id.in_(sites))
        if states is not None:
            statement = statement.where(ForwardTask.state.in_(states))
        return [TaskRow(*found) for found in self.session.execute(statement.order_by(*order))]

    def studies(self, actor: Actor, text: str, limit: int = 2) -> Sequence[Study]:
        """Return studies by Study Instance UID, accession number or row id, whole."""
        statement = select(Study).where(
            or_(Study.study_uid == text, Study.accession == text, Study.id == text)
        )
        sites = actor.sites_for(Permission.ADMINISTER)
        if sites is not None:
            statement = statement.where(Study.site_id.in_(sites))
        return self.session.scalars(statement.limit(limit)).all()


class CommitmentRepository(Repository):
    """Questions of devices whether their objects are kept."""

    def lock(self, request_id: str) -> CommitmentRequest | None:
        """Return a request and hold its row until the transaction ends."""
        return self.session.scalars(
            select(CommitmentRequest)
            .where(CommitmentRequest.id == request_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one_or_none()

    def held(self, site_id: str, sop_uids: Sequence[str]) -> list[tuple[Instance, str]]:
        """Return a site's objects with these SOP Instance UIDs, each with its study's row id."""
        found: list[tuple[Instance, str]] = []
        for start in range(0, len(sop_uids), SOME):
            statement = (
                select(Instance, Study.id)
                .join(Series, Series.id == Instance.series_id)
                .join(Study, Study.id == Series.study_id)
                .where(Study.site_id == site_id, Instance.sop_uid.in_(sop_uids[start : start + SOME]))
            )
            found += [(instance, study_id) for instance, study_id in self.session.execute(statement)]
        return found

    def sop_uids(self, study_id: str) -> frozenset[str]:
        """Return the SOP Instance UIDs of a study."""
        return frozenset(
            self.session.scalars(
                select(Instance.sop_uid)
                .join(Series, Series.id == Instance.series_id)
                .where(Series.study_id == study_id)
            )
        )

    def waiting_of(self, device_id: str, now: datetime | None = None) -> Sequence[CommitmentRequest]:
        """Return the unanswered requests of a device, oldest first; with `now` those due by then."""
        statement = (
            select(CommitmentRequest)
            .where(CommitmentRequest.device_id == device_id, CommitmentRequest.state == "waiting")
            .order_by(CommitmentRequest.requested_at, CommitmentRequest.id)
        )
        if now is not None:
            statement = statement.where(
                or_(CommitmentRequest.next_at.is_(None), CommitmentRequest.next_at <= now)
            )
        return self.session.scalars(statement).all()

    def next_moment(self, device_id: str) -> datetime | None:
        """Return when the next unanswered request of a device is to be tried."""
        return self.session.scalar(
            select(func.min(CommitmentRequest.next_at)).where(
                CommitmentRequest.device_id == device_id, CommitmentRequest.state == "waiting"
            )
        )

    def due_devices(self, before: datetime) -> Sequence[str]:
        """Return devices with unanswered requests that should have been tried before this moment."""
        return self.session.scalars(
            select(CommitmentRequest.device_id)
            .where(
                CommitmentRequest.state == "waiting",
                func.coalesce(CommitmentRequest.next_at, CommitmentRequest.requested_at) <= before,
            )
            .distinct()
        ).all()

    def postpone(self, device_id: str, until: datetime, error: str) -> None:
        """Let every unanswered request of a device wait: it could not be reached."""
        self.session.execute(
            update(CommitmentRequest)
            .where(CommitmentRequest.device_id == device_id, CommitmentRequest.state == "waiting")
            .values(next_at=until, last_error=error)
        )

    def rows(
        self, actor: Actor, now: datetime, *, older_than: timedelta = timedelta(0), limit: int = 200
    ) -> list[CommitmentRow]:
        """Return requests without an answer at the device, longest waiting first."""
        statement = (
            select(CommitmentRequest, Device, Site)
            .join(Device, Device.id == CommitmentRequest.device_id)
            .join(Site, Site.id == CommitmentRequest.site_id)
            .where(
                CommitmentRequest.state.in_(("waiting", "undeliverable")),
                CommitmentRequest.requested_at <= now - older_than,
            )
            .order_by(CommitmentRequest.requested_at)
            .limit(limit)
        )
        sites = actor.sites_for(Permission.ADMINISTER)
        if sites is not None:
            statement = statement.where(CommitmentRequest.site_id.in_(sites))
        return [CommitmentRow(*found) for found in self.session.execute(statement)]


def _due(now: datetime) -> ColumnElement[bool]:
    return or_(
        ForwardTask.state == "sending",
        and_(ForwardTask.state == "waiting", or_(ForwardTask.next_at.is_(None), ForwardTask.next_at <= now)),
    )


def _one_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)
