"""A viewer of other makers on the hub's DICOMweb: prebuilt OHIF opens a CT study in Chromium."""

import io
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pydicom
import pytest
from PIL import Image
from playwright.sync_api import Browser
from pydicom.uid import generate_uid

from hub.auth.roles import Role
from tests.fixtures.browser import browser
from tests.fixtures.hub_process import running_hub
from tests.fixtures.ohif import require_ohif, serving
from tests.system.storescu import push

__all__ = ["browser"]

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

DATA = Path(__file__).parents[1] / "data" / "dicom"
SLICES = 12
SHADES = 40


def ct_study(folder: Path) -> tuple[str, list[Path]]:
    """A CT of so many slices, one above the other; return its UID and its files."""
    folder.mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    files = []
    for number in range(1, SLICES + 1):
        dataset = pydicom.dcmread(DATA / "CT_small.dcm")
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = (
            study,
            series,
            frame,
        )
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.PatientName, dataset.PatientID, dataset.InstanceNumber = "Ohif^Test", "OHIF1", number
        dataset.ImagePositionPatient, dataset.SliceLocation = [-158, -179, 5.0 * number], 5.0 * number
        file = folder / f"{number}.dcm"
        dataset.save_as(file, enforce_file_format=True)
        files.append(file)
    return study, files


def test_ohif_shows_a_ct(browser: Browser, tmp_path: Path) -> None:
    """Oracle: OHIF itself; what it paints must be a picture and not an empty viewport."""
    folder = require_ohif()
    study, files = ct_study(tmp_path / "ct")
    answers: list[str] = []
    with running_hub(tmp_path) as hub:
        hub.register(sites=[("DP", "东陂镇分院")], devices=[("DP", "DP_CT")])
        assert push(hub.dicom_port, files, calling="DP_CT").succeeded == frozenset(files)
        with serving(folder, hub.web_port, hub.token(Role.DOCTOR, "DP"), answers) as address:
            page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(address)
            page.get_by_text("Ohif, Test").first.wait_for(timeout=60_000)
            page.goto(f"{address}/viewer?StudyInstanceUIDs={quote(study)}")
            viewport = page.locator("[data-viewport-uid] canvas, .viewport-element canvas").first
            viewport.wait_for(timeout=60_000)
            page.get_by_text("Skip all").click(timeout=60_000)  # its tour darkens the pictures
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and grey_levels(viewport.screenshot()) < SHADES:
                time.sleep(0.5)
            assert grey_levels(viewport.screenshot()) >= SHADES, answers
            assert errors == []
    assert not [answer for answer in answers if answer.startswith(("4", "5"))]
    assert any("/frames/1" in answer for answer in answers)


def grey_levels(picture: bytes) -> int:
    """How many shades of grey the middle of a picture has; a viewport without an image has a few."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("L"))
    rows, columns = pixels.shape
    middle = pixels[rows // 3 : 2 * rows // 3, columns // 3 : 2 * columns // 3]
    return len(np.unique(middle))
