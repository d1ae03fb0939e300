"""Correcting the name of a study's patient, from its bytes or by typing it."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.catalogue import corrections
from hub.catalogue.corrections_repository import CorrectionRepository
from hub.catalogue.models import Study
from hub.catalogue.repository import CatalogueRepository
from hub.errors import HubError, NotFound
from hub.kit.text import known_charset
from hub.sites import service as sites
from hub.sites.models import Device
from hub.sites.repository import SiteRepository
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.web.errors import explain, message_of
from hub.web.templating import language_of, render, translator_of
from hub.worklist import names
from hub.worklist.repository import WorklistRepository

router = APIRouter(include_in_schema=False)

NamesActor = Annotated[Actor, guard(*names.MAY_CORRECT)]
ItActor = Annotated[Actor, guard(Permission.ADMINISTER)]


@router.get("/desk/names/{study_id}")
def name_page(request: Request, session: SessionDep, actor: NamesActor, study_id: str) -> Response:
    """Show the bytes of a name and every way in which they can be read."""
    study = names.visible_study(session, actor, study_id)
    names.note_view(session, actor, study)
    return _page(request, session, actor, study)


@router.post("/desk/names/{study_id}")
def correct_name(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: NamesActor,
    study_id: str,
    charset: Annotated[str, Form(max_length=64)] = "",
    name: Annotated[str, Form(max_length=200)] = "",
    reason: Annotated[str, Form(max_length=500)] = "",
    for_device: Annotated[str, Form()] = "",
) -> Response:
    """Correct the name; with `for_device` the device is known to write that character set from now on."""
    study = names.visible_study(session, actor, study_id)
    try:
        with session.begin_nested():
            names.correct(
                session,
                actor,
                study_id,
                charset=charset,
                name=name,
                reason=reason,
                settings=context.settings,
                now=context.clock(),
            )
            if for_device and charset and actor.may(Permission.ADMINISTER):
                sites.change_device(session, for_device, actor=actor.ref, charset=charset)
    except HubError as refused:
        typed = {"charset": charset, "name": name, "reason": reason}
        return _page(request, session, actor, study, refused, typed)
    if for_device and charset and actor.may(Permission.ADMINISTER):
        return RedirectResponse(f"/desk/devices/{for_device}/names", 303)
    return RedirectResponse(f"/desk/names/{study_id}", 303)


@router.post("/desk/names/{study_id}/undo")
def undo_name(
    request: Request, context: ContextDep, session: SessionDep, actor: NamesActor, study_id: str
) -> Response:
    """Take the latest correction back."""
    study = names.visible_study(session, actor, study_id)
    try:
        with session.begin_nested():
            names.undo(session, actor, study_id, settings=context.settings, now=context.clock())
    except HubError as refused:
        return _page(request, session, actor, study, refused)
    return RedirectResponse(f"/desk/names/{study_id}", 303)


@router.get("/desk/devices/{device_id}/names")
def device_names(request: Request, session: ReadingDep, _actor: ItActor, device_id: str) -> Response:
    """Show the other doubtful names of a device, as its character set reads them."""
    return _device_page(request, session, device_id)


@router.post("/desk/devices/{device_id}/names")
def correct_device_names(
    request: Request,
    context: ContextDep,
    actor: ItActor,
    device_id: str,
    study: Annotated[list[str], Form()],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Read the chosen names of a device in its character set."""
    with context.db.reading() as session:
        charset = _device(session, device_id).charset or ""
    result = names.correct_all(context, actor, study, charset, reason)
    if not result.refused:
        return RedirectResponse("/desk?show=names", 303)
    lang = language_of(request)
    reasons = "; ".join(sorted({message_of(lang, code, code) for _, code in result.refused}))
    told = translator_of(request)(
        "desk.names.partly", done=result.corrected, refused=len(result.refused), reasons=reasons
    )
    with context.db.reading() as session:
        return _device_page(request, session, device_id, told, 422)


def _device(session: Session, device_id: str) -> Device:
    device = SiteRepository(session).device(device_id)
    if device is None:
        raise NotFound
    return device


def _device_page(
    request: Request, session: Session, device_id: str, error: str = "", status: int = 200
) -> Response:
    device = _device(session, device_id)
    studies = CorrectionRepository(session).unsure_of_device(device_id) if device.charset else []
    read = [(study, corrections.reading_in(study, device.charset or "")) for study in studies]
    page = {
        "device": device,
        "rows": [(study, reading) for study, reading in read if reading is not None],
        "error": error,
    }
    return render(request, "desk/device_names.html", page, status)


def _page(
    request: Request,
    session: Session,
    actor: Actor,
    study: Study,
    refused: HubError | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    repository = CorrectionRepository(session)
    every_site = SiteRepository(session)
    devices = [every_site.device(device_id) for device_id in repository.devices_of(study.id)]
    raw = study.name_raw
    readings = corrections.readings(study)
    page: dict[str, Any] = {
        "study": study,
        "site": every_site.site(study.site_id),
        "exam": WorklistRepository(session).exam_of_study(study.id),
        "hex": " ".join(f"{byte:02X}" for byte in raw),
        "readings": readings,
        "for_devices": {one.used for one in readings if known_charset(one.used)},
        "devices": [device for device in devices if device is not None]
        if actor.may(Permission.ADMINISTER)
        else [],
        "history": repository.corrections(study.id),
        "standing": repository.standing(study.id),
        "signed": names.is_signed(session, study),
        "typed": typed or {},
        "typed_mark": corrections.TYPED,
        "error": explain(request, refused) if refused else "",
    }
    return render(request, "desk/name.html", page, refused.http_status if refused else 200)


def listed(session: Session, actor: Actor, text: str) -> Sequence[Study]:
    """Return what the list of names shows: what was searched for, else the doubtful ones."""
    allowed = actor.sites_for(*names.MAY_CORRECT)
    if text.strip():
        return CorrectionRepository(session).find(allowed, text.strip()[:200])
    return CatalogueRepository(session).unsure_names(allowed)
