"""``hub verify``: whether everything is still what it was."""

import dataclasses
import json
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from hub.cli_support import AsJson, fail, open_hub

app = typer.Typer(help="Prove that nothing was lost or altered.", no_args_is_help=True)


def plain(row: Any) -> dict[str, Any]:
    """Return a dataclass as JSON values."""
    return {
        field.name: value.isoformat() if isinstance(value := getattr(row, field.name), datetime) else value
        for field in dataclasses.fields(row)
    }


def _tell(ok: bool, facts: dict[str, Any], problems: list[str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"ok": ok, **facts, "problems": problems}, ensure_ascii=False))
    else:
        typer.echo(
            f"{'ok' if ok else 'NOT OK'}  {', '.join(f'{name} {value}' for name, value in facts.items())}"
        )
        for problem in problems:
            typer.echo(f"  {problem}")
    if not ok:
        raise typer.Exit(1)


@app.command()
def audit(
    context: typer.Context,
    as_json: AsJson = False,
    anchor: Annotated[
        str, typer.Option(help="SEQ:HASH written down earlier; finds a chain that was made anew.")
    ] = "",
) -> None:
    """Follow the audit chain from its first row to its last."""
    from hub.audit.verify import verify_chain

    known = None
    if anchor:
        number, _, known_hash = anchor.partition(":")
        if not number.isdigit() or not known_hash:
            fail("an anchor reads SEQ:HASH")
        known = (int(number), known_hash)
    with open_hub(context) as hub, hub.db.reading() as session:
        verdict = verify_chain(session, anchor=known)
    problems = [] if verdict.ok else [f"row {verdict.first_bad_seq}: {verdict.problem}"]
    _tell(verdict.ok, {"rows": verdict.rows}, problems, as_json)


@app.command()
def report(
    context: typer.Context,
    report_id: Annotated[
        str, typer.Argument(metavar="ID", help="Exam number or id of exam, report or signed report.")
    ],
    as_json: AsJson = False,
) -> None:
    """Check a signed report: document, signature, text, and the objects it was made from."""
    from hub.reports.repository import ReportRepository
    from hub.reports.verify import verify

    with open_hub(context) as hub, hub.db.reading() as session:
        signed = ReportRepository(session).any_signed(report_id)
        if signed is None:
            fail(f"no signed report {report_id}")
        verdict = verify(session, hub.store, signed)
        facts: dict[str, Any] = {"report": signed.id, "version": signed.version, "signer": signed.signer_name}
    _tell(verdict.ok, facts, list(verdict.problems), as_json)


@app.command()
def store(context: typer.Context, as_json: AsJson = False) -> None:
    """Read every stored file again and compare it with its row; list files that no row knows."""
    from hub.reports.store_check import check_store

    with open_hub(context) as hub:
        rows = check_store(hub)
        console = Console(stderr=True, quiet=as_json)
        files, faults, unreferenced = 0, [], []
        for line in track(rows, description="files", console=console, transient=True):
            if line.kind == "unreferenced":
                unreferenced.append(line.key)
                continue
            files += 1
            if line.fault:
                faults.append(f"{line.fault}: {line.kind} {line.row_id} {line.key}")
    facts: dict[str, Any] = {"files": files, "faults": len(faults), "unreferenced": len(unreferenced)}
    if as_json:
        facts["unreferenced_keys"] = unreferenced
    _tell(not faults, facts, faults, as_json)
    if not as_json:
        for key in unreferenced:
            typer.echo(f"  unreferenced: {key}")
