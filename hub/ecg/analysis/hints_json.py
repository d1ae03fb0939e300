"""Quality and hints as plain values for JSON: stored, sent, printed by the commands."""

from collections.abc import Iterable
from typing import Any

from hub.ecg.analysis.model import Hint, Quality


def quality_json(quality: Quality) -> dict[str, Any]:
    """Return a quality as JSON: ``verdict``, ``per_lead`` and the list ``findings``."""
    return {
        "verdict": quality.verdict,
        "per_lead": dict(quality.per_lead),
        "findings": [
            {
                "code": each.code,
                "leads": list(each.leads),
                "likelihood": each.likelihood,
                "repeat": each.repeat,
                "numbers": dict(each.numbers),
            }
            for each in quality.findings
        ],
    }


def hints_json(hints: Iterable[Hint]) -> list[dict[str, Any]]:
    """Return hints as a JSON list, the heaviest first as given."""
    return [
        {
            "rule": each.rule,
            "level": each.level,
            "source": each.source,
            "leads": list(each.leads),
            "numbers": dict(each.numbers),
        }
        for each in hints
    ]
