"""Tables of our own beside those of DBOS: who works, what failed, when schedules are due.

DBOS's tables belong to DBOS (schema ``dbos`` on PostgreSQL, the same file on SQLite);
`workflow_status` names the few columns of them that we read.
"""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import BigInteger, Float, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from hub.db.base import Base
from hub.db.migrate import AFTER_UPGRADE
from hub.jobs.system import create_system_tables


class JobWorker(Base):
    """A sign of life of one worker process. Seconds are of the database's own clock."""

    __tablename__ = "job_worker"

    executor_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    beat_at: Mapped[float] = mapped_column(Float)
    started_at: Mapped[datetime]


class JobFailure(Base):
    """One failed attempt: the class of the error and our own words, never patient data."""

    __tablename__ = "job_failure"

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    job_id: Mapped[str] = mapped_column(String(100), index=True)
    at: Mapped[datetime]
    error: Mapped[str] = mapped_column(String(200))
    message: Mapped[str] = mapped_column(Text)
    final: Mapped[bool]
    """Whether the job gave up with this one; attempts are counted anew after it."""


class JobSchedule(Base):
    """When a schedule is due next. Seconds are of the database's own clock."""

    __tablename__ = "job_schedule"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    due_at: Mapped[float] = mapped_column(Float)


SYSTEM_SCHEMA = "dbos_system"
"""Stands for the schema of DBOS's tables; `schema_map` says which it is."""

_metadata = sa.MetaData(schema=SYSTEM_SCHEMA)

workflow_status = sa.Table(
    "workflow_status",
    _metadata,
    sa.Column("workflow_uuid", sa.Text, primary_key=True),
    sa.Column("status", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("executor_id", sa.Text),
    sa.Column("created_at", sa.BigInteger),
    sa.Column("updated_at", sa.BigInteger),
    sa.Column("queue_name", sa.Text),
    sa.Column("recovery_attempts", sa.BigInteger),
    sa.Column("started_at_epoch_ms", sa.BigInteger),
    sa.Column("deduplication_id", sa.Text),
    sa.Column("owner_xid", sa.Text),
    sa.Column("delay_until_epoch_ms", sa.BigInteger),
    sa.Column("completed_at", sa.BigInteger),
)
workflow_input = sa.Table(
    "workflow_input",
    _metadata,
    sa.Column("workflow_uuid", sa.Text, primary_key=True),
    sa.Column("inputs", sa.Text),
)
workflow_output = sa.Table(
    "workflow_output",
    _metadata,
    sa.Column("workflow_uuid", sa.Text, primary_key=True),
)

AFTER_UPGRADE.append(create_system_tables)
