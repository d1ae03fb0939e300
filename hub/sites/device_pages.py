"""Registering a device and changing what is registered of it."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from hub.errors import HubError, NotFound
from hub.sites import service
from hub.sites.models import Device
from hub.sites.pages import CHARSETS, AdminActor, tried
from hub.sites.repository import SiteRepository
from hub.sites.rules import QUERY_SCOPES, DeviceRules, PortInvalid
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.web.errors import explain
from hub.web.templating import render, translator_of

router = APIRouter(include_in_schema=False)

LONGEST_CERTIFICATE = 64 * 1024


@dataclass(frozen=True)
class DeviceForm:
    """The form as it was filled in, so that it can be shown again."""

    ae_title: str = ""
    address: str = ""
    port: str = ""
    tls: bool = False
    certificate: str = ""
    charset: str = ""
    strict_called: bool = False
    query_scope: str = "site"
    label: str = ""
    certificate_file: bytes = b""

    def rules(self) -> DeviceRules:
        """Return what the form says, to be checked by the service.

        Raises
        ------
        PortInvalid
            The port is no number.
        """
        if self.port.strip() and not self.port.strip().isdecimal():
            raise PortInvalid
        return {
            "address": self.address or None,
            "port": int(self.port) if self.port.strip() else None,
            "tls": self.tls,
            "certificate": self.certificate_file or self.certificate.strip() or None,
            "charset": self.charset or None,
            "strict_called": self.strict_called,
            "query_scope": self.query_scope,
            "label": self.label,
        }


def filled_in(
    ae_title: Annotated[str, Form()],
    address: Annotated[str, Form()] = "",
    port: Annotated[str, Form(max_length=8)] = "",
    tls: Annotated[bool, Form()] = False,
    certificate: Annotated[str, Form(max_length=LONGEST_CERTIFICATE)] = "",
    certificate_file: Annotated[UploadFile | None, File()] = None,
    charset: Annotated[str, Form()] = "",
    strict_called: Annotated[bool, Form()] = False,
    query_scope: Annotated[str, Form()] = "site",
    label: Annotated[str, Form()] = "",
) -> DeviceForm:
    """Read the form of a device; a certificate that was uploaded goes before a pasted one."""
    uploaded = certificate_file.file.read(LONGEST_CERTIFICATE) if certificate_file else b""
    return DeviceForm(
        ae_title, address, port, tls, certificate, charset, strict_called, query_scope, label, uploaded
    )


FilledIn = Annotated[DeviceForm, Depends(filled_in)]


@router.get("/admin/devices/new")
def new_device(
    request: Request,
    session: ReadingDep,
    _actor: AdminActor,
    site: Annotated[str, Query()] = "",
    ae_title: Annotated[str, Query()] = "",
    address: Annotated[str, Query()] = "",
) -> Response:
    """Show the form of a new device; from the list of refused associations it is partly filled in."""
    return _form(request, session, DeviceForm(service.usable_title(ae_title), address), site=site)


@router.post("/admin/devices")
def add_device(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: AdminActor,
    form: FilledIn,
    site: Annotated[str, Form()],
) -> Response:
    """Register a device under a site."""
    chosen = SiteRepository(session).site(site)
    if chosen is None:
        raise NotFound
    refused = tried(
        session,
        lambda: service.add_device(
            session, chosen, form.ae_title, now=context.clock(), actor=actor.ref, **form.rules()
        ),
    )
    if refused:
        return _form(request, session, form, site=site, refused=refused)
    return RedirectResponse(f"/admin/sites#{chosen.id}", 303)


@router.get("/admin/devices/{device_id}/edit")
def edit_device(
    request: Request,
    session: ReadingDep,
    _actor: AdminActor,
    device_id: str,
    address: Annotated[str, Query()] = "",
) -> Response:
    """Show what is registered of a device; `address` proposes the one it was last refused at."""
    device = _device(session, device_id)
    form = DeviceForm(
        device.ae_title,
        address or device.address or "",
        str(device.port or ""),
        device.tls,
        device.certificate_sha256 or "",
        device.charset or "",
        device.strict_called,
        device.query_scope,
        device.label,
    )
    return _form(request, session, form, device=device)


@router.post("/admin/devices/{device_id}")
def change_device(
    request: Request, session: SessionDep, actor: AdminActor, device_id: str, form: FilledIn
) -> Response:
    """Change what is registered of a device."""
    device = _device(session, device_id)
    refused = tried(
        session,
        lambda: service.change_device(
            session, device_id, actor=actor.ref, ae_title=form.ae_title, **form.rules()
        ),
    )
    if refused:
        return _form(request, session, form, device=device, refused=refused)
    return RedirectResponse(f"/admin/sites#{device.site_id}", 303)


def _device(session: Session, device_id: str) -> Device:
    device = SiteRepository(session).device(device_id)
    if device is None:
        raise NotFound
    return device


def _form(
    request: Request,
    session: Session,
    form: DeviceForm,
    *,
    site: str = "",
    device: Device | None = None,
    refused: HubError | None = None,
) -> Response:
    repository = SiteRepository(session)
    t = translator_of(request)
    known = [form.charset] if form.charset and form.charset not in CHARSETS else []
    page: dict[str, Any] = {
        "form": form,
        "device": device,
        "site": site,
        "device_site": repository.site(device.site_id) if device else None,
        "sites": [(each.id, each.name) for each in repository.sites()],
        "charsets": [(name, name) for name in (*CHARSETS, *known)],
        "scopes": [(scope, t(f"sites.device.scope.{scope}")) for scope in QUERY_SCOPES],
        "error": explain(request, refused) if refused else "",
    }
    return render(request, "sites/device.html", page, refused.http_status if refused else 200)
