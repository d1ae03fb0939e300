"""Pixels out of stored objects, in every transfer syntax that holds still pictures.

Decoding is done by pydicom with the plugins that are installed. The decoders below
them are C code that trusts its input, so the size a compressed stream claims is held
against the data set before any of them sees it.
"""

import threading
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from hub.dicom.contexts import DEFLATED_IMAGE_FRAME
from hub.dicom.frames import Image, frame_bytes, read_image
from hub.dicom.source import Readable
from hub.dicom.values import inflate, open_stored
from hub.errors import HubError, Malformed, Unsupported

_PLUGIN_LOCK = threading.Lock()
"""Adding a plugin to pydicom is not thread-safe."""

Array = np.ndarray[Any, np.dtype[Any]]


class Undecodable(Malformed):
    """The compressed pixels cannot be decoded."""


class SizesDisagree(Malformed):
    """The compressed stream is of another size than its data set states."""


class NoDecoder(Unsupported):
    """Frames of this transfer syntax are not decoded here."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame.

    `pixels` has shape ``(rows, columns)`` or ``(rows, columns, 3)``; stored values,
    before any modality or display transform, colours as RGB or palette indices.
    """

    pixels: Array
    photometric: str
    bits_stored: int


def decode_frame(data: Readable, index: int) -> Frame:
    """Decode one frame of a stored DICOM file.

    Parameters
    ----------
    data : bytes, path or seekable binary file
        The stored file; only the frame's own bytes are read from it.
    index : int
        From 0.

    Raises
    ------
    NoPixels, NoSuchFrame
        There is no such frame.
    NoDecoder
        Video, or a syntax that no installed plugin knows.
    PixelsMissing, PixelsImpossible, PixelsTooLarge, SizesDisagree, Undecodable
        The bytes are not the image they are said to be.
    """
    with open_stored(data) as (values, transfer_syntax):
        return decode_image(read_image(values, transfer_syntax), index)


def may_decode(image: Image) -> bool:
    """Tell whether there is a decoder for an image's transfer syntax."""
    if image.transfer_syntax == DEFLATED_IMAGE_FRAME:
        return True
    try:
        _decoder(image.transfer_syntax)
    except NoDecoder:
        return False
    return True


