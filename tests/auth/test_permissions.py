"""Who may call what: a table written by hand, held against every route of the real application.

The table does not look at `hub.auth.roles`: a grant that is widened there shows here. A route that is
missing from the table, or a line without a route, fails.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from hub.auth.deps import guard_of
from hub.auth.roles import GRANTS, Role
from hub.config import Settings
from hub.context import Context
from hub.db.session import Database
from storage.memory import MemoryStore
from tests.fixtures.database import TestClock
from tests.fixtures.world import PEOPLE, World, as_user, build

PERSONS = {
    "T": "tech_dp",
    "D": "doctor_dp",
    "W": "writer1",
    "R": "reviewer1",
    "C": "cardio1",
    "X": "director1",
    "A": "admin1",
    "U": "auditor1",
}
MACHINES = {"S": Role.SENDER, "P": Role.SITE_SYSTEM, "M": Role.MONITOR}
NOBODY = "-"
CALLERS = (*PERSONS, *MACHINES, NOBODY)
ALL = "TDWRCXAU"
PUBLIC = "TDWRCXAUSPM-"
SITE, READERS, SEEING = "TD", "WRCX", "TDWRCX"
IMAGES = SEEING

TABLE: dict[str, str] = {
    "GET /": ALL,
    "GET /healthz": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /api/openapi.json": PUBLIC,
    "GET /metrics": "AM",
    "GET /login": PUBLIC,
    "POST /login": PUBLIC,
    "POST /logout": ALL,
    "GET /account": ALL,
    "POST /account/password": ALL,
    # reading
    "GET /worklist": READERS,
    "GET /worklist/rows": READERS,
    "GET /worklist/events": SEEING,
    "POST /worklist/next": "WC",
    "POST /exams/{exam_id}/claim": "WC",
    "POST /exams/{exam_id}/lease": "WC",
    "POST /exams/{exam_id}/release": "WCX",
    "POST /exams/{exam_id}/reject": "WRC",
    "POST /exams/{exam_id}/late-objects": "WRC",
    "POST /exams/{exam_id}/hints/dismiss": "WRC",
    "GET /exams/{exam_id}": SEEING,
    "GET /exams/{exam_id}/banners": READERS,
    "POST /exams/{exam_id}/draft": "WC",
    "POST /exams/{exam_id}/submit": "WC",
    "GET /exams/{exam_id}/key-images": READERS,
    "POST /exams/{exam_id}/key-images": "WC",
    "POST /exams/{exam_id}/key-images/drop": "WC",
    "POST /exams/{exam_id}/sign": "RC",
    "GET /exams/{exam_id}/ecg": IMAGES,
    "GET /reviews": "RC",
    "GET /reviews/{exam_id}": "RC",
    "POST /reviews/{exam_id}/return": "RC",
    "GET /api/v1/ecg/statements": "WC",
    "GET /ecg/quick": "C",
    "GET /ecg/quick/pressing": "C",
    "POST /ecg/quick/next": "C",
    "GET /ecg/quick/{exam_id}": "C",
    "POST /ecg/quick/{exam_id}/normal": "C",
    "POST /ecg/quick/{exam_id}/skip": "C",
    "POST /ecg/quick/sign": "C",
    # reports
    "GET /reports/{report_id}": SEEING,
    "GET /reports/{report_id}/pdf": SEEING,
    "GET /inbox": SITE,
    "GET /inbox/rows": SITE,
    "GET /inbox/events": SITE,
    "GET /inbox/{report_id}": SITE,
    "POST /inbox/{report_id}/acknowledge": "D",
    # the site's page
    "GET /site": SITE,
    "GET /site/rows": SITE,
    "GET /site/events": SITE,
    "GET /site/order-form": SITE,
    "GET /site/body-parts": SITE,
    "POST /site/patients": SITE,
    "POST /site/id-number": SITE,
    "POST /site/orders": SITE,
    "GET /site/exams/{exam_id}": SITE,
    "GET /site/exams/{exam_id}/body": SITE,
    "GET /site/exams/{exam_id}/images": SITE,
    "GET /site/exams/{exam_id}/events": SITE,
    "POST /site/exams/{exam_id}/finish": "T",
    "POST /site/exams/{exam_id}/arrived": "T",
    "POST /site/exams/{exam_id}/performed": "T",
    "POST /site/exams/{exam_id}/cancel": "TDX",
    # the desk
    "GET /desk": "TA",
    "GET /desk/quarantine/{item_id}": "A",
    "POST /desk/quarantine/{item_id}/file": "A",
    "POST /desk/quarantine/{item_id}/aside": "A",
    "GET /desk/exams/{exam_id}": "T",
    "POST /desk/exams/{exam_id}/resolve": "T",
    "GET /desk/names/{study_id}": "TA",
    "POST /desk/names/{study_id}": "TA",
    "POST /desk/names/{study_id}/undo": "TA",
    "GET /desk/devices/{device_id}/names": "A",
    "POST /desk/devices/{device_id}/names": "A",
    "GET /desk/conflicts/{study_id}": "TA",
    "POST /desk/conflicts/{study_id}/propose": "T",
    "POST /desk/conflicts/{study_id}/confirm": "TA",
    "POST /desk/conflicts/{study_id}/dismiss": "TA",
    "POST /desk/conflicts/{study_id}/discard": "T",
    "GET /desk/items/{item_id}/picture": "T",
    "GET /desk/clashes/{item_id}": "T",
    "POST /desk/clashes/{item_id}": "T",
    # administration
    "GET /admin/sites": "A",
    "POST /admin/sites": "A",
    "GET /admin/devices/new": "A",
    "POST /admin/devices": "A",
    "GET /admin/devices/{device_id}/edit": "A",
    "POST /admin/devices/{device_id}": "A",
    "POST /admin/devices/{device_id}/active": "A",
    "GET /admin/devices/seen": "A",
    "GET /admin/users": "A",
    "POST /admin/users": "A",
    "GET /admin/users/{user_id}": "A",
    "POST /admin/users/{user_id}/posts": "A",
    "POST /admin/users/{user_id}/active": "A",
    "POST /admin/users/{user_id}/password": "A",
    "POST /admin/posts/{post_id}/end": "A",
    "GET /admin/tokens": "A",
    "POST /admin/tokens": "A",
    "POST /admin/tokens/{token_id}/revoke": "A",
    "GET /admin/exchange": "A",
    "GET /admin/watched": "A",
    "GET /admin/exchange/board": "A",
    "GET /admin/exchange/nodes/new": "A",
    "POST /admin/exchange/nodes": "A",
    "GET /admin/exchange/nodes/{node_id}/edit": "A",
    "POST /admin/exchange/nodes/{node_id}": "A",
    "POST /admin/exchange/nodes/{node_id}/remove": "A",
    "POST /admin/exchange/nodes/{node_id}/active": "A",
    "POST /admin/exchange/nodes/{node_id}/echo": "A",
    "POST /admin/exchange/nodes/{node_id}/try": "A",
    "POST /admin/exchange/tasks/{task_id}/retry": "A",
    "POST /admin/exchange/tasks/{task_id}/cancel": "A",
    "POST /admin/exchange/send": "A",
    "POST /admin/exchange/commitments/{request_id}/retry": "A",
    "GET /admin/jobs": "A",
    "GET /admin/jobs/board": "A",
    "POST /admin/jobs/{job_id}/retry": "A",
    "POST /admin/jobs/{job_id}/cancel": "A",
    "GET /audit": "U",
    "GET /audit/export.csv": "U",
    "POST /audit/verify": "U",
    # machines' interfaces
    "GET /api/v1/exams": SEEING,
    "GET /api/v1/exams/{exam_id}": SEEING,
    "POST /api/v1/orders": SITE,
    "GET /api/v1/reports": SEEING + "P",
    "GET /api/v1/reports/{report_id}": SEEING + "P",
    "GET /api/v1/reports/{report_id}/pdf": SEEING + "P",
    "POST /api/v1/reports/{report_id}/acknowledge": "DP",
    "POST /api/v1/dicom": "TDS",
    "POST /api/v1/ecg": "TDS",
    "GET /api/v1/exams/{exam_id}/ecg.svg": IMAGES,
    "GET /api/v1/exams/{exam_id}/ecg.json": IMAGES,
    "GET /api/v1/exams/{exam_id}/ecg/analysis": IMAGES,
    "GET /api/v1/exams/{exam_id}/ecg/earlier": IMAGES,
    "POST /api/v1/exams/{exam_id}/ecg/edits": "WC",
}
STUDY, SERIES = "/studies/{study_uid}", "/studies/{study_uid}/series/{series_uid}"
INSTANCE = SERIES + "/instances/{sop_uid}"
DICOMWEB = (
    "/studies",
    "/series",
    "/instances",
    STUDY,
    STUDY + "/archive",
    STUDY + "/series",
    STUDY + "/instances",
    STUDY + "/metadata",
    STUDY + "/thumbnail",
    SERIES,
    SERIES + "/archive",
    SERIES + "/instances",
    SERIES + "/metadata",
    SERIES + "/thumbnail",
    INSTANCE,
    INSTANCE + "/metadata",
    "/studies/{study_uid}/rendered",
    SERIES + "/rendered",
    INSTANCE + "/rendered",
    INSTANCE + "/thumbnail",
    INSTANCE + "/bulkdata/{path:path}",
    INSTANCE + "/frames/{frames}",
    INSTANCE + "/frames/{frame}/rendered",
    INSTANCE + "/frames/{frame}/thumbnail",
)
TABLE |= {
    f"GET {root}{path}": IMAGES for root in ("/dicom-web", "/dicom-web/sites/{site_id}") for path in DICOMWEB
}
TABLE |= {
    f"POST {root}{path}": "TDS"
    for root in ("/dicom-web", "/dicom-web/sites/{site_id}")
    for path in ("/studies", STUDY)
}

ENDLESS = "/events"
"""Streams of news: a permitted call does not return."""


def addresses(routes: Any, prefix: str = "") -> Iterator[tuple[str, str, APIRoute]]:
    """Yield (method, whole path, route) of every route, those of included routers too."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from addresses(included.routes, prefix + route.include_context.prefix)
        elif isinstance(route, APIRoute):
            yield from ((method, prefix + route.path, route) for method in sorted(route.methods))


