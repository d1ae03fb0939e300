"""What can go wrong between two application entities."""

from hub.errors import HubError, Malformed, Retriable, TooLarge


class ProtocolError(Malformed):
    """The peer does not keep to the DICOM upper layer or message protocol."""


class NotDicomPeer(ProtocolError):
    """What speaks on this port is no DICOM application."""


class MessageTooLarge(TooLarge):
    """The peer sends more than the hub takes in one message."""


class AssociationEnded(HubError):
    """The association is over."""


class Released(AssociationEnded):
    """The peer released the association in due form."""


class Aborted(AssociationEnded):
    """The peer aborted the association or its connection was lost."""


class TimedOut(AssociationEnded):
    """The peer was silent for too long."""


class PeerUnreachable(Retriable):
    """The other system does not answer at this address and port."""


class PeerRefused(Retriable):
    """The other system refuses the association: `reason` says why."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(f"The other system refuses the association: {reason}.")
        self.reason = reason
        self.permanent = permanent
