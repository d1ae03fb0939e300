"""How fast DICOMweb answers, beside Orthanc with its DICOMweb plugin in the same run.

Both hold the same two studies and are asked by the same client on one kept connection,
in turn. The hub authenticates, writes its trail and holds whole objects against their
SHA-256; Orthanc, as it is installed, does none of this. Figures are printed, never
judged: machines differ. Without Orthanc only the hub's are printed.
"""

import http.client
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)
from scipy.ndimage import gaussian_filter

from hub.auth.roles import Role
from tests.fixtures.hub_process import RunningHub, running_hub
from tests.fixtures.orthanc import running_orthanc
from tests.system.storescu import push

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

SLICES = 60
JSON = {"Accept": "application/dicom+json"}
FILES = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
FRAMES = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
HTJ2K = {
    "Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.4.201'
}
JPEG = {"Accept": "image/jpeg"}
AS_FAST = {"KeepAlive": True, "TcpNoDelay": True, "StableAge": 2}
"""Settings with which Orthanc answers as fast as it can."""


@dataclass
class Series:
    """One series as it was made."""

    study: str
    series: str
    patient: str
    files: list[Path] = field(default_factory=list)
    instances: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address below the service."""
        return f"/studies/{self.study}/series/{self.series}"

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.stat().st_size for file in self.files)


def make_series(  # noqa: PLR0917 - what makes a series
    folder: Path, modality: str, sop_class: str, rows: int, columns: int, count: int
) -> Series:
    """Write a series of smooth noise with a little grain, 12 bits in 16."""
    random = np.random.default_rng(7)
    smooth = gaussian_filter(random.normal(0, 1, (rows, columns)), 12)
    smooth = (smooth - smooth.min()) / np.ptp(smooth) * 3800
    made = Series(generate_uid(), generate_uid(), f"BENCH-{modality}")
    folder.mkdir()
    for number in range(1, count + 1):
        grain = random.normal(0, 12, (rows, columns))
        pixels = np.clip(np.roll(smooth, number * 5, 0) + grain, 0, 4095).astype("<u2")
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
        dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20260105", "101500", modality
        dataset.PatientName, dataset.PatientID = "Bench^Mark", made.patient
        dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
        dataset.AccessionNumber, dataset.StudyDescription = f"A{modality}", "BENCH"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = made.study, made.series
        dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, number
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
        dataset.FrameOfReferenceUID, dataset.SliceThickness = made.study, 1
        dataset.PixelSpacing, dataset.RescaleIntercept, dataset.RescaleSlope = [0.5, 0.5], -1024, 1
        dataset.WindowCenter, dataset.WindowWidth = 400, 3000
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows, dataset.Columns = rows, columns
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation, dataset.PixelData = 0, pixels.tobytes()
        dataset["PixelData"].VR = "OW"
        file = folder / f"{number:03d}.dcm"
        dataset.save_as(file, enforce_file_format=True)
        made.files.append(file)
        made.instances.append(str(dataset.SOPInstanceUID))
    return made


class Client:
    """One kept connection to one service."""

    def __init__(self, port: int, root: str = "/dicom-web", **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.root, self.headers = root, headers

    def get(self, path: str, headers: dict[str, str]) -> bytes:
        """Return the body of an answer, which must be 200."""
        self.connection.request("GET", self.root + path, headers=self.headers | headers)
        answer = self.connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (path, answer.status, body[:300])
        return body

    def close(self) -> None:
        """Hang up."""
        self.connection.close()


def wait_until(done: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


def settled(hub: RunningHub, made: list[Series]) -> bool:
    """Tell whether the hub counts both studies as complete and has done what follows."""
    return len(hub.exams()) == len(made)


def questions(ct: Series, dx: Series) -> dict[str, tuple[Callable[[int], tuple[str, dict[str, str]]], int]]:
    """Return what is asked: name, path and headers by number of the round, and how often."""
    slices = ct.instances
    return {
        "qido_studies_ms": (lambda _: ("/studies?limit=50", JSON), 60),
        "qido_by_patient_ms": (lambda _: (f"/studies?PatientID={ct.patient}", JSON), 60),
        "series_metadata_ms": (lambda _: (f"{ct.url}/metadata", JSON), 40),
        "frame_ct_ms": (lambda n: (f"{ct.url}/instances/{slices[n % SLICES]}/frames/1", FRAMES), 120),
        "frame_dx_ms": (lambda _: (f"{dx.url}/instances/{dx.instances[0]}/frames/1", FRAMES), 20),
        "instance_ct_ms": (lambda n: (f"{ct.url}/instances/{slices[n % SLICES]}", FILES), 60),
        "series_ct_ms": (lambda _: (ct.url, FILES), 15),
        "rendered_dx_ms": (lambda _: (f"{dx.url}/instances/{dx.instances[0]}/rendered", JPEG), 10),
        "rendered_ct_ms": (lambda n: (f"{ct.url}/instances/{slices[n % SLICES]}/rendered", JPEG), 40),
    }


def measure(
    clients: dict[str, Client], ask: Callable[[int], tuple[str, dict[str, str]]], times: int
) -> dict[str, float]:
    """Return the median milliseconds of each client, asked in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(times + 2):
        path, headers = ask(number)
        for name, client in clients.items():
            begun = time.perf_counter()
            client.get(path, headers)
            if number >= 2:
                seconds[name].append(time.perf_counter() - begun)
    return {name: median(values) * 1e3 for name, values in seconds.items()}


