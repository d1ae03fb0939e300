"""The index of routes answers as FastAPI does by itself, trying all routes in their order.

The oracle is FastAPI: the same routers included in an application of its own, and its
router without the index.
"""

from importlib import import_module
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Scope

from hub.app import ROUTERS, create_app
from hub.auth.deps import guard_of
from hub.context import Context
from hub.web.routing import RouteIndex, flat, index
from tests.auth.test_permissions import addresses, filled


def scope_of(path: str, method: str = "GET") -> Scope:
    return {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}


def first(routes: Any, path: str, method: str = "GET") -> tuple[BaseRoute, Any] | None:
    """The first of routes that fits wholly, and the parameters it finds in the path."""
    for route in routes:
        match, child = route.matches(scope_of(path, method))
        if match is Match.FULL:
            return route, child.get("path_params")
    return None


def variants(path: str) -> list[str]:
    """Paths that are like one of a route but not it, and it."""
    return [
        path,
        f"{path}/",
        f"{path}/x",
        f"{path}\n",
        f"/{path}",
        f"{path}%2F",
        path.rpartition("/")[0],
        "x",
    ]


@pytest.fixture
def app(sqlite_context: Context) -> FastAPI:
    return create_app(sqlite_context)


@pytest.fixture
def nested(sqlite_context: Context) -> FastAPI:
    """The same routers, included as FastAPI does it."""
    usual = FastAPI(title="Shared-diagnosis hub", openapi_url=None, docs_url=None, redoc_url=None)
    usual.state.context = sqlite_context
    for module in ROUTERS:
        usual.include_router(import_module(module).router)
    return usual


class TestTheApplication:
    def test_every_route_is_found_as_by_trying_all(self, app: FastAPI) -> None:
        found = RouteIndex(app.router)
        wrong = []
        for method, path, route in addresses(app.routes):
            for asked in variants(filled(path, {})):
                for verb in {method, "GET", "HEAD", "DELETE"}:
                    expected = first(app.routes, asked, verb)
                    if first(found.candidates(asked), asked, verb) != expected:
                        wrong.append((verb, asked))
            assert first(found.candidates(filled(path, {})), filled(path, {}), method) is not None, route
        assert wrong == []

    def test_few_routes_are_tried(self, app: FastAPI) -> None:
        found = RouteIndex(app.router)
        most = max(
            len([each for each in found.candidates(filled(path, {})) if isinstance(each, APIRoute)])
            for _, path, _ in addresses(app.routes)
        )
        assert most <= 4

    def test_it_has_the_routes_and_guards_that_including_makes(self, app: FastAPI, nested: FastAPI) -> None:
        def table(of: FastAPI) -> list[tuple[str, str, Any]]:
            return [(method, path, guard_of(route.dependant)) for method, path, route in addresses(of.routes)]

        assert [each for each in table(app) if each[1] != "/"] == table(nested)

    def test_its_interfaces_are_described_as_before(self, app: FastAPI, nested: FastAPI) -> None:
        assert app.openapi() == nested.openapi()

    def test_what_fits_no_route_is_answered_as_by_the_router_alone(self, app: FastAPI) -> None:
        asked = [
            ("GET", "/healthz"),
            ("HEAD", "/healthz"),
            ("POST", "/healthz"),
            ("GET", "/healthz/"),
            ("OPTIONS", "/dicom-web/studies"),
            ("DELETE", "/dicom-web/studies/1.2.3"),
            ("GET", "/dicom-web/studies/"),
            ("GET", "/dicom-web/nothing"),
            ("GET", "/nothing/here"),
            ("GET", "/static"),
            ("GET", "/static/nothing.js"),
            ("GET", "//healthz"),
        ]

        def answers() -> list[tuple[int, str | None, str | None, bytes]]:
            client = TestClient(app, follow_redirects=False)
            got = [client.request(method, path) for method, path in asked]
            return [
                (each.status_code, each.headers.get("allow"), each.headers.get("location"), each.content)
                for each in got
            ]

        indexed = answers()
        app.router.middleware_stack = app.router.app
        assert indexed == answers()
        assert [status for status, *_ in indexed][:4] == [200, 405, 405, 307]


