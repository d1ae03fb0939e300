"""Whose ECG is analysed next: what presses most, then the newest; processes of their own do the work.

Nothing is kept here that is not durable already. What is lost with this process, or stays behind
when very many more ECGs arrive than can be analysed, is taken up by `worklist.analyse_left`.
"""

import heapq
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import structlog

from hub.context import Context
from hub.ecg.waveform import Waveform
from hub.errors import Retriable
from hub.kit import log as logging
from hub.kit.clock import utcnow
from hub.worklist import ecg_analysis
from hub.worklist.ecg_analysis import Person
from hub.worklist.ecg_look import pressure
from hub.worklist.ecg_writes import WRITES
from hub.worklist.models import EcgAnalysis

log = structlog.get_logger()

HELD_AT_MOST = 128
"""ECGs whose samples are held in memory, half a megabyte each; those of others are read again."""

WAITING_AT_MOST = 10_000
"""ECGs that wait here; should more come, the one that has waited longest is left to the job."""

LEFT_SECONDS = 60.0
"""Of an ECG that has waited longer, the job may have seen to it."""

HUNG_SECONDS = 60.0

ORPHAN_SECONDS = 2.0
"""So long a process that analyses may outlive the one that it works for."""

BEHIND = 10
"""By so much the process of routine analyses stands behind all others (nice): they never hold up intake."""


class AnalystGone(Retriable):
    """The process that analyses ended in the middle of it."""


class Analyst:
    """Analyses one ECG at a time: in a process of its own once `start` was called, before that in this one.

    In one process with everything else, each analysis would hold up the pages and the next sender.

    Parameters
    ----------
    behind : int
        By how much its process lets others go first when the processor is wanted (nice).
    """

    def __init__(self, behind: int = 0) -> None:
        self._behind = behind
        self.turn = threading.Lock()
        self._pipe: Connection | None = None
        self._process: Any = None
        self._settings: tuple[Any, ...] | None = None

    def start(self, level: str, style: str) -> None:
        """Start the process as a copy of this one, which must not do two things at a time yet.

        `level` and `style` are those of its log.
        """
        with self.turn:
            self._settings = (level, style)
            self._begin("fork")

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
            self._begin("spawn")  # by now a fork would copy threads' locks as they stand
        assert self._pipe is not None  # begun just now
        self._pipe.send(what)
        if not self._pipe.poll(HUNG_SECONDS):
            raise EOFError
        columns: dict[str, Any] = self._pipe.recv()
        return columns

    def _begin(self, method: Literal["fork", "spawn"]) -> None:
        context: Any = multiprocessing.get_context(method)
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(theirs, os.getpid(), self._behind, *(self._settings or ())),
            name="ecg-analyst",
            daemon=True,
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


def _serve(pipe: Connection, parent: int, behind: int, level: str, style: Any) -> None:
    """Analyse what comes through the pipe until the process at its other end is gone."""
    os.nice(behind)
    Path("/proc/self/comm").write_text("hub-ecg-analyst")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.configure(level, style)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    columns = [column.name for column in EcgAnalysis.__table__.columns if column.name != "id"]
    load_engine()
    while True:
        try:
            while not pipe.poll(ORPHAN_SECONDS):
                if os.getppid() != parent:  # a forked sister may hold a copy of the other end for ever
                    return
            row = ecg_analysis.make(*pipe.recv())
            pipe.send({name: getattr(row, name) for name in columns})
        except (EOFError, OSError):
            return


@dataclass(order=True)
class _Waiting:
    """One ECG in the queue; of those that press the smallest is next."""

    order: tuple[float, int]
    context: Context = field(compare=False)
    study_id: str = field(compare=False)
    source_id: str = field(compare=False)
    waveform: Waveform | None = field(compare=False)
    """None once too many are held: it is read again."""
    person: Person = field(compare=False)
    now: datetime = field(compare=False)
    answer: "Future[EcgAnalysis | None]" = field(compare=False)
    since: float = field(compare=False)

    @property
    def pressing(self) -> bool:
        """Whether it goes before all that are routine."""
        return self.order[0] < 0


