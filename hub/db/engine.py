"""Engines for the two databases the hub runs on: SQLite and PostgreSQL."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

READ_ONLY = "hub_read_only"
"""Execution option: this connection only reads, so SQLite need not take its write lock."""


def make_engine(url: str, *, pool_size: int = 20) -> Engine:
    """Make an engine for ``sqlite:///FILE`` or ``postgresql+psycopg://…``.

    SQLite runs in WAL mode with ``synchronous=FULL``: a commit that was answered
    with Success must survive a power cut, and in WAL mode only FULL syncs the log
    on each commit (sqlite.org/pragma.html#pragma_synchronous). Writers begin with
    BEGIN IMMEDIATE so that two of them queue for the lock instead of failing when
    the second one upgrades a stale snapshot.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_size=pool_size, max_overflow=pool_size, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=pool_size,
        connect_args={"timeout": 30, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    raw: Any = connection
    raw.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get(READ_ONLY, False):
        # It takes no lock, so it cannot fail; past SQLAlchemy it costs a tenth, and every
        # request begins two of them.
        raw: Any = connection.connection.driver_connection
        raw.execute("BEGIN")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
