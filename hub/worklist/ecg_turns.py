"""Whose ECG is analysed next: what presses first, then the newest; the work is done in a process of its own.

Nothing is kept here that is not durable already. What is lost with this process, or stays behind
when more ECGs arrive than can be analysed, is taken up by `worklist.analyse_left`.
"""

import heapq
import multiprocessing
import signal
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

import structlog

from hub.context import Context
from hub.ecg.waveform import Waveform
from hub.errors import Retriable
from hub.kit import log as logging
from hub.kit.clock import utcnow
from hub.worklist import ecg_analysis
from hub.worklist.ecg_analysis import Person
from hub.worklist.ecg_look import suspicious
from hub.worklist.models import EcgAnalysis

log = structlog.get_logger()

WAITING_AT_MOST = 128
"""ECGs whose samples are held in memory, half a megabyte each; the least pressing is let go."""

LEFT_SECONDS = 60.0
"""An ECG that has waited longer is left to the job."""

HUNG_SECONDS = 60.0
THREADS = 2
"""While one stores what was found, the other has the next analysed."""


class AnalystGone(Retriable):
    """The process that analyses ended in the middle of it."""


class Analyst:
    """Analyses one ECG at a time: in a process of its own once `start` was called, before that in this one.

    In one process with everything else, each analysis would hold up the pages and the next sender.
    """

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self._pipe: Connection | None = None
        self._process: Any = None
        self._settings: tuple[Any, ...] | None = None

    def start(self, level: str, style: str) -> None:
        """Start the process; `level` and `style` are those of its log."""
        with self.turn:
            self._settings = (level, style)
            self._begin()

    def stop(self) -> None:
        """End the process; later analyses are made in this one."""
        with self.turn:
            self._settings = None
            self._end()

    def row(self, what: tuple[Any, ...]) -> EcgAnalysis:
        """Return the analysis; `what` are the arguments of `ecg_analysis.make`.

        Raises
        ------
        AnalystGone
            The process ended, or did not come to an end; another one has been started.
        """
        with self.turn:
            if self._settings is None:
                return ecg_analysis.make(*what)
            try:
                return EcgAnalysis(**self._asked(what))
            except (EOFError, OSError) as error:
                self._end()
                raise AnalystGone from error

    def _asked(self, what: tuple[Any, ...]) -> dict[str, Any]:
        if self._pipe is None:
            self._begin()
        assert self._pipe is not None  # begun just now
        self._pipe.send(what)
        if not self._pipe.poll(HUNG_SECONDS):
            raise EOFError
        columns: dict[str, Any] = self._pipe.recv()
        return columns

    def _begin(self) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork would copy threads' locks as they stand
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=_serve, args=(theirs, *(self._settings or ())), name="ecg-analyst", daemon=True
        )
        self._process.start()
        theirs.close()

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._pipe = self._process = None


def _serve(pipe: Connection, level: str, style: Any) -> None:
    """Analyse what comes through the pipe until its other end is gone."""
    from hub.ecg.analysis.analyse import DEFAULT_PROFILE

    logging.configure(level, style)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    columns = [column.name for column in EcgAnalysis.__table__.columns if column.name != "id"]
    ecg_analysis.make("", "", ecg_analysis.made_up(), Person(), DEFAULT_PROFILE, utcnow())  # loads the engine
    while True:
        try:
            row = ecg_analysis.make(*pipe.recv())
            pipe.send({name: getattr(row, name) for name in columns})
        except (EOFError, OSError):
            return


@dataclass(order=True)
class _Waiting:
    """One ECG in the queue; the smallest is next."""

    order: tuple[int, int]
    context: Context = field(compare=False)
    what: tuple[Any, ...] = field(compare=False)
    answer: "Future[EcgAnalysis | None]" = field(compare=False)
    since: float = field(compare=False)


class Turns:
    """ECGs that wait to be analysed, and the threads that see to it."""

    def __init__(self, analyst: Analyst) -> None:
        self.analyst = analyst
        self._heap: list[_Waiting] = []
        self._changed = threading.Condition()
        self._numbers = count(1)
        self._threads: list[threading.Thread] = []

    def submit(  # noqa: PLR0917 - what is analysed, whose it is, and how much it presses
        self,
        context: Context,
        study_id: str,
        source_id: str,
        waveform: Waveform,
        person: Person,
        now: datetime,
        *,
        pressing: bool,
    ) -> "Future[EcgAnalysis | None]":
        """Have an ECG analysed and the result stored; the answer is None when that is left to the job.

        Of what presses the oldest is first. Of the others the newest is: its sender still waits
        for the answer, and the patient is still on the couch.
        """
        number = next(self._numbers)
        what = (study_id, source_id, waveform, person, context.settings.ecg_profile, now)
        order = (0, number) if pressing else (1, -number)
        waiting = _Waiting(order, context, what, Future(), time.monotonic())
        with self._changed:
            heapq.heappush(self._heap, waiting)
            if len(self._heap) > WAITING_AT_MOST:
                last = max(self._heap)
                self._heap.remove(last)
                heapq.heapify(self._heap)
                last.answer.set_result(None)
            self._employ()
            self._changed.notify()
        return waiting.answer

    def _employ(self) -> None:
        while len(self._threads) < THREADS:
            thread = threading.Thread(target=self._work, name="ecg-turns", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._heap:
                    self._changed.wait()
                waiting = heapq.heappop(self._heap)
            waiting.answer.set_result(self._served(waiting))

    def _served(self, waiting: _Waiting) -> EcgAnalysis | None:
        if time.monotonic() - waiting.since > LEFT_SECONDS:
            return None
        study_id, source_id = waiting.what[:2]
        begun = time.monotonic()
        try:
            row = self.analyst.row(waiting.what)
            made = time.monotonic()
            with waiting.context.db.transaction() as session:
                ecg_analysis.keep(session, waiting.context, [row], study_id)
        except Exception as error:  # the thread must not end; the ECG is durable and the job sees to it
            log.exception("ecg_analysis_not_kept", source_id=source_id, error=type(error).__name__)
            return None
        log.info(
            "ecg_analysed",
            source_id=source_id,
            pressing=waiting.order[0] == 0,
            waited=round(begun - waiting.since, 3),
            made=round(made - begun, 3),
            kept=round(time.monotonic() - made, 3),
        )
        return row


TURNS = Turns(Analyst())
"""The queue of this process."""


def warm_up(level: str, style: str) -> None:
    """Start the process that analyses, and load what a first look needs, without waiting for either."""

    def load() -> None:
        TURNS.analyst.start(level, style)
        suspicious(ecg_analysis.made_up())

    threading.Thread(target=load, name="ecg-warm-up", daemon=True).start()
