"""News for open pages: only what was committed, all of it, soon."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from hub.context import Context
from hub.db.session import Database
from hub.kit.clock import utcnow
from hub.web import live, repository
from hub.web.live import RESYNC, LiveEvent, LiveFeed, Subscription, publish
from hub.web.tasks import purge_news


@pytest.fixture
def feed(database: Database) -> Iterator[LiveFeed]:
    with LiveFeed(database, interval=0.05) as feed:
        yield feed


def everything(_: LiveEvent) -> bool:
    return True


def tell(database: Database, number: int, site_id: str | None = None) -> None:
    with database.transaction() as session:
        publish(session, "worklist:exam", site_id=site_id, number=number)


def numbers(subscription: Subscription, count: int) -> list[int]:
    events = [subscription.get(5) for _ in range(count)]
    return [event.ids["number"] for event in events if event is not None]


class TestFeed:
    def test_a_page_hears_within_half_a_second(self, database: Database) -> None:
        with LiveFeed(database) as feed, feed.subscribe(everything) as page:
            waits = []
            for number in range(5):
                tell(database, number, "site")
                written = time.monotonic()
                assert page.get(5) == LiveEvent("worklist:exam", "site", {"number": number})
                waits.append(time.monotonic() - written)
        assert sorted(waits)[2] < 0.5, waits

    def test_what_is_rolled_back_is_never_heard_of(self, database: Database, feed: LiveFeed) -> None:
        with feed.subscribe(everything) as page:
            with suppress(ZeroDivisionError), database.transaction() as session:
                publish(session, "worklist:exam", site_id=None, number=1)
                raise ZeroDivisionError
            tell(database, 2)
            assert numbers(page, 1) == [2]
            assert page.get(0.2) is None

    def test_every_page_hears_what_it_may(self, database: Database, feed: LiveFeed) -> None:
        with (
            feed.subscribe(everything) as centre,
            feed.subscribe(lambda event: event.site_id == "a") as site,
        ):
            for number, site_id in enumerate(["a", "b", None, "a"]):
                tell(database, number, site_id)
            assert numbers(centre, 4) == [0, 1, 2, 3]
            assert numbers(site, 2) == [0, 3]
            assert site.get(0.2) is None

    def test_what_was_said_before_is_not_repeated(self, database: Database) -> None:
        tell(database, 1)
        with LiveFeed(database, interval=0.05) as feed, feed.subscribe(everything) as page:
            tell(database, 2)
            assert numbers(page, 1) == [2]

    def test_a_lower_number_that_is_committed_later_is_heard(
        self, database: Database, feed: LiveFeed
    ) -> None:
        if database.engine.dialect.name == "sqlite":
            pytest.skip("SQLite has one writer at a time, so numbers are committed in order")
        with feed.subscribe(everything) as page:
            with database.transaction() as slow:
                publish(slow, "worklist:exam", site_id=None, number=1)
                slow.flush()
                tell(database, 2)
                assert numbers(page, 1) == [2]
            assert numbers(page, 1) == [1]
            assert page.get(0.2) is None

    def test_one_under_way_when_the_feed_starts_is_heard(self, database: Database) -> None:
        if database.engine.dialect.name == "sqlite":
            pytest.skip("SQLite has one writer at a time, so numbers are committed in order")
        with database.transaction() as slow:
            publish(slow, "worklist:exam", site_id=None, number=1)
            slow.flush()
            tell(database, 2)
            feed = LiveFeed(database, interval=0.05)
            feed.start()
            page = feed.subscribe(everything)
            feed.add(page)
        assert numbers(page, 1) == [1]
        feed.stop()

    def test_many_writers_lose_nothing(self, database: Database, feed: LiveFeed) -> None:
        with feed.subscribe(everything) as page:
            threads = [
                threading.Thread(target=lambda base=base: [tell(database, base + n) for n in range(20)])
                for base in range(0, 160, 20)
            ]
            for thread in threads:
                thread.start()
            heard = numbers(page, 160)
            for thread in threads:
                thread.join()
        assert sorted(heard) == list(range(160))

    def test_numbers_go_on_after_all_news_was_deleted(self, database: Database, feed: LiveFeed) -> None:
        with feed.subscribe(everything) as page:
            tell(database, 1)
            assert numbers(page, 1) == [1]
            with database.transaction() as session:
                assert repository.purge_news(session, utcnow() + timedelta(minutes=1)) == 1
            tell(database, 2)
            assert numbers(page, 1) == [2]

    def test_old_news_is_purged_and_new_is_kept(self, context: Context) -> None:
        with context.db.transaction() as session:
            repository.add_news(session, at=utcnow() - timedelta(hours=1), topic="t", site_id=None, ids={})
            publish(session, "t", site_id=None)
        purge_news(context)
        with context.db.reading() as session:
            assert len(repository.news_after(session, 0, [])) == 1


class TestPage:
    def test_a_coroutine_waits_without_a_thread(self, database: Database, feed: LiveFeed) -> None:
        async def page() -> list[LiveEvent | None]:
            with feed.subscribe(everything) as subscription:
                assert await subscription.next(0.05) is None
                later = asyncio.to_thread(tell, database, 1)
                heard, _ = await asyncio.gather(subscription.next(5), later)
                await asyncio.to_thread(tell, database, 2)
                return [heard, await subscription.next(5)]

        heard = asyncio.run(page())
        assert [event.ids["number"] for event in heard if event is not None] == [1, 2]

    def test_a_page_that_does_not_keep_up_is_told_to_start_over(
        self, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live, "_BACKLOG", 3)
        page = LiveFeed(sqlite_database).subscribe(everything)
        for number in range(4):
            page.offer(LiveEvent("t", None, {"number": number}))
        event = page.get(0)
        assert event is not None
        assert event.topic == RESYNC
        assert page.get(0) is None

    def test_the_end_of_the_feed_wakes_a_waiting_page(self, sqlite_database: Database) -> None:
        feed = LiveFeed(sqlite_database, interval=0.05)
        feed.start()
        with feed.subscribe(everything) as page:
            threading.Timer(0.1, feed.stop).start()
            began = time.monotonic()
            assert page.get(10) is None
            assert time.monotonic() - began < 5
            assert page.closed

    def test_a_filter_that_fails_ends_its_page_only(self, sqlite_database: Database) -> None:
        with (
            LiveFeed(sqlite_database, interval=0.05) as feed,
            feed.subscribe(lambda event: 1 // len(event.topic[:0]) > 0) as broken,
            feed.subscribe(everything) as other,
        ):
            tell(sqlite_database, 1)
            assert numbers(other, 1) == [1]
            assert broken.get(1) is None
            assert broken.closed
