"""Database-side guards of a table: statements that follow its creation, from one source.

A room registers them beside its model. They run when ``create_all`` makes the table
and again at the end of every migration, so they must be repeatable; a guard that was
dropped, or lost when SQLite rebuilt a table, is back after the next start.
"""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Connection, FromClause, Table, event, inspect

_GUARDS: dict[str, dict[str, tuple[str, ...]]] = {}


def guard(table: FromClause, *, sqlite: Sequence[str], postgresql: Sequence[str]) -> None:
    """Register the guards of `table` for both databases; each statement must be repeatable."""
    concrete = cast("Table", table)
    _GUARDS[concrete.name] = {"sqlite": tuple(sqlite), "postgresql": tuple(postgresql)}
    event.listen(concrete, "after_create", _after_create)


def apply_guards(connection: Connection) -> None:
    """Run the guards of every table that exists in this database."""
    present = set(inspect(connection).get_table_names())
    for name in sorted(_GUARDS.keys() & present):
        _run(connection, name)


def _after_create(table: Table, connection: Connection, **_: object) -> None:
    _run(connection, table.name)


def _run(connection: Connection, name: str) -> None:
    for statement in _GUARDS[name][connection.dialect.name]:
        connection.exec_driver_sql(statement)
