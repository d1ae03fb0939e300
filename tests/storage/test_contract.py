"""What every store promises, held against all of them.

Oracles: SHA-256 by the system's `sha256sum`, the S3 servers' own view through the plain
`minio` client where there is one, Python's sort order for keys, hand-counted ranges.
"""

import io
import subprocess
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.base import ObjectStore, Stat, Stored, sha256_of
from storage.errors import InvalidKey, ObjectNotFound
from tests.storage.sources import Breaking, Endless, Short

MIB = 1 << 20
# `printf hello | sha256sum`
HELLO_SHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
# the digest of no bytes at all, FIPS 180-4
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class TestPut:
    def test_returns_key_size_and_sha256(self, store: ObjectStore) -> None:
        assert store.put("a/b", b"hello") == Stored("a/b", 5, HELLO_SHA256)

    @pytest.mark.parametrize("kind", ["bytes", "bytearray", "memoryview", "path", "stream", "short reads"])
    def test_takes_every_kind_of_source(self, store: ObjectStore, tmp_path: Path, kind: str) -> None:
        (tmp_path / "source").write_bytes(b"hello")
        source = {
            "bytes": b"hello",
            "bytearray": bytearray(b"hello"),
            "memoryview": memoryview(b"hello"),
            "path": tmp_path / "source",
            "stream": io.BytesIO(b"hello"),
            "short reads": Short(b"hello"),
        }[kind]
        assert store.put("k", source).sha256 == HELLO_SHA256
        assert store.get("k") == b"hello"

    def test_reads_a_stream_from_where_it_stands_and_leaves_it_open(self, store: ObjectStore) -> None:
        stream = io.BytesIO(b"preamblehello")
        stream.seek(8)
        assert store.put("k", stream).sha256 == HELLO_SHA256
        assert not stream.closed

    def test_of_no_bytes(self, store: ObjectStore) -> None:
        assert store.put("zero", b"") == Stored("zero", 0, EMPTY_SHA256)
        assert store.get("zero") == b""
        assert store.stat("zero").size == 0
        assert store.get_range("zero", 0, 10) == b""
        with store.open("zero") as stream:
            assert stream.read() == b""

    def test_twice_replaces_the_whole_object(self, store: ObjectStore) -> None:
        store.put("k", b"the first and longer one")
        store.put("k", b"second")
        assert store.get("k") == b"second"
        assert [found.size for found in store.list()] == [6]

    @pytest.mark.parametrize("size", [8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 16 * MIB, 21 * MIB + 5])
    def test_around_the_part_size(self, store: ObjectStore, tmp_path: Path, size: int) -> None:
        """The digest of the file as `sha256sum` sees it."""
        source = Endless(size)
        path = tmp_path / "source"
        with path.open("wb") as file:
            while chunk := source.read(MIB):
                file.write(chunk)
        expected = subprocess.run(
            ["sha256sum", path], capture_output=True, text=True, check=True
        ).stdout.split()[0]
        assert store.put("k", path) == Stored("k", size, expected)
        assert sha256_of(store, "k") == expected
        assert store.get_range("k", size - 3, 10) == path.read_bytes()[-3:]

    def test_that_breaks_off_leaves_what_was_there(self, store: ObjectStore) -> None:
        store.put("old", b"old")
        for key in ("old", "new"):
            with pytest.raises(ConnectionResetError):
                store.put(key, Breaking(20 * MIB))
        assert store.get("old") == b"old"
        assert [found.key for found in store.list()] == ["old"]

    def test_of_a_missing_file_is_the_callers_error(self, store: ObjectStore, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            store.put("k", tmp_path / "absent")
        assert list(store.list()) == []

    def test_of_40_mib_needs_under_32_mib(self, store: ObjectStore) -> None:
        """tracemalloc sees every buffer Python allocates; the memory store must of course hold it all."""
        source = Endless(40 * MIB)
        tracemalloc.start()
        try:
            stored = store.put("big", source)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert stored == Stored("big", 40 * MIB, source.digest.hexdigest())
        assert sha256_of(store, "big") == stored.sha256
        if type(store).__name__ != "MemoryStore":
            assert peak < 32 * MIB

    def test_of_one_key_at_once_leaves_one_of_them_whole(self, store: ObjectStore) -> None:
        bodies = [bytes([number]) * (300_000 + number) for number in range(8)]
        start = threading.Barrier(len(bodies))

        def put(body: bytes) -> Stored:
            start.wait()
            return store.put("same/key", body)

        with ThreadPoolExecutor(len(bodies)) as pool:
            stored = list(pool.map(put, bodies))
        assert [s.size for s in stored] == [len(body) for body in bodies]
        assert store.get("same/key") in bodies
        assert [found.key for found in store.list()] == ["same/key"]

    def test_of_many_keys_at_once(self, store: ObjectStore) -> None:
        keys = [f"site/{number % 3}/{number}" for number in range(40)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put(key, key.encode()), keys))
        assert [found.key for found in store.list()] == sorted(keys)
        assert all(store.get(key) == key.encode() for key in keys)

    def test_reader_keeps_seeing_one_object(self, store: ObjectStore) -> None:
        store.put("k", b"a" * 100)
        with store.open("k") as stream:
            store.put("k", b"b" * 100)
            assert stream.read() == b"a" * 100


