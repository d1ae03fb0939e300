"""Running enqueued jobs inside a test, without a worker.

Jobs are read from the same tables and run by the same code as in the worker, with its
retry policy. What this does not exercise is DBOS's own dispatch and recovery; the tests
of this room do that with real worker processes.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from hub.context import Context
from hub.jobs import repository
from hub.jobs.registry import REGISTRY, load_tasks
from hub.jobs.runner import JobFailed, Postponed, run_attempt


@dataclass(frozen=True)
class RanJob:
    """A job that ran: what it was, and how it ended."""

    id: str
    name: str
    ids: dict[str, Any]
    outcome: str
    """``done``, ``postponed`` (failed and will be tried again) or ``failed``."""


def run_pending(
    context: Context,
    *,
    only: Collection[str] | None = None,
    skip_delays: bool = False,
    raise_errors: bool = True,
    limit: int = 1000,
) -> list[RanJob]:
    """Run due jobs, and those they enqueue, oldest first, until none is left.

    Parameters
    ----------
    only : collection of str, optional
        Names of the jobs to run; others stay in the queue. By default all run, and the
        handlers of all rooms are loaded for that. A test of one room names its own.
    skip_delays : bool
        Also run jobs that wait for their time (settle timers, retries): as if it had passed.
    raise_errors : bool
        Let the first error of a handler out, as a test wants it. False follows the retry
        policy, as a worker does.
    limit : int
        Most jobs to run; more is a loop.
    """
    if only is None:
        load_tasks()
    ran: list[RanJob] = []
    while True:
        with context.db.transaction() as session:
            stored = repository.claim_next(session, skip_delays=skip_delays, names=only)
        if stored is None:
            return ran
        if len(ran) == limit:
            raise RuntimeError(f"more than {limit} jobs in a row, the last one {stored.name}")
        job = REGISTRY.jobs.get(stored.name)
        if job is None:
            raise LookupError(f"no handler is called {stored.name}")
        outcome = "done"
        try:
            run_attempt(
                context,
                job,
                stored.id,
                stored.ids,
                executor_id=repository.IN_PROCESS,
                raise_errors=raise_errors,
            )
        except Postponed:
            outcome = "postponed"
        except JobFailed:
            outcome = "failed"
        except BaseException:
            _finish(context, stored.id, "ERROR")
            raise
        if outcome != "postponed":
            _finish(context, stored.id, "SUCCESS" if outcome == "done" else "ERROR")
        ran.append(RanJob(stored.id, stored.name, stored.ids, outcome))


def _finish(context: Context, job_id: str, status: str) -> None:
    with context.db.transaction() as session:
        repository.finish(session, job_id, status)
