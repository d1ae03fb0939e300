"""Images in another transfer syntax, every sample the same: copies on the way out.

What is stored is never touched. A copy keeps its UIDs, since its pixels are the same,
and everything that it says about earlier lossy compression. What cannot be brought
over without loss is refused before memory is taken: single bits, floats, samples of
more than 16 bits, overlays in the unused bits of pixels, video.
"""

import struct
from functools import cache
from typing import Any

import numpy as np

from hub.dicom.elements import PIXEL_DATA, UNDEFINED
from hub.dicom.frames import Image, frame_bytes, native_frame_size, read_image
from hub.dicom.negotiate import EXPLICIT_LITTLE
from hub.dicom.part10 import file_header, split
from hub.dicom.pixels import Array, Frame, decode_image, may_decode, stored_range
from hub.dicom.recode import head, recode
from hub.dicom.source import Readable
from hub.dicom.values import open_stored
from hub.errors import Unsupported

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
RLE = "1.2.840.10008.1.2.5"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
HTJ2K, HTJ2K_RPCL = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_HTJ2K = frozenset({HTJ2K, HTJ2K_RPCL})
_WITH_RCT = _HTJ2K | {JPEG_2000}
"""Syntaxes whose encoders here turn RGB into the reversible colour space of JPEG 2000."""

NATIVE = frozenset({EXPLICIT_LITTLE, IMPLICIT_LITTLE})
COMPRESSED = frozenset({RLE, JPEG_LS, JPEG_2000, HTJ2K, HTJ2K_RPCL})
MADE_HERE = NATIVE | COMPRESSED
"""Transfer syntaxes that objects are brought into."""

MOST_BYTES = 512 * 1024 * 1024
"""Size of all frames, uncompressed, beyond which an object is not transcoded."""

_COLOURS = frozenset({"RGB", "YBR_FULL"})
_UNUSED_BITS_OVERLAY = 0x60000102
_ITEM_HEAD = struct.Struct("<HHL")
_OFFSET_TABLE, _OFFSET_LENGTHS = 0x7FE00001, 0x7FE00002


class CannotTranscode(Unsupported):
    """This object cannot be brought into another transfer syntax without loss."""


def transcodable(data: Readable, syntax: str) -> bool:
    """Tell whether a stored file can be brought into `syntax` without loss.

    The pixels are not read; a compressed stream that is broken is found only when it is
    decoded.
    """
    with open_stored(data) as (values, stored):
        if values.pixel_element is None:
            return syntax in NATIVE
        image = read_image(values, stored)
        return _recoded_only(image, syntax) or _encodable(image, syntax)


def frame_transcodable(image: Image, syntax: str) -> bool:
    """Tell whether single frames of an image can be brought into `syntax` without loss."""
    if syntax == EXPLICIT_LITTLE:
        return not image.encapsulated or may_decode(image)
    return syntax in COMPRESSED and _encodable(image, syntax)


def transcode_frame(image: Image, index: int, syntax: str) -> bytes:
    """Return one frame of an open image in another transfer syntax; `index` is from 0.

    Colours of compressed frames become RGB, whatever they were stored in; native frames
    keep their colour space, which metadata names.

    Raises
    ------
    CannotTranscode
        `frame_transcodable` says no, or the pixels hold more than their stated bits.
    HubError
        Whatever `decode_image` raises.
    """
    if not frame_transcodable(image, syntax):
        raise CannotTranscode(syntax=syntax)
    frame = decode_image(image, index, raw=not image.encapsulated)
    return _octets(image, frame) if syntax == EXPLICIT_LITTLE else _encode(image, frame, syntax)


