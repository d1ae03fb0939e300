"""Deliveries of signed reports, each attempt, and the receipts."""

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.db.base import Base, HasId


class Delivery(HasId, Base):
    """One signed report on its way to one site; also the entry in that site's inbox."""

    __tablename__ = "delivery"

    signed_report_id: Mapped[str] = mapped_column(ForeignKey("signed_report.id"), unique=True)
    exam_id: Mapped[str] = mapped_column(ForeignKey("exam.id"), index=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"), index=True)
    created_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    opened_at: Mapped[datetime | None]
    """First time that a person of the site opened it."""
    acknowledged_at: Mapped[datetime | None] = mapped_column(index=True)


class DeliveryAttempt(HasId, Base):
    """One try to bring a report to its site; rows are only added."""

    __tablename__ = "delivery_attempt"

    delivery_id: Mapped[str] = mapped_column(ForeignKey("delivery.id"), index=True)
    at: Mapped[datetime]
    channel: Mapped[str] = mapped_column(String(16))
    """``inbox``: the page of the site; ``api``: fetched by the site's own system."""
    succeeded: Mapped[bool]
    detail: Mapped[str] = mapped_column(String(200), default="")


class Receipt(HasId, Base):
    """Proof that a report was taken: by a machine, or read by a named person; rows are only added."""

    __tablename__ = "receipt"

    delivery_id: Mapped[str] = mapped_column(ForeignKey("delivery.id"), index=True)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(16))
    """``opened`` (first time by each person), ``acknowledged`` or ``fetched``."""
    actor_kind: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[str] = mapped_column(String(26))
    actor_name: Mapped[str] = mapped_column(String(128))
    address: Mapped[str] = mapped_column(String(64), default="")
