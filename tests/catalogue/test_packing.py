"""Packing settled studies: what moves, what stays, and that no moment of death loses anything."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.catalogue import notes, packing
from hub.catalogue.models import Instance, Pack, RetiredObject, Series, Study
from hub.catalogue.pack_repository import UNREADABLE, PackRepository
from hub.catalogue.packs import PackWriter, read_manifest
from hub.catalogue.places import place_of, sha256_at
from hub.catalogue.service import settle_now
from hub.db.session import Database
from hub.kit.uids import new_uid
from hub.reports.store_check import check_store
from storage.errors import StoreCorrupt
from storage.filesystem import FileSystemStore
from tests.fixtures.world import World


class Killed(BaseException):
    """The process dies here."""


def rows(world: World, model: type[Any]) -> list[Any]:
    with world.context.db.reading() as session:
        return list(session.scalars(select(model)))


def everything_is_there(world: World) -> None:
    """Every row's bytes are what was received, whatever they lie in."""
    for row in rows(world, Instance):
        assert sha256_at(world.context.store, place_of(row)) == row.sha256
    assert [line for line in check_store(world.context) if line.fault] == []


def keys(world: World, prefix: str) -> set[str]:
    return {found.key for found in world.context.store.list(prefix)}


def later(world: World, **units: float) -> None:
    """Go beyond the store's own clock, which is the machine's."""
    world.clock.now = max(world.clock.now, datetime.now(UTC)) + timedelta(**units)


def settled(world: World, instances: int = 5, **facts: Any) -> str:
    """Enter a CT study and settle it without preparing it; return the study's row id."""
    uid = world.register(modality="CT", instances=instances, **facts)
    study_id = str(next(row.id for row in rows(world, Study) if row.study_uid == uid))
    with world.context.db.transaction() as session:
        settle_now(session, study_id, now=world.clock())
    return study_id


@pytest.fixture
def files(sqlite_world: World, tmp_path: Path) -> World:
    sqlite_world.context = replace(sqlite_world.context, store=FileSystemStore(tmp_path / "objects"))
    return sqlite_world


@pytest.fixture
def both(world: World, tmp_path: Path) -> World:
    """On both databases."""
    world.context = replace(world.context, store=FileSystemStore(tmp_path / "objects"))
    return world


