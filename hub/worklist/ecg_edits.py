"""What a reader changes of the machine's opinion: values put right, hints dismissed. Nothing is lost."""

from datetime import datetime
from math import isfinite

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.config import Settings
from hub.errors import Conflict, Forbidden, Rejected
from hub.worklist import placing, service
from hub.worklist.ecg_analysis import opened
from hub.worklist.ecg_repository import EcgRepository
from hub.worklist.ecg_values import RANGES, UNITS, last_edits, leads_of, measured
from hub.worklist.models import EcgEdit, Exam
from hub.worklist.service import OutOfScope
from hub.worklist.states import SIGNED_STATES, State

LONGEST_REASON = 500


class ValueUnknown(Rejected):
    """There is no such value on this ECG."""


class ValueImpossible(Rejected):
    """No ECG has such a value: check number and unit."""


class NothingToDismiss(Conflict):
    """There is no hint that orders this exam."""


def edit(  # noqa: PLR0917 - what is changed, on what, by whom
    session: Session,
    actor: Actor,
    exam_id: str,
    source_id: str,
    name: str,
    lead: str,
    value: float | None,
    reason: str,
    *,
    now: datetime,
) -> None:
    """Put a value in the place of a measured one; None brings the measured one back.

    Raises
    ------
    LeaseLost
        The actor does not hold the exam, or its report is signed.
    ValueUnknown, ValueImpossible
        The value's name, lead or number cannot be.
    """
    exam = service.require_held(session, actor, exam_id)
    repository = EcgRepository(session)
    row = repository.analysis(source_id)
    document = opened(row) if row and row.study_id == exam.study_id else {}
    if name not in RANGES or (name in _OF_LEADS) != bool(lead):
        raise ValueUnknown(name=name[:32])
    if lead and document and lead not in leads_of(document):
        raise ValueUnknown(name=name)
    low, high = RANGES[name]
    if value is not None and not (isfinite(value) and low <= value <= high):
        raise ValueImpossible(name=name)
    before = last_edits(repository.edits(exam.id, source_id)).get((name, lead))
    was = before.value if before else measured(document, name, lead)
    if value is None and before is None:
        return  # the measured value holds already
    session.add(
        EcgEdit(
            exam_id=exam.id,
            source_id=source_id,
            name=name,
            lead=lead,
            value=value,
            was=was,
            unit=UNITS[name],
            by_id=actor.id,
            by_name=actor.name,
            at=now,
            reason=reason.strip()[:LONGEST_REASON],
        )
    )
    session.flush()
    _audit(session, Tag.ECG_EDIT, actor, exam, source_id=source_id, value_name=name)


_OF_LEADS = frozenset(name for name, unit in UNITS.items() if unit in {"mV", "uV"})


def dismiss(session: Session, actor: Actor, exam_id: str, *, settings: Settings, now: datetime) -> Exam:
    """Let the machine's hints order an exam no longer: a reader has looked and says so; they stay to be seen.

    Raises
    ------
    OutOfScope
        The actor is not licensed to read ECGs.
    NothingToDismiss
        No hint orders the exam, or its report is signed.
    """
    exam = service.visible(session, actor, exam_id)
    may = actor.may(Permission.EXAM_CLAIM, exam.site_id) or actor.may(Permission.REPORT_REVIEW, exam.site_id)
    if not may:
        raise Forbidden
    if not actor.reads(exam.modality):
        raise OutOfScope
    orders = exam.hint_level in {"critical", "urgent"} and exam.hint_dismissed_at is None
    if not orders or State(exam.state) in SIGNED_STATES:
        raise NothingToDismiss
    exam.hint_dismissed_at, exam.hint_dismissed_by = now, actor.name
    placing.place(session, exam, settings=settings)
    _audit(session, Tag.HINT_DISMISS, actor, exam, level=exam.hint_level, rules=" ".join(exam.hint_rules))
    return exam


def _audit(session: Session, tag: Tag, actor: Actor, exam: Exam, **facts: str) -> None:
    audit.record(
        session,
        tag,
        actor=actor.ref,
        subject_kind="exam",
        subject_id=exam.id,
        site_id=exam.site_id,
        patient_id=exam.patient_id,
        address=actor.address,
        **facts,
    )
