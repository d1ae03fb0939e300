"""Where the bytes of one stored object are read from: memory, a path, or an open object."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

Readable = bytes | bytearray | memoryview | Path | BinaryIO
"""Bytes in memory, a file's path, or a seekable binary file such as a store's object."""

Octets = bytes | memoryview
"""Bytes that are only read and passed on."""

_WINDOW = 64 * 1024
_WINDOW_AFTER_JUMP = 4 * 1024


_UNKNOWN = 1 << 62
"""Size of an object that is still coming in."""


class NotHereYet(Exception):
    """What was asked for lies behind what has come in so far."""


class Source:
    """Random access to bytes, through one window so that headers cost few reads."""

    def __init__(self, data: memoryview | BinaryIO) -> None:
        self._file: BinaryIO | None = None
        self._window = memoryview(b"")
        self._start = 0
        self.heads = 0
        """How many heads of elements were read; see `hub.dicom.elements.MAX_HEADS`."""
        if isinstance(data, memoryview):
            self._window = data
            self.size = len(data)
        else:
            self._file = data
            self.size = data.seek(0, io.SEEK_END)

    @classmethod
    def arriving(cls, first: bytes, start: int) -> "Source":
        """Return an object of which only some bytes from `start` on are here.

        Until `arrived` everything that asks for others raises `NotHereYet`.
        """
        source = cls(memoryview(first))
        source._start, source.size = start, _UNKNOWN
        return source

    def arrived(self, size: int, file: BinaryIO | None = None) -> None:
        """Take note that the object is here as a whole: its size, and where to read it if that is needed."""
        self.size, self._file = size, file

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer where the object ends."""
        length = max(0, min(length, self.size - offset))
        begin = offset - self._start
        if begin < 0 or begin + length > len(self._window):
            if self._file is None:
                self._require_all()
                return b""
            self._file.seek(offset)
            if length >= _WINDOW:
                return self._file.read(length)
            begin = self._load(offset, length)
        return bytes(self._window[begin : begin + length])

    def piece(self, offset: int, length: int) -> Octets:
        """Return what `read` does, without copying what is in memory anyhow."""
        begin, end = offset - self._start, offset - self._start + length
        if begin >= 0 and end <= len(self._window) and offset + length <= self.size:
            return self._window[begin:end]
        return self.read(offset, length)

    def around(self, offset: int) -> tuple[memoryview, int]:
        """Return bytes and where `offset` is in them; at least 12 follow unless the object ends."""
        at = offset - self._start
        if at < 0 or at + 12 > len(self._window):
            if self._file is not None:
                at = self._load(offset, 12)
            else:
                self._require_all()
        return self._window, at

    def _require_all(self) -> None:
        if self.size == _UNKNOWN:
            raise NotHereYet

    def _load(self, offset: int, length: int) -> int:
        """Move the window to `offset`; a small one after a jump, because the next may be as far."""
        assert self._file is not None
        follows = 0 <= offset - self._start <= len(self._window) + _WINDOW
        self._file.seek(offset)
        self._window = memoryview(self._file.read(_WINDOW if follows else max(length, _WINDOW_AFTER_JUMP)))
        self._start = offset
        return 0


@contextmanager
def open_source(data: Readable) -> Iterator[Source]:
    """Open `data` for random access; a file given as an object is left open."""
    if isinstance(data, Path):
        with data.open("rb") as file:
            yield Source(file)
    elif isinstance(data, (bytes, bytearray, memoryview)):
        yield Source(memoryview(data).cast("B"))
    else:
        yield Source(data)
