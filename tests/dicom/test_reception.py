"""What an association holds ready between its objects: on a store of files, where it would be seen."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hub.context import Context
from hub.dicom.group_commit import GroupCommit
from hub.dicom.peers import admit
from hub.dicom.reception import ObjectReceiver
from hub.dicom.wire.association import Context as Presentation
from hub.dicom.wire.association import Peer
from hub.dicom.wire.dimse import Command
from hub.dicom.wire.gate import Admitted
from hub.sites.models import Device
from storage.errors import StoreFull
from storage.filesystem import FileSystemStore
from tests.dicom.samples import CT_CLASS, EXPLICIT, build, element
from tests.fixtures.world import World

OUT_OF_RESOURCES = 0xA700


@pytest.fixture
def context(sqlite_world: World, tmp_path: Path) -> Context:
    """The county with a store of files."""
    world = sqlite_world
    with world.context.db.transaction() as session:
        session.add(Device(site_id=world.site_ids["DP"], ae_title="CT1", created_at=world.clock()))
    return replace(world.context, store=FileSystemStore(tmp_path / "objects"))


@pytest.fixture
def receiver(context: Context) -> Iterator[ObjectReceiver]:
    caller = Peer("CT1", "HUB", "127.0.0.1", "t-1")
    decision = admit(context, caller)
    assert isinstance(decision, Admitted)
    made = ObjectReceiver(context, GroupCommit(context), replace(caller, identity=decision.identity))
    yield made
    made.close()


def send(receiver: ObjectReceiver, sop_uid: str) -> int:
    dataset = build(t00080018=element(0x00080018, "UI", sop_uid.encode()))
    command = Command({"AffectedSOPClassUID": CT_CLASS, "AffectedSOPInstanceUID": sop_uid})
    reception = receiver.begin(Presentation(1, CT_CLASS, EXPLICIT), command)
    try:
        reception.write(memoryview(dataset))
        return reception.finish()
    finally:
        reception.end()


def waiting(tmp_path: Path) -> int:
    return len(list((tmp_path / "objects" / ".tmp").iterdir()))


def kept(tmp_path: Path) -> int:
    return len([each for each in (tmp_path / "objects").rglob("*") if each.is_file()]) - waiting(tmp_path)


def test_the_next_object_takes_what_was_prepared(receiver: ObjectReceiver, tmp_path: Path) -> None:
    for number in range(1, 4):
        assert send(receiver, f"1.2.3.{number}") == 0
        assert (kept(tmp_path), waiting(tmp_path)) == (number, 0)
        receiver.prepare()
        assert (kept(tmp_path), waiting(tmp_path)) == (number, 1)


def test_nothing_is_left_when_the_association_ends(receiver: ObjectReceiver, tmp_path: Path) -> None:
    assert send(receiver, "1.2.3.1") == 0
    receiver.prepare()
    receiver.close()
    assert (kept(tmp_path), waiting(tmp_path)) == (1, 0)


def test_a_store_that_fails_meanwhile_is_told_with_the_next_object(
    receiver: ObjectReceiver, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the disk is full when the next file is to be made, and has room again later."""

    def full(*_: object) -> None:
        raise StoreFull("no space left")

    with monkeypatch.context() as planted:
        planted.setattr(FileSystemStore, "stage", full)
        receiver.prepare()
        assert send(receiver, "1.2.3.1") == OUT_OF_RESOURCES
    receiver.prepare()
    assert send(receiver, "1.2.3.1") == 0
    assert kept(tmp_path) == 1


def test_an_object_without_a_data_set_is_kept_aside_with_its_header(
    receiver: ObjectReceiver, tmp_path: Path
) -> None:
    command = Command({"AffectedSOPClassUID": CT_CLASS, "AffectedSOPInstanceUID": "1.2.3.1"})
    reception = receiver.begin(Presentation(1, CT_CLASS, EXPLICIT), command)
    assert reception.finish() != 0
    reception.end()
    (file,) = [each for each in (tmp_path / "objects").rglob("*") if each.is_file()]
    assert file.read_bytes()[128:132] == b"DICM"
