"""Where transactions begin and end. Services never commit; these do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from hub.db.engine import READ_ONLY, make_engine
from hub.db.writing import BeforeCommit, Writing, answering


class Database:
    """One engine, and the two ways of working with it.

    Parameters
    ----------
    url : str
        SQLAlchemy URL of an SQLite file or of a PostgreSQL database.
    """

    before_commit: ClassVar[list[BeforeCommit]] = []
    """Work that belongs at the end of every transaction (the audit chain's links)."""

    def __init__(self, url: str, *, pool_size: int = 20) -> None:
        self.url = url
        self.engine: Engine = make_engine(url, pool_size=pool_size)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield a session whose changes are committed at the end, or rolled back on any exception."""
        with answering(), Session(self.engine, expire_on_commit=False) as session:
            try:
                yield session
                session.flush()
                for hook in self.before_commit:
                    hook(session)
                session.commit()
            except BaseException:
                session.rollback()
                raise

    def writing(self) -> Writing:
        """Return a transaction for what goes past SQLAlchemy; committed or rolled back as `transaction`.

        What is in a session of it is flushed at the end.
        """
        return Writing(self.engine, self.before_commit)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session that sees one state of the database and never writes."""
        options: dict[str, object] = {READ_ONLY: True}
        if self.engine.dialect.name == "postgresql":
            # READ COMMITTED, the default there, would show each statement another state.
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with answering(), self.engine.connect().execution_options(**options) as connection:
            with Session(connection, expire_on_commit=False, autoflush=False) as session:
                yield session
            connection.rollback()

    def dispose(self) -> None:
        """Close all pooled connections."""
        self.engine.dispose()
