"""The reading page, the review page and the page of a signed report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.catalogue.conflict_repository import ConflictRepository
from hub.context import Context
from hub.errors import HubError, NotFound
from hub.reports import service, signing
from hub.reports.models import KeyImage, Report, ReportVersion, SignedReport
from hub.reports.repository import ReportRepository
from hub.reports.schemas import DraftSaved, DraftToSave, PictureToAdd
from hub.reports.service import Draft, Picture
from hub.reports.verify import Verdict, verify
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.web.errors import message_of
from hub.web.templating import language_of, render, translator_of
from hub.worklist import reading
from hub.worklist import service as worklist
from hub.worklist.models import Exam
from hub.worklist.pages import go
from hub.worklist.repository import ExamRow, WorklistRepository
from hub.worklist.service import REJECT_CODES
from hub.worklist.states import LEASED_STATES, SIGNED_STATES, State
from hub.worklist.timeline import timeline

router = APIRouter(include_in_schema=False)

ExamViewer = Annotated[Actor, guard(Permission.EXAM_VIEW, Permission.WORKLIST_VIEW)]
Writer = Annotated[Actor, guard(Permission.REPORT_WRITE)]
Signer = Annotated[Actor, guard(Permission.REPORT_REVIEW, Permission.REPORT_SIGN_ALONE)]
ReportReader = Annotated[Actor, guard(Permission.REPORT_VIEW)]

REJECTABLE = frozenset({State.COMPLETE, State.CLAIMED, State.DRAFT})
LEASE_SIGNS = 3
"""How many times within a lease the page shows a sign of life, at least."""


@dataclass(frozen=True)
class ExamPage:
    """What the centre's pages of one exam show; sites never see drafts."""

    row: ExamRow
    exam: Exam
    report: Report | None
    signed: SignedReport | None
    timeline: Sequence[Mapping[str, Any]]
    priors: Sequence[ExamRow]
    prior_studies: Sequence[dict[str, str]]
    pictures: Sequence[tuple[KeyImage, str]]
    held: bool
    """The actor holds the exam and writes."""
    may_claim: bool
    may_review: bool
    may_sign_alone: bool
    may_reject: bool
    may_release: bool
    key_image_url: str
    lease_every: int
    lease_minutes: int
    contested: bool
    """Objects of another patient came under the study: nothing goes on until that is decided."""
    reject_codes: Sequence[str] = REJECT_CODES
    error: str = ""


