"""The seam to DBOS: its tables, its client, its names. Nothing outside this room imports it.

DBOS is imported inside functions: it takes more than a second.
"""

import logging
import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, make_url

if TYPE_CHECKING:
    from dbos import DBOSClient

APPLICATION = "hub"
APPLICATION_VERSION = "1"
"""Pinned, so that a new release of the hub takes over the jobs of the one before."""
SCHEMA = "dbos"

_clients: WeakKeyDictionary[Engine, "DBOSClient"] = WeakKeyDictionary()
_lock = threading.Lock()


def quiet_logging() -> None:
    """Keep DBOS's own messages to warnings; what our handlers do, and how they fail, we log ourselves."""
    logger = logging.getLogger("dbos")
    logger.setLevel(logging.WARNING)
    if _without_traceback not in logger.filters:
        logger.addFilter(_without_traceback)
    if logging.lastResort is not None and logging.lastResort not in logger.handlers:
        # DBOS's own handler keeps the standard error that was there when it was made, and fails
        # to start again once that is closed; this one writes to what it is now.
        logger.handlers = [logging.lastResort]
        logger.propagate = False


def _without_traceback(record: logging.LogRecord) -> bool:
    """Drop DBOS's report of a failed handler; of its other errors keep the class only.

    The text of a database error holds the values of the statement.
    """
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        record.exc_info = record.exc_text = None
        record.msg, record.args = f"{record.getMessage()} {type(error).__name__}", None
    return type(error).__name__ != "JobFailed"


def create_system_tables(url: str) -> None:
    """Create DBOS's tables in the hub's database, or bring them up to this release of DBOS."""
    from dbos import DBOS

    quiet_logging()
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    DBOS.migrate(parsed.render_as_string(hide_password=False), schema=SCHEMA)


def client_of(engine: Engine) -> "DBOSClient":
    """Return the client that writes jobs through `engine`; one is made per engine."""
    client = _clients.get(engine)
    if client is None:
        from dbos import DBOSClient, DBOSPortableJSONSerializer

        quiet_logging()
        with _lock:
            client = _clients.get(engine)
            if client is None:
                client = DBOSClient(
                    system_database_engine=engine,
                    dbos_system_schema=SCHEMA,
                    serializer=DBOSPortableJSONSerializer(),
                    application_name=APPLICATION,
                    lazy=True,
                )
                _clients[engine] = client
    return client
