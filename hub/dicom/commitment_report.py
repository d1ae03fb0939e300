"""Storage commitment on the wire: taking questions, and telling devices on the line or by calling them."""

import time
import weakref
from collections.abc import Sequence
from datetime import datetime
from weakref import WeakKeyDictionary

import structlog

from hub.config import Settings
from hub.context import Context
from hub.dicom import commitment, nodes
from hub.dicom.commitment import SOP_CLASS, WELL_KNOWN_INSTANCE, Judgement
from hub.dicom.exchange_repository import CommitmentRepository
from hub.dicom.listening import TlsMisconfigured, client_context
from hub.dicom.models import CommitmentRequest
from hub.dicom.peers import device_of, known_device
from hub.dicom.wire import dimse, status
from hub.dicom.wire.association import Association
from hub.dicom.wire.association import Context as PresentationContext
from hub.dicom.wire.dimse import Command
from hub.dicom.wire.errors import AssociationEnded, PeerRefused, PeerUnreachable, ProtocolError
from hub.dicom.wire.requestor import Target, connect
from hub.dicom.wire.service import WIRE_SYNTAXES, Request, Service
from hub.errors import NotFound
from hub.sites.models import Device
from hub.sites.repository import SiteRepository
from hub.sites.service import DeviceKnown

log = structlog.get_logger()

QUIET_SECONDS = 1.0
"""A device that says nothing for so long is waiting for its report; most release at once instead,
and a report that meets a release on its way is lost to some of them."""
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 20.0
"""For a device to answer when it is called."""

Due = tuple[CommitmentRequest, Judgement]


class NoSuchInstance(NotFound):
    """Storage commitment is asked of its well-known instance only."""


class NoSuchAction(NotFound):
    """Storage commitment knows one action: request."""

    dimse_status = status.NO_SUCH_ACTION


def commitment_service(context: Context) -> Service:
    """Return the storage commitment push model SCP (PS3.4 section J.3)."""
    return Service(
        "storage_commitment",
        (SOP_CLASS,),
        WIRE_SYNTAXES,
        lambda request: _asked(context, request),
        opened=lambda association, accepted: _opened(context, association, accepted),
    )


def _asked(context: Context, request: Request) -> None:
    """Answer an N-ACTION; the report follows on this association if the device waits for it."""
    device = device_of(request)
    command = request.command
    if command.field != dimse.N_ACTION_RQ:
        request.respond(status.UNRECOGNISED_OPERATION)
        return
    if command.requested_sop_instance != WELL_KNOWN_INSTANCE:
        raise NoSuchInstance
    if command.action_type != commitment.REQUEST_ACTION:
        raise NoSuchAction
    asked = commitment.read_request(request.dataset, request.context.transfer_syntax)
    with context.db.transaction() as session:
        commitment.accept(
            session,
            device,
            asked,
            calling_ae=request.peer.calling_ae,
            called_ae=request.peer.called_ae,
            address=request.peer.address,
            now=context.clock(),
        )
    request.respond(status.SUCCESS, ActionTypeID=commitment.REQUEST_ACTION)
    log.info("commitment_requested", device=device.id, objects=len(asked.references))
    _tell_on_the_line(context, device, request.association, request.context)


def _opened(context: Context, association: Association, accepted: PresentationContext) -> None:
    """Tell a device that has just connected what it was not told before."""
    device = known_device(association.peer)
    if device is None:
        return
    with context.db.reading() as session:
        waiting = bool(CommitmentRepository(session).waiting_of(device.id))
    if waiting:
        _tell_on_the_line(context, device, association, accepted)


def _tell_on_the_line(
    context: Context, device: DeviceKnown, association: Association, accepted: PresentationContext
) -> None:
    """Begin to report all that is ripe, once the device is quiet; its answers come to the listener."""
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline:
        if association.link.readable():
            return  # it has something to say itself, mostly farewell
        time.sleep(LOOK_SECONDS)
    now = context.clock()
    with context.db.transaction() as session:
        taken = commitment.take_due(session, device.id, now, all_waiting=True)
    report = _on_the_line.setdefault(association, _LineReport(context, association, accepted))
    report.add(_ripe(context, taken, now))


class _LineReport:
    """Reports on an association that the device holds open, one after the other.

    The listener reads what comes; each answer is handed to `_answered`. When the device
    leaves before its answer, the request stays as it is and a job calls the device.
    """

    def __init__(self, context: Context, association: Association, accepted: PresentationContext) -> None:
        self._context = context
        # The association must be free to go while its report is remembered by it.
        self._association = weakref.proxy(association)
        self._accepted = accepted
        self._left: list[Due] = []

    def add(self, due: Sequence[Due]) -> None:
        """Report these as well; those that are under way are not begun twice."""
        idle = not self._left
        known = {request.id for request, _ in self._left}
        self._left += [(request, judged) for request, judged in due if request.id not in known]
        if idle and self._left:
            self._send_next()

    def _send_next(self) -> None:
        request, judged = self._left[0]
        event, data_set = commitment.write_report(
            request.transaction_uid,
            judged,
            self._context.settings.dicom_ae_title,
            self._accepted.transfer_syntax,
        )
        message_id = self._association.begin_request(
            self._accepted, dimse.N_EVENT_REPORT_RQ, [data_set], **_event(event)
        )
        self._association.awaited[message_id] = self._answered

    def _answered(self, command: Command, _data_set: bytes) -> None:
        request, judged = self._left.pop(0)
        _note_answer(self._context, request, judged, command.status)
        if self._left:
            self._send_next()


