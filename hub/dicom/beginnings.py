"""What the catalogue needs of an object, read from its beginning while the rest is under way.

The objects of one association are mostly of one series: they say the same, but for their
UID and number. What was read of the last one is taken for the next when every value it was
read from is the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

from hub.catalogue.service import InstanceFacts
from hub.dicom.elements import Element, Encoding, element_at
from hub.dicom.header import HeaderPixels, check_bytes, read_beginning, tags_read
from hub.dicom.ingest import facts_of, whole_number
from hub.dicom.outline import LONGEST_HEAD, Outline
from hub.dicom.source import Source
from hub.dicom.values import MAX_VALUE_BYTES, Values, code_of, number_of
from hub.kit.uids import BadUid, parse_uid

SOP_UID, INSTANCE_NUMBER = 0x00080018, 0x00200013
NOT_OF_THE_FACTS = frozenset({0x00080022, 0x00080023, 0x00080032, 0x00080033})
"""Dates and times of acquisition and content: a header has them, the catalogue does not, and they differ."""

MOST_MISSED = 4
"""After so many objects in a row that are like none before them, no more is tried on an association."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What was read of an object that is still coming in."""

    source: Source
    element: Element
    """That of its pixels."""
    pixels: HeaderPixels
    facts: InstanceFacts

    def complete(self, size: int, open_file: Callable[[], BinaryIO]) -> InstanceFacts:
        """Return the facts, now that the object is here and its pixels are known to be in its bytes.

        Parameters
        ----------
        size : int
            Of the object, in bytes, with what is before the data set.
        open_file : callable
            Gives the object for random access; it is asked for when the pixels have to be looked at.

        Raises
        ------
        PixelsMissing, BrokenDataset
            They are not.
        """
        self.source.arrived(size, open_file() if self.element.undefined else None)
        check_bytes(self.source, self.element, self.pixels)
        return self.facts


@dataclass(slots=True)
class _Last:
    """The last object that was read in full."""

    said: tuple[str, str]
    outline: Outline
    encoding: Encoding
    same: list[bytes]
    """Values that the next one must share."""
    pixels: HeaderPixels
    of_pixels: tuple[int, bool]
    facts: InstanceFacts


class Beginnings:
    """Reads the objects of one association, one after the other.

    Parameters
    ----------
    charset : str or None
        The charset the device is known to use, whatever it declares.
    """

    def __init__(self, charset: str | None) -> None:
        self._charset = charset
        self._last: _Last | None = None
        self._missed = 0

    def read(self, first: bytes, transfer_syntax: str, sop_class: str, start: int) -> Beginning | None:
        """Return what the first bytes of a data set tell, None when they do not tell enough.

        Then the object has to be read once it is here as a whole. What is told is what
        `hub.dicom.header.read_header` would tell then.

        Parameters
        ----------
        first : bytes
            What came first, from the first byte of the data set on.
        transfer_syntax, sop_class : str
            As the association has them.
        start : int
            Where the data set begins in the object, in bytes.
        """
        read = read_beginning(first, transfer_syntax, self._charset, sop_class=sop_class, start=start)
        if read is None:
            return None
        values, header = read
        element, pixels = values.pixel_element, header.pixels
        assert element is not None  # it is asked of `read_beginning`
        assert pixels is not None
        beginning = Beginning(values.source, element, pixels, facts_of(header))
        self._remember(first, (transfer_syntax, sop_class), values, beginning, start)
        return beginning

    def like_the_last(
        self, first: memoryview, transfer_syntax: str, sop_class: str, start: int
    ) -> Beginning | None:
        """Return what `read` would, if the object is like the last one that was read; else None.

        Parameters
        ----------
        first : memoryview
            The first bytes of the data set, however many are here; nothing of it is kept.
        transfer_syntax, sop_class, start
            As `read`.
        """
        last = self._last
        if last is None or last.said != (transfer_syntax, sop_class):
            return None
        followed = last.outline.follow(first)
        if followed is None:
            return None
        (sop_uid, number, *same), at = followed
        if same != last.same:
            return None
        source = Source.arriving(bytes(first[at : at + LONGEST_HEAD]), start + at)
        element = element_at(source, start + at, last.encoding)
        if (element.tag, element.undefined) != last.of_pixels:
            return None
        try:
            uid = parse_uid(code_of(sop_uid[:MAX_VALUE_BYTES]))
        except BadUid:
            return None
        self._missed = 0
        found = whole_number(number_of(number[:MAX_VALUE_BYTES]))
        return Beginning(source, element, last.pixels, last.facts.of_sibling(uid, found))

    def _remember(
        self, first: bytes, said: tuple[str, str], values: Values, beginning: Beginning, start: int
    ) -> None:
        self._last, self._missed = None, self._missed + 1
        if self._missed > MOST_MISSED:
            return
        outline = Outline.of(first, start, list(values.elements.values()), _wanted())
        followed = outline.follow(first) if outline else None
        if outline is None or followed is None:
            return
        _, _, *same = followed[0]
        element = beginning.element
        self._last = _Last(
            said,
            outline,
            values.encoding,
            same,
            beginning.pixels,
            (element.tag, element.undefined),
            beginning.facts,
        )


@cache
def _wanted() -> tuple[int, ...]:
    """Return the tags that facts are made of; first the two that tell the objects of a series apart."""
    return SOP_UID, INSTANCE_NUMBER, *sorted(tags_read() - {SOP_UID, INSTANCE_NUMBER} - NOT_OF_THE_FACTS)
