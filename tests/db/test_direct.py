"""Statements handed straight to the driver do what they do through SQLAlchemy, on both databases."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from hub.audit.models import AuditEvent
from hub.db.direct import Direct
from hub.db.session import Database
from hub.errors import DatabaseUnavailable

EVENT = cast("sa.Table", AuditEvent.__table__)
NEW = Direct(sa.insert(EVENT))
FIND = Direct(
    sa.select(EVENT.c.seq, EVENT.c.tag)
    .where(EVENT.c.seq >= sa.bindparam("first"), EVENT.c.actor_kind == "person")
    .order_by(EVENT.c.seq)
)
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def event(seq: int, **changed: Any) -> dict[str, Any]:
    values = {column.name: f"{column.name} {seq}" for column in EVENT.columns}
    return values | {
        "seq": seq,
        "at": AT,
        "actor_kind": "person",
        "site_id": None,
        "facts": {"名": [1, None, "%s ?"]},
        **changed,
    }


def test_rows_are_those_that_sqlalchemy_writes(database: Database) -> None:
    """Moments, JSON and NULL included; one row and several."""
    with database.transaction() as session:
        NEW.run(session, [event(1)])
        NEW.run(session, [event(2), event(3, actor_kind="device")])
        NEW.run(session, [])
        session.execute(sa.insert(EVENT), [event(4)])
    with database.reading() as session:
        rows = [dict(row) for row in session.execute(sa.select(EVENT).order_by(EVENT.c.seq)).mappings()]
        assert rows == [event(1), event(2), event(3, actor_kind="device"), event(4)]


def test_finds_what_sqlalchemy_finds(database: Database) -> None:
    with database.transaction() as session:
        NEW.run(session, [event(1), event(2), event(3, actor_kind="device")])
        assert FIND.rows(session, {"first": 2}) == [(2, "tag 2")]  # in the same transaction
    with database.reading() as session:
        assert FIND.rows(session, {"first": 0}) == [(1, "tag 1"), (2, "tag 2")]
        assert FIND.rows(session, {"first": 9}) == []


def write_then_fail(session: Session) -> None:
    NEW.run(session, [event(1)])
    NEW.run(session, [{}])


def test_is_rolled_back_with_its_transaction(database: Database) -> None:
    with pytest.raises(KeyError), database.transaction() as session:
        write_then_fail(session)
    with database.reading() as session:
        assert FIND.rows(session, {"first": 0}) == []


def test_errors_are_sqlalchemys_and_hold_no_values(database: Database) -> None:
    with pytest.raises(IntegrityError) as caught, database.transaction() as session:
        NEW.run(session, [event(1, actor_name="ZZSECRET"), event(1, actor_name="ZZSECRET")])
    assert "ZZSECRET" not in str(caught.value)


def test_database_that_is_away_is_told_as_such(sqlite_database: Database) -> None:
    """The file's table is gone: SQLite calls that an operational error, as it does a lost disk."""
    gone = Direct(sa.select(sa.column("x")).select_from(sa.table("gone")))
    with pytest.raises(DatabaseUnavailable) as caught, sqlite_database.transaction() as session:
        gone.rows(session, {})
    assert isinstance(caught.value.__cause__, OperationalError)


def test_a_value_that_is_not_given_is_an_error(sqlite_database: Database) -> None:
    with pytest.raises(KeyError), sqlite_database.transaction() as session:
        FIND.rows(session, {})
