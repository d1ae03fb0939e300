"""Writers of one SQLite file that wait in the hub's queue, beside others that wait as SQLite lets them.

Each writes one row a transaction, as fast as it gets its turn. Figures are printed, never judged.
"""

import json
import sys
import threading
import time
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
import sqlalchemy as sa

from hub.db.engine import make_engine
from hub.db.session import Database

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]

PROCESSES, THREADS, SECONDS, ROUNDS = 3, 3, 4.0, 2


def write(url: str, *, queued: bool) -> list[float]:
    """Write from several threads for a while; return how long each transaction waited for its turn, in s."""
    database, waits = Database(url), list[float]()
    until = time.monotonic() + SECONDS

    def one() -> None:
        while time.monotonic() < until:
            begun = time.perf_counter()
            with database.engine.connect() as connection:
                if not queued:
                    connection.connection.driver_connection.queue = None  # type: ignore[union-attr]
                with connection.begin():
                    waits.append(time.perf_counter() - begun)
                    connection.execute(sa.text("INSERT INTO line (text) VALUES ('one row of a county')"))
            time.sleep(0.001)

    threads = [threading.Thread(target=one) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits


def test_waiting_for_a_turn(tmp_path: Path) -> None:
    """The two ways take turns, each time on a new file."""
    seen: dict[str, list[float]] = {"queued": [], "sqlite": []}
    for number in range(ROUNDS):
        for way, waits in seen.items():
            url = f"sqlite:///{tmp_path / f'{way}{number}.db'}"
            with make_engine(url).begin() as connection:
                connection.execute(sa.text("CREATE TABLE line (id INTEGER PRIMARY KEY, text VARCHAR)"))
            writers = [
                Popen([sys.executable, "-m", __spec__.name, url, way], stdout=PIPE, text=True)
                for _ in range(PROCESSES)
            ]
            for writer in writers:
                answer, _ = writer.communicate(timeout=60)
                waits.extend(json.loads(answer))
    figures = {way: told(sorted(waits)) for way, waits in seen.items()}
    figures["ratio"] = {
        "rate": round(figures["queued"]["per_s"] / figures["sqlite"]["per_s"], 2),
        "longest_wait": round(figures["queued"]["max_ms"] / figures["sqlite"]["max_ms"], 3),
    }
    print(json.dumps(figures))


def told(waits: list[float]) -> dict[str, float]:
    """Return the rate, and percentiles of the waits in ms."""
    return {
        "per_s": round(len(waits) / (ROUNDS * SECONDS), 1),
        "median_ms": round(waits[len(waits) // 2] * 1e3, 2),
        "p99_ms": round(waits[int(len(waits) * 0.99)] * 1e3, 1),
        "max_ms": round(waits[-1] * 1e3, 1),
    }


if __name__ == "__main__":
    print(json.dumps(write(sys.argv[1], queued=sys.argv[2] == "queued")))
