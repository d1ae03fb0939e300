"""Telling a re-send from another object under the same UID, by the bytes of both data sets."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from hub.catalogue.arrival_repository import ArrivalRepository, InstancePlace
from hub.catalogue.arrivals import Arrival, Twin, register_many
from hub.catalogue.service import Outcome
from hub.context import Context
from hub.errors import StoreUnavailable
from storage.base import CHUNK_BYTES, ObjectStore
from storage.errors import StorageError


def enter(context: Context, arrivals: Sequence[Arrival], *, now: datetime) -> list[Outcome]:
    """Enter objects that are durable in the store, in a transaction of their own; never DIFFERENT.

    The few that need comparing with what is here are compared with no transaction open,
    then entered in a second one.

    Raises
    ------
    StoreUnavailable
        The store does not give back what has to be compared. The other objects of the
        batch are entered; trying the whole batch again is safe.
    DatabaseUnavailable
        Nothing is entered.
    """
    with context.db.writing() as writing:
        outcomes = register_many(writing, arrivals, settings=context.settings, now=now)
    while open_ones := [at for at, outcome in enumerate(outcomes) if outcome is Outcome.DIFFERENT]:
        compared = []
        for at in open_ones:
            with context.db.reading() as session:
                place = _place(session, arrivals[at])
            compared.append(_with_twin(context.store, arrivals[at], place))
        with context.db.writing() as writing:
            again = register_many(writing, compared, settings=context.settings, now=now)
        for at, outcome in zip(open_ones, again, strict=True):
            outcomes[at] = outcome
    return outcomes


def enter_within(
    context: Context, session: Session, arrival: Arrival, *, now: datetime, announced: bool = True
) -> Outcome:
    """Enter one object in the caller's transaction, comparing there when it must be; never DIFFERENT."""
    while True:
        [outcome] = register_many(session, [arrival], settings=context.settings, now=now, announced=announced)
        if outcome is not Outcome.DIFFERENT:
            return outcome
        arrival = _with_twin(context.store, arrival, _place(session, arrival))


def _place(session: Session, arrival: Arrival) -> InstancePlace | None:
    facts = arrival.facts
    return ArrivalRepository(session).place(
        arrival.origin.site_id, facts.study_uid, facts.series_uid, facts.sop_uid
    )


def _with_twin(store: ObjectStore, arrival: Arrival, place: InstancePlace | None) -> Arrival:
    """Return the arrival with the comparison; without one when the other object is gone meanwhile."""
    if place is None:
        return replace(arrival, twin=None)
    file = arrival.file
    mine = InstancePlace(file.sha256, file.key, arrival.dataset_offset, file.size)
    return replace(arrival, twin=Twin(place.sha256, _same_bytes(store, place, mine)))


def _same_bytes(store: ObjectStore, one: InstancePlace, other: InstancePlace) -> bool:
    size = one.end - one.start
    if other.end - other.start != size:
        return False
    try:
        for at in range(0, size, CHUNK_BYTES):
            length = min(CHUNK_BYTES, size - at)
            here = store.get_range(one.key, one.start + at, length)
            if len(here) != length or here != store.get_range(other.key, other.start + at, length):
                return False
    except StorageError as error:
        raise StoreUnavailable from error
    return True
