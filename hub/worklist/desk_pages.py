"""The desk's pages: quarantined objects and refused devices for IT, mismatches for the site's technician."""

from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.repository import AuthRepository
from hub.auth.roles import Permission
from hub.catalogue.conflict_repository import ConflictRepository, Contested
from hub.catalogue.conflicts import CONFLICTS
from hub.catalogue.models import Quarantined
from hub.catalogue.repository import CatalogueRepository
from hub.context import Context
from hub.errors import Forbidden, HubError, NotFound
from hub.sites.repository import SiteRepository
from hub.web import i18n
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.web.errors import explain, message_of
from hub.web.templating import language_of, render, translator_of
from hub.worklist import desk, matching, name_pages, refusals
from hub.worklist.conflicts import MAY_SEE
from hub.worklist.names import MAY_CORRECT
from hub.worklist.repository import ExamRow, Filter, WorklistRepository
from hub.worklist.service import viewed, visible
from hub.worklist.states import State

router = APIRouter(include_in_schema=False)

QUARANTINE = Permission.DESK_QUARANTINE
MATCH = Permission.DESK_MATCH
TABS = (
    ("unmatched", (MATCH,)),
    ("quarantine", (QUARANTINE,)),
    ("conflicts", MAY_SEE),
    ("names", MAY_CORRECT),
    ("refused", (QUARANTINE,)),
    ("resolved", (QUARANTINE,)),
)
DATE_LENGTH = 8

DeskActor = Annotated[Actor, guard(MATCH, QUARANTINE)]
ItActor = Annotated[Actor, guard(QUARANTINE)]
TechnicianActor = Annotated[Actor, guard(MATCH)]


@router.get("/desk")
def desk_page(
    request: Request, session: ReadingDep, actor: DeskActor, show: str = "", q: str = ""
) -> Response:
    """Show one list of the desk; which ones there are depends on the post. `q` searches among the names."""
    allowed = [name for name, permissions in TABS if any(map(actor.may, permissions))]
    chosen = show or allowed[0]
    if chosen not in allowed:
        raise Forbidden
    lists: dict[str, Any] = {
        "unmatched": _unmatched,
        "conflicts": _conflicts,
        "names": lambda session, actor: name_pages.listed(session, actor, q),
        "quarantine": _quarantined,
        "refused": lambda session, _: refusals.listed(session),
        "resolved": _resolved,
    }
    t = translator_of(request)
    page = {
        "show": chosen,
        "tabs": [{"href": f"/desk?show={name}", "text": t(f"desk.tab.{name}")} for name in allowed],
        "rows": lists[chosen](session, actor),
        "sites": {site.id: site.name for site in SiteRepository(session).sites()},
        "reason_text": _reasons(request),
        "advice": _advice(request),
        "q": q,
    }
    return render(request, "desk/page.html", page)


@router.get("/desk/quarantine/{item_id}")
def item_page(
    request: Request, context: ContextDep, session: ReadingDep, _actor: ItActor, item_id: str
) -> Response:
    """Show one quarantined item with what can be read of it."""
    return _item(request, context, session, item_id)


@router.post("/desk/quarantine/{item_id}/file")
def file_item(
    request: Request,
    context: ContextDep,
    actor: ItActor,
    item_id: str,
    site: Annotated[str, Form()],
    whole_sender: Annotated[bool, Form()] = False,
    register_device: Annotated[bool, Form()] = False,
) -> Response:
    """File an item, or all of its sender, under a site; register the sender if wanted."""
    with context.db.transaction() as session:
        item = CatalogueRepository(session).quarantined(item_id)
        chosen = SiteRepository(session).site(site)
        if item is None or chosen is None:
            raise NotFound
        if register_device:
            desk.register_sender(context, session, item, chosen, actor.ref)
        wanted = desk.same_sender(session, item) if whole_sender else [item.id]
    result = desk.file_under(context, wanted, chosen.id, chosen.code, actor.ref)
    if not result.refused:
        return RedirectResponse("/desk?show=quarantine", 303)
    lang = language_of(request)
    reasons = sorted({message_of(lang, code, code) for _, code in result.refused})
    t = translator_of(request)
    told = t("desk.filed_partly", filed=result.filed, refused=len(result.refused), reasons="; ".join(reasons))
    with context.db.reading() as session:
        return _item(request, context, session, item_id, told, 422)


@router.post("/desk/quarantine/{item_id}/aside")
def set_aside(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: ItActor,
    item_id: str,
    reason: Annotated[str, Form()] = "",
) -> Response:
    """Close an item without filing it."""
    try:
        desk.set_aside(context, session, item_id, reason, actor.ref)
    except desk.ReasonMissing as refused:
        return _item(request, context, session, item_id, explain(request, refused), refused.http_status)
    return RedirectResponse("/desk?show=quarantine", 303)


