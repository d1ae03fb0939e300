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


def urgency_in_force(urgency: str, *, chest_pain: bool, hint_level: str) -> str:
    """Return the urgency by which an exam is ordered: the most urgent of what people and machine say.

    Parameters
    ----------
    urgency : str
        As a person marked it.
    chest_pain : bool
        A person says that there is pain in the chest: critical in any case.
    hint_level : str
        Of the machine's hints that no reader has dismissed; ``note`` orders nothing.
    """
    said = {urgency, hint_level, "critical" if chest_pain else "routine"}
    return min(said & PRIORITIES.keys(), key=priority_of)


def due_at(complete_at: datetime, urgency: str, modality: str, rules: Iterable[DueRule]) -> datetime | None:
    """Return when the report is due: the first rule that fits decides; None when none does."""
    for rule in rules:
        if rule.urgency == urgency and rule.modality in (modality, "*"):
            return complete_at + timedelta(minutes=rule.minutes)
    return None
