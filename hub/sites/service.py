"""Registering sites and devices, and telling which device is calling."""

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.service import ActorRef
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.errors import Conflict, NotFound, Rejected
from hub.kit.text import known_charset
from hub.sites.models import AssociationRefusal, Device, Site
from hub.sites.repository import SiteRepository

CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,15}")
AE_LENGTH = 16


class SiteCodeInvalid(Rejected):
    """A site code is 1 to 16 letters, digits, '-' or '_'."""


class SiteNameMissing(Rejected):
    """A site needs a name."""


class SiteCodeTaken(Conflict):
    """That site code is taken."""


class AeTitleInvalid(Rejected):
    """An AE title is 1 to 16 printable ASCII characters without backslash."""


class AddressInvalid(Rejected):
    """An address is an IPv4 or IPv6 address, for example 10.1.2.3."""


class CharsetUnknown(Rejected):
    """The hub cannot decode that character set."""


class DeviceTaken(Conflict):
    """A device with this title and address is registered already."""


def add_site(session: Session, code: str, name: str, *, now: datetime, actor: ActorRef) -> Site:
    """Register a site.

    Raises
    ------
    Rejected
        The code is not 1 to 16 letters, digits, dashes or underscores, or the name is empty.
    Conflict
        The code is taken.
    """
    if not CODE.fullmatch(code):
        raise SiteCodeInvalid
    if not name.strip():
        raise SiteNameMissing
    repository = SiteRepository(session)
    if repository.site_by_code(code):
        raise SiteCodeTaken
    site = Site(code=code, number=repository.highest_number() + 1, name=name.strip(), created_at=now)
    session.add(site)
    session.flush()
    audit.record(
        session,
        Tag.SITE_CREATE,
        actor=actor,
        subject_kind="site",
        subject_id=site.id,
        site_id=site.id,
        code=code,
    )
    return site


def require_site(session: Session, code: str) -> Site:
    """Return a site by its code or raise `NotFound`."""
    site = SiteRepository(session).site_by_code(code)
    if site is None:
        raise NotFound(f"no site has the code {code}")
    return site


class SiteNotNamed(Rejected):
    """The account works at several sites: name one."""


def acting_site(session: Session, actor: Actor, permission: Permission, code: str = "") -> Site:
    """Return the site for which somebody acts: the one named, else the only one there is.

    Parameters
    ----------
    code
        Code or row id of the site, as the caller sent it; empty when it named none.

    Raises
    ------
    NotFound
        There is no such site, or the actor does not hold `permission` there.
    SiteNotNamed
        None was named and there are several.
    """
    own = [site for site in SiteRepository(session).sites(actor.sites_for(permission)) if site.active]
    if not code:
        if len(own) > 1:
            raise SiteNotNamed
        if own:
            return own[0]
    for site in own:
        if code.lower() == site.code.lower() or code == site.id:
            return site
    raise NotFound("no such site")


def add_device(
    session: Session,
    site: Site,
    ae_title: str,
    *,
    address: str | None = None,
    charset: str | None = None,
    label: str = "",
    now: datetime,
    actor: ActorRef,
) -> Device:
    """Register a device under a site.

    Raises
    ------
    Rejected
        AE title, address or character set cannot be one.
    Conflict
        A device with this title and address is registered already.
    """
    title = ae_title.strip()
    if not 1 <= len(title) <= AE_LENGTH or not title.isascii() or not title.isprintable() or "\\" in title:
        raise AeTitleInvalid
    address = _normal_address(address)
    if charset and not known_charset(charset):
        raise CharsetUnknown
    repository = SiteRepository(session)
    if any(
        d.ae_title == title and d.address == address for d in repository.devices_on_wire(title, address or "")
    ):
        raise DeviceTaken
    device = Device(
        site_id=site.id,
        ae_title=title,
        address=address,
        charset=charset or None,
        label=label.strip(),
        created_at=now,
    )
    session.add(device)
    session.flush()
    audit.record(
        session,
        Tag.DEVICE_CREATE,
        actor=actor,
        subject_kind="device",
        subject_id=device.id,
        site_id=site.id,
        ae_title=title,
    )
    return device


def set_device_active(session: Session, device_id: str, *, active: bool, actor: ActorRef) -> Device:
    """Block a device or let it in again."""
    device = SiteRepository(session).device(device_id)
    if device is None:
        raise NotFound("no such device")
    device.active = active
    audit.record(
        session,
        Tag.DEVICE_CHANGE,
        actor=actor,
        subject_kind="device",
        subject_id=device.id,
        site_id=device.site_id,
        active=int(active),
    )
    return device


def _normal_address(address: str | None) -> str | None:
    if not address:
        return None
    try:
        return str(ipaddress.ip_address(address.strip()))
    except ValueError as error:
        raise AddressInvalid from error


@dataclass(frozen=True)
class DeviceKnown:
    """Which registered device is calling, as plain values that outlive the session."""

    id: str
    site_id: str
    site_code: str
    charset: str | None
    ae_title: str = ""
    address: str | None = None
    port: int | None = None
    tls: bool = False
    strict_called: bool = False
    query_scope: str = "site"


@dataclass(frozen=True)
class DeviceUnknown:
    """No registered device fits, and why."""

    reason: str
    """``unknown_device``, ``wrong_address``, ``ambiguous_device`` or ``blocked_device``."""


def recognise(session: Session, calling_ae: str, address: str) -> DeviceKnown | DeviceUnknown:
    """Tell which registered device an association comes from.

    The address comes first: a device registered with one is found by it, its title
    then only decides between several at the same address. A device without an
    address is found by its title. Two sites that both use one title without
    addresses cannot be told apart, and nothing is guessed.
    """
    title = calling_ae.strip(" \0")
    found = SiteRepository(session).devices_on_wire(title, address)
    here = [device for device in found if device.address == address]
    if len(here) > 1:
        here = [device for device in here if device.ae_title == title]
    candidates = here or [device for device in found if device.ae_title == title and device.address is None]
    if len(candidates) == 1:
        device = candidates[0]
        site = SiteRepository(session).site(device.site_id)
        assert site is not None  # the foreign key says so
        if not device.active or not site.active:
            return DeviceUnknown("blocked_device")
        return DeviceKnown(device.id, site.id, site.code, device.charset)
    if candidates:
        return DeviceUnknown("ambiguous_device")
    return DeviceUnknown("wrong_address" if found else "unknown_device")


SAME_REFUSAL_SECONDS = 60
"""A device that is turned away again within this time is counted, not listed again."""


def record_refusal(
    session: Session,
    *,
    calling_ae: str,
    called_ae: str,
    address: str,
    reason: str,
    now: datetime,
    detail: str = "",
) -> None:
    """Keep a refused association for the IT page; the same one within a minute is counted."""
    repository = SiteRepository(session)
    since = now - timedelta(seconds=SAME_REFUSAL_SECONDS)
    known = repository.same_refusal(calling_ae[:64], called_ae[:64], address[:64], reason[:64], since)
    if known is not None:
        known.count += 1
        known.last_at, known.detail = now, detail[:200]
        return
    session.add(
        AssociationRefusal(
            at=now,
            last_at=now,
            calling_ae=calling_ae[:64],
            called_ae=called_ae[:64],
            address=address[:64],
            reason=reason[:64],
            detail=detail[:200],
        )
    )
