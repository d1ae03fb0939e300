"""Which way searches take through the tables.

Oracle: the database's own account of its plan. A thousand studies are enough: SQLite
plans without statistics, so it goes the same way through a million.
"""

from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Any

import pytest
from sqlalchemy.orm import Session

from hub.auth.actor import Actor, PostHeld
from hub.auth.roles import Role
from hub.catalogue import search
from hub.catalogue.models import Study
from hub.catalogue.search import MODALITIES_IN_STUDY, STUDY_MOMENT, Match, SearchRepository, Slice
from hub.db.session import Database
from tests.benchmarks.studies import Filled, day_of, fill, local_id, study_uid

DAY = day_of(0)
CENTRE = Actor("person", "c", "c", posts=(PostHeld(Role.WRITER, None, date(2020, 1, 1)),))
PID = Match("PatientID", "any_of", (local_id(3),))
UID = Match("StudyInstanceUID", "any_of", (study_uid(3),))
UID_0 = Match("StudyInstanceUID", "any_of", (study_uid(0),))
ACCESSION = Match("AccessionNumber", "any_of", ("A000000003",))
ONE_DAY = Match("StudyDate", "range", (DAY, DAY))
HOURS = Match(STUDY_MOMENT, "range", (DAY, "080000", DAY, "090000"))
WANG = Match("PatientName", "name", ("wang*",))
RARE_NAME = Match("PatientName", "name", ("wang zz*", "王零*"))
RARE_KIND = Match(MODALITIES_IN_STUDY, "any_of", ("XA",))
COMMON_KIND = Match(MODALITIES_IN_STUDY, "any_of", ("DX",))
NUMBERS = Match("PatientID", "wildcard", ("P000000*",))
SERIES = Match("SeriesInstanceUID", "any_of", (f"{study_uid(3)}.1",))
OBJECT = Match("SOPInstanceUID", "any_of", (f"{study_uid(3)}.1.1",))


def town(filled: Filled, number: int = 3) -> Actor:
    """A doctor of one site."""
    return Actor(
        "person", "t", "t", posts=(PostHeld(Role.DOCTOR, filled.site_ids[number], date(2020, 1, 1)),)
    )


@pytest.fixture
def filled(database: Database) -> Filled:
    """A thousand studies of one day, on both databases."""
    return fill(database.url, 1000)


@pytest.fixture
def lite(sqlite_database: Database) -> Filled:
    """The same on SQLite."""
    return fill(sqlite_database.url, 1000)


def plan_of(session: Session, run: Any) -> str:
    """Return how SQLite goes about the last statement that `run` sends."""
    sent: list[str] = []
    driver = session.connection().connection.driver_connection
    driver.set_trace_callback(sent.append)
    run()
    driver.set_trace_callback(None)
    rows = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sent[-1]}")
    return "; ".join(row[3] for row in rows)


PLANS: list[tuple[Sequence[Match], str]] = [
    ((PID,), "ix_study_local_id (local_id=?)"),
    ((ACCESSION,), "ix_study_accession (accession=?)"),
    ((UID,), "ix_study_study_uid (study_uid=?)"),
    ((NUMBERS,), "ix_study_local_id (local_id>? AND local_id<?)"),
    ((RARE_NAME,), "ix_study_name_key (name_key>? AND name_key<?)"),
    ((RARE_NAME,), "ix_study_name_alias (name_alias>? AND name_alias<?)"),
    ((RARE_KIND,), "ix_series_modality (modality=?)"),
    ((ONE_DAY, RARE_KIND), "ix_series_modality (modality=?)"),
    ((COMMON_KIND, PID), "ix_study_local_id (local_id=?)"),
]


def test_few_matches_are_fetched_by_their_index(lite: Filled, sqlite_database: Database) -> None:
    """Never by going through a site's or the whole archive's studies, however the answer is ordered."""
    with sqlite_database.reading() as session:
        for matches, index in PLANS:
            for actor in (CENTRE, town(lite)):
                ask = partial(SearchRepository(session).studies, actor, matches, Slice(101))
                plan = plan_of(session, ask)
                assert index in plan, (matches, plan)
                assert "newest" not in plan, (matches, plan)


