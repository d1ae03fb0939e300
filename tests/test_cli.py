"""The `hub` command as administrators and scripts call it, on one data folder.

Output is held against what scripts rely on: bare values, JSON, exit status 0, 1 or 2, and
one line on stderr that says what is wrong.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from hub.auth.roles import Role
from hub.cli import app
from hub.config import Settings
from hub.context import open_context
from hub.dicom import ingest
from hub.jobs.testing import run_pending
from hub.kit.ids import is_id
from hub.sites import service as sites
from tests.dicom.samples import build, file_of
from tests.fixtures.world import SETUP, World

PASSWORD = "Chuanxi-2026"


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass
class Machine:
    """A data folder and commands run on it."""

    folder: Path

    def environment(self, settings: dict[str, str]) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
        own |= {"HUB_DATA_DIR": str(self.folder), "COLUMNS": "200"}
        return own | {f"HUB_{name.upper()}": value for name, value in settings.items()}

    def hub(self, *arguments: str, stdin: str = "", **settings: str) -> Done:
        """Run one command inside this process; its logging would outlive it and stays out."""
        with (
            patch.dict(os.environ, self.environment(settings), clear=True),
            patch("hub.kit.log.configure"),
            contextlib.chdir(self.folder),
        ):
            done = CliRunner().invoke(app, arguments, input=stdin)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    def process(self, *arguments: str, **settings: str) -> Done:
        """Run one command as a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "hub", *arguments],
            env=self.environment(settings),
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.folder,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def refused(self, *arguments: str, stdin: str = "", **settings: str) -> str:
        """Run a command that must fail with status 2 and one line; return the line."""
        done = self.hub(*arguments, stdin=stdin, **settings)
        assert done.status == 2, done
        assert done.out == ""
        lines = done.err.splitlines()
        assert len(lines) == 1, done.err
        assert lines[0].startswith("hub: ")
        return lines[0]

    @property
    def database(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "hub.db")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A migrated, empty hub."""
    machine = Machine(tmp_path_factory.mktemp("hub"))
    done = machine.hub("migrate")
    assert done.status == 0, done
    assert "0001" in done.out
    return machine


def test_registering_a_county(machine: Machine) -> None:
    """Each value printed is what the next command takes."""
    assert machine.hub("site", "add", "DP", "东陂镇分院").out == "DP\n"
    device = machine.hub(
        "device", "add", "DP", "--ae", "DP_DR", "--address", "10.1.2.3", "--charset", "GB18030"
    )
    assert is_id(device.out.strip())
    changed = machine.hub("device", "edit", device.out.strip(), "--address", "10.1.2.4", "--port", "104")
    assert changed.out == device.out
    user = machine.hub(
        "user", "add", "lin", "--name", "林书", "--role", "technician", "--site", "DP", "--password-stdin",
        stdin=f"{PASSWORD}\n",
    )  # fmt: skip
    assert is_id(user.out.strip())
    token = machine.process("token", "create", "--role", "sender", "--site", "DP")
    assert re.fullmatch(r"\S{30,}\n", token.out)
    assert token.err == ""
    kept = machine.database.execute("SELECT digest, role FROM api_token").fetchall()
    assert kept == [(hashlib.sha256(token.out.strip().encode()).hexdigest(), "sender")]
    (listed,) = json.loads(machine.hub("device", "list", "--json").out)
    assert (listed["site"], listed["ae_title"], listed["address"], listed["charset"]) == (
        "DP",
        "DP_DR",
        "10.1.2.4",
        "GB18030",
    )
    assert (listed["port"], listed["certificate"], listed["query_scope"]) == (104, None, "site")
    shown = machine.hub("user", "list", "--json").out + str(
        machine.database.execute("SELECT * FROM user_account").fetchall()
    )
    assert PASSWORD not in shown
    assert "technician@DP" in shown


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("site", "add", "../x", "名"), "code"),
        (("device", "add", "NOWHERE", "--ae", "X"), "NOWHERE"),
        (("device", "add", "ZZ", "--ae", "X", "--address", "999.1.2.3"), ""),
        (("token", "create", "--role", "emperor"), "role"),
        (("exams", "--state", "lost"), "state"),
        (("report", "show", "nothing"), "nothing"),
        (("verify", "report", "nothing"), "nothing"),
        (("verify", "audit", "--anchor", "x"), "SEQ:HASH"),
        (("edge",), "not in this release"),
        (("backup",), "not in this release"),
        (("restore",), "not in this release"),
        (("bench",), "not in this release"),
        (("--config", "absent.toml", "exams"), "absent.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_refused_is_said_in_one_line(machine: Machine, arguments: tuple[str, ...], word: str) -> None:
    assert word in machine.refused(*arguments)


def test_a_weak_password_is_refused(machine: Machine) -> None:
    machine.refused(
        "user", "add", "weak", "--name", "弱", "--role", "admin", "--password-stdin", stdin="abc\n"
    )
    assert machine.database.execute("SELECT count(*) FROM user_account WHERE login = 'weak'").fetchone() == (
        0,
    )


def test_a_bad_setting_is_named(machine: Machine) -> None:
    assert "HUB_WEB_BIND" in machine.refused("exams", web_bind="nonsense")


def test_a_database_that_does_not_answer(machine: Machine) -> None:
    line = machine.refused(
        "exams", database_url="postgresql+psycopg://hub:geheim@127.0.0.1:1/hub?connect_timeout=2"
    )
    assert "HUB_DATABASE_URL" in line
    assert "geheim" not in line


@pytest.mark.parametrize("command", [("exams",), ("web",), ("dicom",), ("worker",), ("verify", "audit")])
def test_a_database_that_was_never_migrated(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert "hub migrate" in Machine(tmp_path).refused(*command)


def test_check(machine: Machine) -> None:
    done = machine.hub("check")
    names = [line.split(":")[0].split(maxsplit=1)[1] for line in done.out.splitlines()]
    assert {"settings", "database", "object store", "free space", "report font", "DICOM codecs"} <= set(names)
    assert all(line.startswith(("ok ", "FAIL")) for line in done.out.splitlines())
    assert done.status == int("FAIL" in done.out)


def test_check_names_a_store_that_does_not_answer(machine: Machine) -> None:
    done = machine.hub(
        "check",
        object_store="s3://bucket",
        s3_endpoint="127.0.0.1:1",
        s3_secure="false",
        s3_access_key="k",
        s3_secret_key="s",
    )
    assert done.status == 1
    assert re.search(r"FAIL +object store: \S", done.out)


@pytest.fixture(scope="module")
def used(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, str]:
    """A hub with one settled CT image, and the exam's number."""
    machine = Machine(shutil.copytree(machine.folder, tmp_path_factory.mktemp("used") / "hub"))
    context = open_context(Settings(data_dir=machine.folder, settle_seconds={"*": 0}))
    with context.db.transaction() as session:
        site = sites.add_site(session, "LP", "龙坪镇分院", now=context.clock(), actor=SETUP)
    origin = World(context, context.clock, {"LP": site.id}).origin("LP")  # type: ignore[arg-type]
    ingest.file_upload(context, BytesIO(file_of(build())), origin, "LP")
    run_pending(context)
    context.db.dispose()
    (exam,) = json.loads(machine.hub("exams", "--json").out)
    assert (exam["state"], exam["site"], exam["instances"], exam["modality"]) == (
        "complete",
        "LP",
        1,
        "CT",
    )
    assert exam["study_uid"] == "1.2.3"
    return machine, str(exam["number"])


