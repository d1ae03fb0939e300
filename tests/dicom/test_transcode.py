"""Images in other transfer syntaxes.

Oracles: pydicom's decoders for the pixels, and DCMTK: dcmdjpls, dcmdrle and dcmconv
decode or rewrite what was made here, dcmdump and dcmftest read it.
"""

import io
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import parse_basic_offsets

from hub.dicom import transcode
from hub.dicom.transcode import (
    COMPRESSED,
    EXPLICIT_LITTLE,
    HTJ2K,
    HTJ2K_RPCL,
    IMPLICIT_LITTLE,
    JPEG_2000,
    JPEG_LS,
    MADE_HERE,
    NATIVE,
    RLE,
    CannotTranscode,
    transcodable,
    transcode_file,
)
from hub.dicom.values import open_stored
from tests.dicom.samples import DATA, IMAGES, build, element, file_of, short
from tests.fixtures.peers import require_peer

pytestmark = pytest.mark.filterwarnings("ignore:The pixel data is:UserWarning")
"""pydicom on MR_small_padded.dcm."""

SINGLE_BITS = {"liver_deflate.dcm", "liver_j2k.dcm", "liver_rle.dcm", "seg_image_ct_binary.dcm"}
WHOLE = [path for path in IMAGES if path.name not in SINGLE_BITS]
SYNTAXES = sorted(MADE_HERE)
CHANGED = {
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "PixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "DataSetTrailingPadding",
}


def copy_of(path: Path, syntax: str) -> bytes:
    return b"".join(transcode_file(path, syntax))


def read(content: bytes) -> Dataset:
    return dcmread(io.BytesIO(content))


def run(folder: Path, program: str, *options: str, content: bytes) -> Path:
    """Run a DCMTK tool over a file and return what it wrote."""
    source, target = folder / "in.dcm", folder / "out.dcm"
    source.write_bytes(content)
    subprocess.run(
        [require_peer(program), *options, str(source), str(target)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return target


class TestEveryImage:
    @pytest.mark.parametrize("syntax", SYNTAXES)
    @pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
    def test_has_the_same_pixels(self, path: Path, syntax: str) -> None:
        """Oracle: pydicom's array of the file on disk."""
        content = copy_of(path, syntax)
        made, original = read(content), dcmread(path)
        assert made.file_meta.TransferSyntaxUID == syntax
        assert made.file_meta.MediaStorageSOPInstanceUID == made.get("SOPInstanceUID", "")
        np.testing.assert_array_equal(made.pixel_array, original.pixel_array)
        for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
            assert made[keyword].value == original[keyword].value

    @pytest.mark.parametrize("syntax", SYNTAXES)
    @pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
    def test_says_the_same_otherwise(self, path: Path, syntax: str) -> None:
        """Oracle: pydicom's reading of every other element, earlier lossy compression included."""
        made, original = read(copy_of(path, syntax)), dcmread(path)
        for dataset in (made, original):
            for keyword in CHANGED:
                if keyword in dataset:
                    del dataset[keyword]
        for tag in [each.tag for each in original if each.tag.element == 0]:
            del original[tag]
        if syntax == IMPLICIT_LITTLE:  # private elements state no representation there
            made.remove_private_tags()
            original.remove_private_tags()
        assert made == original

    @pytest.mark.parametrize("path", [DATA / "test-SR.dcm", DATA / "seg_image_ct_binary.dcm"])
    @pytest.mark.parametrize("syntax", sorted(NATIVE))
    def test_other_objects_are_laid_out_anew(self, path: Path, syntax: str) -> None:
        made = read(copy_of(path, syntax))
        assert made.file_meta.TransferSyntaxUID == syntax
        assert made == dcmread(path)

    @pytest.mark.parametrize("name", sorted({*SINGLE_BITS, "test-SR.dcm"}))
    @pytest.mark.parametrize("syntax", sorted(COMPRESSED))
    def test_what_cannot_be_done_is_refused(self, name: str, syntax: str) -> None:
        assert not transcodable(DATA / name, syntax)
        with pytest.raises(CannotTranscode):
            transcode_file(DATA / name, syntax)


class TestAgainstDcmtk:
    @pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "JPGExtended.dcm", "dx_image.dcm"])
    @pytest.mark.parametrize(
        ("syntax", "program"), [(JPEG_LS, "dcmdjpls"), (RLE, "dcmdrle"), (IMPLICIT_LITTLE, "dcmconv")]
    )
    def test_decodes_to_the_same(self, tmp_path: Path, name: str, syntax: str, program: str) -> None:
        options = ["+te"] if program == "dcmconv" else []
        decoded = run(tmp_path, program, *options, content=copy_of(DATA / name, syntax))
        np.testing.assert_array_equal(dcmread(decoded).pixel_array, dcmread(DATA / name).pixel_array)

    @pytest.mark.parametrize("name", ["SC_rgb_rle_2frame.dcm", "ExplVR_BigEnd.dcm"])
    @pytest.mark.parametrize(("syntax", "program"), [(JPEG_LS, "dcmdjpls"), (RLE, "dcmdrle")])
    def test_decodes_colours(self, tmp_path: Path, name: str, syntax: str, program: str) -> None:
        decoded = run(tmp_path, program, content=copy_of(DATA / name, syntax))
        np.testing.assert_array_equal(dcmread(decoded).pixel_array, dcmread(DATA / name).pixel_array)

    @pytest.mark.parametrize("syntax", SYNTAXES)
    @pytest.mark.parametrize(
        "name", ["CT_small.dcm", "SC_rgb_rle_2frame.dcm", "emri_small_jpeg_ls_lossless.dcm"]
    )
    def test_is_a_file_without_faults(self, tmp_path: Path, name: str, syntax: str) -> None:
        file = tmp_path / "made.dcm"
        file.write_bytes(copy_of(DATA / name, syntax))
        assert (
            b"yes" in subprocess.run([require_peer("dcmftest"), file], capture_output=True, check=True).stdout
        )
        dumped = subprocess.run([require_peer("dcmdump"), "+E", file], capture_output=True, check=True)
        assert not dumped.stderr, dumped.stderr