def small() -> FastAPI:
    """An application in which order, prefixes and what routers add matter."""

    def named(name: str) -> Any:
        def answer(request: Request) -> dict[str, Any]:
            return {"route": name, "parameters": request.path_params, "asked": request.scope.get("asked", [])}

        return answer

    def asked(by: str) -> Any:
        def ask(request: Request) -> None:
            request.scope.setdefault("asked", []).append(by)

        return Depends(ask)

    inner = APIRouter(dependencies=[asked("router")])
    inner.add_api_route("/{anything}", named("parameter"))
    inner.add_api_route("/fixed", named("too late"))
    inner.add_api_route("/fixed", named("posted"), methods=["POST"], status_code=201)
    outer = APIRouter()
    outer.add_api_route("/a/b", named("before"), dependencies=[asked("route")])
    outer.include_router(inner, prefix="/a", dependencies=[asked("place")])
    outer.include_router(inner, prefix="/of/{site}")
    outer.add_api_route("/files/{path:path}", named("path"))
    outer.add_api_route("/files/{number:int}.json", named("never"))
    outer.add_api_route("/number/{number:int}", named("number"))
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.router.routes.extend(flat(outer))
    app.mount("/a", FastAPI(), name="behind")
    return app


@pytest.mark.parametrize(
    ("method", "path", "route", "parameters", "asked"),
    [
        ("GET", "/a/b", "before", {}, ["route"]),
        ("GET", "/a/fixed", "parameter", {"anything": "fixed"}, ["place", "router"]),
        ("POST", "/a/fixed", "posted", {}, ["place", "router"]),
        ("GET", "/of/dp/x", "parameter", {"site": "dp", "anything": "x"}, ["router"]),
        ("GET", "/files/a/b/c", "path", {"path": "a/b/c"}, []),
        ("GET", "/files/", "path", {"path": ""}, []),
        ("GET", "/files/7.json", "path", {"path": "7.json"}, []),
        ("GET", "/number/7", "number", {"number": 7}, []),
    ],
)
def test_the_first_route_that_fits_answers(
    method: str, path: str, route: str, parameters: dict[str, Any], asked: list[str]
) -> None:
    app = small()
    index(app.router)
    answer = TestClient(app).request(method, path)
    assert answer.json() == {"route": route, "parameters": parameters, "asked": asked}
    assert answer.status_code == (201 if method == "POST" else 200)


def test_an_application_below_another_path_is_left_to_the_router() -> None:
    app = small()
    index(app.router)
    below = FastAPI(openapi_url=None)
    below.mount("/county", app)
    assert TestClient(below).get("/county/number/7").json()["route"] == "number"


def test_routes_that_are_not_fastapis_stay_what_they_are() -> None:
    async def plain(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.url.path)

    router = APIRouter(routes=[Route("/plain", plain), Mount("/below", app=FastAPI())])
    assert list(flat(router)) == router.routes


SEGMENTS = st.sampled_from(["a", "b", "{x}", "{y:int}", "{z:path}", "a{w}"])
TEMPLATES = st.lists(st.lists(SEGMENTS, max_size=3, unique=True).map("/".join), max_size=8)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "1", ""]), max_size=5).map(
    lambda each: "/" + "/".join(each)
)


@given(templates=TEMPLATES, path=PATHS, methods=st.sampled_from(["GET", "POST"]))
def test_any_routes_are_found_as_by_trying_all(templates: list[str], path: str, methods: str) -> None:
    router = APIRouter()
    for template in templates:
        router.add_api_route(f"/{template}", lambda: None, methods=[methods])
    expected = first(router.routes, path)
    assert first(RouteIndex(router).candidates(path), path) == expected
