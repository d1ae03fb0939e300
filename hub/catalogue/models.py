"""Where every received byte lies: study, series, instance, recording, quarantine."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, event
from sqlalchemy.engine.interfaces import ExecutionContext
from sqlalchemy.orm import Mapped, mapped_column

from hub.db.base import Base, HasId
from hub.kit.people import searchable_name
from hub.kit.pinyin import name_by_sound
from hub.kit.text import person_name

PINYIN_MARK = "~"
"""Begins a `Study.name_alias` that nobody wrote: only a fuzzy search heeds it."""

BY_PREFIX = "text_pattern_ops"
"""PostgreSQL's kind of index that serves LIKE 'prefix%' in every collation; SQLite's all do."""


def _name_key(context: ExecutionContext) -> str:
    """Return the searchable form of a new row's patient name."""
    given = context.get_current_parameters()  # type: ignore[attr-defined]
    return searchable_name(given.get("patient_name") or "")


def _name_alias(context: ExecutionContext) -> str:
    """Return the searchable form in letters of a new row's name that is shown in ideographs."""
    given = context.get_current_parameters()  # type: ignore[attr-defined]
    shown, raw = given.get("patient_name") or "", given.get("name_raw") or b""
    if b"=" in raw:
        name = person_name(raw, given.get("declared_charset") or "", given.get("name_charset") or None)
        if name.display == shown and name.ideographic and name.alphabetic:
            return searchable_name(name.alphabetic)
    return alias_by_sound(shown)


def alias_by_sound(name: str) -> str:
    """Return the alias of a name whose form in letters nobody wrote; empty when it has letters."""
    sound = name_by_sound(name)
    return f"{PINYIN_MARK}{sound}"[:200] if sound else ""


class Study(HasId, Base):
    """A study of one site, with the patient as the objects themselves name them."""

    __tablename__ = "study"
    __table_args__ = (
        UniqueConstraint("site_id", "study_uid"),
        Index("ix_study_newest", "study_date", "study_time", "id"),
        Index("ix_study_site_newest", "site_id", "study_date", "study_time", "id"),
        Index("ix_study_site_local", "site_id", "local_id"),
        Index("ix_study_local_id", "local_id", postgresql_ops={"local_id": BY_PREFIX}),
        Index("ix_study_name_key", "name_key", postgresql_ops={"name_key": BY_PREFIX}),
        Index("ix_study_name_alias", "name_alias", postgresql_ops={"name_alias": BY_PREFIX}),
        Index("ix_study_accession", "accession", postgresql_ops={"accession": BY_PREFIX}),
    )

    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"))
    study_uid: Mapped[str] = mapped_column(String(64), index=True)
    local_id: Mapped[str] = mapped_column(String(64), default="")
    patient_name: Mapped[str] = mapped_column(String(200), default="")
    name_key: Mapped[str] = mapped_column(String(200), default=_name_key)
    """`patient_name` as it is searched: one case, one width, single spaces."""
    name_alias: Mapped[str] = mapped_column(String(200), default=_name_alias)
    """The alphabetic form in the same way, of a name that is shown in ideographs; or how that sounds."""
    name_charset: Mapped[str] = mapped_column(String(32), default="")
    """Character set in which the name was read; it may differ from the declared one."""
    name_confidence: Mapped[float] = mapped_column(default=1.0)
    name_raw: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    """Patient Name as received, undecoded, so that another reading of it stays possible."""
    declared_charset: Mapped[str] = mapped_column(String(64), default="")
    """Specific Character Set of the first object, as it states it."""
    sex: Mapped[str] = mapped_column(String(1), default="")
    birth_date: Mapped[str] = mapped_column(String(8), default="")
    accession: Mapped[str] = mapped_column(String(64), default="")
    study_number: Mapped[str] = mapped_column(String(64), default="")
    """Study ID (0020,0010): the device's own number."""
    referring_name: Mapped[str] = mapped_column(String(200), default="")
    study_date: Mapped[str] = mapped_column(String(8), default="")
    study_time: Mapped[str] = mapped_column(String(16), default="")
    description: Mapped[str] = mapped_column(String(200), default="")
    modality: Mapped[str] = mapped_column(String(16), default="")
    """Modality of the first object; ECG for every ECG, whatever its file format."""
    body_part: Mapped[str] = mapped_column(String(64), default="")
    clinical_question: Mapped[str] = mapped_column(Text, default="")
    """As typed by the sender of an upload; orders carry their own."""
    urgency: Mapped[str] = mapped_column(String(16), default="")
    """As marked by the sender of an upload; empty when the wire carries no such mark."""
    chest_pain: Mapped[bool] = mapped_column(default=False)
    """The sender of an upload says that the patient has pain in the chest."""
    onset_at: Mapped[datetime | None]
    """When that pain began, as the sender states it."""
    n_series: Mapped[int] = mapped_column(default=0)
    n_instances: Mapped[int] = mapped_column(default=0)
    n_recordings: Mapped[int] = mapped_column(default=0)
    first_received_at: Mapped[datetime]
    last_received_at: Mapped[datetime]
    settle_due_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    settle_reason: Mapped[str] = mapped_column(String(32), default="")