class TestCompressedForm:
    def test_offset_table_points_at_the_frames(self) -> None:
        made = read(copy_of(DATA / "emri_small_jpeg_ls_lossless.dcm", HTJ2K))
        offsets = parse_basic_offsets(made.PixelData)
        assert len(offsets) == made.NumberOfFrames == 10
        base = 8 + 4 * len(offsets)
        assert all(made.PixelData[base + at :][:4] == b"\xfe\xff\x00\xe0" for at in offsets)

    @pytest.mark.parametrize(
        ("name", "syntax", "photometric", "planar"),
        [
            ("SC_rgb_rle_2frame.dcm", JPEG_2000, "YBR_RCT", 0),
            ("SC_rgb_rle_2frame.dcm", HTJ2K, "YBR_RCT", 0),
            ("SC_rgb_rle_2frame.dcm", JPEG_LS, "RGB", 0),
            ("SC_rgb_rle_2frame.dcm", RLE, "RGB", 1),
            ("SC_rgb_rle_2frame.dcm", EXPLICIT_LITTLE, "RGB", 0),
            ("SC_rgb_jpeg_dcmtk.dcm", HTJ2K, "YBR_FULL", 0),
            ("SC_ybr_full_422_uncompressed.dcm", JPEG_LS, "YBR_FULL", 0),
            ("SC_ybr_full_422_uncompressed.dcm", IMPLICIT_LITTLE, "YBR_FULL_422", 0),
        ],
    )
    def test_colour_space(self, name: str, syntax: str, photometric: str, planar: int) -> None:
        """PS3.5 Tables 8.2.1-1 to 8.2.4-1."""
        made = read(copy_of(DATA / name, syntax))
        assert (made.PhotometricInterpretation, made.PlanarConfiguration) == (photometric, planar)

    def test_markers_of_the_codestreams(self) -> None:
        """CAP (ISO 15444-15) marks HTJ2K; TLM is what 1.2.840.10008.1.2.4.202 asks for."""
        frames = {}
        for syntax in (JPEG_2000, HTJ2K, HTJ2K_RPCL):
            made = read(copy_of(DATA / "CT_small.dcm", syntax))
            frames[syntax] = made.PixelData[made.PixelData.index(b"\xff\x4f\xff\x51") :][:200]
        assert {syntax for syntax, head in frames.items() if b"\xff\x50\x00" in head} == {HTJ2K, HTJ2K_RPCL}
        assert {syntax for syntax, head in frames.items() if b"\xff\x55\x00" in head} == {HTJ2K_RPCL}

    def test_lossy_history_stays(self) -> None:
        made = read(copy_of(DATA / "SC_rgb_jpeg_dcmtk.dcm", HTJ2K))
        original = dcmread(DATA / "SC_rgb_jpeg_dcmtk.dcm")
        assert original.LossyImageCompression == "01"
        assert made.LossyImageCompression == "01"
        assert made.LossyImageCompressionRatio == original.LossyImageCompressionRatio

    @pytest.mark.parametrize("syntax", sorted(COMPRESSED))
    @pytest.mark.parametrize("signed", [0, 1])
    @pytest.mark.parametrize(("allocated", "stored"), [(8, 8), (16, 8), (16, 10), (16, 12), (16, 16)])
    def test_noise_of_every_width(self, syntax: str, signed: int, allocated: int, stored: int) -> None:
        """Extremes and noise, which does not compress; oracle: the numbers themselves."""
        random = np.random.default_rng(stored)
        low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
        pixels = random.integers(low, high, (37, 41), endpoint=True)
        pixels[0, :2] = low, high
        kind = f"<{'i' if signed else 'u'}{allocated // 8}"
        source = image_of(pixels.astype(kind), allocated, stored, signed)
        made = read(b"".join(transcode_file(source, syntax)))
        np.testing.assert_array_equal(made.pixel_array, pixels)


