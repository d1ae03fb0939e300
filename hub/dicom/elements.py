"""Walking a data set element by element, without believing a single length.

pydicom builds values while it reads, warns, and may raise anything on hostile bytes.
The catalogue, the frame server and DICOM JSON need the raw values and their places
only, from objects of any size; so this walker reads nothing but element heads,
keeps no stack of Python calls, and knows two outcomes: elements, or `Malformed`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from hub.dicom.source import Source
from hub.errors import Malformed

UNDEFINED = 0xFFFFFFFF
"""The length of a value that ends with a delimiter (PS3.5 section 7.1.1)."""

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
"""PS3.5 section 7.5."""

PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009

MAX_DEPTH = 32
"""Sequences nested deeper than this are taken for an attack, not for a data set."""

_LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_SHORT_VRS = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN"}
    | {"SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"}
)


class BrokenDataset(Malformed):
    """The elements of the data set do not fit together."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a data set is laid out (PS3.5 section 7.1)."""

    explicit: bool
    little: bool = True

    def number(self, raw: bytes) -> int:
        """Return the unsigned integer in `raw`."""
        return int.from_bytes(raw, "little" if self.little else "big")

    def tag(self, raw: bytes) -> int:
        """Return the group and element number in the four bytes `raw`."""
        return self.number(raw[:2]) << 16 | self.number(raw[2:4])


IMPLICIT_LITTLE = Encoding(explicit=False)
EXPLICIT_LITTLE = Encoding(explicit=True)
EXPLICIT_BIG = Encoding(explicit=True, little=False)


