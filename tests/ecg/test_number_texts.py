"""Every number that a finding or a hint is measured by has words with its unit in both languages."""

import ast
import re
from importlib.resources import files

import pytest

from hub.web import i18n

MODULES = ("analyse", "quality", "swaps", "rhythm", "st_rules", "hints_shape")
LEADS = {"lead_mv", "lead_ms", "lead_t_mv", "reciprocal_mv", "limit"}


def named_in(function: ast.AST) -> set[str]:
    """Return the constant keys of dictionaries and the numbers that `_finding` is given by name."""
    keys: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Dict):
            keys |= {each.value for each in node.keys if isinstance(each, ast.Constant)}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_finding":
            keys |= {each.arg for each in node.keywords if each.arg not in {None, "repeat"}}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            place = node.targets[0]
            if getattr(place.value, "id", "") in {"numbers", "found"} and isinstance(
                place.slice, ast.Constant
            ):
                keys.add(place.slice.value)
    return keys


def names() -> set[str]:
    found = {"mains_uv", "muscle_uv", "wander_mv", "hr_bpm"}
    for module in MODULES:
        tree = ast.parse(files("hub.ecg.analysis").joinpath(f"{module}.py").read_text())
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        found = found.union(*(named_in(each) for each in functions))
    limits = {name.removeprefix("limit_") for name in found if name != "limit_assumed"}
    return {name for name in limits if re.fullmatch(r"[a-z][a-z0-9_]+", name)}


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_every_number_has_words(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_STRICT_TEXTS", "1")
    t = i18n.translator(language)
    wanted = names() | LEADS
    assert {"einthoven_mv", "missing_s", "pr_spread_ms", "sokolow_mv", "lbbb"} <= wanted
    said = {name: t(f"ecg.number.{name}", value="17", lead="V4R", number="17") for name in wanted}
    assert [name for name, text in said.items() if "17" not in text] == ["lbbb"]
    assert all("V4R" in said[name] for name in LEADS - {"limit"})
