"""Worker threads for requests that are answered in one step.

anyio's way into a thread and back takes longer than a third of what the event loop does
for such a request; a queue and a future do the same.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

from anyio import CapacityLimiter, WouldBlock, to_thread

Result = TypeVar("Result")


class _Work(NamedTuple):
    """A call, and who waits for what comes of it."""

    call: Callable[[], Any]
    context: Context
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    limiter: CapacityLimiter


class Threads:
    """As many threads as calls were ever made at once; they end with the process.

    All threads that answer requests share one limit, anyio's: what is called here counts
    there, and waits when that many are at work.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Work] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._busy = 0

    async def run(self, call: Callable[..., Result], *args: Any) -> Result:
        """Call a function in a thread, with the caller's context variables; return what it returns."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        limiter = to_thread.current_default_thread_limiter()
        try:
            limiter.acquire_on_behalf_of_nowait(future)
        except WouldBlock:
            await limiter.acquire_on_behalf_of(future)
        self._add()
        self._queue.put(_Work(lambda: call(*args), copy_context(), loop, future, limiter))
        return await future

    def _add(self) -> None:
        with self._lock:
            self._busy += 1
            if self._busy <= self._threads:
                return
            self._threads += 1
        threading.Thread(target=self._serve, name="answering", daemon=True).start()

    def _serve(self) -> None:
        while True:
            self._do(self._queue.get())

    def _do(self, work: _Work) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = work.context.run(work.call)
        except StopIteration as error:  # no future takes it
            failure = RuntimeError("StopIteration")
            failure.__cause__ = error
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is waited for
            failure = error
        with self._lock:
            self._busy -= 1
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            work.loop.call_soon_threadsafe(_settle, work, result, failure)


def _settle(work: _Work, result: Any, failure: BaseException | None) -> None:
    """Hand over what came of a call; the thread's place is free again even if nobody waits."""
    work.limiter.release_on_behalf_of(work.future)
    if work.future.cancelled():
        return
    if failure is None:
        work.future.set_result(result)
    else:
        work.future.set_exception(failure)


threads = Threads()
