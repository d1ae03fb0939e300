"""A worker as a process of its own: ``python -m tests.jobs.worker_process URL EXECUTOR FOLDER``."""

import signal
import sys
import threading
from pathlib import Path

from hub.config import Settings
from hub.context import Context
from hub.db.session import Database
from hub.jobs.worker import Pace, run_worker
from storage.memory import MemoryStore
from tests.jobs.handlers import register


def main() -> None:
    url, executor, folder = sys.argv[1:]
    register()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    context = Context(Settings(data_dir=Path(folder), database_url=url), Database(url), MemoryStore())
    run_worker(context, stop, executor, pace=Pace(beat=0.3, silent=1.5, tick=0.1, drain=1))


if __name__ == "__main__":
    main()
