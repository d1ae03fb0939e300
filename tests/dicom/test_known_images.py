"""What is remembered of images gives the frames that reading anew gives, and not too much is kept."""

import io
from pathlib import Path

import pytest

from hub.dicom import retrieve
from hub.dicom.frames import Image, KnownImages, frame_bytes, read_image, stored_frame
from hub.dicom.source import open_source
from hub.dicom.values import open_stored
from tests.dicom.conftest import Archive
from tests.dicom.samples import DATA

FRAMES = {
    "CT_small.dcm": 1,
    "SC_rgb_rle_2frame.dcm": 2,
    "OBXXXX1A_rle_2frame.dcm": 2,
}


def read(path: Path) -> Image:
    with open_stored(path) as (values, syntax):
        return read_image(values, syntax)


@pytest.mark.parametrize("name", FRAMES)
def test_the_same_frames_without_the_header(name: str) -> None:
    """Oracle: `stored_frame`, which reads everything anew."""
    content = (DATA / name).read_bytes()
    known = KnownImages(10_000)
    with open_source(content) as source:
        assert known.over("a", source) is None
    known.remember("a", read(DATA / name))
    with open_source(io.BytesIO(content)) as source:
        image = known.over("a", source)
        assert image is not None
        frames = [frame_bytes(image, index) for index in range(FRAMES[name])]
    assert frames == [stored_frame(content, index)[0] for index in range(FRAMES[name])]


def test_an_inflated_one_is_read_anew() -> None:
    """Its elements lie where the inflated bytes have them, not the file."""
    known = KnownImages(10_000)
    known.remember("a", read(DATA / "image_dfl.dcm"))
    with open_source(b"") as source:
        assert known.over("a", source) is None


def test_the_oldest_are_forgotten() -> None:
    image = read(DATA / "CT_small.dcm")
    known = KnownImages(2 * len(image.values.elements))
    for name in ("a", "b"):
        known.remember(name, image)
    with open_source(b"") as source:
        assert known.over("a", source) is not None  # asked for since: the other one is older now
        known.remember("c", image)
        assert [known.over(name, source) is not None for name in "abc"] == [True, False, True]


def test_a_viewer_that_asks_again(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: reading a header anew is made to fail."""
    reader = archive.client()
    url = f"{archive.filed['SC_rgb_rle_2frame.dcm'].url}/frames"
    accept = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
    first = [reader.get(f"{url}/{number}", headers=accept) for number in (1, 2)]
    monkeypatch.setattr(retrieve, "open_stored", None)
    again = [reader.get(f"{url}/{number}", headers=accept) for number in (1, 2)]
    assert [each.status_code for each in again] == [200, 200]
    assert [each.content for each in again] == [each.content for each in first]
