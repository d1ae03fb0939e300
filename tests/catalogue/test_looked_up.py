"""Objects made of columns that were read; the oracle is what SQLAlchemy itself reads."""

import pytest
from sqlalchemy import inspect
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import DetachedInstanceError

from hub.catalogue.looked_up import looked_up
from hub.catalogue.models import Study
from tests.fixtures.world import World

COLUMNS = tuple(Study.__table__.c.keys())


def test_it_is_as_sqlalchemy_reads_it(sqlite_world: World) -> None:
    now, site_id = sqlite_world.clock.now, sqlite_world.site_ids["DP"]
    study = Study(site_id=site_id, study_uid="1.2.3", patient_name="王^芳")
    study.first_received_at = study.last_received_at = study.settle_due_at = now
    with sqlite_world.context.db.transaction() as session:
        session.add(study)
    with sqlite_world.context.db.reading() as session:
        read = session.query(Study).one()
        session.expunge(read)
    made = looked_up(Study, COLUMNS, [getattr(read, name) for name in COLUMNS])
    assert {name: getattr(made, name) for name in COLUMNS} == {name: getattr(read, name) for name in COLUMNS}
    assert inspect(made).key == inspect(read).key
    assert inspect(made).detached
    assert not inspect(made).modified


def test_a_column_that_was_not_read_cannot_be_taken_for_an_empty_one() -> None:
    made = looked_up(Study, ("study_uid", "id"), ("1.2.3", "S"))
    assert (made.id, made.study_uid) == ("S", "1.2.3")
    with pytest.raises(DetachedInstanceError):
        _ = made.local_id


def test_a_session_never_writes_it_by_itself(sqlite_world: World) -> None:
    made = looked_up(Study, ("id", "local_id"), ("S", "P1"))
    with Session(sqlite_world.context.db.engine) as session:
        session.add(made)
        assert not session.dirty
        assert not session.new


def test_values_must_fit_the_names() -> None:
    with pytest.raises(ValueError, match="zip"):
        looked_up(Study, ("id", "study_uid"), ("S",))
