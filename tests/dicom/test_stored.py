"""Stored objects in part and in whole, from stores that can seek and stores that cannot."""

import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from hub.catalogue import places
from hub.catalogue.models import Instance
from hub.context import Context
from hub.dicom import ingest, stored
from hub.dicom.frames import stored_frame
from storage.memory import MemoryStore
from tests.dicom.samples import DATA
from tests.fixtures.world import World

NAME = "OBXXXX1A_rle_2frame.dcm"


class Forward(io.RawIOBase):
    """A stream as an S3 server gives it: forward only."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._inner = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return self._inner.readinto(buffer)


@pytest.fixture
def filed(sqlite_world: World) -> Iterator[tuple[Context, Instance]]:
    context = sqlite_world.context
    ingest.file_upload(context, io.BytesIO((DATA / NAME).read_bytes()), sqlite_world.origin(), "DP")
    with context.db.reading() as session:
        instance = session.query(Instance).one()
    stored.checked.forget()
    yield context, instance
    stored.checked.forget()


@pytest.mark.parametrize("can_seek", [True, False])
def test_large_objects_are_read_in_part(
    filed: tuple[Context, Instance], monkeypatch: pytest.MonkeyPatch, can_seek: bool
) -> None:
    """Oracle: the same frames from the file on disk."""
    context, instance = filed
    monkeypatch.setattr(stored, "WHOLE_BYTES", 0)
    if not can_seek:
        content = context.store.get(instance.storage_key)
        monkeypatch.setattr(context.store, "open", lambda _key: Forward(content))
        monkeypatch.setattr(places, "seeks", lambda _store, _key: False)
    for index in (1, 0):
        with stored.open_object(context, instance) as data:
            assert stored_frame(data, index) == stored_frame(DATA / NAME, index)


def test_large_damaged_objects_are_not_sent(
    filed: tuple[Context, Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted fault: one bit; and a file cut short, which shows even when it is read in part."""
    context, instance = filed
    monkeypatch.setattr(stored, "WHOLE_BYTES", 0)
    content = bytearray((DATA / NAME).read_bytes())
    content[-1] ^= 1
    context.store.put(instance.storage_key, bytes(content))
    with pytest.raises(stored.ObjectDamaged):
        next(stored.checked_chunks(context, instance))
    context.store.put(instance.storage_key, bytes(content[:-2]))
    with pytest.raises(stored.ObjectDamaged), stored.open_object(context, instance):
        pass


def test_large_objects_go_out_in_pieces(
    filed: tuple[Context, Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, instance = filed
    monkeypatch.setattr(stored, "WHOLE_BYTES", 0)
    with closing(stored.checked_chunks(context, instance)) as pieces:  # type: ignore[type-var]
        assert b"".join(pieces) == (DATA / NAME).read_bytes()


def test_what_was_checked_is_trusted_for_a_while(
    filed: tuple[Context, Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, instance = filed
    monkeypatch.setattr(stored, "KEPT_SIZE", 0)
    with stored.open_object(context, instance) as data:
        assert isinstance(data, bytes)
    with stored.open_object(context, instance) as data:
        assert not isinstance(data, bytes)
    monkeypatch.setattr(stored, "TRUST_SECONDS", -1.0)
    stored.checked.remember(context.store, places.place_of(instance))
    with stored.open_object(context, instance) as data:
        assert isinstance(data, bytes)


class TestKeptContents:
    def test_they_are_what_was_received_and_read_once(
        self, filed: tuple[Context, Instance], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context, instance = filed
        with stored.open_object(context, instance) as first:
            pass
        monkeypatch.setattr(context.store, "get", None)
        monkeypatch.setattr(context.store, "open", None)
        with stored.open_object(context, instance) as second:
            assert second is first
        assert b"".join(stored.checked_chunks(context, instance)) == (DATA / NAME).read_bytes()

    def test_they_are_trusted_no_longer_than_their_place(
        self, filed: tuple[Context, Instance], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A planted fault: a bit that goes bad meanwhile."""
        context, instance = filed
        monkeypatch.setattr(stored, "TRUST_SECONDS", -1.0)
        with stored.open_object(context, instance):
            pass
        spoil(context, instance)
        with pytest.raises(stored.ObjectDamaged), stored.open_object(context, instance):
            pass

    def test_what_was_not_checked_itself_is_not_kept(self, filed: tuple[Context, Instance]) -> None:
        """A planted fault in an object whose place is trusted already, which is read without checking."""
        context, instance = filed
        place = places.place_of(instance)
        stored.checked.remember(context.store, place)
        spoil(context, instance)
        b"".join(stored.checked_chunks(context, instance))
        assert stored.checked.content(context.store, place) is None

    def test_an_object_that_was_moved_is_read_where_it_lies(self, filed: tuple[Context, Instance]) -> None:
        context, instance = filed
        with stored.open_object(context, instance):
            pass
        moved = replace(places.place_of(instance), key="elsewhere/1.dcm")
        assert stored.checked.content(context.store, moved) is None
        assert stored.checked.content(MemoryStore(), places.place_of(instance)) is None

    def test_large_ones_are_not_kept_and_the_oldest_are_dropped(
        self, filed: tuple[Context, Instance], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context, instance = filed
        all_places = [replace(places.place_of(instance), key=f"{number}", size=100) for number in range(4)]

        def kept() -> list[bool]:
            return [stored.checked.content(context.store, place) is not None for place in all_places]

        monkeypatch.setattr(stored, "KEPT_BYTES", 250)
        for place in all_places[:2]:
            stored.checked.remember(context.store, place, bytes(100))
        stored.checked.remember(context.store, all_places[0], bytes(100))
        assert kept() == [True, True, False, False]
        assert stored.checked.content(context.store, all_places[0])  # asked for since: the other is older now
        stored.checked.remember(context.store, all_places[2], bytes(100))
        assert kept() == [True, False, True, False]
        monkeypatch.setattr(stored, "KEPT_SIZE", 99)
        stored.checked.remember(context.store, all_places[3], bytes(100))
        assert kept() == [True, False, True, False]
        stored.checked.forget()
        assert not any(kept())


def spoil(context: Context, instance: Instance) -> None:
    """Turn one bit of the stored object."""
    content = bytearray(context.store.get(instance.storage_key))
    content[-1] ^= 1
    context.store.put(instance.storage_key, bytes(content))
