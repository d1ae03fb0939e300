"""The product's source files, parsed once."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "hub/db/migrations/versions"
SKIPPED = {"node_modules", "dist", "__pycache__", ".venv"}


def product_files() -> list[Path]:
    """Every Python file of the product; migrations are written by Alembic and left out."""
    found = [*(ROOT / "hub").rglob("*.py"), *(ROOT / "storage").rglob("*.py")]
    return sorted(path for path in found if MIGRATIONS not in path.parents and not SKIPPED & set(path.parts))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Dotted names that are imported anywhere, also inside functions: ``from a import b`` gives ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tracked_files() -> list[Path]:
    """What a clone holds; in a source archive without Git, what lies there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode == 0:
        names = [name for name in listed.stdout.decode().split("\0") if name]
        return [ROOT / name for name in names if (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and not SKIPPED & set(path.parts)]
