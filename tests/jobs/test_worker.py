"""Real workers: DBOS dispatches, processes are killed, others take over. On both databases."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hub.config import Settings
from hub.context import Context
from hub.db.session import Database
from hub.jobs import board
from hub.jobs.queue import enqueue, prepare
from hub.jobs.worker import Pace, run_worker
from storage.memory import MemoryStore
from tests.fixtures.database import PostgresServer
from tests.jobs import handlers
from tests.jobs.handlers import effect_keys, start_times


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def status_of(database: Database, job_id: str) -> str:
    with database.reading() as session:
        return board.get_job(session, job_id).status


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(
    request: pytest.FixtureRequest, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A database that one worker, in a thread of this process, serves for all tests here."""
    folder = tmp_path_factory.mktemp("served")
    server: PostgresServer | None = None
    if request.param == "sqlite":
        file = folder / "hub.db"
        file.write_bytes(sqlite_template.read_bytes())
        url = f"sqlite:///{file}"
    else:
        server = request.getfixturevalue("postgres_server")
        url = server.fresh()
    database = Database(url)
    handlers.metadata.create_all(database.engine)
    context = Context(Settings(data_dir=folder, database_url=url), database, MemoryStore())
    stop = threading.Event()
    with handlers.registered():
        thread = threading.Thread(
            target=run_worker, args=(context, stop, "here"), kwargs={"pace": Pace(tick=0.1, drain=2)}
        )
        thread.start()
        yield database
        stop.set()
        thread.join(timeout=60)
        assert not thread.is_alive()
    database.dispose()
    if server is not None:
        server.drop(url)


class TestServed:
    def test_a_job_starts_within_a_third_of_a_second(self, served: Database) -> None:
        prepare(served.engine)
        waits = []
        wait_for(lambda: start_times(served, "tick"))
        for number in range(5):
            with served.transaction() as session:
                enqueue(session, "test.effect", key=f"quick-{number}")
            written = time.time()
            wait_for(lambda key=f"quick-{number}": start_times(served, key))
            waits.append(start_times(served, f"quick-{number}")[0] - written)
        assert sorted(waits)[2] < 0.3, waits

    def test_what_is_rolled_back_never_runs(self, served: Database) -> None:
        with suppress(ZeroDivisionError), served.transaction() as session:
            enqueue(session, "test.effect", key="rolled-back")
            raise ZeroDivisionError
        with served.transaction() as session:
            enqueue(session, "test.effect", key="after")
        wait_for(lambda: "after" in effect_keys(served))
        assert "rolled-back" not in effect_keys(served)

    def test_the_heavy_queue_is_served(self, served: Database) -> None:
        with served.transaction() as session:
            job_id = enqueue(session, "test.heavy", key="heavy")
        wait_for(lambda: status_of(served, job_id) == "done")

    def test_a_job_enqueues_the_next(self, served: Database) -> None:
        with served.transaction() as session:
            enqueue(session, "test.chain", key="c")
        wait_for(lambda: "c-next" in effect_keys(served))

    def test_retries_wait_longer_each_time(self, served: Database) -> None:
        with served.transaction() as session:
            job_id = enqueue(session, "test.flaky", key="flaky", failures=2)
        wait_for(lambda: status_of(served, job_id) == "done")
        first, second, third = start_times(served, "flaky")
        assert second - first >= 1.0
        assert third - second >= 2.0
        with served.reading() as session:
            assert board.get_job(session, job_id).attempts == 3

    def test_a_hopeless_job_is_listed_and_says_nothing_of_its_data(
        self, served: Database, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with served.transaction() as session:
            job_id = enqueue(session, "test.hopeless", key="hopeless")
        wait_for(lambda: status_of(served, job_id) == "failed")
        with served.reading() as session:
            row = next(row for row in board.stuck_jobs(session) if row.id == job_id)
        assert row.error == "ValueError"
        captured = capfd.readouterr()
        assert "ZZSECRET" not in captured.out + captured.err
        with served.transaction() as session:
            board.retry(session, job_id)
        wait_for(lambda: len(start_times(served, "hopeless")) == 2)
        wait_for(lambda: status_of(served, job_id) == "failed")

    def test_a_delay_is_kept(self, served: Database) -> None:
        with served.transaction() as session:
            enqueue(session, "test.effect", delay_seconds=1.5, key="delayed")
        written = time.time()
        wait_for(lambda: start_times(served, "delayed"))
        assert 1.4 <= start_times(served, "delayed")[0] - written < 6.0

    def test_joined_jobs_run_once(self, served: Database) -> None:
        for _ in range(5):
            with served.transaction() as session:
                job_id = enqueue(session, "test.effect", delay_seconds=0.5, once_key="j", key="joined")
        wait_for(lambda: status_of(served, job_id) == "done")
        assert len(start_times(served, "joined")) == 1

    def test_a_schedule_ticks(self, served: Database) -> None:
        wait_for(lambda: len(start_times(served, "tick")) >= 3)
        times = start_times(served, "tick")
        assert len(times) <= times[-1] - times[0] + 2


class Worker:
    """A worker process."""

    def __init__(self, url: str, executor: str, folder: Path) -> None:
        root = Path(__file__).parents[2]
        self.log = (folder / f"{executor}.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.worker_process", url, executor, str(folder)],
            cwd=root,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(root)},
        )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        finally:
            self.process.kill()
            self.process.wait()
            self.log.close()


@pytest.fixture
def start_worker(jobs_database: Database, tmp_path: Path) -> Iterator[Callable[[str], Worker]]:
    started: list[Worker] = []

    def start(executor: str) -> Worker:
        url = jobs_database.engine.url.render_as_string(hide_password=False)
        started.append(Worker(url, executor, tmp_path))
        return started[-1]

    yield start
    for worker in started:
        worker.end()


@pytest.mark.parametrize("successor", ["first", "second"], ids=["restarted", "taken-over"])
def test_a_killed_workers_jobs_finish_exactly_once(
    jobs_database: Database, start_worker: Callable[[str], Worker], tmp_path: Path, successor: str
) -> None:
    """SIGKILL before and after the effect is committed; by the same worker again, and by another."""
    go = str(tmp_path / "go")
    with jobs_database.transaction() as session:
        ids = [
            enqueue(session, "test.hang", key="before", go=go, effect_first=False),
            enqueue(session, "test.hang", key="after", go=go, effect_first=True),
        ]
    first = start_worker("first")
    wait_for(lambda: start_times(jobs_database, "before") and start_times(jobs_database, "after"), 60)
    first.kill()
    assert effect_keys(jobs_database) == ["after"]
    assert {status_of(jobs_database, job_id) for job_id in ids} == {"running"}
    Path(go).touch()
    start_worker(successor)
    wait_for(lambda: all(status_of(jobs_database, job_id) == "done" for job_id in ids), 60)
    assert effect_keys(jobs_database) == ["after", "before"]
    assert len(start_times(jobs_database, "before")) == 2
    assert len(start_times(jobs_database, "after")) == 2
    with jobs_database.reading() as session:
        assert board.count_jobs(session)["test.hang", "done"] == 2
        assert [row.attempts for row in board.list_jobs(session, status="done") if row.id in ids] == [2, 2]
