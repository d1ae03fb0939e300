"""One transaction for what many associations have received, so that the catalogue is not the limit.

A commit costs a sync of the log, whether it holds one row or fifty. Each thread that has
made its object durable leaves it here; the first one in becomes the leader and commits
for all that have gathered, while the next ones gather. With one association nothing
waits and nothing is slower; with many, one sync serves them all.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from hub.catalogue.arrivals import Arrival
from hub.catalogue.service import Outcome
from hub.catalogue.twins import enter
from hub.context import Context

MOST_AT_ONCE = 64
"""Objects in one transaction: SQLite's write lock should not be held for long."""


@dataclass(slots=True)
class _Ticket:
    arrival: Arrival
    outcome: Outcome | None = None
    error: BaseException | None = None

    @property
    def settled(self) -> bool:
        return self.outcome is not None or self.error is not None


class GroupCommit:
    """Enters received objects into the catalogue, as many in one transaction as have gathered."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._gathering = threading.Lock()
        self._leading = threading.Lock()
        self._waiting: list[_Ticket] = []

    def register(self, arrival: Arrival) -> Outcome:
        """Enter one object whose bytes are durable; return once its row is committed.

        Raises
        ------
        HubError
            Its row could not be written; that of others was, all the same.
        """
        ticket = _Ticket(arrival)
        with self._gathering:
            self._waiting.append(ticket)
        with self._leading:
            while not ticket.settled:  # more may have gathered than one transaction takes
                self._commit_gathered()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.outcome is not None  # settled, and without an error
        return ticket.outcome

    def _commit_gathered(self) -> None:
        with self._gathering:
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
        try:
            outcomes = self._enter([ticket.arrival for ticket in batch])
        except Exception as error:  # noqa: BLE001 - one bad object must not take the others with it
            if len(batch) == 1:
                batch[0].error = error
                return
            for ticket in batch:
                self._alone(ticket)
            return
        for ticket, outcome in zip(batch, outcomes, strict=True):
            ticket.outcome = outcome

    def _alone(self, ticket: _Ticket) -> None:
        try:
            (ticket.outcome,) = self._enter([ticket.arrival])
        except Exception as error:  # noqa: BLE001 - it is raised again where the object came in
            ticket.error = error

    def _enter(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        return enter(self._context, arrivals, now=self._context.clock())
