"""Every query about packs, retired objects, stored metadata, and rows that are made anew from objects."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, func, or_, select, update

from hub.catalogue import keys
from hub.catalogue.models import Instance, Pack, Quarantined, Recording, RetiredObject, Series, Study
from hub.catalogue.places import Place, place_of
from hub.db.repository import Repository
from hub.sites.models import Device, Site

UNREADABLE = "unreadable"
"""`Series.metadata_tag` of a series whose description could not be made; it is not tried again by itself."""


class PackRepository(Repository):
    """Where bytes lie, and what may go."""

    def settled(self, study_id: str) -> tuple[Study, Site] | None:
        """Return a study and its site, unless objects of it may still come."""
        found = self.session.execute(
            select(Study, Site)
            .join(Site, Site.id == Study.site_id)
            .where(Study.id == study_id, Study.settled_at.is_not(None))
        ).one_or_none()
        return (found[0], found[1]) if found else None

    def loose(self, series_id: str, largest: int) -> Sequence[Instance]:
        """Return a series' instances that lie alone in the store, up to a size in bytes, in display order."""
        return self.session.scalars(
            select(Instance)
            .where(Instance.series_id == series_id, Instance.storage_offset == 0, Instance.size <= largest)
            .order_by(Instance.number, Instance.sop_uid)
        ).all()

    def devices(self, ids: Collection[str]) -> Mapping[str, Device]:
        """Return devices by row id."""
        found = self.session.scalars(select(Device).where(Device.id.in_(ids)))
        return {device.id: device for device in found}

    def charsets(self, series_id: str) -> dict[str, tuple[int, str | None]]:
        """Return for each device of a series its number of objects and the charset it is known to use.

        The key is the device's row id, empty for objects of none.
        """
        rows = self.session.execute(
            select(Instance.device_id, Device.charset, func.count(Instance.id))
            .outerjoin(Device, Device.id == Instance.device_id)
            .where(Instance.series_id == series_id)
            .group_by(Instance.device_id, Device.charset)
        )
        return {device_id or "": (count, charset) for device_id, charset, count in rows}

    def place(self, instance_id: str) -> Place | None:
        """Return where an instance lies now."""
        instance = self.session.get(Instance, instance_id, populate_existing=True)
        return place_of(instance) if instance else None

    def move(self, instance: Instance, key: str, offset: int) -> bool:
        """Point an instance at its new place, unless its row has changed meanwhile."""
        changed = self.session.execute(
            update(Instance)
            .where(
                Instance.id == instance.id,
                Instance.storage_key == instance.storage_key,
                Instance.storage_offset == instance.storage_offset,
                Instance.sha256 == instance.sha256,
            )
            .values(storage_key=key, storage_offset=offset)
            .execution_options(synchronize_session=False)
        )
        return bool(changed.rowcount)  # type: ignore[attr-defined]

    def due(self, now: datetime, limit: int) -> Sequence[RetiredObject]:
        """Return retired objects whose time has come."""
        return self.session.scalars(
            select(RetiredObject)
            .where(RetiredObject.delete_after <= now)
            .order_by(RetiredObject.delete_after)
            .limit(limit)
        ).all()

    def forget_retired(self, ids: Collection[str]) -> None:
        """Remove notes of retired objects."""
        self.session.execute(
            delete(RetiredObject)
            .where(RetiredObject.id.in_(ids))
            .execution_options(synchronize_session=False)
        )

    def retired(self) -> Iterator[RetiredObject]:
        """Yield every retired object."""
        yield from self.session.scalars(select(RetiredObject).execution_options(yield_per=500))

    def packs(self) -> Iterator[Pack]:
        """Yield every pack."""
        yield from self.session.scalars(select(Pack).order_by(Pack.key).execution_options(yield_per=500))

    def pack(self, key: str) -> Pack | None:
        """Return a pack by its key."""
        return self.session.scalars(select(Pack).where(Pack.key == key)).one_or_none()

    def in_pack(self, study_id: str, key: str) -> Sequence[Instance]:
        """Return the instances of a study whose files lie in a pack, in the order in which they lie."""
        return self.session.scalars(
            select(Instance)
            .join(Series, Series.id == Instance.series_id)
            .where(Series.study_id == study_id, Instance.storage_key == key)
            .order_by(Instance.storage_offset)
        ).all()

    def loose_files(self) -> Iterator[tuple[str, str, Place]]:
        """Yield (kind, row id, place) of every file that a row points at and that is in no pack."""
        alone = select(Instance).where(Instance.storage_offset == 0)
        for instance in self.session.scalars(alone.execution_options(yield_per=500)):
            yield "instance", instance.id, place_of(instance)
        for recording in self.session.scalars(select(Recording).execution_options(yield_per=500)):
            for file in recording.files:
                yield "recording", recording.id, Place(file["key"], 0, file["size"], file["sha256"])
        for item in self.session.scalars(select(Quarantined).execution_options(yield_per=500)):
            for file in item.files:
                yield "quarantined", item.id, Place(file["key"], 0, file["size"], file["sha256"])

    def stored_metadata(self) -> Iterator[Series]:
        """Yield every series that has a stored description."""
        kept = select(Series).where(Series.metadata_key != "")
        yield from self.session.scalars(kept.execution_options(yield_per=500))

    def used(self, candidates: Collection[str]) -> set[str]:
        """Return those of the keys that some row points at now.

        Looked up by the UIDs in the keys, because the index on storage keys that this
        would need otherwise is as large as the table.
        """
        sops = {keys.sop_uid_of(key) for key in candidates} - {""}
        found = set(self.session.scalars(select(Pack.key).where(Pack.key.in_(candidates))))
        found |= set(
            self.session.scalars(
                select(Instance.storage_key).where(
                    Instance.sop_uid.in_(sops), Instance.storage_key.in_(candidates)
                )
            )
        )
        kept = select(Quarantined.files).where(or_(Quarantined.sop_uid.in_(sops), Quarantined.sop_uid == ""))
        for files in self.session.scalars(kept):
            found |= {file["key"] for file in files} & set(candidates)
        return found

    def known_bytes(self, site_code: str, study_uid: str) -> dict[tuple[str, str], Instance]:
        """Return the instances of a site's study by SOP Instance UID and SHA-256 of the file."""
        rows = self.session.scalars(
            select(Instance)
            .join(Series, Series.id == Instance.series_id)
            .join(Study, Study.id == Series.study_id)
            .join(Site, Site.id == Study.site_id)
            .where(Site.code == site_code, Study.study_uid == study_uid)
        )
        return {(row.sop_uid, row.sha256): row for row in rows}

    def describe(self, series_id: str, key: str, tag: str, *, instances: int) -> bool:
        """Note where a series' description lies, unless an object has come since it was made."""
        count = select(func.count(Instance.id)).where(Instance.series_id == series_id).scalar_subquery()
        changed = self.session.execute(
            update(Series)
            .where(Series.id == series_id, count == instances)
            .values(metadata_key=key, metadata_tag=tag)
            .execution_options(synchronize_session=False)
        )
        return bool(changed.rowcount)  # type: ignore[attr-defined]

    def forget_description(self, series_id: str, tag: str) -> None:
        """Note that a series' description does not fit it any more, unless a new one is noted already."""
        self.session.execute(
            update(Series)
            .where(Series.id == series_id, Series.metadata_tag == tag)
            .values(metadata_key="", metadata_tag="")
            .execution_options(synchronize_session=False)
        )

    def undescribed(self, settled_before: datetime, limit: int) -> Sequence[str]:
        """Return the ids of settled studies with a series that has no stored description."""
        return self.session.scalars(
            select(Study.id)
            .join(Series, Series.study_id == Study.id)
            .where(
                Series.metadata_key == "",
                Series.metadata_tag != UNREADABLE,
                Study.settled_at <= settled_before,
            )
            .distinct()
            .limit(limit)
        ).all()

    def device(self, site_id: str, ae_title: str, address: str | None) -> Device | None:
        """Return the only device of a site with this title, and with this address where one is stated."""
        named = select(Device).where(Device.site_id == site_id, Device.ae_title == ae_title)
        if address is not None:
            named = named.where(Device.address == address)
        found = self.session.scalars(named.limit(2)).all()
        return found[0] if len(found) == 1 else None

    def has_recording(self, site_code: str, digest_start: str) -> bool:
        """Tell whether a site's recording with a digest that begins so is known."""
        found = self.session.scalars(
            select(Recording.id)
            .join(Study, Study.id == Recording.study_id)
            .join(Site, Site.id == Study.site_id)
            .where(
                Site.code == site_code,
                Recording.digest >= digest_start,
                Recording.digest < f"{digest_start}g",  # beyond every hexadecimal digit
            )
            .limit(1)
        )
        return found.first() is not None

    def has_bytes(self, sop_uid: str, sha256: str) -> bool:
        """Tell whether an instance with this very file is known, whichever the site."""
        found = self.session.scalars(
            select(Instance.id).where(Instance.sop_uid == sop_uid, Instance.sha256 == sha256).limit(1)
        )
        return found.first() is not None

    def is_empty(self) -> bool:
        """Tell whether the catalogue holds neither an instance nor a recording."""
        return not any(self.session.scalars(select(row.id).limit(1)).first() for row in (Instance, Recording))
