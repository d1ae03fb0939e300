"""The registry of other DICOM systems, and what an attempt to talk to one of them shows."""

import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.service import ActorRef
from hub.audit.tags import Tag
from hub.config import Settings
from hub.context import Context
from hub.dicom.exchange_repository import ForwardRepository, NodeRepository
from hub.dicom.listening import TlsMisconfigured, client_context
from hub.dicom.models import DicomNode
from hub.dicom.sending import MOST_PAIRS, proposal
from hub.dicom.wire.association import Association
from hub.dicom.wire.errors import AssociationEnded, PeerRefused, PeerUnreachable, ProtocolError, TimedOut
from hub.dicom.wire.requestor import Target, connect, echo
from hub.dicom.wire.service import WIRE_SYNTAXES
from hub.errors import Conflict, HubError, NotFound, Rejected
from hub.jobs.queue import enqueue
from hub.kit.ids import new_id
from hub.sites.rules import PortInvalid, checked_title

LAST_PORT = 65535
NAME_LENGTH, HOST_LENGTH, MODALITY_LENGTH = 64, 255, 16
ECHO_SECONDS = 6.0
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)

ANSWERS = "ok"
"""Outcome of an echo that was answered Success."""


def wait_after(failures: int) -> timedelta:
    """Return how long to wait after so many failures in a row, from 1: 1, 2, 4 … 60 minutes."""
    return min(LONGEST_WAIT, FIRST_WAIT * (1 << min(failures - 1, 10)))


class NodeNameMissing(Rejected):
    """A node needs a name of at most 64 characters."""


class NodeNameTaken(Conflict):
    """Another node has that name."""


class NodeHostInvalid(Rejected):
    """The address of a node is a host name or an IP address."""


@dataclass(frozen=True)
class NodeFacts:
    """Everything about a node that a person sets; see `hub.dicom.models.DicomNode`."""

    name: str
    ae_title: str
    host: str
    port: int
    tls: bool = False
    calling_ae: str = ""
    active: bool = True
    forward: bool = False
    forward_sites: tuple[str, ...] = ()
    forward_modalities: tuple[str, ...] = ()


@dataclass(frozen=True)
class EchoResult:
    """What came of asking a node for a sign of life.

    Attributes
    ----------
    outcome : str
        `ANSWERS`, or the word for what was wrong (`trouble_of`).
    seconds : float
        How long it took.
    """

    outcome: str
    seconds: float

    @property
    def works(self) -> bool:
        """Whether the node answered as it should."""
        return self.outcome == ANSWERS


@dataclass(frozen=True)
class Kind:
    """A kind of object by SOP class and transfer syntax."""

    sop_class: str
    transfer_syntax: str


@dataclass(frozen=True)
class KindTaken(Kind):
    """Whether a node takes a kind of object: ``as stored``, ``plain`` (when it can be decoded) or ``no``."""

    taken: str


def add_node(session: Session, facts: NodeFacts, *, now: datetime, actor: ActorRef) -> DicomNode:
    """Register a node.

    Raises
    ------
    Rejected
        Name, titles, address or port cannot be one.
    Conflict
        The name is taken.
    """
    facts = _checked(session, facts)
    node = DicomNode(created_at=now, forward_sites=[], forward_modalities=[])
    _apply(node, facts)
    session.add(node)
    session.flush()
    _audit(session, Tag.NODE_CREATE, node, actor)
    return node


def change_node(session: Session, node_id: str, facts: NodeFacts, *, actor: ActorRef) -> DicomNode:
    """Change a node; what waits for it is tried at once with the new settings.

    Raises
    ------
    NotFound, Rejected, Conflict
        As `add_node`.
    """
    node = _locked(session, node_id)
    _apply(node, _checked(session, facts, own_id=node_id))
    _audit(session, Tag.NODE_CHANGE, node, actor)
    try_now(session, node)
    return node


