"""All SQL of the job room, on our tables and on the few columns of DBOS's that we rely on.

DBOS's tables are pinned with its version. A row of `workflow_status` is one job; only a
worker that owns it (``owner_xid``) may write its outcome, which is what makes it safe to
put a row back to waiting from here while its last execution is still leaving.
"""

import json
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hub.jobs.models import (
    SYSTEM_SCHEMA,
    JobFailure,
    JobSchedule,
    JobWorker,
    workflow_input,
    workflow_output,
    workflow_status,
)
from hub.jobs.system import SCHEMA

WAITING = ("ENQUEUED", "DELAYED")
FINISHED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
IN_PROCESS = "in-process"
"""Executor of jobs that a test runs itself."""
GIVEN_UP = ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")

_w = workflow_status.c


@dataclass(frozen=True)
class StoredJob:
    """One job as its rows say."""

    id: str
    name: str
    status: str
    ids: dict[str, Any]
    dispatches: int
    enqueued_ms: int
    started_ms: int | None
    due_ms: int | None
    finished_ms: int | None


@dataclass(frozen=True)
class Failures:
    """What went wrong with one job so far."""

    count: int
    since_given_up: int
    error: str
    message: str


def join_waiting(session: Session, queue: str, key: str, delay_seconds: float) -> str | None:
    """Return the job that holds `key` and has not started, due at the earlier time; else free the key.

    The row is locked to the end of the caller's transaction. Workers skip locked rows, so
    the job cannot start before what the caller writes is committed.
    """
    _bind(session)
    row = session.execute(
        sa.select(_w.workflow_uuid, _w.status, _w.delay_until_epoch_ms)
        .where(_w.queue_name == queue, _w.deduplication_id == key)
        .with_for_update()
    ).first()
    if row is None:
        return None
    job_id, status, due_ms = row
    if status not in WAITING:
        session.execute(
            sa.update(workflow_status).where(_w.workflow_uuid == job_id).values(deduplication_id=None)
        )
        return None
    wanted = _now_ms() + int(delay_seconds * 1000)
    if status == "DELAYED" and due_ms is not None and wanted < due_ms:
        values: dict[str, Any] = {"delay_until_epoch_ms": wanted}
        if delay_seconds <= 0:
            values["status"] = "ENQUEUED"
        session.execute(sa.update(workflow_status).where(_w.workflow_uuid == job_id).values(values))
    return str(job_id)


def postpone(session: Session, job_id: str, executor_id: str, wait_seconds: float) -> bool:
    """Put a job back to waiting; tell whether this executor was running it."""
    _bind(session)
    return _moved(
        session,
        sa.update(workflow_status)
        .where(_w.workflow_uuid == job_id, _w.status == "PENDING", _w.executor_id == executor_id)
        .values(
            status="DELAYED",
            owner_xid=None,
            executor_id=None,
            started_at_epoch_ms=None,
            delay_until_epoch_ms=_now_ms() + int(wait_seconds * 1000),
            updated_at=_now_ms(),
        ),
    )


def restart(session: Session, job_id: str, queue: str) -> bool:
    """Put a job that gave up or was cancelled back into the queue; tell whether there was one."""
    _bind(session)
    moved = _moved(
        session,
        sa.update(workflow_status)
        .where(_w.workflow_uuid == job_id, _w.status.in_((*GIVEN_UP, "CANCELLED")))
        .values(
            status="ENQUEUED",
            queue_name=queue,
            owner_xid=None,
            executor_id=None,
            recovery_attempts=0,
            started_at_epoch_ms=None,
            delay_until_epoch_ms=None,
            completed_at=None,
            updated_at=_now_ms(),
        ),
    )
    if moved:
        session.execute(sa.delete(workflow_output).where(workflow_output.c.workflow_uuid == job_id))
    return moved


def cancel(session: Session, job_id: str) -> bool:
    """Take a job that has not started out of the queue; tell whether there was one."""
    _bind(session)
    return _moved(
        session,
        sa.update(workflow_status)
        .where(_w.workflow_uuid == job_id, _w.status.in_(WAITING))
        .values(
            status="CANCELLED",
            queue_name=None,
            deduplication_id=None,
            owner_xid=None,
            completed_at=_now_ms(),
            updated_at=_now_ms(),
        ),
    )