_on_the_line: WeakKeyDictionary[Association, _LineReport] = WeakKeyDictionary()
"""What is being reported on each association that is open."""


def report_to_device(context: Context, device_id: str) -> None:
    """Call a device and tell it everything that is due; look again later for the rest."""
    now = context.clock()
    with context.db.transaction() as session:
        device = SiteRepository(session).device(device_id)
        taken = commitment.take_due(session, device_id, now, all_waiting=False)
    if device is not None and taken:
        _tell(context, device, _ripe(context, taken, now))
    with context.db.transaction() as session:
        moment = CommitmentRepository(session).next_moment(device_id)
        if moment is not None:
            commitment.wake(session, device_id, max(0.0, (moment - context.clock()).total_seconds()))


def _ripe(context: Context, taken: Sequence[CommitmentRequest], now: datetime) -> list[Due]:
    """Return what can be told now; the others are looked at again in a moment."""
    judged = [(request, commitment.judge(context, request)) for request in taken]
    ripe = [(request, found) for request, found in judged if commitment.is_ripe(request, found, now)]
    ready = {request.id for request, _ in ripe}
    with context.db.transaction() as session:
        commitment.wait_for_objects(session, [one.id for one in taken if one.id not in ready], now=now)
        for _, found in ripe:
            commitment.complete_studies(session, found, now=now)
    return ripe


def _tell(context: Context, device: Device, due: Sequence[Due]) -> None:
    """Call a device and report, the hub in the role of the provider (PS3.4 section J.3.3)."""
    if not due:
        return
    left = [request.id for request, _ in due]
    if device.port is None or not device.active:
        _note_trouble(context, left, "no_port" if device.port is None else "device_blocked")
        return
    try:
        association = connect(
            _target(context.settings, device, device.port, due[0][0]),
            [(SOP_CLASS, WIRE_SYNTAXES)],
            roles={SOP_CLASS: (False, True)},
            timeout_seconds=PATIENCE_SECONDS,
        )
    except (PeerUnreachable, PeerRefused, TlsMisconfigured) as error:
        _note_trouble(context, left, nodes.trouble_of(error))
        return
    accepted = association.context_for(SOP_CLASS)
    if accepted is None:
        association.release()
        _note_trouble(context, left, f"class_refused:{SOP_CLASS}")
        return
    try:
        for request, judged in due:
            event, data_set = commitment.write_report(
                request.transaction_uid, judged, context.settings.dicom_ae_title, accepted.transfer_syntax
            )
            answer, _ = association.request(accepted, dimse.N_EVENT_REPORT_RQ, data_set, **_event(event))
            left.remove(request.id)
            _note_answer(context, request, judged, answer.status)
    except (AssociationEnded, ProtocolError) as error:
        association.abort()
        _note_trouble(context, left, nodes.trouble_of(error))
        return
    association.release()


def _target(settings: Settings, device: Device, port: int, request: CommitmentRequest) -> Target:
    """Return how to call a device: where it is registered to listen, by the titles it used itself."""
    own = request.called_ae if request.called_ae.isascii() else ""
    return Target(
        device.address or request.address,
        port,
        device.ae_title,
        own[:16] or settings.dicom_ae_title,
        client_context(settings) if device.tls else None,
    )


def _event(event: int) -> dict[str, str | int]:
    return {
        "AffectedSOPClassUID": SOP_CLASS,
        "AffectedSOPInstanceUID": WELL_KNOWN_INSTANCE,
        "EventTypeID": event,
    }


def _note_answer(context: Context, request: CommitmentRequest, judged: Judgement, answer: int) -> None:
    if answer == status.SUCCESS or status.is_warning(answer):
        with context.db.transaction() as session:
            commitment.answered(session, request.id, judged, now=context.clock())
        log.info("commitment_reported", request=request.id, failed=len(judged.failed))
    else:
        _note_trouble(context, [request.id], f"status:{answer:04X}")


def _note_trouble(context: Context, request_ids: Sequence[str], trouble: str) -> None:
    with context.db.transaction() as session:
        commitment.not_delivered(session, request_ids, trouble, now=context.clock())
    log.info("commitment_not_reported", requests=len(request_ids), trouble=trouble)