def transcode_file(data: Readable, syntax: str) -> list[bytes]:
    """Return a stored file in another transfer syntax, in pieces: a DICOM file (PS3.10).

    Raises
    ------
    CannotTranscode
        `transcodable` says no, or the pixels hold more than their stated bits.
    HubError
        Whatever `decode_image` and `recode` raise.
    """
    meta, start = split(data)
    with open_stored(data) as (values, stored):
        begin = 0 if stored == _DEFLATED else start
        element = values.pixel_element
        image = read_image(values, stored) if element is not None else None
        changes: dict[int, tuple[str, bytes] | None] = {_OFFSET_TABLE: None, _OFFSET_LENGTHS: None}
        pixels: list[bytes] = []
        if image is not None and _recoded_only(image, syntax):
            pixels = _native_pixels(image, syntax)
        elif image is not None:
            if not _encodable(image, syntax):
                raise CannotTranscode(syntax=syntax)
            pixels = _frames(image, syntax, changes)
        elif syntax not in NATIVE:
            raise CannotTranscode(syntax=syntax)
        explicit = syntax != IMPLICIT_LITTLE
        header = file_header(
            sop_class=meta.sop_class or values.code(0x00080016),
            sop_instance=meta.sop_instance or values.code(0x00080018),
            transfer_syntax=syntax,
            calling_ae=meta.source_ae,
        )
        return [header, b"".join(recode(values, begin, explicit=explicit, changes=changes)), *pixels]


def _recoded_only(image: Image, syntax: str) -> bool:
    """Tell whether the pixels only have to be laid out anew, if at all."""
    return syntax in NATIVE and not image.encapsulated and image.size.expected_bytes <= MOST_BYTES


def _encodable(image: Image, syntax: str) -> bool:
    size = image.size
    if syntax not in MADE_HERE or size.expected_bytes > MOST_BYTES or image.floating:
        return False
    if size.bits not in {8, 16} or size.samples not in {1, 3}:
        return False
    if image.encapsulated and not may_decode(image):
        return False
    if syntax in NATIVE or syntax == RLE:
        return True
    high = image.values.short(0x00280102)
    # Overlays used to be kept in the unused bits of pixels (retired, PS3.5 section 8.1.2).
    hidden = any(image.values.short(_UNUSED_BITS_OVERLAY + (group << 17)) for group in range(16))
    return not hidden and high in {0, image.bits_stored - 1} and image.bits_stored <= size.bits


def _native_pixels(image: Image, syntax: str) -> list[bytes]:
    size, element = image.size, image.element
    if image.values.encoding.little:
        # Some devices pad their pixels by more than the one byte that is allowed.
        length = min(element.length, native_frame_size(image) * size.frames)
        content = image.values.source.read(element.offset, length)
    elif size.bits > 1:
        content = b"".join(frame_bytes(image, index) for index in range(size.frames))
    else:
        raise CannotTranscode(syntax=syntax)
    if image.floating:
        vr = element.vr
    else:
        vr = "OW" if size.bits > 8 or not image.values.encoding.explicit else element.vr  # noqa: PLR2004
    return _native_element(element.tag, vr, [content], syntax)


def _native_element(tag: int, vr: str, contents: list[bytes], syntax: str) -> list[bytes]:
    length = sum(map(len, contents))
    first = head(tag, vr, length + length % 2, explicit=syntax != IMPLICIT_LITTLE)
    return [first, *contents, bytes(length % 2)]


def _frames(image: Image, syntax: str, changes: dict[int, tuple[str, bytes] | None]) -> list[bytes]:
    """Bring every frame over; what group 0028 must say of them goes into `changes`."""
    size = image.size
    encoded: list[bytes] = []
    for index in range(size.frames):
        frame = decode_image(image, index, raw=True)
        if size.samples > 1:
            photometric = (
                "YBR_RCT" if frame.photometric == "RGB" and syntax in _WITH_RCT else frame.photometric
            )
            changes[0x00280004] = ("CS", photometric.encode("ascii"))
            changes[0x00280006] = ("US", struct.pack("<H", int(syntax == RLE)))
        octets = _octets(image, frame) if syntax in NATIVE else _encode(image, frame, syntax)
        encoded.append(octets + bytes(len(octets) % 2 if syntax in COMPRESSED else 0))
    if syntax in NATIVE:
        vr = "OW" if size.bits > 8 or syntax == IMPLICIT_LITTLE else "OB"  # noqa: PLR2004 - bytes
        return _native_element(PIXEL_DATA, vr, encoded, syntax)
    return _encapsulated(encoded)


