"""``hub node`` and ``hub forward``: other DICOM systems, and what is on its way to them."""

from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from hub.cli_support import AsJson, cli_actor, fail, open_hub, show_rows
from hub.sites import service as sites
from hub.sites.repository import SiteRepository

node_app = typer.Typer(help="Register other DICOM systems.", no_args_is_help=True)
forward_app = typer.Typer(help="Look after studies on their way to other systems.", no_args_is_help=True)

Node = Annotated[str, typer.Argument(metavar="NODE", help="Name or id of the node.")]
FEW = 1000


@node_app.command("add")
def node_add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What people call it.")],
    ae: Annotated[str, typer.Option("--ae", help="AE title it is called by.")],
    host: Annotated[str, typer.Option(help="Host name or IP address.")],
    port: Annotated[int, typer.Option(help="Port it listens on.")],
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS with it.")] = False,
    calling: Annotated[str, typer.Option("--calling", help="AE title the hub shows it.")] = "",
    forward: Annotated[bool, typer.Option("--forward", help="Send it settled studies by itself.")] = False,
    site: Annotated[
        list[str] | None, typer.Option("--site", help="Forward only this site's; may be repeated.")
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option("--modality", help="Forward only this modality; may be repeated.")
    ] = None,
) -> None:
    """Register a system, by default one that only gets what is sent by hand."""
    from hub.dicom.nodes import NodeFacts, add_node

    with open_hub(context) as hub, hub.db.transaction() as session:
        facts = NodeFacts(
            name,
            ae,
            host,
            port,
            tls=tls,
            calling_ae=calling,
            forward=forward,
            forward_sites=tuple(sites.require_site(session, code).id for code in site or ()),
            forward_modalities=tuple(modality or ()),
        )
        typer.echo(add_node(session, facts, now=hub.clock(), actor=cli_actor().ref).id)


@node_app.command("list")
def node_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List the systems with what waits for each."""
    from hub.dicom.exchange_repository import ForwardRepository, NodeRepository, QueueLength

    with open_hub(context) as hub, hub.db.reading() as session:
        lengths = ForwardRepository(session).lengths()
        codes = {one.id: one.code for one in SiteRepository(session).sites()}
        rows = [
            {
                "id": node.id,
                "name": node.name,
                "ae_title": node.ae_title,
                "address": f"{node.host}:{node.port}",
                "tls": node.tls,
                "calling_ae": node.calling_ae or hub.settings.dicom_ae_title,
                "active": node.active,
                "forward": node.forward,
                "sites": ",".join(codes.get(one, one) for one in node.forward_sites),
                "modalities": ",".join(node.forward_modalities),
                "waiting": lengths.get(node.id, QueueLength()).waiting,
                "failed": lengths.get(node.id, QueueLength()).failed,
                "last_sent_at": _moment(node.last_sent_at),
                "trouble": node.last_error,
            }
            for node in NodeRepository(session).nodes()
        ]
    show_rows(rows, as_json)


@node_app.command("remove")
def node_remove(context: typer.Context, node: Node) -> None:
    """Take a system off the register, with all that waits for it."""
    from hub.dicom.nodes import remove_node

    with open_hub(context) as hub, hub.db.transaction() as session:
        remove_node(session, _node_id(session, node), actor=cli_actor().ref)
    typer.echo(node)


@node_app.command("echo")
def node_echo(context: typer.Context, node: Node) -> None:
    """Ask a system for a sign of life (C-ECHO); exit status 1 when it gives none."""
    from hub.dicom.nodes import echo_node

    with open_hub(context) as hub:
        with hub.db.reading() as session:
            node_id = _node_id(session, node)
        result = echo_node(hub, node_id)
    typer.echo(f"{result.outcome} ({result.seconds * 1000:.0f} ms)")
    if not result.works:
        raise typer.Exit(1)


@node_app.command("test")
def node_test(context: typer.Context, node: Node, as_json: AsJson = False) -> None:
    """Ask a system which of the archive's kinds of objects it would take; nothing is sent."""
    from hub.dicom.nodes import survey_node

    with open_hub(context) as hub:
        with hub.db.reading() as session:
            node_id = _node_id(session, node)
        kinds = survey_node(hub, node_id)
    show_rows(
        [{"sop_class": one.sop_class, "syntax": one.transfer_syntax, "taken": one.taken} for one in kinds],
        as_json,
    )
    if any(one.taken == "no" for one in kinds):
        raise typer.Exit(1)


@forward_app.command("list")
def forward_list(
    context: typer.Context,
    as_json: AsJson = False,
    stuck: Annotated[bool, typer.Option("--stuck", help="Only what needs a person.")] = False,
) -> None:
    """List studies on their way, the longest waiting first."""
    from hub.dicom.exchange_repository import ForwardRepository
    from hub.dicom.forward import is_stuck

    with open_hub(context) as hub, hub.db.reading() as session:
        now = hub.clock()
        found = ForwardRepository(session).rows(cli_actor(), ("waiting", "sending", "failed"), limit=FEW)
        rows = [
            {
                "id": row.task.id,
                "node": row.node.name,
                "site": row.site.code,
                "study_uid": row.study.study_uid,
                "modality": row.study.modality,
                "state": row.task.state,
                "sent": f"{row.task.objects_sent}/{row.task.objects_total}",
                "attempts": row.task.attempts,
                "trouble": row.task.last_error or row.node.last_error,
                "queued_at": _moment(row.task.queued_at),
                "next_at": _moment(row.task.next_at or row.node.retry_at),
                "stuck": is_stuck(row.task, now),
            }
            for row in found
        ]
    show_rows([row for row in rows if row["stuck"] or not stuck], as_json)


@forward_app.command("retry")
def forward_retry(context: typer.Context, task_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Send a study now: one that failed, was cancelled, or waits for its next try."""
    from hub.dicom.forward import retry

    with open_hub(context) as hub, hub.db.transaction() as session:
        retry(session, cli_actor(), task_id, now=hub.clock())
    typer.echo(task_id)


@forward_app.command("cancel")
def forward_cancel(context: typer.Context, task_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Send a study no further."""
    from hub.dicom.forward import cancel

    with open_hub(context) as hub, hub.db.transaction() as session:
        cancel(session, cli_actor(), task_id, now=hub.clock())
    typer.echo(task_id)


@forward_app.command("send")
def forward_send(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="Study Instance UID, accession number or id of the study.")],
    node: Node,
) -> None:
    """Send a study to a system; one that it has in full is sent again."""
    from hub.dicom.exchange_repository import NodeRepository
    from hub.dicom.forward import send_study
    from hub.dicom.nodes import addresses_of, require_node

    with open_hub(context) as hub:
        with hub.db.reading() as session:
            node_id = _node_id(session, node)
            host = require_node(session, node).host
        addresses = addresses_of([host])
        with hub.db.transaction() as session:
            row = NodeRepository(session).node(node_id)
            if row is None:
                fail(f"no node is called {node}")
            task = send_study(session, cli_actor(), study, row, addresses, now=hub.clock())
            typer.echo(task.id)


def _node_id(session: Session, name: str) -> str:
    from hub.dicom.nodes import require_node

    return require_node(session, name).id


def _moment(moment: Any) -> str | None:
    return moment.isoformat() if moment else None
