"""The ``hub`` command."""

import json
import threading
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hub import cli_node, cli_rebuild, cli_registry, cli_verify
from hub.cli_support import AsJson, HubCommand, cli_actor, fail, open_hub, settings_of
from hub.ecg.cli.app import app as ecg_app
from hub.kit import log

app = typer.Typer(
    cls=HubCommand,
    help="Regional shared-diagnosis hub.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
report_app = typer.Typer(help="Look at reports.", no_args_is_help=True)
jobs_app = typer.Typer(help="Look after background jobs.", no_args_is_help=True)
app.add_typer(cli_registry.site_app, name="site")
app.add_typer(cli_registry.device_app, name="device")
app.add_typer(cli_registry.user_app, name="user")
app.add_typer(cli_registry.token_app, name="token")
app.add_typer(cli_node.node_app, name="node")
app.add_typer(cli_node.forward_app, name="forward")
app.add_typer(cli_verify.app, name="verify")
app.add_typer(ecg_app, name="ecg")
app.add_typer(report_app, name="report")
app.add_typer(jobs_app, name="jobs")
app.command("rebuild")(cli_rebuild.rebuild)

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of an embedded hub (HUB_DATA_DIR).")]
WebBind = Annotated[str | None, typer.Option("--web-bind", help="HOST:PORT of the pages (HUB_WEB_BIND).")]
DicomBind = Annotated[
    str | None, typer.Option("--dicom-bind", help="HOST:PORT of the listener (HUB_DICOM_BIND).")
]

LATER = {
    "edge": "the township box",
    "backup": "consistent copies",
    "restore": "bringing a copy back",
    "bench": "load tools",
}
"""Commands of the design that a later release brings."""


@app.callback()
def main_options(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings file instead of ./hub.toml.")
    ] = None,
) -> None:
    """Regional shared-diagnosis hub (区域影像心电共享诊断平台)."""
    context.obj = config


@app.command()
def serve(
    context: typer.Context, data_dir: DataDir = None, web_bind: WebBind = None, dicom_bind: DicomBind = None
) -> None:
    """Run web, dicom and worker on this machine, restarting what dies."""
    from hub.db.migrate import upgrade
    from hub.processes import until_told
    from hub.supervisor import Supervisor

    settings = settings_of(context, data_dir=data_dir, web_bind=web_bind, dicom_bind=dicom_bind)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    upgrade(settings.database)
    stop = threading.Event()
    until_told(stop)
    Supervisor(settings).run(
        stop,
        lambda: Console(stderr=True).print(
            f"[bold]hub[/] {settings.base_url}  DICOM {settings.dicom_ae_title}@{settings.dicom_bind}"
        ),
    )


@app.command()
def web(context: typer.Context) -> None:
    """Run the pages and HTTP interfaces alone."""
    from hub.processes import run_web

    run_web(settings_of(context))


@app.command()
def dicom(context: typer.Context) -> None:
    """Run the DICOM listener alone."""
    from hub.processes import run_dicom

    run_dicom(settings_of(context))


@app.command()
def worker(
    context: typer.Context,
    slot: Annotated[
        str, typer.Option(help="Name of this worker on this machine; the same after a restart.")
    ] = "worker",
) -> None:
    """Run background work alone."""
    from hub.processes import run_one_worker

    run_one_worker(settings_of(context), slot)


@app.command()
def demo(
    context: typer.Context,
    web_bind: WebBind = None,
    dicom_bind: DicomBind = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the data here; otherwise a throw-away folder.")
    ] = None,
) -> None:
    """Run a throw-away county with accounts, exams and devices that keep sending."""
    from hub.demo import run_demo

    run_demo(settings_of(context, web_bind=web_bind, dicom_bind=dicom_bind or "127.0.0.1:11112"), data_dir)


@app.command()
def migrate(context: typer.Context) -> None:
    """Bring the database to this release's schema."""
    from hub.db.migrate import upgrade

    settings = settings_of(context)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    applied = upgrade(settings.database)
    typer.echo("\n".join(applied) if applied else "up to date")


@app.command()
def check(context: typer.Context) -> None:
    """Check settings, database, object store, fonts and codecs of this machine."""
    from hub.checks import run_checks

    bad = False
    for name, problem in run_checks(settings_of(context)):
        typer.echo(f"{'ok   ' if not problem else 'FAIL '} {name}{': ' + problem if problem else ''}")
        bad = bad or bool(problem)
    if bad:
        raise typer.Exit(1)


