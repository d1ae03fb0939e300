"""Transactions for statements that go straight to the driver; a session joins one when it is asked for.

A session, its connection and their events take as long as all the statements of a reception:
0.27 ms of its processor time, where the driver's own begin and commit take 0.05.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.pool import PoolProxiedConnection

from hub.db.engine import BEGUN, begin_writing
from hub.errors import DatabaseUnavailable

AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
"""What SQLAlchemy raises when the database does not answer, or not in time."""


@contextmanager
def answering() -> Iterator[None]:
    """Turn a database that is away into the hub's own error: the sender is told to try again."""
    try:
        yield
    except AWAY as error:
        raise DatabaseUnavailable from error


class Place(NamedTuple):
    """Where the statements of a transaction go."""

    connection: PoolProxiedConnection
    dialect: sa.Dialect


class Writing:
    """One writing transaction; see `hub.db.session.Database.writing`. It runs while its body does.

    Attributes
    ----------
    place : Place
        For `hub.db.direct`.
    info : dict
        What goes with the transaction until it is committed; that of its session, when there is one.

    Raises
    ------
    DatabaseUnavailable
        The database does not answer.
    """

    place: Place

    def __init__(self, engine: sa.Engine, before_commit: "Sequence[BeforeCommit]") -> None:
        self._engine = engine
        self._before_commit = before_commit
        self.info: dict[Any, Any] = {}
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """A session within this transaction, made when it is first asked for."""
        if self._session is None:
            connection = sa.Connection(self._engine, self.place.connection)
            connection = connection.execution_options(**{BEGUN: True})
            self._session = Session(connection, expire_on_commit=False)
            self._session.info.update(self.info)
            self.info = self._session.info
        return self._session

    @property
    def joined(self) -> Session | None:
        """The session within this transaction, if one was asked for."""
        return self._session

    def flush(self) -> None:
        """Write what the session holds, if there is one."""
        if self._session is not None:
            self._session.flush()

    def commit(self) -> None:
        """Commit, with the session's part."""
        if self._session is not None:
            self._session.commit()
            return
        try:
            self.place.connection.commit()
        except self.place.dialect.loaded_dbapi.Error as error:
            as_sqlalchemys("COMMIT", error, self.place.dialect)

    def __enter__(self) -> Self:
        with answering():
            self.place = Place(check_out(self._engine), self._engine.dialect)
            try:
                begin_writing(self.place.connection)
            except BaseException:
                self.place.connection.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with answering():
                if isinstance(error, AWAY):
                    raise error
                if error is None:
                    self.flush()
                    for hook in self._before_commit:
                        hook(self)
                    self.commit()
        finally:
            self._close()

    def _close(self) -> None:
        try:
            if self._session is not None:
                self._session.close()
        finally:
            self.place.connection.close()  # its pool rolls back what was not committed


Transaction = Session | Writing
"""What the functions take that work in both."""
BeforeCommit = Callable[[Transaction], None]


def session_of(at: Transaction) -> Session:
    """Return the session of a transaction; one of a `Writing` is made when it has none."""
    return at if isinstance(at, Session) else at.session


def joined_session(at: Transaction) -> Session | None:
    """Return the session of a transaction if it has one."""
    return at if isinstance(at, Session) else at.joined


def check_out(engine: sa.Engine) -> PoolProxiedConnection:
    """Return a connection of the pool, without SQLAlchemy around it; its `close` gives it back.

    Raises
    ------
    sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError
        There is none to be had.
    """
    try:
        return engine.raw_connection()
    except engine.dialect.loaded_dbapi.Error as error:
        as_sqlalchemys("", error, engine.dialect)


def as_sqlalchemys(statement: str, error: Any, dialect: sa.Dialect) -> NoReturn:
    """Raise the driver's error as SQLAlchemy does, without the values of the statement."""
    kind = dialect.loaded_dbapi.Error
    raise sa.exc.DBAPIError.instance(
        statement, None, error, kind, hide_parameters=True, dialect=dialect
    ) from error
