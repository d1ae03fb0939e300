"""Pages: Jinja2 templates with the reader's language, actor and navigation at hand.

What a template sees beside its own context: ``t``, ``lang``, ``languages``, ``csrf_token``,
``actor`` (or none), ``nav``, ``request``, ``static(path)``, ``now`` and the filters
``localtime``, ``localdate``, ``ago``, ``duration``, ``age``, ``dicom_age``. They are read from
``request.state`` (``csrf_token``, ``actor``, ``nav``), which the guard of the route sets, and
from the settings in ``request.app.state.context``.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.requests import Request
from starlette.responses import HTMLResponse

from hub.config import Settings
from hub.kit.clock import utcnow
from hub.web import i18n

WEB_DIR = Path(__file__).parent
STATIC_DIR = WEB_DIR / "static"
TEMPLATES_DIR = WEB_DIR / "templates"
DEFAULT_ZONE = "Asia/Shanghai"


class NavItem(Protocol):
    """One entry of the app bar: a catalogue key, an address and, if not 0, a count."""

    @property
    def key(self) -> str:
        """Catalogue key of its text, e.g. ``common.nav.worklist``."""

    @property
    def href(self) -> str:
        """Address, e.g. ``/worklist``."""

    @property
    def count(self) -> int:
        """Number shown beside the text; 0 shows none."""


def render(
    request: Request,
    template: str,
    context: Mapping[str, Any] | object,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """Render one template for one request.

    Parameters
    ----------
    template
        Path below ``hub/web/templates``, e.g. ``worklist/page.html``.
    context
        A mapping or a dataclass instance; fields become variables of the template.
    status
        HTTP status of the answer.
    headers
        More headers, e.g. ``toast("ok", text)``.

    Raises
    ------
    jinja2.UndefinedError
        If the template uses a name that the context does not give.
    """
    page = environment().get_template(template)
    html = page.render({**_surroundings(request), **_as_mapping(context)})
    return HTMLResponse(html, status_code=status, headers={"vary": "HX-Request", **(headers or {})})


def toast(kind: str, text: str) -> dict[str, str]:
    """Return the header that shows `text` as a toast; `kind` is ok, info, warn or danger."""
    import json

    return {"HX-Trigger": json.dumps({"toast": {"kind": kind, "text": text}}, ensure_ascii=True)}


def is_fragment(request: Request) -> bool:
    """Tell whether htmx asks for a piece of the page and not for a whole one."""
    headers = request.headers
    return headers.get("HX-Request") == "true" and headers.get("HX-Boosted") != "true"


def language_of(request: Request) -> str:
    """Return the reader's language: the cookie's, else the hub's."""
    settings = _settings(request)
    default = settings.language if settings else i18n.DEFAULT_LANGUAGE
    return i18n.choose_language(request.cookies.get(i18n.LANGUAGE_COOKIE), default)


def translator_of(request: Request) -> i18n.Translate:
    """Return ``t`` in the reader's language, for text that a page's Python makes."""
    return i18n.translator(language_of(request))


def zone_of(request: Request) -> ZoneInfo:
    """Return the zone in which times are shown: the hub's, whatever the browser's."""
    settings = _settings(request)
    return settings.zone if settings else ZoneInfo(DEFAULT_ZONE)


def _settings(request: Request) -> Settings | None:
    context = getattr(request.app.state, "context", None)
    return None if context is None else context.settings


def static_url(path: str) -> str:
    """Return the address of a static file with its content's hash, so that it may be cached.

    A file that is not there (front-end not built) keeps its plain address: the page still
    opens and the browser's log names what is missing.
    """
    file = STATIC_DIR / path
    try:
        stat = file.stat()
    except FileNotFoundError:
        return f"/static/{path}"
    return f"/static/{path}?v={_content_hash(file, stat.st_mtime_ns)}"


@cache
def _content_hash(file: Path, _mtime_ns: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


@cache
def environment() -> Environment:
    """Return the one Jinja2 environment of the process."""
    env = Environment(
        loader=FileSystemLoader(TEMPLATES_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["static"] = static_url
    env.filters |= {
        "localtime": _localtime,
        "localdate": _localdate,
        "ago": _ago,
        "duration": _duration,
        "age": _age,
        "dicom_age": _dicom_age,
        "iso": _iso,
    }
    return env


def _surroundings(request: Request) -> dict[str, Any]:
    lang = language_of(request)
    state = request.state
    return {
        "request": request,
        "t": i18n.translator(lang),
        "lang": lang,
        "languages": i18n.LANGUAGES,
        "zone": zone_of(request),
        "now": utcnow(),
        "actor": getattr(state, "actor", None),
        "nav": getattr(state, "nav", ()),
        "csrf_token": getattr(state, "csrf_token", ""),
    }


def _as_mapping(context: Mapping[str, Any] | object) -> Mapping[str, Any]:
    if isinstance(context, Mapping):
        return context
    if dataclasses.is_dataclass(context) and not isinstance(context, type):
        return {field.name: getattr(context, field.name) for field in dataclasses.fields(context)}
    raise TypeError("a page's context is a mapping or a dataclass")


@pass_context
def _localtime(context: Context, moment: datetime | None, seconds: bool = False) -> str:
    return "" if moment is None else i18n.format_datetime(moment, context["zone"], seconds=seconds)


@pass_context
def _localdate(context: Context, day: date | None) -> str:
    return "" if day is None else i18n.format_date(day, context["zone"])


@pass_context
def _ago(context: Context, moment: datetime | None) -> str:
    return "" if moment is None else i18n.format_ago(moment, context["now"], context["t"])


@pass_context
def _duration(context: Context, span: timedelta | float | None) -> str:
    if span is None:
        return ""
    return i18n.format_duration(
        span if isinstance(span, timedelta) else timedelta(seconds=span), context["t"]
    )


@pass_context
def _age(context: Context, born: date | None, on: date | datetime | None = None) -> str:
    if born is None:
        return ""
    moment = on or context["now"]
    day = moment.astimezone(context["zone"]).date() if isinstance(moment, datetime) else moment
    return i18n.format_age(born, day, context["t"])


@pass_context
def _dicom_age(context: Context, age: str | None) -> str:
    return i18n.format_dicom_age(age, context["t"]) if age else ""


def _iso(moment: datetime | None) -> str:
    return (
        "" if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    )
