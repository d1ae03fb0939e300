"""What is installed at run time may be handed on with an Apache-2.0 program."""

import json
import re
import tomllib
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata

from packaging.requirements import Requirement

from tests.architecture.sources import ROOT

LOCKED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?==[^\\\n]+?)\s*\\?$", re.MULTILINE)
ROW = re.compile(r"^\| ([a-z0-9-]+) \| ([^|]+) \|", re.MULTILINE)
GPL = re.compile(r"(?<![A-Za-z])A?GPL|GNU (Affero )?General Public", re.IGNORECASE)
IN_ITS_FILE = {"node_modules/htmx-ext-sse": "0BSD", "node_modules/rechoir": "MIT"}
"""npm packages whose metadata says nothing, with what their LICENSE file says."""

LONGEST_NAME = 60
"""A longer `License` field is the text itself; then the classifiers say what it is."""


def locked(text: str) -> Iterator[str]:
    """Names of a lock that this machine needs; others are for another system or Python."""
    for line in LOCKED.findall(text):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement.name


def licence_of(package: Message) -> str:
    """The licence as a package states it: expression, short name, or classifiers."""
    stated = package["License-Expression"] or package["License"] or ""
    if stated and len(stated) <= LONGEST_NAME:
        return str(stated)
    classified = [value for value in package.get_all("Classifier", []) if value.startswith("License ::")]
    return "; ".join(value.rpartition(" :: ")[2] for value in classified)


def faults(packages: dict[str, Message]) -> list[str]:
    """Packages without a licence, or under the GPL or AGPL with nothing else to choose."""
    stated = {name: licence_of(package) for name, package in packages.items()}
    return [
        f"{name}: {text or 'none stated'}" for name, text in stated.items() if not text or GPL.search(text)
    ]


def made(**fields: str) -> Message:
    message = Message()
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    return message


def test_no_gpl_at_run_time() -> None:
    names = list(locked((ROOT / "requirements.lock").read_text(encoding="utf-8")))
    assert len(names) > 60
    assert faults({name: metadata(name) for name in names}) == []


def test_no_gpl_in_the_pages_scripts() -> None:
    lock = json.loads((ROOT / "hub/web/islands/package-lock.json").read_text(encoding="utf-8"))
    shipped = {path: entry for path, entry in lock["packages"].items() if path and not entry.get("dev")}
    assert len(shipped) > 5
    stated = {
        path: made(License=str(entry.get("license", IN_ITS_FILE.get(path, ""))))
        for path, entry in shipped.items()
    }
    assert faults(stated) == []


def test_the_table_of_the_decision_is_true_and_complete() -> None:
    """Oracle: the installed packages' own metadata and pyproject.toml."""
    page = (ROOT / "docs/decisions/0008-dependencies-and-licences.md").read_text(encoding="utf-8")
    written = {name: licence for name, licence in ROW.findall(page) if name != "package"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = {Requirement(line).name for line in project["dependencies"]}
    assert written.keys() == direct
    assert written == {name: licence_of(metadata(name)) for name in direct}


class TestTheseChecks:
    def test_gpl_is_caught_in_every_field(self) -> None:
        planted = {
            "a": made(License_Expression="GPL-3.0-or-later"),
            "b": made(License="AGPLv3"),
            "c": made(Classifier="License :: OSI Approved :: GNU General Public License v3 (GPLv3)"),
            "d": made(License="GNU Affero General Public License"),
            "e": made(),
        }
        assert [line[0] for line in faults(planted)] == list("abcde")

    def test_lgpl_and_the_rest_are_let_through(self) -> None:
        allowed = {
            "a": made(License_Expression="LGPL-3.0-only"),
            "b": made(License="MPL-2.0"),
            "c": made(Classifier="License :: OSI Approved :: BSD License"),
        }
        assert faults(allowed) == []

    def test_a_package_that_is_not_installed_is_no_pass(self) -> None:
        try:
            metadata("hub-planted-package")
        except PackageNotFoundError:
            return
        raise AssertionError("a package that is not installed has metadata")

    def test_a_lock_is_read_with_its_markers(self) -> None:
        text = 'one==1.0 \\\n    --hash=sha256:00\ntwo[x]==2 ; sys_platform == "win32" \\\n'
        assert list(locked(text)) == ["one"]
