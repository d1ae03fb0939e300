"""References that are generated from the code: ``python -m tests.generate_docs`` (``make docs``)."""

import ast
import inspect
import re
from itertools import pairwise
from pathlib import Path

from hub import config
from hub.config import Settings

SETTINGS_PAGE = Path(__file__).parents[1] / "docs/settings.md"
INTRODUCTION = """# Settings

Generated from `hub/config.py` by `make docs`; a test keeps the two alike.

Every setting is an environment variable, or the same name without `HUB_` and in lower case in
`hub.toml`. The command line beats the environment, the environment beats the file. A value that the
hub cannot work with stops it and names the setting. Tables and lists are written as JSON in the
environment, as TOML in the file.

| variable | default | meaning |
|---|---|---|
"""


def described_fields() -> dict[str, str]:
    """The sentence under each field of `Settings`."""
    tree = ast.parse(inspect.getsource(config))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == Settings.__name__)
    found = {}
    for field, after in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            found[field.target.id] = " ".join(str(after.value.value).split()) if described else ""  # type: ignore[attr-defined]
    return {name: text for name, text in found.items() if name in Settings.model_fields}


def shown(name: str) -> str:
    """The default of a setting as one would write it."""
    value = Settings.model_fields[name].get_default(call_default_factory=True, validated_data={})
    if value == "":
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"see below: {name}" if isinstance(value, dict | tuple) else f"`{value}`"


def settings_page() -> str:
    """The whole page."""
    rows = [
        f"| `HUB_{name.upper()}` | {shown(name)} | {re.sub(r'``', '`', text).replace('|', chr(92) + '|')} |"
        for name, text in described_fields().items()
    ]
    settle = [f"| {modality} | {seconds:g} |" for modality, seconds in config.SETTLE_SECONDS.items()]
    due = [f"| {rule.urgency} | {rule.modality} | {rule.minutes} |" for rule in config.DUE_RULES]
    return (
        INTRODUCTION
        + "\n".join(rows)
        + "\n\n## settle_seconds\n\n| modality | quiet seconds |\n|---|---|\n"
        + "\n".join(settle)
        + "\n\n## due_rules\n\nThe first rule that fits decides.\n\n"
        + "| urgency | modality | minutes |\n|---|---|---|\n"
        + "\n".join(due)
        + "\n"
    )


if __name__ == "__main__":
    SETTINGS_PAGE.write_text(settings_page(), encoding="utf-8")
