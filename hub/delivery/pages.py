"""A site's inbox: reports as they come in, read and confirmed by a named person."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.delivery import service
from hub.delivery.documents import hand_out
from hub.delivery.repository import DeliveryRepository, InboxRow
from hub.errors import NotFound
from hub.sites import service as sites
from hub.sites.repository import SiteRepository
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.web.live import LiveEvent
from hub.web.sse import events
from hub.web.templating import render
from hub.worklist.news import TOPIC
from hub.worklist.reading import images_opened
from hub.worklist.repository import WorklistRepository
from hub.worklist.states import State

router = APIRouter(include_in_schema=False)

Receiver = Annotated[Actor, guard(Permission.SITE_PAGE)]
PAGE_ROWS = 100
NEWS = frozenset({State.DELIVERED, State.ACKED})


def _inbox(session: Session, actor: Actor, site: str, show: str, offset: int) -> dict[str, Any]:
    own = actor.sites_for(Permission.SITE_PAGE)
    chosen = own
    if site:
        chosen = frozenset({sites.acting_site(session, actor, Permission.SITE_PAGE, site).id})
    repository = DeliveryRepository(session)
    unread, total = repository.counts(actor, chosen)
    offset = max(0, offset)
    return {
        "rows": repository.inbox(actor, chosen, unread_only=show != "all", limit=PAGE_ROWS, offset=offset),
        "unread": unread,
        "total": total if show == "all" else unread,
        "show": "all" if show == "all" else "unread",
        "site": site,
        "sites": SiteRepository(session).sites(own),
        "offset": offset,
        "page_rows": PAGE_ROWS,
    }


@router.get("/inbox")
def inbox(
    request: Request,
    actor: Receiver,
    session: ReadingDep,
    site: str = "",
    show: str = "unread",
    offset: int = 0,
) -> Response:
    """Show the reports delivered to the sites where the user works, unread ones first."""
    return render(request, "delivery/inbox.html", _inbox(session, actor, site, show, offset))


@router.get("/inbox/rows")
def inbox_rows(
    request: Request,
    actor: Receiver,
    session: ReadingDep,
    site: str = "",
    show: str = "unread",
    offset: int = 0,
) -> Response:
    """Show the list alone, for its live refresh."""
    return render(request, "delivery/_inbox_rows.html", _inbox(session, actor, site, show, offset))


@router.get("/inbox/events")
async def inbox_events(request: Request, actor: Receiver) -> Response:
    """Tell an open inbox of reports that came in or were confirmed at the user's sites."""
    allowed = actor.sites_for(Permission.SITE_PAGE)

    def wanted(event: LiveEvent) -> bool:
        own = event.site_id is not None and (allowed is None or event.site_id in allowed)
        return own and event.topic == TOPIC and event.ids.get("state") in NEWS

    return events(request, wanted, "exam", "exam_id")


@router.get("/inbox/{report_id}")
def open_report(
    request: Request, report_id: str, actor: Receiver, context: ContextDep, session: SessionDep
) -> Response:
    """Show a delivered report with its images; opening it is kept as a receipt."""
    row = _delivered(session, actor, report_id)
    service.opened(session, actor, row.signed, now=context.clock())
    images_opened(session, actor, row.exam)
    session.flush()
    repository = DeliveryRepository(session)
    return render(
        request,
        "delivery/report.html",
        {
            "row": row,
            "exam": row.exam,
            "receipts": repository.receipts(row.delivery.id),
            "attempts": repository.attempts(row.delivery.id),
            "may_acknowledge": actor.may(Permission.REPORT_ACKNOWLEDGE, row.delivery.site_id)
            and row.delivery.acknowledged_at is None,
            "exam_row": WorklistRepository(session).row_of(row.exam),
        },
    )


@router.post("/inbox/{report_id}/acknowledge")
def acknowledge(
    report_id: str,
    context: ContextDep,
    session: SessionDep,
    actor: Annotated[Actor, guard(Permission.REPORT_ACKNOWLEDGE)],
) -> Response:
    """Confirm having read a report, once, under the own name."""
    row = _delivered(session, actor, report_id)
    service.acknowledge(session, actor, row.signed, now=context.clock())
    return RedirectResponse(f"/inbox/{row.signed.id}", 303)


@router.get("/reports/{report_id}/pdf")
def report_pdf(
    report_id: str,
    context: ContextDep,
    actor: Annotated[Actor, guard(Permission.REPORT_VIEW)],
    download: bool = False,
) -> Response:
    """Show a signed document, or save it: byte for byte as it was signed."""
    document = hand_out(context, actor, report_id)
    kind = "attachment" if download else "inline"
    return Response(
        document.content,
        media_type="application/pdf",
        headers={"Content-Disposition": f'{kind}; filename="{document.file_name}"'},
    )


def _delivered(session: Session, actor: Actor, report_id: str) -> InboxRow:
    row = DeliveryRepository(session).delivered(actor, report_id)
    if row is None or not actor.may(Permission.SITE_PAGE, row.delivery.site_id):
        raise NotFound("no such report")
    return row