@router.get("/desk/exams/{exam_id}")
def unmatched_page(request: Request, session: SessionDep, actor: TechnicianActor, exam_id: str) -> Response:
    """Show an order and the objects that contradict it next to each other."""
    exam = visible(session, actor, exam_id)
    if not actor.may(MATCH, exam.site_id) or State(exam.state) is not State.UNMATCHED:
        raise NotFound
    viewed(session, actor, exam)
    return _comparison(request, session, actor, exam_id)


@router.post("/desk/exams/{exam_id}/resolve")
def resolve(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: TechnicianActor,
    exam_id: str,
    belongs: Annotated[bool, Form()],
    reason: Annotated[str, Form()] = "",
) -> Response:
    """Decide whether the objects belong to the order, with the reason in words."""
    exam = visible(session, actor, exam_id)
    if not reason.strip():
        return _comparison(request, session, actor, exam_id, desk.ReasonMissing())
    matching.resolve(
        session,
        actor,
        exam.id,
        belongs=belongs,
        reason=reason.strip(),
        settings=context.settings,
        now=context.clock(),
    )
    return RedirectResponse("/desk?show=unmatched", 303)


def _unmatched(session: Session, actor: Actor) -> list[ExamRow]:
    rows = WorklistRepository(session).rows(actor, Filter(states=frozenset({State.UNMATCHED})))
    return [row for row in rows if actor.may(MATCH, row.exam.site_id)]


def _conflicts(session: Session, actor: Actor) -> list[tuple[Contested | None, Quarantined | None]]:
    """Return studies with two patients, then objects whose UID is taken, which only technicians decide."""
    repository = ConflictRepository(session)
    contested = repository.contested(actor.sites_for(*MAY_SEE))
    clashes = repository.clashes(actor.sites_for(MATCH))
    return [(study, None) for study in contested] + [(None, item) for item in clashes]


def _quarantined(session: Session, actor: Actor) -> Any:
    items = CatalogueRepository(session).quarantine_desk(actor.sites_for(QUARANTINE))
    return [item for item in items if item.reason not in CONFLICTS]


def _resolved(session: Session, actor: Actor) -> Any:
    logins = {user.id: user.login for user in AuthRepository(session).users()}
    items = CatalogueRepository(session).quarantine_desk(actor.sites_for(QUARANTINE), resolved=True)
    return [(item, logins.get(item.resolved_by or "", "")) for item in items]


def _reasons(request: Request) -> Any:
    """Return what turns a reason's code into words."""
    lang = language_of(request)

    def words(code: str) -> str:
        key = f"desk.reason.{code}"
        return (
            str(i18n.translator(lang)(key)) if key in i18n.catalogue(lang) else message_of(lang, code, code)
        )

    return words


def _advice(request: Request) -> Callable[[str], str]:
    """Return what turns a reason's code into what to do; empty for one that needs nothing."""
    lang = language_of(request)

    def words(code: str) -> str:
        key = f"desk.advice.{code}"
        return str(i18n.translator(lang)(key)) if key in i18n.catalogue(lang) else ""

    return words


def _item(
    request: Request,
    context: Context,
    session: Session,
    item_id: str,
    error: str = "",
    status: int = 200,
) -> Response:
    item = CatalogueRepository(session).peek_quarantined(item_id)
    if item is None:
        raise NotFound
    repository = SiteRepository(session)
    page = {
        "item": item,
        "seen": desk.glimpse(context, item),
        "same_sender": len(desk.same_sender(session, item)),
        "sites": [(site.id, site.name) for site in repository.sites()],
        "site_names": {site.id: site.name for site in repository.sites()},
        "reason_text": _reasons(request),
        "decided_by_site": item.reason in CONFLICTS,
        "error": error,
    }
    return render(request, "desk/item.html", page, status)


def _comparison(
    request: Request, session: Session, actor: Actor, exam_id: str, refused: HubError | None = None
) -> Response:
    exam = visible(session, actor, exam_id)
    site = SiteRepository(session).site(exam.site_id)
    page = {
        "both": desk.compare(session, exam),
        "site": site,
        "error": explain(request, refused) if refused else "",
        "as_date": _as_date,
    }
    return render(request, "desk/unmatched.html", page, refused.http_status if refused else 200)


def _as_date(text: str) -> str:
    """Show YYYYMMDD as a date; what is no whole date stays as it is."""
    try:
        return date.fromisoformat(text).isoformat() if len(text) == DATE_LENGTH else text
    except ValueError:
        return text
