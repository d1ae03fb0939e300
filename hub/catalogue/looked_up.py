"""Rows as objects of the catalogue that no session holds.

SQLAlchemy's own way of making them sets each attribute as if somebody changed it, which
takes ten times longer; an answer to a viewer makes three for every frame.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from sqlalchemy.orm.attributes import instance_state, manager_of_class

from hub.db.base import HasId

Row = TypeVar("Row", bound=HasId)


def looked_up(kind: type[Row], names: tuple[str, ...], values: Sequence[object]) -> Row:
    """Return an object that holds the columns read; asking for another one fails.

    Parameters
    ----------
    names : tuple of str
        Of the columns, ``id`` among them.
    values : sequence
        What was read, in the same order.
    """
    row: Row = manager_of_class(kind).new_instance()
    row.__dict__.update(zip(names, values, strict=True))
    state = instance_state(row)
    # With a key but no session it is detached; what is expired would have to be read again.
    state.key = state.mapper.identity_key_from_primary_key((row.id,))
    key: Any = kind
    state.expired_attributes = set(_others(key, names))
    return row


@cache
def _others(kind: Any, names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(manager_of_class(kind)).difference(names)
