"""Bringing a database to the tables of this release.

Run by ``hub migrate`` and at every start, under a lock, so that two processes that
start together do not both do it. For developers: ``python -m hub.db.migrate revision
"what changed"`` writes the next revision from the models.
"""

import fcntl
import importlib
import importlib.util
import pkgutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, text

from hub.db.base import Base
from hub.db.engine import make_engine
from hub.db.guards import apply_guards

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

AFTER_UPGRADE: list[Callable[[str], None]] = []
"""Work of upper rooms on the same database (tables of a library), called with its URL."""

FOLDER = Path(__file__).with_name("migrations")
"""Where the revisions are."""
_LOCK_KEY = 0x4855424D  # "HUBM": any number that nothing else uses as an advisory lock


def import_models() -> None:
    """Import ``models.py`` of every room, so that `Base.metadata` knows all tables."""
    import hub

    for room in pkgutil.iter_modules(hub.__path__):
        if room.ispkg and importlib.util.find_spec(f"hub.{room.name}.models") is not None:
            importlib.import_module(f"hub.{room.name}.models")


def upgrade(url: str) -> list[str]:
    """Apply what is pending, then the guards and the tables of libraries; return the revisions applied."""
    from alembic import command

    import_models()
    engine = make_engine(url, pool_size=2)
    try:
        with migration_lock(engine):
            todo = _pending(engine)
            if todo:
                with engine.connect() as connection, rebuilding_tables(connection):
                    command.upgrade(_config(connection), "head")
            with engine.begin() as connection:
                apply_guards(connection)
            for step in AFTER_UPGRADE:
                step(url)
    finally:
        engine.dispose()
    return todo


@contextmanager
def rebuilding_tables(connection: Connection) -> Iterator[None]:
    """Let revisions rebuild SQLite's tables, as most changes to one there need.

    A table that others refer to cannot be dropped while foreign keys are enforced, and they
    cannot be switched off inside a transaction (sqlite.org/lang_altertable.html, section 7).
    At the end every reference is looked at.

    Raises
    ------
    RuntimeError
        A row refers to one that is not there any more.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    raw: Any = connection.connection.driver_connection
    raw.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
        broken = raw.execute("PRAGMA foreign_key_check").fetchall()
    finally:
        raw.execute("PRAGMA foreign_keys=ON")
    if broken:
        raise RuntimeError(f"references without their row: {sorted({row[0] for row in broken})}")


def current(url: str) -> str | None:
    """Return the revision that the database is at, or None for a new one."""
    engine = make_engine(url, pool_size=1)
    try:
        return _current(engine)
    finally:
        engine.dispose()


def pending(url: str) -> list[str]:
    """Return the revisions that `upgrade` would apply, oldest first."""
    engine = make_engine(url, pool_size=1)
    try:
        return _pending(engine)
    finally:
        engine.dispose()


def create_all(url: str) -> None:
    """Create every table straight from the models, without revisions (for tests of single rooms)."""
    import_models()
    engine = make_engine(url, pool_size=1)
    try:
        Base.metadata.create_all(engine)
        for step in AFTER_UPGRADE:
            step(url)
    finally:
        engine.dispose()


def differences(url: str) -> list[Any]:
    """Return what autogenerate would still change; nothing when models and revisions agree."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    import_models()
    engine = make_engine(url, pool_size=1)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"include_name": is_ours, "compare_type": True}
            )
            return list(compare_metadata(context, Base.metadata))
    finally:
        engine.dispose()


def make_migration(message: str, *, url: str | None = None) -> Path:
    """Write the next revision: the difference between the models and the last revision.

    Parameters
    ----------
    message : str
        What changes, in a few words.
    url : str, optional
        Database to compare with, at the last revision; default is a fresh SQLite file.

    Returns
    -------
    Path
        The new file. Read it before it is committed.
    """
    from alembic import command

    import_models()
    with tempfile.TemporaryDirectory() as folder:
        target = url or f"sqlite:///{folder}/compare.db"
        engine = make_engine(target, pool_size=1)
        try:
            with engine.connect() as connection:
                config = _config(connection)
                command.upgrade(config, "head")
            with engine.connect() as connection:
                number = len(list(_script().walk_revisions())) + 1
                made = command.revision(
                    _config(connection), message, autogenerate=True, rev_id=f"{number:04d}"
                )
        finally:
            engine.dispose()
    revision = made[0] if isinstance(made, list) else made
    if revision is None:
        raise RuntimeError("alembic wrote no revision")
    # Alembic writes in a style of its own; the formatter is one of the development tools.
    for tidy in (("check", "--fix", "--quiet"), ("format", "--quiet")):
        subprocess.run([sys.executable, "-m", "ruff", *tidy, str(revision.path)], check=False)  # noqa: S603 - fixed words and our own file
    return Path(revision.path)


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Tell whether a table belongs to a room; others in the same database are left alone."""
    return kind != "table" or name in Base.metadata.tables


@contextmanager
def migration_lock(engine: Engine) -> Iterator[None]:
    """Hold the one right to change the tables of this database."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            # Asked again and again, each time in a transaction of its own: one that waited inside
            # its transaction would hold up CREATE INDEX CONCURRENTLY of the one that has the lock.
            while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK_KEY}):
                connection.rollback()
                time.sleep(0.2)
            connection.commit()
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK_KEY})
                connection.commit()
        return
    file = engine.url.database
    if not file or file == ":memory:":
        yield
        return
    with Path(f"{file}.migrate-lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _config(connection: Connection | None) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _script() -> "ScriptDirectory":
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config(None))


def _current(engine: Engine) -> str | None:
    from alembic.migration import MigrationContext

    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _pending(engine: Engine) -> list[str]:
    at = _current(engine)
    known = [script.revision for script in _script().walk_revisions()]
    known.reverse()
    return known if at is None else known[known.index(at) + 1 :]


def main(arguments: list[str]) -> int:
    """Run ``revision MESSAGE``."""
    if len(arguments) != 2 or arguments[0] != "revision":  # noqa: PLR2004 - the word and the message
        sys.stderr.write('usage: python -m hub.db.migrate revision "what changed"\n')
        return 2
    sys.stdout.write(f"{make_migration(arguments[1])}\n")
    return 0


if __name__ == "__main__":
    # Run as the module that rooms import, not as a second copy called __main__.
    sys.exit(importlib.import_module("hub.db.migrate").main(sys.argv[1:]))
