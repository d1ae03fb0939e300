"""Objects out of the store, never other bytes than those that were received.

A disk that has gone bad, or a hand in the store, must not put a wrong picture before a
reader. Whole objects are held against their SHA-256 before the first byte leaves. Parts
of them (a frame, the header) are taken from an object that was held against it within
the last ten minutes; only objects beyond `WHOLE_BYTES` are read in part unchecked,
because every frame would cost reading hundreds of megabytes.
"""

import hashlib
import io
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import BinaryIO, cast

import structlog

from hub.catalogue.models import Instance
from hub.context import Context
from hub.dicom.source import Readable
from hub.errors import HubError
from storage.base import ObjectStore, chunks, sha256_of
from storage.errors import ObjectNotFound

log = structlog.get_logger()

WHOLE_BYTES = 32 << 20
"""Objects up to this size are read in one piece and checked before anything is made of them."""

TRUST_SECONDS = 600.0
REMEMBERED = 20_000


class ObjectDamaged(HubError):
    """The stored object is not the one that was received; it is not handed out. Call the IT administrator."""


class _Checked:
    """Keys of objects whose bytes were found right a short while ago."""

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[int, str], float] = OrderedDict()
        self._lock = threading.Lock()

    def knows(self, store: ObjectStore, key: str) -> bool:
        with self._lock:
            return self._until.get((id(store), key), 0.0) > time.monotonic()

    def remember(self, store: ObjectStore, key: str) -> None:
        with self._lock:
            self._until[id(store), key] = time.monotonic() + TRUST_SECONDS
            self._until.move_to_end((id(store), key))
            while len(self._until) > REMEMBERED:
                self._until.popitem(last=False)

    def forget(self) -> None:
        """Trust nothing any more (tests)."""
        with self._lock:
            self._until.clear()


checked = _Checked()


@contextmanager
def open_object(context: Context, instance: Instance) -> Iterator[Readable]:
    """Give the stored file of an instance for random access.

    Raises
    ------
    ObjectDamaged
        Its bytes are absent or not those that were received.
    """
    if instance.size <= WHOLE_BYTES and not checked.knows(context.store, instance.storage_key):
        yield _whole(context, instance)
        return
    try:
        if context.store.stat(instance.storage_key).size != instance.size:
            raise _damaged(instance)
        stream = context.store.open(instance.storage_key)
    except ObjectNotFound as error:
        raise _damaged(instance) from error
    with closing(stream):
        if stream.seekable():
            yield stream
        else:
            yield cast("BinaryIO", _Ranges(context.store, instance.storage_key, instance.size))


def checked_chunks(context: Context, instance: Instance) -> Iterator[bytes]:
    """Yield the whole stored file; nothing before it is known to be what was received.

    Raises
    ------
    ObjectDamaged
        Before the first piece.
    """
    if instance.size <= WHOLE_BYTES:
        yield _whole(context, instance)
        return
    try:
        if sha256_of(context.store, instance.storage_key) != instance.sha256:
            raise _damaged(instance)
        stream = context.store.open(instance.storage_key)
    except ObjectNotFound as error:
        raise _damaged(instance) from error
    with closing(stream):
        yield from chunks(stream)


def _whole(context: Context, instance: Instance) -> bytes:
    try:
        content = context.store.get(instance.storage_key)
    except ObjectNotFound as error:
        raise _damaged(instance) from error
    if hashlib.sha256(content).hexdigest() != instance.sha256:
        raise _damaged(instance)
    checked.remember(context.store, instance.storage_key)
    return content


def _damaged(instance: Instance) -> ObjectDamaged:
    log.error("stored_object_damaged", instance=instance.id, sop_uid=instance.sop_uid)
    return ObjectDamaged(instance=instance.id, sop_uid=instance.sop_uid)


class _Ranges(io.RawIOBase):
    """Random access to an object of a store whose streams cannot seek."""

    def __init__(self, store: ObjectStore, key: str, size: int) -> None:
        super().__init__()
        self._store, self._key, self._size, self._at = store, key, size, 0

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
        content = self._store.get_range(self._key, self._at, left if size < 0 else min(size, left))
        self._at += len(content)
        return content
