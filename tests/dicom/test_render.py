import io
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from hub.dicom.render import BadViewport, BadWindow, Window, apply_window, render_frame
from tests.dicom.samples import DATA, build, element, file_of, short
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


class TestOblongPixels:
    """Pixels that are not square are shown in their true proportions."""

    @pytest.mark.parametrize(
        ("stated", "shape"),
        [
            ({"t00280030": element(0x00280030, "DS", b"2.0\\1.0")}, (8, 4)),
            ({"t00181164": element(0x00181164, "DS", b"1\\2")}, (4, 8)),
            ({"t00280034": element(0x00280034, "IS", b"3\\1")}, (12, 4)),
            ({"t00280030": element(0x00280030, "DS", b"1e9\\1")}, (4, 4)),
            ({"t00280030": element(0x00280030, "DS", b"0\\1")}, (4, 4)),
            ({"t00280030": element(0x00280030, "DS", b"0.5\\0.5001")}, (4, 4)),
        ],
    )
    def test_are_stretched(self, stated: dict[str, bytes], shape: tuple[int, int]) -> None:
        assert drawn(file_of(build(**stated))).shape[:2] == shape

    def test_fit_into_what_is_asked_for(self) -> None:
        stated = {"t00280030": element(0x00280030, "DS", b"2\\1")}
        assert drawn(file_of(build(**stated)), size=(100, 100)).shape[:2] == (100, 50)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("window", [None, Window(100, 50), Window(-7, 3, "SIGMOID")])
def test_table_of_all_values_shows_what_single_values_do(signed: int, window: Window | None) -> None:
    """Oracle: the window applied to each pixel by itself, rescaled."""
    random = np.random.default_rng(3)
    pixels = random.integers(-32768 if signed else 0, 32767, (300, 211)).astype("<i2" if signed else "<u2")
    content = build(
        t00280010=short(0x00280010, 300),
        t00280011=short(0x00280011, 211),
        t00280103=short(0x00280103, signed),
        t00281050=element(0x00281050, "DS", b"40"),
        t00281051=element(0x00281051, "DS", b"9000"),
        t00281052=element(0x00281052, "DS", b"-1024"),
        t00281053=element(0x00281053, "DS", b"0.25"),
        t7FE00010=element(0x7FE00010, "OW", pixels.tobytes()),
    )
    expected = apply_window(pixels * 0.25 - 1024, window or Window(40, 9000))
    shown = drawn(file_of(content), window=window)
    np.testing.assert_array_equal(shown, expected)
