"""Holding every row against its bytes: what is missing, what was altered, what nobody knows."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.orm import Session

from hub.catalogue.keys import METADATA, NOTES
from hub.catalogue.models import Pack
from hub.catalogue.pack_repository import PackRepository
from hub.catalogue.packs import damaged_parts
from hub.catalogue.places import Place, is_whole, place_of, sha256_at
from hub.context import Context
from hub.reports.repository import ReportRepository
from storage.base import ObjectStore
from storage.errors import ObjectNotFound, StorageError


@dataclass(frozen=True)
class Checked:
    """One file and what is wrong with it.

    Attributes
    ----------
    kind : str
        ``instance``, ``recording``, ``quarantined``, ``report``, ``pack`` (the object that
        holds many instances, each of which has a line of its own), ``metadata`` (the stored
        description of a series, made anew when it is wrong), ``retired`` (replaced by a
        pack, about to be removed), or ``unreferenced`` for a file that no row points at:
        left over when a process died between the two, or put there by hand; harmless, and
        nothing of it is ever shown.
    fault : str
        Empty, ``missing``, ``altered`` or ``unreadable``.
    """

    kind: str
    row_id: str
    key: str
    fault: str


def check_store(context: Context) -> Iterator[Checked]:
    """Yield a line for each file that a row names, then one for each file that none names.

    A file that seems missing is looked for where its row says by then: packing may have
    moved it since the check began.
    """
    store = context.store
    known: set[str] = set()
    with context.db.reading() as session:
        for kind, row_id, place in _files(session):
            known.add(place.key)
            yield Checked(kind, row_id, place.key, _look_again(context, row_id, _fault(store, place)))
        for pack in PackRepository(session).packs():
            known.add(pack.key)
            yield from _in_pack(context, session, pack)
        for row in PackRepository(session).retired():
            if row.key not in known:
                known.add(row.key)
                yield Checked("retired", row.id, row.key, "")
    for found in store.list(""):
        if found.key not in known and not found.key.startswith((METADATA, NOTES)):
            with context.db.reading() as session:
                arrived_meanwhile = PackRepository(session).used([found.key])
            if not arrived_meanwhile:
                yield Checked("unreferenced", "", found.key, "")


def _files(session: Session) -> Iterator[tuple[str, str, Place]]:
    """Yield (kind, row id, place) of everything that lies in an object of its own."""
    repository = PackRepository(session)
    yield from repository.loose_files()
    for kind, row_id, key, size, sha256 in ReportRepository(session).every_document():
        yield kind, row_id, Place(key, 0, size, sha256)
    for series in repository.stored_metadata():
        yield "metadata", series.id, Place(series.metadata_key, 0, -1, series.metadata_tag)


def _in_pack(context: Context, session: Session, pack: Pack) -> Iterator[Checked]:
    """Read a pack once for its own hash and those of its members."""
    instances = PackRepository(session).in_pack(pack.study_id, pack.key)
    whole = Place(pack.key, 0, pack.size, pack.sha256)
    try:
        sha256, damaged = damaged_parts(context.store, pack.key, map(place_of, instances))
        fault = "" if sha256 == pack.sha256 and is_whole(context.store, whole) else "altered"
    except (StorageError, OSError) as error:
        fault = "missing" if isinstance(error, ObjectNotFound) else "unreadable"
        damaged = {instance.storage_offset for instance in instances}
    yield Checked("pack", pack.id, pack.key, fault)
    for instance in instances:
        wrong = (fault or "altered") if instance.storage_offset in damaged else ""
        yield Checked("instance", instance.id, pack.key, wrong)


def _look_again(context: Context, row_id: str, fault: str) -> str:
    if fault != "missing":
        return fault
    with context.db.reading() as session:
        place = PackRepository(session).place(row_id)
    return _fault(context.store, place) if place else fault


def _fault(store: ObjectStore, place: Place) -> str:
    try:
        right = (place.size < 0 or is_whole(store, place)) and sha256_at(store, place) == place.sha256
    except ObjectNotFound:
        return "missing"
    except (StorageError, OSError):
        return "unreadable"
    return "" if right else "altered"
