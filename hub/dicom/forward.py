"""Sending studies on to other systems: what is queued, what is next, what came of it.

A task is one study on its way to one node. One run at a time looks after a node, sends
one task after the other and hands over after a while; so a node that is slow or dead
holds up nobody but its own queue. Everything that a run knows is in rows: after a crash
the next run goes on at the first object that was not answered.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.service import SYSTEM, ActorRef
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue.models import Instance, Study
from hub.db.repository import insert_or_get
from hub.dicom import nodes
from hub.dicom.exchange_repository import ForwardRepository, NodeRepository
from hub.dicom.models import DicomNode, ForwardedObject, ForwardTask
from hub.errors import Conflict, NotFound

STUCK_AFTER = timedelta(hours=1)
"""A task that waits longer than this is shown as stuck; it is tried all the same."""
LEASE = timedelta(seconds=150)
"""A run without a sign of life for this long is dead; longer than any peer is waited for."""


class StudyUnknown(NotFound):
    """No study has that Study Instance UID, accession number or id."""


class StudyAmbiguous(Conflict):
    """Several studies fit: name one by its id."""


class NothingToSend(Conflict):
    """The study has no DICOM object that this node does not come from itself."""


class NotWaiting(Conflict):
    """The study is not waiting to be sent any more."""


@dataclass(frozen=True)
class Step:
    """One task that a run has taken on, as plain values that outlive the session."""

    run_id: str
    node: DicomNode
    task_id: str
    study_id: str
    objects: tuple[Instance, ...]
    """What is still to be sent, in display order."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a task ended.

    Attributes
    ----------
    kind : str
        ``done``: every object was taken. ``again``: later, the task waits. ``failed``: it
        would fail again, a person must look. ``away``: no association came about, so the
        node waits with all its tasks. ``stopped``: the task was taken from this run.
    trouble : str
        The word for it, perhaps with a status or UID after a colon.
    """

    kind: str
    trouble: str = ""


# What is queued


def plan(
    session: Session, study_id: str, addresses: dict[str, frozenset[str]], *, now: datetime
) -> list[ForwardTask]:
    """Queue a settled study for every node whose rules it fits.

    Parameters
    ----------
    addresses : dict of str to frozenset of str
        Host of each node to its IP addresses, resolved before the transaction.
    """
    repository = ForwardRepository(session)
    study = session.get(Study, study_id)
    if study is None:
        return []
    modalities = repository.modalities(study_id) | {study.modality}
    fitting = [node for node in NodeRepository(session).nodes() if wants(node, study.site_id, modalities)]
    queued = [_queue(session, study, node, addresses.get(node.host, frozenset()), now) for node in fitting]
    return [task for task in queued if task is not None]


def wants(node: DicomNode, site_id: str, modalities: Collection[str]) -> bool:
    """Tell whether settled studies of this site and these modalities go to a node by themselves."""
    return (
        node.forward
        and (not node.forward_sites or site_id in node.forward_sites)
        and (not node.forward_modalities or not set(node.forward_modalities).isdisjoint(modalities))
    )


def comes_from(instance: Instance, node: DicomNode, addresses: Collection[str]) -> bool:
    """Tell whether a node sent this object itself: it gets nothing back that it has."""
    return instance.calling_ae == node.ae_title and (not addresses or instance.address in addresses)


def send_study(
    session: Session,
    actor: Actor,
    study: str,
    node: DicomNode,
    addresses: dict[str, frozenset[str]],
    *,
    now: datetime,
) -> ForwardTask:
    """Queue a study for a node by hand; one that was sent in full is sent again in full.

    Parameters
    ----------
    study : str
        Study Instance UID, accession number or row id.

    Raises
    ------
    StudyUnknown, StudyAmbiguous
        None or several of the actor's sites' studies fit.
    NothingToSend
        It holds no object that could be sent there.
    """
    found = ForwardRepository(session).studies(actor, study.strip())
    if not found:
        raise StudyUnknown
    if len(found) > 1:
        raise StudyAmbiguous
    task = _queue(session, found[0], node, addresses.get(node.host, frozenset()), now, by_hand=True)
    if task is None:
        raise NothingToSend
    _audit(session, Tag.FORWARD_REQUEST, task, node, found[0].site_id, actor.ref)
    return task


def retry(session: Session, actor: Actor, task_id: str, *, now: datetime) -> ForwardTask:
    """Send a task now: one that failed or was cancelled, or one that waits for its next try."""
    task, node, site_id = _task_of(session, actor, task_id)
    if task.state == "done":
        raise NotWaiting
    if task.state != "sending":
        _requeue(task, now)
    nodes.forgive(session, node)
    _audit(session, Tag.FORWARD_REQUEST, task, node, site_id, actor.ref)
    return task


def cancel(session: Session, actor: Actor, task_id: str, *, now: datetime) -> ForwardTask:
    """Send a task no further; what a run is sending just now still arrives."""
    task, node, site_id = _task_of(session, actor, task_id)
    if task.state in {"done", "cancelled"}:
        raise NotWaiting
    task.state, task.next_at, task.updated_at = "cancelled", None, now
    _audit(session, Tag.FORWARD_CANCEL, task, node, site_id, actor.ref)
    return task


def is_stuck(task: ForwardTask, now: datetime) -> bool:
    """Tell whether a person should look at a task."""
    return task.state == "failed" or (
        task.state in {"waiting", "sending"} and now - task.queued_at > STUCK_AFTER
    )


def _queue(
    session: Session,
    study: Study,
    node: DicomNode,
    addresses: frozenset[str],
    now: datetime,
    *,
    by_hand: bool = False,
) -> ForwardTask | None:
    repository = ForwardRepository(session)
    objects = [one for one in repository.objects(study.id) if not comes_from(one, node, addresses)]
    if not objects:
        return None
    task, new = insert_or_get(
        session,
        ForwardTask,
        {"node_id": node.id, "study_id": study.id},
        {"state": "waiting", "created_at": now, "queued_at": now, "updated_at": now},
    )
    sent = repository.sent(task.id)
    task.objects_total = len(objects)
    complete = all(one.id in sent for one in objects)
    if by_hand and complete and task.state != "sending":
        repository.forget_sent(task.id)
        task.objects_sent, complete = 0, False
    again = task.state in {"done", "failed"} or (by_hand and task.state in {"cancelled", "waiting"})
    if again and not complete:
        _requeue(task, now)
    if new or (again and not complete):
        nodes.wake(session, node.id)
    return task


def _requeue(task: ForwardTask, now: datetime) -> None:
    task.state, task.queued_at, task.updated_at = "waiting", now, now
    task.next_at, task.attempts, task.last_error = None, 0, ""


def _task_of(session: Session, actor: Actor, task_id: str) -> tuple[ForwardTask, DicomNode, str]:
    """Return a task the actor may handle, its node and the site of its study."""
    seen = ForwardRepository(session).task(task_id)
    study = session.get(Study, seen.study_id) if seen else None
    if seen is None or study is None or not actor.may(Permission.ADMINISTER, study.site_id):
        raise NotFound("no such task")
    # Node before task, as a run locks them.
    node = NodeRepository(session).lock(seen.node_id)
    task = ForwardRepository(session).lock(task_id)
    if node is None or task is None:
        raise NotFound("no such task")
    return task, node, study.site_id


# What a run does


def take_node(session: Session, node_id: str, run_id: str, *, now: datetime) -> bool:
    """Let a run look after a node; False when another one does."""
    node = NodeRepository(session).lock(node_id)
    if node is None or not _free(node, run_id, now):
        return False
    node.runner, node.runner_until = run_id, now + LEASE
    return True


def next_step(
    session: Session, node_id: str, run_id: str, addresses: dict[str, frozenset[str]], *, now: datetime
) -> Step | None:
    """Take the next task of a node on; with nothing to do let go of the node and see to the next time.

    The node's row is locked: a task that is queued at the same time is either seen here,
    or its own run finds the node free.
    """
    node = NodeRepository(session).lock(node_id)
    if node is None or node.runner != run_id:
        return None
    repository = ForwardRepository(session)
    if node.active and (node.retry_at is None or node.retry_at <= now):
        while (task := repository.next_due(node_id, now)) is not None:
            objects = _pending(repository, task, node, addresses)
            if objects:
                task.state, task.updated_at = "sending", now
                node.runner_until = now + LEASE
                return Step(run_id, node, task.id, task.study_id, tuple(objects))
            _finish(session, task, node, now)
            session.flush()
    let_go(session, node, now)
    return None


def let_go(session: Session, node: DicomNode, now: datetime) -> None:
    """End a run at a node, and wake the next one when something will be due."""
    node.runner, node.runner_until = "", None
    if not node.active:
        return
    away = node.retry_at is not None and node.retry_at > now
    moment = node.retry_at if away else ForwardRepository(session).next_moment(node.id)
    if moment is not None:
        nodes.wake(session, node.id, max(0.0, (moment - now).total_seconds()))


def note_sent(session: Session, step: Step, instance_ids: list[str], *, now: datetime) -> bool:
    """Keep which objects a node has taken; False when the task was taken from this run meanwhile."""
    node = NodeRepository(session).lock(step.node.id)
    task = ForwardRepository(session).lock(step.task_id)
    if node is None or task is None:
        return False
    if instance_ids:
        known = ForwardRepository(session).sent(task.id)
        session.add_all(
            ForwardedObject(task_id=task.id, instance_id=one, at=now)
            for one in instance_ids
            if one not in known
        )
        task.objects_sent = len(known | set(instance_ids))
        node.last_sent_at = now
    task.updated_at = now
    if node.runner != step.run_id or not node.active or task.state != "sending":
        return False
    node.runner_until = now + LEASE
    return True


def conclude(session: Session, step: Step, outcome: Outcome, *, now: datetime) -> None:
    """Write down how an attempt ended."""
    node = NodeRepository(session).lock(step.node.id)
    task = ForwardRepository(session).lock(step.task_id)
    if node is None or task is None or task.state != "sending" or node.runner != step.run_id:
        return
    task.updated_at = now
    if outcome.kind == "away":
        node.failures += 1
        node.failing_since = node.failing_since or now
        node.retry_at, node.last_error = now + nodes.wait_after(node.failures), outcome.trouble
        task.state = "waiting"
        return
    if outcome.kind != "stopped":
        node.failures, node.failing_since, node.retry_at, node.last_error = 0, None, None, ""
    if outcome.kind == "failed":
        task.state, task.last_error, task.next_at = "failed", outcome.trouble, None
        task.attempts += 1
    else:
        # One that is through waits as well: `next_step` closes it when nothing has come meanwhile.
        task.state, task.last_error = "waiting", outcome.trouble
        if outcome.kind == "again":
            task.attempts += 1
            task.next_at = now + nodes.wait_after(task.attempts)


def _finish(session: Session, task: ForwardTask, node: DicomNode, now: datetime) -> None:
    """Close a task that has nothing left."""
    task.objects_sent = task.objects_total
    task.state, task.next_at, task.attempts, task.last_error = "done", None, 0, ""
    task.done_at = task.updated_at = now
    study = session.get(Study, task.study_id)
    assert study is not None  # the foreign key says so
    _audit(session, Tag.STUDY_FORWARD, task, node, study.site_id, SYSTEM)


def _pending(
    repository: ForwardRepository, task: ForwardTask, node: DicomNode, addresses: dict[str, frozenset[str]]
) -> list[Instance]:
    """Return what a task has still to send, and set its total."""
    there = addresses.get(node.host, frozenset())
    objects = [one for one in repository.objects(task.study_id) if not comes_from(one, node, there)]
    task.objects_total = len(objects)
    sent = repository.sent(task.id)
    return [one for one in objects if one.id not in sent]


def _free(node: DicomNode, run_id: str, now: datetime) -> bool:
    return node.runner in {"", run_id} or node.runner_until is None or node.runner_until <= now


def _audit(  # noqa: PLR0917 - what an event is made of
    session: Session, tag: Tag, task: ForwardTask, node: DicomNode, site_id: str, actor: ActorRef
) -> None:
    audit.record(
        session,
        tag,
        actor=actor,
        subject_kind="study",
        subject_id=task.study_id,
        site_id=site_id,
        node_id=node.id,
        ae_title=node.ae_title,
        objects=task.objects_sent,
    )
