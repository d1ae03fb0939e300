"""The hub's long-running roles: web, dicom, worker, and the supervisor that runs all three."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import FrameType

import structlog
import uvicorn

from hub.app import create_app
from hub.config import Settings, split_bind
from hub.context import Context, open_context
from hub.db.migrate import pending
from hub.dicom.commitment_report import commitment_service
from hub.dicom.listening import start_listening
from hub.dicom.qr_services import qr_services
from hub.dicom.wire.service import Service
from hub.errors import HubError
from hub.jobs.worker import run_worker
from hub.worklist.ecg_turns import warm_up
from hub.worklist.ecg_watch import start_watching
from hub.worklist.mpps import mpps_service
from hub.worklist.mwl import mwl_service

log = structlog.get_logger()

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 5.0
STEADY_SECONDS = 60.0
"""A process that ran this long starts again at once when it dies; a younger one waits longer each time."""
STOP_SECONDS = 25.0
SUPERVISOR = "HUB_SUPERVISOR_PID"
"""Variable in which a supervised process finds its supervisor's process id."""


class NotMigrated(HubError):
    """The database is not at this release's schema: run `hub migrate` first."""


def ready_context(settings: Settings) -> Context:
    """Open the context of a process that needs a migrated database."""
    if pending(settings.database):
        raise NotMigrated
    # Its modules import each other in a circle: two threads that load it at once, each from
    # another end, leave it half loaded for good.
    import_module("pydicom")
    return open_context(settings)


def end_with_supervisor() -> None:
    """End this process when its supervisor is gone: killed itself, it could not end its children.

    Orphans would keep the ports, and a hub that is started again could not listen.
    """
    supervisor = os.environ.get(SUPERVISOR)
    if supervisor is None:
        return

    def watch() -> None:
        while os.getppid() == int(supervisor):
            time.sleep(1.0)
        log.error("supervisor_gone")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


def until_told(stop: threading.Event) -> None:
    """Set `stop` on SIGTERM or SIGINT."""

    def told(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, told)


def run_web(settings: Settings) -> None:
    """Serve pages and HTTP interfaces until told to stop."""
    end_with_supervisor()
    context = ready_context(settings)
    host, port = split_bind(settings.web_bind)
    config = uvicorn.Config(
        create_app(context),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,  # paths hold what people look at; the audit trail records it properly
        server_header=False,
        timeout_graceful_shutdown=2,  # open event streams would hold it for ever
    )
    warm_up(settings.log_level, settings.log_format)
    log.info("web_started", address=settings.web_bind)
    uvicorn.Server(config).run()
    context.db.dispose()


def run_dicom(settings: Settings) -> None:
    """Listen for devices until told to stop."""
    end_with_supervisor()
    context = ready_context(settings)
    stop = threading.Event()
    until_told(stop)
    listener = start_listening(context, dicom_services(context), shared_port=settings.dicom_processes > 1)
    stop.wait()
    listener.shutdown()
    context.db.dispose()


def dicom_services(context: Context) -> list[Service]:
    """Return what the listener offers beside verification and storage; rooms of any level join here."""
    return [
        mwl_service(context),
        mpps_service(context),
        commitment_service(context),
        *qr_services(context),
    ]


def run_one_worker(settings: Settings, slot: str) -> None:
    """Do background work until told to stop."""
    end_with_supervisor()
    context = ready_context(settings)
    stop = threading.Event()
    until_told(stop)
    log.info("worker_started", slot=slot)
    start_watching(context, stop)
    run_worker(context, stop, f"{socket.gethostname()}-{slot}")
    context.db.dispose()


@dataclass
class Child:
    """One supervised process."""

    role: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    wait: float = FIRST_WAIT_SECONDS
    due: float = field(default=0.0)


class Supervisor:
    """Runs the roles of an embedded hub as processes of their own and restarts what dies.

    They are processes and not threads so that a codec that crashes on a hostile object
    takes the listener with it for half a second, and not the pages and the jobs.
    """

    ROLES = ("web", "dicom", "worker")

    def __init__(self, settings: Settings, environment: dict[str, str], roles: Sequence[str] = ROLES) -> None:
        self.settings = settings
        self.environment = environment
        processes = {"dicom": settings.dicom_processes}
        self.children = [Child(role) for role in roles for _ in range(processes.get(role, 1))]

    def run(self, stop: threading.Event, ready: Callable[[], None] | None = None) -> None:
        """Start all roles and keep them running until `stop`; then end them in order."""
        told = ready is None
        try:
            while not stop.is_set():
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
        if child.process is not None and child.process.poll() is None:
            return
        if child.process is not None:
            lasted = now - child.started
            child.wait = (
                FIRST_WAIT_SECONDS if lasted > STEADY_SECONDS else min(child.wait * 2, LONGEST_WAIT_SECONDS)
            )
            child.due = now + child.wait
            log.error(
                "process_died", role=child.role, status=child.process.returncode, restart_seconds=child.wait
            )
            child.process = None
        if now >= child.due:
            command = [sys.executable, "-m", "hub", child.role]
            child.process = subprocess.Popen(command, env=self.environment, start_new_session=True)  # noqa: S603 - our own program
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
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("process_killed", pid=process.pid)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _connects(host: str, port: int) -> bool:
    own = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to
    try:
        with socket.create_connection((own, port), timeout=0.2):
            return True
    except OSError:
        return False


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment in which a child process reads the very same settings."""
    import json

    environment = {**os.environ, SUPERVISOR: str(os.getpid())}
    for name, value in settings.model_dump(mode="json").items():
        if isinstance(value, (dict, list)):
            environment[f"HUB_{name.upper()}"] = json.dumps(value)
        else:
            environment[f"HUB_{name.upper()}"] = str(value)
    return environment
