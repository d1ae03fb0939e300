"""The folder store: durability, atomicity and confinement.

Oracles: the order of system calls against POSIX (data, then name, then directory), a real
full disk (a small tmpfs; where it cannot be mounted only the injected ENOSPC runs), a process
ended by SIGKILL.
"""

import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage import filesystem
from storage.base import sha256_of
from storage.errors import (
    BucketMissing,
    InvalidKey,
    ObjectNotFound,
    StorageError,
    StoreDenied,
    StoreFull,
    StoreUnreachable,
)
from storage.filesystem import FileSystemStore
from storage.staged import Staged
from tests.storage.sources import Breaking, Endless

MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> FileSystemStore:
    return FileSystemStore(root)


def temporary_files(root: Path) -> list[Path]:
    return list((root / ".tmp").iterdir())


def logged_calls(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gains a line for each sync and each rename from here on."""
    calls: list[str] = []
    fsync, rename = os.fsync, os.rename

    def logged_fsync(descriptor: int) -> None:
        calls.append("fsync " + str(Path(f"/proc/self/fd/{descriptor}").readlink()).removeprefix(f"{root}"))
        fsync(descriptor)

    def logged_rename(source: str, target: str, **folders: int) -> None:
        calls.append(f"rename {target}")
        rename(source, target, **folders)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "rename", logged_rename)
    return calls


class TestDurability:
    def test_data_then_name_then_directories(
        self, store: FileSystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = logged_calls(root, monkeypatch)
        store.put("a/b/c", b"x")
        assert calls[0].startswith("fsync /.tmp/")
        assert calls[1:] == ["fsync ", "fsync /a", "rename c", "fsync /a/b"]
        calls.clear()
        store.put("a/b/d", b"x")  # the folders are known to be durable now
        assert calls[1:] == ["rename d", "fsync /a/b"]
        calls.clear()
        FileSystemStore(root).put("a/b/e", b"x")  # another process cannot know that
        assert calls[-5:][1:] == ["fsync ", "fsync /a", "rename e", "fsync /a/b"]
        calls.clear()
        store.delete("a/b/e")
        assert calls == ["fsync /a/b"]

    def test_a_key_that_tells_its_content_is_named_before_both_are_synced(
        self, store: FileSystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the order of calls; and never where something lies that may be the only durable copy."""
        store.put("a/old", b"x")
        calls = logged_calls(root, monkeypatch)
        for key in ("a/new", "a/old"):
            with store.stage() as staged:
                staged.write(b"content")
                staged.keep(key, tells_content=True)
            assert store.get(key) == b"content"
        assert calls[:2] == ["fsync /a/new", "fsync /a"]
        assert calls[2].startswith("fsync /.tmp/")
        assert calls[3:] == ["rename old", "fsync /a"]
        assert temporary_files(root) == []

    def test_where_the_system_cannot_name_without_replacing(
        self, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on another system, or on a network file system that refuses the flag."""
        for call in (None, lambda *_: -1):
            monkeypatch.setattr(filesystem, "_RENAMEAT2", call)
            with store.stage() as staged:
                staged.write(b"content")
                staged.keep("a/new", tells_content=True)
            assert store.get("a/new") == b"content"

    def test_one_that_cannot_be_synced_loses_its_name(
        self, store: FileSystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Planted: the disk fails after the file has its name."""
        store.put("a/other", b"x")

        def fail(_descriptor: int) -> None:
            raise OSError(errno.EIO, "disk")

        staged = store.stage()
        staged.write(b"content")
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fail)
            with pytest.raises(StoreUnreachable):
                staged.keep("a/new", tells_content=True)
        assert [found.key for found in store.list()] == ["a/other"]
        assert temporary_files(root) == []

    def test_file_holds_exactly_the_bytes(self, store: FileSystemStore, root: Path) -> None:
        store.put("a/b", b"\r\n\0hello")
        assert (root / "a" / "b").read_bytes() == b"\r\n\0hello"
        assert temporary_files(root) == []

    def test_file_altered_on_disk_is_found(self, store: FileSystemStore, root: Path) -> None:
        stored = store.put("a/b", bytes(100_000))
        with (root / "a" / "b").open("r+b") as file:
            file.seek(77_777)
            file.write(b"\1")
        assert store.stat("a/b").size == stored.size
        assert sha256_of(store, "a/b") != stored.sha256


class TestKilledProcess:
    PROGRAM = """
import io, sys, time
from pathlib import Path
from storage.filesystem import FileSystemStore

class Slow(io.RawIOBase):
    def read(self, size=-1):
        print("reading", flush=True)
        time.sleep(0.02)
        return bytes(100_000)

FileSystemStore(Path(sys.argv[1])).put(sys.argv[2], Slow())
"""

    @pytest.mark.parametrize("key", ["new/object", "old/object"])
    def test_leaves_nothing_under_the_key(self, store: FileSystemStore, root: Path, key: str) -> None:
        store.put("old/object", b"old")
        with subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, root, key],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        ) as process:
            assert process.stdout
            for _ in range(10):
                assert process.stdout.readline() == b"reading\n"
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert [found.key for found in store.list()] == ["old/object"]
        assert store.get("old/object") == b"old"
        [left] = temporary_files(root)
        assert left.stat().st_size > 0

        FileSystemStore(root)  # may still be written by somebody: kept
        assert temporary_files(root) == [left]
        two_hours_ago = time.time() - 7200
        os.utime(left, (two_hours_ago, two_hours_ago))
        FileSystemStore(root)
        assert temporary_files(root) == []


