"""Entering received objects into the index, and telling when a study is complete."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, Self

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.service import ActorRef
from hub.audit.tags import Tag
from hub.catalogue.models import Quarantined, Recording, Study
from hub.catalogue.repository import CatalogueRepository
from hub.config import Settings
from hub.db.repository import insert_or_get
from hub.db.writing import Transaction, session_of
from hub.errors import Conflict, NotFound
from hub.jobs.queue import enqueue, gather
from hub.kit.text import UNSURE_BELOW
from hub.patients.service import Person, disagreements


@dataclass(frozen=True)
class InstanceFacts:
    """What the index needs to know of a DICOM object; texts are empty where it says nothing."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    local_id: str
    patient_name: str
    name_charset: str
    name_confidence: float
    sex: str
    birth_date: str
    accession: str
    study_date: str
    study_time: str
    study_description: str
    modality: str
    body_part: str
    series_number: int | None
    series_description: str
    instance_number: int | None
    rows: int
    columns: int
    frames: int
    clinical_question: str = ""
    """As typed by the sender of an upload."""
    urgency: str = ""
    """As marked by the sender of an upload."""
    chest_pain: bool = False
    onset_at: datetime | None = None
    """When the pain began, as its sender states it."""
    study_number: str = ""
    referring_name: str = ""
    performed_date: str = ""
    performed_time: str = ""
    step_id: str = ""
    procedure_id: str = ""
    declared_charset: str = ""
    """Specific Character Set as the object states it."""
    name_raw: bytes = b""
    """Patient Name as received, undecoded."""

    def of_sibling(self, sop_uid: str, instance_number: int | None) -> Self:
        """Return the facts of an object that differs in nothing else."""
        # `dataclasses.replace` sets each of forty fields anew: ten times as long, for each slice
        sibling = object.__new__(type(self))
        vars(sibling).update(vars(self), sop_uid=sop_uid, instance_number=instance_number)
        return sibling


@dataclass(frozen=True)
class StoredFile:
    """A file that lies in the object store, durable."""

    key: str
    size: int
    sha256: str
    name: str = ""

    def as_json(self) -> dict[str, str | int]:
        """Return the form kept in rows that point at several files."""
        return {"name": self.name, "key": self.key, "size": self.size, "sha256": self.sha256}


@dataclass(frozen=True)
class Origin:
    """Where something came from."""

    site_id: str
    actor: ActorRef
    address: str
    device_id: str | None = None
    calling_ae: str = ""


REASONS = frozenset({"sent", "mpps", "views", "commitment"})
"""Why a study can be complete before it has been quiet."""


class Outcome(StrEnum):
    """What became of a received object."""

    STORED = "stored"
    RESENT = "resent"
    """The very same data set was here already."""
    DIFFERENT = "different"
    """Another file is here under its UID; the data sets must be compared before it can be entered."""
    CONFLICT = "conflict"
    """Other bytes under a UID that is taken: the first stays, these are quarantined."""
    OTHER_PATIENT = "other_patient"
    """The study holds another patient's objects: those stay, this one is quarantined."""


class NamesPatient(Protocol):
    """A study as far as its patient goes."""

    @property
    def local_id(self) -> str:
        """Number of the patient at the site."""

    @property
    def patient_name(self) -> str:
        """Name as it is shown."""

    @property
    def name_confidence(self) -> float:
        """How surely the name was read, 0 to 1."""


def other_patient(study: NamesPatient, facts: InstanceFacts) -> bool:
    """Tell whether an object names another patient than the study it claims to belong to.

    Another patient number does; so does another name, unless one of the two could not be
    read for sure or they are in different scripts. What is not stated contradicts nothing.
    """
    sure = min(study.name_confidence, facts.name_confidence) >= UNSURE_BELOW
    known = Person(study.local_id, study.patient_name if sure else "")
    seen = Person(facts.local_id[:64], facts.patient_name[:200] if sure else "")
    return not {"id", "name"}.isdisjoint(disagreements(known, seen))


def study_modality(modality: str) -> str:
    """Return the modality under which the worklist knows a study; all ECG objects are ECG."""
    return "ECG" if modality in {"ECG", "HD", "EPS"} else modality[:16] or "OT"


_URGENCY_ORDER = ("critical", "urgent", "routine", "")


@dataclass(frozen=True)
class Said:
    """What the sender of an upload said of the patient beside the files."""

    clinical_question: str = ""
    urgency: str = ""
    chest_pain: bool = False
    onset_at: datetime | None = None


@dataclass(frozen=True)
class NewRecording:
    """An ECG read from files, ready to be entered."""

    study_uid: str
    digest: str
    format: str
    files: tuple[StoredFile, ...]
    started_at: datetime | None
    rate_hz: float
    n_samples: int
    leads: tuple[str, ...]
    warnings: tuple[str, ...]
    local_id: str
    patient_name: str
    sex: str
    birth_date: str
    accession: str = ""
    clinical_question: str = ""
    urgency: str = ""
    chest_pain: bool = False
    onset_at: datetime | None = None


