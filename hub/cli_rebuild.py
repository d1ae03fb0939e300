"""``hub rebuild``: the catalogue from the objects alone."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from hub.cli_support import AsJson, open_hub


def rebuild(
    context: typer.Context,
    merge: Annotated[
        bool, typer.Option("--merge", help="Work on a catalogue that holds something: add what it lacks.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count, change nothing.")] = False,
    no_worklist: Annotated[
        bool, typer.Option("--no-worklist", help="Studies can be found and seen; no exam waits to be read.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the catalogue anew from the object store, after the database was lost.

    Studies, images and ECGs come back; people, orders, reports and the audit trail do not.
    """
    from hub.jobs.queue import prepare
    from hub.rebuild import Summary
    from hub.rebuild import rebuild as work

    console = Console(stderr=True, quiet=as_json)
    with open_hub(context) as hub, console.status("reading the object store") as status:
        prepare(hub.db.engine)

        def progress(so_far: Summary) -> None:
            status.update(
                f"studies {so_far.studies}, instances {so_far.instances}, recordings {so_far.recordings}, "
                f"problems {len(so_far.problems)}"
            )

        summary = work(hub, merge=merge, dry_run=dry_run, worklist=not no_worklist, progress=progress)
    facts = asdict(summary)
    if as_json:
        facts["problems"] = [{"key": key, "reason": reason} for key, reason in summary.problems]
        typer.echo(json.dumps({"dry_run": dry_run, **facts}, ensure_ascii=False))
    else:
        for name, value in facts.items():
            if name != "problems":
                typer.echo(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
        for key, reason in summary.problems:
            typer.echo(f"  {reason}: {key}")
        if summary.reports:
            typer.echo(
                f"{summary.reports} signed documents are kept under reports/ as they are: "
                "their rows cannot be made from them (docs/limits.md)."
            )
        if summary.devices_made:
            typer.echo("Devices that were made are blocked: look at them, then let them send.")
    if summary.problems:
        raise typer.Exit(1)