def filled(path: str, values: dict[str, str], otherwise: str = "1.2.3") -> str:
    """Put values into a path's parameters."""
    parts = []
    for part in path.split("/"):
        name = part[1:-1].partition(":")[0] if part.startswith("{") else ""
        parts.append(values.get(name, otherwise) if name else part)
    return "/".join(parts)


@pytest.fixture(scope="module")
def county(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, password_hash: str
) -> Iterator[World]:
    """One county for the whole table."""
    folder = tmp_path_factory.mktemp("permissions")
    shutil.copyfile(sqlite_template, folder / "hub.db")
    clock, database = TestClock(), Database(f"sqlite:///{folder / 'hub.db'}")
    settings = Settings(data_dir=folder, database_url=database.url)
    yield build(Context(settings, database, MemoryStore(), clock), clock, password_hash, PEOPLE)
    database.dispose()


def caller(world: World, letter: str) -> TestClient:
    """A client that calls as the person or machine of a letter."""
    client = world.client(PERSONS.get(letter))
    if letter in MACHINES:
        client.headers["Authorization"] = f"Bearer {world.token(MACHINES[letter], 'DP')}"
    return client


def routes_of(world: World) -> dict[str, APIRoute]:
    return {f"{method} {path}": route for method, path, route in addresses(world.app.routes)}


