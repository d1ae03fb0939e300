"""A data set written in another layout, value by value, without decoding a single text.

Reading values and writing them again would put question marks where a device has used
another character set than it declares. Here only what the layout itself says changes:
value representations, byte order and lengths; the bytes of every value stay.
"""

import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np

from hub.dicom.elements import MAX_DEPTH, PIXEL_DATA, UNDEFINED, Element, Encoding, items, vr_of, walk
from hub.dicom.source import Source
from hub.dicom.values import Values
from hub.errors import Malformed

LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_WIDTHS = (
    dict.fromkeys(("US", "SS", "OW", "AT"), 2)
    | dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4)
    | dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8)
)
"""Bytes of one number, whose order depends on the layout."""

_SHORT_MAX = 0xFFFF
_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED)
_ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
_SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)

Changes = Mapping[int, "tuple[str, bytes] | None"]
"""New value representation and value by tag; None leaves the element out."""


class CannotRecode(Malformed):
    """The data set cannot be written in another layout."""


def recode(values: Values, start: int, *, explicit: bool, changes: Changes) -> Iterator[bytes]:
    """Yield the elements before the pixel data in little-endian order, some of them changed.

    Group lengths (retired) are left out; elements of an unknown representation stay as
    they are.

    Parameters
    ----------
    values : Values
        The data set.
    start : int
        Where it begins in its source.
    explicit : bool
        Whether value representations are written.

    Raises
    ------
    CannotRecode
        Sequences nested too deep, or a value that has no place in the new layout.
    """
    signed = values.short(0x00280103) == 1
    pending = sorted(tag for tag, change in changes.items() if change is not None)
    pixels = values.pixel_element
    for element, piece in _elements(values.source, start, values.end, values.encoding, explicit, signed, 0):
        if pixels is not None and element.offset == pixels.offset:
            break
        while pending and pending[0] <= element.tag:
            yield _changed(pending.pop(0), changes, explicit)
        if element.tag not in changes:
            yield piece
    for tag in pending:
        yield _changed(tag, changes, explicit)


def head(tag: int, vr: str, length: int, *, explicit: bool) -> bytes:
    """Return the head of an element in little-endian order (PS3.5 section 7.1)."""
    place = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return place + struct.pack("<L", length)
    if vr in LONG_VRS:
        return place + vr.encode("ascii") + struct.pack("<HL", 0, length)
    if length > _SHORT_MAX:
        return place + b"UN" + struct.pack("<HL", 0, length)  # PS3.5 section 6.2.2, note 2
    return place + vr.encode("ascii") + struct.pack("<H", length)


def _changed(tag: int, changes: Changes, explicit: bool) -> bytes:
    change = changes[tag]
    if change is None:
        return b""
    vr, value = change
    value += (b"\0" if vr in {"UI", "OB"} else b" ") * (len(value) % 2)
    return head(tag, vr, len(value), explicit=explicit) + value


def _elements(  # noqa: PLR0917 - one level of a recursion
    source: Source, start: int, end: int, encoding: Encoding, explicit: bool, signed: bool, depth: int
) -> Iterator[tuple[Element, bytes]]:
    if depth > MAX_DEPTH:
        raise CannotRecode(offset=start)
    for element in walk(source, start, end, encoding):
        if element.tag & 0xFFFF == 0:
            continue
        vr = element.vr if encoding.explicit else _explicit_vr(element.tag, signed)
        if element.tag == PIXEL_DATA and depth == 0:
            yield element, b""
        elif element.undefined and element.tag == PIXEL_DATA:
            raise CannotRecode("a picture within the data set is compressed", offset=element.offset)
        elif vr == "SQ" or element.undefined:
            yield element, _sequence(source, element, end, explicit, signed, depth)
        else:
            value = _little(source.read(element.offset, element.length), vr, encoding)
            yield element, head(element.tag, vr, len(value), explicit=explicit) + value


def _sequence(  # noqa: PLR0917 - one level of a recursion
    source: Source, element: Element, end: int, explicit: bool, signed: bool, depth: int
) -> bytes:
    """Write a sequence without lengths, whatever it had."""
    pieces = [head(element.tag, "SQ", UNDEFINED, explicit=explicit)]
    for item in items(source, element, end):
        inner = _elements(source, item.start, item.end, item.encoding, explicit, signed, depth + 1)
        pieces += (_ITEM, *(piece for _, piece in inner), _ITEM_END)
    pieces.append(_SEQUENCE_END)
    return b"".join(pieces)


def _little(value: bytes, vr: str, encoding: Encoding) -> bytes:
    width = _WIDTHS.get(vr, 1)
    if encoding.little or width == 1:
        return value
    whole = len(value) // width * width
    return np.frombuffer(value[:whole], f">u{width}").astype(f"<u{width}").tobytes() + value[whole:]


@lru_cache(maxsize=4096)
def _explicit_vr(tag: int, signed: bool) -> str:
    """Return the representation of an element that states none (PS3.5 sections 6.2.2 and A.1)."""
    from pydicom.datadict import dictionary_VR

    if tag >> 16 & 1:
        return vr_of(tag)
    try:
        known = str(dictionary_VR(tag))
    except KeyError:
        return "UN"
    if "OW" in known:
        return "OW"
    return ("SS" if signed else "US") if known == "US or SS" else known
