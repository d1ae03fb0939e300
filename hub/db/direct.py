"""Statements that run for every object received: compiled once, then handed straight to the driver.

SQLAlchemy takes several times longer over a statement that it has compiled before than
SQLite takes to run it. What happens a thousand times a minute goes past that; everything
else is written as usual.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from hub.db.session import Database
from hub.db.writing import Place, Transaction, Writing, answering, as_sqlalchemys, check_out

Values = Mapping[str, Any]
Convert = Callable[[Any], Any] | None


class _Plan(NamedTuple):
    """A statement as one kind of database takes it."""

    sql: str
    names: tuple[str, ...]
    positional: bool
    fixed: Values
    convert: tuple[tuple[str, Callable[[Any], Any]], ...]
    results: tuple[Convert, ...]

    def bind(self, values: Values) -> Any:
        """Return the values as the driver takes them."""
        if self.fixed or self.convert:
            given = {**self.fixed, **values}
            for name, to in self.convert:
                given[name] = to(given[name])
            values = given
        return tuple([values[name] for name in self.names]) if self.positional else values


class Direct:
    """A statement that SQLAlchemy writes, and only writes.

    Parameters
    ----------
    statement : Select, Insert or Update
        What varies is a `bindparam`, of which no IN may have an unknown number; an INSERT
        is given every column, because defaults in Python are not filled in. Mapped objects
        that the session holds do not learn of the change.
    """

    def __init__(self, statement: "sa.Select[*tuple[Any, ...]] | sa.Insert | sa.Update") -> None:
        self._statement = statement
        self._plans: dict[str, _Plan] = {}

    def rows(self, at: Transaction, values: Values) -> list[tuple[Any, ...]]:
        """Return what a SELECT finds, as the driver gives it: moments of SQLite are texts."""
        return self._rows(place_of(at), values)[1]

    def read(self, at: Transaction, values: Values) -> list[tuple[Any, ...]]:
        """Return what a SELECT finds within the transaction, moments as datetimes."""
        return _converted(*self._rows(place_of(at), values))

    def look(self, database: Database, values: Values) -> list[tuple[Any, ...]]:
        """Return what a SELECT finds now, in a transaction of its own, moments as datetimes.

        Raises
        ------
        hub.errors.DatabaseUnavailable
            The database does not answer.
        """
        with answering():
            connection = check_out(database.engine)
            try:
                plan, rows = self._rows(Place(connection, database.engine.dialect), values)
            finally:
                connection.close()
        return _converted(plan, rows)

    def run(self, at: Transaction, rows: Iterable[Values]) -> None:
        """Execute once for each row of values."""
        place = place_of(at)
        plan = self._planned(place.dialect)
        bound = [plan.bind(values) for values in rows]
        if bound:
            _executed(place, plan, bound, found=False)

    def _rows(self, place: Place, values: Values) -> tuple[_Plan, list[tuple[Any, ...]]]:
        plan = self._planned(place.dialect)
        return plan, _executed(place, plan, [plan.bind(values)], found=True)

    def _planned(self, dialect: sa.Dialect) -> _Plan:
        plan = self._plans.get(dialect.name)
        if plan is None:
            plan = self._plans[dialect.name] = _made(self._statement, dialect)
        return plan


class Statements:
    """Made statements by what shapes them; forgotten all together when they are too many."""

    def __init__(self, most: int = 500) -> None:
        self._most = most
        self._made: dict[Hashable, Direct] = {}

    def of(self, key: Hashable, make: "Callable[[], sa.Select[Any]]") -> Direct:
        """Return the statement of this shape; `make` writes it the first time."""
        statement = self._made.get(key)
        if statement is None:
            if len(self._made) >= self._most:
                self._made.clear()
            statement = self._made[key] = Direct(make())
        return statement


def _converted(plan: _Plan, rows: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return [
        tuple([to(each) if to else each for to, each in zip(plan.results, row, strict=True)]) for row in rows
    ]


def _made(statement: sa.ClauseElement, dialect: sa.Dialect) -> _Plan:
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
    names = tuple(compiled.positiontup) if compiled.positional and compiled.positiontup else ()
    fixed = {name: parameter.value for name, parameter in compiled.binds.items() if not parameter.required}
    convert = []
    for name, parameter in compiled.binds.items():
        to = parameter.type.dialect_impl(dialect).bind_processor(dialect)
        if to is not None:
            convert.append((name, to))
    columns = statement.selected_columns if isinstance(statement, sa.Select) else ()
    results = tuple(_result_processor(each.type, dialect) for each in columns)
    return _Plan(compiled.string, names, compiled.positional, fixed, tuple(convert), results)


def _result_processor(kind: "sa.types.TypeEngine[Any]", dialect: sa.Dialect) -> Convert:
    if isinstance(kind, sa.Numeric | sa.Float):
        return None  # both drivers give floats as floats; to say so PostgreSQL's needs the type of a result
    return kind.dialect_impl(dialect).result_processor(dialect, None)


_PLACE = "hub_direct_place"


def place_of(at: Transaction) -> Place:
    """Return where the statements of a transaction go.

    Of a session it is found once for each transaction: asking takes as long as a statement. The end
    of a transaction takes the session's connection away and makes what is known invalid.
    """
    if isinstance(at, Writing):
        return at.place
    known: Place | None = at.info.get(_PLACE)
    if known is None or not known.connection.is_valid or not at.in_transaction():
        connection = at.connection()
        known = at.info[_PLACE] = Place(connection.connection, connection.dialect)
    return known


def _executed(at: Place, plan: _Plan, bound: Sequence[Any], *, found: bool) -> list[tuple[Any, ...]]:
    """Execute a statement once for each set of values; return what it finds, as the driver gives it.

    The driver's errors come as SQLAlchemy's.
    """
    cursor = at.connection.cursor()
    try:
        if len(bound) == 1:
            cursor.execute(plan.sql, bound[0])
        else:
            cursor.executemany(plan.sql, bound)
        return list(cursor.fetchall()) if found else []
    except at.dialect.loaded_dbapi.Error as error:
        as_sqlalchemys(plan.sql, error, at.dialect)
    finally:
        cursor.close()