def test_report_show(used: tuple[Machine, str]) -> None:
    machine, exam = used
    shown = json.loads(machine.hub("report", "show", exam, "--json").out)
    assert (shown["exam"], shown["state"], shown["signed"]) == (exam, "complete", None)
    assert [step["to"] for step in shown["timeline"]][-1] == "complete"
    assert machine.database.execute(
        "SELECT count(*) FROM audit_event WHERE tag = 'reports:report:view' AND actor_id = 'cli'"
    ).fetchone() == (1,)


def test_verify_store(used: tuple[Machine, str], tmp_path: Path) -> None:
    machine = Machine(shutil.copytree(used[0].folder, tmp_path / "hub"))
    done = machine.hub("verify", "store", "--json")
    assert (done.status, json.loads(done.out)["ok"]) == (0, True)
    (file,) = (machine.folder / "objects" / "dicom").rglob("*.dcm")
    content = file.read_bytes()
    file.chmod(0o640)
    file.write_bytes(content[:-1] + b"\xff")
    (machine.folder / "objects" / "foreign.bin").write_bytes(b"x")
    done = machine.hub("verify", "store", "--json")
    file.write_bytes(content)
    found = json.loads(done.out)
    assert (done.status, found["ok"], found["faults"]) == (1, False, 1)
    assert found["unreferenced_keys"] == ["foreign.bin"]
    assert re.fullmatch(r"altered: instance \S{26} dicom/LP/\S+", found["problems"][0])


def test_verify_audit(used: tuple[Machine, str], tmp_path: Path) -> None:
    machine = Machine(shutil.copytree(used[0].folder, tmp_path / "hub"))
    assert machine.hub("verify", "audit").status == 0
    with machine.database as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE audit_event SET actor_name = 'nobody' WHERE seq = 3")
    done = machine.hub("verify", "audit", "--json")
    assert done.status == 1
    assert json.loads(done.out)["problems"][0].startswith("row 3:")


def test_roles_are_spelled_either_way(machine: Machine) -> None:
    """`IT_admin` and the like: dashes, underscores and case do not matter."""
    done = machine.hub("token", "create", "--role", Role.SENDER.upper(), "--site", "ZZ")
    assert done.status == 2
    assert "ZZ" in done.err


def test_as_a_process_too(machine: Machine) -> None:
    """What the shell sees: status, one line, no trace."""
    done = machine.process("web", data_dir=str(machine.folder / "empty"))
    assert (done.status, done.out) == (2, "")
    assert re.fullmatch(r"hub: .*hub migrate.*\n", done.err)
