"""Writing the audit trail, in the transaction of the change that it tells of."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from hub.audit import repository
from hub.audit.tags import Tag
from hub.db.engine import READ_ONLY
from hub.db.session import Database
from hub.db.writing import Transaction, joined_session
from hub.kit.clock import utcnow
from hub.kit.ids import new_id

_PENDING = "hub_audit_pending"
_PLAIN = frozenset({str, int, bool, type(None)})
"""Types that come back from JSON as they went in."""


@dataclass(frozen=True)
class ActorRef:
    """Who did it.

    Attributes
    ----------
    kind : str
        A person, a device, a token of a machine, or the hub itself.
    id : str
        Row id; for the system the name of what ran.
    label : str
        Login, AE title or name of the token, as it was at that time.
    """

    kind: Literal["person", "device", "token", "system"]
    id: str
    label: str


SYSTEM = ActorRef("system", "hub", "hub")


def record(
    at: Transaction,
    tag: Tag,
    *,
    actor: ActorRef,
    subject_kind: str,
    subject_id: str,
    site_id: str | None = None,
    patient_id: str | None = None,
    address: str | None = None,
    **facts: Any,
) -> None:
    """Note that `actor` did `tag` to a subject; the row is chained when the transaction commits.

    Parameters
    ----------
    at : Session or Writing
        Of `Database.transaction` or `Database.writing`; its roll-back takes the event with it.
    patient_id : str, optional
        Row id of the patient concerned, so that all access to one person can be listed.
    address : str, optional
        Network address the act came from.
    **facts
        Plain JSON values: states, counts, row ids, UIDs. Never names or content.

    Raises
    ------
    RuntimeError
        The session only reads, so the event would be lost.
    ValueError, TypeError
        A fact is no JSON.
    """
    session = joined_session(at)
    if isinstance(at, Session) and at.connection().get_execution_options().get(READ_ONLY, False):
        raise RuntimeError("an audit event needs a transaction that writes")
    row = {
        "id": new_id(),
        "at": utcnow(),
        "actor_kind": actor.kind,
        "actor_id": actor.id,
        "actor_name": actor.label,
        "site_id": site_id,
        "tag": Tag(tag).value,
        "subject_kind": subject_kind,
        "subject_id": subject_id,
        "patient_id": patient_id,
        "address": address,
        "facts": facts if _PLAIN.issuperset(map(type, facts.values())) else _as_read_back(facts),
    }
    pending: list[tuple[SessionTransaction | None, dict[str, Any]]] = at.info.setdefault(_PENDING, [])
    pending.append((session.get_nested_transaction() if session else None, row))


def _as_read_back(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts as the database will give them back, because they must hash the same then."""
    read_back: dict[str, Any] = json.loads(json.dumps(facts, allow_nan=False))
    return read_back


def _chain(at: Transaction) -> None:
    pending = at.info.pop(_PENDING, [])
    if pending:
        repository.append(at, [row for _, row in pending])


def _forget_rolled_back(session: Session, previous: SessionTransaction) -> None:
    """Drop events of a savepoint that was rolled back, as the database drops its rows."""
    pending = session.info.get(_PENDING)
    if pending:
        session.info[_PENDING] = [item for item in pending if not _within(item[0], previous)]


def _within(inner: SessionTransaction | None, outer: SessionTransaction) -> bool:
    if outer.parent is None:
        return True
    while inner is not None:
        if inner is outer:
            return True
        inner = inner.parent
    return False


Database.before_commit.append(_chain)
event.listen(Session, "after_soft_rollback", _forget_rolled_back)
