"""How long searches take over the whole service, with ten thousand studies and with a million.

One JSON line for each database: medians and 95th percentiles in milliseconds, and how
much longer the large archive takes. ``HUB_BENCH_STUDIES`` sets its size. Figures are
printed, never judged: machines differ.
"""

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import quote

import pytest

from hub.auth import service as accounts
from hub.auth.actor import SYSTEM
from hub.auth.roles import Role
from tests.benchmarks.studies import Filled, day_of, fill, local_id
from tests.fixtures.database import PostgresServer
from tests.fixtures.hub_process import RunningHub, running_hub

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

SMALL = 10_000
LARGE = int(os.environ.get("HUB_BENCH_STUDIES", "1000000"))
REQUESTS, WARM_UP = 200, 20

Figures = dict[str, dict[str, float]]
Query = Callable[[Filled, int], str]

QUERIES: dict[str, Query] = {
    "patient_id": lambda filled, n: f"PatientID={local_id(n * 7919 % filled.patients)}",
    "accession": lambda filled, n: f"AccessionNumber=A{n * 7919 % filled.studies:09d}",
    "one_day": lambda filled, n: f"StudyDate={day_of(n * 7919 % filled.studies)}&limit=50",
    "days_and_modality": lambda filled, n: (
        f"StudyDate={day_of(0)}-{day_of(filled.studies - 1)}&ModalitiesInStudy={('CT', 'MG')[n % 2]}&limit=50"
    ),
    "name_prefix": lambda _, n: f"PatientName={quote(('WANG*', '王*')[n % 2])}&limit=50",
    "newest_100": lambda _filled, _n: "limit=100",
}


def token(hub: RunningHub, role: Role, site_id: str | None) -> str:
    """Make a machine's token."""
    with hub.context.db.transaction() as session:
        return accounts.create_token(
            session, role=role, site_id=site_id, label="bench", now=hub.context.clock(), actor=SYSTEM.ref
        )


def timed(port: int, secret: str, filled: Filled, query: Query) -> dict[str, float]:
    """Return median and 95th percentile of a search with changing values, on one kept connection."""
    took = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for number in range(WARM_UP + REQUESTS):
            begun = time.perf_counter()
            path = f"/dicom-web/studies?{query(filled, number)}"
            connection.request("GET", path, headers={"Authorization": f"Bearer {secret}"})
            answer = connection.getresponse()
            answer.read()
            took.append((time.perf_counter() - begun) * 1000)
            assert answer.status in {200, 204}, path
    counted = took[WARM_UP:]
    return {"median_ms": round(median(counted), 2), "p95_ms": round(quantiles(counted, n=20)[-1], 2)}


def measured(folder: Path, studies: int, **settings: str) -> dict[str, Figures]:
    """Fill a hub with studies, run it, and time every search for a centre's and a site's account."""
    with running_hub(folder, start=False, **settings) as hub:
        filled = fill(hub.context.settings.database, studies)
        secrets = {
            "centre": token(hub, Role.WRITER, None),
            "site": token(hub, Role.DOCTOR, filled.site_ids[3]),
        }
        hub.start()
        return {
            who: {name: timed(hub.web_port, secret, filled, query) for name, query in QUERIES.items()}
            for who, secret in secrets.items()
        }


@pytest.fixture(params=["sqlite", "postgresql"])
def settings_of(request: pytest.FixtureRequest) -> Iterator[Callable[[], dict[str, str]]]:
    """What makes a hub use a fresh database of either kind."""
    if request.param == "sqlite":
        yield dict
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    urls: list[str] = []

    def fresh() -> dict[str, str]:
        urls.append(server.empty())  # the hub makes its own tables
        return {"database_url": urls[-1]}

    yield fresh
    for url in urls:
        server.drop(url)


def test_searching_studies(
    tmp_path: Path, settings_of: Callable[[], dict[str, str]], request: pytest.FixtureRequest
) -> None:
    small = measured(tmp_path / "small", SMALL, **settings_of())
    large = measured(tmp_path / "large", LARGE, **settings_of())
    ratios = {
        who: {
            name: round(large[who][name]["median_ms"] / small[who][name]["median_ms"], 2) for name in QUERIES
        }
        for who in large
    }
    database = request.node.callspec.params["settings_of"]
    print(
        json.dumps(
            {"qido": database, "studies": [SMALL, LARGE], "small": small, "large": large, "ratio": ratios}
        )
    )
