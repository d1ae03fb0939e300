"""Zip files of studies. Oracles: Python's zipfile; the files that were filed."""

import io
import tracemalloc
import zipfile
from datetime import datetime
from typing import Any, cast

import pytest
import requests
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.auth.deps import SESSION_COOKIE
from hub.catalogue.models import Instance
from hub.dicom import archive as zips
from hub.dicom.archive import Member, write_zip, zip_size
from tests.dicom.conftest import Archive
from tests.dicom.test_stow import one
from tests.fixtures.world import World

MOMENT = datetime(2026, 3, 2, 16, 0, 30)  # noqa: DTZ001 - a zip file knows no zone


def downloads(world: World) -> list[dict[str, Any]]:
    with world.context.db.reading() as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.STUDY_DOWNLOAD)).all()
        return [event.facts for event in events]


@pytest.fixture
def study(sqlite_world: World) -> dict[str, bytes]:
    """Three objects in two series; the names they get, with their bytes."""
    from hub.dicom import ingest

    files = {f"1.9.{number}": one(f"1.9.{number}") for number in range(1, 3)}
    other = one("1.9.3").replace(b"1.2.3.5\0", b"1.2.3.6\0")
    for file in (*files.values(), other):
        ingest.file_upload(sqlite_world.context, io.BytesIO(file), sqlite_world.origin(), "DP")
    first, second = files.values()
    return {"SE00001/IM00001.dcm": first, "SE00001/IM00002.dcm": second, "SE00002/IM00001.dcm": other}


def test_a_study_comes_whole_and_unchanged(sqlite_world: World, study: dict[str, bytes]) -> None:
    reader = sqlite_world.client("writer1")
    answers = [
        reader.get("/dicom-web/studies/1.2.3/archive"),
        reader.get("/dicom-web/studies/1.2.3", headers={"Accept": "application/zip"}),
        reader.get("/dicom-web/studies/1.2.3?accept=application/zip"),
    ]
    for answer in answers:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
        assert answer.headers["content-disposition"] == 'attachment; filename="1.2.3.zip"'
        assert int(answer.headers["content-length"]) == len(answer.content)
        with zipfile.ZipFile(io.BytesIO(answer.content)) as made:
            assert made.testzip() is None
            assert {name: made.read(name) for name in made.namelist()} == study
            assert {each.date_time for each in made.infolist()} == {(2026, 3, 2, 16, 0, 0)}
    assert downloads(sqlite_world) == [{"instances": 3}] * 3


def test_one_series(sqlite_world: World, study: dict[str, bytes]) -> None:
    reader = sqlite_world.client("doctor_dp")
    answer = reader.get("/dicom-web/studies/1.2.3/series/1.2.3.6/archive")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as made:
        assert [made.read(name) for name in made.namelist()] == [study["SE00002/IM00001.dcm"]]
    assert 'filename="1.2.3.6.zip"' in answer.headers["content-disposition"]


def test_only_what_may_be_seen(sqlite_world: World, study: dict[str, bytes]) -> None:
    del study
    for path in ("/dicom-web/studies/1.2.3/archive", "/dicom-web/studies/1.2.3/series/1.2.3.5/archive"):
        assert sqlite_world.client("doctor_lp").get(path).status_code == 404
        assert sqlite_world.client("admin1").get(path).status_code == 403
    assert sqlite_world.client("writer1").get("/dicom-web/studies/1.2.4/archive").status_code == 404
    assert downloads(sqlite_world) == []


def test_a_damaged_object_never_leaves(sqlite_world: World, study: dict[str, bytes]) -> None:
    """The first one is refused by name; a later one cuts the file, so that nobody takes it for whole."""
    del study
    from hub.dicom.stored import checked

    with sqlite_world.context.db.reading() as session:
        row = session.scalars(select(Instance).order_by(Instance.sop_uid)).first()
    assert row is not None
    sqlite_world.context.store.put(row.storage_key, b"x" * row.size)
    checked.forget()
    answer = sqlite_world.client("writer1").get("/dicom-web/studies/1.2.3/archive")
    assert (answer.status_code, answer.json()["code"]) == (500, "ObjectDamaged")
    assert downloads(sqlite_world) == []


def test_over_a_real_connection(archive: Archive, address: str) -> None:
    filed = archive.filed["CT_small.dcm"]
    session = requests.Session()
    session.cookies.set(SESSION_COOKIE, archive.client().cookies[SESSION_COOKIE])
    answer = session.get(f"{address}{filed.root}/studies/{filed.study_uid}/archive", timeout=30)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as made:
        assert made.testzip() is None
        assert made.read("SE00001/IM00001.dcm") == filed.path.read_bytes()


class Sized:
    """An instance of which only the size counts."""

    def __init__(self, size: int) -> None:
        self.size = size


def test_large_objects_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 GB of which nothing is held: sizes and places beyond 32 bits, as zipfile reads them."""
    piece, times = bytes(1 << 20), 5 << 10
    sizes = [len(piece) * times, 3]

    def fake(_context: object, instance: Instance) -> Any:
        return iter((b"abc",)) if instance.size == 3 else (piece for _ in range(times))

    monkeypatch.setattr(zips, "checked_chunks", fake)
    monkeypatch.setattr(
        "hub.dicom.archive.zlib.crc32", lambda data, crc=0: crc if len(data) > 3 else 0x352441C2
    )
    members = [Member(b"a%d" % size, cast("Instance", Sized(size))) for size in sizes]
    tracemalloc.start()
    total, tail = 0, b""
    for made in write_zip(cast("Any", None), members, MOMENT):
        total += len(made)
        tail = (tail + made)[-4096:] if len(made) < 4096 else made[-4096:]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == zip_size(members)
    assert peak < 8 << 20
    with zipfile.ZipFile(Tail(total, tail)) as read:
        assert [each.file_size for each in read.infolist()] == sizes
        assert read.read("a3") == b"abc"


class Tail(io.RawIOBase):
    """A large file of which only the end is there."""

    def __init__(self, size: int, tail: bytes) -> None:
        super().__init__()
        self._size, self._tail, self._at = size, tail, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        start = self._at - (self._size - len(self._tail))
        assert start >= 0, "only the end is there"
        end = len(self._tail) if size < 0 else start + size
        found = self._tail[start:end]
        self._at += len(found)
        return found


def test_many_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the 65,535 entries that the old format can count."""
    monkeypatch.setattr(zips, "checked_chunks", lambda _context, _instance: iter((b"abc",)))
    members = [Member(b"%d" % number, cast("Instance", Sized(3))) for number in range(66_000)]
    made = b"".join(write_zip(cast("Any", None), members, MOMENT))
    assert len(made) == zip_size(members)
    with zipfile.ZipFile(io.BytesIO(made)) as read:
        assert len(read.namelist()) == 66_000
        assert read.read("65999") == b"abc"