def image_of(pixels: Any, allocated: int, stored: int, signed: int, **changes: bytes) -> bytes:
    return file_of(
        build(
            t00280010=short(0x00280010, pixels.shape[0]),
            t00280011=short(0x00280011, pixels.shape[1]),
            t00280100=short(0x00280100, allocated),
            t00280101=short(0x00280101, stored),
            t00280102=short(0x00280102, stored - 1),
            t00280103=short(0x00280103, signed),
            t7FE00010=element(0x7FE00010, "OW", pixels.tobytes()),
            **changes,
        )
    )


class TestRefusals:
    PIXELS = np.arange(64 * 64, dtype="<u2").reshape(64, 64)

    def test_values_beyond_the_stated_bits(self) -> None:
        """Refused by what would cut them, kept by RLE, which writes whole bytes."""
        source = image_of(self.PIXELS, 16, 8, 0)
        for syntax in (JPEG_LS, JPEG_2000, HTJ2K):
            with pytest.raises(CannotTranscode):
                transcode_file(source, syntax)
        made = read(b"".join(transcode_file(source, RLE)))
        made.BitsStored, made.HighBit = 16, 15
        np.testing.assert_array_equal(made.pixel_array, self.PIXELS)

    def test_overlay_in_unused_bits(self) -> None:
        position = {"t60000102": short(0x60000102, 12)}
        source = image_of(self.PIXELS, 16, 12, 0, **position)
        assert [transcodable(source, syntax) for syntax in (RLE, JPEG_LS, EXPLICIT_LITTLE)] == [
            True,
            False,
            True,
        ]

    def test_too_many_pixels_before_memory_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transcode, "MOST_BYTES", 64 * 64 * 2 - 1)
        source = image_of(self.PIXELS, 16, 12, 0)
        assert not any(transcodable(source, syntax) for syntax in MADE_HERE)
        with pytest.raises(CannotTranscode):
            transcode_file(source, HTJ2K)

    def test_unknown_syntaxes(self) -> None:
        source = image_of(self.PIXELS, 16, 12, 0)
        assert not any(
            transcodable(source, syntax) for syntax in ("", "*", "1.2.3", "1.2.840.10008.1.2.4.50")
        )


class TestLayout:
    @pytest.mark.parametrize("syntax", sorted(NATIVE))
    def test_texts_stay_as_they_are(self, syntax: str) -> None:
        """A name in GBK that declares nothing: its bytes, not somebody's reading of them."""
        name = "张^三".encode("gbk")
        assert name in b"".join(transcode_file(file_of(build()), syntax))

    @pytest.mark.parametrize("name", ["ExplVR_BigEnd.dcm", "MR_small_bigendian.dcm"])
    def test_big_endian_numbers_are_turned(self, tmp_path: Path, name: str) -> None:
        """Oracle: dcmconv's own conversion to explicit little endian."""
        theirs = dcmread(run(tmp_path, "dcmconv", "+te", content=(DATA / name).read_bytes()))
        ours = read(copy_of(DATA / name, EXPLICIT_LITTLE))
        for tag in [each.tag for each in theirs if each.tag.element == 0 or each.tag.group == 0xFFFC]:
            del theirs[tag]
        assert ours == theirs

    def test_representations_that_depend_on_the_sign(self) -> None:
        """Implicit objects state none; oracle: dcmconv's choice."""
        with open_stored(copy_of(DATA / "MR_small_implicit.dcm", EXPLICIT_LITTLE)) as (values, _):
            ours = {tag: each.vr for tag, each in values.elements.items()}
        original = dcmread(DATA / "MR_small.dcm")
        for each in original:
            if each.tag in ours and each.tag.group != 0x7FE0 and each.VR != "UN":
                assert ours[each.tag] == each.VR, each.tag

    def test_nested_sequences(self) -> None:
        made = read(copy_of(DATA / "test-SR.dcm", IMPLICIT_LITTLE))
        again = read(
            b"".join(transcode_file(copy_of(DATA / "test-SR.dcm", IMPLICIT_LITTLE), EXPLICIT_LITTLE))
        )
        assert made == again == dcmread(DATA / "test-SR.dcm")
