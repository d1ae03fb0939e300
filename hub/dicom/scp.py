"""The DICOM listener: verification and storage, and nothing behind them.

It knows no database and no store. A gate decides who may come in, a sink takes what
was received and returns only when that is durable; so the same listener serves the
hub and the box at the township.
"""

import itertools
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import structlog

from hub.dicom.contexts import storage_classes, transfer_syntaxes
from hub.errors import HubError
from hub.kit.clock import Clock, utcnow

log = structlog.get_logger()

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
PROCESSING_FAILURE = 0xC211
"""Statuses of C-STORE (PS3.4 Table B.2-1); the last is of the "cannot understand" range."""


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """Where and how the listener waits for devices."""

    host: str = "0.0.0.0"  # noqa: S104 - devices come from other machines
    port: int = 11112
    """0 takes any free port; `Listener.port` tells which."""
    ae_title: str = "HUB"
    maximum_associations: int = 64
    """Further devices are told to try again (local limit exceeded)."""
    maximum_pdu_bytes: int = 128 * 1024
    """Measured best for images on a fast link; the default of 16 kB is the slow case."""
    network_timeout_seconds: float = 60.0
    """An association on which nothing moves for so long is aborted."""
    dimse_timeout_seconds: float = 60.0
    acse_timeout_seconds: float = 30.0
    maximum_object_bytes: int = 2 * 1024 * 1024 * 1024
    """An association that sends more for one object is aborted."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for an association. Titles are as sent, without padding."""

    calling_ae: str
    called_ae: str
    address: str
    association_id: str


class Admission(Enum):
    """The gate's answer (PS3.8 Table 9-21)."""

    ADMITTED = "admitted"
    UNKNOWN_CALLER = "unknown_caller"
    """Rejected: calling AE title not recognised."""
    WRONG_CALLED = "wrong_called"
    """Rejected: called AE title not recognised."""
    BUSY = "busy"
    """Rejected for now: temporary congestion."""


_REJECTIONS = {
    Admission.UNKNOWN_CALLER: (0x01, 0x01, 0x03),
    Admission.WRONG_CALLED: (0x01, 0x01, 0x07),
    Admission.BUSY: (0x02, 0x03, 0x01),
}


@dataclass(frozen=True, slots=True)
class Received:
    """One object as it came over the wire; `dataset` is untouched."""

    dataset: bytes
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    calling_ae: str
    called_ae: str
    address: str
    association_id: str
    received_at: datetime


Gate = Callable[[Caller], Admission]
Sink = Callable[[Received], None]
Refused = Callable[[Caller, str], None]


class Listener:
    """A running listener."""

    def __init__(self, entity: Any, server: Any) -> None:
        self._entity = entity
        self._server = server

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def associations(self) -> int:
        """How many associations are open now."""
        return len(self._server.active_associations)

    def shutdown(self, patience_seconds: float = 10.0) -> None:
        """Take no more associations, let the open ones finish, then abort the rest."""
        open_now = list(self._server.active_associations)
        self._server.shutdown()
        waiting = threading.Event()
        for _ in range(int(patience_seconds / 0.05)):
            if not any(association.is_established for association in open_now):
                break
            waiting.wait(0.05)
        self._entity.shutdown()


def serve(
    listener: ListenerSettings, gate: Gate, sink: Sink, refused: Refused, clock: Clock = utcnow
) -> Listener:
    """Listen for C-ECHO and C-STORE in background threads.

    Parameters
    ----------
    listener : ListenerSettings
        Address, title and limits.
    gate : callable
        Says of a `Caller` whether it may come in. An exception refuses it for now.
    sink : callable
        Takes a `Received` and returns only once it is durable. `HubError` is answered
        with its own DIMSE status, `OSError` and `MemoryError` with 0xA700, anything
        else with 0xC211.
    refused : callable
        Told of every caller that was not let in, with the reason, a stable word.

    Returns
    -------
    Listener
        Already listening.

    Raises
    ------
    OSError
        The address is not free.
    """
    from pynetdicom import _config

    # pynetdicom would format every message for its own log, names included.
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    entity = _entity(listener)
    handlers = _Handlers(listener, gate, sink, refused, clock)
    server = entity.start_server((listener.host, listener.port), block=False, evt_handlers=handlers.table())
    log.info("dicom_listener_started", port=server.server_address[1], ae_title=listener.ae_title)
    return Listener(entity, server)


def _entity(listener: ListenerSettings) -> Any:
    from pynetdicom import AE, VerificationPresentationContexts
    from pynetdicom.service_class import StorageServiceClass
    from pynetdicom.sop_class import register_uid, uid_to_service_class

    entity = AE(ae_title=listener.ae_title)
    entity.maximum_associations = listener.maximum_associations
    entity.maximum_pdu_size = listener.maximum_pdu_bytes
    entity.network_timeout = listener.network_timeout_seconds
    entity.dimse_timeout = listener.dimse_timeout_seconds
    entity.acse_timeout = listener.acse_timeout_seconds
    entity.require_called_aet = False
    # pynetdicom copies these for every association; storage joins in `_offer`.
    entity.supported_contexts = VerificationPresentationContexts
    for uid, keyword in storage_classes().items():
        if not issubclass(uid_to_service_class(uid), StorageServiceClass):
            register_uid(uid, keyword, StorageServiceClass)
    return entity


