"""One attempt at one job: call the handler, and decide what its error means."""

import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from hub.context import Context
from hub.db.writing import AWAY
from hub.errors import DatabaseUnavailable
from hub.jobs import repository
from hub.jobs.registry import REGISTRY, Job, RetryPolicy
from hub.kit.clock import utcnow
from storage.errors import StorageError

log = structlog.get_logger()

DATABASE_AWAY = (*AWAY, DatabaseUnavailable)
"""A database that does not answer, a deadlock, a lost connection: tried again whatever the policy."""
OUR_WORDS = ("hub.", "storage.")
"""Modules whose error messages are known to hold no patient data; of others the class alone is kept."""


class JobFailed(Exception):
    """A job gave up. The message is the class of its last error."""


class Postponed(BaseException):
    """The job's row waits for its next attempt already; leave without writing an outcome.

    Not an `Exception`: the worker's machinery would record one as the end of the job.
    """


def run_attempt(
    context: Context,
    job: Job,
    job_id: str,
    ids: dict[str, Any],
    *,
    executor_id: str,
    raise_errors: bool = False,
) -> None:
    """Call the handler once, for the executor that holds the job.

    Raises
    ------
    Postponed
        It failed with an error that its policy tries again; the next attempt is in the queue.
    JobFailed
        It failed for good; the failure is kept for people to see.
    """
    started = time.monotonic()
    try:
        job.handler(context, **ids)
    except Exception as error:
        if raise_errors:
            raise
        wait = _patiently(partial(_settle_failure, context, job, job_id, executor_id, error))
        _log_failure(job, job_id, error, wait)
        if wait is not None:
            raise Postponed from None
        raise JobFailed(type(error).__name__) from None
    note = log.debug if job.name in REGISTRY.schedules else log.info
    note("job_done", job=job.name, job_id=job_id, seconds=round(time.monotonic() - started, 3))


def _settle_failure(
    context: Context, job: Job, job_id: str, executor_id: str, error: Exception
) -> float | None:
    """Record the failure; return the seconds until the next attempt, or None when there is none.

    When another worker has taken the job over meanwhile, its execution counts and this
    one leaves as if postponed.
    """
    message = str(error) if type(error).__module__.startswith(OUR_WORDS) else ""
    with context.db.transaction() as session:
        before = repository.failures_of(session, [job_id]).get(job_id)
        attempt = (before.since_given_up if before else 0) + 1
        again = _may_pass(error, job.retry) and attempt < job.retry.max_attempts
        wait = job.retry.wait_after(attempt) if again else None
        if wait is not None and not repository.postpone(session, job_id, executor_id, wait):
            return wait
        repository.add_failure(
            session, job_id, at=utcnow(), error=type(error).__name__, message=message, final=wait is None
        )
    return wait


def _may_pass(error: Exception, policy: RetryPolicy) -> bool:
    """Tell whether the same call may succeed later; the object store says so of its errors itself."""
    if isinstance(error, StorageError) and error.retriable:
        return True
    return isinstance(error, (*policy.on, *DATABASE_AWAY))


def _patiently(record: Callable[[], float | None]) -> float | None:
    """Call `record` until the database answers: a failure that is not written would be a lost job."""
    pause = 0.5
    while True:
        try:
            return record()
        except DATABASE_AWAY:
            log.warning("job_failure_not_recorded", retry_in=pause)
            time.sleep(pause)
            pause = min(30.0, pause * 2)


def _log_failure(job: Job, job_id: str, error: Exception, wait: float | None) -> None:
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    log.warning(
        "job_postponed" if wait is not None else "job_failed",
        job=job.name,
        job_id=job_id,
        error=type(error).__name__,
        where=[f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames],
        wait_seconds=wait,
    )
