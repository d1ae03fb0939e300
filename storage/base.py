"""What an object store promises, and the rules for keys that every backend shares."""

import hashlib
import io
import re
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from storage.errors import InvalidKey, StoreCorrupt

if TYPE_CHECKING:
    from storage.staged import Staged

Source = bytes | bytearray | memoryview | Path | BinaryIO

CHUNK_BYTES = 1 << 20
MAX_KEY_CHARS = 512
MAX_SEGMENT_CHARS = 255  # NAME_MAX of ext4 and XFS, and of S3 servers that keep objects as files
RESERVED_SEGMENT = ".tmp"  # half-written files of the filesystem store lie there

_ALLOWED = re.compile(r"[A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Stored:
    """What one `put` has made durable.

    Attributes
    ----------
    key : str
    size : int
        Bytes.
    sha256 : str
        64 lower-case hexadecimal digits, computed here from the bytes as they were read.
    """

    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Stat:
    """What the store knows of one object.

    Attributes
    ----------
    key : str
    size : int
        Bytes.
    modified : datetime
        When it was last put, UTC, by the clock of the store.
    """

    key: str
    size: int
    modified: datetime


class ObjectStore(Protocol):
    """Bytes by key.

    Keys follow `check_key`. A key must not lie beneath another (``a`` and ``a/b``):
    stores that keep objects as files refuse the second one, most with `InvalidKey`.
    One store object may be used from many threads, several processes may share one store.
    Every method raises a `storage.errors.StorageError` when the store fails; errors of
    the source (a broken socket, an unreadable file) are passed on as they are.
    """

    def put(self, key: str, source: Source) -> Stored:
        """Keep all bytes of `source` (a stream from where it stands) under `key`.

        Atomic: until it returns, and if it fails or the process dies, `key` holds what it
        held before. Durable: when it returns, the bytes survive a power cut as far as the
        disk or the S3 server keeps its word. An object already there is replaced as a
        whole; of several concurrent puts of one key, one wins as a whole.
        """

    def stage(self) -> "Staged":
        """Begin an object whose bytes come piece by piece and whose key is known at the end.

        It needs the same memory whatever the size. Until `storage.staged.Staged.keep`
        nothing is visible; what is not kept is thrown away.
        """

    def get(self, key: str) -> bytes:
        """Return the whole object; raises `ObjectNotFound`."""

    def open(self, key: str) -> BinaryIO:
        """Open the object for reading from its start, as a context manager.

        Not every store can seek in it. Raises `ObjectNotFound`; while it is read, a lost
        connection raises `StoreUnreachable` and a failing disk OSError.
        """

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from byte offset `start`, fewer at the end of the object.

        Beyond the end the answer is empty. Raises `ObjectNotFound`, and `ValueError` when
        `start` or `length` is negative.
        """

    def stat(self, key: str) -> Stat:
        """Return size and time of the object; raises `ObjectNotFound`."""

    def delete(self, key: str) -> None:
        """Remove the object. Removing what is absent is no error, so it is safe to repeat."""

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Yield the objects whose key starts with `prefix`, in code point order of the keys."""

    def check(self) -> None:
        """Write, read and remove a small object; raises the error that names what is wrong."""


def check_key(key: str) -> str:
    """Return `key` if it may name an object.

    Segments of ``A-Z a-z 0-9 . _ -``, joined by ``/``; no segment empty, ``.`` or ``..``;
    the first is not ``.tmp``; a segment at most 255 characters, the key at most 512.

    Raises
    ------
    InvalidKey
        Without repeating the key, which came from elsewhere.
    """
    if not key:
        raise InvalidKey("the key is empty")
    return _check(key, key.split("/"))


def check_prefix(prefix: str) -> str:
    """Return `prefix` if keys may start with it: empty, or a key that may stop anywhere.

    Raises
    ------
    InvalidKey
        No permitted key starts so.
    """
    segments = prefix.split("/")
    return _check(prefix, segments if segments[-1] else segments[:-1])


def _check(key: str, segments: list[str]) -> str:
    if len(key) > MAX_KEY_CHARS:
        raise InvalidKey(f"the key has {len(key)} characters, {MAX_KEY_CHARS} are allowed")
    for number, segment in enumerate(segments, start=1):
        if segment in ("", ".", ".."):
            raise InvalidKey(f"segment {number} of the key is empty, '.' or '..'")
        if len(segment) > MAX_SEGMENT_CHARS:
            raise InvalidKey(f"segment {number} of the key is longer than {MAX_SEGMENT_CHARS} characters")
        if not _ALLOWED.fullmatch(segment):
            raise InvalidKey(f"segment {number} of the key has characters other than A-Z a-z 0-9 . _ -")
    if segments and segments[0] == RESERVED_SEGMENT:
        raise InvalidKey(f"keys under {RESERVED_SEGMENT!r} are reserved for the store itself")
    return key


def check_range(start: int, length: int) -> None:
    """Raise `ValueError` when `start` or `length` (bytes) is negative."""
    if start < 0 or length < 0:
        raise ValueError(f"a range needs start and length >= 0, not {start} and {length}")


def open_source(source: Source) -> AbstractContextManager[BinaryIO]:
    """Return a context manager giving a stream over `source`; closes only what it opened."""
    if isinstance(source, Path):
        return source.open("rb")
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    return nullcontext(source)


def pieces(source: Source) -> Iterator[bytes | memoryview]:
    """Yield all bytes of `source` in pieces of at most `CHUNK_BYTES`."""
    if isinstance(source, bytes | bytearray | memoryview):
        view = memoryview(source).cast("B")
        for start in range(0, len(view), CHUNK_BYTES):
            yield view[start : start + CHUNK_BYTES]
        return
    with open_source(source) as stream:
        yield from chunks(stream)


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield what is left of `stream` in pieces of at most `CHUNK_BYTES`."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def sha256_of(store: ObjectStore, key: str) -> str:
    """Read the object again and return its SHA-256 in lower-case hexadecimal.

    Compared with `Stored.sha256` it finds an object that was altered behind the store.
    Raises `ObjectNotFound`.
    """
    digest = hashlib.sha256()
    with closing(store.open(key)) as stream:
        for chunk in chunks(stream):
            digest.update(chunk)
    return digest.hexdigest()


def probe(store: ObjectStore) -> None:
    """Write, read and remove one small object of random bytes under a fresh key.

    Raises
    ------
    StorageError
        The subclass that names the cause; `StoreCorrupt` when other bytes come back.
    """
    key = f"check-{secrets.token_hex(16)}"
    sent = secrets.token_bytes(64)
    store.put(key, sent)
    try:
        returned = store.get(key)
    finally:
        store.delete(key)
    if returned != sent:
        raise StoreCorrupt("the object store gave back other bytes than it was given; do not use it")
