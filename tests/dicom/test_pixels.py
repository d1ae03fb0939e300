import io
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate

from hub.dicom.frames import NoPixels, NoSuchFrame, stored_frame
from hub.dicom.pixels import NoDecoder, SizesDisagree, Undecodable, decode_frame
from hub.errors import Rejected
from tests.dicom.samples import DATA, EXPLICIT, IMAGES, build, element, encapsulated, file_of, short
from tests.fixtures.peers import require_peer

ONE_BIT_BY_US = {"liver_deflate.dcm", "liver_rle.dcm"}
HTJ2K = ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "path", [path for path in IMAGES if path.name not in ONE_BIT_BY_US], ids=lambda p: p.name
)
def test_every_frame_equals_pydicoms_whole_array(path: Path) -> None:
    """Oracle: pydicom decodes the whole file at once, its own frame finding included."""
    decode_frame(path, 0)
    theirs = pydicom.dcmread(path)
    frames = int(theirs.get("NumberOfFrames", 1))
    pixels = theirs.pixel_array if frames > 1 else theirs.pixel_array[np.newaxis]
    for index in range(frames):
        assert np.array_equal(decode_frame(path, index).pixels, pixels[index])


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("MR_small_RLE.dcm", "dcmdrle"),
        ("MR_small_jpeg_ls_lossless.dcm", "dcmdjpls"),
        ("SC_rgb_jpeg_gdcm.dcm", "dcmdjpeg"),
        ("emri_small_jpeg_ls_lossless.dcm", "dcmdjpls"),
        ("image_dfl.dcm", "dcmconv"),
    ],
)
def test_frames_equal_dcmtks(name: str, program: str, tmp_path: Path) -> None:
    """Oracle: DCMTK decompresses the file; its native pixels, read as they lie."""
    target = tmp_path / "native.dcm"
    options = ["+te"] if program == "dcmconv" else []
    subprocess.run([require_peer(program), *options, str(DATA / name), str(target)], check=True)
    for index in range(int(pydicom.dcmread(target, stop_before_pixels=True).get("NumberOfFrames", 1))):
        raw, syntax = stored_frame(target, index)
        assert syntax == EXPLICIT
        assert decode_frame(DATA / name, index).pixels.tobytes() == raw


@pytest.mark.parametrize("name", sorted(ONE_BIT_BY_US))
def test_one_bit_frames_equal_the_jpeg2000_form_of_the_same_file(name: str) -> None:
    """Oracle: liver_j2k.dcm holds the same segmentation, decoded by OpenJPEG."""
    for index in range(3):
        assert np.array_equal(
            decode_frame(DATA / name, index).pixels, decode_frame(DATA / "liver_j2k.dcm", index).pixels
        )


@pytest.mark.parametrize("syntax", HTJ2K)
def test_htj2k_frames(syntax: str) -> None:
    """Oracle: OpenJPH encodes known pixels without loss."""
    pixels = (np.arange(64 * 48, dtype=np.uint16) * 7 % 4096).reshape(64, 48)
    stream = imagecodecs.htj2k_encode(pixels, tlm=True)
    changes = {"t00280010": short(0x00280010, 64), "t00280011": short(0x00280011, 48)}
    raw = file_of(build(**changes, t7FE00010=encapsulated(stream + b"\0" * (len(stream) % 2))), syntax)
    assert np.array_equal(decode_frame(raw, 0).pixels, pixels)


def test_plugins_agree_on_lossless_streams() -> None:
    """Oracle: GDCM and CharLS, two decoders of other makers."""
    theirs = pydicom.dcmread(DATA / "MR_small_jpeg_ls_lossless.dcm")
    for plugin in ("gdcm", "pyjpegls"):
        theirs.pixel_array_options(decoding_plugin=plugin)
        assert np.array_equal(
            theirs.pixel_array, decode_frame(DATA / "MR_small_jpeg_ls_lossless.dcm", 0).pixels
        )


def test_the_gpl_plugin_is_not_installed() -> None:
    with pytest.raises(ModuleNotFoundError):
        __import__("libjpeg")