def register_recording(
    session: Session,
    new: NewRecording,
    origin: Origin,
    *,
    settings: Settings,
    now: datetime,
    announced: bool = True,
    opens: bool = False,
) -> tuple[Recording, Study, Outcome]:
    """Enter one ECG recording whose files are already durable; a re-send is found by its bytes.

    Of two transactions that enter the same bytes under the same study UID at once, one makes
    the rows and the other finds them. With `announced` False nobody is told of the study. A
    caller that `opens` the exam of a settled study does so in this transaction, without a job.
    """
    known = CatalogueRepository(session).recording_by_digest(origin.site_id, new.digest)
    if known is not None:
        return _resent(session, known, origin)
    started = (new.started_at or now).astimezone(settings.zone)
    study, new_study = insert_or_get(
        session,
        Study,
        {"site_id": origin.site_id, "study_uid": new.study_uid},
        {
            "local_id": new.local_id[:64],
            "patient_name": new.patient_name[:200],
            "sex": new.sex[:1],
            "birth_date": new.birth_date[:8],
            "accession": new.accession[:64],
            "study_date": f"{started:%Y%m%d}",
            "study_time": f"{started:%H%M%S}",
            "modality": "ECG",
            "clinical_question": new.clinical_question,
            "urgency": new.urgency,
            "chest_pain": new.chest_pain,
            "onset_at": new.onset_at,
            "first_received_at": now,
            "last_received_at": now,
            "settle_due_at": now + timedelta(seconds=settings.settle_for("ECG")),
        },
    )
    recording, new_recording = insert_or_get(
        session,
        Recording,
        {"study_id": study.id, "digest": new.digest},
        {
            "format": new.format,
            "files": [file.as_json() for file in new.files],
            "started_at": new.started_at,
            "rate_hz": new.rate_hz,
            "n_samples": new.n_samples,
            "leads": list(new.leads),
            "warnings": list(new.warnings),
            "received_at": now,
            "sent_by": origin.actor.label[:64],
        },
    )
    if not new_recording:
        return _resent(session, recording, origin)
    if not new_study:
        say_more(study, Said(new.clinical_question, new.urgency, new.chest_pain, new.onset_at))
    study.n_recordings += 1
    _audit(session, Tag.RECORDING_RECEIVE, origin, recording.id, digest=new.digest)
    if announced:
        _arrived(session, study, first=new_study, settings=settings, now=now, opens=opens)
    return recording, study, Outcome.STORED


def more_urgent(one: str, other: str) -> bool:
    """Tell whether a sender's mark is more urgent than another."""
    return _URGENCY_ORDER.index(one) < _URGENCY_ORDER.index(other)


def say_more(study: Study, said: Said) -> None:
    """Note what the sender of further objects of a study says; nothing that was said before is lost.

    The more urgent of two marks holds, questions stand one below the other, and of two times
    at which a pain began the earlier is taken. Safe to run twice.
    """
    asked = [study.clinical_question, said.clinical_question]
    if said.clinical_question not in study.clinical_question:
        study.clinical_question = "\n".join(text for text in asked if text)
    study.urgency = said.urgency if more_urgent(said.urgency, study.urgency) else study.urgency
    study.chest_pain = study.chest_pain or said.chest_pain
    onsets = [moment for moment in (study.onset_at, said.onset_at) if moment]
    study.onset_at = min(onsets, default=None)


def _resent(session: Session, known: Recording, origin: Origin) -> tuple[Recording, Study, Outcome]:
    known.resends += 1
    _audit(session, Tag.INSTANCE_DUPLICATE, origin, known.id)
    study = CatalogueRepository(session).study(known.study_id)
    assert study is not None  # the foreign key says so
    return known, study, Outcome.RESENT


def _arrived(
    session: Session, study: Study, *, first: bool, settings: Settings, now: datetime, opens: bool
) -> None:
    """Push back the quiet timer of a study, and announce it."""
    again = study.settled_at is not None
    seconds = settings.settle_for(study.modality)
    study.last_received_at = now
    study.settle_due_at = now + timedelta(seconds=seconds)
    study.settled_at, study.settle_reason = None, ""
    session.flush()
    announce(session, study.id, first=first or again, seconds=seconds, now=now, opens=opens)


def announce(
    at: Transaction,
    study_id: str,
    *,
    first: bool,
    seconds: float,
    now: datetime,
    opens: bool = False,
) -> None:
    """Tell the worklist of a study it did not know (`first`) or thought complete.

    One settle job waits per study (its key is the study): it finds the timer moved
    and waits again, so a thousand slices make one job and not a thousand.
    """
    if seconds == 0:
        session = session_of(at)
        # Nothing to wait for: one hop through the queue less between a chest pain and its reader.
        study = CatalogueRepository(session).lock_study(study_id)
        assert study is not None  # the caller has just written to it
        settle(session, study, reason="quiet", now=now, opens=opens)
    elif first:
        session = session_of(at)
        enqueue(session, "worklist.receive", study_id=study_id)
        enqueue(session, "catalogue.settle", delay_seconds=seconds, once_key=study_id, study_id=study_id)


