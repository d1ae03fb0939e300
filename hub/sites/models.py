"""Sites, the devices registered under them, and refused associations."""

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.db.base import Base, HasId


class Site(HasId, Base):
    """A township hospital or village post that sends exams and gets reports."""

    __tablename__ = "site"

    code: Mapped[str] = mapped_column(String(16), unique=True)
    number: Mapped[int] = mapped_column(unique=True)
    """Short number that begins the site's accession numbers."""
    name: Mapped[str] = mapped_column(String(64))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]


class Device(HasId, Base):
    """A modality of a site as it shows itself on the wire."""

    __tablename__ = "device"

    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"), index=True)
    ae_title: Mapped[str] = mapped_column(String(16), index=True)
    address: Mapped[str | None] = mapped_column(String(64))
    charset: Mapped[str | None] = mapped_column(String(32))
    """Character set that this device really writes, whatever its objects declare."""
    label: Mapped[str] = mapped_column(String(64), default="")
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]
    certificate_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    """Fingerprint of the TLS client certificate by which this device is known, hexadecimal."""
    strict_called: Mapped[bool] = mapped_column(default=False)
    """Refuse this device when it calls the hub by another title."""
    port: Mapped[int | None]
    """Port on which it listens itself: for C-MOVE to it and commitment reports."""
    tls: Mapped[bool] = mapped_column(default=False)
    """Whether it is called back over TLS."""
    query_scope: Mapped[str] = mapped_column(String(8), default="site")
    """What it may query and retrieve: ``none``, its own ``site``, or ``all`` sites."""


class AssociationRefusal(HasId, Base):
    """A device that was turned away, with a reason a person understands.

    The same refusal within a minute is counted in one row: a device that tries again every
    second must not bury the others.
    """

    __tablename__ = "association_refusal"

    at: Mapped[datetime] = mapped_column(index=True)
    calling_ae: Mapped[str] = mapped_column(String(64))
    called_ae: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(64))
    detail: Mapped[str] = mapped_column(String(200), default="")
    """What was wrong with it, for a person who looks; never content of an object."""
    count: Mapped[int] = mapped_column(default=1)
    last_at: Mapped[datetime]
