"""Objects out of the store, never other bytes than those that were received.

A disk that has gone bad, or a hand in the store, must not put a wrong picture before a
reader. Whole objects are held against their SHA-256 before the first byte leaves. What
was held against it within the last ten minutes is not read twice for that; parts (a
frame, the header) are taken from such an object, from memory while its bytes are still
there. Only of objects beyond `WHOLE_BYTES` parts are read unchecked, because every frame
would cost reading hundreds of megabytes.

Whether a file lies alone or in a pack does not show here. Packing may move it between
the reading of its row and the reading of its bytes; then the row is read once more.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import structlog

from hub.catalogue.models import Instance
from hub.catalogue.pack_repository import PackRepository
from hub.catalogue.places import Place, is_whole, open_place, place_of, read_place, sha256_at
from hub.context import Context
from hub.dicom.source import Readable
from hub.errors import HubError
from storage.base import ObjectStore, chunks
from storage.errors import ObjectNotFound

log = structlog.get_logger()

WHOLE_BYTES = 32 << 20
"""Objects up to this size are read in one piece and checked before anything is made of them."""

RUN_BYTES = 8 << 20
"""What is read of a pack at a time when its members are wanted one after the other."""

_NEAR_BYTES = 64 << 10
"""Members of a pack that lie no further apart are read together."""

TRUST_SECONDS = 600.0
REMEMBERED = 100_000

KEPT_BYTES = 48 << 20
"""Contents kept in memory by one process, all together."""
KEPT_SIZE = 4 << 20
"""Larger objects are not kept: a few would drive out everything else."""

Taken = TypeVar("Taken")


class ObjectDamaged(HubError):
    """The stored object is not the one that was received; it is not handed out. Call the IT administrator."""


_Name = tuple[int, str, int]


class _Checked:
    """Places whose bytes were found right a short while ago, and of the last small ones these bytes."""

    def __init__(self) -> None:
        self._until: OrderedDict[_Name, float] = OrderedDict()
        self._contents: OrderedDict[_Name, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def knows(self, store: ObjectStore, place: Place) -> bool:
        with self._lock:
            return self._until.get((id(store), place.key, place.offset), 0.0) > time.monotonic()

    def content(self, store: ObjectStore, place: Place) -> bytes | None:
        """Return the bytes of a place that were found right, while they are here."""
        name = (id(store), place.key, place.offset)
        with self._lock:
            found = self._contents.get(name)
            if found is None or self._until.get(name, 0.0) <= time.monotonic() or len(found) != place.size:
                return None
            self._contents.move_to_end(name)
            return found

    def remember(self, store: ObjectStore, place: Place, content: bytes | None = None) -> None:
        """Trust a place; `content` are its bytes, the very ones that were held against their SHA-256."""
        name = (id(store), place.key, place.offset)
        with self._lock:
            self._until[name] = time.monotonic() + TRUST_SECONDS
            self._until.move_to_end(name)
            while len(self._until) > REMEMBERED:
                self._until.popitem(last=False)
            if content is not None and len(content) <= KEPT_SIZE:
                self._bytes += len(content) - len(self._contents.pop(name, b""))
                self._contents[name] = content
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._contents.popitem(last=False)[1])

    def forget(self) -> None:
        """Trust nothing any more (tests)."""
        with self._lock:
            self._until.clear()
            self._contents.clear()
            self._bytes = 0


checked = _Checked()


@contextmanager
def open_object(context: Context, instance: Instance) -> Iterator[Readable]:
    """Give the stored file of an instance for random access.

    Raises
    ------
    ObjectDamaged
        Its bytes are absent or not those that were received.
    """
    with ExitStack() as stack:

        def opened(place: Place) -> Readable:
            kept = checked.content(context.store, place)
            if kept is not None:
                return kept
            if place.size <= WHOLE_BYTES and not checked.knows(context.store, place):
                return _content(context, instance, place)
            if not is_whole(context.store, place):
                raise _damaged(instance)
            return stack.enter_context(open_place(context.store, place))

        yield _at(context, instance, opened)


def checked_chunks(context: Context, instance: Instance) -> Iterator[bytes]:
    """Yield the whole stored file; nothing before it is known to be what was received.

    Raises
    ------
    ObjectDamaged
        Before the first piece.
    """
    if instance.size <= WHOLE_BYTES:
        yield _at(context, instance, lambda place: _content(context, instance, place))
        return
    with ExitStack() as stack:

        def opened(place: Place) -> Readable:
            if not checked.knows(context.store, place):
                if sha256_at(context.store, place) != place.sha256:
                    raise _damaged(instance)
                checked.remember(context.store, place)
            return stack.enter_context(open_place(context.store, place))

        yield from chunks(_at(context, instance, opened))  # type: ignore[arg-type]


def series_chunks(
    context: Context, instances: Sequence[Instance]
) -> Iterator[tuple[Instance, Iterator[bytes]]]:
    """Yield instances in their order, each with its file as `checked_chunks` gives it.

    Files that lie one after the other in a pack are read together, `RUN_BYTES` at a time.
    The pieces of one instance must be taken before the next one is asked for.
    """
    for run in _runs(instances):
        block = _block(context, run) if len(run) > 1 else None
        for instance in run:
            if block is None:
                yield instance, checked_chunks(context, instance)
            else:
                start = instance.storage_offset - run[0].storage_offset
                yield instance, _from_block(context, instance, block[start : start + instance.size])


def is_kept(context: Context, instance: Instance) -> bool:
    """Tell whether the store has the file of an instance, by its size; its content is not read."""
    try:
        return _at(context, instance, lambda place: is_whole(context.store, place))
    except ObjectDamaged:
        return False


def _runs(instances: Sequence[Instance]) -> Iterator[list[Instance]]:
    """Share instances out among runs that one read can serve."""
    run: list[Instance] = []
    for instance in instances:
        if run and not _follows(run, instance):
            yield run
            run = []
        run.append(instance)
    if run:
        yield run


def _follows(run: Sequence[Instance], instance: Instance) -> bool:
    first, last = run[0], run[-1]
    gap = instance.storage_offset - (last.storage_offset + last.size)
    return (
        instance.storage_offset > 0
        and instance.storage_key == last.storage_key
        and 0 <= gap <= _NEAR_BYTES
        and instance.storage_offset + instance.size - first.storage_offset <= RUN_BYTES
    )


def _block(context: Context, run: Sequence[Instance]) -> memoryview | None:
    """Read a run in one piece; None when it is not there any more."""
    start, last = run[0].storage_offset, run[-1]
    length = last.storage_offset + last.size - start
    try:
        return memoryview(context.store.get_range(last.storage_key, start, length))
    except ObjectNotFound:
        return None


def _from_block(context: Context, instance: Instance, piece: memoryview) -> Iterator[bytes]:
    place = place_of(instance)
    content = bytes(piece)
    _hold_against(context, instance, place, content)
    yield content


def _content(context: Context, instance: Instance, place: Place) -> bytes:
    kept = checked.content(context.store, place)
    if kept is not None:
        return kept
    content = read_place(context.store, place)
    _hold_against(context, instance, place, content, keep=True)
    return content


def _hold_against(
    context: Context, instance: Instance, place: Place, content: bytes, *, keep: bool = False
) -> None:
    """Raise unless the bytes are those of the place; ones that were looked at just now only by length."""
    if checked.knows(context.store, place):
        if len(content) != place.size:
            raise _damaged(instance)
        return
    if hashlib.sha256(content).hexdigest() != place.sha256:
        raise _damaged(instance)
    checked.remember(context.store, place, content if keep else None)


def _at(context: Context, instance: Instance, take: Callable[[Place], Taken]) -> Taken:
    """Take something from where an instance lies; where its row says now, when it was moved just now."""
    place = place_of(instance)
    try:
        return take(place)
    except ObjectNotFound as error:
        with context.db.reading() as session:
            now = PackRepository(session).place(instance.id)
        if now is None or now == place:
            raise _damaged(instance) from error
        place = now
    try:
        return take(place)
    except ObjectNotFound as error:
        raise _damaged(instance) from error


def _damaged(instance: Instance) -> ObjectDamaged:
    log.error("stored_object_damaged", instance=instance.id, sop_uid=instance.sop_uid)
    return ObjectDamaged(instance=instance.id, sop_uid=instance.sop_uid)
