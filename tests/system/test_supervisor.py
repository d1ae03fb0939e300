"""The supervisor of ``hub serve``: what dies comes back, and nothing outlives it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hub.config import Settings
from hub.supervisor import Supervisor
from tests.fixtures.hub_process import ROLES, RunningHub, running_hub

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def wait_until(true: Callable[[], bool], seconds: float = 40) -> bool:
    """Wait until something is true; tell whether it came to be."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.1)
    return true()


def analysts_of(pid: int) -> list[int]:
    """Return the processes that analyse ECGs for the web process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if Path(f"/proc/{child}/comm").read_text().strip() == "hub-ecg-analyst"
    ]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """One that is running again at the end of each test."""
    with running_hub(tmp_path_factory.mktemp("supervised")) as running:
        yield running


def test_what_is_killed_is_back_and_leaves_nobody_behind(hub: RunningHub) -> None:
    """Planted: SIGKILL of each role; the web process's analysts have nobody to work for then."""
    before = {role: hub.pid_of(role) for role in ROLES}
    web = before["web"]
    assert web is not None
    assert wait_until(lambda: len(analysts_of(web)) == 2)
    orphans = analysts_of(web)
    for role in ROLES:
        hub.kill(role)
    assert wait_until(lambda: not any(map(alive, orphans)))
    hub.wait_ready()
    after = {role: hub.pid_of(role) for role in ROLES}
    assert all(after[role] not in {None, before[role]} for role in ROLES)
    assert wait_until(lambda: len(analysts_of(after["web"] or 0)) == 2)


def test_a_process_with_threads_is_not_forked(tmp_path: Path) -> None:
    """Planted: another thread, whose locks a copy would hold for ever."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="threads"):
            Supervisor(Settings(data_dir=tmp_path)).run(threading.Event())
    finally:
        done.set()
        thread.join()


def test_a_killed_supervisor_leaves_no_role_behind(hub: RunningHub) -> None:
    """Planted: SIGKILL of the supervisor itself; orphans would keep the ports."""
    pids = [pid for role in ROLES if (pid := hub.pid_of(role))]
    assert len(pids) == len(ROLES)
    assert hub.process is not None
    os.kill(hub.process.pid, signal.SIGKILL)
    hub.process.wait()
    hub.process = None
    assert wait_until(lambda: not any(map(alive, pids)))
    hub.start()  # the ports are free again


def test_as_many_listeners_as_are_asked_for(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, dicom_processes=3)
    roles = [child.role for child in Supervisor(settings).children]
    assert roles == ["web", "dicom", "dicom", "dicom", "worker"]
