"""The DICOM listener: takes connections, admits, negotiates, and hands requests to the services.

It knows no database and no store. A gate decides who may come in, services answer; so
the same listener serves the hub and the box at the township. One thread per connection,
blocking: a device waits for its answer anyway, and what takes time here (disk, hashing,
the network) lets other threads run.
"""

import contextlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from hub.dicom.wire import dimse, pdu, status
from hub.dicom.wire.association import Association, Context, Peer
from hub.dicom.wire.dimse import Command
from hub.dicom.wire.errors import (
    Aborted,
    AssociationEnded,
    MessageTooLarge,
    NotDicomPeer,
    ProtocolError,
    Released,
    TimedOut,
)
from hub.dicom.wire.gate import Admission, Admitted, Gate, ListenerSettings, Refusal, Refused
from hub.dicom.wire.link import Link
from hub.dicom.wire.negotiation import Negotiator, accepting
from hub.dicom.wire.service import WIRE_SYNTAXES, Receiver, Request, Service, StorageService
from hub.errors import HubError
from hub.kit.clock import Clock, utcnow

log = structlog.get_logger()

VERIFICATION = "1.2.840.10008.1.1"
WAITING_CONNECTIONS = 256
"""Connections that may wait for a place beside those that are served; the system queues further ones."""
BACKLOG = 1024
FAREWELL_SECONDS = 0.5
"""Time for devices that were answered to release their association when the hub stops."""


@dataclass(slots=True)
class _Door:
    """One listening socket."""

    socket: socket.socket
    tls: ssl.SSLContext | None
    thread: threading.Thread | None = None


