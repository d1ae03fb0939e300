"""Objects as plain files under one folder, the key being the path.

A put writes a temporary file in the folder's own ``.tmp``, syncs it, renames it over the
key and syncs the directory, so a key holds either its old bytes or all of the new ones,
also after a power cut. What is staged for a key that tells its content may be named first and
synced then, where nothing has the key. Every path is walked one segment at a time from the open root
with O_NOFOLLOW: no symbolic link is ever followed, so nothing outside can be reached.
There are no side files; whoever needs the SHA-256 later keeps what `put` returned.
"""

import ctypes
import errno
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, cast

from storage.base import (
    RESERVED_SEGMENT,
    Source,
    Stat,
    Stored,
    check_key,
    check_prefix,
    check_range,
    pieces,
    probe,
)
from storage.errors import (
    BucketMissing,
    InvalidKey,
    ObjectNotFound,
    StorageError,
    StoreDenied,
    StoreFull,
    StoreUnreachable,
)
from storage.staged import Piece, Staged

STALE_SECONDS: Final = 3600
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a FIFO must not hang us
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_REMEMBERED_DIRECTORIES: Final = 100_000
_OPEN_FOLDERS: Final = 256
_WRITE_BACK_BYTES: Final = 128 * 1024
_IOV_MAX: Final = 1024  # pieces that one writev takes, limits.h of Linux

_CAUSES: Final[tuple[tuple[frozenset[int], type[StorageError], str], ...]] = (
    (
        frozenset({errno.ENOSPC, errno.EDQUOT}),
        StoreFull,
        "no space left under {root}; make room on that disk",
    ),
    (
        frozenset({errno.EACCES, errno.EPERM, errno.EROFS}),
        StoreDenied,
        "this account may not read or write under {root}; give it the right",
    ),
    (
        frozenset({errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.ENOTCONN}),
        StoreUnreachable,
        "the disk of {root} does not answer; look at it now",
    ),
    (frozenset({errno.EISDIR, errno.ENOTEMPTY}), InvalidKey, "other objects already lie beneath this key"),
    (
        frozenset({errno.ENOENT, errno.ENOTDIR}),
        BucketMissing,
        "the folder {root} cannot be used; is its disk mounted?",
    ),
)
# ENOTDIR, ELOOP: a segment is a file or a link, so there can be no object behind it
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


