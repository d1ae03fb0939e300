"""The board of exchange: other systems, what is on its way to them, and reports that devices did not get."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.context import Context
from hub.dicom import commitment, forward, nodes
from hub.dicom.exchange_repository import (
    CommitmentRepository,
    ForwardRepository,
    NodeRepository,
    QueueLength,
)
from hub.dicom.models import DicomNode
from hub.dicom.nodes import NodeFacts
from hub.errors import HubError, NotFound
from hub.sites.pages import AdminActor, tried
from hub.sites.repository import SiteRepository
from hub.sites.rules import PortInvalid
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.web.errors import explain
from hub.web.templating import render, toast, translator_of

router = APIRouter(include_in_schema=False)

HOME = "/admin/exchange"
LATEST = 10
SHOWN = 200
OWED_AFTER = timedelta(seconds=30)
"""Reports to devices younger than this are no news: they are being delivered."""
MODALITIES = ("CR", "DX", "MG", "CT", "MR", "US", "ECG", "ES", "XA", "RF", "SC", "OT")
"""Modalities offered in the form of a node."""


@dataclass(frozen=True)
class NodeForm:
    """The form of a node as it was filled in, so that it can be shown again."""

    name: str = ""
    ae_title: str = ""
    host: str = ""
    port: str = "104"
    tls: bool = False
    calling_ae: str = ""
    forward: bool = False
    sites: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()

    def facts(self, *, active: bool = True) -> NodeFacts:
        """Return what the form says, to be checked by the service.

        Raises
        ------
        PortInvalid
            The port is no number.
        """
        if not self.port.strip().isdecimal():
            raise PortInvalid
        return NodeFacts(
            self.name,
            self.ae_title,
            self.host,
            int(self.port),
            self.tls,
            self.calling_ae,
            active,
            self.forward,
            self.sites,
            self.modalities,
        )


def filled_in(
    name: Annotated[str, Form(max_length=200)],
    ae_title: Annotated[str, Form(max_length=64)],
    host: Annotated[str, Form(max_length=300)],
    port: Annotated[str, Form(max_length=8)],
    sites: Annotated[list[str], Form(default_factory=list)],
    modalities: Annotated[list[str], Form(default_factory=list)],
    tls: Annotated[bool, Form()] = False,
    calling_ae: Annotated[str, Form(max_length=64)] = "",
    forward: Annotated[bool, Form()] = False,
) -> NodeForm:
    """Read the form of a node."""
    return NodeForm(name, ae_title, host, port, tls, calling_ae, forward, tuple(sites), tuple(modalities))


FilledIn = Annotated[NodeForm, Depends(filled_in)]


@router.get(HOME)
def exchange_page(request: Request, context: ContextDep, session: ReadingDep, actor: AdminActor) -> Response:
    """Show the board."""
    return render(request, "exchange/page.html", _board(context, session, actor))


@router.get(f"{HOME}/board")
def exchange_board(request: Request, context: ContextDep, session: ReadingDep, actor: AdminActor) -> Response:
    """Give the board's inside, which asks for itself again every few seconds."""
    return render(request, "exchange/_board.html", _board(context, session, actor))


@router.get(f"{HOME}/nodes/new")
def new_node(request: Request, context: ContextDep, session: ReadingDep, _actor: AdminActor) -> Response:
    """Show the form of a new node."""
    return _form(request, context, session, NodeForm())


@router.post(f"{HOME}/nodes")
def add_node(
    request: Request, context: ContextDep, session: SessionDep, actor: AdminActor, form: FilledIn
) -> Response:
    """Register a node."""
    refused = tried(
        session, lambda: nodes.add_node(session, form.facts(), now=context.clock(), actor=actor.ref)
    )
    if refused:
        return _form(request, context, session, form, refused=refused)
    return RedirectResponse(HOME, 303)


@router.get(f"{HOME}/nodes/{{node_id}}/edit")
def edit_node(
    request: Request, context: ContextDep, session: ReadingDep, _actor: AdminActor, node_id: str
) -> Response:
    """Show what is registered of a node."""
    node = _node(session, node_id)
    form = NodeForm(
        node.name,
        node.ae_title,
        node.host,
        str(node.port),
        node.tls,
        node.calling_ae,
        node.forward,
        tuple(node.forward_sites),
        tuple(node.forward_modalities),
    )
    return _form(request, context, session, form, node)


@router.post(f"{HOME}/nodes/{{node_id}}")
def change_node(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: AdminActor,
    node_id: str,
    form: FilledIn,
) -> Response:
    """Change what is registered of a node."""
    node = _node(session, node_id)
    refused = tried(
        session,
        lambda: nodes.change_node(session, node_id, form.facts(active=node.active), actor=actor.ref),
    )
    if refused:
        return _form(request, context, session, form, node, refused)
    return RedirectResponse(HOME, 303)


@router.post(f"{HOME}/nodes/{{node_id}}/remove")
def remove_node(session: SessionDep, actor: AdminActor, node_id: str) -> Response:
    """Take a node off the register."""
    nodes.remove_node(session, node_id, actor=actor.ref)
    return RedirectResponse(HOME, 303)


@router.post(f"{HOME}/nodes/{{node_id}}/active")
def set_node_active(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: AdminActor,
    node_id: str,
    active: Annotated[bool, Form()],
) -> Response:
    """Hold back everything for a node, or let it go again."""
    nodes.set_node_active(session, node_id, active=active, actor=actor.ref)
    said = "exchange.said.let_go" if active else "exchange.said.held"
    return _answer(request, context, session, actor, "ok", said)


