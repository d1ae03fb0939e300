"""Orders, exams and the timeline of each exam."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from hub.db.base import Base, HasId
from hub.db.guards import guard


class Order(HasId, Base):
    """What a township doctor asks for."""

    __tablename__ = "exam_order"
    __table_args__ = (UniqueConstraint("site_id", "accession"),)

    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"))
    patient_id: Mapped[str] = mapped_column(ForeignKey("patient.id"), index=True)
    accession: Mapped[str] = mapped_column(String(16))
    study_uid: Mapped[str] = mapped_column(String(64), index=True)
    """Study Instance UID offered to the device by the worklist."""
    modality: Mapped[str] = mapped_column(String(16))
    body_part: Mapped[str] = mapped_column(String(64), default="")
    clinical_question: Mapped[str] = mapped_column(Text, default="")
    urgency: Mapped[str] = mapped_column(String(16))
    ordered_by: Mapped[str] = mapped_column(String(26))
    ordered_by_name: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    scheduled_at: Mapped[datetime | None]
    """When the exam is to be taken; none means as soon as the patient comes."""
    station_ae: Mapped[str] = mapped_column(String(16), default="")
    """Device that is to take it; empty means any of the site's devices of that modality."""
    expected_objects: Mapped[int | None]
    """How many images the exam consists of (a chest in two views: 2), when that is known."""


class AccessionCounter(Base):
    """The last accession number given out for a site on a day."""

    __tablename__ = "accession_counter"

    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"), primary_key=True)
    day: Mapped[str] = mapped_column(String(8), primary_key=True)
    last: Mapped[int] = mapped_column(default=0)


class Exam(HasId, Base):
    """One exam from order to confirmation. Its state changes through `worklist.service.advance` only."""

    __tablename__ = "exam"
    __table_args__ = (
        Index("ix_exam_worklist", "state", "priority", "due_at"),
        Index("ix_exam_site", "site_id", "state", "created_at"),
    )

    number: Mapped[str] = mapped_column(String(24), unique=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"))
    patient_id: Mapped[str | None] = mapped_column(ForeignKey("patient.id"), index=True)
    order_id: Mapped[str | None] = mapped_column(ForeignKey("exam_order.id"), unique=True)
    candidate_order_id: Mapped[str | None] = mapped_column(ForeignKey("exam_order.id"))
    """The order whose number the objects carry although they contradict it."""
    study_id: Mapped[str | None] = mapped_column(ForeignKey("study.id"), unique=True)
    modality: Mapped[str] = mapped_column(String(16))
    body_part: Mapped[str] = mapped_column(String(64), default="")
    state: Mapped[str] = mapped_column(String(16))
    urgency: Mapped[str] = mapped_column(String(16), default="routine")
    priority: Mapped[int] = mapped_column(default=2)
    """0 critical, 1 urgent, 2 routine: the first key of the worklist's order."""
    chest_pain: Mapped[bool] = mapped_column(default=False)
    """A person says that the patient has pain in the chest: read before all others of its class."""
    onset_at: Mapped[datetime | None]
    """When that pain began, as told."""
    hint_level: Mapped[str] = mapped_column(String(8), default="")
    """The most serious level of the machine's hints on its ECGs: critical, urgent, note, or empty."""
    hint_rules: Mapped[list[str]] = mapped_column(default=list)
    """Rules of the hints of that level."""
    hint_dismissed_at: Mapped[datetime | None]
    """Since when the hints do not order the worklist any more: a reader has looked and said so."""
    hint_dismissed_by: Mapped[str] = mapped_column(String(64), default="")
    ecg_verdict: Mapped[str] = mapped_column(String(8), default="")
    """Quality of its latest ECG: good, usable or repeat; ``failed`` when it could not be analysed."""
    due_at: Mapped[datetime | None]
    unordered: Mapped[bool] = mapped_column(default=False)
    """Objects came without any order."""
    conflicts: Mapped[list[str]]
    """Fields in which objects and order disagree: name, name_script, id, sex."""
    late_objects: Mapped[int] = mapped_column(default=0)
    """Objects that came after a reader had begun; shown until a person has looked."""
    created_at: Mapped[datetime]
    received_at: Mapped[datetime | None]
    complete_at: Mapped[datetime | None]
    """First time that everything was in; the clock to the report keeps this start."""
    owner_id: Mapped[str | None] = mapped_column(ForeignKey("user_account.id"))
    owner_name: Mapped[str] = mapped_column(String(64), default="")
    lease_until: Mapped[datetime | None] = mapped_column(index=True)
    writer_id: Mapped[str | None] = mapped_column(ForeignKey("user_account.id"))
    signed_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    acked_at: Mapped[datetime | None]
    acked_by: Mapped[str] = mapped_column(String(64), default="")
    reject_code: Mapped[str] = mapped_column(String(32), default="")
    reject_text: Mapped[str] = mapped_column(String(500), default="")


class ExamStep(HasId, Base):
    """One step of an exam's timeline; rows are only added."""

    __tablename__ = "exam_step"

    exam_id: Mapped[str] = mapped_column(ForeignKey("exam.id"), index=True)
    at: Mapped[datetime]
    event: Mapped[str] = mapped_column(String(16))
    from_state: Mapped[str | None] = mapped_column(String(16))
    to_state: Mapped[str] = mapped_column(String(16))
    actor_kind: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[str] = mapped_column(String(26))
    actor_name: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(500), default="")