class FileSystemStore:
    """An `ObjectStore` in one folder of a local or network file system.

    Parameters
    ----------
    root : Path
        Absolute path of the folder; made when it is not there. Nobody else should write in it.

    Raises
    ------
    StoreDenied, StoreFull, StoreUnreachable, BucketMissing
        The folder cannot be made or written.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_absolute():
            raise ValueError(f"the folder of the object store must be an absolute path, not {root}")
        self._root = root
        self._path = str(root)
        self._synced = {RESERVED_SEGMENT}
        self._folders: dict[tuple[str, ...], _Folder] = {}
        self._lock = threading.Lock()
        self._translated = _Translated(self)
        with self.translated():
            (root / RESERVED_SEGMENT).mkdir(mode=0o750, parents=True, exist_ok=True)
            _sync_upwards(root)
            self._sweep()

    def put(self, key: str, source: Source) -> Stored:
        """Write, sync and rename; see `ObjectStore.put`."""
        check_key(key)
        with self.stage() as staged:
            for piece in pieces(source):
                staged.write(piece)
            return staged.keep(key)

    def stage(self) -> Staged:
        """Begin an object as a file in ``.tmp``; see `ObjectStore.stage`."""
        return _StagedFile(self, self._folder((RESERVED_SEGMENT,)))

    def name(self, file: "_StagedFile", key: str) -> None:
        """Give a file its key, durably: sync, rename, sync the folder."""
        with self.translated():
            os.fsync(file.descriptor)
        *parents, name = key.split("/")
        target = self._folder(tuple(parents))
        with self.translated():
            os.rename(file.temporary, name, src_dir_fd=file.folder.descriptor, dst_dir_fd=target.descriptor)
            file.temporary = ""
            os.fsync(target.descriptor)

    def name_first(self, file: "_StagedFile", key: str) -> bool:
        """Give a file a key that nothing has yet, and sync both together; False when that cannot be done.

        A sync writes the journal of the file system: with the name in it already, the sync of the
        folder after it has nothing left to write. One that is there is never replaced by bytes
        that are not durable.
        """
        *parents, name = key.split("/")
        target = self._folder(tuple(parents))
        if not _renamed_to_free_name(file.folder.descriptor, file.temporary, target.descriptor, name):
            return False
        file.temporary = ""
        try:
            with self.translated():
                os.fsync(file.descriptor)
                os.fsync(target.descriptor)
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=target.descriptor)
            raise
        return True

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        with self.open(key) as stream, self.translated(key):
            return stream.read()

    def open(self, key: str) -> BinaryIO:
        """Open the object as it is now; a later put does not change what is read. Can seek."""
        check_key(key)
        *parents, name = key.split("/")
        with self._directory(parents, key=key) as folder, self.translated(key):
            descriptor = os.open(name, _READ, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _not_found(key)
        return os.fdopen(descriptor, "rb")

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return part of the object; see `ObjectStore.get_range`."""
        check_range(start, length)
        with self.open(key) as stream, self.translated(key):
            # clipped here, because a read of `length` would allocate that much first
            length = min(length, max(0, os.fstat(stream.fileno()).st_size - start))
            stream.seek(start)
            return stream.read(length)

    def stat(self, key: str) -> Stat:
        """Return size and time of the object."""
        check_key(key)
        *parents, name = key.split("/")
        with self._directory(parents, key=key) as folder, self.translated(key):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise _not_found(key)
        return _stat(key, status)

    def delete(self, key: str) -> None:
        """Remove the file durably; no error when it is absent. Folders stay."""
        check_key(key)
        *parents, name = key.split("/")
        with suppress(ObjectNotFound), self._directory(parents, key=key) as folder, self.translated(key):
            if stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Yield the objects whose key starts with `prefix`; one folder is read at a time."""
        check_prefix(prefix)
        *parents, _ = prefix.split("/")
        return self._walk(parents, prefix)

    def check(self) -> None:
        """Write, read and remove a small object."""
        probe(self)

    def _folder(self, segments: tuple[str, ...]) -> "_Folder":
        """Return an open folder, made when it is not there; the last ones used stay open.

        One that is open already is believed only while the path still leads to it: the
        disk may have been unmounted or the folder moved since.
        """
        known = self._folders.get(segments)
        if known is not None:
            try:
                status = os.lstat("/".join((self._path, *segments)))
            except OSError:
                status = None
            if status is not None and (status.st_dev, status.st_ino) == known.identity:
                return known
        with self._directory(segments, create=True) as descriptor, self.translated():
            found = _Folder(os.dup(descriptor))
        with self._lock:
            if len(self._folders) >= _OPEN_FOLDERS:
                self._folders.clear()
            self._folders[segments] = found
        return found

    @contextmanager
    def _directory(
        self, segments: Sequence[str], *, create: bool = False, key: str | None = None
    ) -> Iterator[int]:
        """Give a descriptor of the folder `segments` under the root, reached without any link."""
        with self.translated():
            if not (self._root / RESERVED_SEGMENT).is_dir():
                raise BucketMissing(f"the folder {self._root} is gone; is its disk mounted?")
            here = os.open(self._root, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            for depth, segment in enumerate(segments, start=1):
                path = "/".join(segments[:depth])
                with self.translated(None if create else key):
                    below = (
                        self._enter(here, segment, path)
                        if create
                        else os.open(segment, _DIRECTORY, dir_fd=here)
                    )
                os.close(here)
                here = below
            yield here
        finally:
            os.close(here)

    def _enter(self, parent: int, segment: str, path: str) -> int:
        """Open a folder, making it first when needed; the entry in `parent` is durable after.

        A folder found there may have been made by another process that has not synced it
        yet, so each process syncs the parent of every folder once.
        """
        with suppress(FileExistsError):
            os.mkdir(segment, 0o750, dir_fd=parent)
            with self._lock:
                self._synced.discard(path)
        try:
            descriptor = os.open(segment, _DIRECTORY, dir_fd=parent)
        except NotADirectoryError:
            raise InvalidKey("part of the key is already an object") from None
        if path not in self._synced:
            try:
                os.fsync(parent)
            except OSError:
                os.close(descriptor)
                raise
            with self._lock:
                if len(self._synced) >= _REMEMBERED_DIRECTORIES:
                    self._synced.clear()
                self._synced.add(path)
        return descriptor

    def _walk(self, segments: Sequence[str], prefix: str) -> Iterator[Stat]:
        base = "".join(f"{segment}/" for segment in segments)
        try:
            with self._directory(segments, key=base) as folder, self.translated(base):
                # "a-b" sorts before "a/b": folders take part in the order with their slash
                with os.scandir(folder) as entries:
                    names = sorted(
                        entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name
                        for entry in entries
                    )
                files = {}
                for name in names:
                    with suppress(FileNotFoundError):
                        if not name.endswith("/"):
                            files[name] = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except ObjectNotFound:
            return  # no such folder, or removed meanwhile
        for name in names:
            key = base + name
            if name.endswith("/"):
                if key != f"{RESERVED_SEGMENT}/" and (key.startswith(prefix) or prefix.startswith(key)):
                    yield from self._walk([*segments, name[:-1]], prefix)
            elif name in files and key.startswith(prefix) and stat.S_ISREG(files[name].st_mode):
                yield _stat(key, files[name])

    def _sweep(self) -> None:
        """Remove temporary files that killed processes left more than an hour ago."""
        limit = time.time() - STALE_SECONDS
        with os.scandir(self._root / RESERVED_SEGMENT) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process sweeps as well
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and status.st_mtime < limit:
                        Path(entry.path).unlink()

    def translated(self, key: str | None = None) -> "_Translated":
        """Turn an OSError of the store into the storage error that names its cause.

        With `key`, a path that is not there means that the object is not there.
        """
        return self._translated if key is None else _Translated(self, key)

    def cause(self, error: OSError) -> StorageError:
        """Return the storage error for an error of the system."""
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        for numbers, cause, text in _CAUSES:
            if error.errno in numbers:
                return cause(f"{text.format(root=self._root)} ({reason})")
        return StorageError(f"the object store under {self._root} failed ({reason})")


class _Translated:
    """What `FileSystemStore.translated` gives; it holds nothing, so one serves all threads."""

    __slots__ = ("_key", "_store")

    def __init__(self, store: FileSystemStore, key: str | None = None) -> None:
        self._store = store
        self._key = key

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, OSError):
            return
        if self._key is not None and error.errno in _ABSENT:
            raise _not_found(self._key) from error
        raise self._store.cause(error) from error


class _Folder:
    """A descriptor of a folder, closed when nobody uses it any more."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        status = os.fstat(descriptor)
        self.identity = (status.st_dev, status.st_ino)

    def __del__(self) -> None:
        os.close(self.descriptor)


