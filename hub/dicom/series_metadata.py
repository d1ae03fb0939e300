"""The description of a settled series, made once, served from one object (PS3.18 section 10.4.1.1.2).

The object is gzip of one line of JSON that says what it was made from, and the DICOM
JSON of the series with a random word in place of the service's address. When objects
or the charset of a device have changed since, it is not served but made anew later.
"""

import gzip
import hashlib
import json
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from hub.catalogue.keys import metadata_key
from hub.catalogue.models import Instance, Series, Study
from hub.catalogue.pack_repository import UNREADABLE, PackRepository
from hub.catalogue.repository import CatalogueRepository
from hub.context import Context
from hub.dicom import retrieve
from hub.errors import HubError
from hub.sites.models import Site
from storage.errors import StorageError

log = structlog.get_logger()

MOST_BYTES = 64 << 20
"""Larger descriptions are made when asked for; so is what a damaged object belongs to."""

REMEMBERED_BYTES = 64 << 20
UNDESCRIBED_FOR = timedelta(minutes=10)

Basis = dict[str, Any]
"""Device row id, empty for none, to number of objects and charset override."""


@dataclass(frozen=True, slots=True)
class _Description:
    """A stored description: what it was made from, and its text around the addresses."""

    basis: Basis
    parts: tuple[bytes, ...]
    size: int


class _Recent:
    """The descriptions asked for last, by the SHA-256 of their objects."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Description] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, tag: str) -> _Description | None:
        with self._lock:
            if tag in self._known:
                self._known.move_to_end(tag)
            return self._known.get(tag)

    def put(self, tag: str, description: _Description) -> None:
        with self._lock:
            if tag not in self._known:
                self._known[tag] = description
                self._bytes += description.size
            while self._bytes > REMEMBERED_BYTES:
                self._bytes -= self._known.popitem(last=False)[1].size

    def forget(self) -> None:
        """Remember nothing any more (tests)."""
        with self._lock:
            self._known.clear()
            self._bytes = 0


recent = _Recent()


def series_metadata(context: Context, study: Study, series: Series, root: str) -> bytes | None:
    """Return the DICOM JSON of a settled series as `hub.dicom.retrieve.metadata` makes it.

    Parameters
    ----------
    root : str
        Address of the service that bulk data addresses begin with, without a trailing slash.

    Returns
    -------
    bytes or None
        None when it is not prepared or does not fit the series any more: make it now.
    """
    if not series.metadata_key or study.settled_at is None:
        return None
    with context.db.reading() as session:
        basis = _basis(session, series)
    found = recent.get(series.metadata_tag)
    if found is None:
        found = _load(context, series)
    if found is None or found.basis != basis:
        with context.db.transaction() as session:
            PackRepository(session).forget_description(series.id, series.metadata_tag)
        return None
    recent.put(series.metadata_tag, found)
    return root.encode().join(found.parts)


def prepare_study(context: Context, study_id: str) -> int:
    """Make and store the descriptions of a settled study's series; return how many there are now.

    A series that cannot be described is marked so and described when asked for, with the error.
    """
    with context.db.reading() as session:
        found = PackRepository(session).settled(study_id)
        if found is None:
            return 0
        every = CatalogueRepository(session).series(study_id)
    return sum(_prepare(context, *found, series) for series in every)


def describe_forgotten(context: Context) -> list[str]:
    """Return the ids of studies that settled a while ago and have a series without description."""
    with context.db.reading() as session:
        return list(PackRepository(session).undescribed(context.clock() - UNDESCRIBED_FOR, limit=500))


def _prepare(context: Context, study: Study, site: Site, series: Series) -> bool:
    with context.db.reading() as session:
        basis = _basis(session, series)
        instances = CatalogueRepository(session).instances(series.id)
    key, tag = metadata_key(site.code, study.study_uid, series.series_uid), UNREADABLE
    try:
        content = _written(context, study, series, instances, basis)
    except HubError as error:
        log.info("series_not_described", series=series.id, cause=error.code)
        content = None
    if content is not None:
        tag = context.store.put(key, content).sha256
    with context.db.transaction() as session:
        return PackRepository(session).describe(
            series.id, key if content else "", tag, instances=len(instances)
        ) and bool(content)


def _written(context: Context, study: Study, series: Series, instances: Any, basis: Basis) -> bytes | None:
    """Return a description as it is stored; None when it is too large for that."""
    # A word that was not known when the objects were sent cannot stand in one of them.
    token = secrets.token_hex(16)
    of_series = f"{token}/studies/{study.study_uid}/series/{series.series_uid}"

    def charset_of(instance: Instance) -> str | None:
        charset: str | None = basis[instance.device_id or ""][1]
        return charset

    urls = [(instance, f"{of_series}/instances/{instance.sop_uid}") for instance in instances]
    body = retrieve.metadata(context, urls, charset_of)
    if len(body) > MOST_BYTES:
        return None
    head = json.dumps({"token": token, "made_from": basis})
    return gzip.compress(head.encode() + b"\n" + body, 6, mtime=0)


def _load(context: Context, series: Series) -> _Description | None:
    """Read a stored description, if it is the one that its row means."""
    try:
        content = context.store.get(series.metadata_key)
    except StorageError as error:
        log.warning("series_metadata_unreadable", series=series.id, cause=type(error).__name__)
        return None
    if hashlib.sha256(content).hexdigest() != series.metadata_tag:
        return None
    text = gzip.decompress(content)
    head, _, body = text.partition(b"\n")
    stated = json.loads(head)
    return _Description(stated["made_from"], tuple(body.split(stated["token"].encode())), len(body))


def _basis(session: Any, series: Series) -> Basis:
    """Return what a description depends on besides the objects, as it comes back from JSON."""
    return {device: list(facts) for device, facts in PackRepository(session).charsets(series.id).items()}
