"""What the hub itself writes as DICOM has no fault of its own.

Oracle: dciodvfy of David Clunie's dicom3tools, which holds an object against the modules of
its SOP class and every value against its representation. Real devices' objects have faults;
the hub's copies may have those and no others.
"""

import subprocess
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest
from pydicom import dcmread

from hub.demo_data.dicom.studies import FOLDER, STUDIES, DemoPatient, DemoStudy, prepare
from hub.dicom.part10 import file_header, split
from hub.dicom.transcode import HTJ2K, HTJ2K_RPCL, JPEG_2000, MADE_HERE, transcodable, transcode_file
from tests.dicom.samples import DATA, dataset_of
from tests.fixtures.peers import require_peer

FILES = sorted(DATA.glob("*.dcm"))
DEFLATED = {"image_dfl.dcm", "liver_deflate.dcm"}
"""Data sets that dciodvfy reads only after DCMTK has inflated them, or not at all."""
UNREADABLE = {"liver_deflate.dcm"}
"""Only its frames are deflated, in a syntax that neither program knows."""
CASES = [
    (path, syntax)
    for path in FILES
    if path.name not in UNREADABLE
    for syntax in sorted(MADE_HERE)
    if transcodable(path, syntax)
]


def faults(file: Path) -> frozenset[str]:
    """What dciodvfy calls an error in a file."""
    done = subprocess.run([require_peer("dciodvfy"), str(file)], capture_output=True, timeout=60, check=False)
    lines = done.stderr.decode(errors="replace").splitlines()
    assert lines, "dciodvfy names at least the kind of object"
    return frozenset(line for line in lines if line.startswith(("Error", "Abort")))


def faults_of(content: bytes, folder: Path) -> frozenset[str]:
    file = folder / "made.dcm"
    file.write_bytes(content)
    return faults(file)


@cache
def faults_before(path: Path, folder: Path) -> frozenset[str]:
    """Faults that a file came with."""
    if path.name not in DEFLATED:
        return faults(path)
    inflated = folder / path.name
    subprocess.run([require_peer("dcmconv"), "+te", path, inflated], check=True, capture_output=True)
    return faults(inflated)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dciodvfy")


@pytest.mark.parametrize(
    ("path", "syntax"),
    CASES,
    ids=[f"{path.stem}-{syntax[len('1.2.840.10008.') :]}" for path, syntax in CASES],
)
def test_a_transcoded_object_has_no_fault_that_the_stored_one_has_not(
    path: Path, syntax: str, folder: Path
) -> None:
    header, *pieces = transcode_file(path, syntax)
    if syntax in {HTJ2K, HTJ2K_RPCL}:
        # dciodvfy is older than these; their frames are encapsulated as those of JPEG 2000 are.
        meta, _ = split(path)
        header = file_header(
            sop_class=meta.sop_class, sop_instance=meta.sop_instance, transfer_syntax=JPEG_2000
        )
    assert faults_of(b"".join((header, *pieces)), folder) <= faults_before(path, folder)


def test_enough_of_them_come_without_any_fault(folder: Path) -> None:
    clean = {path.name for path, _ in CASES if not faults_before(path, folder)}
    assert {
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "seg_image_ct_binary.dcm",
    } <= clean
    assert len(clean) >= 10


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name not in DEFLATED], ids=lambda path: path.name
)
def test_the_header_before_a_received_data_set_adds_none(path: Path, folder: Path) -> None:
    meta, _ = split(path)
    header = file_header(
        sop_class=meta.sop_class,
        sop_instance=meta.sop_instance,
        transfer_syntax=meta.transfer_syntax,
        calling_ae="DP_CT",
        called_ae="HUB",
    )
    assert faults_of(header + dataset_of(path), folder) <= faults(path)


PATIENT = DemoPatient("D0001", "李^演示", "F", "19620304")


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.code)
def test_a_study_of_the_demo_has_none_that_its_real_files_have_not(study: DemoStudy, folder: Path) -> None:
    files = prepare(study, PATIENT, datetime(2026, 1, 2, 8, 30), "ACC1")  # noqa: DTZ001 - a device's local clock
    for name, content in zip(study.files, files, strict=False):
        assert faults_of(content, folder) <= faults(FOLDER / name)
    for drawn in files[len(study.files) :]:
        assert faults_of(drawn, folder) == frozenset()


def test_planted_faults_are_found(folder: Path) -> None:
    """A missing element, a value that its representation cannot hold, pixels too short."""
    dataset = dcmread(DATA / "CT_small.dcm")
    del dataset.FrameOfReferenceUID
    dataset["StudyDate"]._value = "2004.01.19"
    dataset.PixelData = dataset.PixelData[:-2]
    file = folder / "planted.dcm"
    dataset.save_as(file)
    found = "\n".join(faults(file))
    assert all(part in found for part in ("<FrameOfReferenceUID>", "Study Date", "PixelData"))
