"""Everything broken that we have, pushed and uploaded at a whole hub, again and again."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from hub.dicom.contexts import storage_classes, transfer_syntaxes
from hub.dicom.part10 import split
from hub.errors import HubError
from hub.kit.uids import new_uid, parse_uid
from tests.fixtures.hub_process import ROLES, RunningHub, running_hub
from tests.fixtures.raw_dicom import EXPLICIT_LITTLE, c_store_raw

DATA = Path(__file__).parents[1] / "data"
ROUNDS = 3
GROWTH_KB = 60 * 1024
SLOWEST_SECONDS = 20.0
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
SECRETS = (b"Traceback", b'File "')

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def broken_files() -> dict[str, bytes]:
    """Name to bytes; some are made here from good ECG files."""
    folders = [DATA / "dicom" / "broken"]
    if wide := os.environ.get("HUB_TEST_DATA"):
        folders.append(Path(wide) / "broken")
    found = {
        path.name: path.read_bytes()
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.is_file()
    }
    ecg = (DATA / "ecg" / "mortara_12lead.dcm").read_bytes()
    header = (DATA / "ecg" / "ludb_45.hea").read_bytes()
    return found | {
        "made_ecg_cut.dcm": ecg[: len(ecg) // 2],
        "made_ecg_without_calibration.dcm": ecg.replace(b"\x3a\x00\x10\x02", b"\x3b\x00\x10\x02"),
        "made_header_alone.hea": header,
        "made_header_huge.hea": header.replace(b"500", b"9" * 30, 1),
        "made_header_climbs.hea": header.replace(b"45.dat", b"../../../etc/passwd"),
        "made_zeros.dat": bytes(4096),
        "made_noise.dcm": bytes(range(256)) * 64,
        "made_empty.dcm": b"",
    }


@dataclass(frozen=True)
class Answer:
    """What a sender was told."""

    file: str
    wire: str
    status: int | None
    said: str
    seconds: float


class Sender:
    """A device and a program that send to one hub."""

    def __init__(self, hub: RunningHub, token: str) -> None:
        self.hub = hub
        self.token = token

    def dicom(self, name: str, content: bytes) -> Answer:
        """Send a file's data set as it stands over C-STORE."""
        sop_class, sop, syntax, dataset = CT_CLASS, new_uid(), EXPLICIT_LITTLE, content
        with contextlib.suppress(HubError):
            meta, offset = split(content)
            dataset = content[offset:]
            sop_class = meta.sop_class if meta.sop_class in storage_classes() else sop_class
            syntax = meta.transfer_syntax if meta.transfer_syntax in transfer_syntaxes() else syntax
            sop = parse_uid(meta.sop_instance)
        begun = time.monotonic()
        status = c_store_raw(self.hub.dicom_port, dataset, sop_class, sop, syntax, "BROKEN")
        said = "" if status is None else f"0x{status:04X}"
        return Answer(name, "C-STORE", status, said, time.monotonic() - begun)

    def http(self, path: str, name: str, content: bytes) -> Answer:
        """Upload a file as a form does."""
        boundary = "hub-test-boundary"
        body = (
            (
                f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            ).encode()
            + content
            + f"\r\n--{boundary}--\r\n".encode()
        )
        begun = time.monotonic()
        connection = HTTPConnection("127.0.0.1", self.hub.web_port, timeout=60)
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Authorization": f"Bearer {self.token}",
            "Accept-Language": "en",
        }
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        assert not any(secret in said for secret in SECRETS), said
        return Answer(name, path, answer.status, said.decode(), time.monotonic() - begun)

    def round(self, files: dict[str, bytes]) -> list[Answer]:
        """Send everything over every way."""
        return [
            answer
            for name, content in files.items()
            for answer in (
                # DIMSE has no empty data set: a sender would announce one and never send it.
                self.dicom(name, content or b"\0"),
                self.http("/api/v1/dicom", name, content),
                self.http("/api/v1/ecg", name, content),
            )
        ]


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    with running_hub(tmp_path_factory.mktemp("broken"), settle_seconds='{"*": 1}') as hub:
        hub.cli("site", "add", "DP", "东陂镇分院")
        hub.cli("device", "add", "DP", "--ae", "BROKEN")
        yield Sender(hub, hub.cli("token", "create", "--role", "sender", "--site", "DP").strip())


def test_each_is_refused_or_kept_and_the_hub_lives_on(sender: Sender) -> None:
    """Oracle: process ids and resident memory as the kernel reports them."""
    hub, files = sender.hub, broken_files()
    processes = {role: hub.pid_of(role) for role in ROLES}
    answers = sender.round(files)
    warm = {role: hub.memory_kb(role) for role in ("web", "dicom")}
    for _ in range(ROUNDS):
        answers += sender.round(files)
    grown = {role: hub.memory_kb(role) - before for role, before in warm.items()}
    table(answers[: 3 * len(files)], warm, grown)
    hub.wait_ready(30)
    assert {role: hub.pid_of(role) for role in ROLES} == processes, "a process died on the way"
    for answer in answers:
        check(answer)
    assert max(answer.seconds for answer in answers) < SLOWEST_SECONDS
    assert all(growth < GROWTH_KB for growth in grown.values()), grown
    assert_refused_are_at_the_desk(hub, answers[: 3 * len(files)])
    assert hub.cli("jobs", "list", "--stuck", "--json").strip() == "[]"
    assert "NOT OK" not in hub.cli("verify", "store")
    assert "NOT OK" not in hub.cli("verify", "audit")


def check(answer: Answer) -> None:
    """A clear answer: success, or a refusal that says why; never a fault of the hub."""
    if answer.wire == "C-STORE":
        assert answer.status is not None, f"{answer.file}: no answer"
        # 0xC211 is what an unforeseen exception is answered with (hub.dicom.scp).
        assert answer.status not in {0xC211, 0xA700, 0x0110}, answer
        return
    assert answer.status is not None
    assert answer.status < 500, answer
    if answer.status >= 400:
        assert '"code"' in answer.said, answer
        assert '"message"' in answer.said, answer


def assert_refused_are_at_the_desk(hub: RunningHub, answers: list[Answer]) -> None:
    """What a device was refused is kept, so that a person can look into it; the same bytes once."""
    refused = [answer for answer in answers if answer.wire == "C-STORE" and answer.status != 0]
    connection = sqlite3.connect(hub.folder / "data" / "hub.db")
    kept = connection.execute("SELECT files, reason FROM quarantined WHERE resolved_at IS NULL").fetchall()
    connection.close()
    assert refused
    assert len(kept) >= len({answer.file for answer in refused}) - duplicates(refused)
    assert all(reason for _, reason in kept)


def duplicates(refused: list[Answer]) -> int:
    """How many refused files hold the same bytes as another."""
    contents = [broken_files()[answer.file] for answer in refused]
    return len(contents) - len(set(contents))


def table(answers: list[Answer], warm: dict[str, int], grown: dict[str, int]) -> None:
    """Print what each file was answered; seen with `pytest -s`."""
    for first, second, third in zip(answers[::3], answers[1::3], answers[2::3], strict=True):
        codes = [one.said.partition('"code":"')[2].partition('"')[0] for one in (second, third)]
        print(
            f"{first.file:42} {first.said or 'none':8} {second.status} {codes[0]:18}"
            f" {third.status} {codes[1]:18} {max(first.seconds, second.seconds, third.seconds):5.2f} s"
        )
    print({role: f"{warm[role] // 1024} MB + {grown[role] / 1024:.1f}" for role in warm})