def _encapsulated(frames: list[bytes]) -> list[bytes]:
    """Return pixel data of one fragment a frame, behind a basic offset table (PS3.5 section A.4)."""
    offsets, at = [], 0
    for frame in frames:
        offsets.append(at)
        at += 8 + len(frame)
    table = struct.pack(f"<{len(offsets)}L", *offsets)
    pieces = [head(PIXEL_DATA, "OB", UNDEFINED, explicit=True), _item(table)]
    for frame in frames:
        pieces += (_ITEM_HEAD.pack(0xFFFE, 0xE000, len(frame)), frame)
    return [*pieces, _ITEM_HEAD.pack(0xFFFE, 0xE0DD, 0)]


def _item(content: bytes) -> bytes:
    return _ITEM_HEAD.pack(0xFFFE, 0xE000, len(content)) + content


def _octets(image: Image, frame: Frame) -> bytes:
    """Return a decoded frame as native pixel data would hold it (PS3.5 section 8.1.1).

    Width and sign are those of Bits Allocated and Pixel Representation; 1-bit pixels are
    packed; colours interleaved.
    """
    if image.size.bits == 1:
        return np.packbits(frame.pixels.reshape(-1), bitorder="little").tobytes()
    kind = "f" if image.floating else "i" if image.signed else "u"
    return frame.pixels.astype(f"<{kind}{image.size.bits // 8}", copy=False).tobytes()


def _encode(image: Image, frame: Frame, syntax: str) -> bytes:
    size = image.size
    pixels = np.ascontiguousarray(frame.pixels)
    if size.samples > 1 and frame.photometric not in _COLOURS:
        raise CannotTranscode(syntax=syntax)
    if syntax == RLE:
        # Every byte of the cell is kept, so nothing can be lost in unused bits.
        return _run_encoder(image, frame, pixels, syntax, size.bits)
    low, high = stored_range(image)
    if pixels.size and not low <= int(pixels.min()) <= int(pixels.max()) <= high:
        raise CannotTranscode("pixels have more than their stated bits", syntax=syntax)
    if syntax == JPEG_LS and image.bits_stored == size.bits:
        from imagecodecs import jpegls_encode

        return bytes(jpegls_encode(pixels.view(f"u{size.bits // 8}")))
    if syntax == JPEG_LS:
        return _run_encoder(image, frame, pixels, syntax, image.bits_stored)
    return _encode_wavelet(image, frame, pixels, syntax)


def _encode_wavelet(image: Image, frame: Frame, pixels: Array, syntax: str) -> bytes:
    """Encode as JPEG 2000 or HTJ2K, reversibly; RGB through its reversible colour space."""
    from imagecodecs import htj2k_encode, jpeg2k_encode

    rgb = image.size.samples > 1 and frame.photometric == "RGB"
    # Each level halves the picture; the encoders refuse more levels than its size allows.
    halvings = min(5, min(image.size.rows, image.size.columns).bit_length() - 1)
    if syntax == JPEG_2000:
        bits = None if image.signed else max(image.bits_stored, 1)
        return bytes(
            jpeg2k_encode(
                pixels,
                level=0,
                codecformat="j2k",
                reversible=True,
                mct=rgb,
                planar=False,
                resolutions=halvings + 1,
                bitspersample=bits,
            )
        )
    tlm = syntax == HTJ2K_RPCL
    return bytes(htj2k_encode(pixels, reversible=True, rgb=rgb, planar=False, resolutions=halvings, tlm=tlm))


def _run_encoder(image: Image, frame: Frame, pixels: Array, syntax: str, bits: int) -> bytes:
    size = image.size
    options: dict[str, Any] = {
        # Named, because GDCM, which would be tried as well, ends the whole process over some frames.
        "encoding_plugin": "pylibjpeg" if syntax == RLE else "pyjpegls",
        "rows": size.rows,
        "columns": size.columns,
        "number_of_frames": 1,
        "samples_per_pixel": size.samples,
        "bits_allocated": size.bits,
        "bits_stored": bits,
        "pixel_representation": int(image.signed),
        "photometric_interpretation": frame.photometric,
    }
    if size.samples > 1:
        options["planar_configuration"] = 0
    return bytes(_encoder(syntax).encode(pixels, **options))


@cache
def _encoder(syntax: str) -> Any:
    from pydicom.pixels.encoders.base import get_encoder
    from pydicom.uid import UID

    return get_encoder(UID(syntax))
