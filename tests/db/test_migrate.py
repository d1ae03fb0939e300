"""Migrations make what the models say, on both databases, also when two processes start at once."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.exc import DBAPIError

from hub.audit.service import SYSTEM, record
from hub.audit.tags import Tag
from hub.db import migrate
from hub.db.engine import make_engine
from hub.db.session import Database
from hub.jobs import board
from hub.jobs.queue import enqueue

VERSIONS = Path(migrate.__file__).with_name("migrations") / "versions"
needs_revisions = pytest.mark.skipif(
    not list(VERSIONS.glob("0*.py")), reason="no revision has been written yet"
)


@needs_revisions
def test_revisions_and_models_agree(empty_database_url: str) -> None:
    assert migrate.current(empty_database_url) is None
    todo = migrate.pending(empty_database_url)
    assert migrate.upgrade(empty_database_url) == todo
    assert migrate.current(empty_database_url) == todo[-1]
    assert migrate.pending(empty_database_url) == []
    assert migrate.upgrade(empty_database_url) == []
    assert migrate.differences(empty_database_url) == []


@needs_revisions
def test_two_that_start_at_once_upgrade_once(empty_database_url: str) -> None:
    """In processes, as in life: the lock of SQLite's file is between processes."""
    code = "import sys; from hub.db import migrate; print(len(migrate.upgrade(sys.argv[1])))"
    command = [sys.executable, "-c", code, empty_database_url]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        done = sorted(int(process.communicate(timeout=120)[0]) for process in running)
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0]
    assert done == [0, len(list(VERSIONS.glob("0*.py")))]


@needs_revisions
def test_an_upgraded_database_takes_jobs_and_guards_its_audit_trail(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    check_usable(empty_database_url)


@needs_revisions
def _row(table: sa.Table, **values: object) -> dict[str, object]:
    """Values for a table as it was at some revision: what is asked for, else something of its kind."""
    kinds = {str: "x", int: 0, float: 0.0, bytes: b"", bool: False, list: [], dict: {}}
    for column in table.columns:
        if column.name in values or column.nullable or column.server_default is not None:
            continue
        is_moment = isinstance(column.type, sa.DateTime | sa.TIMESTAMP)
        is_json = isinstance(column.type, sa.JSON)
        values[column.name] = (
            datetime(2026, 1, 1, tzinfo=UTC)
            if is_moment
            else []
            if is_json
            else kinds[column.type.python_type]
        )
    return values


@pytest.mark.parametrize("start", ["0001", "0002"])
def test_a_hub_in_use_keeps_its_rows_and_their_references(empty_database_url: str, start: str) -> None:
    """The rows are written as that release's tables take them, by reflection, not by today's models."""
    migrate.import_models()
    engine = make_engine(empty_database_url, pool_size=1)
    with engine.connect() as connection:
        command.upgrade(migrate._config(connection), start)
    with engine.begin() as connection:
        tables = sa.MetaData()
        tables.reflect(connection)
        of = tables.tables
        connection.execute(of["site"].insert().values(_row(of["site"], id="s")))
        connection.execute(of["study"].insert().values(_row(of["study"], id="st", site_id="s")))
        exam = _row(of["exam"], id="e", site_id="s", study_id="st")
        connection.execute(of["exam"].insert().values(exam))
        connection.execute(of["exam_step"].insert().values(_row(of["exam_step"], id="es", exam_id="e")))
    engine.dispose()
    migrate.upgrade(empty_database_url)
    engine = make_engine(empty_database_url, pool_size=1)
    with engine.begin() as connection:
        joined = "SELECT es.id, e.id, st.id, s.id FROM exam_step es JOIN exam e ON e.id = es.exam_id"
        joined += " JOIN study st ON st.id = e.study_id JOIN site s ON s.id = st.site_id"
        assert connection.exec_driver_sql(joined).all() == [("es", "e", "st", "s")]
        with pytest.raises(sa.exc.IntegrityError):  # and references are enforced again
            connection.exec_driver_sql("UPDATE exam SET study_id = 'none'")
    engine.dispose()


def _lose_a_row(connection: sa.Connection) -> None:
    with migrate.rebuilding_tables(connection):
        table = sa.Table("exam_step", sa.MetaData(), autoload_with=connection)
        connection.execute(table.insert().values(_row(table, id="es", exam_id="gone")))
        connection.commit()


def test_a_revision_that_loses_a_row_is_caught(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hub.db"
    migrate.create_all(url)
    engine = make_engine(url, pool_size=1)
    with engine.connect() as connection, pytest.raises(RuntimeError, match="exam_step"):
        _lose_a_row(connection)
    engine.dispose()


def test_a_guard_that_was_dropped_is_back_after_the_next_upgrade(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    migrate.upgrade(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_event_no_delete")
    engine.dispose()
    migrate.upgrade(url)
    check_usable(url)


def test_tables_made_without_revisions_are_as_usable(empty_database_url: str) -> None:
    migrate.create_all(empty_database_url)
    check_usable(empty_database_url)


def check_usable(url: str) -> None:
    database = Database(url)
    with database.transaction() as session:
        enqueue(session, "test.nothing", key="a")
        record(session, Tag.LOGIN, actor=SYSTEM, subject_kind="user", subject_id="u")
    with database.reading() as session:
        assert len(board.list_jobs(session)) == 1
    with pytest.raises(DBAPIError, match="append-only"), database.transaction() as session:
        session.execute(sa.text("DELETE FROM audit_event"))
    database.dispose()


def test_the_lock_lets_one_in_at_a_time(empty_database_url: str) -> None:
    inside: list[int] = []
    together: list[int] = []

    def work(number: int) -> None:
        engine = make_engine(empty_database_url, pool_size=2)
        with migrate.migration_lock(engine):
            inside.append(number)
            together.append(len(inside))
            inside.remove(number)
        engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(12)))
    assert together == [1] * 12


def test_a_library_s_tables_are_left_alone() -> None:
    migrate.import_models()
    assert migrate.is_ours("audit_event", "table", {})
    assert not migrate.is_ours("workflow_status", "table", {})
    assert migrate.is_ours("anything", "column", {})


def test_a_revision_is_written_from_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole difference from an empty folder; it must run on a new database and leave nothing to do."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for name in ("env.py", "script.py.mako"):
        (folder / name).write_text((VERSIONS.parent / name).read_text())
    (folder / "versions").mkdir()
    monkeypatch.setattr(migrate, "FOLDER", folder)
    made = migrate.make_migration("everything")
    assert made.name == "0001_everything.py"
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    assert migrate.upgrade(url) == ["0001"]
    assert migrate.differences(url) == []
    assert "workflow_status" not in made.read_text()
