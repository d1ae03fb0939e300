"""Whose ECG is analysed next, the process that does it, the first look. Oracle: by hand."""

import re
import threading
from datetime import UTC, datetime

import numpy as np
import pytest

from hub.ecg.analysis.analyse import analyse
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Waveform
from hub.worklist.ecg_analysis import Person
from hub.worklist.ecg_look import suspicious
from hub.worklist.ecg_turns import Analyst, AnalystGone, Turns
from hub.worklist.models import EcgAnalysis
from tests.ecg.records import ludb
from tests.fixtures.world import World

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def at(hz: bytes) -> Waveform:
    files = dict(ludb(64))
    files["ludb_64.hea"] = re.sub(rb"^(\S+ 12) 500", rb"\1 " + hz, files["ludb_64.hea"])
    return read_ecg(files)


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


def test_what_presses_goes_first_then_the_newest(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.worklist.ecg_turns.THREADS", 1)
    analyst = Noting()
    turns, waveform = Turns(analyst), at(b"500")

    def sent(name: str, *, pressing: bool = False) -> object:
        return turns.submit(sqlite_world.context, "study", name, waveform, Person(), NOW, pressing=pressing)

    answers = [sent("at work")]
    analyst.begun.acquire(timeout=30)
    answers += [sent("old"), sent("pain", pressing=True), sent("new"), sent("slow", pressing=True)]
    analyst.go.set()
    assert [answer.result(30) for answer in answers] == [None] * 5
    assert analyst.asked == ["at work", "pain", "slow", "new", "old"]


def test_too_many_leave_the_least_pressing_to_the_job(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.worklist.ecg_turns.THREADS", 0)
    monkeypatch.setattr("hub.worklist.ecg_turns.WAITING_AT_MOST", 2)
    turns, waveform = Turns(Analyst()), at(b"500")
    answers = [
        turns.submit(sqlite_world.context, "study", name, waveform, Person(), NOW, pressing=name == "pain")
        for name in ("pain", "old", "new")
    ]
    assert [answer.done() for answer in answers] == [False, True, False]
    assert answers[1].result() is None


def test_its_own_process_says_the_same_and_one_that_ends_is_replaced() -> None:
    analyst, waveform = Analyst(), at(b"500")
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


class TestFirstLook:
    @pytest.mark.parametrize(("hz", "stands_out"), [(b"200", True), (b"500", False), (b"1250", True)])
    def test_rate(self, hz: bytes, stands_out: bool) -> None:
        """65 beats a minute as recorded; 26 and 163 under another sampling rate."""
        assert suspicious(at(hz)) is stands_out

    def test_pause_and_gross_st(self) -> None:
        waveform = at(b"500")
        assert suspicious(self.changed(waveform, self.without_beats))
        assert suspicious(self.changed(waveform, self.with_st))

    def test_nothing_but_a_line(self) -> None:
        assert suspicious(Waveform(np.zeros((5000, 2)), 500.0, ("I", "II"), "made"))

    def changed(self, waveform: Waveform, change: object) -> Waveform:
        samples = waveform.samples_mv.copy()
        change(samples, analyse(waveform).measurement.beats)
        return Waveform(samples, waveform.rate_hz, waveform.leads, "made")

    def without_beats(self, samples: np.ndarray, _beats: object) -> None:
        samples[2000:3300] = samples[2000]

    def with_st(self, samples: np.ndarray, beats: list) -> None:
        for beat in beats:
            samples[beat.sample + 25 : beat.sample + 125, 6:9] += 0.5
