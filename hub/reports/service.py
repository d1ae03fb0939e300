"""Writing, submitting, returning a report. Signing is in `hub.reports.signing`."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue.repository import CatalogueRepository
from hub.db.repository import insert_or_get
from hub.errors import Conflict, Forbidden, NotFound, Rejected
from hub.reports.models import KeyImage, Report, ReportVersion
from hub.reports.repository import ReportRepository
from hub.worklist import service as worklist
from hub.worklist.models import Exam
from hub.worklist.service import NOBODY
from hub.worklist.states import Event, State

LONGEST_TEXT = 20_000
"""Characters of findings or impression."""


class StaleDraft(Conflict):
    """Another window has saved this report in the meantime."""


class OwnReport(Forbidden):
    """Nobody reviews or signs the own report."""


class EmptyFindings(Rejected):
    """The findings are empty."""


class EmptyImpression(Rejected):
    """The impression is empty."""


class CommentMissing(Rejected):
    """Say what has to change."""


class TextTooLong(Rejected):
    """The text is longer than a report can be."""


@dataclass(frozen=True)
class Draft:
    """What the editor sends; a field that is None was not touched."""

    findings: str | None = None
    impression: str | None = None
    positive: bool | None = None


def save(
    session: Session, actor: Actor, exam_id: str, draft: Draft, *, revision: int | None, now: datetime
) -> Report:
    """Save the text of a report that the actor holds.

    Parameters
    ----------
    revision
        The save this one builds on; None means the page has not seen any.

    Raises
    ------
    LeaseLost
        The exam is not the actor's any more.
    StaleDraft
        Somebody (the same person in another window) has saved since.
    """
    exam = worklist.require_held(session, actor, exam_id)
    report = _of_exam(session, exam, actor, now)
    if revision is not None and revision != report.revision:
        raise StaleDraft
    _put(report, draft)
    report.revision += 1
    report.saved_at, report.saved_by, report.saved_by_name = now, actor.id, actor.name
    if State(exam.state) is State.CLAIMED:
        worklist.advance(session, exam, Event.WRITE, actor, now)
        audit_report(session, Tag.REPORT_SAVE, actor, exam, report.id)
    return report


def _of_exam(session: Session, exam: Exam, actor: Actor, now: datetime) -> Report:
    repository = ReportRepository(session)
    report = repository.of_exam(exam.id)
    if report is None:
        # Two windows may begin at once: one row comes of it, the other window is told.
        first = {"saved_at": now, "saved_by": actor.id, "saved_by_name": actor.name}
        report, _ = insert_or_get(session, Report, {"exam_id": exam.id}, first)
    elif report.saved_by != actor.id and (report.findings or report.impression):
        # Somebody else's words are about to be changed: keep them as they are first.
        kept = repository.versions(report.id)
        if not kept or (kept[-1].findings, kept[-1].impression) != (report.findings, report.impression):
            add_version(session, report, "handover", report.saved_by, report.saved_by_name, report.saved_at)
    return report


def _put(report: Report, draft: Draft) -> None:
    for field, value in (("findings", draft.findings), ("impression", draft.impression)):
        if value is not None:
            if len(value) > LONGEST_TEXT:
                raise TextTooLong(limit=LONGEST_TEXT)
            setattr(report, field, value)
    if draft.positive is not None:
        report.positive = draft.positive


def add_version(  # noqa: PLR0917 - the columns of one version
    session: Session,
    report: Report,
    act: str,
    author_id: str,
    author_name: str,
    at: datetime,
    comment: str = "",
) -> ReportVersion:
    """Add what the report says now as a version that stays."""
    version = ReportVersion(
        report_id=report.id,
        number=ReportRepository(session).next_version(report.id),
        act=act,
        findings=report.findings,
        impression=report.impression,
        positive=report.positive,
        author_id=author_id,
        author_name=author_name,
        comment=comment,
        at=at,
    )
    session.add(version)
    session.flush()
    return version


def require_text(report: Report | None) -> Report:
    """Return a report that says something in both fields.

    Raises
    ------
    Rejected
        Findings or impression are empty.
    """
    if report is None or not report.findings.strip():
        raise EmptyFindings
    if not report.impression.strip():
        raise EmptyImpression
    return report


def submit(session: Session, actor: Actor, exam_id: str, *, now: datetime) -> Exam:
    """Hand a report on to review."""
    exam = worklist.require_held(session, actor, exam_id)
    report = require_text(ReportRepository(session).of_exam(exam.id))
    report.writer_id, report.writer_name, report.written_at = actor.id, actor.name, now
    add_version(session, report, "submit", actor.id, actor.name, now)
    worklist.advance(session, exam, Event.SUBMIT, actor, now, values={**NOBODY, "writer_id": actor.id})
    audit_report(session, Tag.REPORT_SUBMIT, actor, exam, report.id)
    return exam


def send_back(session: Session, actor: Actor, exam_id: str, *, comment: str, now: datetime) -> Exam:
    """Return a submitted report to its writer with a comment."""
    if not comment.strip():
        raise CommentMissing
    exam = worklist.visible(session, actor, exam_id)
    require_other(actor, exam)
    report = ReportRepository(session).of_exam(exam.id)
    if report is None:
        raise NotFound("there is no report")
    report.review_comment = comment.strip()
    add_version(session, report, "return", actor.id, actor.name, now, comment.strip())
    worklist.advance(session, exam, Event.RETURN, actor, now, reason=comment.strip())
    audit_report(session, Tag.REPORT_RETURN, actor, exam, report.id)
    return exam


def require_other(actor: Actor, exam: Exam) -> None:
    """Raise unless somebody else wrote the report and the actor may review this modality."""
    if exam.writer_id == actor.id:
        raise OwnReport
    if not actor.may(Permission.REPORT_REVIEW, exam.site_id) and not actor.may(
        Permission.REPORT_SIGN_ALONE, exam.site_id
    ):
        raise Forbidden
    if not actor.reads(exam.modality):
        raise worklist.OutOfScope


@dataclass(frozen=True)
class Picture:
    """A picture as the viewer names it, with the window it was seen in."""

    sop_uid: str
    frame: int = 1
    window: tuple[float, float] | None = None


def choose_key_image(
    session: Session, actor: Actor, exam_id: str, picture: Picture, *, now: datetime
) -> KeyImage:
    """Choose a picture for the report; one chosen already gets the new window.

    Raises
    ------
    NotFound
        The exam has no such image or frame.
    """
    exam = worklist.require_held(session, actor, exam_id)
    report = _of_exam(session, exam, actor, now)
    instance = (
        CatalogueRepository(session).instance_in_study(exam.study_id, picture.sop_uid)
        if exam.study_id
        else None
    )
    if instance is None or not 1 <= picture.frame <= max(instance.frames, 1):
        raise NotFound("no such image in this exam")
    center, width = picture.window or (None, None)
    chosen = ReportRepository(session).key_image(report.id, picture.sop_uid, picture.frame)
    if chosen is None:
        chosen = KeyImage(
            report_id=report.id,
            sop_uid=picture.sop_uid,
            frame=picture.frame,
            added_by=actor.id,
            added_at=now,
        )
        session.add(chosen)
    chosen.window_center, chosen.window_width = center, width
    session.flush()
    return chosen


def drop_key_image(session: Session, actor: Actor, exam_id: str, sop_uid: str, frame: int) -> None:
    """Take a picture out of the report."""
    exam = worklist.require_held(session, actor, exam_id)
    repository = ReportRepository(session)
    report = repository.peek(exam.id)
    chosen = repository.key_image(report.id, sop_uid, frame) if report else None
    if chosen is None:
        raise NotFound("no such picture in the report")
    session.delete(chosen)


def audit_report(session: Session, tag: Tag, actor: Actor, exam: Exam, report_id: str, **facts: str) -> None:
    """Write the audit row of something done with a report."""
    audit.record(
        session,
        tag,
        actor=actor.ref,
        subject_kind="report",
        subject_id=report_id,
        site_id=exam.site_id,
        patient_id=exam.patient_id,
        address=actor.address,
        exam_id=exam.id,
        **facts,
    )
