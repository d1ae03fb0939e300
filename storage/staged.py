"""An object on its way into a store: it takes bytes as they come and has no name yet."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import BinaryIO, Self

from storage.base import Stored, check_key

Piece = bytes | bytearray | memoryview


class Staged(ABC):
    """Bytes that are kept aside until they get a key or are thrown away.

    Used in a ``with`` statement it throws away what was not kept; so does an error
    while writing or keeping. One thread at a time may use it.
    """

    def __init__(self) -> None:
        self._size = 0
        self._digest = hashlib.sha256()
        self._open = True
        self._sealed = False

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes written so far, lower-case hexadecimal."""
        return self._digest.hexdigest()

    def write(self, piece: Piece) -> None:
        """Add bytes. They are taken before it returns, so the buffer may be used again.

        Raises
        ------
        StorageError
            The store cannot take them; nothing of this object is kept.
        """
        self.write_many((piece,))

    def write_many(self, pieces: Sequence[Piece]) -> None:
        """Add several pieces in order, with fewer calls of the system than one by one."""
        self._require_open()
        if self._sealed:
            raise ValueError("this object was read already: nothing can be added to it")
        try:
            size = 0
            for piece in pieces:
                self._digest.update(piece)
                size += len(piece)
            self._append(pieces, size)
        except BaseException:
            self.discard()
            raise
        self._size += size

    def reader(self) -> BinaryIO:
        """Return what was written, for random access; nothing can be added from here on.

        It ends with this object and must not be closed.
        """
        self._require_open()
        self._sealed = True
        return self._readable()

    def keep(self, key: str, *, tells_content: bool = False) -> Stored:
        """Keep the bytes under `key`: atomic and durable as `storage.base.ObjectStore.put`.

        Parameters
        ----------
        tells_content : bool
            The key holds a hash of the content, so that whoever finds a broken object under it
            knows it for one. Then a power cut before this returns may leave such an object, where
            none was; a disk takes one step less for it.

        Raises
        ------
        StorageError
            As `put` does; nothing of this object is kept then.
        """
        self._require_open()
        try:
            self._name(check_key(key), tells_content)
        finally:
            self.discard()
        return Stored(key, self._size, self.sha256)

    def discard(self) -> None:
        """Throw the bytes away; nothing happens when they have a key or are gone already."""
        if self._open:
            self._open = False
            self._release()

    def _require_open(self) -> None:
        if not self._open:
            raise ValueError("this object was kept or discarded already")

    @abstractmethod
    def _append(self, pieces: Sequence[Piece], size: int) -> None:
        """Take the pieces, which are `size` bytes together."""

    @abstractmethod
    def _readable(self) -> BinaryIO:
        """Return a seekable file over what was taken."""

    @abstractmethod
    def _name(self, key: str, tells_content: bool) -> None:
        """Make what was taken durable under a key that is permitted."""

    @abstractmethod
    def _release(self) -> None:
        """Give back what this object holds; called once, after `_name` too."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def __del__(self) -> None:
        if getattr(self, "_open", False):  # absent when the constructor failed
            self.discard()
