"""All SQL of the web room."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hub.db.direct import Direct
from hub.web.models import LiveRow

BATCH = 2000
"""Most rows read at once; the rest comes with the next look."""

# It runs in every transaction that changes an exam.
_NEW = Direct(
    sa.insert(cast("sa.Table", LiveRow.__table__)).values(
        {name: sa.bindparam(name) for name in ("at", "topic", "site_id", "ids")}
    )
)


def add_news(session: Session, *, at: datetime, topic: str, site_id: str | None, ids: dict[str, Any]) -> None:
    """Write one piece of news."""
    _NEW.run(session, [{"at": at, "topic": topic, "site_id": site_id, "ids": ids}])


def last_number(session: Session) -> int:
    """Return the highest number written so far, 0 for none."""
    return session.scalar(sa.select(sa.func.max(LiveRow.id))) or 0


def numbers_after(session: Session, number: int) -> set[int]:
    """Return the numbers above `number` that are there."""
    return set(session.scalars(sa.select(LiveRow.id).where(LiveRow.id > number)))


def news_after(session: Session, number: int, missing: Collection[int]) -> list[LiveRow]:
    """Return rows above `number`, and those of `missing` that have appeared, in order."""
    wanted: sa.ColumnElement[bool] = LiveRow.id > number
    if missing:
        wanted = sa.or_(wanted, LiveRow.id.in_(missing))
    return list(session.scalars(sa.select(LiveRow).where(wanted).order_by(LiveRow.id).limit(BATCH)))


def purge_news(session: Session, before: datetime) -> int:
    """Delete news older than `before`; return how much."""
    result = session.execute(sa.delete(LiveRow).where(LiveRow.at < before))
    return cast("sa.CursorResult[Any]", result).rowcount
