"""C-MOVE: objects to another application entity that the hub knows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from hub.catalogue.models import Instance
from hub.catalogue.qr_search import Wanted
from hub.config import Settings
from hub.context import Context
from hub.dicom.exchange_repository import NodeRepository
from hub.dicom.listening import client_context
from hub.dicom.models import DicomNode
from hub.dicom.nodes import target_of
from hub.dicom.qr_find import asking_device, mismatch
from hub.dicom.qr_keys import IdentifierMismatch
from hub.dicom.qr_transfer import Progress, Sent, note_retrieval, send_object, wanted_by, with_rows
from hub.dicom.sending import batches, proposal
from hub.dicom.wire import status
from hub.dicom.wire.association import Association
from hub.dicom.wire.errors import (
    AssociationEnded,
    MessageTooLarge,
    PeerRefused,
    PeerUnreachable,
    ProtocolError,
)
from hub.dicom.wire.requestor import Target, connect
from hub.dicom.wire.service import Request
from hub.sites.models import Device
from hub.sites.repository import SiteRepository
from hub.sites.service import DeviceKnown

log = structlog.get_logger()


@dataclass(frozen=True)
class Destination:
    """Where a C-MOVE sends, and what may go there.

    Attributes
    ----------
    target : Target
    site_id : str or None
        Site whose studies may go there; None for any.
    """

    target: Target
    site_id: str | None

    def may_have(self, one: Wanted) -> bool:
        """Tell whether an object may go there: a device gets no other site's unless it may see them."""
        return self.site_id is None or self.site_id == one.site_id


def destination_of(context: Context, asking: DeviceKnown, title: str) -> Destination | None:
    """Return whom a title means to this device: a device of its scope that listens, else a node.

    A title that two sites use means the device of the asking one's site; among strangers'
    it means nothing, because a guess would send pictures to the wrong hospital.
    """
    with context.db.reading() as session:
        sites = SiteRepository(session)
        open_sites = {site.id for site in sites.sites() if site.active}
        devices = [
            device
            for device in sites.devices(asking.site_id if asking.query_scope == "site" else None)
            if device.ae_title == title and device.active and device.address and device.port
            if device.site_id in open_sites
        ]
        nodes = [node for node in NodeRepository(session).nodes() if node.ae_title == title and node.active]
    own = [device for device in devices if device.site_id == asking.site_id]
    chosen = own or devices
    if len(chosen) == 1:
        return _to_device(chosen[0], context.settings)
    return _to_node(nodes, context.settings) if not chosen else None


def move(context: Context, request: Request) -> None:
    """Answer one C-MOVE (PS3.4 section C.4.2)."""
    device = asking_device(request)
    destination = destination_of(context, device, request.command.move_destination)
    if destination is None:
        request.respond(status.MOVE_DESTINATION_UNKNOWN, ErrorComment="move destination unknown")
        return
    try:
        wanted = wanted_by(context, request, device)
    except IdentifierMismatch as error:
        mismatch(request, error)
        return
    allowed = [one for one in wanted if destination.may_have(one)]
    note_retrieval(context, request, device, allowed, destination.target.ae_title)
    progress = Progress(len(wanted))
    for one in wanted:
        if not destination.may_have(one):
            log.warning("dicom_suboperation_failed", sop_uid=one.sop_uid, reason="not_for_destination")
            progress.note(one.sop_uid, Sent.FAILED)
    mover = _Mover(context, request, destination.target, progress)
    for batch in batches(allowed):
        if not mover.send(batch):
            progress.finish(request, cancelled=True)
            return
    progress.finish(request)


@dataclass
class _Mover:
    """The sub-operations of one C-MOVE."""

    context: Context
    request: Request
    target: Target
    progress: Progress

    def send(self, batch: Sequence[Wanted]) -> bool:
        """Send what one association can negotiate for; False when the peer has cancelled."""
        try:
            association = connect(self.target, proposal(batch))
        except (PeerUnreachable, PeerRefused) as error:
            log.warning("dicom_move_destination_away", destination=self.target.ae_title, code=error.code)
            self._give_up(batch)
            return True
        left = list(reversed(batch))
        try:
            for one, instance in with_rows(self.context, batch):
                if self.request.cancelled():
                    association.release()
                    return False
                outcome = self._sent(association, instance)
                left.pop()
                self.progress.note(one.sop_uid, outcome)
                self.progress.pending(self.request)
        except _DestinationLost:
            association.abort()
            self._give_up(reversed(left))
            return True
        except BaseException:
            association.abort()  # the asking device has gone, or the hub itself failed
            raise
        association.release()
        return True

    def _sent(self, association: Association, instance: Instance | None) -> Sent:
        if instance is None:
            return Sent.FAILED
        originator = (self.request.peer.calling_ae, self.request.command.message_id)
        try:
            return send_object(self.context, association, instance, originator)
        except (AssociationEnded, ProtocolError, MessageTooLarge) as error:
            log.warning(
                "dicom_move_broken",
                destination=self.target.ae_title,
                sop_uid=instance.sop_uid,
                error=type(error).__name__,
            )
            raise _DestinationLost from error

    def _give_up(self, objects: Iterable[Wanted]) -> None:
        for one in objects:
            self.progress.note(one.sop_uid, Sent.FAILED)


class _DestinationLost(Exception):
    """The association with the destination is of no use any more."""


def _to_device(device: Device, settings: Settings) -> Destination:
    target = Target(
        str(device.address),
        int(device.port or 0),
        device.ae_title,
        settings.dicom_ae_title,
        client_context(settings) if device.tls else None,
    )
    return Destination(target, None if device.query_scope == "all" else device.site_id)


def _to_node(nodes: Sequence[DicomNode], settings: Settings) -> Destination | None:
    return Destination(target_of(nodes[0], settings), None) if len(nodes) == 1 else None
