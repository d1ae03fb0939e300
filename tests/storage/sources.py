"""Streams that behave badly on purpose."""

import hashlib
import io
import random


class Endless(io.RawIOBase):
    """`size` repeatable random bytes that never lie in memory as a whole."""

    def __init__(self, size: int, seed: int = 7) -> None:
        self.left = size
        self.digest = hashlib.sha256()
        self._random = random.Random(seed)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = self._random.randbytes(min(size, self.left))
        self.left -= len(chunk)
        self.digest.update(chunk)
        return chunk


class Breaking(io.RawIOBase):
    """Gives `good` bytes, then fails as a lost connection does."""

    def __init__(self, good: int) -> None:
        self._left = good

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._left:
            raise ConnectionResetError("the device went away")
        chunk = bytes(min(size, self._left))
        self._left -= len(chunk)
        return chunk


class Short(io.BytesIO):
    """Gives at most 7 bytes at a time, as a socket may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(7 if size is None or size < 0 else min(7, size))
