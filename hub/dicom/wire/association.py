"""An association: messages in and out over presentation contexts, whoever asked for it (PS3.7, PS3.8)."""

import contextlib
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from hub.dicom.wire import dimse, pdu
from hub.dicom.wire.dimse import Command, decode_command, encode_command
from hub.dicom.wire.errors import Aborted, AssociationEnded, MessageTooLarge, ProtocolError, Released
from hub.dicom.wire.link import Link
from hub.dicom.wire.status import is_pending

MOST_COMMAND_BYTES = 64 * 1024
MOST_IDENTIFIER_BYTES = 16 << 20
"""Longest data set that is held in memory: queries, procedure steps, lists of references."""

OWN_MAXIMUM_LENGTH = 256 * 1024
"""Longest P-DATA unit that the hub takes. DCMTK sends 128 kB at most, others follow this number."""
SLACK_BYTES = 64
"""Some senders count the headers apart from the length they were given."""
SENT_MAXIMUM_LENGTH = 128 * 1024
"""Longest unit that the hub writes to a peer that sets no limit."""

_PDV = pdu.PDV_HEADER_BYTES
_PDV_HEADER = struct.Struct(">IBB")
"""Length, presentation context, message control header (PS3.8 section 9.3.5.1)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. Titles are without padding; unreadable bytes are shown as such."""

    calling_ae: str
    called_ae: str
    address: str
    association_id: str
    certificate_sha256: str = ""
    """Of the TLS client certificate, hexadecimal; empty without one."""
    identity: object | None = None
    """What the gate knows of the peer."""


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    peer_is_scp: bool = False
    """The peer takes requests of this class itself (role selection, C-GET)."""


class _Fragment(NamedTuple):
    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


