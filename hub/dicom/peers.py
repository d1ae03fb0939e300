"""Who may associate, and who is calling: the gate between the wire and the register of devices."""

from hub.context import Context
from hub.dicom.wire.association import Peer
from hub.dicom.wire.gate import Admission, Admitted, Refusal
from hub.dicom.wire.service import Request
from hub.errors import Forbidden
from hub.sites import service as sites
from hub.sites.service import DeviceKnown, DeviceUnknown

NOT_FOR_STRANGERS = frozenset({"blocked_device", "certificate_missing", "certificate_unknown"})
"""Reasons for which a caller stays outside even where strangers' objects are kept at the desk."""


class NotRegistered(Forbidden):
    """This service is for registered devices only."""


def admit(context: Context, peer: Peer) -> Admitted | Refusal:
    """Decide on an association: known devices come in, strangers by the setting, blocked ones never."""
    with context.db.reading() as session:
        device = sites.recognise(session, peer.calling_ae, peer.address, peer.certificate_sha256)
    if isinstance(device, DeviceKnown):
        if device.strict_called and peer.called_ae != context.settings.dicom_ae_title:
            return Refusal(Admission.WRONG_CALLED, "wrong_called")
        return Admitted(device)
    if device.reason in NOT_FOR_STRANGERS or context.settings.unknown_devices == "reject":
        return Refusal(Admission.UNKNOWN_CALLER, device.reason)
    return Admitted(device, stranger=True)


def note_refusal(context: Context, peer: Peer, reason: str, detail: str = "") -> None:
    """Keep a refused or broken association for the IT page."""
    with context.db.transaction() as session:
        sites.record_refusal(
            session,
            calling_ae=storable(peer.calling_ae),
            called_ae=storable(peer.called_ae),
            address=peer.address,
            reason=reason,
            now=context.clock(),
            detail=storable(detail),
        )


def storable(text: str) -> str:
    """Return text from the wire as every database takes it."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def known_device(peer: Peer) -> DeviceKnown | None:
    """Return the registered device at the other end; None for a stranger."""
    return peer.identity if isinstance(peer.identity, DeviceKnown) else None


def why_unknown(peer: Peer) -> str:
    """Return why the device at the other end is not known, a stable word."""
    return peer.identity.reason if isinstance(peer.identity, DeviceUnknown) else "unknown_device"


def device_of(request: Request) -> DeviceKnown:
    """Return the registered device that asks.

    Raises
    ------
    NotRegistered
        It is a stranger.
    """
    device = known_device(request.peer)
    if device is None:
        raise NotRegistered
    return device
