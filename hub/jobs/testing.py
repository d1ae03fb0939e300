"""Running enqueued jobs inside a test, without a worker.

Jobs are read from the same tables and run by the same code as in the worker, with its
retry policy. What this does not exercise is DBOS's own dispatch and recovery; the tests
of this room do that with real worker processes.
"""

from dataclasses import dataclass
from typing import Any

from hub.context import Context
from hub.jobs import repository
from hub.jobs.registry import find
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
    context: Context, *, skip_delays: bool = False, raise_errors: bool = True, limit: int = 1000
) -> list[RanJob]:
    """Run due jobs, and those they enqueue, oldest first, until none is left.

    Parameters
    ----------
    skip_delays : bool
        Also run jobs that wait for their time (settle timers, retries): as if it had passed.
    raise_errors : bool
        Let the first error of a handler out, as a test wants it. False follows the retry
        policy, as a worker does.
    limit : int
        Most jobs to run; more is a loop.
    """
    ran: list[RanJob] = []
    while True:
        with context.db.transaction() as session:
            stored = repository.claim_next(session, skip_delays=skip_delays)
        if stored is None:
            return ran
        if len(ran) == limit:
            raise RuntimeError(f"more than {limit} jobs in a row, the last one {stored.name}")
        job = find(stored.name)
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
