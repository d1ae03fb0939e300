"""Doubtful names: who may correct them, and what follows for identity and exam."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue import corrections
from hub.catalogue.models import NameCorrection, Study
from hub.catalogue.repository import CatalogueRepository
from hub.config import Settings
from hub.context import Context
from hub.errors import Conflict, HubError, NotFound
from hub.jobs.queue import enqueue
from hub.patients import service as patients
from hub.patients.repository import PatientRepository
from hub.worklist import matching
from hub.worklist.desk_repository import DeskRepository
from hub.worklist.repository import WorklistRepository
from hub.worklist.states import SIGNED_STATES, State

MAY_CORRECT = (Permission.DESK_MATCH, Permission.DESK_QUARANTINE)
"""The technician of the site, who knows the patient, and IT, who knows the device."""


class ReportSigned(Conflict):
    """The report on these images is signed and names the patient: it must be reopened first."""


def visible_study(session: Session, actor: Actor, study_id: str) -> Study:
    """Return a study whose name the actor may correct, or raise `NotFound`."""
    study = CatalogueRepository(session).study(study_id)
    if study is None or not any(actor.may(permission, study.site_id) for permission in MAY_CORRECT):
        raise NotFound("no such study")
    return study


def note_view(session: Session, actor: Actor, study: Study) -> None:
    """Note that somebody was shown how the name of a study's patient can be read."""
    audit.record(
        session,
        Tag.STUDY_VIEW,
        actor=actor.ref,
        subject_kind="study",
        subject_id=study.id,
        site_id=study.site_id,
        address=actor.address,
    )


def is_signed(session: Session, study: Study) -> bool:
    """Tell whether a signed report names this study's patient."""
    exam = WorklistRepository(session).exam_of_study(study.id)
    return exam is not None and (exam.signed_at is not None or State(exam.state) in SIGNED_STATES)


def correct(
    session: Session,
    actor: Actor,
    study_id: str,
    *,
    charset: str = "",
    name: str = "",
    reason: str,
    settings: Settings,
    now: datetime,
) -> NameCorrection:
    """Correct the name of a study's patient; its exam is matched anew.

    An identity that came from these objects alone takes the name with it; one that a person
    entered is never changed by what a device sent.

    Raises
    ------
    ReportSigned
        There is a signed report.
    NotFound, Rejected
        As in `hub.catalogue.corrections.correct`.
    """
    study = visible_study(session, actor, study_id)
    if is_signed(session, study):
        raise ReportSigned
    made = corrections.correct(session, actor, study.id, charset=charset, name=name, reason=reason, now=now)
    made.patient_id = _rename_identity(session, actor, study, made.before, made.after)
    matching.reconsider(session, actor, study, reason=made.reason, settings=settings, now=now)
    _note_anew(session, study)
    return made


def undo(
    session: Session, actor: Actor, study_id: str, *, settings: Settings, now: datetime
) -> NameCorrection:
    """Take back the latest correction of a study; its exam is matched anew.

    The name, its character set and its confidence are as before. An order that the exam has
    joined since it keeps: what contradicts then is shown on it.

    Raises
    ------
    ReportSigned
        There is a signed report.
    NotFound, NothingToUndo
        As in `hub.catalogue.corrections.undo`.
    """
    study = visible_study(session, actor, study_id)
    if is_signed(session, study):
        raise ReportSigned
    undone = corrections.undo(session, actor, study.id, now=now)
    if undone.patient_id:
        patient = PatientRepository(session).patient(undone.patient_id)
        if patient is not None and patient.name == undone.after:
            patients.rename(session, patient, undone.before, actor)
    matching.reconsider(session, actor, study, reason=undone.reason, settings=settings, now=now)
    _note_anew(session, study)
    return undone


def _note_anew(session: Session, study: Study) -> None:
    """Let what is kept beside the study's files say the name of now: a lost database is made from it."""
    if study.settled_at is not None:
        enqueue(session, "dicom.prepare_study", once_key=study.id, study_id=study.id)


def _rename_identity(session: Session, actor: Actor, study: Study, before: str, after: str) -> str | None:
    """Let the identity follow that has its name from these objects; return its id."""
    patient = (
        PatientRepository(session).by_local_id(study.site_id, study.local_id) if study.local_id else None
    )
    if patient is None or patient.name != before or before == after:
        return None
    if patient.id_number or patient.phone or DeskRepository(session).has_orders(patient.id):
        return None
    patients.rename(session, patient, after, actor)
    return patient.id


@dataclass
class Corrected:
    """What became of several names that were read in one character set."""

    corrected: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Study id and code of the error."""


def correct_all(
    context: Context, actor: Actor, study_ids: Sequence[str], charset: str, reason: str
) -> Corrected:
    """Read the names of several studies in one character set, each in a transaction of its own."""
    result = Corrected()
    for study_id in study_ids:
        try:
            with context.db.transaction() as session:
                correct(
                    session,
                    actor,
                    study_id,
                    charset=charset,
                    reason=reason,
                    settings=context.settings,
                    now=context.clock(),
                )
        except HubError as error:
            result.refused.append((study_id, error.code))
        else:
            result.corrected += 1
    return result
