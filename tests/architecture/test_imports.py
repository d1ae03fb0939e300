"""Imports only go down the list of rooms."""

import ast
from pathlib import Path

import pytest

from tests.architecture.sources import imported_modules, name_of, product_files, tree_of

LAYERS: tuple[set[str], ...] = (
    {"storage", "errors"},
    {"kit"},
    {"config"},
    {"db"},
    {"context"},  # what a process holds: settings, database, store, clock
    {"jobs"},
    {"audit", "web"},  # both have chores that run as jobs
    {"auth"},
    {"sites"},
    {"patients"},
    {"catalogue"},
    {"dicom", "ecg"},
    {"worklist"},
    {"reports"},
    {"delivery"},
    {"insight"},
    {"edge"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
TOP = len(LAYERS)
"""Wiring at the top of ``hub/``: the application, the commands, the demo. Nothing imports it but itself."""
EDGE_MAY_USE = {"storage", "errors", "kit", "dicom", "ecg", "edge"}
"""The township box carries no database: it uses the listener and the readers alone."""


def room_of(module: str) -> str | None:
    """The room a dotted name lies in; None for other people's packages."""
    parts = module.split(".")
    if parts[0] == "storage":
        return "storage"
    if parts[0] != "hub" or len(parts) == 1:
        return None  # `import hub` finds rooms by name at run time: migrations, handlers of jobs
    return parts[1]


def climbs(room: str, tree: ast.AST) -> set[str]:
    """Rooms on the same level or above that a file of `room` imports."""
    level = LEVEL.get(room, TOP)
    others = {other for module in imported_modules(tree) if (other := room_of(module)) not in (None, room)}
    return {str(other) for other in others if LEVEL.get(str(other), TOP) >= level and level < TOP}


def room_of_file(path: Path) -> str:
    name = name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return room_of(name) or "hub"


@pytest.mark.parametrize("path", product_files(), ids=name_of)
def test_imports_only_go_down(path: Path) -> None:
    assert climbs(room_of_file(path), tree_of(path)) == set()


def test_every_folder_has_its_level() -> None:
    folders = {room_of_file(path) for path in product_files() if path.parent.name != "hub"}
    assert folders - LEVEL.keys() - {"demo_data"} == set()


@pytest.mark.parametrize("path", product_files(), ids=name_of)
def test_the_township_box_uses_no_database(path: Path) -> None:
    if room_of_file(path) == "edge":
        rooms = {room for module in imported_modules(tree_of(path)) if (room := room_of(module))}
        assert rooms <= EDGE_MAY_USE


@pytest.mark.parametrize(
    ("room", "line", "caught"),
    [
        ("catalogue", "from hub.worklist.models import Exam", {"worklist"}),
        ("dicom", "import hub.ecg.read", {"ecg"}),
        ("jobs", "def late():\n    from hub.audit import service", {"audit"}),
        ("auth", "from hub import sites", {"sites"}),
        ("kit", "from hub.app import create_app", {"app"}),
        ("worklist", "from hub.catalogue.models import Study", set()),
        ("app", "from hub.insight import pages", set()),
    ],
)
def test_a_planted_climb_is_caught(room: str, line: str, caught: set[str]) -> None:
    assert climbs(room, ast.parse(line)) == caught
