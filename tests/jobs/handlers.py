"""Handlers whose effects a test can count; used here and by real worker processes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from hub.context import Context
from hub.db.session import Database
from hub.errors import Retriable
from hub.jobs.registry import REGISTRY, RetryPolicy, job, scheduled

metadata = sa.MetaData()
starts = sa.Table(
    "test_start",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.Text),
    sa.Column("at", sa.Float),
)
effects = sa.Table("test_effect", metadata, sa.Column("key", sa.Text, primary_key=True))


def _started(context: Context, key: str) -> int:
    with context.db.transaction() as session:
        session.execute(sa.insert(starts).values(key=key, at=time.time()))
        return session.scalar(sa.select(sa.func.count()).where(starts.c.key == key)) or 0


def _take_effect(context: Context, key: str) -> None:
    with context.db.transaction() as session:
        if session.scalar(sa.select(effects.c.key).where(effects.c.key == key)) is None:
            session.execute(sa.insert(effects).values(key=key))


def start_times(database: Database, key: str) -> list[float]:
    """When handlers with this key began, oldest first."""
    with database.reading() as session:
        query = sa.select(starts.c.at).where(starts.c.key == key).order_by(starts.c.number)
        return list(session.scalars(query))


def effect_keys(database: Database) -> list[str]:
    """What took effect."""
    with database.reading() as session:
        return sorted(session.scalars(sa.select(effects.c.key)))


@contextmanager
def registered() -> Iterator[None]:
    """Only the handlers below are known inside, and whatever was known before outside."""
    before: dict[str, Any] = dict(vars(REGISTRY))
    REGISTRY.jobs, REGISTRY.schedules, REGISTRY.loaded = {}, {}, True
    register()
    try:
        yield
    finally:
        vars(REGISTRY).update(before)


def register() -> None:
    """Register the handlers in this process, and keep it from loading those of the rooms."""
    REGISTRY.loaded = True

    @job("test.effect")
    def effect(context: Context, *, key: str) -> None:
        _started(context, key)
        _take_effect(context, key)

    @job("test.heavy", queue="heavy")
    def heavy(context: Context, *, key: str) -> None:
        _take_effect(context, key)

    @job("test.chain")
    def chain(context: Context, *, key: str) -> None:
        from hub.jobs.queue import enqueue

        with context.db.transaction() as session:
            enqueue(session, "test.effect", key=f"{key}-next")

    @job("test.flaky", retry=RetryPolicy(max_attempts=3, first_wait_seconds=1, factor=2))
    def flaky(context: Context, *, key: str, failures: int) -> None:
        if _started(context, key) <= failures:
            raise Retriable("the other side does not answer")
        _take_effect(context, key)

    @job("test.hopeless", retry=RetryPolicy(max_attempts=3, first_wait_seconds=0.1))
    def hopeless(context: Context, *, key: str) -> None:
        _started(context, key)
        raise ValueError("ZZSECRET^PATIENT")

    @job("test.hang")
    def hang(context: Context, *, key: str, go: str, effect_first: bool) -> None:
        if effect_first:
            _take_effect(context, key)
        _started(context, key)
        while not Path(go).exists():
            time.sleep(0.02)
        _take_effect(context, key)

    @scheduled("test.tick", every_seconds=1.0)
    def tick(context: Context) -> None:
        _started(context, "tick")
