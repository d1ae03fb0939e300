"""Values of a data set, made from the raw bytes when asked for, never raising."""

import contextlib
import copy
import math
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

import numpy as np

from hub.dicom.elements import (
    DOUBLE_PIXEL_DATA,
    FLOAT_PIXEL_DATA,
    PIXEL_DATA,
    Element,
    Encoding,
    index,
    items,
)
from hub.dicom.part10 import layout, split
from hub.dicom.source import Readable, Source, open_source
from hub.errors import Malformed, TooLarge

MAX_INFLATED_BYTES = 1024 * 1024 * 1024
"""Size beyond which a deflated data set is refused unread."""

_IN_MEMORY_BYTES = 16 * 1024 * 1024
_STEP_BYTES = 1024 * 1024

MAX_VALUE_BYTES = 16 * 1024
"""No value that is asked for as text or number is longer."""

MAX_ELEMENTS = 50_000
"""A data set or item with more elements at one level is refused; real ones have a few hundred."""

PIXEL_TAGS = frozenset({PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA})


class InflatesTooLarge(TooLarge):
    """The deflated bytes grow beyond the limit."""


class BrokenDeflate(Malformed):
    """The deflated bytes cannot be inflated."""


class Values:
    """The elements of a data set or of one item of a sequence."""

    def __init__(self, source: Source, start: int, end: int, encoding: Encoding) -> None:
        self.source = source
        self.encoding = encoding
        self.end = end
        self.elements: dict[int, Element] = index(source, start, end, encoding, MAX_ELEMENTS)

    def over(self, source: Source) -> "Values":
        """Return the same elements over another source of the same bytes, without walking them again."""
        twin = copy.copy(self)
        twin.source = source
        return twin

    @property
    def pixel_element(self) -> Element | None:
        """The element that holds the pixels, of whichever kind."""
        return next((self.elements[tag] for tag in PIXEL_TAGS if tag in self.elements), None)

    def raw(self, tag: int, limit: int = MAX_VALUE_BYTES) -> bytes:
        """Return the bytes of a value, at most `limit`; empty when it is absent."""
        element = self.elements.get(tag)
        if element is None or element.undefined:
            return b""
        return self.source.read(element.offset, min(element.length, limit))

    def code(self, tag: int) -> str:
        """Return the first value of an element that holds plain ASCII."""
        return code_of(self.raw(tag))

    def codes(self, tag: int) -> list[str]:
        """Return all values of an element that holds plain ASCII; one empty text when absent."""
        return _codes(self.raw(tag))

    def numbers(self, tag: int) -> list[float]:
        """Return the decimal numbers of an element of VR DS or IS that can be read."""
        return _numbers(self.raw(tag))

    def number(self, tag: int) -> int | None:
        """Return the first number of an element of VR IS, or None."""
        return number_of(self.raw(tag))

    def short(self, tag: int) -> int:
        """Return the first unsigned short of an element, 0 when absent."""
        raw = self.raw(tag, 2)
        return self.encoding.number(raw) if len(raw) == 2 else 0  # noqa: PLR2004 - an unsigned short

    def shorts(self, tag: int, limit: int = 2 * 65536) -> "np.ndarray[tuple[int], np.dtype[np.uint16]]":
        """Return all unsigned shorts of an element, in the machine's order."""
        raw = self.raw(tag, limit)
        order = "<u2" if self.encoding.little else ">u2"
        return np.frombuffer(raw[: len(raw) // 2 * 2], dtype=order).astype(np.uint16)

    def item(self, tag: int, index: int) -> "Values | None":
        """Return one item of a sequence without reading the others, or None."""
        element = self.elements.get(tag)
        if element is not None:
            for at, item in enumerate(items(self.source, element, self.end)):
                if at == index:
                    return Values(self.source, item.start, item.end, item.encoding)
        return None

    def first(self, *tags: int) -> "Values | None":
        """Return the first item of the sequence within the first items of the ones before it."""
        values: Values | None = self
        for tag in tags:
            values = values.item(tag, 0) if values else None
        return values


def code_of(raw: bytes) -> str:
    """Return the first of some values in plain ASCII."""
    return raw.decode("ascii", errors="replace").split("\\", 1)[0].strip("\0 ")


def number_of(raw: bytes) -> int | None:
    """Return the first number of a value of VR IS, or None."""
    return next((int(number) for number in _numbers(raw)), None)


def _codes(raw: bytes) -> list[str]:
    return [part.strip("\0 ") for part in raw.decode("ascii", errors="replace").split("\\")]


def _numbers(raw: bytes) -> list[float]:
    found: list[float] = []
    for text in _codes(raw):
        with contextlib.suppress(ValueError):
            number = float(text)
            if math.isfinite(number):
                found.append(number)
    return found


@contextlib.contextmanager
def open_dataset(data: Readable, transfer_syntax: str, start: int = 0) -> Iterator[Values]:
    """Open a data set that begins at `start`, inflating it where necessary.

    Raises
    ------
    BrokenDataset, BrokenDeflate, InflatesTooLarge
        It cannot be walked.
    """
    with open_source(data) as source, _values(source, start, transfer_syntax) as values:
        yield values


@contextlib.contextmanager
def open_stored(data: Readable) -> Iterator[tuple[Values, str]]:
    """Open a DICOM file; gives its values and its transfer syntax.

    Raises
    ------
    NotDicom, BrokenDataset, BrokenDeflate, InflatesTooLarge
        It cannot be walked.
    """
    meta, start = split(data)
    with open_source(data) as source, _values(source, start, meta.transfer_syntax) as values:
        yield values, meta.transfer_syntax


def inflate(raw: bytes, limit: int = MAX_INFLATED_BYTES) -> bytes:
    """Inflate a deflated frame (PS3.5 section A.5), never beyond `limit` bytes."""
    return b"".join(_inflated([raw], limit))


def _inflated(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Yield what deflated pieces hold, at most `_STEP_BYTES` at a time."""
    import zlib

    worker = zlib.decompressobj(-zlib.MAX_WBITS)
    left, read = limit, 0
    for piece in pieces:
        read += len(piece)
        waiting = piece
        while not worker.eof:
            try:
                found = worker.decompress(waiting, min(_STEP_BYTES, left + 1))
            except zlib.error as error:
                raise BrokenDeflate(bytes=read) from error
            left -= len(found)
            if left < 0:
                raise InflatesTooLarge(limit=limit)
            waiting = worker.unconsumed_tail
            if not found and not waiting:
                break
            yield found
    if not worker.eof:
        raise BrokenDeflate(bytes=read)


@contextlib.contextmanager
def _inflated_source(source: Source, start: int) -> Iterator[Source]:
    """Give an inflated data set: a bomb fills neither the memory nor, beyond the limit, the disk."""
    pieces = (source.read(at, _STEP_BYTES) for at in range(start, source.size, _STEP_BYTES))
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as spool:
        for piece in _inflated(pieces, MAX_INFLATED_BYTES):
            spool.write(piece)
        yield Source(cast("BinaryIO", spool))


@contextlib.contextmanager
def _values(source: Source, start: int, transfer_syntax: str) -> Iterator[Values]:
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        with _inflated_source(source, start) as inflated:
            yield Values(inflated, 0, inflated.size, layout(transfer_syntax, inflated.read(0, 12)))
        return
    yield Values(source, start, source.size, layout(transfer_syntax, source.read(start, 12)))
