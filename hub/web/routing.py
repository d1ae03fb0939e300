"""Routes laid side by side, and found by the segments of a path.

FastAPI keeps included routers as they are and tries them one after the other, each with
all its routes, twice for every request; what their routes need it finds out with the
first request. For a viewer's thousands of frames that took longer than the answers. Here
all routes are made once, flat, and a request only tries those whose path can fit.
"""

import inspect
from collections.abc import Iterable, Iterator

from fastapi import APIRouter
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.convertors import FloatConvertor, IntegerConvertor, StringConvertor, UUIDConvertor
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

_ONE_SEGMENT = (FloatConvertor, IntegerConvertor, StringConvertor, UUIDConvertor)
"""Path parameters that never hold a slash."""


def flat(router: APIRouter) -> tuple[BaseRoute, ...]:
    """Return the routes of a router in their order, those of included ones with all that including adds."""
    return tuple(_alone(found) for found in iter_route_contexts(router.routes))


def _alone(found: RouteContext) -> BaseRoute:
    """Return a route that is what an included one is in its place; others than FastAPI's as they are."""
    route = found.original_route
    if not isinstance(route, APIRoute):
        return route
    given = [name for name in inspect.signature(APIRoute).parameters if name != "form_limits"]
    own = {name: getattr(found, name) for name in given}
    return type(route)(**own, form_limits=route.form_limits)


class RouteIndex:
    """ASGI application that finds the route of a request without trying all.

    Whatever no route fits wholly (unknown paths, wrong methods, a slash too many) is left
    to the router, which tries all of them in their order as ever.

    Parameters
    ----------
    router : APIRouter
        Its routes must all be there.
    """

    def __init__(self, router: APIRouter) -> None:
        self._router, self._try_all = router, router.middleware_stack
        self._start = _Node()
        for number, route in enumerate(router.routes):
            self._start.add(number, route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the first route that fits."""
        if scope["type"] == "http" and not scope.get("root_path"):
            for route in self.candidates(scope["path"]):
                match, child_scope = route.matches(scope)
                if match is Match.FULL:
                    scope.setdefault("router", self._router)
                    scope.update(child_scope)
                    await route.handle(scope, receive, send)
                    return
        await self._try_all(scope, receive, send)

    def candidates(self, path: str) -> Iterator[BaseRoute]:
        """Yield, in their order, the routes that may fit a path; no other one does."""
        # A pattern's end also fits before a newline that ends the path.
        found = list(self._start.fitting(path.removesuffix("\n").split("/")))
        return (route for _, route in sorted(found, key=_number))


_Numbered = tuple[int, BaseRoute]


def _number(each: _Numbered) -> int:
    return each[0]


class _Node:
    """What may follow the first segments of a path."""

    __slots__ = ("anything", "by_name", "ends", "open")

    def __init__(self) -> None:
        self.by_name: dict[str, _Node] = {}
        self.anything: _Node | None = None
        """What follows a segment that is a parameter."""
        self.ends: list[_Numbered] = []
        """Routes whose paths end here."""
        self.open: list[_Numbered] = []
        """Routes for which it does not matter here what follows."""

    def add(self, number: int, route: BaseRoute) -> None:
        """Put a route where its path leads."""
        node = self
        for segment in _segments(route):
            if segment is None:
                node.open.append((number, route))
                return
            node = node._next(segment)
        node.ends.append((number, route))

    def _next(self, segment: str) -> "_Node":
        if "{" not in segment:
            return self.by_name.setdefault(segment, _Node())
        if self.anything is None:
            self.anything = _Node()
        return self.anything

    def fitting(self, segments: list[str], at: int = 0) -> Iterable[_Numbered]:
        """Yield the routes that may fit the segments from `at` on."""
        yield from self.open
        if at == len(segments):
            yield from self.ends
            return
        named = self.by_name.get(segments[at])
        for node in (named, self.anything):
            if node is not None:
                yield from node.fitting(segments, at + 1)


def _segments(route: BaseRoute) -> Iterator[str | None]:
    """Yield the segments of a route's path; None where one begins that may hold slashes."""
    if not isinstance(route, APIRoute):
        yield None
        return
    several = [name for name, kind in route.param_convertors.items() if not isinstance(kind, _ONE_SEGMENT)]
    for segment in route.path_format.split("/"):
        holds_slashes = any(f"{{{name}}}" in segment for name in several)
        yield None if holds_slashes else segment


def index(router: APIRouter) -> RouteIndex:
    """Have a router's requests find their routes by an index; no route may be added afterwards."""
    found = router.middleware_stack = RouteIndex(router)
    return found