@dataclass(slots=True)
class _Open:
    """What is open now, for shutting down."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    connections: dict[int, tuple[socket.socket, threading.Thread]] = field(default_factory=dict)
    established: set[int] = field(default_factory=set)
    busy: set[int] = field(default_factory=set)
    """Associations with a request that is not answered yet."""


class Listener:
    """A running listener; made by `listen`."""

    def __init__(  # noqa: PLR0917 - the parts of a listener
        self,
        doors: Sequence[ListenerSettings],
        gate: Gate,
        services: Sequence[Service],
        storage: StorageService | None,
        refused: Refused,
        clock: Clock,
    ) -> None:
        self._settings = doors[0]
        self._gate = gate
        self._refused = refused
        self._negotiator = Negotiator([*services, _VERIFY], storage)
        self._started = clock().strftime("%Y%m%dT%H%M%S")
        self._numbers = itertools.count(1)
        self._places = threading.BoundedSemaphore(doors[0].maximum_associations)
        self._connections = threading.BoundedSemaphore(doors[0].maximum_associations + WAITING_CONNECTIONS)
        self._open = _Open()
        self._closing = threading.Event()
        self._doors = [_Door(_bound(settings), settings.tls) for settings in doors]
        for number, door in enumerate(self._doors):
            door.thread = threading.Thread(
                target=self._accept, args=(door,), name=f"dicom-door-{number}", daemon=True
            )
            door.thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._doors[0].socket.getsockname()[1])

    @property
    def ports(self) -> list[int]:
        """The ports of all doors, in the order they were given."""
        return [int(door.socket.getsockname()[1]) for door in self._doors]

    @property
    def associations(self) -> int:
        """How many associations are established now."""
        return len(self._open.established)

    def shutdown(self, patience_seconds: float = 10.0) -> None:
        """Take no more connections, let requests that are being worked on finish, then cut the rest."""
        self._closing.set()
        for door in self._doors:
            _stop_listening(door.socket)
        with self._open.lock:
            open_now = list(self._open.connections.values())
        _wait_until(lambda: not self._open.busy, patience_seconds)
        _wait_until(lambda: not self._open.established, FAREWELL_SECONDS)
        for connection, _thread in open_now:
            _cut(connection)
        for _connection, thread in open_now:
            thread.join(timeout=5)

    def _accept(self, door: _Door) -> None:
        while not self._closing.is_set():
            self._connections.acquire()
            try:
                connection, address = door.socket.accept()
            except OSError as error:
                self._connections.release()
                if self._closing.is_set():
                    return
                # Out of file descriptors, or a peer that was gone before it was taken.
                log.warning("dicom_accept_failed", error=error.errno or 0)
                self._closing.wait(0.1)
                continue
            number = next(self._numbers)
            thread = threading.Thread(
                target=self._converse,
                args=(number, connection, str(address[0]), door.tls),
                name=f"dicom-{number}",
                daemon=True,
            )
            with self._open.lock:
                self._open.connections[number] = (connection, thread)
            thread.start()

    def _converse(
        self, number: int, connection: socket.socket, address: str, tls: ssl.SSLContext | None
    ) -> None:
        """Serve one connection from its first byte to its end."""
        peer = Peer("", "", address, f"{self._started}-{number}")
        link: Link | None = None
        try:
            connection.settimeout(self._settings.request_seconds)
            certificate = ""
            if tls is not None:
                connection, certificate = _secured(connection, tls)
                with self._open.lock:
                    self._open.connections[number] = (connection, threading.current_thread())
            link = Link(connection, self._settings.request_seconds)
            peer = Peer("", "", address, peer.association_id, certificate)
            self._with_place(link, peer)
        except ssl.SSLError as error:
            self._tell(peer, "tls_failed", error.reason or "")
        except (AssociationEnded, OSError) as error:
            if link is not None and link.received and not isinstance(error, Released):
                self._tell(peer, "timed_out" if isinstance(error, TimedOut) else "aborted_by_peer")
        except Exception as error:  # noqa: BLE001 - one connection must not end the listener
            # Only the class of the error: its text may quote what was received.
            log.error("dicom_connection_failed", association=peer.association_id, error=type(error).__name__)  # noqa: TRY400
        finally:
            if link is not None:
                link.close()
            else:
                connection.close()
            with self._open.lock:
                self._open.connections.pop(number, None)
                self._open.established.discard(number)
                self._open.busy.discard(number)
            self._connections.release()

    def _with_place(self, link: Link, peer: Peer) -> None:
        """Wait for a place, so that a crowd is served one after the other instead of turned away."""
        at_once = self._places.acquire(blocking=False)
        if not at_once and not self._places.acquire(timeout=self._settings.queue_seconds):
            self._refuse(link, peer, pdu.reject(2, 3, 2), "too_many_associations")
            return
        try:
            self._admit(link, peer)
        finally:
            self._places.release()

    def _admit(self, link: Link, peer: Peer) -> None:
        """Read the association request, ask the gate, negotiate, serve."""
        try:
            request = _association_request(link)
        except ProtocolError as error:
            reason = "not_dicom" if isinstance(error, NotDicomPeer) else "unreadable_request"
            self._refuse(link, peer, pdu.abort(2, 2), reason, str(error))
            return
        except MessageTooLarge as error:
            self._refuse(link, peer, pdu.abort(2, 6), "unreadable_request", str(error))
            return
        calling, called = pdu.read_title(request.calling), pdu.read_title(request.called)
        peer = Peer(calling, called, peer.address, peer.association_id, peer.certificate_sha256)
        if request.application_context != pdu.APPLICATION_CONTEXT or not request.version & 1:
            self._refuse(link, peer, pdu.reject(1, 1, 2), "unreadable_request", "application context")
            return
        decision = self._ask_gate(peer)
        if isinstance(decision, Refusal):
            self._refuse(link, peer, pdu.reject(*decision.admission.value), decision.reason)
            return
        answer = self._negotiator.answer(request, stranger=decision.stranger)
        if not answer.contexts:
            wanted = sorted({each.abstract_syntax for each in request.proposed})
            self._tell(peer, "no_common_service", ", ".join(wanted[:3]))
        link.send([accepting(request, answer)])
        link.wait_at_most(self._settings.silence_seconds)
        peer = Peer(
            calling, called, peer.address, peer.association_id, peer.certificate_sha256, decision.identity
        )
        self._serve(Association(link, peer, answer.contexts, request.maximum_length))

    def _ask_gate(self, peer: Peer) -> Admitted | Refusal:
        try:
            return self._gate(peer)
        except Exception as error:  # noqa: BLE001 - a gate that fails must not let anybody in
            # The text may hold what the gate was looking at; its place is not the log.
            log.error("dicom_gate_failed", association=peer.association_id, error=type(error).__name__)  # noqa: TRY400
            return Refusal(Admission.BUSY, "gate_failed")

    def _refuse(self, link: Link, peer: Peer, answer: bytes, reason: str, detail: str = "") -> None:
        self._tell(peer, reason, detail)
        try:
            link.send([answer])
        except AssociationEnded:
            return
        link.drain(1.0)

    def _tell(self, peer: Peer, reason: str, detail: str = "") -> None:
        log.info("dicom_association_refused", association=peer.association_id, reason=reason)
        try:
            self._refused(peer, reason, detail)
        except Exception as error:  # noqa: BLE001 - the association is refused whether noted or not
            log.error(  # noqa: TRY400
                "dicom_refusal_not_recorded", association=peer.association_id, error=type(error).__name__
            )

    def _serve(self, association: Association) -> None:
        """Handle requests until the association ends."""
        number = int(association.peer.association_id.rpartition("-")[2])
        with self._open.lock:
            self._open.established.add(number)
        storage = self._negotiator.storage
        receiver = storage.receiver(association.peer) if storage is not None else None
        try:
            self._announce(association)
            while True:
                context, command = association.receive()
                self._open.busy.add(number)
                self._handle(association, context, command, receiver)
                self._open.busy.discard(number)
        except Released:
            association.link.drain(1.0)
        except ProtocolError as error:
            self._tell(association.peer, "protocol_error", str(error))
            association.abort(2, 2)
        except MessageTooLarge as error:
            self._tell(association.peer, "object_too_large", str(error))
            association.abort(2, 6)
        except TimedOut:
            # Idle without anything under way is how many consoles leave; it is no fault.
            if association.within_message:
                self._tell(association.peer, "timed_out")
            association.abort(2, 0)
        except Aborted:
            if association.within_message:
                self._tell(association.peer, "aborted_by_peer")
        finally:
            if receiver is not None:
                receiver.close()

    def _announce(self, association: Association) -> None:
        """Tell services that want to know of it that an association stands."""
        told = set()
        for context in association.contexts.values():
            service = self._negotiator.by_class.get(context.abstract_syntax)
            if service is not None and service.opened is not None and service.name not in told:
                told.add(service.name)
                try:
                    service.opened(association, context)
                except (AssociationEnded, ProtocolError):
                    raise
                except Exception as error:  # noqa: BLE001 - the device did not ask for anything yet
                    log.error(  # noqa: TRY400
                        "dicom_opening_failed",
                        association=association.peer.association_id,
                        service=service.name,
                        error=type(error).__name__,
                    )

    def _handle(
        self, association: Association, context: Context, command: Command, receiver: Receiver | None
    ) -> None:
        storage = self._negotiator.storage
        if (
            command.field == dimse.C_STORE_RQ
            and storage is not None
            and receiver is not None
            and context.abstract_syntax in storage.sop_classes
        ):
            self._store(association, receiver, context, command)
            return
        dataset = association.data_set(context)
        if command.field == dimse.C_CANCEL_RQ:
            return  # of a request that was answered already
        if command.field & dimse.RESPONSE:
            answered = association.awaited.pop(command.responds_to, None)
            if answered is None:
                raise ProtocolError("a response comes that nobody asked for")
            answered(command, dataset)
            return
        service = self._negotiator.by_class.get(context.abstract_syntax)
        request = Request(association, context, command, dataset)
        if service is None:
            request.respond(status.UNRECOGNISED_OPERATION)
            return
        try:
            service.handle(request)
        except (AssociationEnded, ProtocolError, MessageTooLarge):
            raise
        except HubError as error:
            log.warning(
                "dicom_request_refused",
                association=association.peer.association_id,
                service=service.name,
                code=error.code,
            )
            request.respond(error.dimse_status, ErrorComment=error.code)
        except Exception as error:  # noqa: BLE001 - the peer must have its answer
            log.error(  # noqa: TRY400
                "dicom_request_failed",
                association=association.peer.association_id,
                service=service.name,
                error=type(error).__name__,
            )
            request.respond(status.PROCESSING_FAILURE)

    def _store(
        self, association: Association, receiver: Receiver, context: Context, command: Command
    ) -> None:
        """Receive one object: its pieces go straight to where they are kept."""
        reception = receiver.begin(context, command)
        try:
            left = self._settings.maximum_object_bytes
            for piece in association.pieces(context):
                reception.write(piece)
                left -= len(piece)
                if left < 0:
                    raise MessageTooLarge("the peer sends a larger object than the hub takes")
            association.respond(context, command, reception.finish())
        finally:
            reception.end()
        receiver.prepare()


def listen(  # noqa: PLR0917 - the parts of a listener
    doors: Sequence[ListenerSettings],
    gate: Gate,
    services: Sequence[Service],
    storage: StorageService | None,
    refused: Refused,
    clock: Clock = utcnow,
) -> Listener:
    """Listen for devices in background threads; C-ECHO is always answered.

    Parameters
    ----------
    doors : sequence of ListenerSettings
        Plain and TLS ports; the limits of the first hold for all together.
    gate : callable
        Says of a `Peer` whether it may come in. An exception refuses it for now.
    services : sequence of Service
    storage : StorageService or None
    refused : callable
        Told of every caller that was not let in or was cut off.

    Returns
    -------
    Listener
        Already listening.

    Raises
    ------
    OSError
        An address is not free.
    """
    listener = Listener(doors, gate, services, storage, refused, clock)
    log.info("dicom_listener_started", ports=listener.ports)
    return listener


_VERIFY = Service(
    "verification",
    (VERIFICATION,),
    WIRE_SYNTAXES,
    lambda request: request.respond(status.SUCCESS),
    strangers=True,
)


def _association_request(link: Link) -> pdu.Associate:
    kind, body = link.read(pdu.MOST_ASSOCIATE_BYTES)
    if kind != pdu.ASSOCIATE_RQ:
        raise ProtocolError("the first unit is no association request")
    return pdu.decode_associate(kind, bytes(body))


def _bound(settings: ListenerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.shared_port:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        door.bind((settings.host, settings.port))
        door.listen(BACKLOG)
    except OSError:
        door.close()
        raise
    return door


def _secured(connection: socket.socket, tls: ssl.SSLContext) -> tuple[socket.socket, str]:
    """Return the connection under TLS, and the fingerprint of the client's certificate if it showed one."""
    import hashlib

    secured = tls.wrap_socket(connection, server_side=True)
    shown = secured.getpeercert(binary_form=True)
    return secured, hashlib.sha256(shown).hexdigest() if shown else ""


def _stop_listening(door: socket.socket) -> None:
    with contextlib.suppress(OSError):
        door.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
    door.close()


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
