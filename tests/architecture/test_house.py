"""House rules that a reader would otherwise have to watch for."""

import ast
import configparser
import io
import os
import re
import tokenize
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.architecture.sources import ROOT, name_of, product_files, tracked_files, tree_of

MOST_LINES = 500
MOST_FUNCTION_LINES = 80
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
PRETENDED = re.compile(r"\b(stub|dummy|not implemented|coming soon)\b", re.IGNORECASE)
CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
SPEAKS_CHINESE = (
    "hub/config.py",  # the default name of the centre
    "hub/demo",  # a demo county of invented people
    "hub/kit/people.py",
    "hub/kit/pinyin.py",  # surnames with readings of their own
    "hub/kit/text.py",
    "hub/dicom/header.py",
    "hub/ecg/",  # what Chinese devices write
    "hub/checks.py",  # characters that the report's font must have
)
TEXT = {".py", ".ts", ".html", ".css", ".toml", ".lock", ".json", ".md", ".yml", ".yaml", ".po", ".typ", ""}


def long_functions(tree: ast.AST) -> list[str]:
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 >= MOST_FUNCTION_LINES]


def chinese_literals(tree: ast.Module) -> list[str]:
    """String literals with Chinese in them that are no docstrings: such text belongs into a catalogue."""
    described = set()
    for node in ast.walk(tree):
        for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                described.add(id(statement.value))
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in described
        and CJK.search(node.value)
    ]


def unfinished(source: str) -> list[str]:
    """Comments and docstrings that announce work left undone."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    spoken = [t.string for t in tokens if t.type in (tokenize.COMMENT, tokenize.STRING)]
    return [text for text in spoken if UNFINISHED.search(text) or PRETENDED.search(text)]


@pytest.mark.parametrize("path", product_files(), ids=name_of)
class TestProductFiles:
    def test_fits_on_a_few_screens(self, path: Path) -> None:
        assert path.read_text(encoding="utf-8").count("\n") < MOST_LINES

    def test_functions_do_one_thing(self, path: Path) -> None:
        assert long_functions(tree_of(path)) == []

    def test_nothing_is_announced_and_left_undone(self, path: Path) -> None:
        assert unfinished(path.read_text(encoding="utf-8")) == []

    def test_chinese_stands_in_catalogues(self, path: Path) -> None:
        if not name_of(path).startswith(SPEAKS_CHINESE):
            assert chinese_literals(tree_of(path)) == []


def test_room_packages_are_empty() -> None:
    assert [name_of(p) for p in product_files() if p.name == "__init__.py" and p.read_text()] == []


def readable(path: Path) -> str:
    if path.suffix not in TEXT or path.stat().st_size > 5_000_000:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def registry_hosts() -> set[str]:
    """Hosts that this machine takes packages from, and the public ones' download hosts."""
    hosts = {"files.python" + "hosted.org", "registry.npm" + "js.org", "registry.yarn" + "pkg.com"}
    urls = [os.environ.get(name, "") for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX")]
    urls += [url for name, url in os.environ.items() if name.lower() == "npm_config_registry"]
    for file in (Path("/etc/pip.conf"), Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf"):
        if file.is_file():
            config = configparser.ConfigParser(interpolation=None)
            config.read(file)
            urls += [config.get(s, "index-url", fallback="") for s in config.sections()]
    private = {urlsplit(url).hostname for url in urls if url} - {"pypi.org", "localhost", "127.0.0.1", None}
    return hosts | {str(host) for host in private}


class TestTrackedFiles:
    def test_no_registry_is_named(self) -> None:
        hosts = registry_hosts()
        texts = ((name_of(path), readable(path)) for path in tracked_files())
        named = [(name, host) for name, text in texts for host in hosts if host in text]
        assert named == []

    def test_locks_hold_hashes_and_no_addresses(self) -> None:
        for lock in ("requirements.lock", "requirements-dev.lock", "requirements-bench.lock"):
            text = (ROOT / lock).read_text(encoding="utf-8")
            assert "--hash=sha256:" in text
            assert "://" not in text
        assert '"resolved"' not in (ROOT / "hub/web/islands/package-lock.json").read_text(encoding="utf-8")

    def test_no_path_of_the_machine_it_was_written_on(self) -> None:
        places = re.compile(r"(?<![\w.])/(work|root|home/\w+)/[\w.]")
        named = [name_of(path) for path in tracked_files() if places.search(readable(path))]
        assert named == []


class TestTheRulesThemselves:
    def test_a_long_function_is_caught(self) -> None:
        assert long_functions(ast.parse("def long():\n" + "    x = 1\n" * MOST_FUNCTION_LINES)) == ["long"]

    def test_chinese_is_caught_but_not_in_docstrings(self) -> None:
        tree = ast.parse('"""说明"""\nX = 1\n"""字段"""\ndef f():\n    """做"""\n    return "已领取"\n')
        assert chinese_literals(tree) == ["已领取"]

    def test_unfinished_work_is_caught(self) -> None:
        assert unfinished("x = 1  # " + "TO" + "DO later") != []
        assert unfinished('def f():\n    """A dummy."""\n') != []
        assert unfinished("todo = 1\n") == []