def decode_image(image: Image, index: int, *, raw: bool = False) -> Frame:
    """Decode one frame of an image that is open; see `decode_frame`.

    With `raw` colours stay in the space they are stored in, as far as the decoder leaves
    them there, and unused bits of native pixels stay as they are.
    """
    stored = frame_bytes(image, index)
    _ignore_advice()
    try:
        if not image.encapsulated or image.transfer_syntax == DEFLATED_IMAGE_FRAME or image.size.bits == 1:
            return _decode_simple(image, stored, as_stored=raw)
        _check_stream(image, stored)
        return _decode_stream(image, stored, as_stored=raw)
    except (HubError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # A panic of the RLE decoder, which is written in Rust, is no Exception.
        raise Undecodable(index=index, error=type(error).__name__) from error


def _ignore_advice() -> None:
    """Keep pydicom's remarks about odd values off the terminal: they are dealt with here."""
    warnings.filterwarnings("ignore", module=r"pydicom\.")


def _decode_simple(image: Image, raw: bytes, *, as_stored: bool) -> Frame:
    """Decode what is native once unpacked: native frames, and 1-bit or deflated ones."""
    from pydicom.uid import ExplicitVRLittleEndian, RLELossless

    size = image.size
    length = (size.rows * size.columns * size.bits * size.samples + 7) // 8
    if image.encapsulated and image.transfer_syntax == RLELossless:
        raw = _unpack_rle_bits(raw, length)
    elif image.encapsulated and image.transfer_syntax == DEFLATED_IMAGE_FRAME:
        raw = inflate(raw, length + 1)
    elif image.encapsulated:
        return _decode_stream(image, raw, as_stored=as_stored)
    if size.bits == 1:
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
        shape = (size.rows, size.columns) if size.samples == 1 else (size.rows, size.columns, size.samples)
        return Frame(bits[: np.prod(shape)].reshape(shape), size.photometric, 1)
    plain = size.samples == 1 and size.bits in {8, 16} and not image.floating
    if plain and (as_stored or image.bits_stored >= size.bits or _clean(image, raw)):
        # Most images; pydicom copies the pixels three times on the way to the same array.
        pixels = np.frombuffer(raw, _dtype(image)).reshape(size.rows, size.columns)
        return Frame(pixels, size.photometric, min(image.bits_stored, size.bits))
    return _run_decoder(image, raw, str(ExplicitVRLittleEndian), as_stored=as_stored)


def _dtype(image: Image) -> str:
    return f"<{'i' if image.signed else 'u'}{image.size.bits // 8}"


def _clean(image: Image, raw: bytes) -> bool:
    """Tell whether the unused bits of native pixels are clear, or copies of the sign."""
    pixels = np.frombuffer(raw, _dtype(image))
    low, high = stored_range(image)
    return low <= int(pixels.min()) and int(pixels.max()) <= high


def stored_range(image: Image) -> tuple[int, int]:
    """Return the smallest and the largest value of Bits Stored and Pixel Representation."""
    bits = min(image.bits_stored, image.size.bits)
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if image.signed else (0, (1 << bits) - 1)


def _decode_stream(image: Image, raw: bytes, *, as_stored: bool) -> Frame:
    from pydicom.encaps import encapsulate

    return _run_decoder(image, encapsulate([raw]), image.transfer_syntax, as_stored=as_stored)


def _run_decoder(image: Image, buffer: bytes, transfer_syntax: str, *, as_stored: bool) -> Frame:
    size = image.size
    keywords = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
    options: dict[str, Any] = {
        "rows": size.rows,
        "columns": size.columns,
        "number_of_frames": 1,
        "samples_per_pixel": size.samples,
        "bits_allocated": size.bits,
        "photometric_interpretation": size.photometric,
        "pixel_keyword": keywords.get(image.element.tag, "PixelData"),
    }
    if not image.floating:
        options["bits_stored"] = min(image.bits_stored, size.bits)
        options["pixel_representation"] = int(image.signed)
    if size.samples > 1:
        options["planar_configuration"] = image.planar
    pixels, found = _decoder(transfer_syntax).as_array(buffer, index=0, raw=as_stored, **options)
    photometric = str(found.get("photometric_interpretation", size.photometric))
    if photometric == "YBR_FULL_422":
        photometric = "YBR_FULL"  # decoders give every pixel its own colour
    return Frame(pixels, photometric, min(image.bits_stored, size.bits))


@cache
def _decoder(transfer_syntax: str) -> Any:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID, JPEGExtended12Bit

    try:
        decoder = get_decoder(UID(transfer_syntax))
    except NotImplementedError as error:
        raise NoDecoder(transfer_syntax=transfer_syntax) from error
    with _PLUGIN_LOCK:
        if transfer_syntax == JPEGExtended12Bit and "imagecodecs" not in decoder.available_plugins:
            decoder.add_plugin("imagecodecs", ("hub.dicom.jpeg12", "decode_frame"))
    return decoder


def _check_stream(image: Image, raw: bytes) -> None:
    """Hold the size within a JPEG family stream against the data set's."""
    found = stream_size(raw)
    if found is not None and found != (image.size.rows, image.size.columns):
        raise SizesDisagree(rows=found[0], columns=found[1])


def stream_size(raw: bytes) -> tuple[int, int] | None:
    """Return rows and columns that a JPEG, JPEG-LS or JPEG 2000 stream states.

    Notes
    -----
    Frame headers: ISO 10918-1 B.2.2 and ISO 14495-1 C.2.2; SIZ marker: ISO 15444-1
    A.5.1. None when there is no such header, for instance in RLE.
    """
    if raw.startswith(b"\xff\x4f\xff\x51") and len(raw) >= 24:  # noqa: PLR2004 - up to the image offset
        right, bottom, left, top = (int.from_bytes(raw[at : at + 4], "big") for at in (8, 12, 16, 20))
        return bottom - top, right - left
    if not raw.startswith(b"\xff\xd8"):
        return None
    frame_headers = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:  # noqa: PLR2004 - every marker begins so
        marker = raw[at + 1]
        if marker in frame_headers:
            return int.from_bytes(raw[at + 5 : at + 7], "big"), int.from_bytes(raw[at + 7 : at + 9], "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(raw[at + 2 : at + 4], "big")  # noqa: PLR2004 - fill
    return None


def _unpack_rle_bits(raw: bytes, length: int) -> bytes:
    """Decode the one RLE segment of a packed 1-bit frame (PS3.5 section G.3.1)."""
    segments, start = int.from_bytes(raw[:4], "little"), int.from_bytes(raw[4:8], "little")
    if segments != 1 or start < 64:  # noqa: PLR2004 - the header's length
        raise Undecodable(segments=segments)
    unpacked, at = bytearray(), start
    while at < len(raw) and len(unpacked) < length:
        control = raw[at]
        if control < 128:  # noqa: PLR2004 - literal run
            unpacked += raw[at + 1 : at + 2 + control]
            at += 2 + control
        elif control > 128:  # noqa: PLR2004 - replicate run
            unpacked += raw[at + 1 : at + 2] * (257 - control)
            at += 2
        else:
            at += 1
    if len(unpacked) < length:
        raise Undecodable(expected=length, found=len(unpacked))
    return bytes(unpacked[:length])
