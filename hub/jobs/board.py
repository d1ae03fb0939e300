"""What the background is doing: lists for the page and the command, and a person's two levers."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy.orm import Session

from hub.errors import Conflict, NotFound
from hub.jobs import repository
from hub.jobs.registry import queue_of
from hub.jobs.repository import StoredJob
from hub.kit.clock import utcnow

Status = Literal["waiting", "delayed", "running", "done", "failed", "cancelled"]

_STATUS: dict[str, Status] = {
    "ENQUEUED": "waiting",
    "DELAYED": "delayed",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}


@dataclass(frozen=True)
class JobRow:
    """One job, as people see it.

    Attributes
    ----------
    attempts : int
        Times it was started, by any worker.
    error : str
        Class and message of the last failure, empty when there was none.
    due_at : datetime or None
        When a delayed job may start.
    """

    id: str
    name: str
    ids: dict[str, Any]
    status: Status
    attempts: int
    error: str
    enqueued_at: datetime
    started_at: datetime | None
    due_at: datetime | None
    finished_at: datetime | None


def list_jobs(session: Session, *, status: Status | None = None, limit: int = 100) -> list[JobRow]:
    """Return jobs, newest first, of one status or of all."""
    wanted = None if status is None else [theirs for theirs, ours in _STATUS.items() if ours == status]
    return _rows(session, repository.newest(session, wanted, limit))


def stuck_jobs(
    session: Session, older_than: timedelta = timedelta(minutes=10), *, limit: int = 1000
) -> list[JobRow]:
    """Return jobs that need a person: those that gave up, and those waiting or running too long."""
    return _rows(session, repository.overdue(session, utcnow() - older_than, limit))


def get_job(session: Session, job_id: str) -> JobRow:
    """Return one job.

    Raises
    ------
    NotFound
        There is none with this id, or it ended and was purged.
    """
    stored = repository.find(session, job_id)
    if stored is None:
        raise NotFound("there is no such job", job=job_id)
    return _rows(session, [stored])[0]


def count_jobs(session: Session) -> dict[tuple[str, Status], int]:
    """Return the number of jobs by (name, status)."""
    found: dict[tuple[str, Status], int] = {}
    for (name, theirs), number in repository.counts(session).items():
        key = (name, _STATUS[theirs])
        found[key] = found.get(key, 0) + number
    return found


def retry(session: Session, job_id: str) -> None:
    """Start a failed or cancelled job over, with all its attempts before it again.

    Raises
    ------
    NotFound
        There is no such job.
    Conflict
        It is waiting, running or done.
    """
    row = get_job(session, job_id)
    if not repository.restart(session, job_id, queue_of(row.name)):
        raise Conflict("only a failed or cancelled job can be started over", job=job_id)


def cancel(session: Session, job_id: str) -> None:
    """Take a job that has not started out of the queue.

    Raises
    ------
    NotFound
        There is no such job.
    Conflict
        It is running or has ended: handlers are not interrupted.
    """
    get_job(session, job_id)
    if not repository.cancel(session, job_id):
        raise Conflict("only a job that has not started can be cancelled", job=job_id)


def _rows(session: Session, stored: list[StoredJob]) -> list[JobRow]:
    failures = repository.failures_of(session, [job.id for job in stored])
    return [_row(job, failures.get(job.id)) for job in stored]


def _row(job: StoredJob, failures: repository.Failures | None) -> JobRow:
    error = f"{failures.error}: {failures.message}".rstrip(": ") if failures else ""
    if job.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        error = f"WorkerDied: its worker died each of {job.dispatches} times"
    return JobRow(
        id=job.id,
        name=job.name,
        ids=job.ids,
        status=_STATUS[job.status],
        attempts=job.dispatches,
        error=error,
        enqueued_at=_moment(job.enqueued_ms),
        started_at=None if job.started_ms is None else _moment(job.started_ms),
        due_at=None if job.due_ms is None else _moment(job.due_ms),
        finished_at=None if job.finished_ms is None else _moment(job.finished_ms),
    )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