class ProcedureStep(HasId, Base):
    """What a device reports of an exam it takes (modality performed procedure step, PS3.4 annex F)."""

    __tablename__ = "procedure_step"
    __table_args__ = (UniqueConstraint("site_id", "sop_uid"),)

    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"))
    device_id: Mapped[str] = mapped_column(ForeignKey("device.id"))
    sop_uid: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    """``in_progress``, ``completed`` or ``discontinued``."""
    order_id: Mapped[str | None] = mapped_column(ForeignKey("exam_order.id"), index=True)
    study_uid: Mapped[str] = mapped_column(String(64), default="", index=True)
    accession: Mapped[str] = mapped_column(String(64), default="")
    local_id: Mapped[str] = mapped_column(String(64), default="")
    modality: Mapped[str] = mapped_column(String(16), default="")
    objects: Mapped[list[Any]]
    """``[series UID, SOP class UID, SOP instance UID]`` of each object it says it made."""
    attributes: Mapped[dict[str, Any]]
    """DICOM JSON of everything that was reported."""
    received_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class EcgAnalysis(HasId, Base):
    """What one version of the engine said of one ECG; a later version adds a row and changes none."""

    __tablename__ = "ecg_analysis"
    __table_args__ = (UniqueConstraint("source_id", "engine", "profile"),)

    study_id: Mapped[str] = mapped_column(ForeignKey("study.id"), index=True)
    source_id: Mapped[str] = mapped_column(String(26))
    """Row id of the recording or of the DICOM instance."""
    engine: Mapped[str] = mapped_column(String(64))
    profile: Mapped[str] = mapped_column(String(64))
    """List of critical values in force."""
    created_at: Mapped[datetime]
    error: Mapped[str] = mapped_column(String(64), default="")
    """Why it could not be analysed, by the name of the error; then there is no document."""
    verdict: Mapped[str] = mapped_column(String(8), default="")
    hint_level: Mapped[str] = mapped_column(String(8), default="")
    hint_rules: Mapped[list[str]]
    """Rules of the hints of that level."""
    hr_bpm: Mapped[float | None]
    qrs_ms: Mapped[float | None]
    qtc_ms: Mapped[float | None]
    """By Bazett's formula."""
    analysed_seconds: Mapped[float] = mapped_column(default=0.0)
    """How much of the recording, from its beginning."""
    document: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    """The whole result as JSON, compressed with zlib."""


class EcgEdit(HasId, Base):
    """A value that a reader put in the place of a measured one; rows are only added."""

    __tablename__ = "ecg_edit"

    exam_id: Mapped[str] = mapped_column(ForeignKey("exam.id"), index=True)
    source_id: Mapped[str] = mapped_column(String(26))
    name: Mapped[str] = mapped_column(String(32))
    lead: Mapped[str] = mapped_column(String(16), default="")
    """Empty for a value of all leads together."""
    value: Mapped[float | None]
    """None: the measured value holds again."""
    was: Mapped[float | None]
    unit: Mapped[str] = mapped_column(String(8))
    by_id: Mapped[str] = mapped_column(ForeignKey("user_account.id"))
    by_name: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]
    reason: Mapped[str] = mapped_column(String(500), default="")


guard(
    EcgEdit.__table__,
    sqlite=[
        f"CREATE TRIGGER IF NOT EXISTS ecg_edit_no_{verb} BEFORE {verb.upper()} ON ecg_edit "
        "BEGIN SELECT RAISE(ABORT, 'ecg_edit is append-only'); END"
        for verb in ("update", "delete")
    ],
    postgresql=[
        """CREATE OR REPLACE FUNCTION ecg_edit_refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'ecg_edit is append-only'; END $$""",
        """CREATE OR REPLACE TRIGGER ecg_edit_no_change BEFORE UPDATE OR DELETE ON ecg_edit
        FOR EACH ROW EXECUTE FUNCTION ecg_edit_refuse()""",
    ],
)


class WatchedFolder(HasId, Base):
    """What a watched folder has brought, for the administrator's page."""

    __tablename__ = "watched_folder"
    __table_args__ = (UniqueConstraint("site_code", "folder"),)

    site_code: Mapped[str] = mapped_column(String(16))
    folder: Mapped[str] = mapped_column(String(1000))
    looked_at: Mapped[datetime]
    """Last look into it."""
    waiting: Mapped[int] = mapped_column(default=0)
    """Files that lie there and are not taken yet."""
    taken: Mapped[int] = mapped_column(default=0)
    """Recordings since it is watched."""
    refused: Mapped[int] = mapped_column(default=0)
    last_taken_at: Mapped[datetime | None]
    problem: Mapped[str] = mapped_column(String(64), default="")
    """Why nothing can be taken just now, by the name of the error."""
