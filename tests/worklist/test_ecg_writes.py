"""What is written together, in which order, and what one that fails does to the others. Oracle: by hand."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from hub.context import Context
from hub.db.session import Database
from hub.errors import Conflict, DatabaseUnavailable
from hub.jobs.queue import gather
from hub.jobs.registry import load_tasks
from hub.jobs.testing import run_pending
from hub.kit.clock import utcnow
from hub.sites.models import Site
from hub.worklist import ecg_writes
from hub.worklist.ecg_writes import Writes
from tests.fixtures.world import World


class Crowd:
    """Writes from threads of their own, while the first one holds the turn."""

    def __init__(self, context: Context) -> None:
        self.writes, self._context = Writes(), context
        self.order: list[str] = []
        self.transactions: list[list[str]] = []
        self._pool = ThreadPoolExecutor(20)
        self._begun, self.go = threading.Event(), threading.Event()
        self._waits = self._submit("first", self._hold)
        assert self._begun.wait(30)

    def _hold(self, _session: Session) -> None:
        self._begun.set()
        self.go.wait(30)

    def add(
        self, name: str, work: Callable[[Session], Any] = lambda _session: None, *, pressing: bool = False
    ) -> "Future[Any]":
        before = len(self.writes._waiting)
        future = self._submit(name, work, pressing=pressing)
        while len(self.writes._waiting) == before:  # until it is in the queue
            threading.Event().wait(0.001)
        return future

    def _submit(self, name: str, work: Callable[[Session], Any], *, pressing: bool = False) -> "Future[Any]":
        def noted(session: Session) -> Any:
            if session.info.setdefault("names", []) == []:
                self.transactions.append(session.info["names"])
            session.info["names"].append(name)
            self.order.append(name)
            return work(session)

        return self._pool.submit(self.writes.write, self._context, noted, pressing=pressing)

    def end(self) -> None:
        self.go.set()
        self._waits.result(30)
        self._pool.shutdown()


@pytest.fixture
def crowd(sqlite_world: World, monkeypatch: pytest.MonkeyPatch) -> Crowd:
    monkeypatch.setattr(ecg_writes, "MOST_AT_ONCE", 3)
    return Crowd(sqlite_world.context)


def new_site(number: int) -> Callable[[Session], str]:
    def work(session: Session) -> str:
        row = Site(code=f"S{number}", number=number, name="站", active=True, created_at=utcnow())
        session.add(row)
        session.flush()
        return row.code

    return work


def codes(database: Database) -> set[str]:
    with database.reading() as session:
        return {code for code in session.scalars(select(Site.code)) if code.startswith("S")}


def test_what_waits_is_written_together_and_what_presses_before_it(crowd: Crowd) -> None:
    futures = [crowd.add(name) for name in ("a", "b", "c", "d")]
    futures += [crowd.add(name, pressing=True) for name in ("pain", "slow")]
    crowd.go.set()
    for future in futures:
        future.result(30)
    crowd.end()
    assert crowd.transactions == [["first"], ["pain", "slow"], ["a", "b", "c"], ["d"]]


def test_one_that_fails_takes_no_other_with_it(crowd: Crowd, sqlite_world: World) -> None:
    def refused(_session: Session) -> None:
        raise Conflict

    good = [crowd.add("801", new_site(801)), crowd.add("802", new_site(802))]
    bad = crowd.add("bad", refused)
    crowd.go.set()
    assert [future.result(30) for future in good] == ["S801", "S802"]
    with pytest.raises(Conflict):
        bad.result(30)
    crowd.end()
    assert codes(sqlite_world.context.db) == {"S801", "S802"}
    assert crowd.transactions[1:] == [["801", "802", "bad"], ["801"], ["802"], ["bad"]]


def test_nobody_is_told_before_it_is_committed(
    crowd: Crowd, sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the commit: every one of them hears of it, and nothing is there."""

    def full(_session: Session) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(Database, "before_commit", [*Database.before_commit, full])
    futures = [crowd.add("801", new_site(801)), crowd.add("802", new_site(802))]
    crowd.go.set()
    for future in futures:
        with pytest.raises(DatabaseUnavailable):
            future.result(30)
    monkeypatch.undo()
    assert codes(sqlite_world.context.db) == set()
    assert crowd.writes.write(sqlite_world.context, new_site(803)) == "S803"


def test_a_leader_that_is_torn_away_leaves_nobody_waiting(crowd: Crowd, sqlite_world: World) -> None:
    def torn(_session: Session) -> None:
        raise KeyboardInterrupt

    leader, other = crowd.add("torn", torn), crowd.add("other")
    crowd.go.set()
    for future in (leader, other):
        with pytest.raises(KeyboardInterrupt):
            future.result(30)
    crowd.end()
    assert crowd.writes.write(sqlite_world.context, new_site(801)) == "S801"


def test_the_same_on_both_databases(world: World) -> None:
    writes = Writes()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: writes.write(world.context, new_site(number)), range(800, 820)))
    assert set(found) == codes(world.context.db) == {f"S{number}" for number in range(800, 820)}
    with pytest.raises(IntegrityError):
        writes.write(world.context, new_site(800))


def test_small_jobs_of_one_transaction_are_one_job(world: World) -> None:
    def two(session: Session) -> None:
        gather(session, "catalogue.note_studies", "study_ids", "one")
        gather(session, "catalogue.note_studies", "study_ids", "two")

    load_tasks()
    Writes().write(world.context, two)
    (job,) = run_pending(world.context, only={"catalogue.note_studies"})
    assert (job.ids, job.outcome) == ({"study_ids": ["one", "two"]}, "done")
