"""Orders, exams and the timeline of each exam."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from hub.db.base import Base, HasId


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
