"""The whole folder of licensed test data, when HUB_TEST_DATA names it."""

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest

from hub.dicom.frames import NoPixels
from hub.dicom.header import read_header
from hub.dicom.json_model import json_model
from hub.dicom.part10 import NotDicom, split
from hub.dicom.pixels import decode_frame
from hub.errors import Rejected

FOLDER = os.environ.get("HUB_TEST_DATA", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="HUB_TEST_DATA is not set")
PLUGINS_CANNOT = {"liver_deflate.dcm", "liver_rle.dcm"}


def files(part: str) -> list[Path]:
    return sorted(path for path in (Path(FOLDER) / part).rglob("*") if path.is_file())


def test_headers_or_named_refusals() -> None:
    named, refusals = 0, set[str]()
    for path in [*files("images"), *files("charsets"), *files("broken")]:
        raw = path.read_bytes()
        try:
            meta, offset = split(raw)
            read_header(raw[offset:], meta.transfer_syntax, sop_class=meta.sop_class)
            named += 1
        except Rejected as error:
            refusals.add(error.code)
    assert named > 200
    assert refusals <= {"UidMissing", "NotDicom", "BrokenDataset", "PixelsMissing", "PixelsImpossible"}


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_pixels_equal_pydicoms_and_json_leaves_nothing_out() -> None:
    """Oracle: pydicom's pixel_array of the first frame."""
    for path in files("images"):
        if path.name == "csa_slice_norm.dcm":  # an MR image whose pixels were taken out
            continue
        try:
            pixels = decode_frame(path, 0).pixels
        except (NoPixels, NotDicom):
            continue
        assert json_model(path, str).skipped == 0, path.name
        if path.name in PLUGINS_CANNOT:
            continue
        theirs = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in theirs.file_meta:
            theirs.file_meta.TransferSyntaxUID = split(path)[0].transfer_syntax
        whole = theirs.pixel_array
        first = whole[0] if int(theirs.get("NumberOfFrames") or 1) > 1 else whole
        assert np.array_equal(first, pixels), path.name
