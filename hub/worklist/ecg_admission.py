"""Who is let in when more ECGs arrive than can be taken in at once: first looks, then a few at a time.

All of it runs in the loop of the web process. Those who wait hold no thread and no processor.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

ROUTINE_AT_ONCE = 6
"""Routine ECGs that are taken in at the same time: enough to be entered together, few enough to overtake."""


class Admission:
    """The door of one web process.

    Parameters
    ----------
    at_once : int
        Routine ECGs inside at the same time.
    """

    def __init__(self, at_once: int = ROUTINE_AT_ONCE) -> None:
        self._at_once = at_once
        self._one_look = asyncio.Semaphore(1)
        self._looking = 0
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def look(self) -> AsyncIterator[None]:
        """Look at one ECG after the other; while there are any to look at, nothing routine is let in.

        Many threads that compute at once would each be late, and the one that cannot wait may be
        among those that nobody has looked at.
        """
        self._looking += 1
        try:
            async with self._one_look:
                yield
        finally:
            self._looking -= 1
            self._let_in()

    @asynccontextmanager
    async def routine(self) -> AsyncIterator[None]:
        """Wait to be let in, in the order of arrival; what is urgent does not come here."""
        admitted = asyncio.get_running_loop().create_future()
        self._waiting.append(admitted)
        self._let_in()
        try:
            await admitted
            yield
        finally:
            if admitted.done() and not admitted.cancelled():
                self._inside -= 1
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._inside < self._at_once and not self._looking:
            admitted = self._waiting.popleft()
            if not admitted.done():  # else its sender has hung up
                self._inside += 1
                admitted.set_result(None)
