"""One transaction for what many associations have received, so that the catalogue is not the limit.

A commit costs a sync of the log, whether it holds one row or fifty. A thread of its own
writes the rows of all objects that have gathered and commits them together; while it does,
the next ones gather.

Where the store is a disk of this machine, the rows of an object are written while its bytes
are being synced, and committed once they are: object first, row second, and yet at the same
time. A store that has to transfer the bytes is waited for beforehand, because a
transaction must not stay open that long.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hub.catalogue.arrivals import Arrival
from hub.catalogue.service import Outcome
from hub.catalogue.twins import enter
from hub.context import Context

MOST_AT_ONCE = 64
"""Objects in one transaction: SQLite's write lock should not be held for long."""


class _NotKept(Exception):
    """The bytes of an object of the batch did not become durable."""


@dataclass(slots=True)
class _Ticket:
    arrival: Arrival
    kept: threading.Event = field(default_factory=threading.Event)
    """Set once it is known whether the bytes are durable."""
    lost: bool = False
    """They are not."""
    settled: threading.Event = field(default_factory=threading.Event)
    outcome: Outcome | None = None
    error: BaseException | None = None


class GroupCommit:
    """Enters received objects into the catalogue, as many in one transaction as have gathered."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._gathered = threading.Condition()
        self._waiting: list[_Ticket] = []
        self._thread: threading.Thread | None = None

    def register(self, arrival: Arrival, keep: Callable[[], None]) -> Outcome:
        """Make one object durable and enter it; return once its row is committed.

        Parameters
        ----------
        keep : callable
            Makes the bytes durable under the key that the arrival names.

        Raises
        ------
        HubError
            What `keep` raises; or its row could not be written. That of others was, all the same.
        """
        ticket = _Ticket(arrival)
        if not self._context.store.local:
            keep()
            ticket.kept.set()
        self._submit(ticket)
        if not ticket.kept.is_set():
            try:
                keep()
            except BaseException:
                ticket.lost = True
                raise
            finally:
                ticket.kept.set()
        ticket.settled.wait()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.outcome is not None  # settled, and without an error
        return ticket.outcome

    def _submit(self, ticket: _Ticket) -> None:
        with self._gathered:
            self._waiting.append(ticket)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dicom-commit", daemon=True)
                self._thread.start()
            self._gathered.notify()

    def _run(self) -> None:
        while True:
            with self._gathered:
                self._gathered.wait_for(lambda: self._waiting)
                batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            self._enter(batch)

    def _enter(self, batch: Sequence[_Ticket]) -> None:
        """Enter a batch, one by one when it fails: one bad object must not take the others with it."""
        try:
            outcomes = enter(
                self._context,
                [ticket.arrival for ticket in batch],
                now=self._context.clock(),
                ready=lambda: _wait_until_kept(batch),
            )
        except Exception as error:  # noqa: BLE001 - it is raised again where the object came in
            if len(batch) > 1:
                for ticket in batch:
                    self._enter([ticket])
                return
            batch[0].error = error
        else:
            for ticket, outcome in zip(batch, outcomes, strict=True):
                ticket.outcome = outcome
        for ticket in batch:
            ticket.settled.set()


def _wait_until_kept(batch: Sequence[_Ticket]) -> None:
    for ticket in batch:
        ticket.kept.wait()
        if ticket.lost:
            raise _NotKept