def set_node_active(session: Session, node_id: str, *, active: bool, actor: ActorRef) -> DicomNode:
    """Hold back everything for a node, or let it go again."""
    node = _locked(session, node_id)
    node.active = active
    _audit(session, Tag.NODE_CHANGE, node, actor)
    if active:
        try_now(session, node)
    return node


def remove_node(session: Session, node_id: str, *, actor: ActorRef) -> None:
    """Take a node off the registry with all that is queued for it; the trail keeps what it was sent."""
    node = _locked(session, node_id)
    _audit(session, Tag.NODE_REMOVE, node, actor)
    NodeRepository(session).remove(node_id)


def require_node(session: Session, name: str) -> DicomNode:
    """Return a node by its name or row id or raise `NotFound`."""
    node = NodeRepository(session).named(name)
    if node is None:
        raise NotFound(f"no node is called {name}")
    return node


def try_now(session: Session, node: DicomNode) -> None:
    """Forget that a node could not be reached, and send everything that waits for it at once."""
    ForwardRepository(session).let_all_go(node.id)
    forgive(session, node)


def forgive(session: Session, node: DicomNode) -> None:
    """Forget that a node could not be reached, and let a run look after it."""
    node.failures, node.failing_since, node.retry_at, node.last_error = 0, None, None, ""
    session.flush()
    wake(session, node.id)


def wake(session: Session, node_id: str, delay_seconds: float = 0.0) -> None:
    """Let a run look after a node; runs that were not started yet are one."""
    enqueue(
        session,
        "dicom.forward_to_node",
        delay_seconds=delay_seconds,
        once_key=node_id,
        node_id=node_id,
        run_id=new_id(),
    )


def target_of(node: DicomNode, settings: Settings) -> Target:
    """Return how to call a node."""
    return Target(
        node.host,
        node.port,
        node.ae_title,
        node.calling_ae or settings.dicom_ae_title,
        client_context(settings) if node.tls else None,
    )


def echo_node(context: Context, node_id: str) -> EchoResult:
    """Ask a node for a sign of life, outside any transaction, and keep what came of it.

    Raises
    ------
    NotFound
        There is no such node.
    """
    with context.db.reading() as session:
        node = NodeRepository(session).node(node_id)
        if node is None:
            raise NotFound("no such node")
    result = _echo(node, context.settings)
    with context.db.transaction() as session:
        node = NodeRepository(session).lock(node_id)
        if node is not None:
            node.echo_at, node.echo_outcome = context.clock(), result.outcome
            if result.works and node.failures:
                try_now(session, node)
    return result


def survey_node(context: Context, node_id: str) -> list[KindTaken]:
    """Negotiate for the kinds of objects that the archive holds, and send nothing.

    Raises
    ------
    NotFound
        There is no such node.
    PeerUnreachable, PeerRefused, TlsMisconfigured
        No association comes about.
    """
    with context.db.reading() as session:
        node = NodeRepository(session).node(node_id)
        kinds = [Kind(*each) for each in ForwardRepository(session).kinds(MOST_PAIRS)]
    if node is None:
        raise NotFound("no such node")
    if not kinds:
        return []
    association = connect(target_of(node, context.settings), proposal(kinds), timeout_seconds=ECHO_SECONDS)
    try:
        return [KindTaken(one.sop_class, one.transfer_syntax, _taken(association, one)) for one in kinds]
    finally:
        association.release()


def _taken(association: Association, kind: Kind) -> str:
    if association.context_for(kind.sop_class, kind.transfer_syntax):
        return "as stored"
    plain = any(association.context_for(kind.sop_class, syntax) for syntax in WIRE_SYNTAXES)
    return "plain" if plain else "no"


def _echo(node: DicomNode, settings: Settings) -> EchoResult:
    started = time.monotonic()
    try:
        status = echo(target_of(node, settings), timeout_seconds=ECHO_SECONDS)
        outcome = ANSWERS if status == 0 else f"status:{status:04X}"
    except HubError as error:
        outcome = trouble_of(error)
    return EchoResult(outcome, time.monotonic() - started)


