"""Sending the objects of one task over associations, byte for byte as they came."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import structlog

from hub.catalogue.models import Instance
from hub.context import Context
from hub.dicom import forward, nodes
from hub.dicom.exchange_repository import NodeRepository
from hub.dicom.forward import Outcome, Step
from hub.dicom.listening import TlsMisconfigured
from hub.dicom.sending import accepted_context, batches, object_pieces, proposal
from hub.dicom.stored import ObjectDamaged
from hub.dicom.wire import status as statuses
from hub.dicom.wire.association import Association
from hub.dicom.wire.errors import (
    AssociationEnded,
    MessageTooLarge,
    PeerRefused,
    PeerUnreachable,
    ProtocolError,
)
from hub.dicom.wire.requestor import connect
from hub.errors import DatabaseUnavailable, Malformed, Unsupported
from storage.errors import StorageError

log = structlog.get_logger()

SLICE_SECONDS = 60.0
"""After this a run hands over between two tasks, so that other nodes get their turn."""
PATIENCE_SECONDS = 60.0
"""A node that is silent for so long is given up for this time."""
NOTE_OBJECTS = 20
NOTE_SECONDS = 2.0
"""What a node has taken is written down after so many objects or seconds."""
BEAT_SECONDS = 10.0
"""How often a run gives a sign of life while one object is under way."""


class _Stopped(Exception):
    """The task was taken from this run."""


def look_after_node(context: Context, node_id: str, run_id: str) -> None:
    """Send what waits for a node, task after task, until nothing is due or the time is over."""
    with context.db.transaction() as session:
        if not forward.take_node(session, node_id, run_id, now=context.clock()):
            return
    ends = time.monotonic() + SLICE_SECONDS
    while (step := _next_step(context, node_id, run_id)) is not None:
        outcome = _tried(context, step)
        log.info(
            "forward_tried", task=step.task_id, node=node_id, outcome=outcome.kind, trouble=outcome.trouble
        )
        with context.db.transaction() as session:
            forward.conclude(session, step, outcome, now=context.clock())
        if time.monotonic() > ends:
            _hand_over(context, node_id, run_id)
            return


def _next_step(context: Context, node_id: str, run_id: str) -> Step | None:
    with context.db.reading() as session:
        node = NodeRepository(session).node(node_id)
    addresses = nodes.addresses_of([node.host] if node else [])
    with context.db.transaction() as session:
        return forward.next_step(session, node_id, run_id, addresses, now=context.clock())


def _hand_over(context: Context, node_id: str, run_id: str) -> None:
    with context.db.transaction() as session:
        node = NodeRepository(session).lock(node_id)
        if node is not None and node.runner == run_id:
            node.runner, node.runner_until = "", None
            nodes.wake(session, node_id)


def _tried(context: Context, step: Step) -> Outcome:
    try:
        return send(context, step)
    except DatabaseUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - one task must not hold up the others
        log.error("forward_crashed", task=step.task_id, error=type(error).__name__)  # noqa: TRY400 - the text may quote an object
        return Outcome("again", "internal")


def send(context: Context, step: Step) -> Outcome:
    """Send what is left of a task, over as many associations as its kinds of objects need."""
    later = never = ""
    for batch in batches(step.objects):
        sending = _Sending(context, step)
        outcome = sending.run(batch)
        if outcome is not None:
            return outcome
        later, never = later or sending.later, never or sending.never
    if later:
        return Outcome("again", later)
    return Outcome("failed", never) if never else Outcome("done")


@dataclass
class _Sending:
    """One association's worth of a task."""

    context: Context
    step: Step
    taken: list[str] = field(default_factory=list)
    """Objects that the node has taken and that are not written down yet."""
    later: str = ""
    """First trouble that may pass."""
    never: str = ""
    """First trouble that will not pass by itself."""
    noted: float = field(default_factory=time.monotonic)

    def run(self, objects: Sequence[Instance]) -> Outcome | None:
        """Send objects; an outcome when the whole task must stop for now."""
        try:
            association = connect(
                nodes.target_of(self.step.node, self.context.settings),
                proposal(objects),
                timeout_seconds=PATIENCE_SECONDS,
            )
        except (PeerUnreachable, PeerRefused, TlsMisconfigured) as error:
            return Outcome("away", nodes.trouble_of(error))
        outcome: Outcome | None = Outcome("again", "broken")
        try:
            outcome = self._send_all(association, objects)
            self._note()
        except _Stopped:
            outcome = Outcome("stopped")
        except (AssociationEnded, ProtocolError, MessageTooLarge) as error:
            outcome = Outcome("again", nodes.trouble_of(error))
        except StorageError:
            outcome = Outcome("again", "store_away")
        finally:
            if outcome is None:
                association.release()
            else:
                association.abort()
        if outcome is not None and outcome.kind == "again" and self.taken:
            self._write_down()
        return outcome

    def _send_all(self, association: Association, objects: Sequence[Instance]) -> Outcome | None:
        for one in objects:
            trouble = self._send_one(association, one)
            if trouble:
                return Outcome("again", trouble)
            if len(self.taken) >= NOTE_OBJECTS or time.monotonic() - self.noted > NOTE_SECONDS:
                self._note()
        return None

    def _send_one(self, association: Association, one: Instance) -> str:
        """Send one object; return a trouble that will meet the next one as well, else nothing."""
        accepted = accepted_context(association, one)
        if accepted is None:
            self.never = self.never or f"class_refused:{one.sop_class}"
            return ""
        try:
            pieces = self._beating(object_pieces(self.context, one, accepted.transfer_syntax))
            first = next(pieces, b"")
        except ObjectDamaged:
            self.never = self.never or f"damaged:{one.sop_uid}"
            return ""
        except (Unsupported, Malformed):
            self.never = self.never or f"syntax_refused:{one.transfer_syntax}"
            return ""
        answer = association.store(
            accepted, sop_class=one.sop_class, sop_instance=one.sop_uid, pieces=chain((first,), pieces)
        )
        trouble, kind = judge(answer)
        if not trouble:
            self.taken.append(one.id)
        elif kind == "stop":
            return trouble
        elif kind == "later":
            self.later = self.later or trouble
        else:
            self.never = self.never or trouble
        return ""

    def _beating(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield pieces, giving signs of life in between: one object may take minutes."""
        for piece in pieces:
            if time.monotonic() - self.noted > BEAT_SECONDS:
                self._note()
            yield piece

    def _note(self) -> None:
        """Write down what was taken and give a sign of life.

        Raises
        ------
        _Stopped
            The task was cancelled, the node held back or removed, or another run has taken over.
        """
        if not self._write_down():
            raise _Stopped

    def _write_down(self) -> bool:
        with self.context.db.transaction() as session:
            goes_on = forward.note_sent(session, self.step, self.taken, now=self.context.clock())
        self.taken, self.noted = [], time.monotonic()
        return goes_on


def judge(answer: int) -> tuple[str, str]:
    """Say what a C-STORE status means for the object (PS3.4 Table B.2-1, PS3.7 annex C).

    Returns
    -------
    trouble, kind : tuple of str
        Empty when the node has the object. Else the trouble, and ``stop`` when the next
        object would meet it too, ``later`` when it may pass, ``never`` when it will not.
    """
    code = f"{answer:04X}"
    if answer in {statuses.SUCCESS, statuses.DUPLICATE_INSTANCE} or statuses.is_warning(answer):
        return "", ""
    if code.startswith("A7"):
        return f"full:{code}", "stop"
    if answer == statuses.NOT_AUTHORISED:
        return f"forbidden:{code}", "stop"
    if code.startswith("A9") or answer in {
        statuses.CLASS_NOT_SUPPORTED,
        statuses.NO_SUCH_CLASS,
        statuses.CLASS_INSTANCE_CONFLICT,
    }:
        return f"mismatch:{code}", "never"
    if code.startswith("C"):
        return f"not_understood:{code}", "later"
    return f"status:{code}", "later"
