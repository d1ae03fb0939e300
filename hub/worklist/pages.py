"""The worklist and what a reader does to an exam on it: claim, renew, release, reject."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import READS_MODALITIES, Permission
from hub.sites.models import Site
from hub.sites.repository import SiteRepository
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.web.live import LiveEvent, LiveFeed, Subscription
from hub.web.templating import is_fragment, render, toast, translator_of
from hub.worklist import reading, service
from hub.worklist.news import TOPIC
from hub.worklist.repository import VIEW_PERMISSIONS, ExamRow, Filter, WorklistRepository
from hub.worklist.states import READING_STATES, SIGNED_STATES, State

router = APIRouter(include_in_schema=False)

GROUPS: dict[str, frozenset[State]] = {
    "open": READING_STATES - {State.REJECTED} | {State.UNMATCHED},
    "waiting": frozenset({State.COMPLETE}),
    "reading": frozenset({State.CLAIMED, State.DRAFT, State.RETURNED}),
    "review": frozenset({State.SUBMITTED}),
    "arriving": frozenset({State.RECEIVING, State.UNMATCHED}),
    "rejected": frozenset({State.REJECTED}),
    "done": SIGNED_STATES,
}
"""Tabs of the worklist and the states each shows."""

KINDS = {"imaging", "ecg"}
PAGE_ROWS = 100
HEARTBEAT_SECONDS = 15.0
GATHER_SECONDS = 0.1
"""News within this time reaches a page as one event: much of it comes in pairs."""
REST_SECONDS, PRESSING_REST_SECONDS = 1.0, 0.4
"""After an event a page hears nothing for so long, of what is not critical and of what is.

A list costs the hub a tenth of a second to make and the browser as much to show: in a busy hour
it must not be all that they do.
"""
STREAM_SECONDS = 1800.0
"""A stream ends after this time and the page connects anew: what the account may see is checked again."""


@dataclass(frozen=True)
class Choice:
    """What the reader has narrowed the list to."""

    group: str
    modality: str
    """``imaging``, ``ecg``, one modality, or empty for all."""
    site: str
    text: str
    mine: bool

    @property
    def narrow(self) -> Filter:
        """The repository's filter, without the states."""
        return Filter(
            modality="" if self.modality in KINDS else self.modality,
            kind=self.modality if self.modality in KINDS else "",  # type: ignore[arg-type]  # just checked
            site_id=self.site,
            text=self.text,
        )

    def query(self, **changes: Any) -> str:
        """Return the address's query of this choice with some fields changed."""
        from urllib.parse import urlencode

        fields = {
            "group": self.group,
            "modality": self.modality or "all",
            "site": self.site,
            "text": self.text,
            "mine": "1" if self.mine else "",
        } | changes
        return urlencode({name: value for name, value in fields.items() if value})


@dataclass(frozen=True)
class WorklistPage:
    """What the page and its rows show."""

    choice: Choice
    rows: Sequence[ExamRow]
    counts: Mapping[str, int]
    groups: Sequence[str]
    sites: Sequence[Site]
    modalities: Sequence[str]
    full: bool
    """More exams fit the filter than are shown."""
    licensed: frozenset[str]


def licensed_kind(actor: Actor) -> str:
    """Return the half of the worklist the actor is licensed for; empty when it is both or neither."""
    kinds = {READS_MODALITIES[role] for role in actor.roles if role in READS_MODALITIES}
    return kinds.pop() if len(kinds) == 1 else ""


def _choice(request: Request, actor: Actor) -> Choice:
    query = request.query_params
    group = query.get("group", "open")
    modality = query.get("modality", licensed_kind(actor))
    return Choice(
        group=group if group in GROUPS else "open",
        modality="" if modality == "all" else modality[:16],
        site=query.get("site", "")[:26],
        text=query.get("text", "").strip()[:64],
        mine=query.get("mine", "") == "1",
    )


def _page(session: Session, actor: Actor, choice: Choice) -> WorklistPage:
    repository = WorklistRepository(session)
    mine = {"owner_id": actor.id} if choice.mine else {}
    narrow = Filter(**{**vars(choice.narrow), **mine})
    rows = repository.rows(
        actor,
        Filter(**{**vars(narrow), "states": GROUPS[choice.group]}),
        newest_first=choice.group == "done",
        limit=PAGE_ROWS + 1,
    )
    states = repository.counts(actor, narrow)
    return WorklistPage(
        choice=choice,
        rows=rows[:PAGE_ROWS],
        counts={name: sum(states.get(state, 0) for state in group) for name, group in GROUPS.items()},
        groups=tuple(GROUPS),
        sites=SiteRepository(session).sites(actor.sites_for(*VIEW_PERMISSIONS)),
        modalities=repository.modalities(actor, frozenset(State) - {State.CANCELLED}),
        full=len(rows) > PAGE_ROWS,
        licensed=frozenset(m for m in {row.exam.modality for row in rows} if actor.reads(m)),
    )


