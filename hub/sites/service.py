"""Registering sites and devices, and telling which device is calling."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Unpack

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.service import ActorRef
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.errors import Conflict, NotFound, Rejected
from hub.jobs.queue import enqueue
from hub.sites.models import AssociationRefusal, Device, Site
from hub.sites.repository import SiteRepository
from hub.sites.rules import (
    QUERY_SCOPES,
    AddressInvalid,
    DeviceRules,
    checked_rules,
    checked_title,
    normal_address,
)

CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,15}")


class SiteCodeInvalid(Rejected):
    """A site code is 1 to 16 letters, digits, '-' or '_'."""


class SiteNameMissing(Rejected):
    """A site needs a name."""


class SiteCodeTaken(Conflict):
    """That site code is taken."""


class CertificateTaken(Conflict):
    """A device of another site is known by this certificate."""


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
    now: datetime,
    actor: ActorRef,
    **rules: Unpack[DeviceRules],
) -> Device:
    """Register a device under a site.

    Raises
    ------
    Rejected
        AE title or a rule cannot be one.
    Conflict
        A device with this title and address is registered already, or one of another site
        with this certificate.
    """
    values = {"ae_title": checked_title(ae_title), **checked_rules(rules)}
    device = Device(site_id=site.id, created_at=now, **values)
    _check_apart(session, device)
    session.add(device)
    session.flush()
    audit.record(
        session,
        Tag.DEVICE_CREATE,
        actor=actor,
        subject_kind="device",
        subject_id=device.id,
        site_id=site.id,
        **values,
    )
    return device


def change_device(
    session: Session,
    device_id: str,
    *,
    actor: ActorRef,
    ae_title: str | None = None,
    **rules: Unpack[DeviceRules],
) -> Device:
    """Change what is registered of a device; the audit row holds each field before and after.

    When its character set changes, what was stored of its series as decoded text is made
    anew; received bytes and readings that exist stay as they are.

    Raises
    ------
    NotFound
        There is no such device.
    Rejected, Conflict
        As in `add_device`; nothing is changed.
    """
    device = SiteRepository(session).device(device_id)
    if device is None:
        raise NotFound("no such device")
    values = checked_rules(rules)
    if ae_title is not None:
        values["ae_title"] = checked_title(ae_title)
    changed = {name: value for name, value in values.items() if getattr(device, name) != value}
    if not changed:
        return device
    with session.no_autoflush, session.begin_nested():
        facts: dict[str, Any] = {}
        for name, value in changed.items():
            facts |= {f"{name}_before": getattr(device, name), f"{name}_after": value}
            setattr(device, name, value)
        _check_apart(session, device)
    audit.record(
        session,
        Tag.DEVICE_CHANGE,
        actor=actor,
        subject_kind="device",
        subject_id=device.id,
        site_id=device.site_id,
        **facts,
    )
    if "charset" in changed:
        enqueue(session, "catalogue.charset_changed", device_id=device.id)
    return device


def _check_apart(session: Session, device: Device) -> None:
    """Refuse a device that could not be told from another one on the wire."""
    for other in SiteRepository(session).devices():
        if other.id == device.id:
            continue
        pins = {device.certificate_sha256, other.certificate_sha256}
        if pins == {device.certificate_sha256} and None not in pins and other.site_id != device.site_id:
            raise CertificateTaken
        told_apart = len(pins - {None}) > 1
        same = (other.ae_title, other.address) == (device.ae_title, device.address)
        if same and not told_apart:
            raise DeviceTaken


def set_device_active(session: Session, device_id: str, *, active: bool, actor: ActorRef) -> Device:
    """Block a device or let it in again."""
    device = SiteRepository(session).device(device_id)
    if device is None:
        raise NotFound("no such device")
    before, device.active = device.active, active
    audit.record(
        session,
        Tag.DEVICE_CHANGE,
        actor=actor,
        subject_kind="device",
        subject_id=device.id,
        site_id=device.site_id,
        active_before=before,
        active_after=active,
    )
    return device


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
    """``unknown_device``, ``wrong_address``, ``ambiguous_device``, ``blocked_device``,
    ``certificate_missing`` or ``certificate_unknown``."""


def usable_title(calling_ae: str) -> str:
    """Return a calling title as it can be compared, empty when it cannot be.

    Blanks and NULs around it are padding; what follows a NUL is what the device's memory
    held. A title of other characters than printable ASCII tells nothing.
    """
    title = calling_ae.lstrip("\0 ").split("\0", 1)[0].strip()
    return title if title.isascii() and title.isprintable() else ""


def recognise(
    session: Session, calling_ae: str, address: str, certificate_sha256: str = ""
) -> DeviceKnown | DeviceUnknown:
    """Tell which registered device an association comes from.

    The TLS client certificate comes first, the address second, the AE title last. The title
    decides between several devices behind one address or certificate, and finds devices that
    have no address; a blank or non-ASCII one does neither. It is compared without padding,
    and without case when that leaves one device.

    When the title decides nothing and all devices at the address are of one site, the caller
    is of that site: it gets what all of them may do. Sites are never guessed.

    A device that is registered with a certificate must show it, whatever else fits.
    """
    title = usable_title(calling_ae)
    try:
        address = normal_address(address) or ""
    except AddressInvalid:
        address = address.strip()
    certificate = certificate_sha256.lower()
    repository = SiteRepository(session)
    found = repository.devices_on_wire(title, address, certificate)
    by_certificate = [each for each in found if certificate and each.certificate_sha256 == certificate]
    by_address = [each for each in found if address and each.address == address]
    here = by_certificate or by_address
    titled = _titled(here or [each for each in found if each.address is None], title)
    candidates = titled or here
    if not candidates:
        return DeviceUnknown("wrong_address" if found else "unknown_device")
    showing = [each for each in candidates if each.certificate_sha256 in (None, certificate)]
    if not showing:
        return DeviceUnknown("certificate_unknown" if certificate else "certificate_missing")
    if len({each.site_id for each in showing}) > 1 or (len(showing) > 1 and not here):
        return DeviceUnknown("ambiguous_device")
    site = repository.site(showing[0].site_id)
    assert site is not None  # the foreign key says so
    if not site.active or not all(each.active for each in showing):
        return DeviceUnknown("blocked_device")
    return _known(site, showing, address)


def _titled(devices: Sequence[Device], title: str) -> Sequence[Device]:
    """Return those with this title: exactly so, else in any case when that is one."""
    exact = [device for device in devices if device.ae_title == title]
    folded = [device for device in devices if device.ae_title.upper() == title.upper()]
    return exact or (folded if len(folded) == 1 else [])


def _known(site: Site, devices: Sequence[Device], address: str) -> DeviceKnown:
    """Return one device, or what several of a site have in common, attributed to the first registered."""
    first = min(devices, key=lambda device: device.id)
    if len(devices) == 1:
        return DeviceKnown(
            first.id,
            site.id,
            site.code,
            first.charset,
            first.ae_title,
            first.address,
            first.port,
            first.tls,
            first.strict_called,
            first.query_scope,
        )
    charsets = {device.charset for device in devices}
    return DeviceKnown(
        first.id,
        site.id,
        site.code,
        charsets.pop() if len(charsets) == 1 else None,
        address=address,
        strict_called=any(device.strict_called for device in devices),
        query_scope=min((device.query_scope for device in devices), key=QUERY_SCOPES.index),
    )


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
