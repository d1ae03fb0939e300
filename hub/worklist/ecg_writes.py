"""Writing of ECGs, those that wait together: one transaction and one sync of the disk for several.

The first one that comes leads: it commits for all that wait while more gather. With one ECG
nothing waits and nothing is slower. What presses goes by itself, ahead of everything else, so
that it waits for no more than the transaction that is under way.
"""

import heapq
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from hub.context import Context

MOST_AT_ONCE = 8
"""Routine writes in one transaction: what presses may have to wait for it."""

T = TypeVar("T")


@dataclass(order=True)
class _Asked:
    """One write; the smallest is next."""

    order: tuple[bool, int]
    context: Context = field(compare=False)
    work: Callable[[Session], Any] = field(compare=False)
    done: bool = field(default=False, compare=False)
    result: Any = field(default=None, compare=False)
    error: BaseException | None = field(default=None, compare=False)


class Writes:
    """Writes that wait for their turn in this process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Asked] = []
        self._numbers = count()
        self._led = False

    def write(self, context: Context, work: Callable[[Session], T], *, pressing: bool = False) -> T:
        """Run `work` within a transaction; return what it returned once that is committed.

        Parameters
        ----------
        work : callable
            Takes a session. It may be called again after it was rolled back, when another write
            of the same transaction failed.
        pressing : bool
            It goes before what does not press, in a transaction without it.

        Raises
        ------
        HubError, Exception
            Whatever `work` raises, or `DatabaseUnavailable`; others are not harmed by it.
        """
        mine = _Asked((not pressing, next(self._numbers)), context, work)
        with self._changed:
            heapq.heappush(self._waiting, mine)
            self._changed.wait_for(lambda: mine.done or not self._led)
            self._led = not mine.done or self._led
        if not mine.done:
            self._lead(mine)
        if mine.error is not None:
            raise mine.error
        result: T = mine.result
        return result

    def _lead(self, mine: _Asked) -> None:
        try:
            while not mine.done:
                self._serve(self._next())
        finally:
            with self._changed:
                self._led = False
                self._changed.notify_all()

    def _serve(self, together: list[_Asked]) -> None:
        try:
            _commit(together)
        finally:
            with self._changed:
                for each in together:
                    each.done = True
                self._changed.notify_all()

    def _next(self) -> list[_Asked]:
        """Return what goes into the next transaction."""
        with self._changed:
            together = [heapq.heappop(self._waiting)]
            first = together[0]
            while self._waiting and len(together) < MOST_AT_ONCE:
                following = self._waiting[0]
                if following.context is not first.context or following.order[0] != first.order[0]:
                    break
                together.append(heapq.heappop(self._waiting))
            return together


def _commit(together: list[_Asked]) -> None:
    """Write several in one transaction; should one of them fail, each by itself."""
    try:
        with together[0].context.db.transaction() as session:
            results = [each.work(session) for each in together]
    except Exception as error:  # noqa: BLE001 - raised again by who asked for it
        if len(together) == 1:
            together[0].error = error
            return
        for each in together:
            _commit([each])
        return
    except BaseException as error:
        for each in together:
            each.error = error
        raise
    for each, result in zip(together, results, strict=True):
        each.result = result


WRITES = Writes()
"""Those of this process."""