@router.post(f"{HOME}/nodes/{{node_id}}/echo")
def echo_node(request: Request, context: ContextDep, actor: AdminActor, node_id: str) -> Response:
    """Ask a node for a sign of life, with no transaction open meanwhile."""
    result = nodes.echo_node(context, node_id)
    t = translator_of(request)
    text = (
        t("exchange.echo.works_in", ms=round(result.seconds * 1000))
        if result.works
        else str(t(f"exchange.trouble.{_word(result.outcome)}"))
    )
    with context.db.reading() as session:
        board = _board(context, session, actor)
    headers = toast("ok" if result.works else "danger", text)
    return render(request, "exchange/_board.html", board, headers=headers)


@router.post(f"{HOME}/nodes/{{node_id}}/try")
def try_node(
    request: Request, context: ContextDep, session: SessionDep, actor: AdminActor, node_id: str
) -> Response:
    """Send everything that waits for a node now."""
    nodes.try_now(session, _node(session, node_id))
    return _answer(request, context, session, actor, "ok", "exchange.said.sending")


@router.post(f"{HOME}/tasks/{{task_id}}/retry")
def retry_task(
    request: Request, context: ContextDep, session: SessionDep, actor: AdminActor, task_id: str
) -> Response:
    """Send a study now."""
    forward.retry(session, actor, task_id, now=context.clock())
    return _answer(request, context, session, actor, "ok", "exchange.said.sending")


@router.post(f"{HOME}/tasks/{{task_id}}/cancel")
def cancel_task(
    request: Request, context: ContextDep, session: SessionDep, actor: AdminActor, task_id: str
) -> Response:
    """Send a study no further."""
    forward.cancel(session, actor, task_id, now=context.clock())
    return _answer(request, context, session, actor, "ok", "exchange.said.cancelled")


@router.post(f"{HOME}/send")
def send_study(
    request: Request,
    context: ContextDep,
    actor: AdminActor,
    study: Annotated[str, Form(max_length=64)],
    node: Annotated[str, Form(max_length=64)],
) -> Response:
    """Send a study by hand. Host names are looked up with no transaction open."""
    with context.db.reading() as session:
        host = _node(session, node).host
    addresses = nodes.addresses_of([host])
    with context.db.transaction() as session:
        row = _node(session, node)
        refused = tried(
            session,
            lambda: forward.send_study(session, actor, study, row, addresses, now=context.clock()),
        )
        if refused:
            headers = toast("danger", explain(request, refused))
            return render(request, "exchange/_board.html", _board(context, session, actor), headers=headers)
        return _answer(request, context, session, actor, "ok", "exchange.said.queued")


@router.post(f"{HOME}/commitments/{{request_id}}/retry")
def retry_commitment(
    request: Request, context: ContextDep, session: SessionDep, actor: AdminActor, request_id: str
) -> Response:
    """Tell a device now what it asked."""
    commitment.retry(session, actor, request_id, now=context.clock())
    return _answer(request, context, session, actor, "ok", "exchange.said.calling")


def _answer(
    request: Request, context: Context, session: Session, actor: Actor, kind: str, said: str
) -> Response:
    session.flush()
    headers = toast(kind, str(translator_of(request)(said)))
    return render(request, "exchange/_board.html", _board(context, session, actor), headers=headers)


def _board(context: Context, session: Session, actor: Actor) -> dict[str, Any]:
    now = context.clock()
    tasks = ForwardRepository(session)
    rows = tasks.rows(actor, ("waiting", "sending", "failed"), SHOWN)
    rows.sort(key=lambda row: (row.task.state != "failed", row.task.queued_at))
    lengths = tasks.lengths()
    return {
        "nodes": [(node, lengths.get(node.id, QueueLength())) for node in NodeRepository(session).nodes()],
        "sites": {site.id: site.name for site in SiteRepository(session).sites()},
        "tasks": rows,
        "stuck": {row.task.id for row in rows if forward.is_stuck(row.task, now)},
        "done": tasks.rows(actor, ("done", "cancelled"), LATEST, newest=True),
        "owed": CommitmentRepository(session).rows(actor, now, older_than=OWED_AFTER),
        "own_title": context.settings.dicom_ae_title,
        "word": _word,
        "detail": _detail,
    }


def _word(trouble: str) -> str:
    """Return the word of a trouble, which is a key of the catalogue."""
    return trouble.partition(":")[0]


def _detail(trouble: str) -> str:
    """Return what stands behind the word, UIDs by their names."""
    word, _, detail = trouble.partition(":")
    if word in {"class_refused", "syntax_refused"}:
        from pydicom.uid import UID

        return str(UID(detail).name)
    return detail


def _node(session: Session, node_id: str) -> DicomNode:
    node = NodeRepository(session).node(node_id)
    if node is None:
        raise NotFound
    return node


def _form(
    request: Request,
    context: Context,
    session: Session,
    form: NodeForm,
    node: DicomNode | None = None,
    refused: HubError | None = None,
) -> Response:
    page = {
        "form": form,
        "node": node,
        "sites": SiteRepository(session).sites(),
        "modalities": [*MODALITIES, *(one for one in form.modalities if one not in MODALITIES)],
        "own_title": context.settings.dicom_ae_title,
        "error": explain(request, refused) if refused else "",
    }
    return render(request, "exchange/node.html", page, refused.http_status if refused else 200)