@app.command()
def exams(
    context: typer.Context,
    as_json: AsJson = False,
    state: Annotated[str, typer.Option(help="Only exams in this state.")] = "",
    limit: Annotated[int, typer.Option(help="At most this many.")] = 1000,
) -> None:
    """List exams, newest first."""
    from hub.worklist.repository import Filter, WorklistRepository
    from hub.worklist.states import State

    if state and state not in set(State):
        fail(f"state is one of {', '.join(State)}")
    narrow = Filter(states=frozenset({State(state)}) if state else frozenset())
    with open_hub(context) as hub, hub.db.reading() as session:
        rows = WorklistRepository(session).rows(cli_actor(), narrow, newest_first=True, limit=limit)
        found = [_exam_json(row) for row in rows]
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    table = Table("number", "state", "modality", "site", "urgency", "instances", "complete")
    for item in found:
        table.add_row(
            *(str(item[k] or "") for k in ("number", "state", "modality", "site", "urgency", "instances")),
            item["complete_at"] or "",
        )
    Console().print(table)


def _exam_json(row: Any) -> dict[str, Any]:
    exam, study = row.exam, row.study
    moments = {
        name: moment.isoformat() if moment else None
        for name, moment in (
            ("created_at", exam.created_at),
            ("received_at", exam.received_at),
            ("complete_at", exam.complete_at),
            ("due_at", exam.due_at),
            ("signed_at", exam.signed_at),
            ("delivered_at", exam.delivered_at),
            ("acked_at", exam.acked_at),
        )
    }
    return {
        "id": exam.id,
        "number": exam.number,
        "state": exam.state,
        "modality": exam.modality,
        "site": row.site.code,
        "urgency": exam.urgency,
        "unordered": exam.unordered,
        "conflicts": exam.conflicts,
        "patient_name": row.patient_name,
        "patient_id": row.local_id,
        "sex": row.sex,
        "birth_date": row.birth_date,
        "accession": row.order.accession if row.order else study.accession if study else "",
        "study_uid": study.study_uid if study else row.order.study_uid if row.order else "",
        "instances": study.n_instances + study.n_recordings if study else 0,
        **moments,
    }


@report_app.command("show")
def report_show(
    context: typer.Context,
    report_id: Annotated[
        str, typer.Argument(metavar="ID", help="Exam number or id of exam, report or signed report.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show a report with its versions and signature."""
    from hub.reports.show import describe

    with open_hub(context) as hub, hub.db.transaction() as session:
        found = describe(session, report_id, cli_actor())
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    for name, value in found.items():
        typer.echo(f"{name}: {value}")


@jobs_app.command("list")
def jobs_list(
    context: typer.Context,
    as_json: AsJson = False,
    stuck: Annotated[bool, typer.Option(help="Only failed jobs and those that do not advance.")] = False,
) -> None:
    """List background jobs."""
    from hub.jobs import board

    with open_hub(context) as hub, hub.db.reading() as session:
        rows = board.stuck_jobs(session) if stuck else board.list_jobs(session)
    if as_json:
        typer.echo(json.dumps([cli_verify.plain(row) for row in rows], ensure_ascii=False))
        return
    table = Table("id", "job", "status", "attempts", "enqueued", "error")
    for row in rows:
        table.add_row(
            row.id, row.name, str(row.status), str(row.attempts), f"{row.enqueued_at:%F %T}", row.error
        )
    Console().print(table)


@jobs_app.command("retry")
def jobs_retry(context: typer.Context, job_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Run a failed job once more."""
    from hub.jobs import board

    with open_hub(context) as hub, hub.db.transaction() as session:
        board.retry(session, job_id)
    typer.echo(job_id)


def _later(name: str, what: str) -> None:
    @app.command(name, hidden=True, help=f"Not in this release: {what}.")
    def command() -> None:
        fail(f"hub {name} ({what}) is not in this release; see docs/limits.md")


for _name, _what in LATER.items():
    _later(_name, _what)


def main() -> None:
    """Run the command line."""
    log.configure("info", "console")
    app()


if __name__ == "__main__":
    main()
