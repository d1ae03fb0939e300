"""Putting the files of a settled study into few large objects, so that stores are read in long runs.

At every moment each row points at an object that holds its bytes: a pack is written,
read back and only then, in one transaction, pointed at; the objects it replaces are
noted for removal an hour later, when nobody reads them any more. A process that dies in
between leaves a pack that no row knows, which `retire_strays` finds.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from hub.audit import service as audit
from hub.audit.service import ActorRef
from hub.audit.tags import Tag
from hub.catalogue import notes
from hub.catalogue.arrival_repository import ArrivalRepository
from hub.catalogue.arrivals import KEPT_AFTER_MOVE
from hub.catalogue.keys import PACKS, pack_key, site_and_study
from hub.catalogue.models import Instance, Pack, Study
from hub.catalogue.pack_repository import PackRepository
from hub.catalogue.packs import MOST_MEMBERS, NotAPack, PackWriter, damaged_parts, read_manifest
from hub.catalogue.places import Place, place_of, read_place
from hub.catalogue.repository import CatalogueRepository
from hub.context import Context
from hub.errors import HubError
from hub.kit.ids import new_id
from hub.sites.models import Device, Site
from storage.base import Stored
from storage.errors import ObjectNotFound, StoreCorrupt

log = structlog.get_logger()

LEAST_LOOSE = 4
"""A series with fewer files that lie alone stays as it is: nothing would be won."""

PACK_BYTES = 256 << 20
MEMBER_BYTES = 32 << 20
"""Larger files stay alone: each is a long read by itself."""

STRAY_AFTER = timedelta(hours=24)
"""Age of a pack that no row knows beyond which no process can still be about to enter it."""

_HUB = ActorRef("system", "hub", "hub")


@dataclass(frozen=True, slots=True)
class _Member:
    """One file in a pack that is being made."""

    instance: Instance
    offset: int


@dataclass(frozen=True, slots=True)
class _Study:
    study: Study
    site: Site
    devices: dict[str, Device]


def pack_study(context: Context, study_id: str) -> int:
    """Pack the loose files of a settled study, series by series; return how many were moved.

    Safe to run again, or twice at once. Files that are not what their rows say stay where
    they are, on record as damaged.
    """
    with context.db.reading() as session:
        found = PackRepository(session).settled(study_id)
        if found is None:
            return 0
        series = CatalogueRepository(session).series(study_id)
        loose = [PackRepository(session).loose(one.id, MEMBER_BYTES) for one in series]
        owner = _Study(*found, notes.devices_of(session, [row for rows in loose for row in rows]))
    moved = 0
    for instances in loose:
        if len(instances) >= LEAST_LOOSE:
            moved += sum(_pack(context, owner, batch) for batch in _batches(instances))
    return moved


def _batches(instances: Sequence[Instance]) -> Iterator[list[Instance]]:
    """Share instances out among packs, in their order."""
    batch: list[Instance] = []
    size = 0
    for instance in instances:
        if batch and (size + instance.size > PACK_BYTES or len(batch) == MOST_MEMBERS):
            yield batch
            batch, size = [], 0
        batch.append(instance)
        size += instance.size
    if batch:
        yield batch


def _pack(context: Context, owner: _Study, instances: Sequence[Instance]) -> int:
    """Write, read back and enter one pack; return how many rows point at it."""
    key = pack_key(owner.site.code, owner.study.study_uid, new_id())
    written = _write(context, owner, instances, key)
    if written is None:
        return 0
    stored, members = written
    parts = [Place(key, member.offset, member.instance.size, member.instance.sha256) for member in members]
    sha256, damaged = damaged_parts(context.store, key, parts)
    if damaged or sha256 != stored.sha256:
        context.store.delete(key)
        raise StoreCorrupt(f"the store gave {key!r} back other than it was written; nothing was moved")
    moved = _enter(context, owner.study, stored, members)
    log.info("series_packed", study_uid=owner.study.study_uid, objects=moved, bytes=stored.size)
    return moved


def _write(
    context: Context, owner: _Study, instances: Sequence[Instance], key: str
) -> tuple[Stored, list[_Member]] | None:
    """Copy files into a new pack; None when fewer than two of them are sound."""
    members: list[_Member] = []
    facts = []
    with context.store.stage() as staged:
        writer = PackWriter(staged.write)
        for instance in instances:
            content = _sound(context, instance)
            if content is None:
                continue
            members.append(_Member(instance, writer.add(instance.storage_key, content)))
            device = owner.devices.get(instance.device_id or "")
            place = {"name": instance.storage_key, "offset": members[-1].offset}
            facts.append(place | notes.instance_facts(instance, device))
        if len(members) < min(2, len(instances)):
            return None
        writer.finish({"study": notes.study_facts(owner.study, owner.site), "members": facts})
        return staged.keep(key), members


def _sound(context: Context, instance: Instance) -> bytes | None:
    """Return a file, if it is what was received; else put its damage on record."""
    try:
        content = read_place(context.store, place_of(instance))
    except ObjectNotFound:
        content = b""
    if hashlib.sha256(content).hexdigest() == instance.sha256:
        return content
    with context.db.reading() as session:
        if PackRepository(session).place(instance.id) != place_of(instance):
            return None  # another process has packed it meanwhile
    log.error("stored_object_damaged", instance=instance.id, sop_uid=instance.sop_uid)
    with context.db.transaction() as session:
        audit.record(
            session,
            Tag.OBJECT_DAMAGED,
            actor=_HUB,
            subject_kind="instance",
            subject_id=instance.id,
            sop_uid=instance.sop_uid,
        )
    return None


def _enter(context: Context, study: Study, stored: Stored, members: Sequence[_Member]) -> int:
    """Point rows at a pack and note what they pointed at before, in one transaction."""
    now = context.clock()
    with context.db.transaction() as session:
        repository = PackRepository(session)
        # A pack that took a day to get here may have been taken for a stray.
        context.store.stat(stored.key)
        gone = [
            member.instance.storage_key
            for member in members
            if repository.move(member.instance, stored.key, member.offset)
        ]
        if gone:
            session.add(
                Pack(
                    study_id=study.id,
                    key=stored.key,
                    size=stored.size,
                    sha256=stored.sha256,
                    n_objects=len(gone),
                    created_at=now,
                )
            )
        ArrivalRepository(session).retire(gone or [stored.key], now + KEPT_AFTER_MOVE)
    return len(gone)


def remove_retired(context: Context, limit: int = 2000) -> int:
    """Remove objects whose time has come and that no row points at; return how many notes were settled."""
    with context.db.reading() as session:
        repository = PackRepository(session)
        due = repository.due(context.clock(), limit)
        used = repository.used([row.key for row in due])
    for row in due:
        if row.key not in used:
            context.store.delete(row.key)
    with context.db.transaction() as session:
        PackRepository(session).forget_retired([row.id for row in due])
    return len(due)


def retire_strays(context: Context) -> tuple[int, list[str]]:
    """Note for removal the packs that no row knows and whose every file is elsewhere.

    Returns
    -------
    retired, kept : tuple
        How many were noted, and the keys of those that hold bytes nobody else has: a
        database older than the store leaves such; ``hub rebuild --merge`` enters them.
    """
    oldest = context.clock() - STRAY_AFTER
    retired, kept = 0, []
    for found in context.store.list(PACKS):
        if found.modified > oldest:
            continue
        with context.db.reading() as session:
            if PackRepository(session).pack(found.key) is not None:
                continue
        if not _elsewhere(context, found.key):
            log.error("stray_pack_kept", key=found.key)
            kept.append(found.key)
            continue
        with context.db.transaction() as session:
            ArrivalRepository(session).retire([found.key], context.clock() + KEPT_AFTER_MOVE)
        retired += 1
    return retired, kept


def _elsewhere(context: Context, key: str) -> bool:
    """Tell whether each file of a pack is known and lies, whole, in another object."""
    try:
        members = read_manifest(context.store, key)["members"]
        with context.db.reading() as session:
            known = PackRepository(session).known_bytes(*site_and_study(key))
        for member in members:
            instance = known.get((member["sop_uid"], member["sha256"]))
            if instance is None or instance.storage_key == key:
                return False
            context.store.stat(instance.storage_key)
    except (NotAPack, HubError, ObjectNotFound, KeyError, TypeError):
        return False
    return True
