"""What is logged never names a patient, however much is logged and whatever goes wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EVENTS = ("instance_received", "instance_quarantined", "job_done")
"""Events of the parts that handle patient data: they did speak."""


@pytest.mark.system
@pytest.mark.timeout(120)
def test_no_patient_in_any_log(tmp_path: Path) -> None:
    """The listener, uploads, orders, searches and reports get a patient ZZSECRET, rightly and wrongly."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("HUB_")}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.architecture.logged_day", str(tmp_path)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=110,
    )
    logged = ran.stdout + ran.stderr
    assert ran.returncode == 0, logged[-3000:]
    assert [event for event in EVENTS if event not in logged] == []
    assert [line for line in logged.splitlines() if "ZZSECRET" in line.upper()] == []
