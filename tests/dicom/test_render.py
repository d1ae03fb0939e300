import io
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from hub.dicom.render import BadViewport, BadWindow, Window, apply_window, render_frame
from tests.dicom.samples import DATA, build, element, file_of
from tests.fixtures.peers import require_peer


def drawn(path: Path | bytes, index: int = 0, **options: object) -> np.ndarray:
    return np.asarray(
        Image.open(io.BytesIO(render_frame(path, index, image_format="png", **options)))
    ).astype(int)  # type: ignore[arg-type]


def dcmtks(path: Path, target: Path, *options: str) -> np.ndarray:
    command = [require_peer("dcmj2pnm"), "--write-png", "+F", "1", *options, str(path), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return np.asarray(Image.open(target)).astype(int)


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "dx_image.dcm",
        "OBXXXX1A_rle_2frame.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "ExplVR_BigEnd.dcm",
    ],
)
def test_default_picture_equals_dcmtks(name: str, tmp_path: Path) -> None:
    """Oracle: dcmj2pnm with the file's first window, at most one grey level apart."""
    header = pydicom.dcmread(DATA / name, stop_before_pixels=True)
    options = ["+Wi", "1"] if header.get("WindowCenter") is not None else []
    if header.PhotometricInterpretation.startswith("MONO") and not options and name != "dx_image.dcm":
        options = ["+Ww", "40", "400"]
        ours = drawn(DATA / name, window=Window(40, 400))
    else:
        ours = drawn(DATA / name)
    theirs = dcmtks(DATA / name, tmp_path / "theirs.png", *options)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize(("center", "width"), [(40, 400), (-600, 1500), (1000, 2), (0, 1)])
def test_chosen_window_equals_dcmtks(center: int, width: int, tmp_path: Path) -> None:
    """Oracle: dcmj2pnm +Ww, at most one grey level apart."""
    theirs = dcmtks(DATA / "CT_small.dcm", tmp_path / "theirs.png", "+Ww", str(center), str(width))
    ours = drawn(DATA / "CT_small.dcm", window=Window(center, width))
    assert np.abs(ours - theirs).max() <= 1


def test_the_formula_of_the_standard() -> None:
    """Oracle: PS3.3 C.11.2.1.2.1, the note for centre 2048 and width 4096: x / 4095 * 255."""
    values = np.array([-1, 0, 2047, 4095, 5000], dtype=np.float64)
    assert apply_window(values, Window(2048, 4096)).tolist() == [0, 0, 127, 255, 255]
    assert apply_window(np.array([-1.0, 0.0, 1.0]), Window(0, 1)).tolist() == [0, 255, 255]


def test_sigmoid_is_half_at_the_centre() -> None:
    assert apply_window(np.array([100.0]), Window(100, 50, "SIGMOID")).tolist() == [128]


def test_monochrome1_is_the_negative() -> None:
    negative = build(t00280004=element(0x00280004, "CS", b"MONOCHROME1"))
    assert np.array_equal(drawn(file_of(negative)), 255 - drawn(file_of(build())))


def test_without_a_window_the_values_are_spread() -> None:
    picture = drawn(file_of(build()))
    assert (picture.min(), picture.max()) == (0, 255)


def test_one_bit_is_black_and_white() -> None:
    assert set(np.unique(drawn(DATA / "seg_image_ct_binary.dcm"))) <= {0, 255}


def test_the_picture_fits_the_viewport() -> None:
    assert drawn(DATA / "dx_image.dcm", size=(100, 100)).shape[:2] == (80, 100)
    assert drawn(DATA / "MR_small.dcm", size=(256, 128)).shape == (128, 128)


def test_jpeg_is_jpeg() -> None:
    picture = Image.open(io.BytesIO(render_frame(DATA / "OBXXXX1A_rle_2frame.dcm", 1)))
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (800, 600))


@pytest.mark.parametrize("size", [(0, 10), (10, 9000), (-1, -1)])
def test_impossible_viewports(size: tuple[int, int]) -> None:
    with pytest.raises(BadViewport):
        render_frame(DATA / "MR_small.dcm", 0, size=size)


def test_impossible_window() -> None:
    with pytest.raises(BadWindow):
        render_frame(DATA / "MR_small.dcm", 0, window=Window(40, 0))
