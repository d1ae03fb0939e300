"""Power cuts and crashes: what was answered Success is there, once, whatever was killed meanwhile."""

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from sqlalchemy import select

from hub.catalogue.models import Instance
from hub.dicom.part10 import split
from tests.fixtures.database import PostgresServer
from tests.fixtures.hub_process import ROLES, RunningHub, running_hub
from tests.fixtures.s3 import S3Server
from tests.system.storescu import make_study, push

DATA = Path(__file__).parents[1] / "data" / "dicom"
ROUNDS = int(os.environ.get("HUB_KILL_ROUNDS", "2"))
OBJECTS = int(os.environ.get("HUB_KILL_OBJECTS", "60"))
STUDIES = 6

pytestmark = [pytest.mark.system, pytest.mark.timeout(ROUNDS * 150 + 120)]

Make = Callable[[], RunningHub]


@pytest.fixture(params=["sqlite+files", "postgresql+s3"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningHub]:
    settings = {}
    if request.param == "postgresql+s3":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        s3: S3Server = request.getfixturevalue("juicefs_s3").fresh_bucket()
        settings = {
            "database_url": server.empty(),
            "object_store": f"s3://{s3.bucket}",
            "s3_endpoint": s3.endpoint,
            "s3_access_key": s3.access_key,
            "s3_secret_key": s3.secret_key,
            "s3_secure": "false",
        }
    with running_hub(tmp_path, **settings) as running:
        yield running


def test_nothing_answered_is_lost(hub: RunningHub, tmp_path: Path) -> None:
    """Oracle: storescu's own record of answers, and SHA-256 of the sent data sets.

    Each round pushes over several associations while listener, pages and worker are
    killed at random moments; unanswered objects are sent again, as a modality does.
    """
    hub.register(sites=[("DP", "东陂镇分院")], devices=[("DP", "DP_CT")])
    seed = int(os.environ.get("HUB_KILL_SEED", str(time.time_ns() % 100_000)))
    dice = random.Random(seed)
    sent: dict[str, str] = {}
    for round_number in range(ROUNDS):
        folder = tmp_path / f"round{round_number}"
        studies = [
            make_study(
                DATA / "CT_small.dcm", folder / str(n), OBJECTS // STUDIES, patient_id=f"K{round_number}-{n}"
            )
            for n in range(STUDIES)
        ]
        for file in (file for study in studies for file in study):
            content = file.read_bytes()
            uid = str(pydicom.dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
            sent[uid] = hashlib.sha256(content[split(content)[1] :]).hexdigest()
        push_under_fire(hub, studies, dice)
    hub.wait_ready()
    wait_settled(hub, ROUNDS * STUDIES)
    kept = stored_objects(hub)
    assert kept == sent, f"seed {seed}"
    assert "NOT OK" not in hub.cli("verify", "store")
    assert "NOT OK" not in hub.cli("verify", "audit")
    assert hub.cli("jobs", "list", "--stuck", "--json").strip() == "[]"


def push_under_fire(hub: RunningHub, studies: list[list[Path]], dice: random.Random) -> None:
    """Push every study until each object was answered Success, killing roles meanwhile."""
    done = threading.Event()

    def device(files: list[Path]) -> None:
        waiting = list(files)
        while waiting and not done.is_set():
            answered = push(hub.dicom_port, waiting, calling="DP_CT").succeeded
            waiting = [file for file in waiting if file not in answered]
            if waiting:
                time.sleep(0.3)

    def killer() -> None:
        for role in dice.sample(ROLES, 3):
            if done.wait(dice.uniform(0.3, 1.2)):
                return
            hub.kill(role)

    threads = [threading.Thread(target=device, args=(files,)) for files in studies]
    executioner = threading.Thread(target=killer)
    for thread in (*threads, executioner):
        thread.start()
    deadline = time.monotonic() + 140
    for thread in threads:
        thread.join(max(0.1, deadline - time.monotonic()))
    unfinished = any(thread.is_alive() for thread in threads)
    done.set()
    executioner.join()
    assert not unfinished, "objects were still unanswered after 140 s"


def wait_settled(hub: RunningHub, studies: int) -> None:
    """Wait until every study has one exam that waits for a reader."""
    deadline = time.monotonic() + 90
    states: list[str] = []
    while time.monotonic() < deadline:
        states = [exam.state for exam in hub.exams()]
        if len(states) == studies and set(states) == {"complete"}:
            return
        time.sleep(0.5)
    raise AssertionError(f"{studies} studies, exams in {sorted(states)}")


def stored_objects(hub: RunningHub) -> dict[str, str]:
    """Return SOP Instance UID to data set SHA-256 of every row; a UID twice is a failure."""
    with hub.context.db.reading() as session:
        rows = session.scalars(select(Instance)).all()
    kept = {
        row.sop_uid: hashlib.sha256(
            hub.context.store.get_range(
                row.storage_key, row.storage_offset + row.dataset_offset, row.size - row.dataset_offset
            )
        ).hexdigest()
        for row in rows
    }
    assert len(kept) == len(rows), "an object is there twice"
    return kept