def settle_now(session: Session, study_id: str, *, now: datetime) -> None:
    """Let a study count as complete at once: the technician says that everything was sent."""
    complete_by(session, study_id, "sent", now=now)


def complete_by(session: Session, study_id: str, reason: str, *, now: datetime) -> bool:
    """Let a study count as complete for a reason other than that it has gone quiet.

    Parameters
    ----------
    reason : str
        ``sent`` (the technician says so), ``mpps`` (all that a completed procedure step
        lists is here), ``views`` (as many images as the order expects) or ``commitment``
        (the device has asked for a commitment for all of them).

    Returns
    -------
    bool
        Whether this was what made it complete; False when it was complete already. Of
        several reasons at once the first wins, and it alone is recorded and audited. An
        object that comes later opens the study again.

    Raises
    ------
    NotFound
        There is no such study.
    """
    if reason not in REASONS:
        raise ValueError(f"no reason for a study to be complete: {reason}")
    study = CatalogueRepository(session).lock_study(study_id)
    if study is None:
        raise NotFound("no such study")
    if study.settled_at is not None:
        return False
    settle(session, study, reason=reason, now=now)
    return True


def study_holds(session: Session, site_id: str, sop_uids: Collection[str]) -> set[str]:
    """Return which of these SOP instance UIDs are catalogued at a site, and so durable."""
    return CatalogueRepository(session).held(site_id, sop_uids)


def settle(session: Session, study: Study, *, reason: str, now: datetime, opens: bool = False) -> None:
    """Mark a study complete and tell the worklist, in the caller's transaction.

    The caller that `opens` the exam by itself needs nobody told.
    """
    study.settled_at, study.settle_reason = now, reason
    audit.record(
        session,
        Tag.STUDY_SETTLE,
        actor=ActorRef("system", "hub", "hub"),
        subject_kind="study",
        subject_id=study.id,
        site_id=study.site_id,
        reason=reason,
        instances=study.n_instances,
    )
    if not opens:
        enqueue(session, "worklist.open_exam", study_id=study.id, reason=reason)
    if study.n_instances:
        enqueue(session, "dicom.prepare_study", once_key=study.id, study_id=study.id)
        enqueue(session, "dicom.forward_study", once_key=study.id, study_id=study.id)
    else:
        # No DICOM objects, nothing to prepare: but the note beside the recordings is all that tells,
        # without the database, what their sender said of the patient.
        gather(session, "catalogue.note_studies", "study_ids", study.id)


def quarantine(
    session: Session,
    *,
    kind: str,
    reason: str,
    files: list[StoredFile],
    origin: Origin | None,
    now: datetime,
    detail: str = "",
    study_uid: str = "",
    sop_uid: str = "",
    transfer_syntax: str = "",
    calling_ae: str = "",
    address: str = "",
) -> Quarantined:
    """Keep bytes at the desk, with the reason; the same bytes for the same reason are kept once."""
    if len(files) == 1:
        known = CatalogueRepository(session).same_quarantined(files[0].sha256, reason, sop_uid[:64])
        if known is not None:
            return known
    item = Quarantined(
        at=now,
        kind=kind,
        reason=reason,
        detail=detail[:500],
        site_id=origin.site_id if origin else None,
        calling_ae=(origin.calling_ae if origin else calling_ae)[:64],
        address=(origin.address if origin else address)[:64],
        study_uid=study_uid[:64],
        sop_uid=sop_uid[:64],
        transfer_syntax=transfer_syntax[:64],
        files=[file.as_json() for file in files],
    )
    session.add(item)
    session.flush()
    audit.record(
        session,
        Tag.QUARANTINE_KEEP,
        actor=origin.actor if origin else ActorRef("device", "", calling_ae),
        subject_kind="quarantined",
        subject_id=item.id,
        site_id=item.site_id,
        reason=reason,
    )
    return item


def resolve_quarantined(
    session: Session, item_id: str, *, resolution: str, reason: str, now: datetime, actor: ActorRef
) -> Quarantined:
    """Close a desk item by a person's decision; its bytes stay where they are."""
    item = CatalogueRepository(session).quarantined(item_id)
    if item is None:
        raise NotFound("no such item at the desk")
    if item.resolved_at is not None:
        raise Conflict("somebody has decided this already")
    item.resolved_at, item.resolved_by = now, actor.id
    item.resolution, item.resolution_reason = resolution, reason[:500]
    audit.record(
        session,
        Tag.QUARANTINE_RESOLVE,
        actor=actor,
        subject_kind="quarantined",
        subject_id=item.id,
        site_id=item.site_id,
        resolution=resolution,
    )
    return item


def _audit(session: Session, tag: Tag, origin: Origin, subject_id: str, **facts: str) -> None:
    audit.record(
        session,
        tag,
        actor=origin.actor,
        subject_kind="recording" if tag is Tag.RECORDING_RECEIVE else "instance",
        subject_id=subject_id,
        site_id=origin.site_id,
        address=origin.address,
        **facts,
    )