def exam_page(request: Request, session: Session, context: Context, actor: Actor, row: ExamRow) -> ExamPage:
    """Gather what the centre's pages of one exam show to `actor`."""
    exam, repository = row.exam, ReportRepository(session)
    state = State(exam.state)
    licensed = actor.reads(exam.modality)
    report = repository.peek(exam.id)
    held = state in LEASED_STATES and exam.owner_id == actor.id
    priors = WorklistRepository(session).priors(actor, exam)
    seconds = context.settings.lease_seconds
    return ExamPage(
        row=row,
        exam=exam,
        report=report,
        signed=repository.signed(exam.id) if state in SIGNED_STATES else None,
        timeline=timeline(translator_of(request), WorklistRepository(session).steps(exam.id)),
        priors=priors,
        prior_studies=[_prior_study(prior) for prior in priors if prior.study and prior.study.n_instances],
        pictures=repository.pictures(report.id, exam.study_id) if report and exam.study_id else (),
        held=held,
        may_claim=licensed
        and actor.may(Permission.EXAM_CLAIM, exam.site_id)
        and (state is State.COMPLETE or (state is State.RETURNED and exam.writer_id == actor.id)),
        may_review=_may_review(actor, exam),
        may_sign_alone=held
        and exam.modality == "ECG"
        and actor.may(Permission.REPORT_SIGN_ALONE, exam.site_id),
        may_reject=licensed
        and state in REJECTABLE
        and exam.owner_id in (None, actor.id)
        and actor.may(Permission.EXAM_REJECT, exam.site_id),
        may_release=held
        or (state in LEASED_STATES | {State.RETURNED} and actor.may(Permission.EXAM_RELEASE, exam.site_id)),
        key_image_url=f"/exams/{exam.id}/key-images" if held else "",
        lease_every=max(1, min(60, seconds // LEASE_SIGNS)),
        lease_minutes=seconds // 60,
        contested=_contested(session, exam),
    )


def _contested(session: Session, exam: Exam) -> bool:
    return exam.study_id is not None and ConflictRepository(session).is_contested(exam.study_id)


def _may_review(actor: Actor, exam: Exam) -> bool:
    try:
        service.require_other(actor, exam)
    except HubError:
        return False
    return State(exam.state) is State.SUBMITTED


def _prior_study(prior: ExamRow) -> dict[str, str]:
    assert prior.study is not None  # the caller has looked
    return {
        "study_uid": prior.study.study_uid,
        "date": prior.taken_at[:10],
        "description": prior.study.description or prior.exam.body_part,
        "modality": prior.exam.modality,
    }


def _row(session: Session, actor: Actor, exam_id: str) -> ExamRow:
    row = WorklistRepository(session).row(actor, exam_id)
    if row is None:
        raise NotFound("no such exam")
    return row


@router.get("/exams/{exam_id}")
def exam(
    request: Request, context: ContextDep, session: SessionDep, exam_id: str, actor: ExamViewer
) -> Response:
    """Show an exam to the centre's people, with the editor to its reader; its site has a page of its own."""
    row = _row(session, actor, exam_id)
    if not actor.may(Permission.WORKLIST_VIEW, row.exam.site_id):
        return RedirectResponse(f"/site/exams/{row.exam.id}", 303)
    worklist.viewed(session, actor, row.exam)
    reading.images_opened(session, actor, row.exam)
    return render(request, "reports/reading.html", exam_page(request, session, context, actor, row))


@router.get("/exams/{exam_id}/banners")
def banners(
    request: Request,
    session: ReadingDep,
    exam_id: str,
    actor: Annotated[Actor, guard(Permission.WORKLIST_VIEW)],
) -> Response:
    """Return what a reader must know of the exam just now: late objects, conflicts, rejection."""
    row = _row(session, actor, exam_id)
    return render(
        request,
        "reports/_banners.html",
        {"row": row, "exam": row.exam, "contested": _contested(session, row.exam)},
    )


@router.post("/exams/{exam_id}/draft")
def save_draft(
    context: ContextDep, session: SessionDep, exam_id: str, sent: DraftToSave, actor: Writer
) -> DraftSaved:
    """Save the text as it is typed."""
    fields = sent.fields
    draft = Draft(
        findings=fields.findings,
        impression=fields.impression,
        positive={"yes": True, "no": False}.get(fields.positive or ""),
    )
    report = service.save(session, actor, exam_id, draft, revision=sent.version, now=context.clock())
    return DraftSaved(version=report.revision, saved_at=report.saved_at)


@router.post("/exams/{exam_id}/submit")
def submit(
    request: Request, context: ContextDep, session: SessionDep, exam_id: str, actor: Writer
) -> Response:
    """Hand the report to a second doctor."""
    service.submit(session, actor, exam_id, now=context.clock())
    return go(request, "/worklist")


@router.get("/exams/{exam_id}/key-images")
def key_images(
    request: Request,
    context: ContextDep,
    session: ReadingDep,
    exam_id: str,
    actor: Annotated[Actor, guard(Permission.WORKLIST_VIEW)],
) -> Response:
    """Return the pictures chosen for the report."""
    page = exam_page(request, session, context, actor, _row(session, actor, exam_id))
    return render(request, "reports/_key_images.html", page)


@router.post("/exams/{exam_id}/key-images")
def choose_key_image(
    context: ContextDep, session: SessionDep, exam_id: str, sent: PictureToAdd, actor: Writer
) -> dict[str, str]:
    """Choose a picture for the report."""
    window = None
    if sent.window_center is not None and sent.window_width is not None:
        window = (sent.window_center, sent.window_width)
    picture = Picture(sent.sop_instance_uid, sent.frame, window)
    chosen = service.choose_key_image(session, actor, exam_id, picture, now=context.clock())
    return {"id": chosen.id}


@router.post("/exams/{exam_id}/key-images/drop")
def drop_key_image(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    exam_id: str,
    actor: Writer,
    sop_uid: Annotated[str, Form()],
    frame: Annotated[int, Form()] = 1,
) -> Response:
    """Take a picture out of the report."""
    service.drop_key_image(session, actor, exam_id, sop_uid, frame)
    session.flush()
    page = exam_page(request, session, context, actor, _row(session, actor, exam_id))
    return render(request, "reports/_key_images.html", page)


@router.post("/exams/{exam_id}/sign")
def sign(
    request: Request,
    context: ContextDep,
    exam_id: str,
    actor: Signer,
    password: Annotated[str, Form()] = "",
    revision: Annotated[int | None, Form()] = None,
) -> Response:
    """Sign the report with the own password; a refusal comes back inside the form."""
    try:
        signed = signing.sign(context, actor, exam_id, password, revision)
    except HubError as refused:
        if refused.http_status >= HubError.http_status:
            raise
        error = message_of(language_of(request), refused.code, str(refused))
        with context.db.reading() as session:
            page = exam_page(request, session, context, actor, _row(session, actor, exam_id))
        return render(request, "reports/_sign_form.html", {**vars(page), "error": error}, status=422)
    return go(request, f"/reports/{signed.exam_id}")


@dataclass(frozen=True)
class Waiting:
    """A line of the review list."""

    row: ExamRow
    report: Report
    own: bool


@router.get("/reviews")
def reviews(request: Request, session: ReadingDep, actor: Signer) -> Response:
    """Show what waits for a second doctor."""
    exams, lines = WorklistRepository(session), []
    for exam_id, report in ReportRepository(session).submitted(actor):
        row = exams.row(actor, exam_id)
        if row is not None and actor.reads(row.exam.modality):
            lines.append(Waiting(row, report, row.exam.writer_id == actor.id))
    return render(request, "reports/reviews.html", {"lines": lines})


@router.get("/reviews/{exam_id}")
def review(
    request: Request, context: ContextDep, session: SessionDep, exam_id: str, actor: Signer
) -> Response:
    """Show a submitted report beside its images."""
    row = _row(session, actor, exam_id)
    if State(row.exam.state) is not State.SUBMITTED:
        return RedirectResponse(f"/exams/{row.exam.id}", 303)
    service.require_other(actor, row.exam)
    worklist.viewed(session, actor, row.exam)
    reading.images_opened(session, actor, row.exam)
    return render(request, "reports/review.html", exam_page(request, session, context, actor, row))


@router.post("/reviews/{exam_id}/return")
def send_back(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    exam_id: str,
    actor: Signer,
    comment: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Return a report to its writer with a comment."""
    service.send_back(session, actor, exam_id, comment=comment, now=context.clock())
    return go(request, "/reviews")


@dataclass(frozen=True)
class ReportPage:
    """What the page of a signed report shows."""

    row: ExamRow
    exam: Exam
    signed: SignedReport
    version: ReportVersion | None
    writer_name: str
    verdict: Verdict
    problems: Sequence[tuple[str, str]]
    """Code and, where it concerns one object, its UID."""
    timeline: Sequence[Mapping[str, Any]]


def _signed(session: Session, actor: Actor, report_id: str) -> tuple[SignedReport, Exam]:
    found = ReportRepository(session).readable_signed(actor, report_id)
    if found is None:
        raise NotFound("no such report")
    return found


@router.get("/reports/{report_id}")
def report(
    request: Request, context: ContextDep, session: SessionDep, report_id: str, actor: ReportReader
) -> Response:
    """Show a signed report: the document itself, whether it is as signed, and its way."""
    signed, exam = _signed(session, actor, report_id)
    repository = ReportRepository(session)
    verdict = verify(session, context.store, signed, deep=False)
    draft = repository.peek(exam.id)
    service.audit_report(session, Tag.REPORT_VIEW, actor, exam, signed.report_id)
    page = ReportPage(
        row=WorklistRepository(session).row_of(exam),
        exam=exam,
        signed=signed,
        version=repository.version(signed.report_id, signed.version),
        writer_name=draft.writer_name if draft else "",
        verdict=verdict,
        problems=[(code, uid) for code, _, uid in (problem.partition(":") for problem in verdict.problems)],
        timeline=timeline(translator_of(request), WorklistRepository(session).steps(exam.id)),
    )
    return render(request, "reports/report.html", page)
