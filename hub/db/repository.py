"""The SQL that every room's repository needs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy import inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value

from hub.db.base import Base
from hub.db.direct import Direct

Row = TypeVar("Row", bound=Base)


class Repository:
    """Queries of one room, bound to the caller's session."""

    def __init__(self, session: Session) -> None:
        self.session = session


def insert_or_get(
    session: Session, model: type[Row], identity: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[Row, bool]:
    """Insert a row unless one with the same identity exists; two callers at once get the same row.

    Parameters
    ----------
    identity : mapping
        The columns of a unique constraint with their values.
    values : mapping
        The other columns, used only when the row is new.

    Returns
    -------
    row, created : tuple
        The row in this session, locked for update where the database can lock rows, and
        whether this call made it.
    """
    given = _with_defaults(model, {**identity, **values})
    session.flush()  # what the row refers to may have been added just now
    statement = _insertion(model, tuple(given), tuple(identity), session.get_bind().dialect.name)
    created = statement.rows(session, given)
    if created:
        return _persistent(session, model, given), True
    row = session.scalars(
        select(model)
        .filter_by(**identity)
        .with_for_update()
        # A row this session read before it had the lock may have changed meanwhile.
        .execution_options(populate_existing=True)
    ).one()
    return row, False


@lru_cache(maxsize=256)
def _insertion(model: type[Base], names: tuple[str, ...], identity: tuple[str, ...], dialect: str) -> Direct:
    table = cast("sa.Table", model.__table__)
    insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    statement = insert.values({name: sa.bindparam(name) for name in names})
    unless_there = statement.on_conflict_do_nothing(index_elements=list(identity))
    return Direct(unless_there.returning(inspect(model).primary_key[0]))


class _Given:
    """What a default that depends on other columns asks for (SQLAlchemy's context, as far as it matters)."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def get_current_parameters(self) -> Mapping[str, Any]:
        """Return the values that the row was given."""
        return self._values


def _with_defaults(model: type[Base], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all columns that the database does not fill by itself."""
    values, context = dict(given), _Given(given)
    for column in cast("sa.Table", model.__table__).columns:
        default: Any = column.default
        if column.name in values or column.server_default is not None:
            continue
        if default is not None:
            values[column.name] = default.arg(context) if default.is_callable else default.arg
        elif not column.primary_key:
            values[column.name] = None
    return values


def _persistent(session: Session, model: type[Row], values: Mapping[str, Any]) -> Row:
    """Return the row of these values as if the session had read it."""
    row = model()
    for name, value in values.items():
        moment = isinstance(value, datetime)
        set_committed_value(row, name, value.astimezone(UTC) if moment else value)
    make_transient_to_detached(row)
    session.add(row)
    return row