def figures_of(clients: dict[str, Client], ct: Series, dx: Series) -> dict[str, float]:
    """Measure everything; beside each figure the peer's and how many times faster the hub is."""
    figures: dict[str, float] = {}
    for name, (ask, times) in questions(ct, dx).items():
        found = measure(clients, ask, times)
        figures[name] = round(found["hub"], 2)
        if "orthanc" in found:
            figures[f"orthanc_{name}"] = round(found["orthanc"], 2)
            figures[f"{name.removesuffix('_ms')}_times_as_fast"] = round(found["orthanc"] / found["hub"], 2)
        if name == "series_ct_ms":
            for who, milliseconds in found.items():
                figures[f"{who}_series_ct_mb_per_s"] = round(ct.size / 1e3 / milliseconds)
    dx_frame = f"{dx.url}/instances/{dx.instances[0]}"
    alone = {"hub": clients["hub"]}
    small = measure(alone, lambda _: (f"{dx_frame}/rendered?viewport=1024,1024", JPEG), 10)["hub"]
    figures["rendered_dx_1024_ms"] = round(small, 2)
    encoded = measure(
        alone, lambda n: (f"{ct.url}/instances/{ct.instances[n % SLICES]}/frames/1", HTJ2K), 20
    )["hub"]
    figures["frame_ct_as_htj2k_ms"] = round(encoded, 2)
    return figures


def test_retrieval(tmp_path: Path) -> None:
    ct = make_series(tmp_path / "ct", "CT", CTImageStorage, 512, 512, SLICES)
    dx = make_series(tmp_path / "dx", "DX", DigitalXRayImageStorageForPresentation, 3000, 2500, 1)
    with running_hub(tmp_path) as hub:
        hub.register(sites=[("BB", "bench")], devices=[("BB", "BENCH")])
        for made in (ct, dx):
            assert push(hub.dicom_port, made.files, calling="BENCH").succeeded == frozenset(made.files)
        wait_until(lambda: settled(hub, [ct, dx]))
        time.sleep(float(os.environ.get("HUB_BENCH_SETTLE_SECONDS", "5")))
        with ExitStack() as stack:
            ours = Client(hub.web_port, Authorization=f"Bearer {hub.token(Role.DOCTOR, 'BB')}")
            clients = {"hub": stack.enter_context(closing(ours))}
            figures: dict[str, Any] = {"slices": SLICES}
            try:
                orthanc = stack.enter_context(
                    running_orthanc(tmp_path / "orthanc", {}, dicomweb={}, **AS_FAST)
                )
                for file in ct.files + dx.files:
                    orthanc.post("/instances", file.read_bytes())
                clients["orthanc"] = stack.enter_context(closing(Client(orthanc.http_port)))
                figures["orthanc"] = orthanc.get("/system")["Version"]
            except pytest.skip.Exception:
                figures["orthanc"] = "not installed"
            print(json.dumps(figures | figures_of(clients, ct, dx)))
