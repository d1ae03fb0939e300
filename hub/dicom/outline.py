"""Data sets that are laid out alike, as those of one series are: the elements of the next one without a walk.

Walking the two or three hundred elements of an image takes longer than writing it to the
disk. The next image of a series has the same elements in the same order; only some of
their lengths differ. So all heads are held against those of the last one at once, each
where the lengths before it put it: what a walk would find is found, or nothing.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from hub.dicom.elements import UNDEFINED, Element, head_bytes
from hub.dicom.values import PIXEL_TAGS

Bytes = bytes | memoryview
Words = np.ndarray[tuple[int], np.dtype[np.uint64]]
Offsets = np.ndarray[tuple[int], np.dtype[np.int64]]

Blob = tuple[int, bytes]
"""The number of an element without a stated length, and the bytes of its value."""

MOST_CHANGED = 24
"""Lengths that may differ from the last data set; each costs one more look at all heads."""

LONGEST_HEAD = 12
"""Bytes of tag, value representation and a long length (PS3.5 section 7.1.2)."""


class _Laid(NamedTuple):
    """Where the heads lie, how long they are, and the bytes of values without a stated length."""

    at: list[int]
    sizes: list[int]
    blobs: list[Blob]


class Outline:
    """The heads of one data set, up to that of its pixels.

    It becomes that of each data set that follows it. One thread at a time may use it.
    """

    def __init__(self, first: bytes, *, explicit: bool, laid: _Laid, wanted: Sequence[int | None]) -> None:
        words, halves = _views(first)
        self._at: Offsets = np.array(laid.at, np.int64)
        self._sizes: Offsets = np.array(laid.sizes, np.int64)
        self._heads: Words = words[self._at]
        self._long: Offsets = np.flatnonzero(self._sizes[:-1] == LONGEST_HEAD)
        self._lengths = halves[self._at[self._long] + 8]
        self._blobs = laid.blobs
        # The length is the last part of a head: behind tag and VR, or behind the tag alone.
        self._length_bits = 48 if explicit else 32
        self._n_wanted = len(wanted)
        self._slots = [slot for slot, number in enumerate(wanted) if number is not None]
        self._wanted: Offsets = np.array([number for number in wanted if number is not None], np.int64)

    @classmethod
    def of(cls, first: bytes, start: int, elements: Sequence[Element], wanted: Sequence[int]) -> Self | None:
        """Return the outline of a data set, or None when it has none: no pixels, an odd layout.

        Parameters
        ----------
        first : bytes
            The beginning of the data set, with all that is before its pixels.
        start : int
            Where in the source of the elements the data set begins, in bytes.
        elements : sequence of Element
            All of them, in their order.
        wanted : sequence of int
            Tags whose values `follow` is to give.
        """
        laid = _laid_out(first, start, elements)
        if laid is None:
            return None
        numbers = {element.tag: number for number, element in enumerate(elements)}
        explicit = elements[0].encoding.explicit
        return cls(first, explicit=explicit, laid=laid, wanted=[numbers.get(tag) for tag in wanted])

    def follow(self, first: Bytes) -> tuple[list[bytes], int] | None:
        """Return the values of another data set, and where in it the head of its pixels lies.

        Parameters
        ----------
        first : bytes or memoryview
            Its beginning.

        Returns
        -------
        tuple of list of bytes and int, or None
            The values of the wanted tags in their order, empty for those that are absent; None
            when it is laid out otherwise or goes on behind `first`.
        """
        at = self._follow(first)
        if at is None:
            return None
        begins = (at[self._wanted] + self._sizes[self._wanted]).tolist()
        ends = at[self._wanted + 1].tolist()
        values = [b""] * self._n_wanted
        for slot, begin, end in zip(self._slots, begins, ends, strict=True):
            values[slot] = bytes(first[begin:end])
        return values, int(at[-1])

    def _follow(self, first: Bytes) -> Offsets | None:
        """Return where the heads lie, once each is known to be where a walk would come upon it."""
        if len(first) < LONGEST_HEAD:
            return None
        words, halves = _views(first)
        at, heads, lengths = self._at, self._heads, self._lengths
        for _ in range(MOST_CHANGED):
            if at[-1] + LONGEST_HEAD > len(first):
                return None
            number = self._first_other(words[at], halves[at[self._long] + 8], heads, lengths)
            if number is None:
                break
            if at is self._at:
                at, heads, lengths = at.copy(), heads.copy(), lengths.copy()
            more = self._changed(number, int(words[at[number]]), halves, at, heads, lengths)
            if more is None:
                return None
            at[number + 1 :] += more
        else:
            return None
        for number, blob in self._blobs:
            begin = int(at[number] + self._sizes[number])
            if first[begin : begin + len(blob)] != blob:
                return None
        self._at, self._heads, self._lengths = at, heads, lengths
        return at

    def _first_other(self, words: Words, long_lengths: Any, heads: Words, lengths: Any) -> int | None:
        """Return the number of the first head that is another; that of the pixels may have any length."""
        same = words == heads
        same[self._long] &= long_lengths == lengths
        same[-1] = not (int(words[-1]) ^ int(heads[-1])) & ((1 << self._length_bits) - 1)
        number = int(same.argmin())
        return None if same[number] else number

    def _changed(  # noqa: PLR0917 - the state of one look
        self, number: int, word: int, halves: Any, at: Offsets, heads: Words, lengths: Any
    ) -> int | None:
        """Note the other length of one element and return how much longer it is; None if it is another."""
        bits, head = self._length_bits, int(heads[number])
        if (word ^ head) & ((1 << bits) - 1) or number == len(heads) - 1:
            return None
        before, now = head >> bits, word >> bits
        if self._sizes[number] == LONGEST_HEAD:
            place = int(np.searchsorted(self._long, number))
            before, now = int(lengths[place]), int(halves[at[number] + 8])
            lengths[place] = now
        if UNDEFINED in {before, now}:
            return None
        heads[number] = word
        return now - before


def _laid_out(first: bytes, start: int, elements: Sequence[Element]) -> _Laid | None:
    """Return how a data set is laid out up to the head of its pixels, or None."""
    laid = _Laid([], [], [])
    heads = [element.offset - start - head_bytes(element.vr, element.encoding) for element in elements]
    expected = 0
    for number, element in enumerate(elements):
        head, size = heads[number], head_bytes(element.vr, element.encoding)
        if head != expected or not element.encoding.little:
            return None  # an element that came twice
        if element.encoding.explicit and first[head + 4 : head + 6] != element.vr.encode("ascii"):
            return None  # one without a VR
        laid.at.append(head)
        laid.sizes.append(size)
        if element.tag in PIXEL_TAGS:
            return laid if head + LONGEST_HEAD <= len(first) else None
        expected = head + size + element.length
        if element.undefined:
            if number + 1 == len(elements):
                return None
            expected = heads[number + 1]
            laid.blobs.append((number, first[head + size : expected]))
    return None


def _views(first: Bytes) -> tuple[Words, Any]:
    """Return the eight, and the four, bytes that begin at each offset, as numbers; nothing is copied."""
    words: Words = np.ndarray((len(first) - 7,), "<u8", first, strides=(1,))
    halves = np.ndarray((len(first) - 3,), "<u4", first, strides=(1,))
    return words, halves
