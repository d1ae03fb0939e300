"""Making a catalogue anew from the objects alone, when the database is lost.

What the files, the packs' manifests and the notes beside them say is entered again, by
the same code that enters what arrives; what only the database knew (people, orders,
exams, reports, the audit trail) is not. Nothing in the store is changed.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from hub.audit.service import ActorRef
from hub.catalogue import keys
from hub.catalogue import service as catalogue
from hub.catalogue.arrival_repository import ArrivalRepository
from hub.catalogue.arrivals import KEPT_AFTER_MOVE, Arrival, register_many
from hub.catalogue.models import Pack, Study
from hub.catalogue.notes import OF_DEVICE
from hub.catalogue.pack_repository import PackRepository
from hub.catalogue.places import Place, open_place, sha256_at
from hub.catalogue.repository import CatalogueRepository
from hub.catalogue.service import NewRecording, Origin, Outcome, StoredFile
from hub.catalogue.twins import enter_within
from hub.context import Context
from hub.dicom.ingest import facts_of
from hub.dicom.part10 import FileMeta, split
from hub.ecg.ingest import study_uid_of
from hub.errors import Conflict, HubError
from hub.rebuild_found import (
    UNUSABLE,
    Facts,
    FoundFile,
    FoundStudy,
    noted_recording,
    open_recording,
    passes,
    read_note,
    read_recording,
    reason_of,
    recordings,
    studies,
)
from hub.sites import service as sites
from hub.sites.models import Site
from hub.sites.repository import SiteRepository
from storage.base import Stat, sha256_of
from storage.errors import StorageError

REASON = "rebuilt"
"""Why a study counts as complete, and why something lies at the desk, when nothing else is known."""

_HUB = ActorRef("system", "hub", "rebuild")
_OWN_STUDY = frozenset({"site", "site_name", "study_uid"})


class CatalogueNotEmpty(Conflict):
    """The catalogue holds objects already: use --merge to add only what is missing."""


@dataclass(slots=True)
class Summary:
    """What a rebuild has found and done."""

    studies: int = 0
    instances: int = 0
    recordings: int = 0
    known: int = 0
    """Files that the catalogue had already, second copies of packed files among them."""
    moved: int = 0
    """Rows that pointed at an object that is gone, and point at another one with the same bytes now."""
    quarantined: int = 0
    conflicts: int = 0
    """Files that are at the desk because of another file's UID or patient."""
    exams: int = 0
    """Studies that go to the worklist."""
    reports: int = 0
    """Signed documents in the store; nothing is made of them."""
    sites_made: list[str] = field(default_factory=list)
    devices_made: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Keys of what could not be used, with the reason."""


def rebuild(
    context: Context,
    *,
    merge: bool = False,
    dry_run: bool = False,
    worklist: bool = True,
    progress: Callable[[Summary], None] = lambda _summary: None,
) -> Summary:
    """Enter everything that lies in the object store.

    Parameters
    ----------
    merge : bool
        Work on a catalogue that holds something, adding what it lacks.
    dry_run : bool
        Only read and count; conflicts among files show in a real run alone.
    worklist : bool
        Whether studies become exams that wait to be read. Never those whose accession
        number is that of a signed document in the store.
    progress : callable
        Told after each study.

    Raises
    ------
    CatalogueNotEmpty
        There are objects in the catalogue, and it is not to be merged.
    """
    with context.db.reading() as session:
        if not merge and not PackRepository(session).is_empty():
            raise CatalogueNotEmpty
    return _Rebuild(context, dry_run, worklist, progress).run()


class _Rebuild:
    def __init__(
        self, context: Context, dry_run: bool, worklist: bool, progress: Callable[[Summary], None]
    ) -> None:
        self._context = context
        self._dry_run = dry_run
        self._worklist = worklist
        self._progress = progress
        self._summary = Summary()
        self._reported: set[str] = set()

    def run(self) -> Summary:
        store, summary = self._context.store, self._summary
        for document in store.list(keys.REPORTS):
            summary.reports += 1
            self._reported.add(document.key.split("/")[1])
        for study in studies(store):
            summary.problems += study.problems
            self._tried(f"{study.site_code}/{study.study_uid}", self._study, study)
        if not self._dry_run:
            for note in store.list(keys.NOTES):
                self._tried(note.key, self._noted, note.key)
        for site_code, digest_start, objects in recordings(store):
            self._tried(objects[0].key, self._bare_recording, site_code, digest_start, objects)
        for kept in store.list(keys.QUARANTINE):
            self._tried(kept.key, self._quarantined, kept)
        return summary

    def _tried(self, key: str, work: Callable[..., None], *given: Any) -> None:
        """Do a part of the work; what is wrong with it is listed and stops nothing.

        A store or database that does not answer is no fault of an object and stops everything.
        """
        try:
            work(*given)
        except UNUSABLE as error:
            if passes(error):
                raise
            self._summary.problems.append((key, reason_of(error)))
        self._progress(self._summary)

    def _study(self, found: FoundStudy) -> None:
        if not found.files:
            return
        if self._dry_run:
            self._summary.studies += 1
            self._summary.instances += len({(f.header.sop_uid, f.place.sha256) for f in found.files})
            return
        # Those that a note or manifest names were filed once; what was set apart came after them.
        found.files.sort(key=lambda file: (not file.facts, file.received_at))
        with self._context.db.transaction() as session:
            site = self._site(session, found.site_code, found.note)
            catalogue_of = CatalogueRepository(session)
            fresh = catalogue_of.study_of_site(site.id, found.study_uid) is None
            new = self._unknown(session, found)
            if new:
                self._enter(session, site, found, new)
            study = catalogue_of.study_of_site(site.id, found.study_uid)
            if study is None:
                return
            self._enter_packs(session, study, found)
            if new:
                self._summary.studies += fresh
                self._finish(session, study, found.note, fresh, [file.received_at for file in new])

    def _unknown(self, session: Session, found: FoundStudy) -> list[FoundFile]:
        """Return files that have no row; let rows whose object is gone point at files that are whole."""
        known = PackRepository(session).known_bytes(found.site_code, found.study_uid)
        whole = {(file.place.key, file.place.offset) for file in found.files}
        new: dict[tuple[str, str], FoundFile] = {}
        superseded = set()
        for file in found.files:
            name, place = (file.header.sop_uid, file.place.sha256), file.place
            row = known.get(name)
            if row is None and name not in new:
                new[name] = file
                continue
            self._summary.known += 1
            if row is not None and (row.storage_key, row.storage_offset) not in whole:
                row.storage_key, row.storage_offset = place.key, place.offset
                self._summary.moved += 1
            there = row.storage_key if row is not None else new[name].place.key
            if not place.packed and there != place.key:
                superseded.add(place.key)
        session.flush()
        ArrivalRepository(session).retire(superseded, self._context.clock() + KEPT_AFTER_MOVE)
        return list(new.values())

    def _enter(self, session: Session, site: Site, found: FoundStudy, files: Sequence[FoundFile]) -> None:
        """Enter files as if they came just now, then give the rows what reception does not know."""
        arrivals = [self._arrival(session, site, file) for file in files]
        last = max(file.received_at for file in files)
        settings = self._context.settings
        outcomes = register_many(session, arrivals, settings=settings, now=last, announced=False)
        rows = PackRepository(session).known_bytes(found.site_code, found.study_uid)
        stored = [file for file, outcome in zip(files, outcomes, strict=True) if outcome is Outcome.STORED]
        for file in stored:
            row = rows[file.header.sop_uid, file.place.sha256]
            row.storage_offset, row.received_at = file.place.offset, file.received_at
        session.flush()
        for at, outcome in enumerate(outcomes):
            if outcome is Outcome.DIFFERENT:
                outcomes[at] = enter_within(
                    self._context, session, arrivals[at], now=files[at].received_at, announced=False
                )
        for file in stored:
            rows[file.header.sop_uid, file.place.sha256].resends = file.facts.get("resends", 0)
        self._summary.instances += outcomes.count(Outcome.STORED)
        self._summary.known += outcomes.count(Outcome.RESENT)
        self._summary.conflicts += outcomes.count(Outcome.CONFLICT) + outcomes.count(Outcome.OTHER_PATIENT)

    def _arrival(self, session: Session, site: Site, file: FoundFile) -> Arrival:
        place, device_id = file.place, self._device(session, site, file)
        address = str(file.facts.get("address", ""))
        return Arrival(
            facts_of(file.header),
            StoredFile(place.key, place.size, place.sha256),
            file.start,
            Origin(site.id, _HUB, address, device_id, file.calling_ae),
            same_patient=bool(file.facts),
        )

    def _enter_packs(self, session: Session, study: Study, found: FoundStudy) -> None:
        repository = PackRepository(session)
        for key, (size, sha256) in found.packs.items():
            inside = len(repository.in_pack(study.id, key))
            if inside and repository.pack(key) is None:
                session.add(
                    Pack(
                        study_id=study.id,
                        key=key,
                        size=size,
                        sha256=sha256,
                        n_objects=inside,
                        created_at=self._context.clock(),
                    )
                )

    def _finish(
        self, session: Session, study: Study, note: Facts, fresh: bool, arrived: Sequence[datetime]
    ) -> None:
        """Give a study what its note says; send it to the worklist or let it count as complete."""
        if fresh:
            study.first_received_at, study.last_received_at = min(arrived), max(arrived)
            # What is derived from the name is set with it, so it is not what the note says until after.
            stated = sorted(note.get("study", {}).items(), key=lambda item: item[0] != "patient_name")
            for name, value in stated:
                if name not in _OWN_STUDY and hasattr(Study, name):
                    moment = name.endswith("_at") and value is not None
                    setattr(study, name, datetime.fromisoformat(value) if moment else value)
        reason, at = study.settle_reason or REASON, study.settled_at or study.last_received_at
        if self._worklist and study.accession not in self._reported:
            self._summary.exams += 1
            catalogue.settle(session, study, reason=reason, now=at)
        else:
            study.settled_at, study.settle_reason = at, reason

    def _site(self, session: Session, code: str, note: Facts) -> Site:
        site = SiteRepository(session).site_by_code(code)
        if site is None:
            name = note.get("study", {}).get("site_name") or code
            site = sites.add_site(session, code, name, now=self._context.clock(), actor=_HUB)
            self._summary.sites_made = sorted({*self._summary.sites_made, code})
        return site

    def _device(self, session: Session, site: Site, file: FoundFile) -> str | None:
        """Return the device that sent a file; one that was lost is made again, blocked until looked at."""
        stated: Facts = file.facts.get("device") or {}
        title = str(stated.get("ae_title", file.calling_ae))
        known = PackRepository(session).device(site.id, title, stated.get("address")) if title else None
        if known is not None or not stated:
            return known.id if known else None
        rules: Any = {name: stated.get(name) for name in OF_DEVICE if name != "ae_title"}
        device = sites.add_device(session, site, title, now=self._context.clock(), actor=_HUB, **rules)
        sites.set_device_active(session, device.id, active=False, actor=_HUB)
        self._summary.devices_made = sorted({*self._summary.devices_made, f"{site.code} {title}"})
        return device.id

    def _noted(self, key: str) -> None:
        """Enter the ECGs that a note tells of, if their files are there; miss what has none."""
        site_code, study_uid = keys.site_and_study(key)
        note = read_note(self._context.store, site_code, study_uid)
        with self._context.db.reading() as session:
            if note.get("instances") and not PackRepository(session).known_bytes(site_code, study_uid):
                self._summary.problems.append((f"{site_code}/{study_uid}", "missing"))
        for facts in note.get("recordings", []):
            lost = [file["key"] for file in facts["files"] if not self._is_there(file)]
            self._summary.problems += [(key, "missing") for key in lost]
            if not lost:
                new = noted_recording(study_uid, note["study"], facts)
                self._recording(site_code, new, datetime.fromisoformat(facts["received_at"]), note, facts)

    def _is_there(self, file: Facts) -> bool:
        place = Place(file["key"], 0, file["size"], file["sha256"])
        try:
            return sha256_at(self._context.store, place) == place.sha256
        except StorageError:
            return False

    def _bare_recording(self, site_code: str, digest_start: str, objects: Sequence[Stat]) -> None:
        """Enter an ECG of which only the files are left: with the device's own words, and no sender's."""
        if self._dry_run:
            self._summary.recordings += 1
            return
        with self._context.db.reading() as session:
            if PackRepository(session).has_recording(site_code, digest_start):
                return
        files = open_recording(self._context.store, objects)
        kept = [
            StoredFile(found.key, found.size, hashlib.sha256(content).hexdigest(), name)
            for (name, content), found in zip(files.items(), objects, strict=True)
        ]
        received_at = max(found.modified for found in objects)
        try:
            new = read_recording(files, kept, self._context.settings.zone)
        except HubError as error:
            self._to_the_desk("ecg", kept, received_at, reason_of(error))
            return
        self._recording(site_code, new, received_at, {}, {})

    def _recording(
        self, site_code: str, new: NewRecording, received_at: datetime, note: Facts, facts: Facts
    ) -> None:
        with self._context.db.transaction() as session:
            site = self._site(session, site_code, note)
            if not new.study_uid:
                new = replace(new, study_uid=study_uid_of(site.id, new.digest))
            fresh = CatalogueRepository(session).study_of_site(site.id, new.study_uid) is None
            origin = Origin(site.id, _HUB, "")
            if CatalogueRepository(session).recording_by_digest(site.id, new.digest) is not None:
                self._summary.known += 1
                return
            recording, study, _ = catalogue.register_recording(
                session, new, origin, settings=self._context.settings, now=received_at, announced=False
            )
            recording.resends, recording.sent_by = facts.get("resends", 0), facts.get("sent_by", "")
            self._summary.recordings += 1
            self._summary.studies += fresh
            self._finish(session, study, note, fresh, [received_at])

    def _quarantined(self, found: Stat) -> None:
        """Put bytes that lay at the desk there again, unless they were filed since."""
        if self._dry_run:
            self._summary.quarantined += 1
            return
        sha256 = sha256_of(self._context.store, found.key)
        file = StoredFile(found.key, found.size, sha256)
        if sha256 not in found.key:
            self._summary.problems.append((found.key, "damaged"))
            return
        try:
            with open_place(self._context.store, Place(found.key, 0, found.size, sha256)) as stream:
                meta, _ = split(stream)
        except HubError:
            self._to_the_desk("ecg", [file], found.modified, "")
            return
        with self._context.db.reading() as session:
            if PackRepository(session).has_bytes(meta.sop_instance, sha256):
                self._summary.known += 1
                return
        self._to_the_desk("dicom", [file], found.modified, "", meta)

    def _to_the_desk(
        self, kind: str, files: list[StoredFile], at: datetime, detail: str, meta: FileMeta | None = None
    ) -> None:
        with self._context.db.transaction() as session:
            catalogue.quarantine(
                session,
                kind=kind,
                reason=REASON,
                detail=detail,
                files=files,
                origin=None,
                now=at,
                sop_uid=meta.sop_instance if meta else "",
                transfer_syntax=meta.transfer_syntax if meta else "",
                calling_ae=meta.source_ae if meta else "",
            )
        self._summary.quarantined += 1
