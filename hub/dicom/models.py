"""Where objects are sent on to, what waits to be sent, and commitments that were asked for."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from hub.db.base import Base, HasId


class DicomNode(HasId, Base):
    """Another DICOM system: a county PACS or an upstream hospital that gets studies from here."""

    __tablename__ = "dicom_node"

    name: Mapped[str] = mapped_column(String(64), unique=True)
    ae_title: Mapped[str] = mapped_column(String(16))
    calling_ae: Mapped[str] = mapped_column(String(16), default="")
    """Title under which the hub calls it; empty means the hub's own."""
    host: Mapped[str] = mapped_column(String(255))
    port: Mapped[int]
    tls: Mapped[bool] = mapped_column(default=False)
    active: Mapped[bool] = mapped_column(default=True)
    forward: Mapped[bool] = mapped_column(default=False)
    """Whether settled studies are sent to it without being asked for."""
    forward_sites: Mapped[list[str]]
    """Row ids of the sites whose studies are sent; empty means all."""
    forward_modalities: Mapped[list[str]]
    """Modalities that are sent; empty means all."""
    created_at: Mapped[datetime]
    echo_at: Mapped[datetime | None]
    """When it was last asked for a sign of life by hand."""
    echo_outcome: Mapped[str] = mapped_column(String(200), default="")
    """``ok``, or the word for what was wrong."""
    last_sent_at: Mapped[datetime | None]
    """When it last answered Success for an object."""
    failures: Mapped[int] = mapped_column(default=0)
    """How often in a row no association with it came about."""
    failing_since: Mapped[datetime | None]
    retry_at: Mapped[datetime | None]
    """Before this moment nothing is tried, because it could not be reached."""
    last_error: Mapped[str] = mapped_column(String(200), default="")
    """The word for why it could not be reached; empty when it can."""
    runner: Mapped[str] = mapped_column(String(26), default="")
    """Which run is sending to it, so that there is one at a time."""
    runner_until: Mapped[datetime | None]
    """When that run counts as dead unless it gives a sign of life."""


class ForwardTask(HasId, Base):
    """One study on its way to one node."""

    __tablename__ = "forward_task"
    __table_args__ = (UniqueConstraint("node_id", "study_id"),)

    node_id: Mapped[str] = mapped_column(ForeignKey("dicom_node.id"))
    study_id: Mapped[str] = mapped_column(ForeignKey("study.id"), index=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    """``waiting``, ``sending``, ``done``, ``failed`` or ``cancelled``."""
    objects_total: Mapped[int] = mapped_column(default=0)
    objects_sent: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    """Tries since it was queued that ended short of the last object."""
    last_error: Mapped[str] = mapped_column(String(200), default="")
    """The word for what went wrong, with a status or UID after a colon; empty while all is well."""
    next_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    queued_at: Mapped[datetime]
    """When it was last given something to send."""
    updated_at: Mapped[datetime]
    done_at: Mapped[datetime | None]


class ForwardedObject(HasId, Base):
    """One object that a node has answered Success for, so that a broken transfer goes on where it stopped."""

    __tablename__ = "forwarded_object"
    __table_args__ = (UniqueConstraint("task_id", "instance_id"),)

    task_id: Mapped[str] = mapped_column(ForeignKey("forward_task.id"))
    instance_id: Mapped[str] = mapped_column(ForeignKey("instance.id"))
    at: Mapped[datetime]


class CommitmentRequest(HasId, Base):
    """A device's question whether its objects are kept for good (PS3.4 annex J)."""

    __tablename__ = "commitment_request"
    __table_args__ = (UniqueConstraint("device_id", "transaction_uid"),)

    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"))
    device_id: Mapped[str] = mapped_column(ForeignKey("device.id"))
    transaction_uid: Mapped[str] = mapped_column(String(64))
    calling_ae: Mapped[str] = mapped_column(String(64), default="")
    called_ae: Mapped[str] = mapped_column(String(64), default="")
    address: Mapped[str] = mapped_column(String(64), default="")
    items: Mapped[list[Any]]
    """``[SOP class UID, SOP instance UID]`` of each object asked for."""
    requested_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16), index=True)
    """``waiting``, ``answered`` or ``undeliverable``."""
    failed: Mapped[list[Any]]
    """``[SOP class UID, SOP instance UID, failure reason]`` of what could not be committed."""
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime | None]
    answered_at: Mapped[datetime | None]
    last_error: Mapped[str] = mapped_column(String(200), default="")