class TestFullDisk:
    @pytest.fixture
    def small_disk(self, tmp_path: Path):
        """A real file system of 2 MiB."""
        folder = tmp_path / "small"
        folder.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True
        )
        if mounted.returncode:
            pytest.skip("a tmpfs cannot be mounted by this account")
        yield folder
        subprocess.run(["umount", "-l", folder], check=True)

    def test_real(self, small_disk: Path) -> None:
        root = small_disk / "store"
        store = FileSystemStore(root)
        store.put("old", bytes(MIB))
        for key in ("old", "new"):
            with pytest.raises(StoreFull, match="make room") as caught:
                store.put(key, Endless(4 * MIB))
            assert caught.value.retriable
            assert str(root) in str(caught.value)
        assert temporary_files(root) == []
        assert [(found.key, found.size) for found in store.list()] == [("old", MIB)]
        assert store.put("fits", bytes(MIB // 2)).size == MIB // 2  # the room was given back

    @pytest.mark.parametrize("call", ["writev", "fsync", "rename", "mkdir"])
    @pytest.mark.parametrize(
        "fault",
        [
            (errno.ENOSPC, StoreFull),
            (errno.EDQUOT, StoreFull),
            (errno.EROFS, StoreDenied),
            (errno.EACCES, StoreDenied),
            (errno.EIO, StoreUnreachable),
            (errno.ESTALE, StoreUnreachable),
            (errno.EINVAL, StorageError),
        ],
    )
    def test_injected(
        self,
        store: FileSystemStore,
        root: Path,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        fault: tuple[int, type[StorageError]],
    ) -> None:
        """Faults injected at os.writev, os.fsync, os.rename and os.mkdir."""
        number, cause = fault

        def fail(*args: object, **kwargs: object) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            with pytest.raises(cause) as caught:
                store.put("folder/new", b"x")
        assert type(caught.value) is cause
        assert os.strerror(number) in str(caught.value)
        assert temporary_files(root) == []
        assert list(store.list()) == []

    def test_short_write_is_continued(self, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
        write, writev = os.write, os.writev
        monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:3])))
        for taken in (0, 1, 3, 4, 5, 9, 10):
            monkeypatch.setattr(
                os, "writev", lambda descriptor, data, n=taken: writev(descriptor, [b"".join(data)[:n]])
            )
            with store.stage() as staged:
                staged.write_many([b"0123", b"", b"4", memoryview(b"56789")])
                staged.keep("k")
            assert store.get("k") == b"0123456789"


def write_and_keep(staged: Staged) -> None:
    staged.write(b"x")
    staged.keep("a/b")


