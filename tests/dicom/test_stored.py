"""Stored objects in part and in whole, from stores that can seek and stores that cannot."""

import io
from collections.abc import Iterator
from contextlib import closing

import pytest

from hub.catalogue import places
from hub.catalogue.models import Instance
from hub.context import Context
from hub.dicom import ingest, stored
from hub.dicom.frames import stored_frame
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
    with stored.open_object(context, instance) as data:
        assert isinstance(data, bytes)
    with stored.open_object(context, instance) as data:
        assert not isinstance(data, bytes)
    monkeypatch.setattr(stored, "TRUST_SECONDS", -1.0)
    stored.checked.remember(context.store, places.place_of(instance))
    with stored.open_object(context, instance) as data:
        assert isinstance(data, bytes)
