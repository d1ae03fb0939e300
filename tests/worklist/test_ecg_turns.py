"""Whose ECG is analysed next, the processes that do it. Oracle: by hand."""

import threading
from concurrent.futures import Future
from datetime import UTC, datetime

import pytest

from hub.ecg.analysis.analyse import analyse
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Waveform
from hub.worklist.ecg_analysis import Person
from hub.worklist.ecg_turns import Analyst, AnalystGone, Turns
from hub.worklist.models import EcgAnalysis
from tests.ecg.records import ludb
from tests.fixtures.world import World

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


class Noting(Analyst):
    """Notes the order in which it is asked, and waits to be let go before the first."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.go, self.begun = threading.Event(), threading.Semaphore(0)

    def row(self, what: tuple) -> EcgAnalysis:
        with self.turn:
            self.begun.release()
            self.go.wait(30)
            self.asked.append(what[1])
            raise AnalystGone


class Queue:
    """Turns of two analysts that note, and names sent to them."""

    def __init__(self, world: World) -> None:
        self.pressing, self.routine = Noting(), Noting()
        self.turns = Turns(self.pressing, self.routine)
        self._context, self._waveform = world.context, read_ecg(ludb(64))

    def sent(self, name: str, *, pressing: float = 0.0) -> "Future[EcgAnalysis | None]":
        context, waveform = self._context, self._waveform
        return self.turns.submit(context, "study", name, waveform, Person(), NOW, pressing=pressing)


def test_what_presses_most_is_first_then_the_newest(sqlite_world: World) -> None:
    queue = Queue(sqlite_world)
    answers = [queue.sent("at work")]
    queue.routine.begun.acquire(timeout=30)
    answers += [queue.sent("old"), queue.sent("pain", pressing=2.0)]
    queue.pressing.begun.acquire(timeout=30)
    answers += [queue.sent("new"), queue.sent("a little", pressing=1.0), queue.sent("little", pressing=1.0)]
    answers += [queue.sent("much", pressing=3.0)]
    queue.pressing.go.set()
    assert [answers[place].result(30) for place in (2, 4, 5, 6)] == [None] * 4
    assert queue.pressing.asked == ["pain", "much", "a little", "little"]
    assert queue.routine.asked == []
    queue.routine.go.set()
    assert [answer.result(30) for answer in answers] == [None] * 7
    assert queue.routine.asked == ["at work", "new", "old"]


def test_what_is_routine_waits_while_much_presses(sqlite_world: World) -> None:
    """The second analyst helps with what presses least, but leaves the first one its next."""
    queue = Queue(sqlite_world)
    answers = [queue.sent("at work", pressing=1.0)]
    queue.pressing.begun.acquire(timeout=30)
    answers += [queue.sent("routine")]
    queue.routine.begun.acquire(timeout=30)
    answers += [queue.sent(name, pressing=far) for name, far in (("far", 3.0), ("near", 1.0), ("mid", 2.0))]
    answers += [queue.sent("newer")]
    queue.routine.go.set()
    assert [answers[place].result(30) for place in (1, 3, 4, 5)] == [None] * 4
    assert queue.routine.asked == ["routine", "near", "mid", "newer"]
    queue.pressing.go.set()
    assert [answer.result(30) for answer in answers] == [None] * 6
    assert queue.pressing.asked == ["at work", "far"]


def test_too_many_leave_those_that_waited_longest_to_the_job_but_nothing_that_presses(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.worklist.ecg_turns.WAITING_AT_MOST", 2)
    queue = Queue(sqlite_world)
    at_work = [queue.sent("one"), queue.sent("two", pressing=1.0)]
    for analyst in (queue.routine, queue.pressing):
        analyst.begun.acquire(timeout=30)
    names = ("pain 1", "old", "pain 2", "new", "pain 3", "newest")
    answers = [queue.sent(name, pressing=float(name.startswith("pain"))) for name in names]
    assert [answer.done() for answer in answers] == [False, True, False, False, False, False]
    assert answers[1].result() is None
    assert queue.turns.waiting() == 5
    for analyst in (queue.routine, queue.pressing):
        analyst.go.set()
    assert [answer.result(30) for answer in at_work + answers] == [None] * 8
    assert sorted(queue.pressing.asked + queue.routine.asked) == sorted(
        ["one", "two", *names[:1], *names[2:]]
    )


def test_samples_of_few_are_held_and_the_others_are_read_again(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.worklist.ecg_turns.HELD_AT_MOST", 1)
    read: list[str] = []

    def read_again(_context: object, _study: str, source_id: str) -> Waveform:
        read.append(source_id)
        return read_ecg(ludb(64))

    monkeypatch.setattr("hub.worklist.ecg_analysis.read_again", read_again)
    queue = Queue(sqlite_world)
    answers = [queue.sent("at work")]
    queue.routine.begun.acquire(timeout=30)
    answers += [queue.sent("old"), queue.sent("new")]
    queue.routine.go.set()
    assert [answer.result(30) for answer in answers] == [None] * 3
    assert (queue.routine.asked, read) == (["at work", "new", "old"], ["old"])


def test_its_own_process_says_the_same_and_one_that_ends_is_replaced() -> None:
    analyst, waveform = Analyst(), read_ecg(ludb(64))
    what = ("study", "source", waveform, Person("F", 60.0), "national_2017", NOW)
    here = analyst.row(what)
    analyst.start("warning", "json")
    try:
        there = analyst.row(what)
        assert analyst._process is not None
        analyst._process.kill()
        analyst._process.join()
        with pytest.raises(AnalystGone):
            analyst.row(what)
        again = analyst.row(what)
    finally:
        analyst.stop()
    direct = analyse(waveform, sex="F", age_years=60.0)
    for row in (here, there, again):
        assert (row.document, row.verdict, row.error) == (here.document, direct.quality.verdict, "")
