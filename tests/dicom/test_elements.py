"""The quick index of a data set against the plain walk, on whole, cut and altered data sets."""

import random
from pathlib import Path

import pytest

from hub.dicom.elements import BrokenDataset, Element, Encoding, index, walk
from hub.dicom.part10 import layout, split
from hub.dicom.source import Source
from tests.dicom.samples import DATA, EXPLICIT, build, element

ENOUGH = 100_000


def walked(content: bytes, encoding: Encoding) -> dict[int, Element] | str:
    found: dict[int, Element] = {}
    try:
        for one in walk(Source(memoryview(content)), 0, len(content), encoding):
            found.setdefault(one.tag, one)
    except BrokenDataset:
        return "broken"
    return found


def indexed(content: bytes, encoding: Encoding) -> dict[int, Element] | str:
    try:
        return index(Source(memoryview(content)), 0, len(content), encoding, ENOUGH)
    except BrokenDataset:
        return "broken"


@pytest.mark.parametrize("path", sorted(DATA.glob("*.dcm")), ids=lambda path: path.stem)
def test_it_finds_what_the_walk_finds(path: Path) -> None:
    dice = random.Random(path.name)
    raw = path.read_bytes()
    meta, start = split(raw)
    for _ in range(20):
        content = bytearray(raw[start : dice.choice([len(raw), dice.randrange(start, len(raw))])])
        for _ in range(dice.randrange(3)):
            if content:
                content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        encoding = layout(meta.transfer_syntax, bytes(content[:12]))
        assert indexed(bytes(content), encoding) == walked(bytes(content), encoding)


def test_of_a_tag_that_comes_twice_the_first_counts() -> None:
    content = build() + b""
    twice = element(0x00080005, "CS", b"ISO_IR 100") * 2 + content
    encoding = layout(EXPLICIT, twice[:12])
    assert index(Source(memoryview(twice)), 0, len(twice), encoding, ENOUGH)[0x00080005].offset == 8


def test_too_many_elements_are_refused() -> None:
    many = b"".join(element(0x00090000 + n, "LO", b"") for n in range(1, 6000))
    with pytest.raises(BrokenDataset):
        index(Source(memoryview(many)), 0, len(many), layout(EXPLICIT, many[:12]), 5000)
