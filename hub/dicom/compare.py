"""In which data elements two stored objects differ, told without believing either of them."""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hub.dicom.elements import PIXEL_DATA, Element
from hub.dicom.source import Readable
from hub.dicom.values import PIXEL_TAGS, Values, open_stored
from hub.kit.text import decode_text

MOST_DIFFERENCES = 200
LONGEST_VALUE = 160
PIECE_BYTES = 1 << 20
LONGEST_HEAD = 12
"""Bytes of tag, VR and length before a value, at most (PS3.5 section 7.1.2)."""

CHARSET = 0x00080005
NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "AT": "HH"}
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UN", "SV", "UV"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One element that two objects do not have in common; empty where one of them lacks it."""

    tag: int
    first: str
    second: str

    @property
    def number(self) -> str:
        """The tag as it is printed: (gggg,eeee)."""
        return f"({self.tag >> 16:04X},{self.tag & 0xFFFF:04X})"

    @property
    def name(self) -> str:
        """The element's name in the standard; empty for a private one."""
        from pydicom.datadict import dictionary_description

        try:
            return dictionary_description(self.tag)
        except KeyError:
            return ""


@dataclass(frozen=True, slots=True)
class Compared:
    """What two objects do not have in common, at the top level of their data sets."""

    differences: tuple[Difference, ...]
    """In order of tag, without pixels; sequences count as a whole. At most 200."""
    same_pixels: bool


def compare(first: Readable, second: Readable) -> Compared:
    """Compare two stored DICOM files element by element, by the bytes of their values.

    Raises
    ------
    HubError
        One of them cannot be read.
    """
    with open_stored(first) as (one, _), open_stored(second) as (other, _):
        tags = sorted(set(one.elements) | set(other.elements))
        differing = [tag for tag in tags if _digest(one, tag) != _digest(other, tag)]
        texts = [(tag, _text(one, tag), _text(other, tag)) for tag in differing if tag not in PIXEL_TAGS]
    # Other bytes for the same text, as in another character set or byte order, are no news to a person.
    shown = [Difference(tag, mine, theirs) for tag, mine, theirs in texts if mine != theirs]
    return Compared(tuple(shown[:MOST_DIFFERENCES]), PIXEL_TAGS.isdisjoint(differing))


def _digest(values: Values, tag: int) -> str:
    """Return the hash of a value without padding, empty when the element is absent."""
    element = values.elements.get(tag)
    if element is None:
        return ""
    if element.length <= LONGEST_VALUE and element.vr not in BINARY:
        return hashlib.sha256(values.raw(tag).rstrip(b"\0 ")).hexdigest()
    digest = hashlib.sha256()
    for piece in _pieces(values, element):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(values: Values, element: Element) -> Iterator[bytes]:
    end = element.offset + element.length
    if element.undefined:
        later = [each.offset for each in values.elements.values() if each.offset > element.offset]
        end = min(later) - LONGEST_HEAD if later else values.end
    for at in range(element.offset, end, PIECE_BYTES):
        yield values.source.read(at, min(PIECE_BYTES, end - at))


def _text(values: Values, tag: int) -> str:
    """Return a value as a person reads it, cut where it is long."""
    element = values.elements.get(tag)
    if element is None:
        return ""
    if element.vr in BINARY or element.undefined or tag == PIXEL_DATA:
        size = "" if element.undefined else f"{element.length} B, "
        return f"{size}{_digest(values, tag)[:12]}"
    raw = values.raw(tag, LONGEST_VALUE * 4)
    if element.vr in NUMBERS:
        one = struct.Struct(("<" if element.encoding.little else ">") + NUMBERS[element.vr])
        whole = raw[: len(raw) // one.size * one.size]
        text = "\\".join(f"{number:g}" for numbers in one.iter_unpack(whole) for number in numbers)
    else:
        text = decode_text(raw, values.raw(CHARSET).decode("ascii", errors="replace").strip("\0 ")).text
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"
