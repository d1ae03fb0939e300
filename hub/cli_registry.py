"""``hub site|device|user|token``: registering who and what may take part."""

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from sqlalchemy.orm import Session

from hub.auth import service as auth
from hub.auth.accounts import create_account
from hub.auth.repository import AuthRepository
from hub.auth.roles import Role
from hub.cli_support import AsJson, cli_actor, fail, open_hub, show_rows
from hub.sites import service as sites
from hub.sites.repository import SiteRepository
from hub.sites.rules import QUERY_SCOPES, DeviceRules

site_app = typer.Typer(help="Register sites.", no_args_is_help=True)
device_app = typer.Typer(help="Register devices.", no_args_is_help=True)
user_app = typer.Typer(help="Register people.", no_args_is_help=True)
token_app = typer.Typer(help="Make and end tokens of machines.", no_args_is_help=True)

SiteOption = Annotated[
    str | None, typer.Option("--site", help="Code of the site; left out, the post is at the centre.")
]
RoleOption = Annotated[str, typer.Option("--role", help=f"One of: {', '.join(Role)}.")]


def _role(text: str) -> Role:
    try:
        return Role(text.strip().lower().replace("_", "-"))
    except ValueError:
        fail(f"role is one of {', '.join(Role)}")


def _site_id(session: Session, code: str | None) -> str | None:
    return sites.require_site(session, code).id if code else None


@site_app.command("add")
def site_add(context: typer.Context, code: str, name: str) -> None:
    """Register a site under a short code."""
    with open_hub(context) as hub, hub.db.transaction() as session:
        site = sites.add_site(session, code, name, now=hub.clock(), actor=cli_actor().ref)
        typer.echo(site.code)


@site_app.command("list")
def site_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List the sites."""
    with open_hub(context) as hub, hub.db.reading() as session:
        rows = [
            {"code": site.code, "number": site.number, "name": site.name, "active": site.active}
            for site in SiteRepository(session).sites()
        ]
    show_rows(rows, as_json)


TitleOption = Annotated[str, typer.Option("--ae", help="AE title the device calls with.")]
AddressOption = Annotated[
    str | None, typer.Option("--address", help="IP address it calls from, when that is fixed; '' for none.")
]
PortOption = Annotated[
    int | None, typer.Option("--port", help="Port it listens on itself, for sending to it; 0 for none.")
]
TlsOption = Annotated[bool | None, typer.Option("--tls/--no-tls", help="Call it back over TLS.")]
CertificateOption = Annotated[
    str | None,
    typer.Option(
        "--certificate",
        help="Its TLS client certificate: a file (PEM, DER) or the SHA-256 fingerprint; '' for none.",
    ),
]
CharsetOption = Annotated[
    str | None,
    typer.Option("--charset", help="Character set it really writes, e.g. GB18030; '' to believe it."),
]
StrictOption = Annotated[
    bool | None,
    typer.Option("--strict-called/--any-called", help="Refuse it when it calls the hub by another title."),
]
ScopeOption = Annotated[
    str | None, typer.Option("--query-scope", help=f"What it may query: {', '.join(QUERY_SCOPES)}.")
]
LabelOption = Annotated[str | None, typer.Option("--label", help="What people call it.")]


def _rules(**given: Any) -> DeviceRules:
    """Return what was said on the command line; a certificate's file is read."""
    rules: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    certificate = rules.get("certificate")
    if certificate and Path(certificate).is_file():
        rules["certificate"] = Path(certificate).read_bytes()
    return cast("DeviceRules", rules)


@device_app.command("add")
def device_add(
    context: typer.Context,
    site: Annotated[str, typer.Argument(metavar="SITE", help="Code of the site.")],
    ae: TitleOption,
    address: AddressOption = None,
    port: PortOption = None,
    tls: TlsOption = None,
    certificate: CertificateOption = None,
    charset: CharsetOption = None,
    strict_called: StrictOption = None,
    query_scope: ScopeOption = None,
    label: LabelOption = None,
) -> None:
    """Register a device under a site."""
    rules = _rules(
        address=address,
        port=port,
        tls=tls,
        certificate=certificate,
        charset=charset,
        strict_called=strict_called,
        query_scope=query_scope,
        label=label,
    )
    with open_hub(context) as hub, hub.db.transaction() as session:
        chosen = sites.require_site(session, site)
        device = sites.add_device(session, chosen, ae, now=hub.clock(), actor=cli_actor().ref, **rules)
        typer.echo(device.id)


