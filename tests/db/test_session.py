"""Transactions, reading, moments in time; on both databases."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, StatementError

from hub.db.base import UtcDateTime
from hub.db.session import Database
from hub.errors import DatabaseUnavailable

TABLE = sa.Table(
    "test_row",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", UtcDateTime),
)


@pytest.fixture
def rows(database: Database) -> Database:
    TABLE.create(database.engine)
    return database


def count(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(TABLE)) or 0


def test_a_transaction_is_committed_at_its_end(rows: Database) -> None:
    with rows.transaction() as session:
        session.execute(sa.insert(TABLE).values(id=1))
        assert count(rows) == 0
    assert count(rows) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_any_exception_rolls_it_back(rows: Database, error: type[BaseException]) -> None:
    with suppress(error), rows.transaction() as session:
        session.execute(sa.insert(TABLE).values(id=1))
        raise error
    assert count(rows) == 0


def test_work_before_the_commit_belongs_to_the_transaction(
    rows: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(session: object) -> None:
        raise ValueError

    monkeypatch.setattr(Database, "before_commit", [fail])
    with suppress(ValueError), rows.transaction() as session:
        session.execute(sa.insert(TABLE).values(id=1))
    assert count(rows) == 0


def test_reading_sees_one_state(rows: Database) -> None:
    query = sa.select(sa.func.count()).select_from(TABLE)
    with rows.reading() as session:
        assert session.scalar(query) == 0
        with rows.transaction() as writer:
            writer.execute(sa.insert(TABLE).values(id=1))
        assert session.scalar(query) == 0
    assert count(rows) == 1


def test_many_writers_wait_for_each_other(rows: Database) -> None:
    """Read, then write: with a late lock on SQLite some would fail with "database is locked"."""
    with rows.transaction() as session:
        session.execute(sa.insert(TABLE).values(id=0))

    def write(number: int) -> None:
        with rows.transaction() as session:
            session.execute(sa.select(TABLE).where(TABLE.c.id == 0).with_for_update()).all()
            session.execute(sa.insert(TABLE).values(id=number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(1, 65)))
    assert count(rows) == 65


def test_a_moment_comes_back_in_utc(rows: Database) -> None:
    shanghai = timezone(timedelta(hours=8))
    with rows.transaction() as session:
        session.execute(sa.insert(TABLE).values(id=1, at=datetime(2026, 3, 2, 16, 30, 1, 5, shanghai)))
    with rows.reading() as session:
        stored = session.scalar(sa.select(TABLE.c.at))
    assert stored == datetime(2026, 3, 2, 8, 30, 1, 5, UTC)
    assert stored.tzinfo is UTC or stored.utcoffset() == timedelta(0)


def test_a_moment_without_a_zone_is_refused(rows: Database) -> None:
    with pytest.raises(StatementError, match="time zone"), rows.transaction() as session:
        session.execute(sa.insert(TABLE).values(id=1, at=datetime(2026, 3, 2)))  # noqa: DTZ001 - that is the point


def test_a_reading_session_cannot_write_on_postgresql(rows: Database) -> None:
    if rows.engine.dialect.name == "sqlite":
        pytest.skip("SQLite would only take its lock later")
    with rows.reading() as session, pytest.raises(DBAPIError, match="read-only"):
        session.execute(sa.insert(TABLE).values(id=1))


def test_sqlite_survives_a_power_cut(sqlite_database: Database) -> None:
    """WAL with synchronous=FULL (2): sqlite.org/pragma.html#pragma_synchronous."""
    with sqlite_database.reading() as session:
        assert session.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(sa.text("PRAGMA synchronous")) == 2
        assert session.scalar(sa.text("PRAGMA foreign_keys")) == 1


class TestDatabaseAway:
    def test_a_transaction_tells_the_caller_to_try_again(self, tmp_path: Path) -> None:
        """A folder where the file should be: SQLite cannot open it, as when a disk is gone."""
        (tmp_path / "hub.db").mkdir()
        gone = Database(f"sqlite:///{tmp_path / 'hub.db'}")
        with pytest.raises(DatabaseUnavailable) as caught, gone.transaction() as session:
            session.execute(sa.text("SELECT 1"))
        assert (caught.value.http_status, caught.value.dimse_status) == (503, 0xA700)
        with pytest.raises(DatabaseUnavailable), gone.reading() as session:
            session.execute(sa.text("SELECT 1"))
        gone.dispose()
