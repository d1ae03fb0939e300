"""Packed and unpacked are indistinguishable from outside: every representation, before and after.

Oracle: the hub's own answers before anything was packed, which the tests of WADO-RS hold
against other programs.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from sqlalchemy import select

from hub.catalogue import packing
from hub.catalogue.models import Instance, Pack, Series
from hub.config import Settings
from hub.context import Context
from hub.db.session import Database
from hub.dicom import ingest, series_metadata, stored
from hub.kit.uids import new_uid
from storage.base import ObjectStore
from storage.factory import open_store
from storage.filesystem import FileSystemStore
from storage.memory import MemoryStore
from tests.dicom.conftest import Archive, with_uids
from tests.dicom.outside import look
from tests.dicom.samples import DATA
from tests.fixtures.database import TestClock
from tests.fixtures.s3 import S3Server
from tests.fixtures.world import World, build

ALL = sorted(DATA.glob("*.dcm"))
FEW = [DATA / name for name in ("CT_small.dcm", "MR_small_RLE.dcm", "OBXXXX1A_rle_2frame.dcm", "test-SR.dcm")]


@contextmanager
def archive_on(store: ObjectStore, template: Path, folder: Path, password: str) -> Iterator[Archive]:
    shutil.copyfile(template, folder / "hub.db")
    database = Database(f"sqlite:///{folder / 'hub.db'}", pool_size=10)
    clock = TestClock()
    settings = Settings(data_dir=folder, database_url=database.url)
    try:
        yield Archive(build(Context(settings, database, store, clock), clock, password))
    finally:
        database.dispose()


def forget() -> None:
    stored.checked.forget()
    series_metadata.recent.forget()


def packed(context: Context) -> tuple[int, int]:
    """How many instances there are, and how many lie in packs that are there."""
    with context.db.reading() as session:
        keys = {pack.key for pack in session.scalars(select(Pack))}
        rows = session.scalars(select(Instance)).all()
        described = session.scalars(select(Series).where(Series.metadata_key != "")).all()
    assert described
    return len(rows), sum(row.storage_key in keys and row.storage_offset > 0 for row in rows)


def look_before_and_after(archive: Archive, paths: list[Path], folder: Path) -> None:
    world = archive.world
    for number, path in enumerate(paths):
        archive.file(with_uids(path, folder), f"F{number:02d}")
    client = archive.client()
    before = {code: look(client, f"/dicom-web/sites/{world.site_ids[code]}") for code in world.site_ids}
    assert sum(map(len, before.values())) > 15 * len(paths)
    loose = {row.key for row in world.context.store.list("dicom/")}
    world.settle()
    total, inside = packed(world.context)
    assert total == inside == len(paths)
    world.clock.advance(hours=2)
    packing.remove_retired(world.context)
    assert loose
    assert not list(world.context.store.list("dicom/"))
    client = archive.client()  # the session of the one before has run out
    forget()
    after = {code: look(client, f"/dicom-web/sites/{world.site_ids[code]}") for code in world.site_ids}
    for code, answers in before.items():
        assert [url for url, answer in answers.items() if after[code][url] != answer] == []
    assert after == before


@pytest.fixture(autouse=True)
def every_file_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LEAST_LOOSE", 1)
    forget()


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_every_representation(kind: str, sqlite_template: Path, tmp_path: Path, password_hash: str) -> None:
    store = MemoryStore() if kind == "memory" else FileSystemStore(tmp_path / "objects")
    with archive_on(store, sqlite_template, tmp_path, password_hash) as archive:
        look_before_and_after(archive, ALL if kind == "files" else FEW, tmp_path)


def test_on_an_s3_server(
    juicefs_s3: S3Server, sqlite_template: Path, tmp_path: Path, password_hash: str
) -> None:
    server = juicefs_s3.fresh_bucket()
    store = open_store(
        f"s3://{server.bucket}",
        endpoint=server.endpoint,
        access_key=server.access_key,
        secret_key=server.secret_key,
        secure=False,
    )
    with archive_on(store, sqlite_template, tmp_path, password_hash) as archive:
        look_before_and_after(archive, FEW, tmp_path)


def series_of(world: World, folder: Path, count: int) -> str:
    """File a series of CT slices; return its study's UID."""
    dataset = dcmread(DATA / "CT_small.dcm")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = new_uid(), new_uid()
    for number in range(1, count + 1):
        dataset.InstanceNumber, dataset.SOPInstanceUID = number, new_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.PixelData = hashlib.sha256(str(number).encode()).digest() * (2 * 128 * 128 // 32)
        dataset.save_as(folder / "slice.dcm")
        with (folder / "slice.dcm").open("rb") as file:
            ingest.file_upload(world.context, file, world.origin(), "DP")
    return str(dataset.StudyInstanceUID)


def instances(world: World) -> list[Instance]:
    with world.context.db.reading() as session:
        return list(session.scalars(select(Instance).order_by(Instance.number)))


@pytest.fixture
def files_world(sqlite_world: World, tmp_path: Path) -> World:
    sqlite_world.context = replace(sqlite_world.context, store=FileSystemStore(tmp_path / "objects"))
    return sqlite_world


class TestWholeSeries:
    """Oracle: the files as they were sent, by their SHA-256 in the rows of reception."""

    def sent(self, world: World, rows: list[Instance]) -> list[str]:
        found = stored.series_chunks(world.context, rows)
        return [hashlib.sha256(b"".join(pieces)).hexdigest() for _, pieces in found]

    def test_few_large_reads(
        self, files_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        series_of(files_world, tmp_path, 12)
        files_world.settle()
        rows = instances(files_world)
        reads: list[int] = []
        read: Callable[[str, int, int], bytes] = files_world.context.store.get_range

        def counted(key: str, start: int, length: int) -> bytes:
            reads.append(length)
            return read(key, start, length)

        monkeypatch.setattr(files_world.context.store, "get_range", counted)
        for _ in range(2):
            assert self.sent(files_world, rows) == [row.sha256 for row in rows]
        assert len(reads) == 2
        monkeypatch.setattr(stored, "RUN_BYTES", 100_000)
        assert self.sent(files_world, rows) == [row.sha256 for row in rows]
        assert len(reads) == 2 + 6

    def test_any_order_and_loose_ones_between(self, files_world: World, tmp_path: Path) -> None:
        series_of(files_world, tmp_path, 5)
        before = instances(files_world)
        files_world.settle()
        rows = instances(files_world)
        mixed = [rows[4], before[0], rows[1], rows[2], before[3], rows[0]]
        assert self.sent(files_world, mixed) == [row.sha256 for row in mixed]

    def test_one_damaged_member_is_not_sent(self, files_world: World, tmp_path: Path) -> None:
        series_of(files_world, tmp_path, 4)
        files_world.settle()
        rows = instances(files_world)
        forget()
        pack = tmp_path / "objects" / rows[0].storage_key
        content = bytearray(pack.read_bytes())
        content[rows[2].storage_offset + rows[2].size - 1] ^= 1
        pack.chmod(0o640)
        pack.write_bytes(content)
        found = stored.series_chunks(files_world.context, rows)
        for row in rows[:2]:
            assert hashlib.sha256(b"".join(next(found)[1])).hexdigest() == row.sha256
        with pytest.raises(stored.ObjectDamaged):
            next(next(found)[1])
        with pytest.raises(stored.ObjectDamaged), stored.open_object(files_world.context, rows[2]):
            pass
        with stored.open_object(files_world.context, rows[3]) as data:
            assert isinstance(data, bytes)


class TestMovedMeanwhile:
    """A reader holds a row from before the packing, and the loose file is gone."""

    @pytest.fixture
    def old_rows(self, files_world: World, tmp_path: Path) -> list[Instance]:
        series_of(files_world, tmp_path, 4)
        rows = instances(files_world)
        files_world.settle()
        files_world.clock.advance(hours=2)
        packing.remove_retired(files_world.context)
        forget()
        assert not list(files_world.context.store.list("dicom/"))
        return rows

    def test_the_row_is_read_once_more(self, files_world: World, old_rows: list[Instance]) -> None:
        context = files_world.context
        for row in old_rows:
            for _ in range(2):
                with stored.open_object(context, row) as data:
                    content = data if isinstance(data, bytes) else data.read()  # type: ignore[union-attr]
                assert hashlib.sha256(content).hexdigest() == row.sha256
            assert hashlib.sha256(b"".join(stored.checked_chunks(context, row))).hexdigest() == row.sha256
            assert stored.is_kept(context, row)
        for row, pieces in stored.series_chunks(context, old_rows):
            assert hashlib.sha256(b"".join(pieces)).hexdigest() == row.sha256

    def test_what_is_nowhere_is_damaged(
        self, files_world: World, old_rows: list[Instance], tmp_path: Path
    ) -> None:
        for pack in (tmp_path / "objects" / "packs").rglob("*.zip"):
            pack.unlink()
        assert not stored.is_kept(files_world.context, old_rows[0])
        with pytest.raises(stored.ObjectDamaged):
            next(stored.checked_chunks(files_world.context, old_rows[0]))
