"""What the interface says of orders and exams, and what it takes."""

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from hub.patients.service import Person
from hub.worklist.models import ExamStep
from hub.worklist.plans import MOST_OBJECTS, Plan
from hub.worklist.repository import ExamRow
from hub.worklist.states import State


class PatientIn(BaseModel):
    """The patient as an ordering system knows the person."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200)
    local_id: str = Field(default="", max_length=64)
    sex: str = Field(default="", max_length=1)
    birth_date: str = Field(default="", max_length=10)
    id_number: str = Field(default="", max_length=32)
    phone: str = Field(default="", max_length=32)

    def person(self) -> Person:
        """Return the form that the services take."""
        return Person(self.local_id, self.name, self.sex, self.birth_date, self.id_number, self.phone)


class OrderIn(BaseModel):
    """An order. `repeat` says that a like order within a week is meant."""

    model_config = ConfigDict(extra="forbid")

    site: str = ""
    patient: PatientIn
    modality: str = Field(max_length=16)
    body_part: str = Field(default="", max_length=64)
    clinical_question: str = Field(default="", max_length=2000)
    urgency: str = "routine"
    scheduled_at: AwareDatetime | None = None
    """When the exam is to be taken; with its offset from UTC."""
    station_ae: str = Field(default="", max_length=16)
    """AE title of the device that is to take it; empty for any of the site's."""
    expected_objects: int | None = Field(default=None, ge=1, le=MOST_OBJECTS)
    """How many images the exam consists of, when that is known."""
    repeat: bool = False

    def plan(self) -> Plan:
        """Return the form that the services take."""
        return Plan(self.scheduled_at, self.station_ae, self.expected_objects)


class PatientOut(BaseModel):
    """The patient of an exam."""

    local_id: str
    name: str
    sex: str
    birth_date: str


class ExamOut(BaseModel):
    """An exam in a list."""

    id: str
    number: str
    accession: str
    study_uid: str
    site: str
    state: State
    patient: PatientOut
    modality: str
    body_part: str
    clinical_question: str
    urgency: str
    """As a person marked it."""
    chest_pain: bool
    onset_at: datetime | None
    """When the pain in the chest began, as told."""
    hint_level: str
    """Of what the machine hints at: critical, urgent, note or empty. No diagnosis."""
    hint_rules: list[str]
    ecg_verdict: str
    """How its latest ECG was taken: good, usable, repeat; failed when it could not be analysed."""
    unordered: bool
    conflicts: list[str]
    instances: int
    recordings: int
    late_objects: int
    created_at: datetime
    received_at: datetime | None
    last_object_at: datetime | None
    complete_at: datetime | None
    due_at: datetime | None
    signed_at: datetime | None
    delivered_at: datetime | None
    acked_at: datetime | None
    acked_by: str
    reject_code: str
    reject_text: str


class StepOut(BaseModel):
    """One step of an exam's timeline."""

    at: datetime
    event: str
    from_state: str | None
    to_state: str
    by: str
    reason: str


class ExamDetail(ExamOut):
    """An exam with its timeline."""

    timeline: list[StepOut]


class ExamPage(BaseModel):
    """One page of a list; `total` counts all that the question fits."""

    total: int
    limit: int
    offset: int
    items: list[ExamOut]


def exam_out(row: ExamRow) -> ExamOut:
    """Return what a list says of an exam."""
    exam, study, order = row.exam, row.study, row.order
    return ExamOut(
        id=exam.id,
        number=exam.number,
        accession=order.accession if order else study.accession if study else "",
        study_uid=study.study_uid if study else order.study_uid if order else "",
        site=row.site.code,
        state=State(exam.state),
        patient=PatientOut(
            local_id=row.local_id, name=row.patient_name, sex=row.sex, birth_date=row.birth_date
        ),
        modality=exam.modality,
        body_part=exam.body_part,
        clinical_question=row.clinical_question,
        urgency=exam.urgency,
        chest_pain=exam.chest_pain,
        onset_at=exam.onset_at,
        hint_level=exam.hint_level,
        hint_rules=exam.hint_rules,
        ecg_verdict=exam.ecg_verdict,
        unordered=exam.unordered,
        conflicts=exam.conflicts,
        instances=study.n_instances if study else 0,
        recordings=study.n_recordings if study else 0,
        late_objects=exam.late_objects,
        created_at=exam.created_at,
        received_at=exam.received_at,
        last_object_at=study.last_received_at if study else None,
        complete_at=exam.complete_at,
        due_at=exam.due_at,
        signed_at=exam.signed_at,
        delivered_at=exam.delivered_at,
        acked_at=exam.acked_at,
        acked_by=exam.acked_by,
        reject_code=exam.reject_code,
        reject_text=exam.reject_text,
    )


def step_out(step: ExamStep) -> StepOut:
    """Return one step of a timeline."""
    return StepOut(
        at=step.at,
        event=step.event,
        from_state=step.from_state,
        to_state=step.to_state,
        by=step.actor_name,
        reason=step.reason,
    )
