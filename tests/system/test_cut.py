"""Thin lines: a link that is cut within a study, and devices that send the same object at once."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from hub.catalogue.models import Instance, Study
from hub.dicom.part10 import split
from hub.dicom.wire.errors import AssociationEnded
from hub.dicom.wire.requestor import Target, connect
from tests.dicom.samples import CT_CLASS, EXPLICIT
from tests.fixtures.hub_process import RunningHub, running_hub
from tests.fixtures.peers import require_peer
from tests.system.storescu import make_study, push

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

DATA = Path(__file__).parents[1] / "data" / "dicom"
OBJECTS, CUT_AT = 200, 120


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path, settle_seconds='{"*": 6, "ECG": 0}') as running:
        running.register(sites=[("DP", "东陂镇分院")], devices=[("DP", "DP_CT")])
        yield running


def send_until_cut(hub: RunningHub, files: list[Path]) -> int:
    """Send objects, and let the line go dead in the middle of one; return how many were answered."""
    association = connect(
        Target("127.0.0.1", hub.dicom_port, "HUB", "DP_CT"), [(CT_CLASS, [EXPLICIT])], timeout_seconds=60
    )
    context = association.context_for(CT_CLASS)
    assert context is not None
    for number, file in enumerate(files):
        raw = file.read_bytes()
        meta, start = split(raw)

        def pieces(number: int = number, content: bytes = raw[start:]) -> Iterator[bytes]:
            yield content[:20_000]
            if number == CUT_AT:
                association.link.close()
            yield content[20_000:]

        try:
            status = association.store(
                context, sop_class=CT_CLASS, sop_instance=meta.sop_instance, pieces=pieces()
            )
        except AssociationEnded:
            return number
        assert status == 0
    raise AssertionError("the line was not cut")


def wait_state(hub: RunningHub, state: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while [exam.state for exam in hub.exams()] != [state]:
        assert time.monotonic() < deadline, [exam.state for exam in hub.exams()]
        time.sleep(0.1)


def test_a_link_cut_at_object_120_of_200(hub: RunningHub, tmp_path: Path) -> None:
    """Oracle: the sender's own count of answers, then DCMTK's storescu, which sends all of it again."""
    files = make_study(DATA / "CT_small.dcm", tmp_path / "ct", OBJECTS, patient_id="CUT1")
    assert send_until_cut(hub, files) == CUT_AT
    wait_state(hub, "receiving")
    with hub.context.db.reading() as session:
        (study,) = session.scalars(select(Study)).all()
        assert study.n_instances == CUT_AT
        assert study.settled_at is None
    assert push(hub.dicom_port, files[CUT_AT:], calling="DP_CT").succeeded == frozenset(files[CUT_AT:])
    wait_state(hub, "complete")
    (exam,) = hub.exams()
    assert hub.timeline(exam.id)[-2:] == ["receiving", "complete"]
    with hub.context.db.reading() as session:
        (study,) = session.scalars(select(Study)).all()
        assert (study.n_instances, study.settle_reason) == (OBJECTS, "quiet")
        assert len(session.scalars(select(Instance)).all()) == OBJECTS
    assert push(hub.dicom_port, files, calling="DP_CT").succeeded == frozenset(files)
    with hub.context.db.reading() as session:
        assert {row.resends for row in session.scalars(select(Instance))} == {1}


def test_the_same_object_five_times_at_once(hub: RunningHub, tmp_path: Path) -> None:
    (file,) = make_study(DATA / "CT_small.dcm", tmp_path / "ct", 1, patient_id="FIVE")
    command = [require_peer("storescu"), "-aet", "DP_CT", "-aec", "HUB", "127.0.0.1", str(hub.dicom_port)]
    senders = [subprocess.Popen([*command, str(file)]) for _ in range(5)]
    assert [sender.wait(60) for sender in senders] == [0] * 5
    with hub.context.db.reading() as session:
        (instance,) = session.scalars(select(Instance)).all()
        (study,) = session.scalars(select(Study)).all()
    assert instance.resends == 4
    assert (study.n_instances, study.n_series) == (1, 1)
