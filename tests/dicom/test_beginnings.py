"""What is told of an object from its beginning is what all of it tells.

The oracle is `read_header` over the whole object, which knows nothing of the objects before
it and is itself held against pydicom.
"""

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.catalogue.service import InstanceFacts
from hub.dicom import beginnings, outline
from hub.dicom.beginnings import MOST_MISSED, NOT_OF_THE_FACTS, Beginning, Beginnings
from hub.dicom.header import read_header, tags_read
from hub.dicom.ingest import facts_of
from hub.dicom.part10 import split
from hub.errors import HubError
from tests.dicom.samples import CT_CLASS as CT
from tests.dicom.samples import EXPLICIT, IMAGES, build, element, short

IMPLICIT = "1.2.840.10008.1.2"
START = 300


@pytest.fixture
def in_full(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How often a data set was walked."""
    walked: list[int] = []
    original = beginnings.read_beginning

    def counted(first: bytes, *arguments: object, **named: object) -> object:
        walked.append(len(first))
        return original(first, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(beginnings, "read_beginning", counted)
    return walked


def told(reader: Beginnings, raw: bytes, syntax: str = EXPLICIT) -> InstanceFacts | str | None:
    try:
        found = look(reader, raw, syntax)
        return (
            None
            if found is None
            else found.complete(START + len(raw), lambda: io.BytesIO(bytes(START) + raw))
        )
    except HubError as error:
        return type(error).__name__


def look(reader: Beginnings, raw: bytes, syntax: str = EXPLICIT, sop_class: str = CT) -> Beginning | None:
    """As a reception does."""
    like = reader.like_the_last(memoryview(raw)[:16384], syntax, sop_class, START)
    return like or reader.read(raw[:65536], syntax, sop_class, START)


def truth(raw: bytes, syntax: str = EXPLICIT) -> InstanceFacts | str:
    try:
        return facts_of(read_header(raw, syntax, sop_class=CT))
    except HubError as error:
        return type(error).__name__


def image(number: int = 1, **changed: bytes) -> bytes:
    """A slice: its UID and number are its own, in lengths that differ."""
    said = {
        "t00080018": element(0x00080018, "UI", b"1.2.3." + str(number * 7919).encode()),
        "t00080033": element(0x00080033, "TM", f"10{number:02d}".encode()),
        "t00200013": element(0x00200013, "IS", str(number).encode()),
        "t00200032": element(0x00200032, "DS", f"-1\\2\\{number / 3}".encode()[:15]),
        "t00280010": short(0x00280010, 8),
        "t00280011": short(0x00280011, 8),
        "t00280100": short(0x00280100, 16),
        "t7FE00010": element(0x7FE00010, "OW", bytes(128)),
    }
    return build(**(said | changed))


def request(step: bytes, *, undefined: bool = False) -> bytes:
    """Request Attributes with one item that names a step."""
    inner = element(0x00400009, "SH", step)
    if undefined:
        ends = struct.pack("<HHL", 0xFFFE, 0xE00D, 0), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
        item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + ends[0] + ends[1]
        return element(0x00400275, "SQ", item, 0xFFFFFFFF)
    return element(0x00400275, "SQ", struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner)


class TestSeries:
    def test_is_walked_once(self, in_full: list[int]) -> None:
        reader = Beginnings(None)
        for number in range(1, 201):
            raw = image(number)
            assert told(reader, raw) == truth(raw)
        assert len(in_full) == 1

    def test_implicit_too(self, in_full: list[int]) -> None:
        """pydicom writes the same slices in the other layout."""
        from pydicom import Dataset, dcmread
        from pydicom.filebase import DicomBytesIO
        from pydicom.filewriter import write_dataset

        def implicit(raw: bytes) -> bytes:
            dataset: Dataset = dcmread(io.BytesIO(raw), force=True)
            dataset = Dataset(dataset)
            into = DicomBytesIO()
            into.is_little_endian, into.is_implicit_VR = True, True
            write_dataset(into, dataset)
            return bytes(into.getvalue())

        reader = Beginnings(None)
        for number in range(1, 31):
            raw = implicit(image(number, t00400275=request(b"S1")))
            assert told(reader, raw, IMPLICIT) == truth(raw, IMPLICIT)
        assert len(in_full) == 1

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
    def test_of_real_images(self, path: Path) -> None:
        raw = path.read_bytes()
        meta, offset = split(raw)
        raw, syntax = raw[offset:], meta.transfer_syntax
        reader = Beginnings(None)
        first = told(reader, raw, syntax)
        uid = first.sop_uid.encode() if isinstance(first, InstanceFacts) else b"1.2.840"
        for number in range(1, 4):
            other = raw.replace(uid, uid[:-1] + str(number).encode())
            found = told(reader, other, syntax)
            assert found in {None, told(Beginnings(None), other, syntax)}
            if isinstance(found, InstanceFacts):
                assert found == truth(other, syntax)

    @pytest.mark.parametrize("undefined", [False, True], ids=["length", "delimiter"])
    def test_with_a_sequence(self, in_full: list[int], undefined: bool) -> None:
        reader = Beginnings(None)
        for number, step in enumerate([b"S1", b"S1", b"S2", b"S2", b"LONGER"], start=1):
            raw = image(number, t00400275=request(step, undefined=undefined))
            found = told(reader, raw)
            assert found == truth(raw)
            assert isinstance(found, InstanceFacts)
            assert found.step_id == step.decode()
        assert len(in_full) == 3

    def test_of_compressed_images(self, in_full: list[int]) -> None:
        from tests.dicom.samples import encapsulated

        reader = Beginnings(None)
        for number in range(1, 5):
            raw = image(number, t7FE00010=encapsulated(bytes(10 * number)))
            assert told(reader, raw, "1.2.840.10008.1.2.4.70") == truth(raw, "1.2.840.10008.1.2.4.70")
        assert len(in_full) == 1


class TestAnother:
    @pytest.mark.parametrize("tag", sorted(tags_read()), ids=lambda tag: f"{tag:08X}")
    def test_value_is_seen(self, tag: int) -> None:
        """Each value that a header is made of: another one, a longer one, none."""
        for value in (b"7", b"1.2.99.7777", b"20251231", b"\x10\x00", None):
            reader = Beginnings(None)
            assert told(reader, image(1)) == truth(image(1))
            vr = "SQ" if tag == 0x00400275 else "LO"
            changed = b"" if value is None else element(tag, vr, b"" if vr == "SQ" else value)
            raw = image(2, **{f"t{tag:08X}": changed})
            expected = truth(raw)
            assert told(reader, raw) in ({None, expected} if isinstance(expected, str) else {expected})

    @pytest.mark.parametrize("tag", sorted(NOT_OF_THE_FACTS), ids=lambda tag: f"{tag:08X}")
    def test_value_that_facts_do_not_hold(self, tag: int, in_full: list[int]) -> None:
        """If one of these became a fact, the next object would be told with the last one's: planted here."""
        reader = Beginnings(None)
        values = [b"20260101", b"20260102"] if tag in {0x00080022, 0x00080023} else [b"0901", b"0902"]
        for number, value in enumerate(values, start=1):
            raw = image(number, **{f"t{tag:08X}": element(tag, "LO", value)})
            assert told(reader, raw) == truth(raw)
        assert len(in_full) == 1

    def test_class_or_syntax_of_the_association(self, in_full: list[int]) -> None:
        reader = Beginnings(None)
        raw = image(1, t00080016=b"")
        for sop_class in (CT, "1.2.840.10008.5.1.4.1.1.4"):
            found = look(reader, raw, sop_class=sop_class)
            assert found is not None
            assert found.facts.sop_class == sop_class
        assert len(in_full) == 2

    def test_image_that_is_cut_off(self, in_full: list[int]) -> None:
        reader = Beginnings(None)
        told(reader, image(1))
        assert told(reader, image(2)[:-10]) == truth(image(2)[:-10]) == "PixelsMissing"
        assert len(in_full) == 1

    def test_objects_that_differ_each_time_are_read_without_more_ado(self, in_full: list[int]) -> None:
        reader = Beginnings(None)
        for number in range(1, 20):
            raw = image(number, t0020000E=element(0x0020000E, "UI", f"1.2.{number}".encode()))
            assert told(reader, raw) == truth(raw)
        assert len(in_full) == 19
        assert reader._last is None
        assert MOST_MISSED < 19


PIECES = [
    element(0x00080008, "CS", b"ORIGINAL\\PRIMARY"),
    element(0x00081030, "LO", b"CHEST"),
    element(0x00091001, "UN", b"abcdef"),
    element(0x00180050, "DS", b"1.25"),
    element(0x00204000, "LT", b"x" * 300),
    request(b"S1"),
    request(b"S1", undefined=True),
]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_follows_is_told_as_if_nothing_had_been_before(data: st.DataObject) -> None:
    """Bytes changed, elements more and less, lengths that lie: the memory of the last one changes nothing."""
    reader = Beginnings(None)
    before = data.draw(st.lists(st.sampled_from(PIECES), max_size=4, unique=True))
    extra = {
        f"t{int.from_bytes(p[0:2], 'little'):04X}{int.from_bytes(p[2:4], 'little'):04X}": p for p in before
    }
    told(reader, image(1, **extra))
    told(reader, image(2, **extra))
    raw = bytearray(image(3, **extra))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        change: Callable[[], None] = data.draw(
            st.sampled_from(
                [
                    lambda at=at: raw.__setitem__(at, data.draw(st.integers(0, 255))),
                    lambda at=at: raw.__delitem__(slice(at, at + data.draw(st.integers(1, 12)))),
                    lambda at=at: raw.__setitem__(slice(at, at), data.draw(st.sampled_from(PIECES))),
                ]
            )
        )
        change()
        if not raw:
            break
    assert told(reader, bytes(raw)) == told(Beginnings(None), bytes(raw))


def test_more_changes_than_are_followed(in_full: list[int]) -> None:
    reader = Beginnings(None)
    many = range(outline.MOST_CHANGED + 1)
    for length in (2, 4):
        raw = image(1, **{f"t0021{n:04X}": element(0x00210000 + n, "LO", b"x" * length) for n in many})
        assert told(reader, raw) == truth(raw)
    assert len(in_full) == 2
