"""All SQL of the audit room."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hub.audit.chain import GENESIS, hash_of
from hub.audit.models import AuditEvent, AuditHead
from hub.db.direct import Direct
from hub.db.writing import Transaction, session_of

_TABLE = cast("sa.Table", AuditEvent.__table__)
_HEAD = cast("sa.Table", AuditHead.__table__)

# They run in every transaction that changes anything.
_LOCKED_HEAD = Direct(sa.select(_HEAD.c.seq, _HEAD.c.hash).where(_HEAD.c.id == 1).with_for_update())
_NEW_ROW = Direct(sa.insert(_TABLE))
_NEW_HEAD = Direct(
    sa.update(_HEAD)
    .where(_HEAD.c.id == 1)
    .values(seq=sa.bindparam("last_seq"), hash=sa.bindparam("last_hash"))
)


@dataclass(frozen=True)
class Query:
    """What to look for; every field that is given must fit. `until` is not included."""

    patient_id: str | None = None
    patient_ids: tuple[str, ...] | None = None
    """Any of these patients; an empty tuple fits nobody."""
    subject_ids: tuple[str, ...] | None = None
    """Any of these subjects, whatever their kind: row ids are unique over all tables."""
    actor_ids: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    subject_kind: str | None = None
    subject_id: str | None = None
    actor_kind: str | None = None
    actor_id: str | None = None
    site_id: str | None = None
    tag: str | None = None
    """A whole tag, or its beginning up to a colon: ``auth:`` or ``reports:report:``."""
    since: datetime | None = None
    until: datetime | None = None


def append(at: Transaction, rows: list[dict[str, Any]]) -> None:
    """Add rows to the end of the chain. The head stays locked until the transaction ends."""
    head = _LOCKED_HEAD.rows(at, {})
    if not head:
        _make_head(session_of(at))
        head = _LOCKED_HEAD.rows(at, {})
    [(seq, last)] = head
    for row in rows:
        seq += 1
        row["seq"] = seq
        row["previous_hash"] = last
        last = row["hash"] = hash_of(row)
    _NEW_ROW.run(at, rows)
    _NEW_HEAD.run(at, [{"last_seq": seq, "last_hash": last}])


def _make_head(session: Session) -> None:
    """Make the head of an empty chain; two transactions may both try."""
    from sqlalchemy.dialects import postgresql, sqlite

    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    session.execute(insert(AuditHead).values(id=1, seq=0, hash=GENESIS).on_conflict_do_nothing())


def head_of(session: Session) -> tuple[int, str] | None:
    """Return (seq, hash) of the last row as the head says, or None before the first event."""
    found = session.execute(sa.select(AuditHead.seq, AuditHead.hash).where(AuditHead.id == 1)).first()
    return None if found is None else (found[0], found[1])


def stream(session: Session, batch: int = 1000) -> Iterator[dict[str, Any]]:
    """Yield every row in order of `seq`, reading `batch` at a time."""
    last: int | None = None
    while True:
        query = sa.select(_TABLE).order_by(_TABLE.c.seq).limit(batch)
        if last is not None:
            query = query.where(_TABLE.c.seq > last)
        rows = session.execute(query).mappings().all()
        if not rows:
            return
        for row in rows:
            yield dict(row)
        last = rows[-1]["seq"]


def search(
    session: Session, query: Query, *, before_seq: int | None = None, limit: int = 100
) -> list[AuditEvent]:
    """Return matching events, newest first; for the next page pass the last `seq` as `before_seq`."""
    found = sa.select(AuditEvent).order_by(AuditEvent.seq.desc()).limit(limit)
    for name in ("patient_id", "subject_kind", "subject_id", "actor_kind", "actor_id", "site_id"):
        wanted = getattr(query, name)
        if wanted is not None:
            found = found.where(getattr(AuditEvent, name) == wanted)
    for name in ("patient_id", "subject_id", "actor_id", "tag"):
        any_of = getattr(query, f"{name}s")
        if any_of is not None:
            found = found.where(getattr(AuditEvent, name).in_(any_of))
    if query.tag is not None:
        exact = not query.tag.endswith(":")
        found = found.where(
            AuditEvent.tag == query.tag if exact else AuditEvent.tag.startswith(query.tag, autoescape=True)
        )
    if query.since is not None:
        found = found.where(AuditEvent.at >= query.since)
    if query.until is not None:
        found = found.where(AuditEvent.at < query.until)
    if before_seq is not None:
        found = found.where(AuditEvent.seq < before_seq)
    return list(session.scalars(found))
