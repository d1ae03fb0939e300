"""Stored descriptions of series. Oracle: the same made when asked for, by `hub.dicom.retrieve.metadata`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from hub.catalogue.models import Instance, Series, Study
from hub.dicom import retrieve, series_metadata
from hub.dicom.tasks import describe_forgotten
from hub.sites import service as sites
from hub.sites.models import Device, Site
from storage.filesystem import FileSystemStore
from tests.dicom.test_packed import instances, series_of
from tests.fixtures.world import SETUP, World

ROOTS = ("http://127.0.0.1:8080/dicom-web", "https://hub.example/dicom-web/sites/x")


@pytest.fixture
def settled(sqlite_world: World, tmp_path: Path) -> World:
    """A series of five slices whose device is registered, and a description of it."""
    sqlite_world.context = replace(sqlite_world.context, store=FileSystemStore(tmp_path / "objects"))
    series_metadata.recent.forget()
    series_of(sqlite_world, tmp_path, 5)
    with sqlite_world.context.db.transaction() as session:
        site = session.get_one(Site, sqlite_world.site_ids["DP"])
        device = sites.add_device(session, site, "CT1", now=sqlite_world.clock(), actor=SETUP)
        for row in session.scalars(select(Instance)):
            row.device_id = device.id
    sqlite_world.settle()
    return sqlite_world


def only(world: World, model: type[Any]) -> Any:
    with world.context.db.reading() as session:
        return session.scalars(select(model)).one()


def served(world: World, root: str = ROOTS[0]) -> bytes | None:
    study, series = only(world, Study), only(world, Series)
    return series_metadata.series_metadata(world.context, study, series, root)


def made(world: World, root: str = ROOTS[0], charset: str | None = None) -> bytes:
    study, series = only(world, Study), only(world, Series)
    of_series = f"{root}/studies/{study.study_uid}/series/{series.series_uid}"
    urls = [(row, f"{of_series}/instances/{row.sop_uid}") for row in instances(world)]
    return retrieve.metadata(world.context, urls, lambda _row: charset)


@pytest.mark.parametrize("root", ROOTS)
def test_it_is_what_would_be_made_now(settled: World, root: str) -> None:
    for _ in range(2):
        assert served(settled, root) == made(settled, root)


def test_it_is_read_from_the_store_once(settled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served(settled) is not None
    monkeypatch.setattr(settled.context.store, "get", None)
    assert served(settled) == made(settled)


def test_a_late_object_ends_it(settled: World, tmp_path: Path) -> None:
    with settled.context.db.transaction() as session:
        first = session.scalars(select(Instance)).first()
        assert first is not None
        session.delete(first)
    assert served(settled) is None
    assert only(settled, Series).metadata_key == ""


def test_a_study_that_is_arriving_again_has_none(settled: World) -> None:
    with settled.context.db.transaction() as session:
        session.scalars(select(Study)).one().settled_at = None
    assert served(settled) is None


def test_another_charset_of_the_device_ends_it_and_a_new_one_comes(settled: World) -> None:
    with settled.context.db.transaction() as session:
        session.scalars(select(Device)).one().charset = "gb18030"
    assert served(settled) is None
    settled.clock.advance(minutes=10)
    describe_forgotten(settled.context)
    settled.settle()
    assert served(settled) == made(settled, charset="gb18030")


@pytest.mark.parametrize("fault", ["spoilt", "gone", "no gzip"])
def test_a_planted_fault_is_not_served(settled: World, fault: str) -> None:
    store, key = settled.context.store, only(settled, Series).metadata_key
    content = store.get(key)
    if fault == "gone":
        store.delete(key)
    else:
        store.put(key, content[:-1] + b"?" if fault == "spoilt" else b"{}")
    assert served(settled) is None


def test_memory_is_bounded(settled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_metadata, "REMEMBERED_BYTES", 10)
    assert served(settled) == made(settled)
    assert series_metadata.recent.get(only(settled, Series).metadata_tag) is None
