"""The form of a pack and places in it. Oracles: Python's zipfile and Info-ZIP's unzip."""

import hashlib
import io
import json
import random
import subprocess
import zipfile
from pathlib import Path

import pytest

from hub.catalogue import places
from hub.catalogue.packs import MANIFEST, MOST_MEMBERS, NotAPack, PackWriter, damaged_parts, read_manifest
from hub.catalogue.places import Place, is_whole, open_place, read_place, sha256_at
from storage.base import ObjectStore
from storage.errors import ObjectNotFound
from storage.filesystem import FileSystemStore
from storage.memory import MemoryStore
from tests.fixtures.peers import require_peer

KEY = "packs/DP/1.2/a.zip"
CONTENTS = {
    f"dicom/DP/1.2/{number}.dcm": random.Random(number).randbytes(size)
    for number, size in enumerate((0, 1, 999, 3 << 20, 70_000))
}


def made() -> tuple[bytes, list[Place]]:
    out = bytearray()
    writer = PackWriter(out.extend)
    parts = [
        Place(KEY, writer.add(name, content), len(content), hashlib.sha256(content).hexdigest())
        for name, content in CONTENTS.items()
    ]
    writer.finish({"members": ["一"]})
    assert writer.size == len(out)
    return bytes(out), parts


@pytest.fixture(params=["memory", "files", "forward only"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    if request.param == "files":
        return FileSystemStore(tmp_path / "objects")
    if request.param == "forward only":
        monkeypatch.setattr(places, "seeks", lambda _store, _key: False)
    return MemoryStore()


def test_python_opens_it() -> None:
    pack, parts = made()
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [*CONTENTS, MANIFEST]
        for info, part in zip(archive.infolist(), parts, strict=False):
            assert archive.read(info) == CONTENTS[info.filename]
            assert info.compress_type == zipfile.ZIP_STORED
            assert pack[part.offset : part.offset + part.size] == CONTENTS[info.filename]


def test_unzip_puts_the_files_back_where_they_were(tmp_path: Path) -> None:
    unzip = require_peer("unzip")
    (tmp_path / "pack.zip").write_bytes(made()[0])
    subprocess.run([unzip, "-q", "pack.zip"], cwd=tmp_path, check=True)
    assert {name: (tmp_path / name).read_bytes() for name in CONTENTS} == CONTENTS
    assert json.loads((tmp_path / MANIFEST).read_text())["members"] == ["一"]


def test_places_are_read(store: ObjectStore) -> None:
    pack, parts = made()
    store.put(KEY, pack)
    for part, content in zip(parts, CONTENTS.values(), strict=True):
        assert read_place(store, part) == content
        assert sha256_at(store, part) == part.sha256
        assert is_whole(store, part)
        with open_place(store, part) as stream:
            assert stream.read() == content
            for start in (len(content) // 2, 0, max(0, len(content) - 3)):
                stream.seek(start)
                assert stream.read(2) == content[start : start + 2]
                assert stream.tell() == min(len(content), start + 2) or not content
            assert stream.seek(0, io.SEEK_END) == len(content)
            assert stream.read(5) == b""
    assert read_manifest(store, KEY)["members"] == ["一"]
    assert damaged_parts(store, KEY, parts) == (hashlib.sha256(pack).hexdigest(), set())


def test_small_reads_become_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "seeks", lambda _store, _key: False)
    store, content = MemoryStore(), bytes(5 << 20)
    store.put("k", content)
    requests: list[int] = []
    get_range = store.get_range

    def counted(key: str, start: int, length: int) -> bytes:
        requests.append(length)
        return get_range(key, start, length)

    monkeypatch.setattr(store, "get_range", counted)
    with open_place(store, Place("k", 100, 4 << 20, "")) as stream:
        while stream.read(4096):
            pass
    assert requests == [1 << 20] * 4


@pytest.mark.parametrize("victim", range(1, len(CONTENTS)))
def test_a_planted_fault_is_told_from_its_neighbours(store: ObjectStore, victim: int) -> None:
    pack, parts = made()
    spoilt = bytearray(pack)
    spoilt[parts[victim].offset + parts[victim].size // 2] ^= 1
    store.put(KEY, bytes(spoilt))
    sha256, damaged = damaged_parts(store, KEY, parts)
    assert damaged == {parts[victim].offset}
    assert sha256 != hashlib.sha256(pack).hexdigest()


def test_a_pack_cut_short(store: ObjectStore) -> None:
    pack, parts = made()
    store.put(KEY, pack[: parts[3].offset + 10])
    assert damaged_parts(store, KEY, parts)[1] == {parts[3].offset, parts[4].offset}
    assert [is_whole(store, part) for part in parts] == [True, True, True, False, False]
    with pytest.raises(NotAPack):
        read_manifest(store, KEY)


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"text", bytes(1000)])
def test_what_is_no_pack(store: ObjectStore, content: bytes) -> None:
    store.put(KEY, content)
    with pytest.raises(NotAPack):
        read_manifest(store, KEY)


def test_somebody_elses_archive(store: ObjectStore) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(MANIFEST, "{}")
    store.put(KEY, out.getvalue())
    with pytest.raises(NotAPack):
        read_manifest(store, KEY)


def test_what_is_not_there(store: ObjectStore) -> None:
    for read in (read_place, is_whole, sha256_at):
        with pytest.raises(ObjectNotFound):
            read(store, Place(KEY, 5, 5, ""))


def test_a_pack_stays_below_what_needs_64_bits() -> None:
    writer = PackWriter(lambda _piece: None)
    for number in range(MOST_MEMBERS):
        writer.add(str(number), b"")
    writer.finish({})
    with pytest.raises(ValueError, match="full"):
        writer.add("one more", b"")
