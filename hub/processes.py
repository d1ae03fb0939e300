"""The hub's long-running roles: web, dicom, worker."""

import signal
import socket
import threading
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
from hub.worklist.ecg_turns import start_analysts, warm_up
from hub.worklist.ecg_watch import start_watching
from hub.worklist.mpps import mpps_service
from hub.worklist.mwl import mwl_service

log = structlog.get_logger()


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


def until_told(stop: threading.Event) -> None:
    """Set `stop` on SIGTERM or SIGINT."""

    def told(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, told)


def run_web(settings: Settings) -> None:
    """Serve pages and HTTP interfaces until told to stop."""
    context = ready_context(settings)
    start_analysts(settings.log_level, settings.log_format)
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
    warm_up()
    log.info("web_started", address=settings.web_bind)
    uvicorn.Server(config).run()
    context.db.dispose()


def run_dicom(settings: Settings) -> None:
    """Listen for devices until told to stop."""
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
    context = ready_context(settings)
    stop = threading.Event()
    until_told(stop)
    log.info("worker_started", slot=slot)
    start_watching(context, stop)
    run_worker(context, stop, f"{socket.gethostname()}-{slot}")
    context.db.dispose()
