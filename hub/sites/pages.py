"""Administration of sites and their devices."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.context import Context
from hub.errors import HubError
from hub.sites import service
from hub.sites.repository import SiteRepository
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.web.errors import explain
from hub.web.templating import render

router = APIRouter(include_in_schema=False)

CHARSETS = ("GB18030", "GBK", "ISO_IR 192", "ISO_IR 100", "ISO 2022 IR 58", "Big5")
"""Character sets offered for a device that does not write what it declares."""

ANY_ADDRESS = ("0.0.0.0", "::", "[::]", "*")  # noqa: S104 - compared with, not bound

AdminActor = Annotated[Actor, guard(Permission.ADMINISTER)]


def tried(session: Session, work: Callable[[], Any]) -> HubError | None:
    """Do `work` as a whole or not at all; return the refusal, so that the page can show it with its form."""
    try:
        with session.begin_nested():
            work()
    except HubError as refused:
        return refused
    return None


@router.get("/admin/sites")
def sites_page(request: Request, context: ContextDep, session: ReadingDep, _actor: AdminActor) -> Response:
    """Show every site with its devices, and what to type into a modality."""
    return _page(request, context, session)


@router.post("/admin/sites")
def add_site(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: AdminActor,
    code: Annotated[str, Form()],
    name: Annotated[str, Form()],
) -> Response:
    """Register a site."""
    refused = tried(
        session, lambda: service.add_site(session, code.strip(), name, now=context.clock(), actor=actor.ref)
    )
    if refused:
        return _page(request, context, session, refused, {"code": code, "name": name})
    return RedirectResponse("/admin/sites", 303)


@router.post("/admin/devices/{device_id}/active")
def set_device_active(
    session: SessionDep, actor: AdminActor, device_id: str, active: Annotated[bool, Form()]
) -> Response:
    """Block a device or let it in again."""
    device = service.set_device_active(session, device_id, active=active, actor=actor.ref)
    return RedirectResponse(f"/admin/sites#{device.site_id}", 303)


def _page(
    request: Request,
    context: Context,
    session: Session,
    refused: HubError | None = None,
    form: dict[str, str] | None = None,
) -> Response:
    repository = SiteRepository(session)
    devices: dict[str, list[Any]] = {}
    for device in repository.devices():
        devices.setdefault(device.site_id, []).append(device)
    bound, _, port = context.settings.dicom_bind.rpartition(":")
    page = {
        "sites": repository.sites(),
        "devices": devices,
        "ae_title": context.settings.dicom_ae_title,
        "host": request.url.hostname if bound in ANY_ADDRESS else bound,
        "port": port,
        "unknown_devices": context.settings.unknown_devices,
        "error": explain(request, refused) if refused else "",
        "form": form or {},
    }
    return render(request, "sites/page.html", page, refused.http_status if refused else 200)
