"""Putting work into the queue, inside the transaction that makes it necessary."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from hub.db.session import Database
from hub.db.writing import Transaction, session_of
from hub.jobs import repository
from hub.jobs.registry import check_ids, load_tasks, queue_of
from hub.jobs.system import client_of
from hub.kit.ids import new_id

if TYPE_CHECKING:
    from dbos import EnqueueOptions

_GATHERED = "hub_jobs_gathered"


def enqueue(
    session: Session, name: str, *, delay_seconds: float = 0.0, once_key: str | None = None, **ids: Any
) -> str:
    """Write a job into the caller's transaction: it exists exactly when that commits.

    Parameters
    ----------
    session : Session
        A session of `hub.db.session.Database.transaction`.
    name : str
        Name of a handler registered with `hub.jobs.registry.job`, here or in the worker.
    delay_seconds : float
        The job starts no earlier than this many seconds from now; precision one second.
    once_key : str, optional
        Join a job of the same name and key that has **not started yet**, instead of adding
        one; its ids stay, and it becomes due at the earlier of both times. A job that is
        running already does not count: it may have read the data before this change.
    **ids
        Plain JSON values. Ids, never patient data: they are stored in clear and shown.

    Returns
    -------
    str
        Id of the job, new or joined.

    Raises
    ------
    TypeError
        An argument is no plain JSON value.
    """
    check_ids(ids)
    queue = queue_of(name)
    options: EnqueueOptions = {"workflow_name": name, "queue_name": queue}
    if once_key is None:
        return _insert(session, options, delay_seconds, ids)
    key = options["deduplication_id"] = f"{name}:{once_key}"
    from dbos import error as dbos_errors

    while True:
        joined = repository.join_waiting(session, queue, key, delay_seconds)
        if joined is not None:
            return joined
        try:
            with session.begin_nested():
                return _insert(session, options, delay_seconds, ids)
        except dbos_errors.DBOSQueueDeduplicatedError:
            continue  # another transaction wrote the same key meanwhile, and has committed: join that one


def gather(session: Session, name: str, key: str, value: Any) -> None:
    """Have one job done for all that a transaction gathers under `name`: its argument `key` is the list.

    For small work that many things in one transaction make necessary. The list may name what
    a savepoint has rolled back.
    """
    gathered: dict[tuple[str, str], list[Any]] = session.info.setdefault(_GATHERED, {})
    gathered.setdefault((name, key), []).append(value)


def _enqueue_gathered(at: Transaction) -> None:
    for (name, key), values in at.info.pop(_GATHERED, {}).items():
        enqueue(session_of(at), name, **{key: values})


Database.before_commit.append(_enqueue_gathered)


def prepare(engine: Engine) -> None:
    """Load what enqueueing needs, at the start of every process that does it.

    DBOS takes a second to load, which the first request should not wait for; and the rooms'
    handlers say which queue each job belongs to.
    """
    client_of(engine)
    load_tasks()


def _insert(session: Session, options: "EnqueueOptions", delay_seconds: float, ids: dict[str, Any]) -> str:
    job_id = options["workflow_id"] = new_id()
    if delay_seconds > 0:
        options["delay_seconds"] = delay_seconds
    client_of(session.connection().engine).enqueue_in_transaction(session, options, ids)
    return job_id
