import contextlib
import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.dicom import elements, values
from hub.dicom.elements import BrokenDataset
from hub.dicom.header import (
    InstanceHeader,
    PixelsImpossible,
    PixelsMissing,
    PixelsTooLarge,
    UidMissing,
    check_bytes,
    read_beginning,
    read_header,
)
from hub.dicom.part10 import split
from hub.dicom.values import BrokenDeflate, InflatesTooLarge, Values, inflate
from hub.errors import HubError, Rejected
from tests.dicom.samples import DATA, EXPLICIT, IMAGES, build, element, encapsulated, short

DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
SEEDS = [path.read_bytes() for path in sorted(DATA.glob("*.dcm")) if path.stat().st_size < 12_000]


def read_file(raw: bytes) -> InstanceHeader:
    meta, offset = split(raw)
    return read_header(raw[offset:], meta.transfer_syntax, sop_class=meta.sop_class)


def read_or_error(read: Callable[[], InstanceHeader]) -> InstanceHeader | str:
    try:
        return read()
    except HubError as error:
        return type(error).__name__


def completed(values: Values, header: InstanceHeader, raw: bytes) -> InstanceHeader:
    """The header of a beginning, once all is here."""
    element, pixels = values.pixel_element, header.pixels
    assert element is not None
    assert pixels is not None
    values.source.arrived(len(raw), io.BytesIO(raw))
    check_bytes(values.source, element, pixels)
    return header


class TestReadHeader:
    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
    def test_agrees_with_pydicom(self, path: Path) -> None:
        """Oracle: pydicom's own reading of the same file."""
        theirs = pydicom.dcmread(path)
        if not theirs.get("StudyInstanceUID"):
            with pytest.raises(UidMissing):
                read_file(path.read_bytes())
            return
        ours = read_file(path.read_bytes())
        assert ours.sop_uid == theirs.SOPInstanceUID
        assert (ours.study_uid, ours.series_uid) == (theirs.StudyInstanceUID, theirs.SeriesInstanceUID)
        assert ours.sop_class == theirs.SOPClassUID
        assert ours.modality == (theirs.get("Modality") or "")
        assert ours.patient.local_id == str(theirs.get("PatientID") or "")
        assert ours.patient.name.text == str(theirs.get("PatientName") or "")
        assert ours.instance_number == theirs.get("InstanceNumber")
        assert ours.pixels is not None
        assert (ours.pixels.rows, ours.pixels.columns) == (theirs.Rows, theirs.Columns)
        assert (ours.pixels.bits, ours.pixels.samples) == (theirs.BitsAllocated, theirs.SamplesPerPixel)
        assert ours.frames == int(theirs.get("NumberOfFrames", 1))

    @pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
    def test_while_the_object_comes_in(self, path: Path) -> None:
        """However much is here first: nothing yet, or the header that all the bytes give."""
        raw = path.read_bytes()
        meta, offset = split(raw)
        whole = read_or_error(lambda: read_file(raw))
        took = 0
        for length in {12, 300, 1000, 2000, 4000, 8000, len(raw) - offset}:
            first = raw[offset : offset + length]
            early = read_beginning(first, meta.transfer_syntax, sop_class=meta.sop_class, start=offset)
            if early is not None:
                took += 1
                assert read_or_error(partial(completed, *early, raw)) == whole
        assert took or isinstance(whole, str) or meta.transfer_syntax == DEFLATED

    def test_an_image_that_is_cut_off_is_seen_when_its_end_has_come(self) -> None:
        """The header was read from the first bytes; the pixels that it states never came."""
        raw = build(
            t00280010=short(0x00280010, 64),
            t00280011=short(0x00280011, 64),
            t7FE00010=element(0x7FE00010, "OW", bytes(64 * 64 * 2)),
        )
        early = read_beginning(raw[:-4000], EXPLICIT)
        assert early is not None
        with pytest.raises(PixelsMissing):
            completed(*early, raw[:-4000])

    def test_reads_from_bytes_path_and_file_alike(self, tmp_path: Path) -> None:
        target = tmp_path / "dataset"
        target.write_bytes(build())
        with target.open("rb") as file:
            assert (
                read_header(build(), EXPLICIT) == read_header(target, EXPLICIT) == read_header(file, EXPLICIT)
            )

    def test_chinese_name_under_no_charset(self) -> None:
        name = read_header(build(), EXPLICIT).patient.name
        assert (name.display, name.used, name.declared) == ("张三", "GB18030", "")

    def test_a_big_endian_utf8_name(self) -> None:
        """Truth: tests/data/dicom/README.md."""
        raw = (DATA / "charsets" / "derived_cn_utf8_bigendian.dcm").read_bytes()
        assert read_file(raw).patient.name.display == "刘洋"

    def test_gb2312_with_escape_sequences(self) -> None:
        """Truth: tests/data/dicom/README.md."""
        header = read_file((DATA / "charsets" / "derived_cn_isoir58.dcm").read_bytes())
        assert header.patient.name.display == "王芳"
        assert header.institution.text == "安平县人民医院"

    def test_unusable_values_are_left_empty(self) -> None:
        header = read_header(
            build(
                t00080020=element(0x00080020, "DA", b"20260231"),
                t00080030=element(0x00080030, "TM", b"9961"),
                t00100030=element(0x00100030, "DA", b"1962.03.04"),
                t00100040=element(0x00100040, "CS", b"X"),
                t00200011=element(0x00200011, "IS", b"abc"),
                t00200013=element(0x00200013, "IS", b"7.0\\8"),
            ),
            EXPLICIT,
        )
        assert (header.study_date, header.study_time, header.patient.sex) == ("", "", "")
        assert header.patient.birth_date == "19620304"
        assert (header.series_number, header.instance_number) == (None, 7)

    def test_implicit_bytes_under_an_explicit_syntax(self) -> None:
        raw = (DATA / "MR_small_implicit.dcm").read_bytes()
        dataset = raw[split(raw)[1] :]
        assert read_header(dataset, EXPLICIT).modality == "MR"


