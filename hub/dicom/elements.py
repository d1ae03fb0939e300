"""Walking a data set element by element, without believing a single length.

pydicom builds values while it reads, warns, and may raise anything on hostile bytes.
The catalogue, the frame server and DICOM JSON need the raw values and their places
only, from objects of any size; so this walker reads nothing but element heads,
keeps no stack of Python calls, and knows two outcomes: elements, or `Malformed`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from hub.dicom.source import Source
from hub.errors import Malformed

UNDEFINED = 0xFFFFFFFF
"""The length of a value that ends with a delimiter (PS3.5 section 7.1.1)."""

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
"""PS3.5 section 7.5."""

PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009

MAX_DEPTH = 32
"""Sequences nested deeper than this are taken for an attack, not for a data set."""

MAX_HEADS = 3_000_000
"""Element and item heads that are read of one object, some seconds of work, before it is refused.

An enhanced image with 20,000 frames, each described by sequences without length, has about two million.
"""

_LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_SHORT_VRS = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN"}
    | {"SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"}
)

_SHORT_FORMS = {vr.encode("ascii"): vr for vr in _SHORT_VRS}
_LONG_FORMS = {vr.encode("ascii"): vr for vr in _LONG_VRS}
_EXPLICIT_HEAD = {little: struct.Struct("<HH2sH" if little else ">HH2sH") for little in (True, False)}
_IMPLICIT_HEAD = {little: struct.Struct("<HHL" if little else ">HHL") for little in (True, False)}
_LENGTH = {little: struct.Struct("<L" if little else ">L") for little in (True, False)}
_DELIMITERS = 0xFFFE
_PIXEL_GROUP = 0x7FE0
_PLAIN_ELEMENTS = 4096
"""Elements that are taken in one tight loop; a data set of a modality has a few hundred."""
_ENDS = frozenset({ITEM_END, SEQUENCE_END})
_PIXELS = frozenset({PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA})


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


class Element(NamedTuple):
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


def head_bytes(vr: str, encoding: Encoding) -> int:
    """Return how long the head of an element of stated value representation is (PS3.5 section 7.1)."""
    return 12 if encoding.explicit and vr in _LONG_VRS else 8


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
        tag, length = element.tag, element.length
        if tag in _ENDS:
            return
        yield element
        if tag in _PIXELS:
            return
        if length == UNDEFINED:
            inner = IMPLICIT_LITTLE if element.vr == "UN" else encoding
            offset = _skip_nested(source, element.offset, end, inner, SEQUENCE_END)
        else:
            offset = element.offset + length
            if offset > end:
                raise BrokenDataset("an element goes past the end", offset=element.offset)
    if any(source.read(offset, end - offset)):
        raise BrokenDataset("an element is cut off", offset=offset)


def index(source: Source, start: int, end: int, encoding: Encoding, limit: int) -> dict[int, Element]:
    """Return the elements between two offsets by their tags; of a tag that comes twice the first.

    Runs of plain elements, which is what nearly all of a data set is, are read in one tight
    loop: this is what every reception waits for.

    Parameters
    ----------
    limit : int
        Most elements that are taken.

    Raises
    ------
    BrokenDataset
        As `walk`, or there are too many elements.
    """
    found: dict[int, Element] = {}
    if encoding == EXPLICIT_LITTLE:
        start = _plain_run(source, start, end, found)
    for element in walk(source, start, end, encoding):
        found.setdefault(element.tag, element)
        if len(found) > limit:
            raise BrokenDataset("the data set has too many elements", offset=element.offset)
    return found


def _plain_run(source: Source, start: int, end: int, found: dict[int, Element]) -> int:
    """Take elements of explicit little-endian layout and stated length; return where `walk` has to go on."""
    head, long_length = _EXPLICIT_HEAD[True].unpack_from, _LENGTH[True].unpack_from
    new = tuple.__new__  # a named tuple's own constructor takes twice as long
    offset, taken = start, 0
    while end - offset >= 12 and taken < _PLAIN_ELEMENTS:  # noqa: PLR2004 - the longest head
        window, at = source.around(offset)
        base, last = offset - at, min(len(window) - 12, end - offset + at - 12)
        if at > last:
            return offset
        while at <= last and taken < _PLAIN_ELEMENTS:
            group, number, stated, length = head(window, at)
            size, vr = 8, _SHORT_FORMS.get(stated)
            if vr is None:
                size, vr = 12, _LONG_FORMS.get(stated)
                (length,) = long_length(window, at + 8)
            begin = base + at + size
            if vr is None or group >= _PIXEL_GROUP or length == UNDEFINED or begin + length > end:
                return base + at
            tag = group << 16 | number
            if tag not in found:
                found[tag] = new(Element, (tag, vr, begin, length, EXPLICIT_LITTLE))
            taken += 1
            at += size + length
        offset = base + at
    return offset


def items(source: Source, sequence: Element, end: int) -> Iterator[Item]:
    """Yield the items of a sequence, or the fragments of encapsulated pixel data.

    A sequence with value representation UN is implicit inside (PS3.5 section 6.2.2).
    """
    encoding = IMPLICIT_LITTLE if sequence.vr == "UN" else sequence.encoding
    offset = sequence.offset
    stop = end if sequence.undefined else min(end, sequence.offset + sequence.length)
    while stop - offset >= 8:  # noqa: PLR2004 - the head of an item
        head = element_at(source, offset, encoding)
        length = head.length
        if head.tag != ITEM:
            if head.tag == SEQUENCE_END:
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
    """Read the head of the element, item or delimiter at `offset`.

    Raises
    ------
    BrokenDataset
        There is none, or more were read of this source than any data set has.
    """
    source.heads += 1
    if source.heads > MAX_HEADS:
        raise BrokenDataset("the data set has too many elements", offset=offset)
    window, at = source.around(offset)
    little = encoding.little
    try:
        if not encoding.explicit:
            group, number, length = _IMPLICIT_HEAD[little].unpack_from(window, at)
            tag = group << 16 | number
            return Element(tag, vr_of(tag), offset + 8, length, encoding)
        group, number, stated, length = _EXPLICIT_HEAD[little].unpack_from(window, at)
        tag = group << 16 | number
        if stated in _SHORT_FORMS and group != _DELIMITERS:
            return Element(tag, _SHORT_FORMS[stated], offset + 8, length, encoding)
        if stated in _LONG_FORMS and group != _DELIMITERS:
            (length,) = _LENGTH[little].unpack_from(window, at + 8)
            return Element(tag, _LONG_FORMS[stated], offset + 12, length, encoding)
        (length,) = _LENGTH[little].unpack_from(window, at + 4)
    except struct.error:
        raise BrokenDataset("an element is cut off", offset=offset) from None
    # Delimiters have no VR, and some devices write single elements without one.
    if group == _DELIMITERS or offset + 8 + length <= source.size:
        return Element(tag, vr_of(tag), offset + 8, length, encoding)
    raise BrokenDataset("an element has no value representation", offset=offset)


def _skip_nested(source: Source, offset: int, end: int, encoding: Encoding, closing: int) -> int:
    """Return the offset behind the delimiter that closes what begins at `offset`."""
    open_ends: list[tuple[int, Encoding]] = [(closing, encoding)]
    while open_ends:
        if end - offset < 8 or len(open_ends) > 2 * MAX_DEPTH:  # noqa: PLR2004 - head of a delimiter
            raise BrokenDataset("a sequence is not closed", offset=offset)
        awaited, encoding = open_ends[-1]
        element = element_at(source, offset, encoding)
        tag, offset, length = element.tag, element.offset, element.length
        if tag in _ENDS:
            if tag != awaited:
                raise BrokenDataset("delimiters are crossed", offset=offset)
            open_ends.pop()
        elif length != UNDEFINED:
            offset += length
        elif tag == ITEM:
            open_ends.append((ITEM_END, encoding))
        else:
            open_ends.append((SEQUENCE_END, IMPLICIT_LITTLE if element.vr == "UN" else encoding))
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
