"""Asking another system for an association: forwarding, retrieval by move, reports of commitment."""

import itertools
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hub.dicom.wire import pdu
from hub.dicom.wire.association import OWN_MAXIMUM_LENGTH, Association, Context, Peer
from hub.dicom.wire.errors import AssociationEnded, PeerRefused, PeerUnreachable, ProtocolError
from hub.dicom.wire.link import Link
from hub.errors import HubError

MOST_CONTEXTS = 128
"""Odd numbers from 1 to 255 (PS3.8 section 9.3.2.2)."""

VERIFICATION = "1.2.840.10008.1.1"

_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""Source and reason of a rejection (PS3.8 Table 9-21)."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Target:
    """Another application entity.

    Attributes
    ----------
    ae_title, calling_ae : str
        Title under which it is called, and under which the hub calls.
    tls : ssl.SSLContext, optional
        To speak TLS with it.
    """

    host: str
    port: int
    ae_title: str
    calling_ae: str
    tls: ssl.SSLContext | None = None


def connect(
    target: Target,
    contexts: Sequence[tuple[str, Sequence[str]]],
    *,
    roles: Mapping[str, tuple[bool, bool]] | None = None,
    timeout_seconds: float = 30.0,
) -> Association:
    """Open an association.

    Parameters
    ----------
    contexts : sequence of (abstract syntax, transfer syntaxes)
        At most 128.
    roles : mapping of SOP class to (SCU, SCP), optional
        Roles that the hub proposes for itself.
    timeout_seconds : float
        For the connection, and later without any byte.

    Raises
    ------
    PeerUnreachable
        Nobody answers there, or not as a DICOM system.
    PeerRefused
        The association is rejected, with the reason the peer gives.
    """
    if not 0 < len(contexts) <= MOST_CONTEXTS:
        raise ValueError("an association proposes 1 to 128 presentation contexts")
    proposed = [
        pdu.ProposedContext(2 * number + 1, abstract, tuple(syntaxes))
        for number, (abstract, syntaxes) in enumerate(contexts)
    ]
    link = _open(target, timeout_seconds)
    try:
        answer = _ask(link, target, proposed, dict(roles or {}))
    except (AssociationEnded, ProtocolError, PeerRefused) as error:
        link.close()
        if isinstance(error, PeerRefused):
            raise
        raise PeerUnreachable("The other system does not answer as a DICOM system should.") from error
    abstracts = {each.id: each.abstract_syntax for each in proposed}
    accepted = {
        each.id: Context(
            each.id,
            abstracts[each.id],
            each.transfer_syntax,
            peer_is_scp=not (roles or {}).get(abstracts[each.id], (True, False))[1],
        )
        for each in answer.answered
        if each.result == pdu.ACCEPTED and each.id in abstracts and each.transfer_syntax
    }
    peer = Peer(target.calling_ae, target.ae_title, target.host, f"out-{next(_numbers)}")
    return Association(link, peer, accepted, answer.maximum_length)


def _open(target: Target, timeout_seconds: float) -> Link:
    try:
        connection = socket.create_connection((target.host, target.port), timeout=timeout_seconds)
    except OSError as error:
        raise PeerUnreachable from error
    if target.tls is not None:
        try:
            connection = target.tls.wrap_socket(connection, server_hostname=target.host)
        except (OSError, ssl.SSLError) as error:
            connection.close()
            raise PeerUnreachable("The other system does not agree on TLS.") from error
    return Link(connection, timeout_seconds)


def _ask(
    link: Link,
    target: Target,
    proposed: list[pdu.ProposedContext],
    roles: dict[str, tuple[bool, bool]],
) -> pdu.Associate:
    request = pdu.Associate(
        pdu.title(target.ae_title),
        pdu.title(target.calling_ae),
        proposed=proposed,
        roles=roles,
        maximum_length=OWN_MAXIMUM_LENGTH,
    )
    link.send([pdu.encode_associate(pdu.ASSOCIATE_RQ, request)])
    kind, body = link.read(pdu.MOST_ASSOCIATE_BYTES)
    if kind == pdu.ASSOCIATE_AC:
        return pdu.decode_associate(kind, bytes(body))
    if kind == pdu.ASSOCIATE_RJ and len(body) >= 4:  # noqa: PLR2004 - result, source, reason
        result, source, reason = body[1:4]
        words = _REASONS.get((source, reason), f"source {source}, reason {reason}")
        raise PeerRefused(words, permanent=result == 1)
    raise PeerRefused("association aborted")


def echo(target: Target, *, timeout_seconds: float = 10.0) -> int:
    """Verify that a system answers as DICOM; return the status of its C-ECHO.

    Raises
    ------
    PeerUnreachable, PeerRefused
        As `connect`.
    HubError
        It accepts associations, but no verification.
    """
    association = connect(
        target,
        [(VERIFICATION, ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"))],
        timeout_seconds=timeout_seconds,
    )
    try:
        if not association.contexts:
            raise HubError("The other system accepts associations, but no verification.")
        return association.echo()
    finally:
        association.release()
