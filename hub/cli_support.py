"""What the commands share: settings, context, errors in one line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError
from typer.core import TyperGroup

from hub.auth.actor import Actor, PostHeld
from hub.auth.roles import Role
from hub.config import ConfigError, Settings, load
from hub.context import Context, open_context
from hub.db.migrate import pending
from hub.ecg.analysis.hints_rules import profiles
from hub.errors import HubError
from hub.kit import log
from storage.errors import StorageError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class HubCommand(TyperGroup):
    """A command group whose expected errors are one line on stderr and exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command, turning the hub's own errors into a message."""
        try:
            return super().invoke(ctx)
        except (HubError, StorageError, ConfigError) as error:
            fail(str(error))
        except SQLAlchemyError as error:
            # Its text may hold the values of a statement; the driver's class says what to look at.
            cause = getattr(error, "orig", None) or error
            fail(f"the database does not answer as it should ({type(cause).__name__}); see HUB_DATABASE_URL")


def fail(message: str) -> NoReturn:
    """Print why and exit with status 2."""
    typer.echo(f"hub: {message}", err=True)
    raise typer.Exit(2)


def settings_of(context: typer.Context, **overrides: Any) -> Settings:
    """Read the settings of this run and set up logging."""
    file: Path | None = context.find_root().obj
    settings = load(file, **overrides)
    if settings.ecg_profile not in profiles():
        raise ConfigError(f"HUB_ECG_PROFILE: must be one of {', '.join(profiles())}")
    log.configure(settings.log_level, settings.log_format)
    return settings


@contextmanager
def open_hub(context: typer.Context) -> Iterator[Context]:
    """Open the hub that the settings name; its database must be migrated."""
    settings = settings_of(context)
    if pending(settings.database):
        fail("the database is not at this release's schema: run `hub migrate` first")
    hub = open_context(settings)
    try:
        yield hub
    finally:
        hub.db.dispose()


def cli_actor() -> Actor:
    """Return who acts on the command line: the machine's administrator, who can read the files anyway."""
    posts = tuple(PostHeld(role, None, date(2000, 1, 1)) for role in (Role.ADMIN, Role.DIRECTOR))
    return Actor("system", "cli", "command line", "cli", posts)


def show_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows as a table, or as JSON."""
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        typer.echo("none")
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)