@event.listens_for(Study.patient_name, "set")
def _name_changed(study: Study, name: str, _before: object, _initiator: object) -> None:
    """Keep the searched form beside the shown one when a name is corrected."""
    study.name_key, study.name_alias = searchable_name(name), alias_by_sound(name)


class Series(HasId, Base):
    """A series within a study."""

    __tablename__ = "series"
    __table_args__ = (
        UniqueConstraint("study_id", "series_uid"),
        Index("ix_series_modality", "modality", "study_id"),
    )

    study_id: Mapped[str] = mapped_column(ForeignKey("study.id"))
    series_uid: Mapped[str] = mapped_column(String(64), index=True)
    modality: Mapped[str] = mapped_column(String(16), default="")
    number: Mapped[int | None]
    description: Mapped[str] = mapped_column(String(200), default="")
    body_part: Mapped[str] = mapped_column(String(64), default="")
    performed_date: Mapped[str] = mapped_column(String(8), default="")
    performed_time: Mapped[str] = mapped_column(String(16), default="")
    step_id: Mapped[str] = mapped_column(String(64), default="")
    """Scheduled Procedure Step ID of the first request that the object names."""
    procedure_id: Mapped[str] = mapped_column(String(64), default="")
    """Requested Procedure ID of the same."""
    n_instances: Mapped[int] = mapped_column(default=0)
    metadata_key: Mapped[str] = mapped_column(String(512), default="")
    """Stored DICOM JSON of the whole series; empty while objects may still come."""
    metadata_tag: Mapped[str] = mapped_column(String(64), default="")
    """SHA-256 of that object."""


