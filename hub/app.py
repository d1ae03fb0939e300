"""Wiring of the web application: routers, guards, errors, static files. Nothing else happens here."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.auth.actor import Actor
from hub.auth.deps import guard, guard_of
from hub.auth.roles import Permission
from hub.context import Context
from hub.errors import TooLarge
from hub.web import errors
from hub.web.headers import SecurityHeaders
from hub.web.live import LiveFeed
from hub.web.routing import flat, index
from hub.web.static_files import HashedStaticFiles

ROUTERS = (
    "hub.dicom.wado",
    "hub.dicom.qido",
    "hub.insight.endpoints",
    "hub.auth.pages",
    "hub.worklist.pages",
    "hub.reports.pages",
    "hub.reports.quick_pages",
    "hub.reports.endpoints",
    "hub.sites.pages",
    "hub.sites.device_pages",
    "hub.sites.account_pages",
    "hub.worklist.desk_pages",
    "hub.worklist.name_pages",
    "hub.worklist.conflict_pages",
    "hub.insight.pages",
    "hub.worklist.site_pages",
    "hub.worklist.endpoints",
    "hub.delivery.pages",
    "hub.delivery.endpoints",
    "hub.dicom.exchange_pages",
    "hub.dicom.upload_endpoints",
    "hub.dicom.stow",
    "hub.dicom.archive",
    "hub.worklist.ecg_intake_endpoints",
    "hub.worklist.ecg_pages",
    "hub.worklist.ecg_analysis_endpoints",
    "hub.worklist.ecg_watch_pages",
)
"""Every module with a ``router``, in the order in which paths are tried."""

MIB = 1 << 20


@dataclass(frozen=True)
class NavItem:
    """One entry of the app bar."""

    key: str
    href: str
    count: int = 0


NAVIGATION: tuple[tuple[Permission, str, str], ...] = (
    (Permission.WORKLIST_VIEW, "common.nav.worklist", "/worklist"),
    (Permission.REPORT_REVIEW, "common.nav.reviews", "/reviews"),
    (Permission.REPORT_SIGN_ALONE, "common.nav.quick", "/ecg/quick"),
    (Permission.SITE_PAGE, "common.nav.exams", "/site"),
    (Permission.REPORT_ACKNOWLEDGE, "common.nav.inbox", "/inbox"),
    (Permission.DESK_MATCH, "common.nav.desk", "/desk"),
    (Permission.DESK_QUARANTINE, "common.nav.desk", "/desk"),
    (Permission.ADMINISTER, "common.nav.sites", "/admin/sites"),
    (Permission.ADMINISTER, "common.nav.users", "/admin/users"),
    (Permission.ADMINISTER, "common.nav.exchange", "/admin/exchange"),
    (Permission.ADMINISTER, "common.nav.watched", "/admin/watched"),
    (Permission.JOBS_VIEW, "common.nav.jobs", "/admin/jobs"),
    (Permission.AUDIT_VIEW, "common.nav.audit", "/audit"),
    (Permission.SELF, "common.nav.account", "/account"),
)
"""Who sees which entry of the app bar, and where it leads."""


def navigation(actor: Actor) -> list[NavItem]:
    """Return the entries of the app bar for one person, each address once."""
    items: dict[str, NavItem] = {}
    for permission, key, href in NAVIGATION:
        if actor.may(permission):
            items.setdefault(href, NavItem(key, href))
    return list(items.values())


def create_app(context: Context) -> FastAPI:
    """Build the web application over a context.

    Raises
    ------
    RuntimeError
        A route has no guard: such an application must not start.
    """
    app = FastAPI(
        title="Shared-diagnosis hub",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(context),
        # Else the environment could have it tell others of requests and errors, at a cost to each request.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.context = context
    app.state.timezone = context.settings.zone
    app.state.language = context.settings.language
    app.state.navigation = navigation
    app.state.live = LiveFeed(context.db)
    app.state.read_ahead = import_module("hub.dicom.read_ahead").ReadAhead(context)
    app.add_api_route("/", _home, methods=["GET"], include_in_schema=False)
    for module in ROUTERS:
        app.router.routes.extend(_routes(module))
    app.mount("/static", HashedStaticFiles(), name="static")
    errors.install(app)
    app.add_middleware(BodyLimit, limit=context.settings.max_upload_mb * MIB)
    app.add_middleware(SecurityHeaders)
    naked = unguarded(app.routes)
    if naked:
        raise RuntimeError(f"routes without a guard: {', '.join(naked)}")
    index(app.router)
    return app


@cache
def _routes(module: str) -> tuple[BaseRoute, ...]:
    """Return the routes of a module: they know no application, so they are made once for all of them."""
    return flat(import_module(module).router)


def _home(request: Request, actor: Actor = guard(Permission.SELF)) -> Response:
    """Lead each person to the page of their work."""
    del request
    first = navigation(actor)[0]
    return RedirectResponse(first.href, 303)


def _lifespan(context: Context) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = context.settings.web_threads
        app.state.live.start()
        app.state.read_ahead.start()
        try:
            yield
        finally:
            app.state.read_ahead.stop()
            app.state.live.stop()

    return lifespan


def every_route(routes: Iterable[Any]) -> Iterator[Any]:
    """Yield the routes of an application, those of included routers too."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from every_route(included.routes)


def unguarded(routes: Iterable[Any]) -> list[str]:
    """Return the routes that neither `guard` nor `public` watches; only the static folder may be mounted."""
    naked = []
    for route in every_route(routes):
        if isinstance(route, Mount) and route.name == "static":
            continue
        if not isinstance(route, APIRoute) or guard_of(route.dependant) is None:
            naked.append(str(getattr(route, "path", route)))
    return naked


class BodyLimit:
    """ASGI middleware that refuses bodies over a limit, stated or not, before they fill the disk."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on while its body stays within the limit."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.limit:
            await _too_large(scope, receive, send)
            return
        taken = 0

        async def counted() -> Any:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.limit:
                raise TooLarge
            return message

        await self.app(scope, counted, send)


async def _too_large(scope: Scope, receive: Receive, send: Send) -> None:
    from starlette.responses import JSONResponse

    body = {"code": "TooLarge", "message": str(TooLarge())}
    await JSONResponse(body, TooLarge.http_status)(scope, receive, send)


@contextmanager
def running_feed(app: FastAPI) -> Iterator[FastAPI]:
    """Run the live feed of an application that is not served (tests)."""
    app.state.live.start()
    try:
        yield app
    finally:
        app.state.live.stop()