class TestOneSeries:
    def test_objects_that_say_the_same_are_still_read_each(self) -> None:
        """What is read once for all objects of a series must not leak into the next one."""
        first, second = (
            read_header(build(t00100010=element(0x00100010, "PN", name.encode(charset))), EXPLICIT, charset)
            for name, charset in (("张三", "gb18030"), ("张三", "utf-8"))
        )
        assert first.patient.name.display == second.patient.name.display == "张三"
        assert first.patient.name_raw != second.patient.name_raw
        assert (first.patient.name.used, second.patient.name.used) == ("gb18030", "utf-8")


class Counted(io.FileIO):
    """A file that counts what is read of it, in bytes."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.taken += len(found or b"")
        return found or b""


def fragment(content: bytes = b"") -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content


class TestCost:
    """Whatever is sent, reading its header costs a bounded amount of memory and work."""

    @pytest.fixture(autouse=True)
    def memory(self) -> Iterator[None]:
        """tracemalloc sees every buffer that Python allocates."""
        tracemalloc.start()
        try:
            yield
            assert tracemalloc.get_traced_memory()[1] < 40 << 20
        finally:
            tracemalloc.stop()

    def test_of_values_of_gigabytes(self, tmp_path: Path) -> None:
        """A sparse file with a private value and pixel data of 2 GiB each."""
        path = tmp_path / "huge"
        pixels = element(0x7FE00010, "OW", b"", 0x80000000)
        plain = build(t00280008=element(0x00280008, "IS", b"1"))
        head = plain[: plain.index(struct.pack("<HH", 0x7FE0, 0x0010))]
        private = element(0x00290010, "OB", b"", 0x80000000)
        with path.open("wb") as file:
            file.write(head + private)
            file.seek(0x80000000, 1)
            file.write(pixels)
            file.truncate(file.tell() + 0x80000000)
        with Counted(path) as file:
            assert read_header(file, EXPLICIT).sop_uid == "1.2.3.4"
            assert file.taken < 1 << 20
        with pytest.raises(BrokenDataset):
            read_header(head + private, EXPLICIT)

    @pytest.mark.parametrize("depth", [40, 10_000])
    @pytest.mark.parametrize("stated", [True, False])
    def test_of_deep_nesting(self, depth: int, stated: bool) -> None:
        """With lengths nothing is entered that is not asked for; without, the end must be looked for."""
        nested = b""
        for _ in range(depth):
            inner = fragment(nested) if stated else fragment()[:4] + b"\xff" * 4 + nested
            nested = element(0x00081140, "SQ", inner if stated else b"", None if stated else 0xFFFFFFFF)
            nested += b"" if stated else inner
        dataset = build()
        place = dataset.index(struct.pack("<HH", 0x0010, 0x0010))
        dataset = dataset[:place] + nested + dataset[place:]
        if stated:
            assert read_header(dataset, EXPLICIT).sop_uid == "1.2.3.4"
        else:
            with pytest.raises(BrokenDataset):
                read_header(dataset, EXPLICIT)

    def test_of_items_without_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The limit is lowered to one that the test reaches in a moment."""
        monkeypatch.setattr(elements, "MAX_HEADS", 3_000)
        sequence = element(0x00081140, "SQ", b"", 0xFFFFFFFF)
        with pytest.raises(BrokenDataset, match="too many"):
            read_header(sequence + fragment() * 4_000, EXPLICIT)
        pixels = {"t7FE00010": element(0x7FE00010, "OB", b"", 0xFFFFFFFF) + fragment() * 4_000}
        with pytest.raises(BrokenDataset, match="too many"):
            read_header(build(**pixels), JPEG)

    def test_of_fragments_without_number(self) -> None:
        pixels = element(0x7FE00010, "OB", b"", 0xFFFFFFFF) + fragment() * 10_000
        with pytest.raises(PixelsMissing):
            read_header(build(t7FE00010=pixels + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)), JPEG)

    def test_of_elements_without_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(values, "MAX_ELEMENTS", 500)
        flood = b"".join(
            element(group << 16 | number, "CS", b"") for group in range(9, 69, 2) for number in range(26)
        )
        with pytest.raises(BrokenDataset, match="too many"):
            read_header(flood, EXPLICIT)

    @pytest.mark.parametrize("frames", [b"999999999999", b"1e300", b"2147483647"])
    def test_of_pictures_without_end(self, frames: bytes) -> None:
        with pytest.raises(PixelsMissing):
            read_header(build(t00280008=element(0x00280008, "IS", frames)), EXPLICIT)

    def test_of_a_deflate_bomb(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """64 MB out of 64 kB; the limit is lowered so that the test is quick."""
        worker = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        bomb = b"".join((*(worker.compress(bytes(1 << 20)) for _ in range(64)), worker.flush()))
        monkeypatch.setattr(values, "MAX_INFLATED_BYTES", 48 << 20)
        with pytest.raises(InflatesTooLarge):
            read_header(bomb, DEFLATED)

    def test_of_a_large_deflated_image(self) -> None:
        """64 MiB of pixels: inflated to the disk, and found complete."""
        pixels = element(0x7FE00010, "OW", b"", 64 << 20)
        plain = build(
            t00280010=short(0x00280010, 1024),
            t00280011=short(0x00280011, 1024),
            t00280008=element(0x00280008, "IS", b"32"),
            t7FE00010=pixels,
        )
        worker = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
        parts = [
            worker.compress(plain),
            *(worker.compress(bytes(1 << 20)) for _ in range(64)),
            worker.flush(),
        ]
        assert read_header(b"".join(parts), DEFLATED).frames == 32
        with pytest.raises(BrokenDeflate):
            read_header(b"".join(parts)[:-10], DEFLATED)


class TestRefusals:
    @pytest.mark.parametrize("tag", [0x00080018, 0x0020000D, 0x0020000E])
    @pytest.mark.parametrize("value", [b"", b"1.2/../../etc", b"1" * 66])
    def test_identity_must_be_there(self, tag: int, value: bytes) -> None:
        with pytest.raises(UidMissing) as caught:
            read_header(build(**{f"t{tag:08X}": element(tag, "UI", value)}), EXPLICIT)
        assert caught.value.facts == {"tag": f"{tag:08X}"}

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"t00280010": short(0x00280010, 5)}, PixelsMissing),
            ({"t00280008": element(0x00280008, "IS", b"1000000")}, PixelsMissing),
            ({"t00280010": short(0x00280010, 0)}, PixelsImpossible),
            ({"t00280100": short(0x00280100, 12)}, PixelsImpossible),
            ({"t00280008": element(0x00280008, "IS", b"-1")}, PixelsImpossible),
            ({"t00280002": short(0x00280002, 65535)}, PixelsImpossible),
            (
                {"t00280010": short(0x00280010, 65535), "t00280011": short(0x00280011, 65535)},
                PixelsTooLarge,
            ),
            ({"t7FE00010": element(0x7FE00010, "OW", bytes(32), 4096)}, PixelsMissing),
            ({"t7FE00010": element(0x7FE00010, "OW", bytes(32), 0xFFFFFFFF)}, BrokenDataset),
        ],
    )
    def test_images_that_cannot_be(self, changes: dict[str, bytes], error: type[Rejected]) -> None:
        with pytest.raises(error):
            read_header(build(**changes), EXPLICIT)

    def test_a_million_frames_in_one_fragment(self) -> None:
        changes = {
            "t00280008": element(0x00280008, "IS", b"1000000"),
            "t7FE00010": encapsulated(b"\xff\xd8\xff\xd9"),
        }
        with pytest.raises(PixelsMissing):
            read_header(build(**changes), JPEG)

    def test_sequences_nested_without_end(self) -> None:
        opening = element(0x00081140, "SQ", b"", 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
        with pytest.raises(BrokenDataset):
            read_header(opening * 100_000, EXPLICIT)

    def test_a_deflate_bomb_stops_at_the_limit(self) -> None:
        worker = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        bomb = worker.compress(bytes(1 << 24)) + worker.flush()
        with pytest.raises(InflatesTooLarge):
            inflate(bomb, limit=1 << 20)
        assert len(inflate(bomb, limit=1 << 24)) == 1 << 24

    def test_broken_deflate(self) -> None:
        with pytest.raises(BrokenDeflate):
            read_header(b"\x00\x01\x02", DEFLATED)

    @pytest.mark.parametrize("path", sorted((DATA / "broken").iterdir()), ids=lambda path: path.name)
    def test_broken_files_give_a_header_or_a_named_refusal(self, path: Path) -> None:
        refusal: HubError | None = None
        try:
            assert read_file(path.read_bytes()).sop_uid
        except HubError as error:
            refusal = error
        assert refusal is None or (
            isinstance(refusal, Rejected) and refusal.code not in {"Rejected", "Malformed"}
        )

    @pytest.mark.parametrize("share", range(0, 100, 7))
    def test_files_cut_anywhere(self, share: int) -> None:
        raw = (DATA / "MR_small.dcm").read_bytes()
        with pytest.raises(Rejected):
            read_file(raw[: len(raw) * share // 100])

    @settings(max_examples=400, deadline=None)
    @given(
        st.sampled_from(SEEDS),
        st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=6)), min_size=1, max_size=12),
    )
    def test_mutated_files_never_raise_anything_else(
        self, seed: bytes, changes: list[tuple[float, bytes]]
    ) -> None:
        raw = bytearray(seed)
        for place, value in changes:
            at = 132 + int(place * min(len(raw) - 132, 3000))
            raw[at : at + len(value)] = value
        with contextlib.suppress(Rejected):
            read_file(bytes(raw))
