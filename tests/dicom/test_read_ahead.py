"""What a viewer will ask for next is checked before it does, and nothing else comes of it."""

import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import UID
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.catalogue.models import Instance, Series, Study
from hub.catalogue.places import place_of
from hub.context import Context
from hub.dicom import ingest, read_ahead, retrieve, stored
from hub.dicom.read_ahead import ReadAhead
from hub.kit.uids import new_uid
from tests.dicom.samples import DATA
from tests.fixtures.world import World

NUMBERS = (1, 2, 3, 4, 5, 6, 7, None)
FRAME = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


def fill(world: World) -> None:
    """File images of one series with these numbers, and one of another series; nothing is checked."""
    dataset = dcmread(DATA / "CT_small.dcm")
    for number in (*NUMBERS, 2):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(new_uid())
        dataset.InstanceNumber = number
        if number is None:
            del dataset.InstanceNumber
        file = io.BytesIO()
        dataset.save_as(file)
        ingest.file_upload(world.context, io.BytesIO(file.getvalue()), world.origin(), "DP")
        if number is None:
            dataset.SeriesInstanceUID = UID(new_uid())
    stored.checked.forget()


@pytest.fixture
def series(sqlite_world: World) -> Iterator[World]:
    """A county with these images."""
    fill(sqlite_world)
    yield sqlite_world
    stored.checked.forget()


def instances(context: Context) -> dict[int | None, Instance]:
    """The images of the first series by their numbers."""
    with context.db.reading() as session:
        found = session.scalars(select(Instance).order_by(Instance.id)).all()
    first = found[0].series_id
    return {each.number: each for each in found if each.series_id == first}


def checked(context: Context) -> list[int | None]:
    """The numbers of those that are checked."""
    with context.db.reading() as session:
        found = session.scalars(select(Instance).order_by(Instance.id)).all()
    return [each.number for each in found if stored.checked.knows(context.store, place_of(each))]


def test_the_neighbours_in_the_series_are_read(world: World) -> None:
    fill(world)
    context = world.context
    of = instances(context)
    assert sorted(of, key=str) == sorted(NUMBERS, key=str)
    ahead = ReadAhead(context)
    ahead.read_neighbours(of[3].series_id, 3)
    assert checked(context) == [2, 3, 4, 5, 6]
    ahead.read_neighbours(of[7].series_id, 7)
    assert checked(context) == [2, 3, 4, 5, 6, 7]


def test_they_are_held_against_their_sha256(series: World) -> None:
    """A planted fault: a bit of a neighbour. The thread lives on and the others are read."""
    context = series.context
    of = instances(context)
    content = bytearray(context.store.get(of[4].storage_key))
    content[-1] ^= 1
    context.store.put(of[4].storage_key, bytes(content))
    ahead = ReadAhead(context)
    ahead.start()
    try:
        for number, last in ((3, 3), (6, 7)):
            ahead.after(of[number])
            wait_until_checked(context, last)
    finally:
        ahead.stop()
    assert 4 not in checked(context)
    with pytest.raises(stored.ObjectDamaged), stored.open_object(context, of[4]):
        pass


def test_a_request_for_a_frame_is_enough_and_leaves_one_trace_of_one_look(series: World) -> None:
    context = series.context
    of = instances(context)
    with context.db.reading() as session:
        study, series_uid = session.execute(
            select(Study.study_uid, Series.series_uid)
            .join(Series, Series.study_id == Study.id)
            .where(Series.id == of[1].series_id)
        ).one()
    client = series.client("writer1")
    path = f"/dicom-web/studies/{study}/series/{series_uid}/instances/{of[1].sop_uid}/frames/1"
    assert client.get(path, headers=FRAME).status_code == 200
    assert checked(context) == [1], "before it is started nothing is read ahead"
    stored.checked.forget()
    series.app.state.read_ahead.start()
    try:
        assert client.get(path, headers=FRAME).status_code == 200
        wait_until_checked(context, 4)
    finally:
        series.app.state.read_ahead.stop()
    assert checked(context) == [1, 2, 3, 4]
    with context.db.reading() as session:
        looks = session.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.STUDY_VIEW)).all()
    assert len(looks) == 1


def test_who_may_not_see_the_series_has_nothing_read(series: World) -> None:
    context = series.context
    of = instances(context)
    with context.db.reading() as session:
        study = session.scalars(select(Study.study_uid)).one()
        uids = {each.id: each.series_uid for each in session.scalars(select(Series))}
    path = f"/dicom-web/studies/{study}/series/{uids[of[1].series_id]}/instances/{of[1].sop_uid}/frames/1"
    series.app.state.read_ahead.start()
    try:
        assert series.client("doctor_lp").get(path, headers=FRAME).status_code == 404
    finally:
        series.app.state.read_ahead.stop()
    assert checked(context) == []


def test_it_gives_up_when_something_is_answered(series: World, monkeypatch: pytest.MonkeyPatch) -> None:
    context = series.context
    of = instances(context)
    ahead = ReadAhead(context)
    with ahead:
        ahead.read_neighbours(of[3].series_id, 3)
    assert checked(context) == []
    real = retrieve.open_image

    def and_somebody_asks(context: Context, instance: Instance) -> Any:
        ahead.__enter__()
        return real(context, instance)

    monkeypatch.setattr("hub.dicom.read_ahead.open_image", and_somebody_asks)
    ahead.read_neighbours(of[3].series_id, 3)
    assert checked(context) == [2]


def test_who_asks_for_several_at_a_time_needs_nothing_read_ahead(series: World) -> None:
    context = series.context
    of = instances(context)
    ahead = ReadAhead(context)
    ahead.start()
    try:
        with ahead, ahead:
            ahead.after(of[3])
        with ahead:
            ahead.after(of[7])
        wait_until_checked(context, 7)
    finally:
        ahead.stop()
    assert checked(context) == [6, 7]


def test_large_objects_and_such_without_number_are_left_alone(
    series: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = series.context
    of = instances(context)
    monkeypatch.setattr(read_ahead, "KEPT_SIZE", 100)
    ahead = ReadAhead(context)
    ahead.start()
    try:
        ahead.after(of[3])
        ahead.after(of[None])
        ahead.read_neighbours(of[3].series_id, 3)
    finally:
        ahead.stop()
    assert checked(context) == []


def test_it_ends_when_told(series: World) -> None:
    ahead = ReadAhead(series.context)
    before = threading.active_count()
    ahead.start()
    ahead.stop()
    ahead.stop()
    assert threading.active_count() == before


def wait_until_checked(context: Context, number: int) -> None:
    """Wait until an image is checked."""
    turn = threading.Event()
    for _ in range(2000):
        if number in checked(context):
            return
        turn.wait(0.01)
    raise AssertionError(f"{number} was not read ahead")
