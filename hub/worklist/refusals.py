"""Refused associations as IT reads them: titles made visible, and what to do about each."""

from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy.orm import Session

from hub.sites.models import AssociationRefusal
from hub.sites.repository import SiteRepository
from hub.sites.service import usable_title

NEW, EDIT = "register", "change"
_OFFERS = {
    "unknown_device": NEW,
    "unknown_caller": NEW,
    "ambiguous_device": NEW,
    "wrong_address": EDIT,
    "blocked_device": EDIT,
    "certificate_missing": EDIT,
    "certificate_unknown": EDIT,
    "wrong_called": EDIT,
}
"""What helps against a reason; the others are no matter of registering."""
REASONS = (
    *_OFFERS,
    "too_many_associations",
    "unreadable_request",
    "not_dicom",
    "protocol_error",
    "timed_out",
    "tls_failed",
    "no_common_service",
    "object_too_large",
    "aborted_by_peer",
    "gate_failed",
)
"""Every reason that has words of its own in the catalogues."""
_CONTROL_PICTURES = 0x2400


@dataclass(frozen=True)
class Refused:
    """One row of the list."""

    row: AssociationRefusal
    calling: str
    called: str
    action: str
    """``register``, ``change`` or empty."""
    href: str


def visible_title(title: str) -> str:
    """Return an AE title with everything in it to be seen; empty when it is blank.

    Blanks at the ends show as ``␣``, control characters as their pictures (NUL: ``␀``), and
    what is no ASCII by its number, because a font may draw it like an ASCII letter.
    """
    if not title.strip("\0 "):
        return ""
    inner = title.strip(" ")
    left = len(title) - len(title.lstrip(" "))
    right = len(title) - len(title.rstrip(" "))
    return "␣" * left + "".join(map(_visible, inner)) + "␣" * right


def _visible(character: str) -> str:
    point = ord(character)
    if point < ord(" "):
        return chr(_CONTROL_PICTURES + point)
    if character.isascii():
        return "␡" if point == 0x7F else character  # noqa: PLR2004 - DEL
    return f"\\x{point:02X}" if point <= 0xFF else f"\\u{point:04X}"  # noqa: PLR2004 - one byte


def listed(session: Session) -> list[Refused]:
    """Return the latest refused associations with what can be done about them."""
    repository = SiteRepository(session)
    found = []
    for row in repository.refusals():
        action, href = _offer(repository, row)
        found.append(Refused(row, visible_title(row.calling_ae), visible_title(row.called_ae), action, href))
    return found


def _offer(repository: SiteRepository, row: AssociationRefusal) -> tuple[str, str]:
    offer = _OFFERS.get(row.reason, "")
    title = usable_title(row.calling_ae)
    if offer == EDIT:
        known = repository.devices_on_wire(title, row.address)
        if len(known) == 1:
            query = "?" + urlencode({"address": row.address}) if row.reason == "wrong_address" else ""
            return EDIT, f"/admin/devices/{known[0].id}/edit{query}"
        offer = NEW if row.reason == "wrong_address" else ""
    if offer == NEW:
        return NEW, "/admin/devices/new?" + urlencode({"ae_title": title, "address": row.address})
    return "", ""