class Instance(HasId, Base):
    """One SOP instance and where its bytes are."""

    __tablename__ = "instance"
    __table_args__ = (UniqueConstraint("series_id", "sop_uid"),)

    series_id: Mapped[str] = mapped_column(ForeignKey("series.id"))
    sop_uid: Mapped[str] = mapped_column(String(64), index=True)
    sop_class: Mapped[str] = mapped_column(String(64))
    transfer_syntax: Mapped[str] = mapped_column(String(64))
    number: Mapped[int | None]
    rows: Mapped[int] = mapped_column(default=0)
    columns: Mapped[int] = mapped_column(default=0)
    frames: Mapped[int] = mapped_column(default=1)
    storage_key: Mapped[str] = mapped_column(String(512))
    """The object that holds the file: the file itself, or a pack of many."""
    storage_offset: Mapped[int] = mapped_column(BigInteger, default=0)
    """Where the file begins in that object."""
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the stored file."""
    dataset_offset: Mapped[int]
    """Where the data set begins in the file, behind preamble and group 2."""
    device_id: Mapped[str | None] = mapped_column(ForeignKey("device.id"))
    calling_ae: Mapped[str] = mapped_column(String(64), default="")
    address: Mapped[str] = mapped_column(String(64), default="")
    received_at: Mapped[datetime]
    resends: Mapped[int] = mapped_column(default=0)
    """How often the same bytes came again."""


class Recording(HasId, Base):
    """An ECG that came as something other than DICOM: one or more files kept as sent."""

    __tablename__ = "recording"
    __table_args__ = (UniqueConstraint("study_id", "digest"),)

    study_id: Mapped[str] = mapped_column(ForeignKey("study.id"))
    digest: Mapped[str] = mapped_column(String(64), index=True)
    """SHA-256 over the names and SHA-256s of the files in order of name."""
    format: Mapped[str] = mapped_column(String(32))
    files: Mapped[list[Any]]
    """``{"name", "key", "size", "sha256"}`` of each file."""
    started_at: Mapped[datetime | None]
    rate_hz: Mapped[float]
    n_samples: Mapped[int]
    leads: Mapped[list[str]]
    warnings: Mapped[list[str]]
    received_at: Mapped[datetime]
    sent_by: Mapped[str] = mapped_column(String(64), default="")
    resends: Mapped[int] = mapped_column(default=0)


class Quarantined(HasId, Base):
    """Bytes that were kept but not shown to readers, with the reason, until a person decides."""

    __tablename__ = "quarantined"

    at: Mapped[datetime] = mapped_column(index=True)
    kind: Mapped[str] = mapped_column(String(16))
    """``dicom`` or ``ecg``."""
    reason: Mapped[str] = mapped_column(String(48))
    detail: Mapped[str] = mapped_column(String(500), default="")
    site_id: Mapped[str | None] = mapped_column(ForeignKey("site.id"))
    calling_ae: Mapped[str] = mapped_column(String(64), default="")
    address: Mapped[str] = mapped_column(String(64), default="")
    study_uid: Mapped[str] = mapped_column(String(64), default="")
    sop_uid: Mapped[str] = mapped_column(String(64), default="")
    transfer_syntax: Mapped[str] = mapped_column(String(64), default="")
    files: Mapped[list[Any]]
    """As in `Recording.files`."""
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[str | None] = mapped_column(String(26))
    resolution: Mapped[str] = mapped_column(String(32), default="")
    """What was decided; while `resolved_at` is empty, what one person proposes and another must confirm."""
    resolution_reason: Mapped[str] = mapped_column(String(500), default="")
    proposed_at: Mapped[datetime | None]
    proposed_by: Mapped[str | None] = mapped_column(String(26))


class Pack(HasId, Base):
    """One stored object that holds the files of many instances."""

    __tablename__ = "pack"

    study_id: Mapped[str] = mapped_column(ForeignKey("study.id"), index=True)
    key: Mapped[str] = mapped_column(String(512), unique=True)
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    n_objects: Mapped[int]
    created_at: Mapped[datetime]


class RetiredObject(HasId, Base):
    """A stored object that nothing points at any more; removed later, as a reader may be in it."""

    __tablename__ = "retired_object"

    key: Mapped[str] = mapped_column(String(512), unique=True)
    delete_after: Mapped[datetime] = mapped_column(index=True)


class NameCorrection(HasId, Base):
    """A person's decision how the name of a study's patient is read; it can be undone."""

    __tablename__ = "name_correction"

    study_id: Mapped[str] = mapped_column(ForeignKey("study.id"), index=True)
    at: Mapped[datetime]
    actor_id: Mapped[str] = mapped_column(String(26))
    actor_name: Mapped[str] = mapped_column(String(64))
    charset: Mapped[str] = mapped_column(String(32), default="")
    """Character set that was chosen; empty when the name was typed."""
    before: Mapped[str] = mapped_column(String(200))
    before_charset: Mapped[str] = mapped_column(String(32), default="")
    before_confidence: Mapped[float]
    after: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(String(500), default="")
    patient_id: Mapped[str | None] = mapped_column(ForeignKey("patient.id"))
    """Identity that had its name from these objects alone, and took the corrected one."""
    undone_at: Mapped[datetime | None]
    undone_by: Mapped[str] = mapped_column(String(64), default="")
