import contextlib
import struct
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.dicom.elements import BrokenDataset
from hub.dicom.header import (
    InstanceHeader,
    PixelsImpossible,
    PixelsMissing,
    PixelsTooLarge,
    UidMissing,
    read_header,
)
from hub.dicom.part10 import split
from hub.dicom.values import BrokenDeflate, InflatesTooLarge, inflate
from hub.errors import HubError, Rejected
from tests.dicom.samples import DATA, EXPLICIT, IMAGES, build, element, encapsulated, short

DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
SEEDS = [path.read_bytes() for path in sorted(DATA.glob("*.dcm")) if path.stat().st_size < 12_000]


def read_file(raw: bytes) -> InstanceHeader:
    meta, offset = split(raw)
    return read_header(raw[offset:], meta.transfer_syntax, sop_class=meta.sop_class)


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
