"""What a DIMSE service is: SOP classes, and a function that handles one request."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from hub.dicom.wire.association import Association, Context, Peer
from hub.dicom.wire.dimse import Command

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
WIRE_SYNTAXES = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
"""Transfer syntaxes of queries, procedure steps and reports."""


@dataclass(frozen=True, slots=True)
class Request:
    """One DIMSE request that came in.

    Attributes
    ----------
    dataset : bytes
        Its data set in the context's transfer syntax; empty when there is none.
    """

    association: Association
    context: Context
    command: Command
    dataset: bytes

    @property
    def peer(self) -> Peer:
        """Who asks."""
        return self.association.peer

    def respond(self, status: int, dataset: bytes | None = None, **elements: Any) -> None:
        """Send a response; several times for pending ones.

        Parameters
        ----------
        status : int
            PS3.7 annex C.
        dataset : bytes, optional
            In the context's transfer syntax.
        **elements
            Further command elements by keyword, e.g. ``NumberOfRemainingSuboperations``.
        """
        self.association.respond(self.context, self.command, status, dataset, **elements)

    def cancelled(self) -> bool:
        """Tell whether a C-CANCEL for this request has come.

        Raises
        ------
        AssociationEnded
            The peer has gone; there is nobody left to answer.
        """
        return self.association.look_for_cancel(self.command.message_id)


@dataclass(frozen=True, slots=True)
class Service:
    """A DIMSE service.

    Attributes
    ----------
    handle : callable
        Sends the response itself. A `HubError` is answered with its DIMSE status, anything
        else with 0x0110.
    strangers : bool
        Whether devices that nobody registered may use it.
    opened : callable, optional
        Told of an association on which a context of this service was accepted, before the
        first request is read.
    """

    name: str
    sop_classes: tuple[str, ...]
    transfer_syntaxes: tuple[str, ...]
    handle: Callable[[Request], None]
    strangers: bool = False
    opened: Callable[[Association, Context], None] | None = None


class Reception(Protocol):
    """One object that is being received."""

    def write(self, piece: memoryview) -> None:
        """Take the next piece of the data set; it is valid during the call only."""

    def finish(self) -> int:
        """Make the object durable and return the status of the C-STORE (PS3.4 Table B.2-1)."""

    def end(self) -> None:
        """Let go of it, kept or not: once it is answered, or when it did not come to its end."""


class Receiver(Protocol):
    """What takes the objects of one association, one after the other."""

    def begin(self, context: Context, command: Command) -> Reception:
        """Begin to receive an object."""

    def prepare(self) -> None:
        """Do what the next object will need, while its sender is busy with it."""

    def close(self) -> None:
        """The association is over."""


@dataclass(frozen=True, slots=True)
class StorageService:
    """The receiving side of C-STORE.

    Attributes
    ----------
    sop_classes : frozenset of str
    transfer_syntaxes : frozenset of str
        Accepted for every class, in the sender's order of preference.
    receiver : callable
        Called once for each association, with its peer.
    """

    sop_classes: frozenset[str]
    transfer_syntaxes: frozenset[str]
    receiver: Callable[[Peer], Receiver]
