"""The guard of every route: who calls, may they, and was it really their own click."""

import hmac
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from starlette.concurrency import run_in_threadpool

from hub.auth import service
from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.context import Context
from hub.errors import Forbidden, Unauthenticated
from hub.web.deps import get_context

SESSION_COOKIE = "hub_session"
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def guard(*permissions: Permission) -> Any:
    """Make the dependency that lets in whoever holds one of `permissions`.

    It hands the `Actor` to the route. A route without `guard` or `public` does not
    start: `hub.app.create_app` refuses to build an application that has one.
    """

    async def check(request: Request) -> Actor:
        token = await _csrf_token(request)
        return await run_in_threadpool(admit, request, permissions, token)

    check.permissions = permissions  # type: ignore[attr-defined]  # read by hub.app and its test
    return Depends(check)


def admit(request: Request, permissions: tuple[Permission, ...], csrf_token: str = "") -> Actor:
    """Find out who calls and let in whoever holds one of `permissions`.

    Raises
    ------
    Unauthenticated, Forbidden
        As `identify`, and when the caller holds none of them.
    """
    actor = identify(request, csrf_token)
    if not any(actor.may(permission) for permission in permissions):
        raise Forbidden
    return actor


def public() -> Any:
    """Mark a route that anybody may call: login, health, static files."""

    def check() -> None:
        return None

    check.permissions = ()  # type: ignore[attr-defined]
    return Depends(check)


def permissions_of(call: Callable[..., Any] | None) -> tuple[Permission, ...] | None:
    """Return the permissions a dependency checks; None when it is no guard."""
    return getattr(call, "permissions", None)


def guard_of(dependant: Dependant) -> tuple[Permission, ...] | None:
    """Return the permissions that open a route, an empty tuple for a public one, None without a guard."""
    for dependency in dependant.dependencies:
        permissions = permissions_of(dependency.call)
        if permissions is not None:
            return permissions
    return None


async def _csrf_token(request: Request) -> str:
    """Return the CSRF token of a change: from the header, else from a plain form's own field.

    The field serves a form that was sent before the page's script had loaded. Multipart
    bodies are left alone: they can be large, and only scripts send them.
    """
    sent = request.headers.get(CSRF_HEADER, "")
    if sent or request.method in SAFE_METHODS:
        return sent
    if not request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        return ""
    return str((await request.form()).get(CSRF_FIELD, ""))


def identify(request: Request, csrf_token: str) -> Actor:
    """Find out who calls, by bearer token or session cookie.

    Raises
    ------
    Unauthenticated
        Neither a good token nor a good session.
    Forbidden
        A browser session sends a change without its own CSRF token.
    """
    context = get_context(request)
    address = client_address(request)
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and secret:
        actor = service.resolve_token(context.db, secret.strip(), address=address)
        if actor is None:
            raise Unauthenticated
        request.state.actor = actor
        return actor
    return _identify_browser(request, context, address, csrf_token)


def _identify_browser(request: Request, context: Context, address: str, csrf_token: str) -> Actor:
    cookie = request.cookies.get(SESSION_COOKIE, "")
    if not cookie:
        raise Unauthenticated
    now = context.clock()
    day = now.astimezone(context.settings.zone).date()
    resolved = service.resolve_session(
        context.db, cookie, settings=context.settings, now=now, day=day, address=address
    )
    if resolved is None:
        raise Unauthenticated
    if request.method not in SAFE_METHODS:
        _check_own_click(request, csrf_token, resolved.csrf_token)
    if resolved.seen_is_old:
        with context.db.transaction() as session:
            service.touch_session(session, cookie, now)
    request.state.actor = resolved.actor
    request.state.csrf_token = resolved.csrf_token
    request.state.nav = request.app.state.navigation(resolved.actor)
    return resolved.actor


def _check_own_click(request: Request, sent: str, expected: str) -> None:
    """Refuse a change that another page's form or script could have sent."""
    check_same_origin(request)
    if not hmac.compare_digest(sent.encode(), expected.encode()):
        raise Forbidden("the form has expired: reload the page and try again")


def check_same_origin(request: Request) -> None:
    """Refuse a request whose Origin header names another site."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
        raise Forbidden("the request comes from another site's page")


def client_address(request: Request) -> str:
    """Return the peer's address as the server saw it."""
    return request.client.host if request.client else ""
