"""The supervisor of ``hub serve``: what dies comes back, and nothing outlives it."""

import os
import signal
import time
from pathlib import Path

import pytest

from hub.config import Settings
from hub.processes import Supervisor
from tests.fixtures.hub_process import ROLES, running_hub

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_a_killed_supervisor_leaves_no_role_behind(tmp_path: Path) -> None:
    """Planted: SIGKILL of the supervisor itself; orphans would keep the ports."""
    with running_hub(tmp_path) as hub:
        pids = [pid for role in ROLES if (pid := hub.pid_of(role))]
        assert len(pids) == len(ROLES)
        assert hub.process is not None
        os.kill(hub.process.pid, signal.SIGKILL)
        hub.process.wait()
        hub.process = None
        deadline = time.monotonic() + 40
        while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert [pid for pid in pids if alive(pid)] == []
        hub.start()  # the ports are free again


def test_as_many_listeners_as_are_asked_for(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, dicom_processes=3)
    roles = [child.role for child in Supervisor(settings, {}).children]
    assert roles == ["web", "dicom", "dicom", "dicom", "worker"]
