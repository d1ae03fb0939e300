"""Every query about orders, exams and timelines."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue.models import Study
from hub.db.direct import Direct
from hub.db.repository import Repository
from hub.kit.ids import new_id
from hub.kit.text import UNSURE_BELOW
from hub.patients.models import Patient
from hub.sites.models import Device, Site
from hub.worklist.models import AccessionCounter, Exam, ExamStep, Order, ProcedureStep
from hub.worklist.states import LEASED_STATES, State
from hub.worklist.triage import PRIORITIES

VIEW_PERMISSIONS = (Permission.EXAM_VIEW, Permission.WORKLIST_VIEW)

READING_ORDER = (
    Exam.priority,
    Exam.chest_pain.desc(),
    Exam.due_at.is_(None),
    Exam.due_at,
    Exam.created_at,
)
"""Class first, chest pain first within its class, then what is due first.

No due time yet (still receiving) sorts behind those that have one.
"""

# They run for every exam that is opened.
_NEW_STEP = Direct(insert(cast("Table", ExamStep.__table__)))


@lru_cache
def _next_number(dialect: str) -> Direct:
    table, last = AccessionCounter, AccessionCounter.last
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    first = make(table).values(site_id=bindparam("site_id"), day=bindparam("day"), last=1)
    again = first.on_conflict_do_update(index_elements=["site_id", "day"], set_={"last": last + 1})
    return Direct(again.returning(last))


@dataclass(frozen=True)
class ExamRow:
    """An exam with what a list shows of it."""

    exam: Exam
    site: Site
    patient: Patient | None
    study: Study | None
    order: Order | None

    @property
    def patient_name(self) -> str:
        """The name as ordered, else as the objects state it."""
        return self.patient.name if self.patient else self.study.patient_name if self.study else ""

    @property
    def sex(self) -> str:
        """M, F, O or empty."""
        return (self.patient.sex if self.patient else "") or (self.study.sex if self.study else "")

    @property
    def birth_date(self) -> str:
        """YYYYMMDD or shorter or empty."""
        return (self.patient.birth_date if self.patient else "") or (
            self.study.birth_date if self.study else ""
        )

    @property
    def born(self) -> date | None:
        """The birth date when it is a whole one."""
        try:
            return datetime.strptime(self.birth_date, "%Y%m%d").date()  # noqa: DTZ007 - a calendar day has no zone
        except ValueError:
            return None

    @property
    def name_unsure(self) -> bool:
        """Whether the name was read from bytes in a way that a person should confirm."""
        return self.study is not None and self.study.name_confidence < UNSURE_BELOW

    @property
    def taken_at(self) -> str:
        """Day and minute of the exam as the device states them, ``2026-03-02 16:05``; empty when unknown."""
        day, time = (self.study.study_date, self.study.study_time) if self.study else ("", "")
        if len(day) != len("YYYYMMDD"):
            return ""
        clock = f" {time[:2]}:{time[2:4]}" if len(time) >= len("HHMM") else ""
        return f"{day[:4]}-{day[4:6]}-{day[6:]}{clock}"

    @property
    def n_objects(self) -> int:
        """Images and recordings received."""
        return self.study.n_instances + self.study.n_recordings if self.study else 0

    @property
    def local_id(self) -> str:
        """The site's own number of the patient."""
        return (self.patient.local_id if self.patient else "") or (self.study.local_id if self.study else "")

    @property
    def clinical_question(self) -> str:
        """As ordered, and as sent along with an upload, each once."""
        asked = [self.order.clinical_question if self.order else ""]
        asked.append(self.study.clinical_question if self.study else "")
        return "\n".join(dict.fromkeys(text for text in asked if text))


@dataclass(frozen=True)
class Filter:
    """What a list of exams is narrowed to; an empty field narrows nothing."""

    modality: str = ""
    kind: Literal["", "imaging", "ecg"] = ""
    """Half of the worklist, as in `hub.auth.roles.READS_MODALITIES`."""
    site_id: str = ""
    states: frozenset[State] = frozenset()
    text: str = ""
    owner_id: str = ""
    """Held by this reader, or returned to this writer."""
    unordered: bool = False
    campaign: bool = False
    """Only what may be read in the quick list, as `hub.worklist.campaign.may_be_quick` says again of each."""
    pressing: bool = False
    """Only what is not routine."""
    since: datetime | None = None
    """Begun, or changed by objects or a report, at this moment or later."""


@dataclass(frozen=True)
class Scheduled:
    """An order as the worklist of a device shows it."""

    order: Order
    patient: Patient
    exam: Exam


@dataclass(frozen=True)
class StepRow:
    """A procedure step with the device that reported it."""

    step: ProcedureStep
    device: Device


