"""How fast objects are received, beside DCMTK's storescp in the same run.

The hub fsyncs each file and commits its row before it answers; storescp does neither.
The ratio says what that costs. Figures are printed, never judged: machines differ.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest

from tests.fixtures.hub_process import free_port, running_hub
from tests.fixtures.peers import require_peer
from tests.system.storescu import make_study, push

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

DATA = Path(__file__).parents[1] / "data" / "dicom"
OBJECTS, ROUNDS = 200, 5


@contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """Run DCMTK's receiver on a free port."""
    port = free_port()
    folder.mkdir()
    server = subprocess.Popen(
        [require_peer("storescp"), "-od", str(folder), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.5)
    try:
        yield port
    finally:
        server.terminate()
        server.wait()


def rate(send: Callable[[list[Path]], None], studies: list[list[Path]]) -> float:
    """Return the median objects per second over the studies, after one that is not counted."""
    send(studies[0])
    seconds = []
    for files in studies[1:]:
        begun = time.perf_counter()
        send(files)
        seconds.append(time.perf_counter() - begun)
    return OBJECTS / median(seconds)


def test_objects_per_second_on_one_association(tmp_path: Path) -> None:
    def studies(name: str) -> list[list[Path]]:
        return [
            make_study(DATA / "CT_small.dcm", tmp_path / name / str(n), OBJECTS, patient_id=f"B{n}")
            for n in range(ROUNDS + 1)
        ]

    def to(port: int) -> Callable[[list[Path]], None]:
        def send(files: list[Path]) -> None:
            assert push(port, files, calling="BENCH").succeeded == frozenset(files)

        return send

    with running_hub(tmp_path) as hub:
        hub.register(sites=[("BB", "bench")], devices=[("BB", "BENCH")])
        ours = rate(to(hub.dicom_port), studies("hub"))
    with storescp(tmp_path / "storescp") as port:
        theirs = rate(to(port), studies("peer"))
    figures = {
        "object_kb": (DATA / "CT_small.dcm").stat().st_size // 1024,
        "hub_objects_per_s": round(ours, 1),
        "storescp_objects_per_s": round(theirs, 1),
        "ratio": round(ours / theirs, 3),
    }
    print(json.dumps(figures))
