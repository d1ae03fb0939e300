"""Single frames as they are stored, found without reading the others."""

import itertools
import struct
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np

from hub.dicom.elements import (
    DOUBLE_PIXEL_DATA,
    FLOAT_PIXEL_DATA,
    ITEM,
    BrokenDataset,
    Element,
    Item,
    items,
)
from hub.dicom.header import HeaderPixels, PixelsMissing, check_pixels
from hub.dicom.source import Octets, Readable, Source
from hub.dicom.values import Values, open_stored
from hub.errors import NotFound

_JPEG_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51")
"""Start of image (ISO 10918-1, 14495-1) and start of codestream (ISO 15444-1)."""

_LAST_OF_THE_REST = 1 << 62


class NoPixels(NotFound):
    """The object has no pixel data."""


class NoSuchFrame(NotFound):
    """The object has fewer frames."""


@dataclass(frozen=True, slots=True)
class Image:
    """The pixel module of a stored object (PS3.3 section C.7.6.3), and its values."""

    values: Values
    transfer_syntax: str
    size: HeaderPixels
    element: Element
    bits_stored: int
    signed: bool
    planar: int

    @property
    def encapsulated(self) -> bool:
        """Whether the frames are compressed streams in fragments (PS3.5 section A.4)."""
        return self.element.undefined

    @property
    def floating(self) -> bool:
        """Whether the pixels are IEEE floats."""
        return self.element.tag in {FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA}


class KnownImages:
    """What was read of images a short while ago, by the SHA-256 of their files; none of their bytes.

    Each frame of a film is asked for by itself, and would be looked for in the whole header again.
    """

    def __init__(self, most_elements: int) -> None:
        self._most = most_elements
        self._elements = 0
        self._images: OrderedDict[str, Image] = OrderedDict()
        self._lock = threading.Lock()

    def over(self, sha256: str, source: Source) -> Image | None:
        """Return the image of these bytes, or None when it is not known."""
        with self._lock:
            image = self._images.get(sha256)
            if image is None:
                return None
            self._images.move_to_end(sha256)
        return replace(image, values=image.values.over(source))

    def remember(self, sha256: str, image: Image) -> None:
        """Keep what was read of an image; of an inflated one nothing, its bytes are not those of the file."""
        from pydicom.uid import DeflatedExplicitVRLittleEndian

        if image.transfer_syntax == DeflatedExplicitVRLittleEndian:
            return
        husk = replace(image, values=image.values.over(_NOTHING))
        with self._lock:
            if sha256 not in self._images:
                self._images[sha256] = husk
                self._elements += len(husk.values.elements)
            while self._elements > self._most:
                _, oldest = self._images.popitem(last=False)
                self._elements -= len(oldest.values.elements)


_NOTHING = Source(memoryview(b""))


def read_image(values: Values, transfer_syntax: str) -> Image:
    """Describe the image of an object that is open.

    Raises
    ------
    NoPixels, PixelsMissing, PixelsImpossible, PixelsTooLarge
        There is none, or it cannot be what it states.
    """
    size = check_pixels(values)
    element = values.pixel_element
    if size is None or element is None:
        raise NoPixels
    return Image(
        values=values,
        transfer_syntax=transfer_syntax,
        size=size,
        element=element,
        bits_stored=values.short(0x00280101) or size.bits,
        signed=values.short(0x00280103) == 1,
        planar=values.short(0x00280006),
    )


def stored_frame(data: Readable, index: int) -> tuple[bytes, str]:
    """Return one frame as it is stored, and the transfer syntax of those bytes.

    Parameters
    ----------
    data : bytes, path or seekable binary file
        The stored DICOM file.
    index : int
        From 0.

    Returns
    -------
    tuple of bytes and str
        A compressed stream under its own syntax; or native pixels under Explicit VR
        Little Endian, byte-swapped where the object is big endian, and starting at a
        whole byte for 1-bit images.

    Raises
    ------
    NoPixels, NoSuchFrame
        There is no such frame.
    PixelsMissing, BrokenDataset
        The frame is not where it should be.
    """
    from pydicom.uid import ExplicitVRLittleEndian

    with open_stored(data) as (values, transfer_syntax):
        image = read_image(values, transfer_syntax)
        frame = frame_bytes(image, index)
        return frame, image.transfer_syntax if image.encapsulated else str(ExplicitVRLittleEndian)


def frame_bytes(image: Image, index: int) -> bytes:
    """Return one frame of an open image; see `stored_frame`."""
    return bytes(frame_piece(image, index))


def frame_piece(image: Image, index: int) -> Octets:
    """Return one frame of an open image, a part of the file's own bytes where it is that."""
    if not 0 <= index < image.size.frames:
        raise NoSuchFrame(index=index, frames=image.size.frames)
    return _fragments(image, index) if image.encapsulated else _native(image, index)


