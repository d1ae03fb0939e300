"""Every route has a guard, or the application does not start."""

import types

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import hub.app
from hub.app import create_app, every_route, unguarded
from hub.auth.deps import guard, public
from hub.auth.roles import Permission
from hub.context import Context


def naked() -> str:
    return "open to all"


class TestUnguarded:
    def test_the_application_has_none(self, sqlite_context: Context) -> None:
        app = create_app(sqlite_context)
        assert unguarded(app.routes) == []
        assert sum(1 for _ in every_route(app.routes)) > 50

    def test_a_route_without_guard_is_named(self) -> None:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.add_api_route("/guarded", naked, dependencies=[guard(Permission.SELF)])
        app.add_api_route("/public", naked, dependencies=[public()])
        app.add_api_route("/naked", naked)
        router = APIRouter()
        router.add_api_route("/inside", naked, dependencies=[Depends(naked)])
        app.include_router(router)
        assert unguarded(app.routes) == ["/naked", "/inside"]

    def test_routes_that_fastapi_does_not_see_are_named(self) -> None:
        async def plain(request: object) -> PlainTextResponse:
            return PlainTextResponse("x")

        routes = [Route("/plain", plain), Mount("/files", app=FastAPI(), name="files")]
        assert unguarded(routes) == ["/plain", "/files"]


def test_an_application_with_a_naked_route_does_not_start(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = types.ModuleType("planted")
    planted.router = APIRouter()  # type: ignore[attr-defined]
    planted.router.add_api_route("/api/v1/planted", naked)  # type: ignore[attr-defined]
    real = hub.app.import_module
    monkeypatch.setattr(hub.app, "ROUTERS", (*hub.app.ROUTERS, "planted"))
    monkeypatch.setattr(hub.app, "import_module", lambda name: planted if name == "planted" else real(name))
    with pytest.raises(RuntimeError, match="/api/v1/planted"):
        create_app(sqlite_context)