class Turns:
    """ECGs that wait to be analysed, and the threads that see to it.

    Parameters
    ----------
    pressing, routine : Analyst
        What presses has a process to itself: it waits for nothing that is routine, nor for a processor.
        Of what presses, the second takes the rest while the first is busy.
    """

    def __init__(self, pressing: Analyst, routine: Analyst) -> None:
        self.analysts = {True: pressing, False: routine}
        self._pressing: list[_Waiting] = []
        self._routine: deque[_Waiting] = deque()
        self._held: deque[_Waiting] = deque()
        self._numbers = count()
        self._changed = threading.Condition()
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
        pressing: float,
    ) -> "Future[EcgAnalysis | None]":
        """Have an ECG analysed and the result stored; the answer is None when that is left to the job.

        Of what presses (`pressing` above 0) that which presses most is first, of equals the oldest.
        Of the others the newest is: its sender still waits for the answer, and the patient is still
        on the couch.
        """
        order = (-pressing, next(self._numbers))
        waiting = _Waiting(
            order, context, study_id, source_id, waveform, person, now, Future(), time.monotonic()
        )
        with self._changed:
            if waiting.pressing:
                heapq.heappush(self._pressing, waiting)
            else:
                self._routine.append(waiting)
            if len(self._routine) > WAITING_AT_MOST:
                self._routine.popleft().answer.set_result(None)
            self._held.append(waiting)
            if len(self._held) > HELD_AT_MOST:
                self._held.popleft().waveform = None
            self._employ()
            self._changed.notify_all()
        return waiting.answer

    def waiting(self) -> int:
        """Return how many ECGs wait here."""
        with self._changed:
            return len(self._pressing) + len(self._routine)

    def _employ(self) -> None:
        if not self._threads:
            for first in self.analysts:
                thread = threading.Thread(target=self._work, args=(first,), name="ecg-turns", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self, first: bool) -> None:
        """Serve what presses most; or, not `first`, what presses least of what waits, then the others."""
        while True:
            with self._changed:
                while (waiting := self._next(first)) is None:
                    self._changed.wait()
                waveform, waiting.waveform = waiting.waveform, None
            waiting.answer.set_result(self._served(self.analysts[first], waiting, waveform))

    def _next(self, first: bool) -> _Waiting | None:
        if first:
            return heapq.heappop(self._pressing) if self._pressing else None
        if len(self._pressing) > 1:  # more than the other one will take up in a moment
            least = max(self._pressing)
            self._pressing.remove(least)
            heapq.heapify(self._pressing)
            return least
        return self._routine.pop() if self._routine else None

    def _served(self, analyst: Analyst, waiting: _Waiting, waveform: Waveform | None) -> EcgAnalysis | None:
        context, study_id, source_id = waiting.context, waiting.study_id, waiting.source_id
        begun = time.monotonic()
        try:
            if begun - waiting.since > LEFT_SECONDS and (row := ecg_analysis.stored(context, source_id)):
                return row
            waveform = waveform or ecg_analysis.read_again(context, study_id, source_id)
            profile = context.settings.ecg_profile
            what = (study_id, source_id, waveform, waiting.person, profile, waiting.now)
            row = analyst.row(what)
            made = time.monotonic()
            WRITES.write(
                context,
                lambda session: ecg_analysis.keep(session, context, [row], study_id),
                pressing=waiting.pressing,
            )
        except Exception as error:  # the thread must not end; the ECG is durable and the job sees to it
            log.exception("ecg_analysis_not_kept", source_id=source_id, error=type(error).__name__)
            return None
        log.info(
            "ecg_analysed",
            source_id=source_id,
            pressing=waiting.pressing,
            waited=round(begun - waiting.since, 3),
            made=round(made - begun, 3),
            kept=round(time.monotonic() - made, 3),
        )
        return row


TURNS = Turns(Analyst(), Analyst(BEHIND))
"""The queues of this process."""


def start_analysts(level: str, style: str) -> None:
    """Start the processes that analyse, before this one has threads; nothing waits until they are ready."""
    for analyst in TURNS.analysts.values():
        analyst.start(level, style)


def load_engine() -> None:
    """Load all that a first look at an ECG and its analysis need, by doing both once."""
    from hub.ecg.analysis.analyse import DEFAULT_PROFILE

    ecg = ecg_analysis.made_up()
    pressure(ecg)
    ecg_analysis.make("", "", ecg, Person(), DEFAULT_PROFILE, utcnow())


def warm_up() -> None:
    """Load what a first look needs, which is all that this process does itself; nothing waits for it."""
    threading.Thread(target=lambda: pressure(ecg_analysis.made_up()), name="ecg-warm-up", daemon=True).start()
