"""Calls in worker threads; what they should do is what anyio's do."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
from anyio import to_thread

from hub.web.threads import Threads

language: ContextVar[str] = ContextVar("language", default="")
Ways = Callable[..., Coroutine[Any, Any, Any]]


@pytest.fixture(params=["anyio", "ours"])
def run(request: pytest.FixtureRequest) -> Ways:
    """The two ways into a thread."""
    return to_thread.run_sync if request.param == "anyio" else Threads().run


class Broken(Exception):
    """What a call raises."""


def test_it_runs_in_another_thread_with_its_arguments_and_the_callers_context(run: Ways) -> None:
    async def main() -> tuple[Any, ...]:
        language.set("zh")
        return await run(lambda *given: (threading.get_ident(), language.get(), *given), 1, 2)  # type: ignore[no-any-return]

    thread, *rest = asyncio.run(main())
    assert thread != threading.get_ident()
    assert rest == ["zh", 1, 2]


def test_what_it_sets_stays_with_it(run: Ways) -> None:
    async def main() -> str:
        await run(language.set, "en")
        return language.get()

    assert asyncio.run(main()) == ""


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_what_it_raises_is_raised_where_it_is_waited_for(run: Ways, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error("why")

    async def main() -> str:
        try:
            await run(fail)
        except error as caught:
            return str(caught)
        return "nothing"

    assert asyncio.run(main()) == "why"


def test_an_exhausted_iterator_is_an_error_too() -> None:
    async def main() -> None:
        await Threads().run(next, iter(()))

    with pytest.raises(RuntimeError):
        asyncio.run(main())


def test_no_more_run_at_once_than_all_requests_may(run: Ways) -> None:
    running, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(2, timeout=20)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait()
        with lock:
            running -= 1

    async def main() -> None:
        to_thread.current_default_thread_limiter().total_tokens = 2
        await asyncio.gather(*(run(work) for _ in range(6)))
        assert to_thread.current_default_thread_limiter().borrowed_tokens == 0

    asyncio.run(main())
    assert most == 2


def test_who_stops_waiting_leaves_no_place_taken() -> None:
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(20)

    async def main() -> None:
        limiter = to_thread.current_default_thread_limiter()
        limiter.total_tokens = 1
        waiting = asyncio.create_task(Threads().run(work))
        await asyncio.to_thread(begun.wait, 20)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert limiter.borrowed_tokens == 1, "the call is still running"
        go.set()
        async with limiter:  # there is one place only
            pass

    asyncio.run(main())


def test_a_thread_serves_one_call_after_the_other() -> None:
    ours = Threads()

    async def main() -> set[int]:
        return {await ours.run(threading.get_ident) for _ in range(20)}

    assert len(asyncio.run(main())) == 1


def test_a_loop_that_ended_does_not_end_the_thread() -> None:
    ours, go = Threads(), threading.Event()

    async def leave() -> None:
        waiting = asyncio.create_task(ours.run(go.wait, 20))
        await asyncio.sleep(0.01)
        waiting.cancel()

    asyncio.run(leave())
    go.set()

    async def again() -> int:
        return await ours.run(sum, (1, 2))

    assert asyncio.run(again()) == 3
