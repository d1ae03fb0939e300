"""What the hub can do in the background: named handlers, their retry policies, schedules.

A handler takes the process's context and plain JSON values (ids, never content), opens
its own transactions and is idempotent: after a crash it is called again from the start.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hub.context import Context
from hub.errors import Retriable

DEFAULT_QUEUE = "default"


@dataclass(frozen=True)
class QueueLimits:
    """How a worker serves one queue: jobs at the same time, and seconds between looks."""

    concurrency: int
    poll_seconds: float


QUEUES = {
    DEFAULT_QUEUE: QueueLimits(8, 0.2),
    "heavy": QueueLimits(2, 1.0),
    "exchange": QueueLimits(6, 0.5),
}
"""``heavy`` is for work of many seconds, where a second's wait does not matter; ``exchange`` for
talking with other systems, which may let one wait: they hold up each other and nothing else."""

Handler = Callable[..., None]
Tick = Callable[[Context], None]


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently a failed job is tried again.

    The wait before attempt ``n + 1`` is ``first_wait_seconds * factor ** (n - 1)``, at
    most `longest_wait_seconds`. Only errors of the classes `on` are tried again, and
    those of a database that does not answer; any other fails the job at once.
    """

    max_attempts: int = 5
    first_wait_seconds: float = 5.0
    factor: float = 2.0
    longest_wait_seconds: float = 3600.0
    on: tuple[type[Exception], ...] = (Retriable,)

    def wait_after(self, attempt: int) -> float:
        """Return the seconds to wait after the failed attempt number `attempt`, from 1."""
        return min(self.longest_wait_seconds, self.first_wait_seconds * self.factor ** (attempt - 1))


@dataclass(frozen=True)
class Job:
    """One kind of background work."""

    name: str
    handler: Handler
    retry: RetryPolicy
    queue: str


@dataclass(frozen=True)
class Schedule:
    """A handler that one worker runs at each tick."""

    name: str
    handler: Tick
    every_seconds: float


@dataclass
class Registry:
    """The handlers known to this process."""

    jobs: dict[str, Job] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    loaded: bool = False


REGISTRY = Registry()


def job(
    name: str, *, retry: RetryPolicy | None = None, queue: str = DEFAULT_QUEUE
) -> Callable[[Handler], Handler]:
    """Register ``def handler(context: Context, **ids) -> None`` under `name` (``room.verb``).

    Parameters
    ----------
    name : str
        What `hub.jobs.queue.enqueue` is told.
    retry : RetryPolicy, optional
        Default: five attempts on `hub.errors.Retriable`.
    queue : str
        A key of `QUEUES`, so that slow work holds up no settling.
    """
    if queue not in QUEUES:
        raise ValueError(f"{name}: there is no queue {queue!r}")

    def register(handler: Handler) -> Handler:
        if name in REGISTRY.jobs and REGISTRY.jobs[name].handler is not handler:
            raise ValueError(f"two handlers are called {name}")
        REGISTRY.jobs[name] = Job(name, handler, retry or RetryPolicy(), queue)
        return handler

    return register


def scheduled(name: str, *, every_seconds: float) -> Callable[[Tick], Tick]:
    """Register ``def handler(context: Context) -> None`` to run every so many seconds.

    Exactly one of all workers runs each tick. A tick that fails is not repeated; the
    next one comes in its time. Ticks missed while no worker ran are not made up for.
    """

    def register(handler: Tick) -> Tick:
        schedule = Schedule(name, handler, every_seconds)
        REGISTRY.schedules[name] = schedule

        def run(context: Context) -> None:
            handler(context)

        REGISTRY.jobs[name] = Job(name, run, RetryPolicy(max_attempts=1), DEFAULT_QUEUE)
        return handler

    return register


def load_tasks() -> None:
    """Import ``tasks.py`` and ``…_tasks.py`` of every room, so that their handlers are registered."""
    if REGISTRY.loaded:
        return
    import hub

    for room in pkgutil.iter_modules(hub.__path__, "hub."):
        if room.ispkg:
            folder = importlib.import_module(room.name).__path__
            for module in pkgutil.iter_modules(folder, f"{room.name}."):
                if module.name.endswith((".tasks", "_tasks")):
                    importlib.import_module(module.name)
    REGISTRY.loaded = True


def queue_of(name: str) -> str:
    """Return the queue of a job; the default one for a job whose handler this process has not loaded."""
    known = REGISTRY.jobs.get(name)
    return known.queue if known else DEFAULT_QUEUE


def check_ids(ids: dict[str, Any]) -> None:
    """Refuse arguments that would not come back from JSON as they went in.

    Raises
    ------
    TypeError
        Naming the argument. A recovered job gets what JSON made of it.
    """
    for key, value in ids.items():
        if not _is_json(value):
            raise TypeError(f"job argument {key} is a {type(value).__name__}; pass plain JSON values")


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    return value is None or type(value) in {str, int, float, bool}