@dataclass(frozen=True, slots=True)
class Element:
    """One data element: what it is and where its value lies.

    `offset` and `length` are in bytes from the start of the source; `length` is
    `UNDEFINED` for a value that ends with a delimiter.
    """

    tag: int
    vr: str
    offset: int
    length: int
    encoding: Encoding

    @property
    def undefined(self) -> bool:
        """Whether the value ends with a delimiter instead of having a length."""
        return self.length == UNDEFINED


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a sequence: the part of the source that holds its elements."""

    start: int
    end: int
    encoding: Encoding


def sniff(head: bytes) -> Encoding | None:
    """Tell the layout of a data set from its first bytes, or None if it is none.

    The first element of every data set is of group 0008 or lower, save for oddities
    such as a lone patient group; a group above 0x0100 is taken for other bytes.
    """
    highest_first_group = 0x0100
    for little in (True, False):
        encoding = Encoding(explicit=True, little=little)
        group = encoding.number(head[:2])
        if group <= highest_first_group and len(head) > 6 and head[4:6].decode("latin-1") in known_vrs():  # noqa: PLR2004
            return encoding
    group, length = EXPLICIT_LITTLE.number(head[:2]), EXPLICIT_LITTLE.number(head[4:8])
    if len(head) >= 8 and 2 <= group <= highest_first_group and length < 0x10000:  # noqa: PLR2004
        return IMPLICIT_LITTLE
    return None


def known_vrs() -> frozenset[str]:
    """Return the value representations of PS3.5 section 6.2."""
    return _LONG_VRS | _SHORT_VRS


def walk(source: Source, start: int, end: int, encoding: Encoding) -> Iterator[Element]:
    """Yield the elements between two offsets, in order, without reading their values.

    Pixel data ends the walk once yielded: what follows it (padding, signatures) is
    of no use here and often broken.

    Raises
    ------
    BrokenDataset
        An element goes past the end, or nesting is too deep.
    """
    offset = start
    while end - offset >= 8:  # noqa: PLR2004 - the shortest element
        element = element_at(source, offset, encoding)
        if element.tag in {ITEM_END, SEQUENCE_END}:
            return
        yield element
        if element.tag in {PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA}:
            return
        offset = _end_of(source, element, end)
    if any(source.read(offset, end - offset)):
        raise BrokenDataset("an element is cut off", offset=offset)


def items(source: Source, sequence: Element, end: int) -> Iterator[Item]:
    """Yield the items of a sequence, or the fragments of encapsulated pixel data.

    A sequence with value representation UN is implicit inside (PS3.5 section 6.2.2).
    """
    encoding = IMPLICIT_LITTLE if sequence.vr == "UN" else sequence.encoding
    offset = sequence.offset
    stop = end if sequence.undefined else min(end, sequence.offset + sequence.length)
    while stop - offset >= 8:  # noqa: PLR2004 - the head of an item
        head = source.read(offset, 8)
        tag, length = encoding.tag(head), encoding.number(head[4:])
        if tag != ITEM:
            if tag == SEQUENCE_END:
                return
            raise BrokenDataset("an item was expected", offset=offset)
        offset += 8
        finish = offset + length
        if length == UNDEFINED:
            finish = _skip_nested(source, offset, stop, encoding, ITEM_END)
        if finish > stop:
            raise BrokenDataset("an item goes past its sequence", offset=offset)
        yield Item(offset, finish - 8 if length == UNDEFINED else finish, encoding)
        offset = finish


def element_at(source: Source, offset: int, encoding: Encoding) -> Element:
    """Read the head of the element at `offset`."""
    head = source.read(offset, 12)
    if len(head) < 8:  # noqa: PLR2004 - the shortest element
        raise BrokenDataset("an element is cut off", offset=offset)
    tag = encoding.tag(head)
    if not encoding.explicit or tag >> 16 == 0xFFFE:  # noqa: PLR2004 - delimiters have no VR
        return Element(tag, vr_of(tag), offset + 8, encoding.number(head[4:8]), encoding)
    vr = head[4:6].decode("latin-1")
    if vr in _SHORT_VRS:
        return Element(tag, vr, offset + 8, encoding.number(head[6:8]), encoding)
    if vr in _LONG_VRS:
        if len(head) < 12:  # noqa: PLR2004 - the head of a long element
            raise BrokenDataset("an element is cut off", offset=offset)
        return Element(tag, vr, offset + 12, encoding.number(head[8:12]), encoding)
    # Some devices write single elements without a VR into an explicit data set.
    length = encoding.number(head[4:8])
    if offset + 8 + length <= source.size:
        return Element(tag, vr_of(tag), offset + 8, length, encoding)
    raise BrokenDataset("an element has no value representation", offset=offset)


def _end_of(source: Source, element: Element, end: int) -> int:
    if element.undefined:
        inner = IMPLICIT_LITTLE if element.vr == "UN" else element.encoding
        return _skip_nested(source, element.offset, end, inner, SEQUENCE_END)
    finish = element.offset + element.length
    if finish > end:
        raise BrokenDataset("an element goes past the end", offset=element.offset)
    return finish


def _skip_nested(source: Source, offset: int, end: int, encoding: Encoding, closing: int) -> int:
    """Return the offset behind the delimiter that closes what begins at `offset`."""
    open_ends: list[tuple[int, Encoding]] = [(closing, encoding)]
    while open_ends:
        if end - offset < 8 or len(open_ends) > 2 * MAX_DEPTH:  # noqa: PLR2004 - head of a delimiter
            raise BrokenDataset("a sequence is not closed", offset=offset)
        awaited, encoding = open_ends[-1]
        head = source.read(offset, 8)
        tag, length = encoding.tag(head), encoding.number(head[4:8])
        if tag in {ITEM_END, SEQUENCE_END}:
            if tag != awaited:
                raise BrokenDataset("delimiters are crossed", offset=offset)
            open_ends.pop()
            offset += 8
        elif tag == ITEM:
            offset += 8
            if length == UNDEFINED:
                open_ends.append((ITEM_END, encoding))
            else:
                offset += length
        else:
            element = element_at(source, offset, encoding)
            offset = element.offset
            if element.undefined:
                inner = IMPLICIT_LITTLE if element.vr == "UN" else encoding
                open_ends.append((SEQUENCE_END, inner))
            else:
                offset += element.length
    return offset


@lru_cache(maxsize=4096)
def vr_of(tag: int) -> str:
    """Return the dictionary's value representation of `tag`, UN when it has none.

    Of several ("US or SS") the first; the reader of the value knows better.
    """
    from pydicom.datadict import dictionary_VR

    if tag & 0xFFFF == 0:
        return "UL"
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"  # noqa: PLR2004 - private creators
    try:
        return str(dictionary_VR(tag)).split(" ", 1)[0]
    except KeyError:
        return "UN"