def test_the_table_is_complete(county: World) -> None:
    assert sorted(routes_of(county)) == sorted(TABLE)


@pytest.mark.parametrize("letter", CALLERS)
def test_every_route_lets_in_whom_the_table_names(county: World, letter: str) -> None:
    client, wrong = caller(county, letter), []
    for name, route in routes_of(county).items():
        method, path = name.split(" ")
        allowed = letter in TABLE.get(name, "")
        if allowed and path.endswith(ENDLESS):
            role = next(role for role in Role if letter in PERSONS and role is PEOPLE[PERSONS[letter]][1])
            if not GRANTS[role] & set(guard_of(route.dependant) or ()):
                wrong.append((name, "guard"))
            continue
        answer = client.request(method, filled(path, {}))
        if path == "/logout" and letter in PERSONS:
            as_user(client, PERSONS[letter])
        if not fits(answer, letter, allowed=allowed):
            wrong.append((name, answer.status_code))
    assert wrong == []


def fits(answer: Any, letter: str, *, allowed: bool) -> bool:
    """Tell whether an answer is what the table expects."""
    to_login = answer.status_code == 303 and answer.headers["location"].startswith("/login")
    if allowed:
        return answer.status_code not in (401, 403) and (not to_login or answer.url.path == "/logout")
    if letter == NOBODY:
        return answer.status_code == 401 or to_login
    return bool(answer.status_code == 403)