class TestStage:
    def test_counts_as_it_goes(self, store: ObjectStore) -> None:
        with store.stage() as staged:
            assert (staged.size, staged.sha256) == (0, EMPTY_SHA256)
            staged.write(b"he")
            staged.write_many([bytearray(b"l"), memoryview(b"lo")])
            assert (staged.size, staged.sha256) == (5, HELLO_SHA256)
            assert list(store.list()) == []  # nothing is visible before it has a key
            assert staged.keep("a/b") == Stored("a/b", 5, HELLO_SHA256)
        assert store.get("a/b") == b"hello"

    def test_under_a_key_that_tells_its_content(self, store: ObjectStore) -> None:
        for content in (b"first", b"second and longer"):
            with store.stage() as staged:
                staged.write(content)
                assert staged.keep("a/k", tells_content=True).key == "a/k"
            assert store.get("a/k") == content

    def test_buffer_may_be_used_again(self, store: ObjectStore) -> None:
        buffer = bytearray(b"first")
        with store.stage() as staged:
            staged.write(buffer)
            buffer[:] = b"later"
            staged.keep("k")
        assert store.get("k") == b"first"

    def test_of_no_bytes(self, store: ObjectStore) -> None:
        with store.stage() as staged:
            assert staged.keep("zero") == Stored("zero", 0, EMPTY_SHA256)
        assert store.get("zero") == b""

    def test_can_be_read_before_it_has_a_key(self, store: ObjectStore) -> None:
        with store.stage() as staged:
            staged.write_many([b"head", b"-", b"tail"])
            reader = staged.reader()
            assert reader.seek(0, 2) == 9
            reader.seek(5)
            assert reader.read(10) == b"tail"
            reader.seek(0)
            assert reader.read(4) == b"head"
            with pytest.raises(ValueError, match="nothing can be added"):
                staged.write(b"more")
            staged.keep("k")
        assert store.get("k") == b"head-tail"

    def test_replaces_the_whole_object(self, store: ObjectStore) -> None:
        store.put("k", b"the first and longer one")
        with store.stage() as staged:
            staged.write(b"second")
            staged.keep("k")
        assert store.get("k") == b"second"

    def test_not_kept_is_thrown_away(self, store: ObjectStore) -> None:
        with store.stage() as staged:
            staged.write(b"x")
        staged = store.stage()
        staged.write(b"x")
        staged.discard()
        staged.discard()
        assert list(store.list()) == []

    def test_ends_with_keep_or_discard(self, store: ObjectStore) -> None:
        staged = store.stage()
        staged.write(b"x")
        staged.keep("k")
        staged.discard()  # too late: it has a key
        for call in (lambda: staged.write(b"y"), lambda: staged.keep("l")):
            with pytest.raises(ValueError, match="already"):
                call()
        assert [found.key for found in store.list()] == ["k"]
        assert store.get("k") == b"x"

    def test_refused_key_throws_it_away(self, store: ObjectStore) -> None:
        staged = store.stage()
        staged.write(b"x")
        with pytest.raises(InvalidKey):
            staged.keep("../k")
        with pytest.raises(ValueError, match="discarded"):
            staged.keep("k")
        assert list(store.list()) == []

    def test_several_at_once_do_not_mix(self, store: ObjectStore) -> None:
        with store.stage() as one, store.stage() as other:
            for number in range(100):
                one.write(bytes([number]))
                other.write(bytes([200 - number]))
            other.keep("other")
            one.keep("one")
        assert store.get("one") == bytes(range(100))
        assert store.get("other") == bytes(range(200, 100, -1))

    def test_of_40_mib_needs_under_32_mib(self, store: ObjectStore) -> None:
        source = Endless(40 * MIB)
        tracemalloc.start()
        try:
            with store.stage() as staged:
                while piece := source.read(128 * 1024):
                    staged.write(piece)
                stored = staged.keep("big")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert stored == Stored("big", 40 * MIB, source.digest.hexdigest())
        assert sha256_of(store, "big") == stored.sha256
        if type(store).__name__ != "MemoryStore":
            assert peak < 32 * MIB


