"""Table of the web room: news for open pages."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.db.base import Base
from hub.kit.ids import ID_LENGTH


class LiveRow(Base):
    """One piece of news. Numbers grow for ever: a poller must not meet one twice."""

    __tablename__ = "live_event"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - SQLAlchemy's declarative form

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    at: Mapped[datetime] = mapped_column(index=True)
    topic: Mapped[str] = mapped_column(String(64))
    site_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    ids: Mapped[dict[str, Any]]
