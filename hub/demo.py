"""``hub demo``: a throw-away county that one can try everything in."""

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from hub.auth import service as auth
from hub.auth.accounts import create_account
from hub.auth.actor import SYSTEM, Actor
from hub.auth.repository import AuthRepository
from hub.auth.roles import Role
from hub.config import Settings, load, split_bind
from hub.context import Context, open_context
from hub.db.migrate import upgrade
from hub.demo_data import county
from hub.demo_devices import DeviceFailed, Sending, Township, Wire, send_now_and_again
from hub.errors import HubError
from hub.kit import log
from hub.processes import until_told
from hub.sites import service as sites
from hub.supervisor import Supervisor, forked

events = structlog.get_logger()
SETTLE_SECONDS = {"*": 6.0, "ECG": 0.0}
"""Short quiet times, so that a visitor need not wait a minute and a half for a film."""
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
START_SECONDS = 60


def run_demo(settings: Settings, data_dir: Path | None) -> None:
    """Run the demo until told to stop; its data goes with it unless a folder is given."""
    console = Console()
    with _folder(data_dir) as folder:
        own = load(
            None,
            **{
                **settings.model_dump(),
                "data_dir": folder,
                "database_url": "",
                "object_store": "",
                "settle_seconds": SETTLE_SECONDS,
                "centre_name": county.CENTRE,
                "log_level": "warning",
            },
        )
        log.configure(own.log_level, own.log_format)
        upgrade(own.database)
        hub = forked(_serve, own)  # before this process has threads of its own
        stop = threading.Event()
        until_told(stop)
        try:
            _show(console, own, stop)
        finally:
            hub.terminate()
            hub.join()


def _serve(parent: int, settings: Settings) -> None:
    """Run the hub itself until told to stop."""
    stop = threading.Event()
    until_told(stop)
    Supervisor(settings).run(stop, parent=parent)


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="hub-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _show(console: Console, settings: Settings, stop: threading.Event) -> None:
    context = open_context(settings)
    with console.status(f"starting at {settings.base_url}"):
        ready = _wait_until_ready(settings, stop)
    if not ready:
        if not stop.is_set():
            console.print(f"[bold red]The hub did not answer at {settings.base_url}.[/]")
        return
    # Only now: hashing passwords and making keys would take the processors from the start.
    with console.status("county, accounts, signing keys"):
        township = seed(context)
    with _progress(console) as progress:
        first = township.first_day()
        task = progress.add_task("devices", total=len(first))
        for sending in first:
            if stop.is_set():
                return
            progress.update(task, description=f"{county.SITES[sending.site]}  {sending.label}")
            _try(sending)
            progress.advance(task)
    _print_accounts(console, settings)
    send_now_and_again(
        township,
        stop,
        lambda sending: console.print(f"[dim]{county.SITES[sending.site]}  {sending.label}[/]"),
    )
    context.db.dispose()


def _progress(console: Console) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=console, transient=True)


def _try(sending: Sending) -> None:
    try:
        sending.send()
    except (DeviceFailed, HubError, SQLAlchemyError, OSError) as error:
        events.warning("demo_device_failed", site=sending.site, cause=type(error).__name__)


def seed(context: Context) -> Township:
    """Register sites, devices, people and tokens, unless a kept demo has them already."""
    now, tokens = context.clock(), {}
    with context.db.transaction() as session:
        fresh = AuthRepository(session).user_by_login(county.ACCOUNTS[0].login) is None
        if fresh:
            for code, name in county.SITES.items():
                sites.add_site(session, code, name, now=now, actor=SYSTEM.ref)
            for code, ae_title, label in county.DEVICES:
                site = sites.require_site(session, code)
                sites.add_device(session, site, ae_title, label=label, now=now, actor=SYSTEM.ref)
        site_ids = {code: sites.require_site(session, code).id for code in county.SITES}
        for code, site_id in site_ids.items():
            tokens[code] = auth.create_token(
                session, role=Role.SENDER, site_id=site_id, label="demo", now=now, actor=SYSTEM.ref
            )
    if fresh:
        _people(context, site_ids)
    host, port = split_bind(context.settings.dicom_bind)
    wire = Wire(
        "127.0.0.1" if host == "0.0.0.0" else host,  # noqa: S104 - compared with, not bound to
        port,
        context.settings.dicom_ae_title,
        f"http://{context.settings.web_bind}",
        tokens,
    )
    return Township(context, wire, _doctors(context, site_ids), site_ids)


def _people(context: Context, site_ids: dict[str, str]) -> None:
    for account in county.ACCOUNTS:
        with context.db.transaction() as session:
            create_account(
                session,
                login=account.login,
                name=account.name,
                password=county.PASSWORD,
                role=account.role,
                site_id=site_ids[account.site] if account.site else None,
                settings=context.settings,
                now=context.clock(),
                actor=SYSTEM.ref,
            )


def _doctors(context: Context, site_ids: dict[str, str]) -> dict[str, Actor]:
    """Return who orders at each site: the demo's doctor, with a post at that site for this run only."""
    from hub.auth.actor import PostHeld

    today = context.clock().astimezone(context.settings.zone).date()
    with context.db.reading() as session:
        user = AuthRepository(session).user_by_login("doctor")
        assert user is not None  # seeded just before
        return {
            code: Actor("person", user.id, user.name, user.login, (PostHeld(Role.DOCTOR, site_id, today),))
            for code, site_id in site_ids.items()
        }


def _wait_until_ready(settings: Settings, stop: threading.Event) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not stop.is_set():
        try:
            with urlopen(f"http://{settings.web_bind}/readyz", timeout=2):
                return True
        except (URLError, OSError):
            stop.wait(0.2)
    return False


def _print_accounts(console: Console, settings: Settings) -> None:
    table = Table(title=settings.base_url)
    for heading in ("login", "password", "role", "site"):
        table.add_column(heading)
    for account in county.ACCOUNTS:
        site = county.SITES[account.site] if account.site else county.CENTRE
        table.add_row(account.login, county.PASSWORD, str(account.role), site)
    console.print(table)
    host, _ = split_bind(settings.web_bind)
    if host not in LOOPBACK:
        console.print(
            "[bold red]These passwords are public: keep this hub off any network you do not trust.[/]"
        )
    console.print("Ctrl+C ends the demo and forgets everything in it.")