WALKS: list[Sequence[Match]] = [(), (ONE_DAY,), (HOURS,), (WANG,), (COMMON_KIND,), (ONE_DAY, COMMON_KIND)]


def test_many_matches_are_taken_from_the_newest_on(
    lite: Filled, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sorted, so that the answer is there as soon as enough was found."""
    monkeypatch.setattr(search, "FEW", 20)
    with sqlite_database.reading() as session:
        for matches in WALKS:
            for actor, index in (
                (CENTRE, "ix_study_newest"),
                (town(lite), "ix_study_site_newest (site_id=?"),
            ):
                ask = partial(SearchRepository(session).studies, actor, matches, Slice(101))
                plan = plan_of(session, ask)
                assert index in plan, (matches, plan)
                assert "TEMP B-TREE" not in plan, (matches, plan)
        plan = plan_of(session, lambda: SearchRepository(session).studies(CENTRE, (ONE_DAY,), Slice(101)))
        assert "study_date>? AND study_date<?" in plan


def test_series_and_instances_by_their_uid(lite: Filled, sqlite_database: Database) -> None:
    with sqlite_database.reading() as session:
        repository = SearchRepository(session)
        plan = plan_of(session, lambda: repository.series_found(CENTRE, (SERIES,), Slice(101)))
        assert "series_uid=?" in plan
        plan = plan_of(session, lambda: repository.instances_found(town(lite), (OBJECT,), Slice(101)))
        assert "sop_uid=?" in plan
        assert "newest" not in plan


def found(database: Database, actor: Actor, *matches: Match, limit: int = 2000) -> list[int]:
    with database.reading() as session:
        studies = SearchRepository(session).studies(actor, matches, Slice(limit))
        return [int(study.study_uid.rsplit(".", 1)[1]) for study in studies]


def test_both_ways_find_the_same(filled: Filled, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked out from how the archive is made: patient n has studies n and n + 500, newest first."""
    wang = [n for n in range(1000) if n % 500 % 2 == 0 and n % 500 // 2 % 10 == 0]
    of_town = {n for n in range(1000) if n % 500 % 18 == 4}
    for few in (search.FEW, 20, 0):
        monkeypatch.setattr(search, "FEW", few)
        assert found(database, CENTRE, PID) == [503, 3]
        assert found(database, town(filled), PID) == [503, 3]
        assert found(database, town(filled, 4), PID) == []
        assert found(database, CENTRE, WANG) == wang[::-1]
        assert found(database, town(filled, 4), WANG) == [n for n in wang[::-1] if n in of_town]
        assert found(database, CENTRE, WANG, COMMON_KIND) == [n for n in wang[::-1] if n % 20 < 10]
        assert found(database, CENTRE, NUMBERS) == [*range(509, 499, -1), *range(9, -1, -1)]
        assert found(database, CENTRE, HOURS) == list(range(540, 479, -1))
        assert found(database, CENTRE, RARE_NAME) == []
        assert found(database, CENTRE, limit=3) == [999, 998, 997]


def rename(session: Session, name: str) -> None:
    study = session.get(Study, SearchRepository(session).studies(CENTRE, (UID_0,), Slice(1))[0].id)
    assert study is not None
    study.patient_name = name


def test_names_keep_their_searched_forms(sqlite_database: Database, lite: Filled) -> None:
    """Also when a person corrects one."""
    del lite
    with sqlite_database.transaction() as session:
        rename(session, "欧阳Ｎana")
    assert found(sqlite_database, CENTRE, Match("PatientName", "name", ("欧阳n*",))) == [0]
    assert found(sqlite_database, CENTRE, Match("PatientName", "words", ("ouyang",))) == [0]
    with sqlite_database.transaction() as session:
        rename(session, "王秀英")
    assert found(sqlite_database, CENTRE, Match("PatientName", "words", ("ying", "wang")))[-1:] == [0]
    assert found(sqlite_database, CENTRE, Match("PatientName", "words", ("ouyang",))) == []
