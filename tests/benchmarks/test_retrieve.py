"""How fast objects go out by C-GET and C-MOVE, with DCMTK taking them. Figures are printed, never judged."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.dicom.samples import DATA, dataset_of
from tests.fixtures.peers import require_peer
from tests.fixtures.query_retrieve import Archive
from tests.fixtures.storage_nodes import storescp
from tests.fixtures.world import World
from tests.system.storescu import make_study

OBJECTS = 200

pytestmark = pytest.mark.benchmark


def test_retrieval(sqlite_world: World, tmp_path: Path) -> None:
    """Two hundred CT images of 39 kB and all of them again at the destination, byte for byte."""
    archive = Archive(sqlite_world)
    archive.device("WARD", address="127.0.0.1")
    files = make_study(DATA / "CT_small.dcm", tmp_path / "in", OBJECTS, patient_id="P1")
    archive.files(tmp_path / "in")
    study = dcmread(files[0]).StudyInstanceUID
    level = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    figures: dict[str, float] = {"objects": OBJECTS, "bytes": len(dataset_of(files[0]))}
    with archive.listening() as port, storescp(tmp_path / "moved") as destination:
        archive.device("VIEWER", address="127.0.0.1", port=destination)
        who = ["-aet", "WARD", "-aec", "HUB", "127.0.0.1", str(port)]
        (tmp_path / "got").mkdir()
        for name, command in {
            "get": ["getscu", "-S", "+B", "-od", str(tmp_path / "got"), *level, *who],
            "move": ["movescu", "-S", *level, "-aem", "VIEWER", *who],
        }.items():
            require_peer(command[0])
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, timeout=120)
            figures[f"{name}_objects_per_second"] = round(OBJECTS / (time.perf_counter() - began), 1)
    print(json.dumps(figures))
    for folder in ("got", "moved"):
        arrived = sorted(dataset_of(path) for path in (tmp_path / folder).iterdir())
        assert arrived == sorted(dataset_of(path) for path in files)