@router.get("/worklist")
def worklist(
    request: Request, session: ReadingDep, actor: Annotated[Actor, guard(Permission.WORKLIST_VIEW)]
) -> Response:
    """Show what waits to be read, most urgent first."""
    return render(request, "worklist/page.html", _page(session, actor, _choice(request, actor)))


@router.get("/worklist/rows")
def rows(
    request: Request, session: ReadingDep, actor: Annotated[Actor, guard(Permission.WORKLIST_VIEW)]
) -> Response:
    """Return the rows and the counts as they are now, for a page that has heard news."""
    return render(request, "worklist/_rows.html", _page(session, actor, _choice(request, actor)))


@router.get("/worklist/events")
async def events(
    request: Request, actor: Annotated[Actor, guard(Permission.WORKLIST_VIEW, Permission.EXAM_VIEW)]
) -> StreamingResponse:
    """Tell an open page that exams which it may see have changed: their ids, nothing else."""
    sites = actor.sites_for(*VIEW_PERMISSIONS)

    def wanted(event: LiveEvent) -> bool:
        return event.topic == TOPIC and (sites is None or event.site_id in sites)

    return StreamingResponse(
        _news(request.app.state.live, wanted),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _news(feed: LiveFeed, wanted: Callable[[LiveEvent], bool]) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    ends = time.monotonic() + STREAM_SECONDS
    with feed.subscribe(wanted) as subscription:
        yield _event(())  # what changed between the page's making and now
        told = time.monotonic()
        while not subscription.closed and time.monotonic() < ends:
            event = await subscription.next(HEARTBEAT_SECONDS)
            if event is None:
                yield ": \n\n"
                continue
            ids = await _gathered(subscription, event, told)
            told = time.monotonic()
            yield _event(sorted(ids - {""}))


async def _gathered(subscription: Subscription, first: LiveEvent, told: float) -> set[str]:
    """Return the exams of the news that comes until the page may hear again."""
    now = time.monotonic()
    until = max(now + GATHER_SECONDS, told + REST_SECONDS)
    ids: set[str] = set()
    event: LiveEvent | None = first
    while event is not None:
        ids.add(event.ids.get("exam_id", ""))
        if event.ids.get("pressing"):
            until = max(now + GATHER_SECONDS, told + PRESSING_REST_SECONDS)
        event = await subscription.next(max(0.0, until - time.monotonic()))
    return ids


def _event(exam_ids: Sequence[str]) -> str:
    return f"event: exam\ndata: {' '.join(exam_ids)}\n\n"


@router.post("/worklist/next")
def take_next(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: Annotated[Actor, guard(Permission.EXAM_CLAIM)],
) -> Response:
    """Claim the first exam that waits, within the page's filter, and open it."""
    narrow = _choice(request, actor).narrow
    exam = reading.claim_next(session, actor, narrow, settings=context.settings, now=context.clock())
    return go(request, f"/exams/{exam.id}")


@router.post("/exams/{exam_id}/claim")
def claim(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    exam_id: str,
    actor: Annotated[Actor, guard(Permission.EXAM_CLAIM)],
) -> Response:
    """Take an exam to read it."""
    exam = service.claim(session, actor, exam_id, settings=context.settings, now=context.clock())
    return go(request, f"/exams/{exam.id}")


@router.post("/exams/{exam_id}/lease")
def renew(
    context: ContextDep,
    session: SessionDep,
    exam_id: str,
    actor: Annotated[Actor, guard(Permission.EXAM_CLAIM)],
) -> dict[str, str]:
    """Prolong a claim: the page is still open."""
    until = service.renew(session, actor, exam_id, settings=context.settings, now=context.clock())
    return {"until": until.isoformat()}


@router.post("/exams/{exam_id}/release")
def release(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    exam_id: str,
    actor: Annotated[Actor, guard(Permission.EXAM_CLAIM, Permission.EXAM_RELEASE)],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Give an exam back; its draft is kept."""
    service.release(session, actor, exam_id, reason=reason, now=context.clock())
    return go(request, "/worklist")


@router.post("/exams/{exam_id}/reject")
def reject(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    exam_id: str,
    actor: Annotated[Actor, guard(Permission.EXAM_REJECT)],
    code: Annotated[str, Form()] = "",
    text: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Send an exam back to its site to be taken again."""
    service.reject(session, actor, exam_id, code=code, text=text, now=context.clock())
    return go(request, "/worklist")


@router.post("/exams/{exam_id}/late-objects")
def saw_late_objects(
    request: Request,
    session: SessionDep,
    exam_id: str,
    actor: Annotated[Actor, guard(Permission.EXAM_CLAIM, Permission.REPORT_REVIEW)],
) -> Response:
    """Close the notice that objects came late."""
    reading.saw_late_objects(session, actor, exam_id)
    done = toast("ok", translator_of(request)("worklist.late_seen"))
    return (
        Response(status_code=200, headers=done) if is_fragment(request) else go(request, f"/exams/{exam_id}")
    )


def go(request: Request, address: str) -> Response:
    """Lead the browser on after a change, whichever way it asked."""
    if is_fragment(request):
        return Response(status_code=204, headers={"HX-Redirect": address})
    return RedirectResponse(address, 303)
