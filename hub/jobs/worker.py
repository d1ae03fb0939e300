"""The worker process: DBOS dispatches, we keep signs of life, take over from the dead, tick schedules.

DBOS recovers only what its own executor id left behind. What another executor left is
taken over here, as soon as that one has given no sign of life for a while.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from hub.context import Context
from hub.jobs import repository
from hub.jobs.queue import enqueue
from hub.jobs.registry import QUEUES, REGISTRY, Job, load_tasks
from hub.jobs.runner import run_attempt
from hub.jobs.system import APPLICATION, APPLICATION_VERSION, SCHEMA, quiet_logging
from hub.kit.clock import utcnow

log = structlog.get_logger()

CRASHES = 5
"""A job whose worker dies this often is set aside: it may be what kills it."""


@dataclass(frozen=True)
class Pace:
    """How often the worker looks; all in seconds."""

    beat: float = 5.0
    silent: float = 30.0
    """An executor without a sign of life for this long is dead; its jobs are taken over."""
    tick: float = 0.5
    drain: int = 20
    """Time for running jobs to end when the worker is told to stop."""


def run_worker(
    context: Context, stop: threading.Event, executor_id: str, *, pace: Pace | None = None
) -> None:
    """Work until `stop` is set, then let running jobs end.

    Parameters
    ----------
    context : Context
        Handed to every handler; its database must be migrated.
    executor_id : str
        Unique among live workers and the same after a restart (container name and slot):
        by it the worker finds what it left behind.

    Notes
    -----
    One worker per process: DBOS is global to the process.
    """
    from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

    pace = pace or Pace()
    load_tasks()
    quiet_logging()
    _beat(context, executor_id)
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_url": _plain_url(context),
        "system_database_engine": context.db.engine,
        "dbos_system_schema": SCHEMA,
        "application_version": APPLICATION_VERSION,
        "executor_id": executor_id,
        "serializer": DBOSPortableJSONSerializer(),
        "run_migrations": False,
        "log_level": "WARNING",
        "scheduler_polling_interval_sec": 3600.0,
        "notification_listener_polling_interval_sec": 1.0,
        "enable_otlp": False,
    }
    DBOS(config=config)
    for job in REGISTRY.jobs.values():
        DBOS.workflow(name=job.name, max_recovery_attempts=job.retry.max_attempts + CRASHES)(
            _workflow(context, job, executor_id)
        )
    DBOS.launch()
    try:
        for name, limits in QUEUES.items():
            DBOS.register_queue(
                name,
                worker_concurrency=limits.concurrency,
                polling_interval_sec=limits.poll_seconds,
                on_conflict="always_update",
            )
        log.info("worker_started", executor=executor_id, jobs=len(REGISTRY.jobs))
        _keep_house(context, stop, executor_id, pace, DBOS._recover_pending_workflows)  # noqa: SLF001 - no public form without the vendor's service; the version is pinned
    finally:
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=pace.drain)
        with context.db.transaction() as session:
            repository.leave(session, executor_id)
        log.info("worker_stopped", executor=executor_id)


def _workflow(context: Context, job: Job, executor_id: str) -> Callable[[dict[str, Any]], None]:
    from dbos import DBOS

    def run(ids: dict[str, Any]) -> None:
        run_attempt(context, job, str(DBOS.workflow_id), ids, executor_id=executor_id)

    return run


def _keep_house(
    context: Context,
    stop: threading.Event,
    executor_id: str,
    pace: Pace,
    recover: Callable[[list[str]], object],
) -> None:
    """Beat, take over and tick until told to stop; a database that is away is waited for."""
    due: dict[str, float] = {}
    next_beat = time.monotonic() + pace.beat
    while not stop.wait(pace.tick):
        try:
            _tick(context, due)
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + pace.beat
                _beat(context, executor_id)
                _take_over(context, executor_id, pace.silent, recover)
        except SQLAlchemyError as error:
            log.warning("worker_database_away", executor=executor_id, error=type(error).__name__)


def _tick(context: Context, due: dict[str, float]) -> None:
    """Enqueue the schedules whose time has come; `due` remembers when to ask the database again."""
    for schedule in REGISTRY.schedules.values():
        if time.monotonic() < due.get(schedule.name, 0.0):
            continue
        with context.db.transaction() as session:
            taken, wait_seconds = repository.take_tick(session, schedule.name, schedule.every_seconds)
            if taken:
                enqueue(session, schedule.name, once_key="tick")
        due[schedule.name] = time.monotonic() + wait_seconds


def _beat(context: Context, executor_id: str) -> None:
    with context.db.transaction() as session:
        repository.beat(session, executor_id, utcnow())


def _take_over(
    context: Context, executor_id: str, silent_seconds: float, recover: Callable[[list[str]], object]
) -> None:
    """Put jobs of dead executors back into the queue, at each beat anew: DBOS may skip rows on an error."""
    with context.db.transaction() as session:
        dead = [name for name in repository.dead_executors(session, silent_seconds) if name != executor_id]
        repository.forget_silent(session, silent_seconds * 10)
    if dead:
        log.warning("worker_takes_over", executor=executor_id, dead=dead)
        recover(dead)


def _plain_url(context: Context) -> str:
    return context.db.engine.url.render_as_string(hide_password=False)