class TestPacking:
    def test_rows_point_into_one_pack_in_display_order(self, both: World) -> None:
        files = both
        study_id = settled(files)
        before = {row.id: row for row in rows(files, Instance)}
        assert packing.pack_study(files.context, study_id) == 5
        [pack] = rows(files, Pack)
        after = sorted(rows(files, Instance), key=lambda row: row.number)
        assert {row.storage_key for row in after} == {pack.key}
        offsets = [row.storage_offset for row in after]
        assert offsets == sorted(offsets)
        assert pack.n_objects == 5
        assert pack.sha256 == hashlib.sha256(files.context.store.get(pack.key)).hexdigest()
        retired = {row.key: row.delete_after for row in rows(files, RetiredObject)}
        assert retired.keys() == {row.storage_key for row in before.values()}
        assert set(retired.values()) == {files.clock.now + timedelta(hours=1)}
        everything_is_there(files)

    def test_the_manifest_says_what_the_files_do_not(self, files: World) -> None:
        packing.pack_study(files.context, settled(files))
        [pack] = rows(files, Pack)
        manifest = read_manifest(files.context.store, pack.key)
        assert manifest["study"]["site"] == "DP"
        assert manifest["study"]["site_name"] == "东陂镇分院"
        for member, row in zip(
            manifest["members"], sorted(rows(files, Instance), key=lambda row: row.number), strict=True
        ):
            assert member["offset"] == row.storage_offset
            assert (member["sop_uid"], member["sha256"], member["size"]) == (
                row.sop_uid,
                row.sha256,
                row.size,
            )
            assert datetime.fromisoformat(member["received_at"]) == row.received_at
            assert member["address"] == "127.0.0.1"

    def test_once_is_enough(self, files: World) -> None:
        study_id = settled(files)
        assert packing.pack_study(files.context, study_id) == 5
        assert packing.pack_study(files.context, study_id) == 0
        assert len(rows(files, Pack)) == len(keys(files, "packs/")) == 1

    def test_few_files_stay_alone(self, files: World) -> None:
        assert packing.pack_study(files.context, settled(files, packing.LEAST_LOOSE - 1)) == 0
        assert keys(files, "packs/") == set()

    def test_a_study_that_is_still_arriving_waits(self, files: World) -> None:
        uid = files.register(modality="CT", instances=6)
        study_id = next(row.id for row in rows(files, Study) if row.study_uid == uid)
        assert packing.pack_study(files.context, study_id) == 0
        assert notes.write_note(files.context, study_id) == ""

    def test_late_objects_go_into_a_further_pack(self, files: World) -> None:
        uid, series = new_uid(), new_uid()
        packing.pack_study(files.context, settled(files, study_uid=uid, series_uid=series))
        packing.pack_study(files.context, settled(files, study_uid=uid, series_uid=series, instances=4))
        assert sorted(pack.n_objects for pack in rows(files, Pack)) == [4, 5]
        everything_is_there(files)

    def test_each_series_has_its_own_packs_of_bounded_size(
        self, files: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uid = new_uid()
        settled(files, study_uid=uid, instances=7)
        study_id = settled(files, study_uid=uid, instances=4)
        size = max(row.size for row in rows(files, Instance))
        monkeypatch.setattr(packing, "PACK_BYTES", 3 * size)
        assert packing.pack_study(files.context, study_id) == 11
        assert sorted(pack.n_objects for pack in rows(files, Pack)) == [1, 1, 3, 3, 3]
        everything_is_there(files)

    def test_large_files_stay_alone(self, files: World, monkeypatch: pytest.MonkeyPatch) -> None:
        study_id = settled(files)
        monkeypatch.setattr(packing, "MEMBER_BYTES", 1)
        assert packing.pack_study(files.context, study_id) == 0

    @pytest.mark.parametrize("fault", ["altered", "missing"])
    def test_a_damaged_file_is_left_and_reported(self, files: World, tmp_path: Path, fault: str) -> None:
        study_id = settled(files)
        bad = rows(files, Instance)[2]
        path = tmp_path / "objects" / bad.storage_key
        path.chmod(0o640)
        path.unlink() if fault == "missing" else path.write_bytes(b"x" * bad.size)
        assert packing.pack_study(files.context, study_id) == 4
        left = next(row for row in rows(files, Instance) if row.id == bad.id)
        assert (left.storage_key, left.storage_offset) == (bad.storage_key, 0)
        assert bad.storage_key not in {row.key for row in rows(files, RetiredObject)}
        events = [event for event in rows(files, AuditEvent) if event.tag == Tag.OBJECT_DAMAGED]
        assert [event.subject_id for event in events] == [bad.id]
        assert [line.fault for line in check_store(files.context) if line.fault] == [fault]

    def test_a_store_that_spoils_the_pack_moves_nothing(
        self, sqlite_world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        study_id = settled(sqlite_world)
        add = PackWriter.add

        def spoilt(self: PackWriter, name: str, content: bytes) -> int:
            return add(self, name, content[:-1] + b"?")

        monkeypatch.setattr(PackWriter, "add", spoilt)
        with pytest.raises(StoreCorrupt):
            packing.pack_study(sqlite_world.context, study_id)
        assert keys(sqlite_world, "packs/") == set()
        assert {row.storage_offset for row in rows(sqlite_world, Instance)} == {0}

    def test_a_row_that_changes_meanwhile_is_not_overwritten(
        self, files: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        study_id = settled(files)
        first = rows(files, Instance)[0]
        check = packing.damaged_parts

        def changed(*args: Any) -> Any:
            files.context.store.put("dicom/DP/elsewhere.dcm", files.context.store.get(first.storage_key))
            with files.context.db.transaction() as session:
                session.get_one(Instance, first.id).storage_key = "dicom/DP/elsewhere.dcm"
            return check(*args)

        monkeypatch.setattr(packing, "damaged_parts", changed)
        assert packing.pack_study(files.context, study_id) == 4
        kept = next(row for row in rows(files, Instance) if row.id == first.id)
        assert (kept.storage_key, kept.storage_offset) == ("dicom/DP/elsewhere.dcm", 0)
        everything_is_there(files)

    def test_two_at_once(self, both: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second comes between the writing and the entering of the first; its pack wins."""
        files = both
        study_id = settled(files)
        check = packing.damaged_parts

        def raced(*args: Any) -> Any:
            monkeypatch.setattr(packing, "damaged_parts", check)
            assert packing.pack_study(files.context, study_id) == 5
            return check(*args)

        monkeypatch.setattr(packing, "damaged_parts", raced)
        assert packing.pack_study(files.context, study_id) == 0
        assert len(keys(files, "packs/")) == 2
        assert len(rows(files, Pack)) == 1
        later(files, hours=2)
        packing.remove_retired(files.context)
        assert keys(files, "packs/") == {pack.key for pack in rows(files, Pack)}
        everything_is_there(files)


def dying(call: int, real: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
    """A function that kills the process at its n-th call, before or after its work."""
    left = iter(range(call))

    def function(*args: Any, **kwargs: Any) -> Any:
        if next(left, None) is not None:
            return real(*args, **kwargs)
        if after:
            real(*args, **kwargs)
        raise Killed

    return function


STEPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "first member": lambda m: m.setattr(PackWriter, "add", dying(0, PackWriter.add)),
    "third member": lambda m: m.setattr(PackWriter, "add", dying(2, PackWriter.add)),
    "manifest": lambda m: m.setattr(PackWriter, "finish", dying(0, PackWriter.finish)),
    "pack is durable": lambda m: m.setattr(packing, "damaged_parts", dying(0, packing.damaged_parts)),
    "before the rows": lambda m: m.setattr(packing, "_enter", dying(0, packing._enter)),
    "among the rows": lambda m: m.setattr(PackRepository, "move", dying(3, PackRepository.move)),
    "before the commit": lambda m: m.setattr(Database, "before_commit", [dying(0, print)]),
    "after the commit": lambda m: m.setattr(packing, "_enter", dying(0, packing._enter, after=True)),
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_and_run_again(files: World, step: str) -> None:
    """Nothing is lost, and in the end nothing lies about that no row knows."""
    study_id = settled(files)
    with pytest.MonkeyPatch.context() as patch:
        STEPS[step](patch)
        with pytest.raises(Killed):
            packing.pack_study(files.context, study_id)
    everything_is_there(files)
    packing.pack_study(files.context, study_id)
    everything_is_there(files)
    later(files, hours=25)
    packing.retire_strays(files.context)
    later(files, hours=2)
    packing.remove_retired(files.context)
    everything_is_there(files)
    assert keys(files, "dicom/") == set()
    assert keys(files, "packs/") == {pack.key for pack in rows(files, Pack)}
    assert len(rows(files, Pack)) == 1
    assert rows(files, RetiredObject) == []


class TestRemoval:
    @pytest.fixture
    def moved(self, files: World) -> World:
        packing.pack_study(files.context, settled(files))
        return files

    def test_nothing_goes_within_the_hour(self, moved: World) -> None:
        moved.clock.advance(minutes=59)
        assert packing.remove_retired(moved.context) == 0
        assert len(keys(moved, "dicom/")) == 5
        moved.clock.advance(minutes=1)
        assert packing.remove_retired(moved.context) == 5
        assert keys(moved, "dicom/") == set()
        assert rows(moved, RetiredObject) == []
        everything_is_there(moved)

    def test_killed_between_bytes_and_note(self, moved: World, monkeypatch: pytest.MonkeyPatch) -> None:
        moved.clock.advance(hours=2)
        with monkeypatch.context() as patch:
            patch.setattr(PackRepository, "forget_retired", dying(0, print))
            with pytest.raises(Killed):
                packing.remove_retired(moved.context)
        assert packing.remove_retired(moved.context) == 5
        assert rows(moved, RetiredObject) == []

    def test_what_a_row_points_at_stays(self, both: World) -> None:
        """A planted fault: a note for a pack in use, and for a file that a row went back to."""
        moved = both
        packing.pack_study(moved.context, settled(moved))
        [pack] = rows(moved, Pack)
        gone = rows(moved, RetiredObject)[0]
        with moved.context.db.transaction() as session:
            session.add(RetiredObject(key=pack.key, delete_after=moved.clock.now))
            back = session.scalars(select(Instance).where(Instance.sop_uid.in_([sop_of(gone.key)]))).one()
            back.storage_key, back.storage_offset = gone.key, 0
        moved.clock.advance(hours=2)
        packing.remove_retired(moved.context)
        assert keys(moved, "dicom/") == {gone.key}
        assert keys(moved, "packs/") == {pack.key}

    def test_a_stray_with_the_only_copy_is_kept(self, moved: World) -> None:
        """As after going back to an older copy of the database."""
        [pack] = rows(moved, Pack)
        with moved.context.db.transaction() as session:
            session.delete(session.get_one(Pack, pack.id))
            for number, row in enumerate(session.scalars(select(Instance))):
                row.storage_key, row.storage_offset = f"dicom/DP/{number}.dcm", 0
        later(moved, hours=25)
        assert packing.retire_strays(moved.context) == (0, [pack.key])
        later(moved, hours=2)
        packing.remove_retired(moved.context)
        assert keys(moved, "packs/") == {pack.key}

    def test_a_young_pack_is_no_stray(self, moved: World) -> None:
        moved.context.store.put("packs/DP/1.2/young.zip", b"")
        assert packing.retire_strays(moved.context) == (0, [])


def sop_of(key: str) -> str:
    return key.rsplit("/", 1)[1].partition("-")[0]


class TestTheJob:
    @pytest.fixture
    def done(self, files: World) -> World:
        files.register(modality="CT", instances=5)
        ran = files.settle()
        assert "dicom.prepare_study" in {job.name for job in ran}
        return files

    def test_settling_prepares(self, done: World) -> None:
        assert len(rows(done, Pack)) == 1
        assert len(keys(done, "studies/")) == 1

    def test_what_cannot_be_described_is_not_tried_for_ever(self, done: World) -> None:
        """These objects are no DICOM at all."""
        assert [(row.metadata_key, row.metadata_tag) for row in rows(done, Series)] == [("", UNREADABLE)]
        with done.context.db.reading() as session:
            assert PackRepository(session).undescribed(done.clock.now + timedelta(days=1), 10) == []
