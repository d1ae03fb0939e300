"""Two patients in one study, and one UID with two contents: both sides shown, and what people decide."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.repository import AuthRepository
from hub.auth.roles import Permission
from hub.catalogue import conflicts
from hub.catalogue.repository import CatalogueRepository
from hub.context import Context
from hub.dicom.render import render_frame
from hub.errors import HubError, NotFound
from hub.sites.repository import SiteRepository
from hub.web.deps import ContextDep, SessionDep
from hub.web.errors import explain, message_of
from hub.web.templating import language_of, render, translator_of
from hub.worklist import conflicts as desk
from hub.worklist.desk import open_item
from hub.worklist.names import note_view
from hub.worklist.repository import WorklistRepository

router = APIRouter(include_in_schema=False)

PICTURE_SIZE = (256, 256)

ConflictActor = Annotated[Actor, guard(*desk.MAY_SEE)]
TechnicianActor = Annotated[Actor, guard(Permission.DESK_MATCH)]
LIST = "/desk?show=conflicts"


@router.get("/desk/conflicts/{study_id}")
def two_patients_page(
    request: Request, context: ContextDep, session: SessionDep, actor: ConflictActor, study_id: str
) -> Response:
    """Show a study's patient beside those whose objects came under it."""
    page = _two(request, context, session, actor, study_id)
    study = CatalogueRepository(session).study(study_id)
    if study is not None:
        note_view(session, actor, study)
    return page


@router.post("/desk/conflicts/{study_id}/propose")
def propose(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: TechnicianActor,
    study_id: str,
    item: Annotated[list[str], Form()],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Propose that objects are the study's own patient; another person confirms."""
    desk.require_technician(session, actor, study_id)
    chosen = desk.items_of(session, actor, study_id, item)
    try:
        with session.begin_nested():
            conflicts.propose_same_patient(session, actor, chosen, reason, now=context.clock())
    except HubError as refused:
        return _two(
            request, context, session, actor, study_id, explain(request, refused), refused.http_status
        )
    return RedirectResponse(f"/desk/conflicts/{study_id}", 303)


@router.post("/desk/conflicts/{study_id}/confirm")
def confirm(
    request: Request,
    context: ContextDep,
    actor: ConflictActor,
    study_id: str,
    item: Annotated[list[str], Form()],
) -> Response:
    """Confirm what another person proposed: the objects are filed under the study."""
    with context.db.reading() as session:
        chosen = desk.items_of(session, actor, study_id, item)
    result = desk.file_as_proposed(context, actor, chosen)
    if not result.refused:
        return RedirectResponse(LIST, 303)
    lang = language_of(request)
    reasons = "; ".join(sorted({message_of(lang, code, code) for _, code in result.refused}))
    told = translator_of(request)(
        "desk.filed_partly", filed=result.filed, refused=len(result.refused), reasons=reasons
    )
    with context.db.reading() as session:
        return _two(request, context, session, actor, study_id, told, 409)


@router.post("/desk/conflicts/{study_id}/dismiss")
def dismiss(
    session: SessionDep, actor: ConflictActor, study_id: str, item: Annotated[list[str], Form()]
) -> Response:
    """Take a proposal back."""
    conflicts.dismiss(session, actor, desk.items_of(session, actor, study_id, item))
    return RedirectResponse(f"/desk/conflicts/{study_id}", 303)


@router.post("/desk/conflicts/{study_id}/discard")
def discard(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: TechnicianActor,
    study_id: str,
    item: Annotated[list[str], Form()],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Leave objects out of the study; their bytes are kept."""
    desk.require_technician(session, actor, study_id)
    try:
        with session.begin_nested():
            for item_id in desk.items_of(session, actor, study_id, item):
                conflicts.close(session, actor, item_id, conflicts.DISCARDED, reason, now=context.clock())
    except HubError as refused:
        return _two(
            request, context, session, actor, study_id, explain(request, refused), refused.http_status
        )
    return RedirectResponse(LIST, 303)


@router.get("/desk/items/{item_id}/picture")
def picture(context: ContextDep, session: SessionDep, actor: TechnicianActor, item_id: str) -> Response:
    """Draw a quarantined object small, for the technician of its site."""
    item = CatalogueRepository(session).peek_quarantined(item_id)
    if item is None or item.site_id is None or not actor.may(Permission.DESK_MATCH, item.site_id):
        raise NotFound
    with open_item(context, item) as file:
        drawn = render_frame(file, 0, size=PICTURE_SIZE)
    return Response(drawn, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})


@router.get("/desk/clashes/{item_id}")
def clash_page(
    request: Request, context: ContextDep, session: SessionDep, actor: TechnicianActor, item_id: str
) -> Response:
    """Show two objects with one UID beside each other."""
    both = desk.clash(context, session, actor, item_id)
    if both.study is not None:
        note_view(session, actor, both.study)
    return _clash(request, session, both)


@router.post("/desk/clashes/{item_id}")
def decide_clash(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: TechnicianActor,
    item_id: str,
    keep: Annotated[str, Form(pattern=f"^({conflicts.KEPT_FIRST}|{conflicts.KEPT_BOTH})$")],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """End the conflict; what is filed stays as it is, and both contents are kept."""
    both = desk.clash(context, session, actor, item_id)
    try:
        with session.begin_nested():
            conflicts.close(session, actor, item_id, keep, reason, now=context.clock())
    except HubError as refused:
        return _clash(request, session, both, refused)
    return RedirectResponse(LIST, 303)


def _clash(request: Request, session: Session, both: desk.Clash, refused: HubError | None = None) -> Response:
    site = SiteRepository(session).site(both.item.site_id or "")
    page = {"both": both, "site": site, "error": explain(request, refused) if refused else ""}
    return render(request, "desk/clash.html", page, refused.http_status if refused else 200)


def _two(
    request: Request,
    context: Context,
    session: Session,
    actor: Actor,
    study_id: str,
    error: str = "",
    status: int = 200,
) -> Response:
    found = desk.two_patients(context, session, actor, study_id)
    page = {
        "found": found,
        "site": SiteRepository(session).site(found.study.site_id),
        "exam": WorklistRepository(session).exam_of_study(found.study.id),
        "people": {user.id: user.name for user in AuthRepository(session).users()},
        "me": actor.id,
        "decides": actor.may(Permission.DESK_MATCH, found.study.site_id),
        "error": error,
    }
    return render(request, "desk/two_patients.html", page, status)
