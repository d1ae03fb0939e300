"""Holding every row against its bytes: what is missing, what was altered, what nobody knows."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from sqlalchemy.orm import Session

from hub.catalogue.repository import CatalogueRepository
from hub.reports.repository import ReportRepository
from storage.base import ObjectStore, sha256_of
from storage.errors import ObjectNotFound, StorageError


@dataclass(frozen=True)
class Checked:
    """One file and what is wrong with it.

    Attributes
    ----------
    kind : str
        ``instance``, ``recording``, ``quarantined``, ``report``, or ``unreferenced`` for a
        file that no row points at: left over when a process died between the two, or put
        there by hand; harmless, and nothing of it is ever shown.
    fault : str
        Empty, ``missing``, ``altered`` or ``unreadable``.
    """

    kind: str
    row_id: str
    key: str
    fault: str


def check_store(session: Session, store: ObjectStore) -> Iterator[Checked]:
    """Yield a line for each file that a row names, then one for each file that none names."""
    known: set[str] = set()
    rows = chain(CatalogueRepository(session).every_file(), ReportRepository(session).every_document())
    for kind, row_id, key, size, sha256 in rows:
        known.add(key)
        yield Checked(kind, row_id, key, _fault(store, key, size, sha256))
    for found in store.list(""):
        if found.key not in known:
            yield Checked("unreferenced", "", found.key, "")


def _fault(store: ObjectStore, key: str, size: int, sha256: str) -> str:
    try:
        if store.stat(key).size != size:
            return "altered"
        return "" if sha256_of(store, key) == sha256 else "altered"
    except ObjectNotFound:
        return "missing"
    except (StorageError, OSError):
        return "unreadable"