class TestStoredFrame:
    def test_native_frames_are_slices(self) -> None:
        raw = file_of(build(t00280008=element(0x00280008, "IS", b"2"), t00280010=short(0x00280010, 2)))
        assert stored_frame(raw, 0) == (bytes(range(16)), EXPLICIT)
        assert stored_frame(raw, 1) == (bytes(range(16, 32)), EXPLICIT)

    def test_one_bit_frames_begin_at_a_whole_byte(self) -> None:
        """Oracle: 3 frames of 3 x 3 bits packed by numpy as one stream of 27 bits."""
        bits = np.random.default_rng(5).integers(0, 2, 27, dtype=np.uint8)
        packed = np.packbits(bits, bitorder="little").tobytes()
        changes = {
            "t00280008": element(0x00280008, "IS", b"3"),
            "t00280010": short(0x00280010, 3),
            "t00280011": short(0x00280011, 3),
            "t00280100": short(0x00280100, 1),
            "t00280101": short(0x00280101, 1),
            "t7FE00010": element(0x7FE00010, "OW", packed),
        }
        raw = file_of(build(**changes))
        for index in range(3):
            frame, _ = stored_frame(raw, index)
            expected = bits[9 * index : 9 * index + 9]
            assert frame == np.packbits(expected, bitorder="little").tobytes()
            assert np.array_equal(decode_frame(raw, index).pixels.ravel(), expected)

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize(
        "name", ["MR_small_bigendian.dcm", "ExplVR_BigEnd.dcm", "SC_rgb_small_odd_big_endian.dcm"]
    )
    def test_big_endian_pixels_are_swapped(self, name: str) -> None:
        """Oracle: pydicom's array, written little endian."""
        frame, syntax = stored_frame(DATA / name, 0)
        theirs = pydicom.dcmread(DATA / name)
        assert syntax == EXPLICIT
        pixels = theirs.pixel_array
        if theirs.get("PlanarConfiguration") == 1:
            pixels = np.moveaxis(pixels, -1, 0)
        assert frame == pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()

    @pytest.mark.parametrize("has_table", [True, False])
    def test_fragments_of_a_frame_are_joined(self, has_table: bool) -> None:
        """Oracle: pydicom's encapsulate cuts each of two streams into three fragments."""
        streams = [b"\xff\xd8" + bytes([number]) * 40 + b"\xff\xd9" for number in (1, 2)]
        value = encapsulate(streams, fragments_per_frame=3, has_bot=has_table)
        pixels = element(0x7FE00010, "OB", value, 0xFFFFFFFF) + b"\xfe\xff\xdd\xe0\0\0\0\0"
        raw = file_of(
            build(t00280008=element(0x00280008, "IS", b"2"), t7FE00010=pixels), "1.2.840.10008.1.2.4.50"
        )
        assert [stored_frame(raw, index)[0] for index in (0, 1)] == streams

    def test_from_bytes_path_and_file_alike(self) -> None:
        path = DATA / "SC_rgb_rle_2frame.dcm"
        with path.open("rb") as file:
            assert stored_frame(path, 1) == stored_frame(path.read_bytes(), 1) == stored_frame(file, 1)
        assert stored_frame(io.BytesIO(path.read_bytes()), 1) == stored_frame(path, 1)

    def test_frames_that_do_not_exist(self) -> None:
        for index in (-1, 1, 10**9):
            with pytest.raises(NoSuchFrame):
                stored_frame(DATA / "MR_small.dcm", index)
        with pytest.raises(NoPixels):
            stored_frame(DATA / "test-SR.dcm", 0)


class TestHostileStreams:
    def test_a_stream_larger_than_its_data_set_is_not_decoded(self) -> None:
        stream = imagecodecs.jpeg2k_encode(
            np.zeros((2000, 2000), np.uint16), reversible=True, codecformat="j2k"
        )
        raw = file_of(build(t7FE00010=encapsulated(stream)), "1.2.840.10008.1.2.4.90")
        with pytest.raises(SizesDisagree) as caught:
            decode_frame(raw, 0)
        assert caught.value.facts == {"rows": 2000, "columns": 2000}

    @pytest.mark.parametrize(
        "syntax", ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"]
    )
    def test_garbage_is_undecodable(self, syntax: str) -> None:
        raw = file_of(build(t7FE00010=encapsulated(b"\xff\xd8" + b"garbage" * 10)), syntax)
        with pytest.raises(Undecodable):
            decode_frame(raw, 0)

    def test_video_has_no_decoder(self) -> None:
        raw = file_of(build(t7FE00010=encapsulated(b"\0\0\1\xb3" * 20)), "1.2.840.10008.1.2.4.102")
        with pytest.raises(NoDecoder):
            decode_frame(raw, 0)

    @pytest.mark.parametrize(
        "name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"]
    )
    def test_flipped_bytes_in_streams(self, name: str) -> None:
        raw = (DATA / name).read_bytes()
        random = np.random.default_rng(1)
        for _ in range(40):
            broken = bytearray(raw)
            for at in random.integers(len(raw) - 4000, len(raw), 8):
                broken[at] ^= int(random.integers(1, 256))
            try:
                frame = decode_frame(bytes(broken), 0)
            except Rejected:
                continue
            assert frame.pixels.shape == (64, 64)