class TestRead:
    def test_of_an_absent_object(self, store: ObjectStore) -> None:
        store.put("a/b", b"x")
        for key in ("nothing", "a/nothing", "no/such/folder", "a", "a/b/c"):
            for read in (store.get, store.stat, store.open, lambda k: store.get_range(k, 0, 1)):
                with pytest.raises(ObjectNotFound, match=f"'{key}'") as caught:
                    read(key)
                assert caught.value.retriable is False

    def test_of_an_empty_range_of_an_absent_object(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectNotFound):
            store.get_range("nothing", 0, 0)

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [
            (0, 10, b"0123456789"),
            (0, 1, b"0"),
            (9, 1, b"9"),
            (3, 4, b"3456"),
            (0, 0, b""),
            (5, 0, b""),
            (8, 5, b"89"),
            (0, 1 << 40, b"0123456789"),
            (10, 1, b""),
            (1 << 40, 1, b""),
            (10, 0, b""),
        ],
    )
    def test_range(self, store: ObjectStore, start: int, length: int, expected: bytes) -> None:
        store.put("k", b"0123456789")
        assert store.get_range("k", start, length) == expected

    @pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, -1), (-5, -5)])
    def test_negative_range_is_refused(self, store: ObjectStore, start: int, length: int) -> None:
        store.put("k", b"0123456789")
        with pytest.raises(ValueError, match="start and length >= 0"):
            store.get_range("k", start, length)

    def test_stream_in_pieces(self, store: ObjectStore) -> None:
        source = Endless(3 * MIB)
        store.put("k", source)
        with store.open("k") as stream:
            assert stream.readable()
            assert len(stream.read(10)) == 10
            assert len(stream.read()) == 3 * MIB - 10
            assert stream.read(1) == b""
        assert stream.closed

    def test_stream_may_be_left_half_read(self, store: ObjectStore) -> None:
        store.put("k", bytes(3 * MIB))
        for _ in range(40):  # more than any connection pool holds
            with closing(store.open("k")) as stream:
                stream.read(100)
        assert store.get_range("k", 0, 2) == b"\0\0"

    def test_stat_knows_size_and_time_in_utc(self, store: ObjectStore) -> None:
        store.put("k", b"hello")
        found = store.stat("k")
        assert (found.key, found.size) == ("k", 5)
        assert found.modified.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - found.modified) < timedelta(seconds=60)

    def test_altered_object_shows_in_its_digest(self, store: ObjectStore) -> None:
        stored = store.put("k", b"hello")
        assert sha256_of(store, "k") == stored.sha256
        store.put("k", b"hellp")
        assert sha256_of(store, "k") != stored.sha256


class TestDelete:
    def test_removes(self, store: ObjectStore) -> None:
        store.put("a/b", b"x")
        store.put("a/c", b"y")
        store.delete("a/b")
        with pytest.raises(ObjectNotFound):
            store.get("a/b")
        assert [found.key for found in store.list()] == ["a/c"]

    def test_of_an_absent_object_is_no_error(self, store: ObjectStore) -> None:
        store.put("a/b", b"x")
        for key in ("nothing", "no/such/folder", "a", "a/b/c"):
            store.delete(key)
        store.delete("a/b")
        store.delete("a/b")
        assert list(store.list()) == []

    def test_then_put_again(self, store: ObjectStore) -> None:
        store.put("a/b", b"x")
        store.delete("a/b")
        store.put("a/b", b"again")
        assert store.get("a/b") == b"again"


