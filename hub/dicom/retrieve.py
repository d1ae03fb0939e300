"""Bodies of WADO-RS answers: parts, frames, metadata, pictures. Knows no routes."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import structlog

from hub.catalogue.models import Instance
from hub.context import Context
from hub.dicom.frames import Image, frame_bytes, read_image
from hub.dicom.json_model import bulk_data, json_model
from hub.dicom.negotiate import EXPLICIT_LITTLE
from hub.dicom.pixels import decode_image
from hub.dicom.render import BadViewport, BadWindow
from hub.dicom.stored import checked_chunks, open_object
from hub.dicom.values import PIXEL_TAGS, open_stored
from hub.errors import Rejected, Retriable, Unsupported

log = structlog.get_logger()

DECODING_AT_ONCE = 4
"""Frames that are decoded or drawn at the same time in one process; each may need hundreds of MB."""
WAIT_SECONDS = 30.0

_decoding = threading.BoundedSemaphore(DECODING_AT_ONCE)


class CannotDecode(Unsupported):
    """This object cannot be decoded here; it can be fetched as it was received."""


class DecodingBusy(Retriable):
    """Too many pictures are being decoded just now; ask again in a moment."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart answer; `body` is made when its turn comes."""

    media_type: str
    location: str
    body: Iterable[bytes]


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
    with open_object(context, instance) as data, blaming(instance), open_stored(data) as (values, syntax):
        yield read_image(values, syntax)


def multipart(parts: Iterable[Part], boundary: str) -> Iterator[bytes]:
    """Yield a multipart/related body (RFC 2387), one piece of one part in memory at a time."""
    for part in parts:
        head = f"--{boundary}\r\nContent-Type: {part.media_type}\r\nContent-Location: {part.location}\r\n\r\n"
        # The part's first bytes are asked for before its head is sent: what is refused must
        # end the answer, not look like an empty part.
        body = primed(part.body)
        yield head.encode("ascii")
        yield from body
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode("ascii")


def primed(body: Iterable[bytes]) -> Iterator[bytes]:
    """Ask for the first piece at once, so that an error comes before the answer begins."""
    rest = iter(body)
    for first in rest:
        return chain((first,), rest)
    return iter(())


def file_parts(context: Context, found: Iterable[tuple[Instance, str]]) -> Iterator[Part]:
    """Yield whole stored files with their addresses, each checked before it is sent."""
    for instance, url in found:
        media_type = f"application/dicom; transfer-syntax={instance.transfer_syntax}"
        yield Part(media_type, url, checked_chunks(context, instance))


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


def frames(context: Context, instance: Instance, numbers: Iterable[int], *, stored: bool) -> Iterator[bytes]:
    """Yield frames as they are stored, or decoded to little-endian values; numbers start at 1."""
    with open_image(context, instance) as image:
        for number in numbers:
            if stored or not image.encapsulated:
                yield frame_bytes(image, number - 1)
            else:
                with decoding(instance):
                    octets = decoded_octets(image, number - 1)
                yield octets


def decoded_octets(image: Image, index: int) -> bytes:
    """Return a compressed frame as native pixel data would hold it (PS3.5 section 8.1.1).

    Width and sign are those of Bits Allocated and Pixel Representation; 1-bit pixels are
    packed; colours are RGB, sample after sample.
    """
    pixels = decode_image(image, index).pixels
    if image.size.bits == 1:
        return np.packbits(pixels.reshape(-1), bitorder="little").tobytes()
    kind = "f" if image.floating else "i" if image.signed else "u"
    return pixels.astype(f"<{kind}{image.size.bits // 8}", copy=False).tobytes()


def bulk_values(context: Context, instance: Instance, path: str) -> Iterator[bytes]:
    """Yield a binary value that metadata gave by address.

    Uncompressed pixels come frame by frame in little-endian order; compressed ones have no
    single value and are asked for as frames.
    """
    if is_pixel_path(path):
        with open_image(context, instance) as image:
            # 1-bit frames follow one another within a byte, so they are taken together.
            if image.size.bits > 1:
                for index in range(image.size.frames):
                    yield frame_bytes(image, index)
                return
    with open_object(context, instance) as data, blaming(instance):
        yield bulk_data(data, path)


def is_pixel_path(path: str) -> bool:
    """Tell whether a bulk data path is the object's own pixel data."""
    return path.upper() in {f"{tag:08X}" for tag in PIXEL_TAGS}


def stored_form(context: Context, instance: Instance) -> tuple[str, int]:
    """Return the transfer syntax of single frames as they are stored, and how many there are.

    Raises
    ------
    NoPixels
        It is no image.
    """
    with open_image(context, instance) as image:
        return (image.transfer_syntax if image.encapsulated else EXPLICIT_LITTLE), image.size.frames