class WorklistRepository(Repository):
    """Orders and exams."""

    def readable(self, actor: Actor) -> Select[Exam]:
        """Return the exams this actor may see; every listing for a person starts here."""
        sites = actor.sites_for(*VIEW_PERMISSIONS)
        statement = select(Exam)
        return statement if sites is None else statement.where(Exam.site_id.in_(sites))

    def readable_exam(self, actor: Actor, exam_id: str) -> Exam | None:
        """Return one exam, by id or number, if the actor may see it."""
        return self.session.scalars(
            self.readable(actor).where(or_(Exam.id == exam_id, Exam.number == exam_id))
        ).one_or_none()

    def rows(
        self, actor: Actor, narrow: Filter, *, newest_first: bool = False, limit: int = 200, offset: int = 0
    ) -> Sequence[ExamRow]:
        """Return exams with what a list shows, in reading order or newest first."""
        joined = _with_details(self._narrowed(self.readable(actor), narrow))
        order = (Exam.created_at.desc(),) if newest_first else READING_ORDER
        return [
            ExamRow(*row) for row in self.session.execute(joined.order_by(*order).limit(limit).offset(offset))
        ]

    def row(self, actor: Actor, exam_id: str) -> ExamRow | None:
        """Return one exam with what a page shows of it."""
        exam = self.readable_exam(actor, exam_id)
        return self.row_of(exam) if exam else None

    def row_of(self, exam: Exam) -> ExamRow:
        """Return an exam together with its site, patient, study and order."""
        site = self.session.get(Site, exam.site_id)
        assert site is not None  # the foreign key says so
        return ExamRow(
            exam,
            site,
            self.session.get(Patient, exam.patient_id) if exam.patient_id else None,
            self.session.get(Study, exam.study_id) if exam.study_id else None,
            self.session.get(Order, exam.order_id) if exam.order_id else None,
        )

    def total(self, actor: Actor, narrow: Filter) -> int:
        """Return how many exams a list has in all."""
        exams = self._narrowed(self.readable(actor), narrow).subquery()
        return self.session.scalar(select(func.count()).select_from(exams)) or 0

    def ordered_since(
        self, actor: Actor, patient_ids: Sequence[str], modality: str, since: datetime
    ) -> Sequence[Exam]:
        """Return exams ordered since a moment for these identities, newest first, cancelled ones left out."""
        return self.session.scalars(
            self.readable(actor)
            .where(
                Exam.patient_id.in_(patient_ids),
                Exam.order_id.is_not(None),
                Exam.modality == modality,
                Exam.created_at >= since,
                Exam.state != State.CANCELLED,
            )
            .order_by(Exam.created_at.desc())
            .limit(20)
        ).all()

    def counts(self, actor: Actor, narrow: Filter) -> dict[State, int]:
        """Return how many exams are in each state."""
        exams = self._narrowed(self.readable(actor), narrow).subquery()
        return {
            State(state): count
            for state, count in self.session.execute(
                select(exams.c.state, func.count()).group_by(exams.c.state)
            )
        }

    def _narrowed(self, statement: Select[Any], narrow: Filter) -> Select[Any]:
        conditions = _by_urgency(narrow)
        if narrow.modality:
            conditions.append(Exam.modality == narrow.modality)
        if narrow.kind:
            conditions.append(Exam.modality == "ECG" if narrow.kind == "ecg" else Exam.modality != "ECG")
        if narrow.site_id:
            conditions.append(Exam.site_id == narrow.site_id)
        if narrow.states:
            conditions.append(Exam.state.in_([str(state) for state in narrow.states]))
        if narrow.owner_id:
            returned = and_(Exam.state == State.RETURNED, Exam.writer_id == narrow.owner_id)
            conditions.append(or_(Exam.owner_id == narrow.owner_id, returned))
        if narrow.unordered:
            conditions.append(Exam.unordered.is_(True))
        if narrow.since:
            conditions.append(
                or_(
                    Exam.created_at >= narrow.since,
                    Exam.received_at >= narrow.since,
                    Exam.signed_at >= narrow.since,
                )
            )
        if narrow.text:
            patients = select(Patient.id).where(
                or_(Patient.name.contains(narrow.text, autoescape=True), Patient.local_id == narrow.text)
            )
            studies = select(Study.id).where(
                or_(Study.patient_name.contains(narrow.text, autoescape=True), Study.accession == narrow.text)
            )
            conditions.append(
                or_(Exam.number == narrow.text, Exam.patient_id.in_(patients), Exam.study_id.in_(studies))
            )
        return statement.where(*conditions)

    def exam(self, exam_id: str) -> Exam | None:
        """Return an exam by its id, whoever asks: for jobs."""
        return self.session.get(Exam, exam_id)

    def exam_of_study(self, study_id: str) -> Exam | None:
        """Return the exam that a study belongs to."""
        return self.session.scalars(select(Exam).where(Exam.study_id == study_id)).one_or_none()

    def exam_of_order(self, order_id: str) -> Exam | None:
        """Return the exam that an order began."""
        return self.session.scalars(select(Exam).where(Exam.order_id == order_id)).one_or_none()

    def exam_of_study_uid(self, site_id: str, study_uid: str) -> Exam | None:
        """Return the exam of a site's study by the study's UID."""
        return self.session.scalars(
            select(Exam)
            .join(Study, Study.id == Exam.study_id)
            .where(Study.site_id == site_id, Study.study_uid == study_uid)
        ).one_or_none()

    def order_for(self, site_id: str, accession: str, study_uid: str) -> Order | None:
        """Return the site's order that objects name by accession number or worklist UID."""
        by_uid = and_(Order.site_id == site_id, Order.study_uid == study_uid)
        found = self.session.scalars(select(Order).where(by_uid)).first()
        if found is None and accession:
            found = self.session.scalars(
                select(Order).where(Order.site_id == site_id, Order.accession == accession)
            ).first()
        return found

    def scheduled(
        self,
        site_id: str,
        states: Iterable[State],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        same: Mapping[str, str] | None = None,
        limit: int = 5000,
    ) -> Sequence[Scheduled]:
        """Return a site's orders whose exams are in these states, latest first.

        Parameters
        ----------
        since, until
            Bounds of the planned time, or of the time of ordering where none is planned.
        same : mapping, optional
            Values that columns of the order must have; ``local_id`` means the patient's.
        """
        planned = func.coalesce(Order.scheduled_at, Order.created_at)
        statement = (
            select(Order, Patient, Exam)
            .join(Exam, Exam.order_id == Order.id)
            .join(Patient, Patient.id == Order.patient_id)
            .where(Exam.site_id == site_id, Exam.state.in_([str(state) for state in states]))
            .where(Order.site_id == site_id)
        )
        if since is not None:
            statement = statement.where(planned >= since)
        if until is not None:
            statement = statement.where(planned < until)
        for column, value in (same or {}).items():
            wanted = Patient.local_id if column == "local_id" else getattr(Order, column)
            statement = statement.where(wanted == value)
        statement = statement.order_by(planned.desc(), Order.id.desc()).limit(limit)
        return [Scheduled(*row) for row in self.session.execute(statement)]

    def waiting_orders(
        self, site_id: str, local_id: str, modality: str, since: datetime
    ) -> Sequence[Scheduled]:
        """Return a patient's orders of one modality that wait to be taken."""
        same = {"local_id": local_id, "modality": modality}
        return self.scheduled(site_id, (State.ORDERED, State.ARRIVED), since=since, same=same, limit=2)

    def procedure_step(self, site_id: str, sop_uid: str) -> ProcedureStep | None:
        """Return a site's procedure step, and hold its row until the transaction ends."""
        return self.session.scalars(
            select(ProcedureStep)
            .where(ProcedureStep.site_id == site_id, ProcedureStep.sop_uid == sop_uid)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one_or_none()

    def steps_of_study(self, site_id: str, study_uid: str, order_id: str | None) -> Sequence[StepRow]:
        """Return what devices reported of a study or of its order, oldest first."""
        of_order = [ProcedureStep.order_id == order_id] if order_id else []
        of_study = [ProcedureStep.study_uid == study_uid] if study_uid else []
        if not of_order and not of_study:
            return []
        statement = (
            select(ProcedureStep, Device)
            .join(Device, Device.id == ProcedureStep.device_id)
            .where(ProcedureStep.site_id == site_id, or_(*of_order, *of_study))
            .order_by(ProcedureStep.received_at, ProcedureStep.id)
        )
        return [StepRow(*row) for row in self.session.execute(statement)]

    def loose_steps(self, site_id: str, since: datetime, limit: int = 20) -> Sequence[StepRow]:
        """Return a site's procedure steps that belong to no order and to no study, newest first."""
        known = (
            select(Study.id)
            .where(Study.site_id == site_id, Study.study_uid == ProcedureStep.study_uid)
            .exists()
        )
        statement = (
            select(ProcedureStep, Device)
            .join(Device, Device.id == ProcedureStep.device_id)
            .where(ProcedureStep.site_id == site_id, ProcedureStep.order_id.is_(None))
            .where(ProcedureStep.received_at >= since, ~known)
            .order_by(ProcedureStep.received_at.desc())
            .limit(limit)
        )
        return [StepRow(*row) for row in self.session.execute(statement)]

    def orders_under_way(self, site_id: str, since: datetime) -> frozenset[str]:
        """Return the ids of the orders that a device is taking just now."""
        return frozenset(
            order_id
            for order_id in self.session.scalars(
                select(ProcedureStep.order_id).where(
                    ProcedureStep.site_id == site_id,
                    ProcedureStep.status == "in_progress",
                    ProcedureStep.received_at >= since,
                )
            )
            if order_id
        )

    def order(self, order_id: str) -> Order | None:
        """Return an order by its id."""
        return self.session.get(Order, order_id)

    def priors(self, actor: Actor, exam: Exam, limit: int = 20) -> Sequence[ExamRow]:
        """Return other exams of the same identity that have objects, newest first."""
        if exam.patient_id is None:
            return []
        statement = (
            _with_details(self.readable(actor))
            .where(Exam.patient_id == exam.patient_id, Exam.id != exam.id, Exam.study_id.is_not(None))
            .order_by(Exam.created_at.desc())
            .limit(limit)
        )
        return [ExamRow(*row) for row in self.session.execute(statement)]

    def waiting(self, actor: Actor, narrow: Filter, limit: int = 50) -> Sequence[Exam]:
        """Return the exams that wait for a reader, in reading order."""
        statement = self._narrowed(self.readable(actor), narrow).where(Exam.state == State.COMPLETE)
        return self.session.scalars(statement.order_by(*READING_ORDER).limit(limit)).all()

    def steps(self, exam_id: str) -> Sequence[ExamStep]:
        """Return an exam's timeline, oldest first."""
        return self.session.scalars(
            select(ExamStep).where(ExamStep.exam_id == exam_id).order_by(ExamStep.at, ExamStep.id)
        ).all()

    def completed_at(self, exam_id: str) -> datetime | None:
        """Return when everything was in the last time."""
        return self.session.scalar(
            select(func.max(ExamStep.at)).where(
                ExamStep.exam_id == exam_id, ExamStep.to_state == State.COMPLETE
            )
        )

    def move(
        self, exam_id: str, expected: State, values: dict[str, Any], *conditions: ColumnElement[bool]
    ) -> bool:
        """Change an exam if it is still in the `expected` state; tell whether this call did it.

        One conditional UPDATE: of two that race, one finds the row changed.
        """
        changed = self.session.scalars(
            update(Exam)
            .where(Exam.id == exam_id, Exam.state == str(expected), *conditions)
            .values(**values)
            .returning(Exam)
            .execution_options(synchronize_session=False, populate_existing=True)
        ).first()
        if changed is None and (known := self.session.get(Exam, exam_id)) is not None:
            self.session.refresh(known)
        return changed is not None

    def expired(self, now: datetime, limit: int = 100) -> Sequence[Exam]:
        """Return exams whose reader has shown no sign of life within the lease."""
        return self.session.scalars(
            select(Exam)
            .where(Exam.state.in_([str(state) for state in LEASED_STATES]), Exam.lease_until < now)
            .limit(limit)
        ).all()

    def next_accession(self, site_id: str, day: str) -> int:
        """Return the next running number of a site's day; two callers never get the same."""
        [(last,)] = _next_number(self.session.get_bind().dialect.name).rows(
            self.session, {"site_id": site_id, "day": day}
        )
        return int(last)

    def add_step(self, **columns: Any) -> None:
        """Add a row to an exam's timeline."""
        self.session.flush()  # the exam may have been added just now
        _NEW_STEP.run(self.session, [{"id": new_id(), **columns}])

    def modalities(self, actor: Actor, states: Iterable[State]) -> Sequence[str]:
        """Return the modalities that occur in a list."""
        exams = self._narrowed(self.readable(actor), Filter(states=frozenset(states))).subquery()
        return self.session.scalars(select(exams.c.modality).distinct().order_by(exams.c.modality)).all()


def _by_urgency(narrow: Filter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if narrow.pressing:
        conditions.append(Exam.priority < PRIORITIES["routine"])
    if narrow.campaign:
        conditions += [
            Exam.priority == PRIORITIES["routine"],
            Exam.urgency == "routine",
            Exam.chest_pain.is_(False),
            Exam.hint_level.in_(("", "note")),
            Exam.ecg_verdict.in_(("good", "usable")),
            Exam.late_objects == 0,
        ]
    return conditions


def _with_details(statement: Select[Any]) -> Select[Any]:
    """Add to a listing of exams the rows that `ExamRow` shows."""
    return (
        statement.add_columns(Site, Patient, Study, Order)
        .join(Site, Site.id == Exam.site_id)
        .outerjoin(Patient, Patient.id == Exam.patient_id)
        .outerjoin(Study, Study.id == Exam.study_id)
        .outerjoin(Order, Order.id == Exam.order_id)
    )
