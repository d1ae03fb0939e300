"""Objects as plain files under one folder, the key being the path.

A put writes a temporary file in the folder's own ``.tmp``, syncs it, renames it over the
key and syncs the directory, so a key holds either its old bytes or all of the new ones,
also after a power cut. Every path is walked one segment at a time from the open root
with O_NOFOLLOW: no symbolic link is ever followed, so nothing outside can be reached.
There are no side files; whoever needs the SHA-256 later keeps what `put` returned.
"""

import errno
import hashlib
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from storage.base import (
    RESERVED_SEGMENT,
    Source,
    Stat,
    Stored,
    check_key,
    check_prefix,
    check_range,
    chunks,
    open_source,
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

STALE_SECONDS: Final = 3600
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a FIFO must not hang us
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_REMEMBERED_DIRECTORIES: Final = 100_000

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
        self._synced: set[str] = set()
        self._lock = threading.Lock()
        with self._translated():
            (root / RESERVED_SEGMENT).mkdir(mode=0o750, parents=True, exist_ok=True)
            _sync_upwards(root)
            self._sweep()

    def put(self, key: str, source: Source) -> Stored:
        """Write, sync and rename; see `ObjectStore.put`."""
        check_key(key)
        *parents, name = key.split("/")
        with open_source(source) as stream, self._directory([RESERVED_SEGMENT]) as tmp:
            temporary = f"{os.getpid()}-{secrets.token_hex(16)}"
            try:
                size, sha256 = self._write(tmp, temporary, stream)
                with self._directory(parents, create=True) as folder, self._translated():
                    os.rename(temporary, name, src_dir_fd=tmp, dst_dir_fd=folder)
                    os.fsync(folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=tmp)
                raise
        return Stored(key, size, sha256)

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        with self.open(key) as stream, self._translated(key):
            return stream.read()

    def open(self, key: str) -> BinaryIO:
        """Open the object as it is now; a later put does not change what is read. Can seek."""
        check_key(key)
        *parents, name = key.split("/")
        with self._directory(parents, key=key) as folder, self._translated(key):
            descriptor = os.open(name, _READ, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _not_found(key)
        return os.fdopen(descriptor, "rb")

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return part of the object; see `ObjectStore.get_range`."""
        check_range(start, length)
        with self.open(key) as stream, self._translated(key):
            # clipped here, because a read of `length` would allocate that much first
            length = min(length, max(0, os.fstat(stream.fileno()).st_size - start))
            stream.seek(start)
            return stream.read(length)

    def stat(self, key: str) -> Stat:
        """Return size and time of the object."""
        check_key(key)
        *parents, name = key.split("/")
        with self._directory(parents, key=key) as folder, self._translated(key):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise _not_found(key)
        return _stat(key, status)

    def delete(self, key: str) -> None:
        """Remove the file durably; no error when it is absent. Folders stay."""
        check_key(key)
        *parents, name = key.split("/")
        with suppress(ObjectNotFound), self._directory(parents, key=key) as folder, self._translated(key):
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

    def _write(self, tmp: int, temporary: str, stream: BinaryIO) -> tuple[int, str]:
        """Copy `stream` into a new file of the directory `tmp`, synced; return size and SHA-256."""
        digest = hashlib.sha256()
        size = 0
        with self._translated():
            descriptor = os.open(temporary, _CREATE, 0o640, dir_fd=tmp)
        try:
            for chunk in chunks(stream):
                digest.update(chunk)
                size += len(chunk)
                with self._translated():
                    _write_all(descriptor, chunk)
            with self._translated():
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return size, digest.hexdigest()

    @contextmanager
    def _directory(
        self, segments: Sequence[str], *, create: bool = False, key: str | None = None
    ) -> Iterator[int]:
        """Give a descriptor of the folder `segments` under the root, reached without any link."""
        with self._translated():
            if not (self._root / RESERVED_SEGMENT).is_dir():
                raise BucketMissing(f"the folder {self._root} is gone; is its disk mounted?")
            here = os.open(self._root, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            for depth, segment in enumerate(segments, start=1):
                path = "/".join(segments[:depth])
                with self._translated(None if create else key):
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
            with self._directory(segments, key=base) as folder, self._translated(base):
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

    @contextmanager
    def _translated(self, key: str | None = None) -> Iterator[None]:
        """Turn an OSError of the store into the storage error that names its cause.

        With `key`, a path that is not there means that the object is not there.
        """
        try:
            yield
        except OSError as error:
            if key is not None and error.errno in _ABSENT:
                raise _not_found(key) from error
            raise self._cause(error) from error

    def _cause(self, error: OSError) -> StorageError:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        for numbers, cause, text in _CAUSES:
            if error.errno in numbers:
                return cause(f"{text.format(root=self._root)} ({reason})")
        return StorageError(f"the object store under {self._root} failed ({reason})")


def _write_all(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


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