TROUBLES = frozenset(
    {"host_unknown", "no_answer", "port_closed", "unreachable", "tls_failed", "tls_setup", "not_dicom"}
    | {"called_unknown", "calling_unknown", "busy", "refused", "aborted", "silent", "broken"}
    | {"no_verification", "class_refused", "syntax_refused", "full", "forbidden", "mismatch"}
    | {"not_understood", "status", "damaged", "store_away", "internal", "no_port", "device_blocked"}
)
"""Every word for what can go wrong with another system. Behind a colon may stand a status or UID.
``exchange.trouble.WORD`` in the catalogue says what it means, ``exchange.advice.WORD`` what to do."""

_REFUSALS = {
    "called AE title not recognised": "called_unknown",
    "calling AE title not recognised": "calling_unknown",
    "temporary congestion": "busy",
    "local limit exceeded": "busy",
    "association aborted": "aborted",
}
_CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLError, "tls_failed"),
    (socket.gaierror, "host_unknown"),
    (TimeoutError, "no_answer"),
    (ConnectionRefusedError, "port_closed"),
    (TimedOut, "not_dicom"),
    (AssociationEnded, "not_dicom"),
    (ProtocolError, "not_dicom"),
)


def trouble_of(error: HubError) -> str:
    """Return the word of `TROUBLES` for what kept an association from coming about or going on."""
    if isinstance(error, PeerRefused):
        return _REFUSALS.get(error.reason, "refused")
    if isinstance(error, PeerUnreachable):
        cause = error.__cause__
        return next((word for kind, word in _CAUSES if isinstance(cause, kind)), "unreachable")
    if isinstance(error, TlsMisconfigured):
        return "tls_setup"
    if isinstance(error, TimedOut):
        return "silent"
    if isinstance(error, (AssociationEnded, ProtocolError)):
        return "broken"
    return "no_verification"


def addresses_of(hosts: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the IP addresses of hosts; none for one whose name is not known. Asks the network."""
    found = {}
    for host in set(hosts):
        try:
            found[host] = frozenset(str(entry[4][0]) for entry in socket.getaddrinfo(host, None))
        except OSError:
            found[host] = frozenset()
    return found


def _checked(session: Session, facts: NodeFacts, own_id: str = "") -> NodeFacts:
    name, host = facts.name.strip(), facts.host.strip()
    if not 1 <= len(name) <= NAME_LENGTH:
        raise NodeNameMissing
    if not host or len(host) > HOST_LENGTH or not host.isascii() or set(host) & set(" /\\@"):
        raise NodeHostInvalid
    if not 1 <= facts.port <= LAST_PORT:
        raise PortInvalid
    other = NodeRepository(session).named(name)
    if other is not None and other.id != own_id:
        raise NodeNameTaken
    modalities = tuple(sorted({each.strip().upper()[:MODALITY_LENGTH] for each in facts.forward_modalities}))
    return NodeFacts(
        name,
        checked_title(facts.ae_title),
        host,
        facts.port,
        facts.tls,
        checked_title(facts.calling_ae) if facts.calling_ae.strip() else "",
        facts.active,
        facts.forward,
        facts.forward_sites,
        tuple(each for each in modalities if each),
    )


def _apply(node: DicomNode, facts: NodeFacts) -> None:
    node.name, node.ae_title, node.calling_ae = facts.name, facts.ae_title, facts.calling_ae
    node.host, node.port, node.tls = facts.host, facts.port, facts.tls
    node.active, node.forward = facts.active, facts.forward
    node.forward_sites, node.forward_modalities = list(facts.forward_sites), list(facts.forward_modalities)


def _locked(session: Session, node_id: str) -> DicomNode:
    node = NodeRepository(session).lock(node_id)
    if node is None:
        raise NotFound("no such node")
    return node


def _audit(session: Session, tag: Tag, node: DicomNode, actor: ActorRef) -> None:
    audit.record(
        session,
        tag,
        actor=actor,
        subject_kind="node",
        subject_id=node.id,
        ae_title=node.ae_title,
        called_at=f"{node.host}:{node.port}",
        active=int(node.active),
        forward=int(node.forward),
    )
