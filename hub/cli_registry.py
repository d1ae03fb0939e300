"""``hub site|device|user|token``: registering who and what may take part."""

import sys
from datetime import UTC, date, datetime
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from hub.auth import service as auth
from hub.auth.accounts import create_account
from hub.auth.repository import AuthRepository
from hub.auth.roles import Role
from hub.cli_support import AsJson, cli_actor, fail, open_hub, show_rows
from hub.sites import service as sites
from hub.sites.repository import SiteRepository

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


@device_app.command("add")
def device_add(
    context: typer.Context,
    site: Annotated[str, typer.Argument(metavar="SITE", help="Code of the site.")],
    ae: Annotated[str, typer.Option("--ae", help="AE title the device calls with.")],
    address: Annotated[str | None, typer.Option(help="IP address it calls from, when that is fixed.")] = None,
    charset: Annotated[str | None, typer.Option(help="Character set it really writes, e.g. GB18030.")] = None,
    label: Annotated[str, typer.Option(help="What people call it.")] = "",
) -> None:
    """Register a device under a site."""
    with open_hub(context) as hub, hub.db.transaction() as session:
        device = sites.add_device(
            session,
            sites.require_site(session, site),
            ae,
            address=address,
            charset=charset,
            label=label,
            now=hub.clock(),
            actor=cli_actor().ref,
        )
        typer.echo(device.id)


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
                "charset": device.charset,
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
