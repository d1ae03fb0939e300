"""A patient as one site knows them: identity is (site, local id), nothing more."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from hub.db.base import Base, HasId


class Patient(HasId, Base):
    """One identity. Two identities of one person stay two rows."""

    __tablename__ = "patient"
    __table_args__ = (UniqueConstraint("site_id", "local_id"),)

    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"))
    local_id: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200), index=True)
    sex: Mapped[str] = mapped_column(String(1), default="")
    birth_date: Mapped[str] = mapped_column(String(8), default="")
    """YYYYMMDD, YYYYMM or YYYY as far as it is known; empty when not."""
    id_number: Mapped[str] = mapped_column(String(32), default="")
    """Identity document number; shown by its last four characters only."""
    phone: Mapped[str] = mapped_column(String(32), default="")
    created_at: Mapped[datetime]