def claim_next(
    session: Session, *, skip_delays: bool, names: Collection[str] | None = None
) -> StoredJob | None:
    """Mark the oldest due job as running and return it (for tests that run jobs in their own process)."""
    _bind(session)
    due = _w.status == "ENQUEUED"
    delayed = _w.status == "DELAYED"
    if not skip_delays:
        delayed = sa.and_(delayed, _w.delay_until_epoch_ms <= _now_ms())
    found = session.scalar(
        sa.select(_w.workflow_uuid)
        .where(sa.or_(due, delayed), sa.true() if names is None else _w.name.in_(names))
        .order_by(_w.created_at, _w.workflow_uuid)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if found is None:
        return None
    session.execute(
        sa.update(workflow_status)
        .where(_w.workflow_uuid == found)
        .values(
            status="PENDING",
            executor_id=IN_PROCESS,
            started_at_epoch_ms=_now_ms(),
            recovery_attempts=_w.recovery_attempts + 1,
        )
    )
    return find(session, found)


def finish(session: Session, job_id: str, status: str) -> None:
    """Write the outcome of a job run in-process; a running one only."""
    _bind(session)
    session.execute(
        sa.update(workflow_status)
        .where(_w.workflow_uuid == job_id, _w.status == "PENDING")
        .values(status=status, deduplication_id=None, completed_at=_now_ms(), updated_at=_now_ms())
    )


def find(session: Session, job_id: str) -> StoredJob | None:
    """Return one job, or nothing."""
    return next(iter(_read(session, _w.workflow_uuid == job_id, 1)), None)


def newest(session: Session, statuses: Sequence[str] | None, limit: int) -> list[StoredJob]:
    """Return jobs in these states, newest first."""
    condition = _w.status.in_(statuses) if statuses is not None else sa.true()
    return _read(session, condition, limit)


def overdue(session: Session, before: datetime, limit: int) -> list[StoredJob]:
    """Return jobs that gave up, and those that should have started or finished before `before`."""
    edge = int(before.timestamp() * 1000)
    late = sa.or_(
        _w.status.in_(GIVEN_UP),
        sa.and_(_w.status == "ENQUEUED", sa.func.coalesce(_w.delay_until_epoch_ms, _w.created_at) < edge),
        sa.and_(_w.status == "DELAYED", _w.delay_until_epoch_ms < edge),
        sa.and_(_w.status == "PENDING", _w.started_at_epoch_ms < edge),
    )
    return _read(session, late, limit)


def counts(session: Session) -> dict[tuple[str, str], int]:
    """Return the number of jobs by (name, status)."""
    _bind(session)
    query = sa.select(_w.name, _w.status, sa.func.count()).group_by(_w.name, _w.status)
    return {(name, status): number for name, status, number in session.execute(query)}


def add_failure(
    session: Session, job_id: str, *, at: datetime, error: str, message: str, final: bool
) -> None:
    """Keep one failed attempt."""
    session.add(JobFailure(job_id=job_id, at=at, error=error[:200], message=message, final=final))
    session.flush()


def failures_of(session: Session, job_ids: Iterable[str]) -> dict[str, Failures]:
    """Return the failures of each of these jobs that has any."""
    found: dict[str, Failures] = {}
    query = (
        sa.select(JobFailure.job_id, JobFailure.error, JobFailure.message, JobFailure.final)
        .where(JobFailure.job_id.in_(list(job_ids)))
        .order_by(JobFailure.id)
    )
    for job_id, error, message, final in session.execute(query):
        before = found.get(job_id, Failures(0, 0, "", ""))
        since = 0 if final else before.since_given_up + 1
        found[job_id] = Failures(before.count + 1, since, error, message)
    return found


def purge(session: Session, before: datetime, limit: int) -> int:
    """Delete jobs that ended well or were cancelled before `before`; return how many.

    Those that gave up stay until a person has looked at them.
    """
    _bind(session)
    edge = int(before.timestamp() * 1000)
    ended = sa.select(_w.workflow_uuid).where(_w.status.in_(("SUCCESS", "CANCELLED")), _w.updated_at < edge)
    gone = list(session.scalars(ended.limit(limit)))
    for table in (workflow_input, workflow_output, workflow_status):
        session.execute(sa.delete(table).where(table.c.workflow_uuid.in_(gone)))
    session.execute(sa.delete(JobFailure).where(JobFailure.job_id.in_(gone)))
    return len(gone)


def beat(session: Session, executor_id: str, at: datetime) -> None:
    """Write a sign of life of a worker, by the clock of the database."""
    now = _database_now(session)
    moved = _moved(
        session,
        sa.update(JobWorker).where(JobWorker.executor_id == executor_id).values(beat_at=now),
    )
    if not moved:
        session.execute(sa.insert(JobWorker).values(executor_id=executor_id, beat_at=now, started_at=at))


def leave(session: Session, executor_id: str) -> None:
    """Remove the sign of life of a worker that ends in good order."""
    session.execute(sa.delete(JobWorker).where(JobWorker.executor_id == executor_id))


def dead_executors(session: Session, silent_seconds: float) -> list[str]:
    """Return executors that hold running jobs and gave no sign of life for so long."""
    _bind(session)
    alive = sa.select(JobWorker.executor_id).where(
        JobWorker.beat_at > _database_now(session) - silent_seconds
    )
    query = sa.select(_w.executor_id).where(
        _w.status == "PENDING", _w.executor_id.is_not(None), _w.executor_id.not_in(alive)
    )
    return sorted(set(session.scalars(query)))


def forget_silent(session: Session, silent_seconds: float) -> None:
    """Remove signs of life older than this."""
    edge = _database_now(session) - silent_seconds
    session.execute(sa.delete(JobWorker).where(JobWorker.beat_at < edge))


def take_tick(session: Session, name: str, every_seconds: float) -> tuple[bool, float]:
    """Tell whether a schedule is due, for one caller only, and in how many seconds to ask again."""
    now = _database_now(session)
    taken = _moved(
        session,
        sa.update(JobSchedule)
        .where(JobSchedule.name == name, JobSchedule.due_at <= now)
        .values(due_at=now + every_seconds),
    )
    if taken:
        return True, every_seconds
    due_at = session.scalar(sa.select(JobSchedule.due_at).where(JobSchedule.name == name))
    if due_at is not None:
        # Not later than one period from now, should the clock have been set back.
        return False, max(0.0, min(due_at - now, every_seconds))
    first = _insert_for(session)(JobSchedule).values(name=name, due_at=now + every_seconds)
    made = session.execute(first.on_conflict_do_nothing().returning(JobSchedule.name)).first()
    return made is not None, every_seconds


def _insert_for(session: Session) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite

    return sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert


def _read(session: Session, condition: sa.ColumnElement[bool], limit: int) -> list[StoredJob]:
    _bind(session)
    query = (
        sa.select(
            _w.workflow_uuid,
            _w.name,
            _w.status,
            workflow_input.c.inputs,
            _w.recovery_attempts,
            _w.created_at,
            _w.started_at_epoch_ms,
            _w.delay_until_epoch_ms,
            _w.completed_at,
        )
        .outerjoin(workflow_input, workflow_input.c.workflow_uuid == _w.workflow_uuid)
        .where(condition)
        .order_by(_w.created_at.desc(), _w.workflow_uuid.desc())
        .limit(limit)
    )
    return [
        StoredJob(job_id, name, status, _ids(inputs), dispatches or 0, created, started, due, finished)
        for job_id, name, status, inputs, dispatches, created, started, due, finished in session.execute(
            query
        )
    ]


def _ids(inputs: str | None) -> dict[str, Any]:
    arguments = json.loads(inputs)["positionalArgs"] if inputs else []
    return dict(arguments[0]) if arguments else {}


def _bind(session: Session) -> None:
    """Point the tables of DBOS at the schema they have in this database."""
    connection = session.connection()
    existing = connection.get_execution_options().get("schema_translate_map") or {}
    schema = None if connection.dialect.name == "sqlite" else SCHEMA
    connection.execution_options(schema_translate_map={**existing, SYSTEM_SCHEMA: schema})


def _moved(session: Session, statement: sa.Update) -> bool:
    return cast("sa.CursorResult[Any]", session.execute(statement)).rowcount > 0


def _database_now(session: Session) -> float:
    """Return the database's time in seconds: workers on several machines compare by one clock."""
    if session.get_bind().dialect.name == "sqlite":
        return time.time()  # one machine, one clock
    return float(session.scalar(sa.select(sa.func.extract("epoch", sa.func.clock_timestamp()))) or 0.0)


def _now_ms() -> int:
    return int(time.time() * 1000)
