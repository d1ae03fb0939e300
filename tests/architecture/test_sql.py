"""Queries stand in repositories: nowhere else could one forget whose rows the reader may see."""

import ast
from pathlib import Path

import pytest

from tests.architecture.sources import name_of, product_files, tree_of

BUILDERS = {
    "select",
    "insert",
    "update",
    "delete",
    "text",
    "func",
    "exists",
    "union",
    "union_all",
    "table",
    "column",
    "literal_column",
}
"""What a statement is made with."""
RUNNERS = {"execute", "scalars", "scalar", "query"}
"""How a session or connection runs one."""
ALLOWED_NAMES = {"repository.py", "models.py"}
ALLOWED_ROOMS = ("hub/db/", "hub/jobs/", "hub/audit/")
"""Rooms below all listings, which know no actor."""
ALLOWED_FILES = {
    "hub/catalogue/qr_search.py": "C-FIND, C-MOVE, C-GET: the same over what a device may see",
    "hub/catalogue/search.py": "QIDO-RS matching: conditions for the repository's own statement",
}


def sql_in(tree: ast.AST) -> set[str]:
    """Names of SQL that a file builds or runs by itself."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sqlalchemy":
            found |= {alias.name for alias in node.names} & BUILDERS
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "sqlalchemy"}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if node.func.attr in RUNNERS and name in {"session", "connection"}:
                found.add(f"{name}.{node.func.attr}")
    return found


def may_query(path: Path) -> bool:
    name = name_of(path)
    return (
        path.name in ALLOWED_NAMES
        or path.name.endswith("_repository.py")
        or name.startswith(ALLOWED_ROOMS)
        or name in ALLOWED_FILES
    )


@pytest.mark.parametrize("path", [p for p in product_files() if not may_query(p)], ids=name_of)
def test_sql_only_in_repositories(path: Path) -> None:
    assert sql_in(tree_of(path)) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from sqlalchemy import select", {"select"}),
        ("from sqlalchemy.dialects.postgresql import insert", {"insert"}),
        ("import sqlalchemy as sa", {"sqlalchemy"}),
        ("def f(self):\n    self.session.execute('DELETE FROM exam')", {"session.execute"}),
        ("from sqlalchemy.orm import Session", set()),
        ("from sqlalchemy import ColumnElement", set()),
    ],
)
def test_planted_sql_is_caught(source: str, found: set[str]) -> None:
    assert sql_in(ast.parse(source)) == found
