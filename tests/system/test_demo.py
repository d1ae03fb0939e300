"""`hub demo` as a visitor runs it: it comes up, fills itself, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from hub.demo_data import county
from tests.fixtures.ports import free_port

MODALITIES = {"DX", "CT", "US", "ECG"}
"""What the demo county has devices for; a CR film counts as DX."""
FILLED_SECONDS, ENDED_SECONDS = 120, 30

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def until(condition: Callable[[], bool], seconds: float) -> float | None:
    """Wait for a condition; return how long it took, None when it never held."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        if condition():
            return time.monotonic() - begun
        time.sleep(0.3)
    return None


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def processes_with(text: str) -> list[str]:
    """Command lines of processes whose environment holds `text`; the kernel's own record."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if text.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_it_comes_fills_itself_and_goes(tmp_path: Path) -> None:
    web, dicom = free_port(), free_port()
    url = f"http://127.0.0.1:{web}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    # A hub that really works on this machine must be left alone.
    real = tmp_path / "real"
    environment |= {
        "TMPDIR": str(tmp_path),
        "HUB_DATA_DIR": str(real),
        "HUB_STRICT_TEXTS": "1",
        "COLUMNS": "160",
    }
    command = [sys.executable, "-m", "hub", "demo", "--web-bind", f"127.0.0.1:{web}", "--dicom-bind"]
    out = tmp_path / "out.txt"
    with out.open("wb") as file:
        demo = subprocess.Popen(
            [*command, f"127.0.0.1:{dicom}"],
            env=environment,
            stdout=file,
            stderr=file,
            cwd=tmp_path,
            start_new_session=True,
        )
    try:
        ready = until(lambda: answers(f"{url}/readyz"), 90)
        assert ready is not None, out.read_text()
        assert answers(f"{url}/login")
        (folder,) = tmp_path.glob("hub-demo-*")
        filled = until(lambda: complete_modalities(folder) >= MODALITIES, FILLED_SECONDS)
        assert filled is not None, (complete_modalities(folder), out.read_text())
        assert until(lambda: county.PASSWORD in out.read_text(), 30) is not None
        shown = out.read_text()
        assert all(account.login in shown for account in county.ACCOUNTS)
        assert url in shown
        assert "demo_device_failed" not in shown
        begun = time.monotonic()
        demo.send_signal(signal.SIGINT)
        demo.wait(ENDED_SECONDS)
        print(f"ready {ready:.1f} s, filled {filled:.1f} s later, ended in {time.monotonic() - begun:.1f} s")
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.wait()
    assert "Traceback" not in out.read_text()
    assert list(tmp_path.glob("hub-demo-*")) == []
    assert not real.exists()
    assert processes_with(f"127.0.0.1:{dicom}") == []


def complete_modalities(folder: Path) -> set[str]:
    """Modalities of the exams that wait for a reader."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    done = subprocess.run(
        [sys.executable, "-m", "hub", "exams", "--json"],
        env=environment | {"HUB_DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode != 0:
        return set()
    exams = json.loads(done.stdout)
    return {
        "DX" if exam["modality"] == "CR" else exam["modality"]
        for exam in exams
        if exam["state"] == "complete"
    }