class TestStage:
    def test_more_pieces_than_one_call_takes(self, store: FileSystemStore) -> None:
        pieces = [bytes([number % 256]) for number in range(2500)]
        with store.stage() as staged:
            staged.write_many(pieces)
            staged.keep("k")
        assert store.get("k") == b"".join(pieces)

    def test_thrown_away_leaves_no_file(self, store: FileSystemStore, root: Path) -> None:
        """By discard, by leaving the block, by an error within it, and by the garbage collector."""
        staged = store.stage()
        staged.write(b"x")
        assert len(temporary_files(root)) == 1
        staged.discard()
        with store.stage() as staged:
            staged.write(b"x")
        with pytest.raises(ConnectionResetError), store.stage() as staged:
            shutil.copyfileobj(Breaking(9), staged)
        staged = store.stage()
        staged.write(b"x")
        del staged
        gc.collect()
        assert temporary_files(root) == []

    def test_of_a_full_disk_leaves_no_file(
        self, store: FileSystemStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """ENOSPC injected at each call between the first byte and the name."""

        def fail(*args: object, **kwargs: object) -> None:
            raise OSError(errno.ENOSPC, "full")

        for call in ("writev", "fsync", "rename"):
            staged = store.stage()
            with monkeypatch.context() as patched:
                patched.setattr(os, call, fail)
                with pytest.raises(StoreFull):
                    write_and_keep(staged)
            with pytest.raises(ValueError, match="discarded"):
                staged.keep("a/b")
            assert temporary_files(root) == []
            assert list(store.list()) == []

    def test_folder_moved_meanwhile_is_not_written(self, store: FileSystemStore, root: Path) -> None:
        """A folder that is still open here but lies elsewhere now must not take the object."""
        store.put("a/b", b"x")
        (root / "a").rename(root.with_name("moved"))
        store.put("a/c", b"y")
        assert (root / "a" / "c").read_bytes() == b"y"
        assert [path.name for path in root.with_name("moved").iterdir()] == ["b"]

    def test_disk_gone_between_stage_and_keep(self, store: FileSystemStore, root: Path) -> None:
        store.put("a/b", b"x")
        with store.stage() as staged:
            staged.write(b"y")
            root.rename(root.with_name("elsewhere"))
            root.mkdir()
            with pytest.raises(BucketMissing):
                staged.keep("a/c")
        assert list(root.iterdir()) == []
        assert list((root.with_name("elsewhere") / ".tmp").iterdir()) == []

    def test_folders_stay_few(self, store: FileSystemStore) -> None:
        """However many folders were written, a bounded number of descriptors stays open."""
        before = len(list(Path("/proc/self/fd").iterdir()))
        for number in range(600):
            store._folder((f"f{number}",))
        assert len(list(Path("/proc/self/fd").iterdir())) - before <= 257


class TestConfinement:
    def test_links_are_not_followed(self, store: FileSystemStore, root: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        (root / "folder").symlink_to(outside)
        (root / "file").symlink_to(outside / "secret")
        for key in ("folder/secret", "file"):
            for read in (store.get, store.stat, store.open, lambda k: store.get_range(k, 0, 1)):
                with pytest.raises(ObjectNotFound):
                    read(key)
            store.delete(key)
        with pytest.raises(InvalidKey):
            store.put("folder/new", b"x")
        assert list(store.list()) == []
        assert [path.name for path in outside.iterdir()] == ["secret"]
        store.put("file", b"mine")  # replaces the link, not what it points to
        assert (outside / "secret").read_bytes() == b"secret"

    def test_what_is_no_file_is_no_object(self, store: FileSystemStore, root: Path) -> None:
        os.mkfifo(root / "pipe")
        for read in (store.get, store.stat, store.open):
            with pytest.raises(ObjectNotFound):
                read("pipe")
        store.delete("pipe")
        assert (root / "pipe").exists()
        assert list(store.list()) == []

    def test_keys_do_not_nest(self, store: FileSystemStore) -> None:
        store.put("a/b", b"x")
        with pytest.raises(InvalidKey, match="already an object"):
            store.put("a/b/c", b"y")
        with pytest.raises(InvalidKey, match="beneath this key"):
            store.put("a", b"y")
        assert [found.key for found in store.list()] == ["a/b"]


class TestFolder:
    def test_must_be_absolute(self) -> None:
        with pytest.raises(ValueError, match="absolute"):
            FileSystemStore(Path("relative"))

    def test_gone_is_not_the_same_as_empty(self, store: FileSystemStore, root: Path) -> None:
        """An unmounted disk leaves an empty mount point, which must not look like an empty store."""
        store.put("a/b", b"x")
        root.rename(root.with_name("elsewhere"))
        root.mkdir()
        calls = (
            lambda: store.put("a/c", b"y"),
            lambda: store.get("a/b"),
            lambda: store.stat("a/b"),
            lambda: store.delete("a/b"),
            lambda: list(store.list()),
            store.check,
        )
        for call in calls:
            with pytest.raises(BucketMissing, match="mounted"):
                call()
        assert list(root.iterdir()) == []

    def test_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StorageError, match="cannot be used"):
            FileSystemStore(tmp_path / "file" / "store")

    def test_is_shared_by_two_stores(self, store: FileSystemStore, root: Path) -> None:
        store.put("a/b", b"x")
        assert FileSystemStore(root).get("a/b") == b"x"
