"""Administration of accounts, posts and tokens. They are held at sites, so these pages live here."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from hub.auth import accounts, service, signing_keys
from hub.auth.models import Post
from hub.auth.repository import AuthRepository
from hub.auth.roles import MACHINE_ROLES, Role
from hub.context import Context
from hub.errors import HubError, Malformed, NotFound, Rejected
from hub.sites.pages import AdminActor, tried
from hub.sites.repository import SiteRepository
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.web.errors import explain
from hub.web.templating import render, translator_of

router = APIRouter(include_in_schema=False)

PERSONS = tuple(role for role in Role if role not in MACHINE_ROLES)
MACHINES = tuple(role for role in Role if role in MACHINE_ROLES)


@router.get("/admin/users")
def users_page(request: Request, context: ContextDep, session: ReadingDep, _actor: AdminActor) -> Response:
    """Show every account with the posts that are in force."""
    return _users(request, context, session)


@router.post("/admin/users")
def add_user(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: AdminActor,
    login: Annotated[str, Form()],
    name: Annotated[str, Form()],
    password: Annotated[str, Form()],
    role: Annotated[str, Form()],
    site: Annotated[str, Form()] = "",
    valid_from: Annotated[str, Form()] = "",
    valid_to: Annotated[str, Form()] = "",
) -> Response:
    """Create an account with its first post and signing key."""

    def create() -> None:
        accounts.create_account(
            session,
            login=login.strip(),
            name=name[:64],
            password=password,
            role=_role(role, PERSONS),
            site_id=_site_id(session, site),
            settings=context.settings,
            now=context.clock(),
            actor=actor.ref,
            valid_from=_day(valid_from),
            valid_to=_day(valid_to),
        )

    refused = tried(session, create)
    if refused:
        form = {"login": login, "name": name, "role": role, "site": site}
        return _users(request, context, session, refused, form)
    return RedirectResponse("/admin/users", 303)


@router.get("/admin/users/{user_id}")
def user_page(
    request: Request, context: ContextDep, session: ReadingDep, _actor: AdminActor, user_id: str
) -> Response:
    """Show one account: posts past and present, and what can be done with it."""
    return _user(request, context, session, user_id)


@router.post("/admin/users/{user_id}/posts")
def add_post(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: AdminActor,
    user_id: str,
    role: Annotated[str, Form()],
    site: Annotated[str, Form()] = "",
    valid_from: Annotated[str, Form()] = "",
    valid_to: Annotated[str, Form()] = "",
) -> Response:
    """Appoint a person."""
    user = AuthRepository(session).user(user_id)
    if user is None:
        raise NotFound

    def appoint() -> None:
        service.add_post(
            session,
            user,
            _role(role, PERSONS),
            _site_id(session, site),
            valid_from=_day(valid_from) or _today(context),
            valid_to=_day(valid_to),
            actor=actor.ref,
        )

    return _back(request, context, session, user_id, tried(session, appoint))


@router.post("/admin/posts/{post_id}/end")
def end_post(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: AdminActor,
    post_id: str,
    day: Annotated[str, Form()] = "",
) -> Response:
    """End an appointment on a day, today unless another is given."""
    post = AuthRepository(session).post(post_id)
    if post is None:
        raise NotFound
    refused = tried(
        session,
        lambda: service.end_post(session, post_id, day=_day(day) or _today(context), actor=actor.ref),
    )
    return _back(request, context, session, post.user_id, refused)


@router.post("/admin/users/{user_id}/active")
def set_active(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: AdminActor,
    user_id: str,
    active: Annotated[bool, Form()],
) -> Response:
    """Switch an account off, ending its sessions, or on again."""
    refused = tried(
        session,
        lambda: service.set_active(session, user_id, active=active, now=context.clock(), actor=actor.ref),
    )
    return _back(request, context, session, user_id, refused)


@router.post("/admin/users/{user_id}/password")
def reset_password(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: AdminActor,
    user_id: str,
    password: Annotated[str, Form()],
) -> Response:
    """Set a new password; sessions end and a new signing key replaces the old."""
    refused = tried(
        session,
        lambda: signing_keys.reset_password(
            session, user_id, password, settings=context.settings, now=context.clock(), actor=actor.ref
        ),
    )
    return _back(request, context, session, user_id, refused)


@router.get("/admin/tokens")
def tokens_page(request: Request, session: ReadingDep, _actor: AdminActor) -> Response:
    """Show the tokens of machines; never their secrets."""
    return _tokens(request, session)


@router.post("/admin/tokens")
def add_token(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: AdminActor,
    role: Annotated[str, Form()],
    site: Annotated[str, Form()] = "",
    label: Annotated[str, Form()] = "",
) -> Response:
    """Create a token and show its secret this one time."""
    made: list[str] = []

    def create() -> None:
        made.append(
            service.create_token(
                session,
                role=_role(role, MACHINES),
                site_id=_site_id(session, site),
                label=label.strip()[:128],
                now=context.clock(),
                actor=actor.ref,
            )
        )

    refused = tried(session, create)
    response = _tokens(request, session, refused, "" if refused else made[0])
    response.headers["Cache-Control"] = "no-store"
    return response


@router.post("/admin/tokens/{token_id}/revoke")
def revoke_token(context: ContextDep, session: SessionDep, actor: AdminActor, token_id: str) -> Response:
    """End a token for good."""
    service.revoke_token(session, token_id, now=context.clock(), actor=actor.ref)
    return RedirectResponse("/admin/tokens", 303)


def _users(
    request: Request,
    context: Context,
    session: Session,
    refused: HubError | None = None,
    form: dict[str, str] | None = None,
) -> Response:
    repository = AuthRepository(session)
    posts: dict[str, list[Post]] = {}
    for post in repository.all_posts():
        posts.setdefault(post.user_id, []).append(post)
    page = {
        "users": repository.users(),
        "posts": posts,
        "error": explain(request, refused) if refused else "",
        "form": form or {},
        "password_length": context.settings.password_length,
        "clock": context.clock(),
        **_choices(request, context, session, PERSONS),
    }
    return render(request, "admin/users.html", page, refused.http_status if refused else 200)


def _user(
    request: Request, context: Context, session: Session, user_id: str, refused: HubError | None = None
) -> Response:
    repository = AuthRepository(session)
    user = repository.user(user_id)
    if user is None:
        raise NotFound
    page = {
        "user": user,
        "held": repository.posts(user_id),
        "key": repository.signing_key(user_id),
        "error": explain(request, refused) if refused else "",
        "password_length": context.settings.password_length,
        "clock": context.clock(),
        **_choices(request, context, session, PERSONS),
    }
    return render(request, "admin/user.html", page, refused.http_status if refused else 200)


def _tokens(
    request: Request, session: Session, refused: HubError | None = None, secret: str = ""
) -> Response:
    context: Context = request.app.state.context
    page = {
        "tokens": AuthRepository(session).tokens(),
        "error": explain(request, refused) if refused else "",
        "secret": secret,
        **_choices(request, context, session, MACHINES),
    }
    return render(request, "admin/tokens.html", page, refused.http_status if refused else 200)


def _back(
    request: Request, context: Context, session: Session, user_id: str, refused: HubError | None
) -> Response:
    if isinstance(refused, NotFound):
        raise refused
    if refused:
        return _user(request, context, session, user_id, refused)
    return RedirectResponse(f"/admin/users/{user_id}", 303)


def _choices(request: Request, context: Context, session: Session, roles: Sequence[Role]) -> dict[str, Any]:
    t = translator_of(request)
    sites = SiteRepository(session).sites()
    return {
        "roles": [(str(role), t(f"auth.role.{role}")) for role in roles],
        "sites": [(site.id, site.name) for site in sites],
        "site_names": {site.id: site.name for site in sites},
        "today": _today(context),
    }


def _today(context: Context) -> date:
    return context.clock().astimezone(context.settings.zone).date()


def _role(text: str, allowed: Sequence[Role]) -> Role:
    if text not in allowed:
        raise Rejected
    return Role(text)


def _site_id(session: Session, text: str) -> str | None:
    """Return the site chosen in a form, None for the centre."""
    if text and SiteRepository(session).site(text) is None:
        raise NotFound
    return text or None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise Malformed from error
