"""A row is inserted once, and what comes back is what the database holds. Oracle: the row read anew."""

from datetime import UTC, datetime, timedelta, timezone

from sqlalchemy import inspect, select

from hub.catalogue.models import Recording, Study
from hub.db.repository import insert_or_get
from hub.db.session import Database
from hub.sites.models import Site

AT = datetime(2026, 3, 2, 16, 5, 7, 123456, timezone(timedelta(hours=8)))


def site(database: Database) -> str:
    with database.transaction() as session:
        row = Site(code="DP", number=1, name="东陂", active=True, created_at=AT)
        session.add(row)
        session.flush()
        return row.id


def moments() -> dict[str, datetime]:
    return dict.fromkeys(("first_received_at", "last_received_at", "settle_due_at"), AT)


def columns(row: object) -> dict[str, object]:
    return {name: getattr(row, name) for name in inspect(type(row)).columns.keys()}  # noqa: SIM118 - no mapping


def test_a_new_row_is_as_it_will_be_read(database: Database) -> None:
    """Defaults, those that depend on other columns, JSON, NULL and moments included."""
    identity = {"site_id": site(database), "study_uid": "2.25.1"}
    with database.transaction() as session:
        study, new = insert_or_get(session, Study, identity, {"patient_name": "黄 亚 妹", **moments()})
        details = {"format": "wfdb", "files": [{"name": "一"}], "started_at": None, "rate_hz": 500.0}
        details |= {"n_samples": 5000, "leads": ["I"], "warnings": [], "received_at": AT, "sent_by": "x"}
        recording, _ = insert_or_get(session, Recording, {"study_id": study.id, "digest": "d"}, details)
        assert new
        assert study.last_received_at.tzinfo is UTC
        given = columns(study), columns(recording)
        study.n_recordings += 1
    with database.reading() as session:
        stored = session.scalars(select(Study)).one(), session.scalars(select(Recording)).one()
        read = columns(stored[0]), columns(stored[1])
    assert read[0]["name_key"] == "黄 亚 妹"
    assert str(read[0]["name_alias"]).startswith("~")
    assert read == (given[0] | {"n_recordings": 1}, given[1])


def test_the_second_gets_the_first_row(database: Database) -> None:
    identity = {"site_id": site(database), "study_uid": "2.25.1"}
    with database.transaction() as session:
        first, _ = insert_or_get(session, Study, identity, {"patient_name": "A", **moments()})
    with database.transaction() as session:
        again, new = insert_or_get(session, Study, identity, {"patient_name": "B", **moments()})
        assert (again.id, again.patient_name, new) == (first.id, "A", False)
