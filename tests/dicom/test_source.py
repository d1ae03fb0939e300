"""Bytes of an object wherever they are read from; the oracle is slicing the whole."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.dicom.frames import frame_bytes, frame_piece, read_image
from hub.dicom.source import open_source
from hub.dicom.values import open_stored
from tests.dicom.samples import DATA

CONTENT = bytes(range(256)) * 300


@pytest.mark.parametrize("in_memory", [True, False])
@given(pieces=st.lists(st.tuples(st.integers(0, len(CONTENT) + 9), st.integers(0, 70_000)), min_size=1))
def test_pieces_are_what_lies_there(in_memory: bool, pieces: list[tuple[int, int]]) -> None:
    """Pieces stay what they are when others are read after them."""
    with open_source(CONTENT if in_memory else io.BytesIO(CONTENT)) as source:
        taken = [(source.piece(*piece), source.read(*piece)) for piece in pieces]
    for (offset, length), (piece, read) in zip(pieces, taken, strict=True):
        assert bytes(piece) == read == CONTENT[offset : offset + length]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"])
def test_a_frame_as_a_part_of_the_file_is_the_frame(name: str) -> None:
    content = (DATA / name).read_bytes()
    with open_stored(content) as (values, syntax):
        image = read_image(values, syntax)
        piece, frame = frame_piece(image, 0), frame_bytes(image, 0)
    assert bytes(piece) == frame
    if isinstance(piece, memoryview):
        assert piece.obj is content, "not a copy"
    else:
        assert name != "CT_small.dcm"