class Association:
    """An established association over a link.

    Parameters
    ----------
    link : Link
        Where it runs.
    peer : Peer
        Who is at the other end.
    contexts : dict of int to Context
        The accepted presentation contexts.
    peer_maximum : int
        Longest P-DATA body that the peer takes; 0 for any.
    """

    def __init__(self, link: Link, peer: Peer, contexts: dict[int, Context], peer_maximum: int) -> None:
        self.link = link
        self.peer = peer
        self.contexts = contexts
        self.cancelled: set[int] = set()
        """Message ids of requests that the peer has cancelled."""
        self.awaited: dict[int, Callable[[Command, bytes], None]] = {}
        """Who takes the response to a request that was begun on an association that a listener serves."""
        self.open = True
        self._room = max(min(peer_maximum or SENT_MAXIMUM_LENGTH, SENT_MAXIMUM_LENGTH), 1024)
        self._unit: memoryview | None = None
        self._at = 0
        self._next_id = 1
        self._awaiting_data = False

    def context_for(self, abstract_syntax: str, transfer_syntax: str | None = None) -> Context | None:
        """Return an accepted context of this abstract syntax, and transfer syntax when one is named."""
        for context in self.contexts.values():
            if context.abstract_syntax == abstract_syntax and transfer_syntax in (
                None,
                context.transfer_syntax,
            ):
                return context
        return None

    # Receiving

    def receive(self) -> tuple[Context, Command]:
        """Return the next command; its data set, if any, waits in `pieces`.

        Raises
        ------
        Released, Aborted, TimedOut
            The association is over.
        ProtocolError, MessageTooLarge
            The peer does not keep to the protocol.
        """
        content = bytearray()
        context_id = None
        while True:
            fragment = self._fragment()
            if not fragment.is_command or context_id not in (None, fragment.context_id):
                raise ProtocolError("a data set comes where a command should")
            context_id = fragment.context_id
            content += fragment.data
            if len(content) > MOST_COMMAND_BYTES:
                raise MessageTooLarge("a command set is longer than any can be")
            if fragment.is_last:
                break
        context = self.contexts.get(context_id)
        if context is None:
            raise ProtocolError("a message comes on a presentation context that was not accepted")
        command = decode_command(bytes(content))
        self._awaiting_data = command.has_data_set
        return context, command

    def pieces(self, context: Context) -> Iterator[memoryview]:
        """Yield the data set that follows a command, piece by piece; each is valid until the next."""
        while self._awaiting_data:
            fragment = self._fragment()
            if fragment.is_command or fragment.context_id != context.id:
                raise ProtocolError("a command comes where a data set should")
            self._awaiting_data = not fragment.is_last
            yield fragment.data

    def data_set(self, context: Context) -> bytes:
        """Return the data set that follows a command, as a whole.

        Raises
        ------
        MessageTooLarge
            It is longer than `MOST_IDENTIFIER_BYTES`.
        """
        content = bytearray()
        for piece in self.pieces(context):
            content += piece
            if len(content) > MOST_IDENTIFIER_BYTES:
                raise MessageTooLarge("a query or report is longer than the hub takes")
        return bytes(content)

    @property
    def within_message(self) -> bool:
        """Whether a message has begun to arrive and not come to its end."""
        return self._awaiting_data or self.link.within_unit

    def look_for_cancel(self, message_id: int) -> bool:
        """Tell whether the peer has cancelled a request, without waiting for it.

        Raises
        ------
        AssociationEnded
            The peer has gone in the meantime.
        """
        while message_id not in self.cancelled and (self._unit is not None or self.link.readable()):
            context, command = self.receive()
            if command.field != dimse.C_CANCEL_RQ:
                raise ProtocolError("another request comes before the answer to the last one")
            for _ in self.pieces(context):
                pass
            self.cancelled.add(command.responds_to)
        return message_id in self.cancelled

    def _fragment(self) -> _Fragment:
        """Return the next presentation data value."""
        while self._unit is None or self._at >= len(self._unit):
            self._unit, self._at = self._next_unit(), 0
        unit, at, size = self._unit, self._at, len(self._unit)
        if size - at < _PDV:
            raise ProtocolError("a presentation data value is cut")
        length, context_id, control = _PDV_HEADER.unpack_from(unit, at)
        if length < 2 or length > size - at - 4:  # noqa: PLR2004 - id and control header
            raise ProtocolError("a presentation data value is longer than its unit")
        self._at = at + 4 + length
        data = unit[at + _PDV : self._at]
        if self._at >= size:
            self._unit = None
        return _Fragment(context_id, bool(control & 1), bool(control & 2), data)

    def _next_unit(self) -> memoryview:
        kind, body = self.link.read(OWN_MAXIMUM_LENGTH + SLACK_BYTES)
        if kind == pdu.P_DATA:
            return body
        self.open = False
        if kind == pdu.RELEASE_RQ:
            self.link.send([pdu.release(pdu.RELEASE_RP)])
            raise Released
        if kind == pdu.ABORT:
            raise Aborted
        self.open = True
        raise ProtocolError("an association unit comes on an association that stands already")

    # Sending

    def send(self, context: Context, command: bytes, pieces: Iterable[bytes] | None = None) -> None:
        """Send a command set and, piece by piece, its data set."""
        units = pdu.data_units(context.id, command=True, pieces=[command], maximum=self._room)
        if pieces is None:
            self.link.send(units)
            return
        self.link.send([b"".join(units)])
        self.link.send(pdu.data_units(context.id, command=False, pieces=pieces, maximum=self._room))

    def respond(
        self,
        context: Context,
        request: Command,
        status: int,
        data_set: bytes | None = None,
        **elements: Any,
    ) -> None:
        """Answer a request; see `hub.dicom.wire.service.Request.respond`."""
        sop_class = request.sop_class or request.requested_sop_class
        sop_instance = request.sop_instance or request.requested_sop_instance
        named: dict[str, Any] = {"AffectedSOPClassUID": sop_class} if sop_class else {}
        if sop_instance:
            named["AffectedSOPInstanceUID"] = sop_instance
        command = encode_command(
            **{
                **named,
                "CommandField": request.field | dimse.RESPONSE,
                "MessageIDBeingRespondedTo": request.message_id,
                "CommandDataSetType": dimse.NO_DATA_SET if data_set is None else 1,
                "Status": status,
                **elements,
            }
        )
        self.send(context, command, None if data_set is None else [data_set])

    # Asking

    def request(
        self,
        context: Context,
        field: int,
        data_set: bytes | None = None,
        **elements: Any,
    ) -> tuple[Command, bytes]:
        """Send a request and return the response with its data set.

        Raises
        ------
        AssociationEnded, ProtocolError
            No proper response came.
        """
        message_id = self.begin_request(context, field, None if data_set is None else [data_set], **elements)
        return self.response_to(message_id)

    def begin_request(
        self, context: Context, field: int, pieces: Iterable[bytes] | None, **elements: Any
    ) -> int:
        """Send a request and return its message id."""
        message_id, self._next_id = self._next_id, self._next_id % 0xFFFF + 1
        command = encode_command(
            **{
                "CommandField": field,
                "MessageID": message_id,
                "CommandDataSetType": dimse.NO_DATA_SET if pieces is None else 1,
                **elements,
            }
        )
        self.send(context, command, pieces)
        return message_id

    def response_to(self, message_id: int) -> tuple[Command, bytes]:
        """Return the next response to a request; a cancel that comes meanwhile is remembered."""
        while True:
            context, command = self.receive()
            content = self.data_set(context)
            if command.field == dimse.C_CANCEL_RQ:
                self.cancelled.add(command.responds_to)
            elif not command.field & dimse.RESPONSE or command.responds_to != message_id:
                raise ProtocolError("the peer answers what was not asked")
            else:
                return command, content

    def echo(self) -> int:
        """Send a C-ECHO and return its status."""
        context = self.context_for("1.2.840.10008.1.1")
        if context is None:
            raise ProtocolError("verification was not negotiated")
        answer, _ = self.request(context, dimse.C_ECHO_RQ, AffectedSOPClassUID=context.abstract_syntax)
        return answer.status

    def find(self, context: Context, identifier: bytes) -> Iterator[tuple[int, bytes]]:
        """Send a C-FIND and yield (status, identifier) of each answer, the final one included."""
        message_id = self.begin_request(
            context,
            dimse.C_FIND_RQ,
            [identifier],
            AffectedSOPClassUID=context.abstract_syntax,
            Priority=dimse.MEDIUM,
        )
        while True:
            answer, content = self.response_to(message_id)
            yield answer.status, content
            if not is_pending(answer.status):
                return

    def store(
        self,
        context: Context,
        *,
        sop_class: str,
        sop_instance: str,
        pieces: Iterable[bytes],
        move_originator: tuple[str, int] | None = None,
    ) -> int:
        """Send one object with C-STORE and return the status; nothing is held but one piece.

        Parameters
        ----------
        pieces : iterable of bytes
            The data set, without preamble and group 2, in the context's transfer syntax.
        move_originator : tuple of str and int, optional
            Title and message id of the C-MOVE that asked for it.
        """
        origin: dict[str, Any] = {}
        if move_originator is not None:
            origin = {
                "MoveOriginatorApplicationEntityTitle": move_originator[0],
                "MoveOriginatorMessageID": move_originator[1],
            }
        message_id = self.begin_request(
            context,
            dimse.C_STORE_RQ,
            pieces,
            AffectedSOPClassUID=sop_class,
            AffectedSOPInstanceUID=sop_instance,
            Priority=dimse.MEDIUM,
            **origin,
        )
        answer, _ = self.response_to(message_id)
        return answer.status

    # Ending

    def release(self) -> None:
        """Release the association in due form and close; a peer that does not answer is left."""
        if not self.open:
            return
        self.open = False
        try:
            self.link.send([pdu.release(pdu.RELEASE_RQ)])
            for _ in range(64):  # data still under way is read past
                kind, _body = self.link.read(OWN_MAXIMUM_LENGTH)
                if kind != pdu.P_DATA:
                    break
        except (AssociationEnded, ProtocolError, MessageTooLarge):
            pass
        finally:
            self.link.close()

    def abort(self, source: int = 0, reason: int = 0) -> None:
        """Abort the association and close."""
        if self.open:
            self.open = False
            with contextlib.suppress(AssociationEnded):
                self.link.send([pdu.abort(source, reason)])
        self.link.close()