def native_frame_size(image: Image) -> int:
    """Return the bytes of one native frame, begun ones included."""
    return (_frame_bits(image) + 7) // 8


def _frame_bits(image: Image) -> int:
    size = image.size
    # Two neighbours share their colour (PS3.3 section C.7.6.3.1.2).
    samples = 2 if size.photometric == "YBR_FULL_422" else size.samples
    return size.rows * size.columns * size.bits * samples


def _native(image: Image, index: int) -> Octets:
    size, frame_bits = image.size, _frame_bits(image)
    source, base = image.values.source, image.element.offset
    first_bit, last_bit = frame_bits * index, frame_bits * (index + 1)
    start, stop = first_bit // 8, (last_bit + 7) // 8
    if not image.values.encoding.little:
        # 8-bit pixels in words were swapped in pairs, so whole words must be read.
        even_start, even_stop = start // 2 * 2, stop + stop % 2
        raw = source.read(base + even_start, even_stop - even_start)
        swapped = _little_endian(raw, size.bits, image.element.vr)
        frame: Octets = swapped[start - even_start :][: stop - start]
    else:
        frame = source.piece(base + start, stop - start)
    if len(frame) < stop - start:
        raise PixelsMissing(expected=stop - start, found=len(frame))
    if size.bits == 1 and (first_bit % 8 or last_bit % 8):
        bits = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")
        return np.packbits(bits[first_bit % 8 :][:frame_bits], bitorder="little").tobytes()
    return frame


def _little_endian(raw: bytes, bits: int, vr: str) -> bytes:
    """Swap big-endian pixels; bytes and bits are swapped only when written as words."""
    width = {64: 8, 32: 4, 16: 2}.get(bits, 2 if vr == "OW" else 1)
    if width == 1:
        return raw
    padded = raw + bytes(-len(raw) % width)
    return np.frombuffer(padded, dtype=f">u{width}").astype(f"<u{width}").tobytes()[: len(raw)]


def _fragments(image: Image, index: int) -> bytes:
    """Join the fragments of one frame: by an offset table if it can be right, else by looking."""
    source, element = image.values.source, image.element
    table = _offset_table(image)
    if table is not None:
        base, offsets = table
        stop = offsets[index + 1] if index + 1 < len(offsets) else _LAST_OF_THE_REST
        return _read_items(source, base + offsets[index], base + stop, element)
    fragments = list(items(source, element, source.size))[1:]
    return b"".join(
        source.read(fragment.start, fragment.end - fragment.start)
        for fragment in _group(source, fragments, image.size.frames)[index]
    )


def _offset_table(image: Image) -> tuple[int, list[int]] | None:
    """Return where the first frame's item lies and the offsets from there, if stated soundly."""
    source, element, encoding = image.values.source, image.element, image.values.encoding
    head = source.read(element.offset, 8)
    if encoding.tag(head) != ITEM:
        raise BrokenDataset("an item was expected", offset=element.offset)
    length = encoding.number(head[4:])
    base = element.offset + 8 + length
    frames = image.size.frames
    extended = image.values.raw(0x7FE00001, 8 * frames)
    if len(extended) == 8 * frames:
        offsets = list(struct.unpack(f"<{frames}Q", extended))
    elif length == 4 * frames:
        offsets = list(struct.unpack(f"<{frames}L", source.read(element.offset + 8, length)))
    else:
        return None
    rising = offsets[0] == 0 and all(low < high for low, high in itertools.pairwise(offsets))
    tags = (
        encoding.tag(source.read(base + offset, 4).ljust(4, b"\0")) for offset in (offsets[0], offsets[-1])
    )
    begins = all(tag == ITEM for tag in tags)
    return (base, offsets) if rising and begins else None


def _read_items(source: Source, start: int, stop: int, element: Element) -> bytes:
    """Join the items between two offsets, or up to the end of the sequence."""
    part = Element(element.tag, element.vr, start, min(stop, source.size) - start, element.encoding)
    return b"".join(
        source.read(item.start, item.end - item.start) for item in items(source, part, source.size)
    )


def _group(source: Source, fragments: list[Item], frames: int) -> list[list[Item]]:
    """Share fragments out among frames when no table says how (PS3.5 section A.4)."""
    if frames == 1:
        return [fragments]
    if len(fragments) == frames:
        return [[fragment] for fragment in fragments]
    groups: list[list[Item]] = []
    for fragment in fragments:
        if source.read(fragment.start, 4).startswith(_JPEG_STARTS) or not groups:
            groups.append([])
        groups[-1].append(fragment)
    if len(groups) != frames:
        raise PixelsMissing(frames=frames, found=len(groups))
    return groups
