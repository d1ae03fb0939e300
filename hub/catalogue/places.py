"""Where a file's bytes lie, in an object of its own or in a pack; nothing else knows the difference."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from hub.catalogue.models import Instance
from storage.base import ObjectStore, chunks, sha256_of

READ_AHEAD_BYTES = 1 << 20
"""What is asked of a store that cannot seek at least, at a time: a request costs it more than the bytes."""


@dataclass(frozen=True, slots=True)
class Place:
    """A run of bytes in the store.

    Attributes
    ----------
    key : str
        Of the object.
    offset, size : int
        Bytes; offset 0 means the whole object, because nothing in a pack begins there.
    sha256 : str
        Of these bytes.
    """

    key: str
    offset: int
    size: int
    sha256: str

    @property
    def packed(self) -> bool:
        """Whether other files lie in the same object."""
        return self.offset > 0


def place_of(instance: Instance) -> Place:
    """Return where an instance's file lies, as its row says."""
    return Place(instance.storage_key, instance.storage_offset, instance.size, instance.sha256)


def read_place(store: ObjectStore, place: Place) -> bytes:
    """Return the bytes at a place, unchecked; fewer where the object is cut off.

    Raises
    ------
    ObjectNotFound
        The object is not there; a pack may hold its bytes since.
    """
    if place.packed:
        return store.get_range(place.key, place.offset, place.size)
    return store.get(place.key)


def is_whole(store: ObjectStore, place: Place) -> bool:
    """Tell whether the store has all bytes of a place, without reading them.

    Raises
    ------
    ObjectNotFound
        The object is not there.
    """
    size = store.stat(place.key).size
    return size >= place.offset + place.size if place.packed else size == place.size


@contextmanager
def open_place(store: ObjectStore, place: Place) -> Iterator[BinaryIO]:
    """Open the bytes at a place for random access, whatever the store can do.

    Raises
    ------
    ObjectNotFound
        The object is not there.
    """
    if not seeks(store, place.key):
        yield cast("BinaryIO", _Ranges(store, place))
        return
    with closing(store.open(place.key)) as stream:
        yield cast("BinaryIO", _Part(stream, place.offset, place.size)) if place.packed else stream


def sha256_at(store: ObjectStore, place: Place) -> str:
    """Read the bytes at a place and return their SHA-256, in little memory."""
    if not place.packed:
        return sha256_of(store, place.key)
    digest = hashlib.sha256()
    with open_place(store, place) as stream:
        for piece in chunks(stream):
            digest.update(piece)
    return digest.hexdigest()


_seeking: dict[type[ObjectStore], bool] = {}


def seeks(store: ObjectStore, key: str) -> bool:
    """Tell whether a store's streams can seek; found out with an object that is there, once per kind."""
    kind = type(store)
    if kind not in _seeking:
        with closing(store.open(key)) as stream:
            _seeking[kind] = stream.seekable()
    return _seeking[kind]


class _Window(io.RawIOBase):
    """A part of an object as a file of its own, for reading."""

    def __init__(self, start: int, size: int) -> None:
        super().__init__()
        self._start, self._size, self._at = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        length = left if size is None or size < 0 else min(size, left)
        content = self._fetch(self._at, length) if length else b""
        self._at += len(content)
        return content

    def _fetch(self, at: int, length: int) -> bytes:
        raise NotImplementedError


class _Part(_Window):
    """Part of a stream that can seek."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        super().__init__(start, size)
        self._stream = stream

    def _fetch(self, at: int, length: int) -> bytes:
        self._stream.seek(self._start + at)
        return self._stream.read(length)


class _Ranges(_Window):
    """Part of an object of a store whose streams cannot seek; small reads are served from the last piece."""

    def __init__(self, store: ObjectStore, place: Place) -> None:
        super().__init__(place.offset, place.size)
        self._store, self._key = store, place.key
        self._piece, self._piece_at = memoryview(b""), 0

    def _fetch(self, at: int, length: int) -> bytes:
        begin = at - self._piece_at
        if begin < 0 or begin + length > len(self._piece):
            wanted = min(max(length, READ_AHEAD_BYTES), self._size - at)
            self._piece = memoryview(self._store.get_range(self._key, self._start + at, wanted))
            self._piece_at, begin = at, 0
        return bytes(self._piece[begin : begin + length])
