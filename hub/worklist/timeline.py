"""An exam's timeline in words."""

from collections.abc import Sequence
from typing import Any

from hub.web.i18n import Translate
from hub.worklist.models import ExamStep
from hub.worklist.service import REJECT_CODES
from hub.worklist.states import Event, State

KNOWN_REASONS = frozenset({"quiet", "sent", "lease", "inbox", "step", "mpps", "views", "commitment"})
"""Reasons the hub itself gives; all others are a person's own words."""

BAD = frozenset({State.REJECTED, State.UNMATCHED, State.CANCELLED, State.RETURNED, State.WITHDRAWN})


def timeline(t: Translate, steps: Sequence[ExamStep]) -> list[dict[str, Any]]:
    """Return the entries that the `timeline` component shows, oldest first."""
    return [
        {
            "at": step.at,
            "title": t(f"common.state.{step.to_state.upper()}"),
            "who": t("site.timeline.hub") if step.actor_kind == "system" else step.actor_name,
            "note": _reason(t, step),
            "kind": "bad" if State(step.to_state) in BAD else "now" if step is steps[-1] else "done",
        }
        for step in steps
    ]


def _reason(t: Translate, step: ExamStep) -> str:
    if step.reason in KNOWN_REASONS:
        return t(f"site.timeline.reason.{step.reason}")
    code, _, words = step.reason.partition(": ")
    if step.event == Event.REJECT and code in REJECT_CODES:
        return f"{t(f'site.reject.{code}')}: {words}"
    return step.reason
