"""The supervisor of ``hub serve``: runs all roles on one machine and starts again what dies.

It loads the program once and then only forks: a role that died is back in a fraction of a second,
and what is loaded lies in memory once, not once for each role. It opens no connection that lasts and
starts no thread, because a forked copy would have neither.
"""

import gc
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path

import structlog

from hub import processes
from hub.config import Settings, split_bind
from hub.errors import HubError
from hub.worklist.ecg_turns import load_engine

log = structlog.get_logger()

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 5.0
STEADY_SECONDS = 60.0
"""A process that ran this long starts again at once when it dies; a younger one waits longer each time."""
STOP_SECONDS = 25.0

ROLES: dict[str, Callable[[Settings], None]] = {
    "web": processes.run_web,
    "dicom": processes.run_dicom,
    "worker": lambda settings: processes.run_one_worker(settings, "worker"),
}


@dataclass
class Child:
    """One supervised process."""

    role: str
    process: ForkProcess | None = None
    started: float = 0.0
    wait: float = FIRST_WAIT_SECONDS
    due: float = field(default=0.0)


class Supervisor:
    """Runs the roles of an embedded hub as processes of their own and restarts what dies.

    They are processes and not threads so that a codec that crashes on a hostile object
    takes the listener with it for half a second, and not the pages and the jobs.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        many = {"dicom": settings.dicom_processes}
        self.children = [Child(role) for role in ROLES for _ in range(many.get(role, 1))]

    def run(
        self, stop: threading.Event, ready: Callable[[], None] | None = None, *, parent: int | None = None
    ) -> None:
        """Start all roles and keep them running until `stop`; then end them in order.

        Parameters
        ----------
        ready : callable, optional
            Called once pages and listener answer.
        parent : int, optional
            Process id of the one that forked this one, which is not to outlive it.

        Raises
        ------
        RuntimeError
            This process has other threads: forking it is not safe.
        """
        if threading.active_count() > 1:
            raise RuntimeError("a process with several threads cannot be forked")
        load_engine()  # a second here, or one in each of three processes
        gc.collect()
        gc.freeze()  # else each role's first collection would write on, and so copy, what all share
        told = ready is None
        try:
            while not stop.is_set() and parent in {None, os.getppid()}:
                now = time.monotonic()
                for child in self.children:
                    self._look_after(child, now)
                if not told and self._answers():
                    told = True
                    assert ready is not None  # told is only False when it was given
                    ready()
                stop.wait(0.2)
        finally:
            self._end()

    def _look_after(self, child: Child, now: float) -> None:
        if child.process is not None and child.process.is_alive():
            return
        if child.process is not None:
            lasted = now - child.started
            child.wait = (
                FIRST_WAIT_SECONDS if lasted > STEADY_SECONDS else min(child.wait * 2, LONGEST_WAIT_SECONDS)
            )
            child.due = now + child.wait
            log.error(
                "process_died", role=child.role, status=child.process.exitcode, restart_seconds=child.wait
            )
            child.process.close()
            child.process = None
        if now >= child.due:
            child.process = forked(_play, child.role, self.settings)
            child.started = now

    def _answers(self) -> bool:
        """Tell whether pages and listener take connections."""
        binds = (self.settings.web_bind, self.settings.dicom_bind)
        return all(_connects(*split_bind(bind)) for bind in binds)

    def _end(self) -> None:
        running = [child.process for child in self.children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in running:
            process.join(max(0.1, deadline - time.monotonic()))
            if process.exitcode is None:
                log.warning("process_killed", pid=process.pid)
                assert process.pid is not None  # it was started
                os.killpg(process.pid, signal.SIGKILL)
                process.join()


def forked(function: Callable[..., None], *arguments: object) -> ForkProcess:
    """Run a function in a copy of this process; its first argument is this one's process id."""
    process = multiprocessing.get_context("fork").Process(
        target=_as_a_child, args=(function, os.getpid(), *arguments)
    )
    process.start()
    return process


def _as_a_child(function: Callable[..., None], *arguments: object) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    function(*arguments)


def _play(parent: int, role: str, settings: Settings) -> None:
    """Be one role, under a name that ``top`` and ``pgrep`` show."""
    os.setsid()  # Ctrl-C in a terminal is for the supervisor, which ends all in order
    Path("/proc/self/comm").write_text(f"hub-{role}")
    threading.Thread(target=_end_with, args=(parent,), name="supervisor-watch", daemon=True).start()
    try:
        ROLES[role](settings)
    except HubError as error:
        log.error("process_cannot_run", role=role, code=error.code, **error.facts)  # noqa: TRY400 - no trace for what is expected
        sys.exit(2)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: orphans would keep the ports, and no new hub could listen."""
    while os.getppid() == parent:
        time.sleep(1.0)
    log.error("supervisor_gone")
    os.kill(os.getpid(), signal.SIGTERM)


def _connects(host: str, port: int) -> bool:
    own = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to
    try:
        with socket.create_connection((own, port), timeout=0.2):
            return True
    except OSError:
        return False