class TestList:
    KEYS = (
        "a",
        "a-b",
        "a.b/c",
        "ab/c",
        "ab/d/e",
        "ab/d-e",
        "ab/d.e",
        "b/A",
        "b/_",
        "b/a",
        "b/0",
        "z.",
        "..z",
    )

    def test_is_sorted_by_key(self, store: ObjectStore) -> None:
        for key in reversed(self.KEYS):
            store.put(key, key.encode())
        assert [found.key for found in store.list()] == sorted(self.KEYS)
        assert [found.size for found in store.list()] == [len(key) for key in sorted(self.KEYS)]

    @pytest.mark.parametrize(
        "prefix", ["a", "ab", "ab/", "ab/d", "ab/d/", "b/a", "b/a/", "q", "no/such/", "..z", "."]
    )
    def test_by_prefix(self, store: ObjectStore, prefix: str) -> None:
        for key in self.KEYS:
            store.put(key, b"")
        if prefix == ".":
            with pytest.raises(InvalidKey):
                store.list(prefix)
        else:
            expected = sorted(key for key in self.KEYS if key.startswith(prefix))
            assert [found.key for found in store.list(prefix)] == expected

    def test_of_an_empty_store(self, store: ObjectStore) -> None:
        assert list(store.list()) == []
        assert list(store.list("a/b")) == []

    def test_agrees_with_stat(self, store: ObjectStore) -> None:
        store.put("a/b", b"hello")
        [found] = store.list()
        known = store.stat("a/b")
        assert isinstance(found, Stat)
        assert (found.key, found.size) == (known.key, known.size)
        assert abs(found.modified - known.modified) < timedelta(seconds=2)

    def test_past_one_page_of_the_server(self, store: ObjectStore) -> None:
        """S3 answers at most 1,000 keys at once (ListObjectsV2)."""
        keys = [f"p/{number:04}" for number in range(1005)]
        if type(store).__name__ == "FileSystemStore":
            keys = keys[:50]  # no pages there, and each put is two disk syncs
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put(key, b""), keys))
        assert [found.key for found in store.list("p/")] == keys

    def test_can_be_left_early(self, store: ObjectStore) -> None:
        for key in self.KEYS:
            store.put(key, b"")
        assert next(iter(store.list())).key == min(self.KEYS)


HOSTILE = [
    "", "/", "/etc/passwd", "a//b", "a/", "//a", ".", "..", "../x", "a/../b", "a/./b", "a/..",
    ".tmp/x", ".tmp",
    "a\\b", "a\0b", "a b", "a\nb", "a%2e%2e", "C:a", "~", "a*", "a?", "a#b",
    "检查/1", "é", "ａ", "a\u202eb", "\ud800",
    "x" * 256, "x/" * 300 + "x",
]  # fmt: skip


class TestHostileKeys:
    @pytest.mark.parametrize("key", HOSTILE, ids=range(len(HOSTILE)))
    def test_are_refused_everywhere(self, store: ObjectStore, key: str) -> None:
        calls = (
            lambda: store.put(key, b"x"),
            lambda: store.get(key),
            lambda: store.open(key),
            lambda: store.get_range(key, 0, 1),
            lambda: store.stat(key),
            lambda: store.delete(key),
        )
        for call in calls:
            with pytest.raises(InvalidKey) as caught:
                call()
            assert len(key) < 5 or key not in str(caught.value)  # what a stranger sent is not repeated
        assert list(store.list()) == []

    def test_prefixes_are_refused_before_the_first_object_is_asked_for(self, store: ObjectStore) -> None:
        for prefix in ("../", "/", "a//", "检查", "a/../", ".tmp/", "..", "x" * 600):
            with pytest.raises(InvalidKey):
                store.list(prefix)

    def test_longest_permitted_key(self, store: ObjectStore) -> None:
        key = f"{'x' * 255}/{'y' * 254}/z"
        assert len(key) == 512
        store.put(key, b"x")
        assert [found.key for found in store.list()] == [key]

    def test_odd_but_permitted_keys(self, store: ObjectStore) -> None:
        keys = sorted(
            ["...", "a/...", "-", "_", "-rf", ".hidden", "1.2.840.113619.2.55/x.dcm", "CON", "a/.tmp"]
        )
        for key in keys:
            store.put(key, key.encode())
        assert [found.key for found in store.list()] == keys


def test_check_passes_and_leaves_nothing(store: ObjectStore) -> None:
    store.check()
    assert list(store.list()) == []
