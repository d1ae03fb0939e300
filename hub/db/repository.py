"""The SQL that every room's repository needs."""

from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy import inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from hub.db.base import Base

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
    dialect = session.get_bind().dialect.name
    statement = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(model).values(
        **identity, **values
    )
    created = session.execute(
        statement.on_conflict_do_nothing(index_elements=list(identity)).returning(
            inspect(model).primary_key[0]
        )
    ).first()
    row = session.scalars(
        select(model)
        .filter_by(**identity)
        .with_for_update()
        # A row this session read before it had the lock may have changed meanwhile.
        .execution_options(populate_existing=True)
    ).one()
    return row, created is not None
