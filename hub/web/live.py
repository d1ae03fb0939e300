"""News for open pages: written with the change, seen by every web process within a moment.

A change publishes a row in its own transaction. Each web process has one thread that
looks for new rows a few times a second and hands them to the pages it serves, so that a
hundred open worklists cost the database no more than one.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from hub.db.session import Database
from hub.kit.clock import utcnow
from hub.web import repository

log = structlog.get_logger()

RESYNC = "live:resync"
"""Topic told to a page that missed something: it should load its content anew."""

_GAP_SECONDS = 60.0
_GAP_LIMIT = 5000
_BACKLOG = 1000


@dataclass(frozen=True)
class LiveEvent:
    """One piece of news. `ids` are row ids, never content: the page asks for what it may see."""

    topic: str
    site_id: str | None
    ids: dict[str, Any]


Wanted = Callable[[LiveEvent], bool]


def publish(session: Session, topic: str, *, site_id: str | None, **ids: Any) -> None:
    """Tell open pages of a change, when and only when the caller's transaction commits.

    Parameters
    ----------
    topic : str
        ``room:noun``, for example ``worklist:exam``.
    site_id : str or None
        Site whose people may hear of it beside the centre's; None for the centre only.
    **ids
        Plain JSON values; row ids.
    """
    repository.add_news(session, at=utcnow(), topic=topic, site_id=site_id, ids=ids)


class Subscription:
    """The news of one open page; a context manager that ends with the page.

    Use `get` from a thread or `next` from a coroutine, not both.
    """

    def __init__(self, feed: "LiveFeed", wanted: Wanted) -> None:
        self._feed = feed
        self._wanted = wanted
        self._events: deque[LiveEvent] = deque()
        self._condition = threading.Condition()
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._closed = False

    def __enter__(self) -> Self:
        self._feed.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed.remove(self)

    def offer(self, event: LiveEvent) -> None:
        """Queue `event` when the page wants it; a page that does not keep up is told to start over."""
        if event.topic != RESYNC and not self._wanted(event):
            return
        with self._condition:
            if len(self._events) >= _BACKLOG:
                self._events.clear()
                event = LiveEvent(RESYNC, None, {})
            self._events.append(event)
            self._wake()

    def close(self) -> None:
        """Wake whoever waits: the feed ends."""
        with self._condition:
            self._closed = True
            self._wake()

    @property
    def closed(self) -> bool:
        """Whether the feed has ended: nothing more will come."""
        return self._closed

    def get(self, timeout: float) -> LiveEvent | None:
        """Wait up to `timeout` seconds for the next event; None when there was none, or the feed ended."""
        with self._condition:
            self._condition.wait_for(lambda: self._events or self._closed, timeout)
            return self._events.popleft() if self._events else None

    async def next(self, timeout: float) -> LiveEvent | None:  # noqa: ASYNC109 - the same contract as get()
        """Do the same from a coroutine, without holding a thread."""
        arrived = asyncio.Event()
        with self._condition:
            if self._events:
                return self._events.popleft()
            if self._closed:
                return None
            self._waiter = (asyncio.get_running_loop(), arrived)
        try:
            await asyncio.wait_for(arrived.wait(), timeout)
        except TimeoutError:
            return None
        finally:
            with self._condition:
                self._waiter = None
        with self._condition:
            return self._events.popleft() if self._events else None

    def _wake(self) -> None:
        self._condition.notify_all()
        if self._waiter is not None:
            loop, arrived = self._waiter
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrived.set)


class LiveFeed:
    """The one looker of a web process.

    Parameters
    ----------
    database : Database
    interval : float
        Seconds between looks.
    """

    def __init__(self, database: Database, interval: float = 0.2) -> None:
        self._database = database
        self._interval = interval
        self._subscriptions: set[Subscription] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._last = 0
        self._gaps: dict[int, float] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin with what is published from now on."""
        with self._database.reading() as session:
            self._last = repository.last_number(session)
            floor = max(0, self._last - 100)
            present = repository.numbers_after(session, floor)
        self._note_gaps(set(range(floor + 1, self._last + 1)) - present)
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="live-feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wake every page."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None
        with self._lock:
            for subscription in self._subscriptions:
                subscription.close()

    def subscribe(self, wanted: Wanted) -> Subscription:
        """Return the news that `wanted` says yes to, as a context manager.

        `wanted` decides what this page's user may hear of. It runs in the feed's thread,
        so it must be quick and must not ask the database.
        """
        return Subscription(self, wanted)

    def add(self, subscription: Subscription) -> None:
        """Begin to serve a page."""
        with self._lock:
            self._subscriptions.add(subscription)
        if self._stop.is_set():
            subscription.close()

    def remove(self, subscription: Subscription) -> None:
        """Cease to serve a page."""
        with self._lock:
            self._subscriptions.discard(subscription)

    def _run(self) -> None:
        away = False
        while not self._stop.wait(self._interval):
            try:
                events = self._look()
            except SQLAlchemyError as error:
                if not away:
                    log.warning("live_feed_database_away", error=type(error).__name__)
                away = True
                continue
            if away:
                # Rows may have been purged meanwhile: let every page start over.
                events.insert(0, LiveEvent(RESYNC, None, {}))
                away = False
            if events:
                self._hand_out(events)

    def _look(self) -> list[LiveEvent]:
        """Return what is new.

        PostgreSQL gives out numbers before transactions commit, so a lower number may appear
        after a higher one. Numbers that were passed over are looked for again for a minute,
        which no transaction of the hub outlives; those that were rolled back never come.
        """
        with self._database.reading() as session:
            rows = repository.news_after(session, self._last, self._gaps.keys())
        for row in rows:
            self._gaps.pop(row.id, None)
        if rows and rows[-1].id > self._last:
            passed = set(range(self._last + 1, rows[-1].id)) - {row.id for row in rows}
            self._last = rows[-1].id
            self._note_gaps(passed)
        edge = time.monotonic() - _GAP_SECONDS
        self._gaps = {number: noted for number, noted in self._gaps.items() if noted > edge}
        return [LiveEvent(row.topic, row.site_id, row.ids) for row in rows]

    def _note_gaps(self, numbers: set[int]) -> None:
        now = time.monotonic()
        newest = sorted(numbers)[-_GAP_LIMIT:]
        self._gaps.update(dict.fromkeys(newest, now))

    def _hand_out(self, events: list[LiveEvent]) -> None:
        with self._lock:
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            for event in events:
                try:
                    subscription.offer(event)
                except Exception as error:
                    log.exception("live_filter_failed", error=type(error).__name__)
                    self.remove(subscription)
                    subscription.close()
                    break
