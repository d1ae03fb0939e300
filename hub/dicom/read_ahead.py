"""Neighbours of what a viewer asked for, read and checked before it asks for them.

A reader scrolls: who asked for one image of a series asks for the next one a moment
later. Reading an object as a whole and holding it against its SHA-256 takes longer than
all the rest of the answer, and can be done in that moment. It is done by one thread that
gives up as soon as anything is being answered: who asks for several images at a time, or
a hub that is busy, gains nothing from it. Nothing leaves because of it: each request
finds out by itself who asks, whether they may, and where the object lies.
"""

import threading
import time
from collections import deque
from types import TracebackType
from typing import NamedTuple, Self

import structlog
from sqlalchemy.exc import SQLAlchemyError

from hub.catalogue.models import Instance
from hub.catalogue.places import place_of
from hub.catalogue.retrieval_repository import neighbours
from hub.context import Context
from hub.dicom.retrieve import open_image
from hub.dicom.stored import KEPT_SIZE, checked
from hub.errors import HubError
from storage.errors import StorageError

log = structlog.get_logger()

AHEAD, BEHIND = 3, 1
"""Images by Instance Number."""
MOST_AT_ONCE = AHEAD + BEHIND + 1
WAITING = 8
"""Viewers that are remembered at a time; older ones are let go of."""
PAUSE_SECONDS = 0.001
"""Time in which an answer that is made is also sent."""


class _Asked(NamedTuple):
    series_id: str
    number: int


class ReadAhead:
    """The thread that reads ahead, and what it is told.

    Used as a context manager it reads nothing more while the body runs. Until `start` it
    takes no notice of anything.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._answering = 0
        self._lock = threading.Lock()
        self._asked: deque[_Asked] = deque(maxlen=WAITING)
        self._news = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        with self._lock:
            self._answering += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._answering -= 1

    def start(self) -> None:
        """Start the thread."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread once the object it reads is read."""
        self._stop.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def after(self, instance: Instance) -> None:
        """Take note, while answering, that an image was asked for; its neighbours may be next."""
        if self._thread is None or self._answering > 1:
            return
        if instance.number is None or instance.size > KEPT_SIZE:
            return
        self._asked.append(_Asked(instance.series_id, instance.number))
        self._news.set()

    def read_neighbours(self, series_id: str, number: int) -> None:
        """Read and check the images around a number of a series, as long as nothing is being answered."""
        if self._answering:
            return
        around = (number - BEHIND, number + AHEAD)
        for instance in neighbours(self._context.db, series_id, around, MOST_AT_ONCE):
            place = place_of(instance)
            if instance.size > KEPT_SIZE or checked.knows(self._context.store, place):
                continue
            if self._answering or self._stop.is_set():
                return
            with open_image(self._context, instance):
                pass

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            while self._asked and not self._stop.is_set():
                time.sleep(PAUSE_SECONDS)
                try:
                    self.read_neighbours(*self._asked.pop())
                except (HubError, StorageError, SQLAlchemyError) as error:
                    # Whoever asks for the object itself is told.
                    log.info("not_read_ahead", cause=type(error).__name__)
            if self._stop.is_set():
                return