class _Handlers:
    """What happens on an association, from the connection to its end."""

    def __init__(
        self, listener: ListenerSettings, gate: Gate, sink: Sink, refused: Refused, clock: Clock
    ) -> None:
        self._listener = listener
        self._gate = gate
        self._sink = sink
        self._refused = refused
        self._clock = clock
        self._numbers = itertools.count(1)
        self._started = clock().strftime("%Y%m%dT%H%M%S")

    def table(self) -> list[tuple[Any, Callable[..., Any]]]:
        from pynetdicom import evt

        return [
            (evt.EVT_CONN_OPEN, self._connected),
            (evt.EVT_DATA_RECV, self._data_received),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_C_ECHO, lambda _event: SUCCESS),
            (evt.EVT_C_STORE, self._store),
        ]

    def _connected(self, event: Any) -> None:
        """Send replies at once: Nagle's algorithm costs 40 ms an object against delayed ACKs."""
        association = event.assoc
        association.hub_id = f"{self._started}-{next(self._numbers)}"
        association.hub_spoke = association.hub_asked = False
        association.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _data_received(self, event: Any) -> None:
        """Note that the peer spoke, and stop one that never stops sending."""
        association = event.assoc
        association.hub_spoke = True
        message = association.dimse.message
        if message is None or message.data_set is None:
            return
        if message.data_set.tell() > self._listener.maximum_object_bytes:
            log.warning("dicom_object_too_large", association=association.hub_id)
            association.dul.socket.close()

    def _requested(self, event: Any) -> None:
        """Ask the gate before anything is negotiated."""
        association = event.assoc
        association.hub_asked = True
        caller = self._caller(association)
        try:
            admission = self._gate(caller)
        except Exception:  # noqa: BLE001 - a gate that fails must not let anybody in
            # The trace may hold what the gate was looking at; its place is not the log.
            log.error("dicom_gate_failed", association=caller.association_id)  # noqa: TRY400
            admission = Admission.BUSY
        if admission is Admission.ADMITTED:
            self._offer(association)
            return
        association.acse.send_reject(*_REJECTIONS[admission])
        self._tell(caller, admission.value)
        association.kill()

    def _rejected(self, event: Any) -> None:
        """Report what pynetdicom refused by itself: too many associations."""
        self._tell(self._caller(event.assoc), "too_many_associations")

    def _closed(self, event: Any) -> None:
        """Report a peer that spoke, but never made an association request of sense."""
        association = event.assoc
        if getattr(association, "hub_spoke", False) and not association.hub_asked:
            address = str(association.requestor.address or "")
            self._tell(Caller("", "", address, association.hub_id), "unreadable_request")

    def _tell(self, caller: Caller, reason: str) -> None:
        log.info("dicom_association_refused", association=caller.association_id, reason=reason)
        try:
            self._refused(caller, reason)
        except Exception as error:  # noqa: BLE001 - the association is refused whether noted or not
            log.error(  # noqa: TRY400
                "dicom_refusal_not_recorded", association=caller.association_id, error=type(error).__name__
            )

    def _store(self, event: Any) -> int:
        """Answer one C-STORE; Success only after the sink has returned (PS3.4 section B.2.3)."""
        caller = self._caller(event.assoc)
        request = event.request
        try:
            if request.DataSet is None:
                return PROCESSING_FAILURE
            self._sink(
                Received(
                    dataset=event.encoded_dataset(include_meta=False),
                    sop_class=str(request.AffectedSOPClassUID or ""),
                    sop_instance=str(request.AffectedSOPInstanceUID or ""),
                    transfer_syntax=str(event.context.transfer_syntax),
                    calling_ae=caller.calling_ae,
                    called_ae=caller.called_ae,
                    address=caller.address,
                    association_id=caller.association_id,
                    received_at=self._clock(),
                )
            )
        except HubError as error:
            log.warning(
                "dicom_store_refused", association=caller.association_id, code=error.code, **error.facts
            )
            return error.dimse_status
        except (OSError, MemoryError) as error:
            log.error("dicom_store_failed", association=caller.association_id, error=type(error).__name__)  # noqa: TRY400
            return OUT_OF_RESOURCES
        except Exception as error:  # noqa: BLE001 - the peer must have its answer
            # Only the class of the error: its text may quote the data set.
            log.error("dicom_store_failed", association=caller.association_id, error=type(error).__name__)  # noqa: TRY400
            return PROCESSING_FAILURE
        return SUCCESS

    @staticmethod
    def _caller(association: Any) -> Caller:
        primitive = association.requestor.primitive
        return Caller(
            calling_ae=str(primitive.calling_ae_title or "").strip("\0 "),
            called_ae=str(primitive.called_ae_title or "").strip("\0 "),
            address=str(association.requestor.address or ""),
            association_id=association.hub_id,
        )

    @staticmethod
    def _offer(association: Any) -> None:
        """Support what is proposed, if it is storage, in the sender's order of transfer syntaxes.

        The standard leaves the choice to the acceptor. A sender names the form it
        holds first, by habit; taking that one avoids a conversion on its side.
        """
        from pynetdicom.presentation import build_context

        classes, syntaxes = storage_classes(), set(transfer_syntaxes())
        proposed: dict[str, dict[str, None]] = {}
        for context in association.requestor.primitive.presentation_context_definition_list:
            if context.abstract_syntax in classes:
                wanted = proposed.setdefault(str(context.abstract_syntax), {})
                wanted.update((str(uid), None) for uid in context.transfer_syntax if uid in syntaxes)
        association.acceptor.supported_contexts += [
            build_context(uid, list(wanted)) for uid, wanted in proposed.items() if wanted
        ]
