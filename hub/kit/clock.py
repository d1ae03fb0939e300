"""Time as the hub sees it: always UTC inside, shown in the hub's zone."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Anything that tells the time; tests pass one that stands still or jumps."""


def utcnow() -> datetime:
    """Return the present time, timezone-aware, in UTC."""
    return datetime.now(UTC)
