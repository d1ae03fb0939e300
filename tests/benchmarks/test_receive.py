"""How fast objects are received, beside Orthanc and a bare receive loop in the same run.

DCMTK's storescu sends the same files to each, in turn. The hub syncs each object, commits
its row and its line of the trail before it answers; afterwards every object is counted and
held against its SHA-256. Figures are printed, never judged: machines differ.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from hub.reports.store_check import check_store
from tests.fixtures.hub_process import RunningHub, running_hub
from tests.fixtures.orthanc import running_orthanc
from tests.fixtures.peers import require_peer
from tests.fixtures.ports import free_port

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1500)]

DATA = Path(__file__).parents[1] / "data" / "dicom"
ROUNDS = int(os.environ.get("HUB_BENCH_ROUNDS", "3"))
OBJECTS = int(os.environ.get("HUB_BENCH_OBJECTS", "200"))


@dataclass(frozen=True)
class Load:
    """One way of sending: so many associations, each with a folder of so many objects."""

    name: str
    associations: int
    objects: int
    side: tuple[int, int]

    @property
    def megabytes(self) -> float:
        """Pixels of one round."""
        return self.associations * self.objects * self.side[0] * self.side[1] * 2 / 1e6


LOADS = (
    Load("ct_1_association", 1, OBJECTS, (512, 512)),
    # As many for each of 8 as of 64: the start of a sender costs as much as several objects.
    Load("ct_8_associations", 8, max(OBJECTS // 5, 1), (512, 512)),
    Load("ct_64_associations", 64, max(OBJECTS // 5, 1), (512, 512)),
    Load("dx_1_association", 1, max(OBJECTS // 20, 1), (3072, 2560)),
)


def make_folder(folder: Path, load: Load, pixels: bytes, patient: str) -> Path:
    """Write the objects of one association: one study, one series."""
    folder.mkdir(parents=True)
    dataset = dcmread(DATA / "CT_small.dcm")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Rows, dataset.Columns = load.side
    dataset.PixelData, dataset.PatientID = pixels, patient
    for number in range(1, load.objects + 1):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = number
        dataset.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
    return folder


def make_round(folder: Path, load: Load, label: str) -> list[Path]:
    """Write what one round sends, a folder for each association."""
    values = np.random.default_rng(len(label)).integers(0, 2000, size=load.side, dtype=np.int16)
    return [
        make_folder(folder / f"{label}-{n}", load, values.tobytes(), f"B{label}{n}")
        for n in range(load.associations)
    ]


def send(port: int, called: str, folders: list[Path]) -> float:
    """Send each folder on an association of its own, all at once; return the seconds it took."""
    program = require_peer("storescu")
    begun = time.perf_counter()
    senders = [
        subprocess.Popen(
            [program, "-aet", "BENCH", "-aec", called, "127.0.0.1", str(port), "+sd", str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for folder in folders
    ]
    statuses = [sender.wait() for sender in senders]
    assert set(statuses) == {0}, "an object was not taken"
    return time.perf_counter() - begun


@contextmanager
def bare_loop(folder: Path) -> Iterator[int]:
    """Run the yardstick; gives its port."""
    port = free_port()
    program = str(Path(__file__).with_name("receive_limit.py"))
    server = subprocess.Popen([sys.executable, program, str(port), str(folder)])
    time.sleep(1.5)
    try:
        yield port
    finally:
        server.kill()
        server.wait()


class PeakMemory:
    """The most resident memory that the listener had, in MB."""

    def __init__(self, hub: RunningHub) -> None:
        self._hub = hub

    def __call__(self) -> float:
        status = Path(f"/proc/{self._hub.pid_of('dicom')}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024


def test_receiving(tmp_path: Path) -> None:
    """Each round is made anew, sent to each receiver in turn, and removed."""
    with ExitStack() as stack:
        # Nothing settles within the run: packing would be measured along with receiving.
        hub = stack.enter_context(running_hub(tmp_path / "hub", settle_seconds='{"*": 3600, "ECG": 0}'))
        hub.register(sites=[("BB", "bench")], devices=[("BB", "BENCH")])
        receivers = {"hub": (hub.dicom_port, "HUB")}
        receivers["bare_loop"] = (stack.enter_context(bare_loop(tmp_path / "bare")), "LIMIT")
        figures: dict[str, object] = {}
        try:
            orthanc = stack.enter_context(running_orthanc(tmp_path / "orthanc", {}))
            receivers["orthanc"] = (orthanc.dicom_port, "ORTHANC")
        except pytest.skip.Exception:
            figures["orthanc"] = "not installed"
        sent = 0
        for load in LOADS:
            seconds: dict[str, list[float]] = {name: [] for name in receivers}
            for number in range(ROUNDS):
                folders = make_round(tmp_path / "out", load, f"{load.name}{number}")
                names = list(receivers)
                for name in names[number % len(names) :] + names[: number % len(names)]:
                    port, called = receivers[name]
                    seconds[name].append(send(port, called, folders))
                sent += load.associations * load.objects
            figures[load.name] = told(load, {name: median(times) for name, times in seconds.items()})
        figures["listener_peak_mb"] = round(PeakMemory(hub)())
        kept = [line for line in check_store(hub.context) if line.kind == "instance"]
        assert len(kept) == sent
        assert not [line for line in kept if line.fault]
        figures["objects_checked"] = len(kept)
    print(json.dumps(figures))


def told(load: Load, seconds: dict[str, float]) -> dict[str, float]:
    """Return rates, and the hub's ratio to each of the others."""
    objects = load.associations * load.objects
    figures = {f"{name}_objects_per_s": round(objects / each, 1) for name, each in seconds.items()}
    figures["hub_mb_per_s"] = round(load.megabytes / seconds["hub"], 1)
    others = {name: each for name, each in seconds.items() if name != "hub"}
    figures |= {f"ratio_to_{name}": round(each / seconds["hub"], 2) for name, each in others.items()}
    return figures
