"""Priority and due time: pure functions over the settings' table."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from hub.config import DueRule

PRIORITIES = {"critical": 0, "urgent": 1, "routine": 2}
"""Urgency to sort key; smaller is read first."""

URGENCIES = tuple(PRIORITIES)


def priority_of(urgency: str) -> int:
    """Return the sort key of an urgency; what is unknown counts as routine."""
    return PRIORITIES.get(urgency, PRIORITIES["routine"])


def due_at(complete_at: datetime, urgency: str, modality: str, rules: Iterable[DueRule]) -> datetime | None:
    """Return when the report is due: the first rule that fits decides; None when none does."""
    for rule in rules:
        if rule.urgency == urgency and rule.modality in (modality, "*"):
            return complete_at + timedelta(minutes=rule.minutes)
    return None
