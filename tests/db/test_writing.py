"""Transactions past SQLAlchemy keep the rules of the others, on both databases."""

from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from hub.audit import service as audit
from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.db.direct import Direct
from hub.db.session import Database
from hub.db.writing import Transaction, Writing, session_of
from hub.errors import DatabaseUnavailable

TABLE = sa.Table("test_row", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
NEW = Direct(sa.insert(TABLE))
ALL = Direct(sa.select(TABLE.c.id).order_by(TABLE.c.id))


@pytest.fixture
def rows(database: Database) -> Database:
    TABLE.create(database.engine)
    return database


def ids(database: Database) -> list[int]:
    """What another connection sees, through SQLAlchemy."""
    with database.reading() as session:
        return list(session.scalars(sa.select(TABLE.c.id).order_by(TABLE.c.id)))


def tell(at: Transaction, subject: str) -> None:
    audit.record(at, Tag.STUDY_VIEW, actor=audit.SYSTEM, subject_kind="study", subject_id=subject)


def told(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(sa.select(AuditEvent.subject_id).order_by(AuditEvent.seq)))


def test_it_is_committed_at_its_end(rows: Database) -> None:
    with rows.writing() as writing:
        NEW.run(writing, [{"id": 1}, {"id": 2}])
        assert ALL.rows(writing, {}) == [(1,), (2,)]
        assert ids(rows) == []
    assert ids(rows) == [1, 2]
    assert writing.joined is None


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_any_exception_rolls_it_back(rows: Database, error: type[BaseException], joined: bool) -> None:
    with suppress(error), rows.writing() as writing:
        NEW.run(writing, [{"id": 1}])
        if joined:
            session_of(writing).execute(sa.insert(TABLE).values(id=2))
        tell(writing, "lost")
        raise error
    assert ids(rows) == []
    assert told(rows) == []
    with rows.writing() as writing:  # the turn and the connection are free again
        NEW.run(writing, [{"id": 3}])
    assert ids(rows) == [3]


def test_a_session_of_it_is_in_the_same_transaction(rows: Database) -> None:
    with rows.writing() as writing:
        NEW.run(writing, [{"id": 1}])
        tell(writing, "first")
        session = session_of(writing)
        assert session is writing.joined
        assert list(session.scalars(sa.select(TABLE.c.id))) == [1]
        session.execute(sa.insert(TABLE).values(id=2))
        assert ALL.rows(writing, {}) == [(1,), (2,)]
        assert ALL.rows(session, {}) == [(1,), (2,)]
        tell(session, "second")
        assert ids(rows) == []
    assert ids(rows) == [1, 2]
    assert told(rows) == ["first", "second"]


def test_a_savepoint_of_its_session_takes_its_events_back(rows: Database) -> None:
    with rows.writing() as writing:
        session = session_of(writing)
        tell(writing, "before")
        with suppress(ValueError), session.begin_nested():
            session.execute(sa.insert(TABLE).values(id=1))
            tell(writing, "within")
            raise ValueError
        tell(writing, "after")
    assert ids(rows) == []
    assert told(rows) == ["before", "after"]


def test_what_its_session_holds_is_written_before_the_last_work(
    rows: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(Database, "before_commit", [lambda at: seen.append(audit_rows(at))])
    with rows.writing() as writing:
        session_of(writing).add(AuditEvent(**event()))
    assert seen == [1]


def audit_rows(at: Transaction) -> int:
    return len(Direct(sa.select(AuditEvent.seq)).rows(at, {}))


def event() -> dict[str, object]:
    from hub.kit.clock import utcnow

    texts = ("id", "actor_kind", "actor_id", "actor_name", "tag", "subject_kind", "subject_id", "hash")
    return {name: name for name in texts} | {"seq": 1, "at": utcnow(), "facts": {}, "previous_hash": "0"}


def test_work_before_the_commit_belongs_to_it(rows: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(at: object) -> None:
        raise ValueError

    monkeypatch.setattr(Database, "before_commit", [fail])
    with suppress(ValueError), rows.writing() as writing:
        NEW.run(writing, [{"id": 1}])
    assert ids(rows) == []


class TestDatabaseAway:
    def test_sqlite_without_its_file(self, tmp_path: Path) -> None:
        """A folder where the file should be, as when a disk is gone."""
        (tmp_path / "hub.db").mkdir()
        self.check(Database(f"sqlite:///{tmp_path / 'hub.db'}"))

    def test_postgresql_that_does_not_listen(self) -> None:
        self.check(Database("postgresql+psycopg://nobody@127.0.0.1:1/none"))

    def check(self, gone: Database) -> None:
        with pytest.raises(DatabaseUnavailable), gone.writing():
            pass
        with pytest.raises(DatabaseUnavailable):
            ALL.look(gone, {})
        gone.dispose()

    def test_a_commit_that_fails(self, rows: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        """Planted: the database is lost between the last statement and the commit."""
        lost = rows.engine.dialect.loaded_dbapi.OperationalError("disk I/O error")

        class Cut:
            def __init__(self, connection: object) -> None:
                self.connection = connection

            def __getattr__(self, name: str) -> object:
                return getattr(self.connection, name)

            def commit(self) -> None:
                raise lost

        def commit(writing: Writing) -> None:
            writing.place = writing.place._replace(connection=Cut(writing.place.connection))  # type: ignore[arg-type]
            original(writing)

        original = Writing.commit
        monkeypatch.setattr(Writing, "commit", commit)
        with pytest.raises(DatabaseUnavailable), rows.writing() as writing:
            NEW.run(writing, [{"id": 1}])
        monkeypatch.undo()
        assert ids(rows) == []
