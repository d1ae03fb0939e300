"""Objects in the memory of this process: for tests and throw-away use, nothing survives."""

import bisect
import io
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import BinaryIO

from storage.base import (
    Source,
    Stat,
    Stored,
    check_key,
    check_prefix,
    check_range,
    pieces,
    probe,
)
from storage.errors import InvalidKey, ObjectNotFound
from storage.staged import Piece, Staged


class MemoryStore:
    """An `ObjectStore` that is as strict as the strictest backend, and forgets at exit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._keys: list[str] = []  # sorted

    def put(self, key: str, source: Source) -> Stored:
        """Keep a copy of all bytes of `source`; see `ObjectStore.put`."""
        check_key(key)
        with self.stage() as staged:
            for piece in pieces(source):
                staged.write(piece)
            return staged.keep(key)

    def stage(self) -> Staged:
        """Begin an object; see `ObjectStore.stage`."""
        return _StagedBytes(self)

    def keep(self, key: str, content: bytes) -> None:
        """Make `content` the object under `key`."""
        with self._lock:
            self._refuse_nesting(key)
            if key not in self._objects:
                bisect.insort(self._keys, key)
            self._objects[key] = (content, datetime.now(UTC))

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        return self._find(key)[0]

    def open(self, key: str) -> BinaryIO:
        """Open the object as it is now; a later put does not change what is read."""
        return io.BytesIO(self._find(key)[0])

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return part of the object; see `ObjectStore.get_range`."""
        check_range(start, length)
        return self._find(key)[0][start : start + length]

    def stat(self, key: str) -> Stat:
        """Return size and time of the object."""
        content, modified = self._find(key)
        return Stat(key, len(content), modified)

    def delete(self, key: str) -> None:
        """Remove the object; no error when it is absent."""
        check_key(key)
        with self._lock:
            if self._objects.pop(key, None) is not None:
                del self._keys[bisect.bisect_left(self._keys, key)]

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Yield the objects there are now whose key starts with `prefix`."""
        check_prefix(prefix)
        with self._lock:
            first = bisect.bisect_left(self._keys, prefix)
            last = bisect.bisect_left(self._keys, prefix + "\x7f")  # beyond every permitted character
            found = [
                Stat(key, len(self._objects[key][0]), self._objects[key][1]) for key in self._keys[first:last]
            ]
        return iter(found)

    def check(self) -> None:
        """Write, read and remove a small object."""
        probe(self)

    def _find(self, key: str) -> tuple[bytes, datetime]:
        check_key(key)
        try:
            return self._objects[key]
        except KeyError:
            raise ObjectNotFound(f"there is no object {key!r}") from None

    def _refuse_nesting(self, key: str) -> None:
        below = bisect.bisect_left(self._keys, key + "/")
        if below < len(self._keys) and self._keys[below].startswith(key + "/"):
            raise InvalidKey("other objects already lie beneath this key")
        parents = key.split("/")[:-1]
        if any("/".join(parents[: depth + 1]) in self._objects for depth in range(len(parents))):
            raise InvalidKey("part of the key is already an object")


class _StagedBytes(Staged):
    def __init__(self, store: MemoryStore) -> None:
        super().__init__()
        self._store = store
        self._buffer = io.BytesIO()

    def _append(self, pieces: Sequence[Piece], _size: int) -> None:
        for piece in pieces:
            self._buffer.write(piece)

    def _readable(self) -> BinaryIO:
        return self._buffer

    def _name(self, key: str, _tells_content: bool) -> None:
        self._store.keep(key, self._buffer.getvalue())

    def _release(self) -> None:
        self._buffer.close()
