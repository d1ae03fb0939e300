"""What WADO-RS answers are made of: files, frames, metadata, bulk data. Knows no routes."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import structlog

from hub.catalogue.models import Instance
from hub.context import Context
from hub.dicom.answers import Part, Value
from hub.dicom.frames import Image, KnownImages, frame_bytes, frame_piece, native_frame_size, read_image
from hub.dicom.json_model import bulk_data, json_model
from hub.dicom.negotiate import EXPLICIT_LITTLE
from hub.dicom.render import BadViewport, BadWindow
from hub.dicom.source import Octets, open_source
from hub.dicom.stored import checked_chunks, open_object, series_chunks
from hub.dicom.transcode import MADE_HERE, transcodable, transcode_file, transcode_frame
from hub.dicom.values import PIXEL_TAGS, open_stored
from hub.errors import Rejected, Retriable, Unsupported

log = structlog.get_logger()

DECODING_AT_ONCE = 4
"""Frames that are decoded or drawn at the same time in one process; each may need hundreds of MB."""
WAIT_SECONDS = 30.0
CHUNK_BYTES = 1 << 20

_decoding = threading.BoundedSemaphore(DECODING_AT_ONCE)
known = KnownImages(most_elements=50_000)  # some 15 MB


class CannotDecode(Unsupported):
    """This object cannot be decoded here; it can be fetched as it was received."""


class DecodingBusy(Retriable):
    """Too many pictures are being decoded just now; ask again in a moment."""


@contextmanager
def blaming(instance: Instance) -> Iterator[None]:
    """Say of what cannot be read that it is the object's fault, not the caller's.

    Raises
    ------
    CannotDecode
        The object is not what it says, or of a syntax that is not decoded here.
    """
    try:
        yield
    except (BadWindow, BadViewport, CannotDecode):
        raise
    except (Rejected, Unsupported) as error:
        log.warning("cannot_decode", instance=instance.id, sop_uid=instance.sop_uid, cause=error.code)
        raise CannotDecode(sop_uid=instance.sop_uid) from error


@contextmanager
def decoding(instance: Instance) -> Iterator[None]:
    """Hold one of the places for decoding.

    Raises
    ------
    DecodingBusy
        No place became free in time.
    CannotDecode
        See `blaming`.
    """
    if not _decoding.acquire(timeout=WAIT_SECONDS):
        raise DecodingBusy
    try:
        with blaming(instance):
            yield
    finally:
        _decoding.release()


@contextmanager
def open_image(context: Context, instance: Instance) -> Iterator[Image]:
    """Open the image of a stored object.

    Raises
    ------
    NoPixels
        It is none.
    ObjectDamaged, CannotDecode
        It cannot be read.
    """
    with open_object(context, instance) as data, blaming(instance), open_source(data) as source:
        image = known.over(instance.sha256, source)
        if image is not None:
            yield image
            return
        with open_stored(data) as (values, syntax):
            image = read_image(values, syntax)
            known.remember(instance.sha256, image)
            yield image


Chosen = tuple[Instance, str, str]
"""An instance, its address, and the transfer syntax in which it goes out."""


def part_heads(chosen: Iterable[Chosen]) -> list[Part]:
    """Return the parts of an answer without their content, for its length."""
    return [
        Part(_dicom(syntax), url, (), instance.size if syntax == instance.transfer_syntax else None)
        for instance, url, syntax in chosen
    ]


def file_parts(context: Context, chosen: Sequence[Chosen]) -> Iterator[Part]:
    """Yield whole files: stored ones, each checked before it is sent, and copies in another syntax.

    A part must be taken before the next one is asked for.
    """
    if all(syntax == instance.transfer_syntax for instance, _, syntax in chosen):
        contents = series_chunks(context, [instance for instance, _, _ in chosen])
        for head, (_, body) in zip(part_heads(chosen), contents, strict=True):
            yield replace(head, body=body)
        return
    for (instance, _, syntax), head in zip(chosen, part_heads(chosen), strict=True):
        stored = syntax == instance.transfer_syntax
        body = checked_chunks(context, instance) if stored else _transcoded(context, instance, syntax)
        yield replace(head, body=body)


def _transcoded(context: Context, instance: Instance, syntax: str) -> Iterator[bytes]:
    with open_object(context, instance) as data, decoding(instance):
        pieces = transcode_file(data, syntax)
    yield from pieces


def _dicom(syntax: str) -> str:
    return f"application/dicom; transfer-syntax={syntax}"


def can_transcode(context: Context, instance: Instance, syntax: str) -> bool:
    """Tell whether an object can be brought into another transfer syntax without loss."""
    if syntax not in MADE_HERE:
        return False
    with open_object(context, instance) as data, blaming(instance):
        return transcodable(data, syntax)


def metadata(
    context: Context, found: Iterable[tuple[Instance, str]], charset_of: Callable[[Instance], str | None]
) -> bytes:
    """Return the DICOM JSON of instances; bulk data lies below each one's address.

    It describes the objects as they are stored (PS3.18 section 10.4.1.1.2): Photometric
    Interpretation and Planar Configuration are those of frames fetched in their stored
    syntax. Frames that were decoded on the way out from a compressed colour syntax are
    RGB, samples interleaved, whatever stands here.
    """
    objects: list[bytes] = []
    for instance, url in found:
        with open_object(context, instance) as data, blaming(instance):

            def address(path: str, url: str = url) -> str:
                return f"{url}/bulkdata/{path}"

            model = json_model(data, address, charset_of(instance))
        if model.skipped:
            log.info("elements_left_out", sop_uid=instance.sop_uid, count=model.skipped)
        objects.append(_json(model.elements))
    return b"[" + b",".join(objects) + b"]"


def _json(elements: dict[str, Any]) -> bytes:
    """Write DICOM JSON; text that is not ASCII is declared even where its sender did not declare it."""
    text = json.dumps(elements, ensure_ascii=False, separators=(",", ":"))
    if not text.isascii() and "00080005" not in elements:
        return _json({"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}} | elements)
    return text.encode()


def frames(context: Context, instance: Instance, numbers: Iterable[int], syntax: str) -> Iterator[Octets]:
    """Yield frames in a transfer syntax; numbers start at 1."""
    with open_image(context, instance) as image:
        yield from frames_of(image, instance, numbers, syntax)


def frames_of(image: Image, instance: Instance, numbers: Iterable[int], syntax: str) -> Iterator[Octets]:
    """Yield frames of an image that is open."""
    for number in numbers:
        if syntax == frame_syntax(image):
            yield frame_piece(image, number - 1)
        else:
            with decoding(instance):
                octets = transcode_frame(image, number - 1, syntax)
            yield octets


def frame_syntax(image: Image) -> str:
    """Return the transfer syntax of single frames as they are stored."""
    return image.transfer_syntax if image.encapsulated else EXPLICIT_LITTLE


def bulk_value(context: Context, instance: Instance, path: str) -> Value:
    """Return a binary value that metadata gave by address; native pixels in little-endian order.

    Raises
    ------
    NoBulkData
        There is none under that path.
    """
    with _bulk(context, instance, path) as (size, _):
        pass

    def chunks(start: int, count: int) -> Iterator[bytes]:
        with _bulk(context, instance, path) as (_, read):
            for at in range(start, start + count, CHUNK_BYTES):
                yield read(at, min(CHUNK_BYTES, start + count - at))

    return Value(size, chunks)


@contextmanager
def _bulk(
    context: Context, instance: Instance, path: str
) -> Iterator[tuple[int, Callable[[int, int], bytes]]]:
    """Give the size of a value, and what reads some bytes of it from an offset."""
    if is_pixel_path(path):
        with open_image(context, instance) as image:
            # 1-bit frames follow one another within a byte, so they are taken together.
            if image.size.bits > 1:
                yield _native_pixels(image)
                return
    with open_object(context, instance) as data, blaming(instance):
        content = bulk_data(data, path)
    yield len(content), lambda start, count: content[start : start + count]


def _native_pixels(image: Image) -> tuple[int, Callable[[int, int], bytes]]:
    source, element = image.values.source, image.element
    if image.values.encoding.little:
        size = min(native_frame_size(image) * image.size.frames, source.size - element.offset)
        return size, lambda start, count: source.read(element.offset + start, count)
    content = b"".join(frame_bytes(image, index) for index in range(image.size.frames))
    return len(content), lambda start, count: content[start : start + count]


def is_pixel_path(path: str) -> bool:
    """Tell whether a bulk data path is the object's own pixel data."""
    return path.upper() in {f"{tag:08X}" for tag in PIXEL_TAGS}
