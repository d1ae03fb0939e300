"""Logging in and out, and one's own account."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from hub.auth import service, signing_keys
from hub.auth.actor import Actor
from hub.auth.deps import SESSION_COOKIE, check_same_origin, client_address, guard, public
from hub.auth.roles import Permission
from hub.errors import HubError
from hub.web.deps import ContextDep, SessionDep
from hub.web.errors import message_of
from hub.web.templating import language_of, render

router = APIRouter(include_in_schema=False)


@router.get("/login", dependencies=[public()])
def login_page(request: Request, next: str = "/") -> Response:  # noqa: A002 - the query parameter's usual name
    """Show the login form."""
    return render(request, "auth/login.html", {"next": _local(next), "login": "", "error": ""})


@router.post("/login", dependencies=[public()])
def log_in(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    login: Annotated[str, Form()],
    password: Annotated[str, Form()],
    next: Annotated[str, Form()] = "/",  # noqa: A002 - the field's usual name
) -> Response:
    """Check the password and open a session; a refusal comes back with the form."""
    check_same_origin(request)
    opened = service.log_in(
        session,
        login,
        password,
        settings=context.settings,
        now=context.clock(),
        address=client_address(request),
    )
    if isinstance(opened, HubError):
        error = message_of(language_of(request), opened.code, str(opened))
        return render(
            request, "auth/login.html", {"next": _local(next), "login": login, "error": error}, status=422
        )
    response = RedirectResponse(_local(next), 303)
    response.set_cookie(
        SESSION_COOKIE,
        opened.secret,
        httponly=True,
        samesite="lax",
        secure=context.settings.base_url.startswith("https:"),
        path="/",
    )
    return response


def _local(target: str) -> str:
    """Return a path of this site; anything that could lead elsewhere becomes the start page."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) else "/"


@router.post("/logout")
def log_out(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    _actor: Annotated[Actor, guard(Permission.SELF)],
) -> Response:
    """End the session."""
    service.log_out(session, request.cookies.get(SESSION_COOKIE, ""), now=context.clock())
    response = RedirectResponse("/login", 303)
    response.delete_cookie(SESSION_COOKIE, path="/")
    return response


@router.get("/account")
def account_page(request: Request, _actor: Annotated[Actor, guard(Permission.SELF)]) -> Response:
    """Show the own account: posts held and the form to change the password."""
    return render(request, "auth/account.html", {"error": "", "changed": False})


@router.post("/account/password")
def change_password(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    actor: Annotated[Actor, guard(Permission.SELF)],
    old: Annotated[str, Form()],
    new: Annotated[str, Form()],
    again: Annotated[str, Form()],
) -> Response:
    """Change the own password, and with it what opens the own signing key."""
    error = ""
    try:
        if new != again:
            error = message_of(language_of(request), "PasswordsDiffer", "the two new passwords differ")
        else:
            signing_keys.change_password(session, actor.id, old, new, settings=context.settings)
    except HubError as refused:
        error = message_of(language_of(request), refused.code, str(refused))
    return render(
        request, "auth/account.html", {"error": error, "changed": not error}, status=422 if error else 200
    )
