"""Forwarding and storage commitment with whole processes: nodes that come and go, roles that are killed.

Oracles: DCMTK's storescp writes what it is sent bit by bit; Orthanc asks for storage
commitments by its own code; pynetdicom waits for a report across a restart.
"""

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from hub.catalogue.models import Instance
from hub.dicom.models import CommitmentRequest, DicomNode, ForwardTask
from hub.sites.models import Device
from tests.dicom.samples import DATA, dataset_of
from tests.dicom.test_commitment import Modality, ask
from tests.fixtures.hub_process import ROLES, RunningHub, running_hub
from tests.fixtures.orthanc import running_orthanc
from tests.fixtures.ports import free_port
from tests.fixtures.storage_nodes import StorageNode, storescp
from tests.system.storescu import make_study, push

CT = "1.2.840.10008.5.1.4.1.1.2"
pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A hub with one site and one device that listens itself."""
    with running_hub(tmp_path_factory.mktemp("exchange"), start=False) as running:
        running.register(sites=[("DP", "东陂镇分院")], devices=[("DP", "DP_CT")])
        running.start()
        yield running


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def add_node(hub: RunningHub, name: str, port: int, *more: str) -> None:
    hub.cli("node", "add", name, "--ae", "PACS", "--host", "127.0.0.1", "--port", str(port), *more)


def under_way(hub: RunningHub) -> int:
    """How many studies have not arrived."""
    with hub.context.db.reading() as session:
        return len(session.scalars(select(ForwardTask.id).where(ForwardTask.state != "done")).all())


def trouble_of(hub: RunningHub) -> str:
    with hub.context.db.reading() as session:
        return session.scalars(select(DicomNode.last_error)).one()


def test_a_settled_study_reaches_a_node_that_was_away_bit_by_bit(hub: RunningHub, tmp_path: Path) -> None:
    port = free_port()
    add_node(hub, "late", port, "--forward", "--modality", "CT")
    files = make_study(DATA / "CT_small.dcm", tmp_path / "study", 12, patient_id="F1")
    assert len(push(hub.dicom_port, files, calling="DP_CT").succeeded) == 12
    until(lambda: trouble_of(hub) == "port_closed")
    assert [task["trouble"] for task in json.loads(hub.cli("forward", "list", "--json"))] == ["port_closed"]
    assert "port_closed" in hub.cli("node", "echo", "late", check=False)
    with storescp(tmp_path / "node", "+xa", port=port):
        assert hub.cli("node", "echo", "late").startswith("ok")
        until(lambda: under_way(hub) == 0)
    sent = {hashlib.sha256(dataset_of(file)).hexdigest() for file in files}
    got = {hashlib.sha256(dataset_of(file)).hexdigest() for file in (tmp_path / "node").iterdir()}
    assert got == sent
    hub.cli("node", "remove", "late")


def test_a_worker_that_is_killed_loses_and_doubles_next_to_nothing(hub: RunningHub, tmp_path: Path) -> None:
    """Every object arrives; sent again are at most those of the last moments before the kill."""
    slow = StorageNode(answer=lambda _number: time.sleep(0.1) or 0)  # type: ignore[func-returns-value]
    with slow.running():
        add_node(hub, "slow", slow.port, "--forward")
        files = make_study(DATA / "CT_small.dcm", tmp_path / "study", 60, patient_id="F2")
        assert len(push(hub.dicom_port, files, calling="DP_CT").succeeded) == 60
        until(lambda: slow.stores > 25)
        hub.kill("worker")
        until(lambda: under_way(hub) == 0, 120)
    uids = [uid for uid, _, _ in slow.received]
    assert len(set(uids)) == 60
    assert len(uids) <= 60 + 25
    hub.cli("node", "remove", "slow")


def test_a_commitment_survives_a_restart(hub: RunningHub, tmp_path: Path) -> None:
    """The whole hub is killed between the answer to the question and the report."""
    modality = Modality()
    register_port(hub, modality.port)
    files = make_study(DATA / "CT_small.dcm", tmp_path / "study", 3, patient_id="F3")
    assert len(push(hub.dicom_port, files, calling="DP_CT").succeeded) == 3
    with hub.context.db.reading() as session:
        uids = list(session.scalars(select(Instance.sop_uid).order_by(Instance.id.desc()).limit(3)))
    with modality.association(hub.dicom_port) as association:
        assert ask(association, "1.2.9.77", [(CT, uid) for uid in uids]) == 0
        cut_the_power(hub)
        association.abort()
    assert modality.reports == []
    with modality.listening():
        hub.start()
        assert modality.arrived.wait(90), hub.log.read_text()[-2000:]
    event, report = modality.reports[0]
    assert (event, report.TransactionUID, len(report.ReferencedSOPSequence)) == (1, "1.2.9.77", 3)
    until(lambda: state_of(hub, "1.2.9.77") == "answered")


def test_orthanc_gets_its_commitment(hub: RunningHub, tmp_path: Path) -> None:
    """Oracle: Orthanc's own judgement of the report that it gets on a new association."""
    modalities = {"hub": ["HUB", "127.0.0.1", hub.dicom_port]}
    with running_orthanc(tmp_path / "orthanc", modalities, DicomAet="DP_CT") as orthanc:
        register_port(hub, orthanc.dicom_port)
        files = make_study(DATA / "CT_small.dcm", tmp_path / "study", 4, patient_id="F4")
        assert len(push(orthanc.dicom_port, files, calling="CT1", called="DP_CT").succeeded) == 4
        ids = orthanc.get("/instances")
        stored = orthanc.post("/modalities/hub/store", {"Resources": ids, "StorageCommitment": True})
        transaction = stored["StorageCommitmentTransactionUID"]
        until(lambda: orthanc.get(f"/storage-commitment/{transaction}")["Status"] != "Pending")
        answer = orthanc.get(f"/storage-commitment/{transaction}")
    assert answer["Status"] == "Success"
    assert len(answer["Success"]) == 4
    assert answer["Failures"] == []


def cut_the_power(hub: RunningHub) -> None:
    """Kill every process of a hub at once."""
    assert hub.process is not None
    pids = [pid for role in ROLES if (pid := hub.pid_of(role))]
    for pid in (hub.process.pid, *pids):
        os.kill(pid, signal.SIGKILL)
    hub.process.wait()
    hub.process = None


def register_port(hub: RunningHub, port: int) -> None:
    with hub.context.db.transaction() as session:
        session.scalars(select(Device).where(Device.ae_title == "DP_CT")).one().port = port


def state_of(hub: RunningHub, transaction: str) -> str:
    with hub.context.db.reading() as session:
        return session.scalars(
            select(CommitmentRequest.state).where(CommitmentRequest.transaction_uid == transaction)
        ).one()
