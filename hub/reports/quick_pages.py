"""The quick list: routine ECGs one after the other, by keyboard."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.context import Context
from hub.errors import HubError
from hub.reports import quick
from hub.reports.quick import Judged, Signed
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.web.errors import explain
from hub.web.templating import render
from hub.worklist import campaign, reading
from hub.worklist import service as worklist
from hub.worklist.campaign import NotForCampaign
from hub.worklist.pages import go
from hub.worklist.reading import NothingToRead
from hub.worklist.repository import ExamRow
from hub.worklist.service import LeaseLost

router = APIRouter(prefix="/ecg/quick", include_in_schema=False)

Reader = Annotated[Actor, guard(Permission.REPORT_SIGN_ALONE)]
Skipped = Annotated[str, Form(max_length=4000)]


@dataclass(frozen=True)
class QuickPage:
    """What the list shows: one ECG, or where the reader stands."""

    waiting: int
    judged: Sequence[Judged]
    pressing: int
    row: ExamRow | None = None
    skipped: str = ""
    signed: Sequence[tuple[Signed, str]] = ()
    """With the sentence that says why one was not signed."""
    error: str = ""
    lease_every: int = 60
    most: int = quick.MOST_UNSIGNED


def _page(session: Session, context: Context, actor: Actor, **more: object) -> QuickPage:
    return QuickPage(
        quick.waiting_count(session, actor),
        quick.judged(session, actor, context.settings),
        campaign.pressing(session, actor),
        **more,  # type: ignore[arg-type]  # the fields by their names
    )


def _put_back(skipped: str) -> tuple[str, ...]:
    return tuple(part for part in skipped.split(",") if part)


@router.get("")
def overview(request: Request, context: ContextDep, session: ReadingDep, actor: Reader) -> Response:
    """Show how many wait, and what waits for a signature."""
    return render(request, "reports/quick.html", _page(session, context, actor))


@router.get("/pressing")
def pressing(request: Request, session: ReadingDep, actor: Reader) -> Response:
    """Return the notice of ECGs that must not wait, for a page that asks every few seconds."""
    return render(request, "reports/_quick_pressing.html", {"pressing": campaign.pressing(session, actor)})


@router.post("/next")
def take_next(
    request: Request, context: ContextDep, session: SessionDep, actor: Reader, skipped: Skipped = ""
) -> Response:
    """Take the next ECG and open it; back to the overview when none is left."""
    return _next(request, context, session, actor, skipped)


@router.get("/{exam_id}")
def one(
    request: Request, context: ContextDep, session: SessionDep, exam_id: str, actor: Reader, skipped: str = ""
) -> Response:
    """Show one ECG that the reader holds."""
    try:
        row = quick.current(session, actor, exam_id)
    except LeaseLost:
        return RedirectResponse("/ecg/quick", 303)
    except NotForCampaign:
        return RedirectResponse(f"/exams/{exam_id}", 303)
    worklist.viewed(session, actor, row.exam)
    reading.images_opened(session, actor, row.exam)
    every = max(1, min(60, context.settings.lease_seconds // 3))
    page = _page(session, context, actor, row=row, skipped=skipped[:4000], lease_every=every)
    return render(request, "reports/quick.html", page)


@router.post("/{exam_id}/normal")
def normal(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    exam_id: str,
    actor: Reader,
    skipped: Skipped = "",
) -> Response:
    """Call the ECG normal and go on with the next one."""
    waiting = quick.call_normal(session, actor, exam_id, settings=context.settings, now=context.clock())
    session.flush()
    if waiting >= quick.MOST_UNSIGNED:
        return go(request, "/ecg/quick")
    return _next(request, context, session, actor, skipped)


@router.post("/{exam_id}/skip")
def skip(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    exam_id: str,
    actor: Reader,
    skipped: Skipped = "",
) -> Response:
    """Put the ECG back and go on with the next one."""
    worklist.release(session, actor, exam_id, reason="", now=context.clock())
    session.flush()
    return _next(request, context, session, actor, ",".join((*_put_back(skipped), exam_id)))


@router.post("/sign")
def sign(
    request: Request, context: ContextDep, actor: Reader, password: Annotated[str, Form()] = ""
) -> Response:
    """Sign what was called normal; a refusal of the password comes back on the page."""
    error, done = "", list[tuple[Signed, str]]()
    try:
        for each in quick.sign_all(context, actor, password):
            done.append((each, explain(request, each.refused) if each.refused else ""))
    except HubError as refused:
        if refused.http_status >= HubError.http_status:
            raise
        error = explain(request, refused)
    with context.db.reading() as session:
        page = _page(session, context, actor, signed=done, error=error)
    return render(request, "reports/quick.html", page, status=422 if error else 200)


def _next(request: Request, context: Context, session: Session, actor: Actor, skipped: str) -> Response:
    try:
        exam = campaign.claim_next(
            session, actor, _put_back(skipped), settings=context.settings, now=context.clock()
        )
    except NothingToRead:
        return go(request, "/ecg/quick")
    return go(request, f"/ecg/quick/{exam.id}?skipped={','.join(_put_back(skipped))}")
