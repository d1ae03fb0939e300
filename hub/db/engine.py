"""Engines for the two databases the hub runs on: SQLite and PostgreSQL."""

import sqlite3
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from hub.db.writers import QueuedConnection, WriterQueue

READ_ONLY = "hub_read_only"
"""Execution option: this connection only reads, so SQLite need not take its write lock."""

BEGUN = "hub_begun"
"""Execution option: the transaction of this connection has begun beneath SQLAlchemy."""


def make_engine(url: str, *, pool_size: int = 20) -> Engine:
    """Make an engine for ``sqlite:///FILE`` or ``postgresql+psycopg://…``.

    SQLite runs in WAL mode with ``synchronous=FULL``: a commit that was answered
    with Success must survive a power cut, and in WAL mode only FULL syncs the log
    on each commit (sqlite.org/pragma.html#pragma_synchronous). Writers begin with
    BEGIN IMMEDIATE, one after the other (`hub.db.writers`), instead of failing when
    the second one upgrades a stale snapshot.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_size=pool_size, max_overflow=pool_size, pool_pre_ping=True)
    queue = None
    if parsed.database and parsed.database != ":memory:":
        file = Path(parsed.database)
        file.parent.mkdir(parents=True, exist_ok=True)
        queue = WriterQueue(file.with_name(f"{file.name}-writers"))
    engine = create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=pool_size,
        connect_args={"timeout": 30, "check_same_thread": False, "factory": QueuedConnection},
    )

    def prepare(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        _prepare_sqlite(cast("QueuedConnection", connection), queue)

    event.listen(engine, "connect", prepare)
    if queue is not None:
        event.listen(engine, "engine_disposed", lambda _engine: queue.close())
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: QueuedConnection, queue: WriterQueue | None) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    connection.queue = queue
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # Past SQLAlchemy it costs a tenth, and every request begins two of them.
    options = connection.get_execution_options()
    if options.get(BEGUN, False):
        return
    if options.get(READ_ONLY, False):
        cast("QueuedConnection", connection.connection.driver_connection).execute("BEGIN")
        return  # it takes no lock, so it cannot fail
    begin_writing(connection.connection)


def begin_writing(connection: PoolProxiedConnection) -> None:
    """Begin a transaction that writes on a connection of the pool; with PostgreSQL its driver does so.

    Raises
    ------
    sqlalchemy.exc.OperationalError
        SQLite's lock was not to be had in time.
    """
    raw = connection.driver_connection
    if not isinstance(raw, QueuedConnection):
        return
    try:
        raw.begin_writing()
    except sqlite3.OperationalError as error:
        raise OperationalError("BEGIN IMMEDIATE", None, error) from error