class _StagedFile(Staged):
    """A file in ``.tmp`` of a store."""

    def __init__(self, store: FileSystemStore, folder: _Folder) -> None:
        self._store = store
        self.folder = folder
        self.temporary = f"{os.getpid()}-{secrets.token_hex(16)}"
        """Name in the folder; empty once the file has its key."""
        with store.translated():
            self.descriptor = os.open(self.temporary, _CREATE, 0o640, dir_fd=folder.descriptor)
        self._begun = 0
        super().__init__()

    def _append(self, pieces: Sequence[Piece], size: int) -> None:
        with self._store.translated():
            for start in range(0, len(pieces), _IOV_MAX):
                _write_all(self.descriptor, pieces[start : start + _IOV_MAX])
        written = self.size + size
        if written - self._begun >= _WRITE_BACK_BYTES:
            _begin_write_back(self.descriptor, self._begun, written - self._begun)
            self._begun = written

    def _readable(self) -> BinaryIO:
        return os.fdopen(self.descriptor, "rb", closefd=False)

    def _name(self, key: str, tells_content: bool) -> None:
        if not (tells_content and self._store.name_first(self, key)):
            self._store.name(self, key)

    def _release(self) -> None:
        os.close(self.descriptor)
        if self.temporary:
            with suppress(OSError):
                os.unlink(self.temporary, dir_fd=self.folder.descriptor)


def _begin_write_back(descriptor: int, offset: int, length: int) -> None:
    """Ask the kernel to begin writing a part of a file to the disk, without waiting for it.

    A hint: what it has not done by then, the sync does. Measured on ext4 with 0.5 MB that
    comes over 2 ms: the sync takes 0.3 ms instead of 1.2 ms.
    """
    if _SYNC_FILE_RANGE is not None:
        _SYNC_FILE_RANGE(descriptor, offset, length, _WRITE)


def _system_call(name: str, *arguments: type) -> Callable[..., int] | None:
    """Return the system call of that name (Linux), or None."""
    call = getattr(ctypes.CDLL(None), name, None)
    if call is not None:
        call.argtypes = arguments
    return cast("Callable[..., int] | None", call)


_SYNC_FILE_RANGE: Final = _system_call(
    "sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint
)
_WRITE: Final = 2  # SYNC_FILE_RANGE_WRITE of fcntl.h


def _renamed_to_free_name(old_folder: int, old_name: str, new_folder: int, new_name: str) -> bool:
    """Rename a file unless something has the new name (Linux); also False where that is not offered."""
    if _RENAMEAT2 is None:
        return False
    return _RENAMEAT2(old_folder, old_name.encode(), new_folder, new_name.encode(), _NO_REPLACE) == 0


_RENAMEAT2: Final = _system_call(
    "renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint
)
_NO_REPLACE: Final = 1  # RENAME_NOREPLACE of stdio.h


def _write_all(descriptor: int, pieces: Sequence[Piece]) -> None:
    written = os.writev(descriptor, pieces)
    for piece in pieces:
        if written < len(piece):
            rest = memoryview(piece)[written:]
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        written = max(0, written - len(piece))


def _sync_upwards(folder: Path) -> None:
    """Sync the new root and its parents, so that the folder itself survives a power cut."""
    for path in (folder, *folder.parents):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            return  # not ours above here, so not made by us either
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _stat(key: str, status: os.stat_result) -> Stat:
    return Stat(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _not_found(key: str) -> ObjectNotFound:
    return ObjectNotFound(f"there is no object {key!r}")
