"""One answer for every error: a page for people, JSON for machines, never a stack trace."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from hub.errors import HubError, Malformed, StoreUnavailable, Unauthenticated
from hub.web import i18n
from hub.web.templating import is_fragment, language_of, render
from storage.errors import StorageError

log = structlog.get_logger()
SERVER_FAULT = 500
MACHINE_PATHS = ("/api/", "/dicom-web/", "/fhir/", "/metrics", "/healthz", "/readyz")


def install(app: FastAPI) -> None:
    """Make the application answer errors this way."""
    app.add_exception_handler(HubError, _hub_error)
    app.add_exception_handler(StorageError, _storage_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


def message_of(lang: str, code: str, fallback: str) -> str:
    """Return the translated sentence for an error's code, else the error's own words."""
    text = i18n.catalogue(lang).get(f"errors.{code}")
    return str(i18n.translator(lang)(f"errors.{code}")) if text is not None else fallback


def explain(request: Request, error: HubError) -> str:
    """Return what a person is told: the class's sentence, translated, else the error's own."""
    own = str(error)
    generic = own == (type(error).__doc__ or "").strip().splitlines()[0]
    return message_of(language_of(request), error.code, own) if generic else own


def _answer(request: Request, status: int, code: str, message: str) -> Response:
    if request.url.path.startswith(MACHINE_PATHS):
        headers = {"WWW-Authenticate": "Bearer"} if status == Unauthenticated.http_status else None
        return JSONResponse({"code": code, "message": message}, status, headers)
    if is_fragment(request) or "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"code": code, "message": message}, status)
    if status == Unauthenticated.http_status and request.method == "GET":
        return RedirectResponse(f"/login?next={request.url.path}", 303)
    return render(request, "error.html", {"status": status, "code": code, "message": message}, status)


def _hub_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)  # registered for this class
    if error.http_status >= SERVER_FAULT:
        log.error("request_failed", code=error.code, path=_route(request), **error.facts)
    return _answer(request, error.http_status, error.code, explain(request, error))


def _storage_error(request: Request, error: Exception) -> Response:
    log.error("store_failed", path=_route(request), cause=type(error).__name__)
    return _hub_error(request, StoreUnavailable())


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # registered for this class
    return _answer(request, error.status_code, f"Http{error.status_code}", str(error.detail))


def _invalid(request: Request, error: Exception) -> Response:
    """Name the fields that are wrong, never what they held."""
    assert isinstance(error, RequestValidationError)  # registered for this class
    fields = sorted({".".join(str(part) for part in item["loc"][1:]) for item in error.errors()})
    return _answer(request, 422, Malformed.__name__, ", ".join(fields))


def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request_crashed", path=_route(request), cause=type(error).__name__, exc_info=error)
    message = message_of(language_of(request), HubError.__name__, "")
    return _answer(request, SERVER_FAULT, HubError.__name__, message)


def _route(request: Request) -> str:
    """Return the route's pattern: a filled-in path could hold what somebody searched for."""
    route = request.scope.get("route")
    return str(getattr(route, "path", "")) or "unknown"