@device_app.command("edit")
def device_edit(
    context: typer.Context,
    device_id: Annotated[str, typer.Argument(metavar="ID", help="As `hub device list` prints it.")],
    ae: Annotated[str | None, typer.Option("--ae", help="AE title the device calls with.")] = None,
    address: AddressOption = None,
    port: PortOption = None,
    tls: TlsOption = None,
    certificate: CertificateOption = None,
    charset: CharsetOption = None,
    strict_called: StrictOption = None,
    query_scope: ScopeOption = None,
    label: LabelOption = None,
    active: Annotated[
        bool | None, typer.Option("--admit/--block", help="Block it, or let it in again.")
    ] = None,
) -> None:
    """Change what is registered of a device; what is not named stays."""
    rules = _rules(
        address=address,
        port=port,
        tls=tls,
        certificate=certificate,
        charset=charset,
        strict_called=strict_called,
        query_scope=query_scope,
        label=label,
    )
    actor = cli_actor().ref
    with open_hub(context) as hub, hub.db.transaction() as session:
        sites.change_device(session, device_id, actor=actor, ae_title=ae, **rules)
        if active is not None:
            sites.set_device_active(session, device_id, active=active, actor=actor)
    typer.echo(device_id)


@device_app.command("list")
def device_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List the devices."""
    with open_hub(context) as hub, hub.db.reading() as session:
        repository = SiteRepository(session)
        codes = {site.id: site.code for site in repository.sites()}
        rows = [
            {
                "id": device.id,
                "site": codes[device.site_id],
                "ae_title": device.ae_title,
                "address": device.address,
                "port": device.port,
                "tls": device.tls,
                "certificate": device.certificate_sha256,
                "charset": device.charset,
                "strict_called": device.strict_called,
                "query_scope": device.query_scope,
                "label": device.label,
                "active": device.active,
            }
            for device in repository.devices()
        ]
    show_rows(rows, as_json)


@user_app.command("add")
def user_add(
    context: typer.Context,
    login: str,
    name: Annotated[str, typer.Option("--name", help="Name as printed on reports.")],
    role: RoleOption,
    site: SiteOption = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin.")
    ] = False,
    valid_from: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")
    ] = None,
    valid_to: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day.")] = None,
) -> None:
    """Register a person with a first post and a signing key."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    with open_hub(context) as hub, hub.db.transaction() as session:
        user = create_account(
            session,
            login=login,
            name=name,
            password=password,
            role=_role(role),
            site_id=_site_id(session, site),
            settings=hub.settings,
            now=hub.clock(),
            actor=cli_actor().ref,
            valid_from=_day(valid_from),
            valid_to=_day(valid_to),
        )
        typer.echo(user.id)


def _day(moment: datetime | None) -> date | None:
    return moment.replace(tzinfo=UTC).date() if moment else None


@user_app.command("list")
def user_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List the accounts with their posts."""
    with open_hub(context) as hub, hub.db.reading() as session:
        codes = {site.id: site.code for site in SiteRepository(session).sites()}
        repository = AuthRepository(session)
        rows = [
            {
                "login": user.login,
                "name": user.name,
                "active": user.active,
                "posts": ", ".join(
                    f"{post.role}@{codes.get(post.site_id or '', 'centre')}"
                    for post in repository.posts(user.id)
                ),
            }
            for user in repository.users()
        ]
    show_rows(rows, as_json)


@token_app.command("create")
def token_create(
    context: typer.Context,
    role: RoleOption,
    site: SiteOption = None,
    label: Annotated[str, typer.Option(help="What the token is for.")] = "",
) -> None:
    """Make a machine's token and print it, alone; it is never shown again."""
    with open_hub(context) as hub, hub.db.transaction() as session:
        secret = auth.create_token(
            session,
            role=_role(role),
            site_id=_site_id(session, site),
            label=label,
            now=hub.clock(),
            actor=cli_actor().ref,
        )
    typer.echo(secret)


@token_app.command("list")
def token_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List the tokens; their secrets are not kept."""
    with open_hub(context) as hub, hub.db.reading() as session:
        codes = {site.id: site.code for site in SiteRepository(session).sites()}
        rows = [
            {
                "id": token.id,
                "role": token.role,
                "site": codes.get(token.site_id or ""),
                "label": token.label,
                "created_at": token.created_at.isoformat(),
                "revoked": token.revoked_at is not None,
            }
            for token in AuthRepository(session).tokens()
        ]
    show_rows(rows, as_json)


@token_app.command("revoke")
def token_revoke(context: typer.Context, token_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """End a token for good."""
    with open_hub(context) as hub, hub.db.transaction() as session:
        auth.revoke_token(session, token_id, now=hub.clock(), actor=cli_actor().ref)
    typer.echo(token_id)
