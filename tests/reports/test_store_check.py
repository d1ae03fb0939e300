"""`hub verify store`: every row against its bytes, on a real folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hub.catalogue import service as catalogue
from hub.catalogue.service import StoredFile
from hub.reports.store_check import Checked, check_store
from storage.filesystem import FileSystemStore
from tests.fixtures.world import World


@pytest.fixture
def county(sqlite_world: World, tmp_path: Path) -> World:
    """One image study, one ECG and one quarantined object in a store of files."""
    store = FileSystemStore(tmp_path / "objects")
    sqlite_world.context = replace(sqlite_world.context, store=store)
    sqlite_world.register()
    sqlite_world.register_ecg()
    kept = store.put("quarantine/20260302/x.bin", b"unknown")
    with sqlite_world.context.db.transaction() as session:
        catalogue.quarantine(
            session,
            kind="dicom",
            reason="unknown_device",
            files=[StoredFile(kept.key, kept.size, kept.sha256)],
            origin=None,
            now=sqlite_world.clock(),
        )
    return sqlite_world


def found(world: World) -> list[Checked]:
    return list(check_store(world.context))


def test_all_is_well(county: World) -> None:
    lines = found(county)
    assert sorted(line.kind for line in lines) == ["instance", "instance", "quarantined", "recording"]
    assert {line.fault for line in lines} == {""}


def alter(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.chmod(0o640)
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.chmod(0o640)
    file.write_bytes(file.read_bytes()[:-1])


def empty(file: Path) -> None:
    file.chmod(0o640)
    file.write_bytes(b"")


@pytest.mark.parametrize(
    ("plant", "fault"),
    [(alter, "altered"), (truncate, "altered"), (empty, "altered"), (Path.unlink, "missing")],
)
@pytest.mark.parametrize("kind", ["instance", "recording", "quarantined"])
def test_a_planted_fault_is_found(
    county: World, tmp_path: Path, kind: str, plant: Callable[[Path], None], fault: str
) -> None:
    target = next(line for line in found(county) if line.kind == kind)
    plant(tmp_path / "objects" / target.key)
    faults = [line for line in found(county) if line.fault]
    assert faults == [Checked(kind, target.row_id, target.key, fault)]


@pytest.mark.parametrize("place", ["dicom/DP/1.2.3/foreign.dcm", "dump.sql", "other/file.bin"])
def test_a_foreign_file_is_named(county: World, tmp_path: Path, place: str) -> None:
    file = tmp_path / "objects" / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"by hand")
    unknown = [line for line in found(county) if line.kind == "unreferenced"]
    assert unknown == [Checked("unreferenced", "", place, "")]
