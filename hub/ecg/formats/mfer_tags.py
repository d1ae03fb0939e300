"""MFER definitions: tag, length and value, of the whole file or of one channel (ISO 22077-1)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from hub.ecg.errors import FormatFeature, Truncated
from hub.errors import Malformed

MAX_DEFINITIONS = 20_000
_PROBED_DEFINITIONS = 64
_INDEFINITE = 0x80
_MORE = 0x80
_MOST_NESTED = 4
_MOST_LENGTH_BYTES = 4
_BLOCK = 65_536
AHA_COMPRESSION = 9


class Tag(IntEnum):
    """Tags by the names of the standard, without their prefix MWF."""

    ZRO = 0x00
    BLE = 0x01
    VER = 0x02
    TXC = 0x03
    BLK = 0x04
    CHN = 0x05
    SEQ = 0x06
    PNT = 0x07
    WFM = 0x08
    LDN = 0x09
    DTP = 0x0A
    IVL = 0x0B
    SEN = 0x0C
    OFF = 0x0D
    CMP = 0x0E
    IPD = 0x0F
    FLT = 0x11
    NUL = 0x12
    INF = 0x15
    NTE = 0x16
    MAN = 0x17
    WAV = 0x1E
    ATT = 0x3F
    PRE = 0x40
    EVT = 0x41
    VAL = 0x42
    SKW = 0x43
    CND = 0x44
    RPT = 0x45
    SIG = 0x46
    SET = 0x67
    END = 0x80
    PNM = 0x81
    PID = 0x82
    AGE = 0x83
    SEX = 0x84
    TIM = 0x85
    MSS = 0x86
    UID = 0x87
    MAP = 0x88


_KNOWN = frozenset(Tag)
_OF_CHANNEL = frozenset(
    {Tag.BLK, Tag.SEQ, Tag.WFM, Tag.LDN, Tag.DTP, Tag.IVL, Tag.SEN, Tag.OFF, Tag.NUL, Tag.SKW}
)
_SAMPLING = frozenset({Tag.BLK, Tag.CHN, Tag.SEQ, Tag.DTP, Tag.IVL, Tag.SEN, Tag.ATT})
_LENGTHS = {
    Tag.BLE: range(1, 2), Tag.VER: range(3, 4), Tag.BLK: range(5), Tag.CHN: range(5), Tag.SEQ: range(5),
    Tag.DTP: range(2), Tag.IVL: (0, 3, 4, 6), Tag.SEN: (0, 3, 4, 6), Tag.SEX: range(2), Tag.PNT: range(5),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Number:
    """A value with the byte order that was in force where it stood."""

    raw: bytes
    big_endian: bool

    @property
    def order(self) -> Literal["<", ">"]:
        """As numpy and struct write it."""
        return ">" if self.big_endian else "<"

    def unsigned(self, first: int = 0, after: int | None = None) -> int:
        """Read bytes of the value as a whole number."""
        return int.from_bytes(self.raw[first:after], "big" if self.big_endian else "little")

    def signed(self, first: int = 0, after: int | None = None) -> int:
        """Read bytes of the value as a whole number with a sign."""
        return int.from_bytes(self.raw[first:after], "big" if self.big_endian else "little", signed=True)


@dataclass(frozen=True, slots=True)
class Frame:
    """One stretch of waveform data with the definitions that were in force.

    Attributes
    ----------
    channels : tuple of mapping
        For each channel its definitions by tag: its own before those of the whole file.
    pointer : int or None
        Where it begins, in samples.
    data : memoryview
        The samples.
    big_endian : bool
        Byte order of the samples.
    """

    channels: tuple[dict[Tag, Number], ...]
    pointer: int | None
    data: memoryview
    big_endian: bool


@dataclass(slots=True)
class Definitions:
    """Everything that a file defines: its frames, and single values by tag in the order of the file."""

    frames: list[Frame] = field(default_factory=list)
    values: list[tuple[Tag, Number]] = field(default_factory=list)

    def last(self, tag: Tag) -> Number | None:
        """Return the definition of a tag that counts: the last one."""
        return next((value for each, value in reversed(self.values) if each is tag), None)

    def every(self, tag: Tag) -> Iterator[Number]:
        """Yield all definitions of a tag."""
        return (value for each, value in self.values if each is tag)


def looks_like_mfer(data: bytes) -> bool:
    """Say whether bytes begin with MFER's preamble, or with definitions that make sense one after another."""
    if data[:1] == bytes([Tag.PRE]) and data[2:6] == b"MFR ":
        return True
    place, seen = 0, set()
    try:
        for _ in range(_PROBED_DEFINITIONS):
            number, _, place = _read_tag(data, place)
            length, place = _read_length(data, place)
            if number not in _KNOWN or number in {Tag.ZRO, Tag.END}:
                return False
            tag = Tag(number)
            seen.add(tag)
            if tag is Tag.WAV:
                break
            if length is None:
                if tag not in {Tag.ATT, Tag.SET}:
                    return False
                break
            if length not in _LENGTHS.get(tag, range(1 << 16)) or place + length > len(data):
                return False
            place += length
    except Malformed:
        return False
    return len(seen & _SAMPLING) >= 3  # noqa: PLR2004 - by chance, hardly ever


def read_definitions(data: bytes) -> Definitions:
    """Read all definitions of a file.

    Raises
    ------
    FormatFeature
        Compressed content.
    Truncated
        A definition is longer than the file.
    Malformed
        Definitions do not nest as they must, or there are too many.
    """
    walker = _Walker(data)
    walker.walk(0, len(data), channel=None, open_end=False)
    return walker.found


class _Walker:
    """Reads definitions in order and keeps those in force."""

    def __init__(self, data: bytes) -> None:
        self.found = Definitions()
        self._data = data
        self._big_endian = True
        self._n_channels = 1
        self._whole: dict[Tag, Number] = {}
        self._single: dict[int, dict[Tag, Number]] = {}
        self._pointer: int | None = None
        self._left = MAX_DEFINITIONS
        self._depth = 0

    def walk(self, place: int, end: int, *, channel: int | None, open_end: bool) -> int:
        """Read definitions up to `end`, or up to the end mark of contents without a length."""
        while place < end:
            if self._data[place] == Tag.ZRO:
                if open_end and self._data[place : place + 2] == b"\0\0":
                    return place + 2
                place = self._after_zeros(place, end)
            elif self._data[place] == Tag.END:
                return end
            else:
                place = self._definition(place, end, channel)
        if open_end:
            raise Malformed("an MFER definition without a length does not end")
        return place

    def _after_zeros(self, place: int, end: int) -> int:
        """Return where zeros that fill up space end."""
        while place < end:
            block = self._data[place : min(place + _BLOCK, end)]
            left = len(block.lstrip(b"\0"))
            place += len(block) - left
            if left:
                break
        return place

    def _definition(self, place: int, end: int, channel: int | None) -> int:
        """Read one definition and return where the next begins."""
        self._left -= 1
        if self._left < 0:
            raise Malformed("an MFER file has too many definitions")
        number, its_channel, place = _read_tag(self._data, place)
        length, place = _read_length(self._data, place)
        after = end if length is None else place + length
        if after > end:
            raise Truncated(needed_bytes=after, present_bytes=len(self._data))
        if number in {Tag.ATT, Tag.SET}:
            if self._depth == _MOST_NESTED or (number == Tag.ATT and channel is not None):
                raise Malformed("MFER definitions are nested too deeply")
            self._depth += 1
            inner = its_channel if number == Tag.ATT else channel
            reached = self.walk(place, after, channel=inner, open_end=length is None)
            self._depth -= 1
            return reached if length is None else after
        if length is None:
            raise FormatFeature(
                "an MFER definition has no length", feature=f"tag {number:#04x} without a length"
            )
        if number in _KNOWN:
            self._take(Tag(number), memoryview(self._data)[place:after], channel)
        return after

    def _take(self, tag: Tag, raw: memoryview, channel: int | None) -> None:
        if tag is Tag.WAV:
            channels = tuple(self._in_force(n) for n in range(min(self._n_channels, len(raw))))
            if len(channels) < self._n_channels:
                raise Truncated(needed_bytes=self._n_channels, present_bytes=len(raw))
            self.found.frames.append(Frame(channels, self._pointer, raw, self._big_endian))
            self._pointer = None
            return
        value = Number(bytes(raw), self._big_endian)
        if tag is Tag.BLE:
            if value.raw not in {b"", b"\0", b"\1"}:
                raise Malformed("an MFER file has an unknown byte order")
            self._big_endian = value.raw != b"\1"
        elif tag is Tag.CHN and channel is None:
            self._n_channels = value.unsigned() if value.raw else 1
            self._single = {}
            if self._n_channels == 0 or len(value.raw) > _MOST_LENGTH_BYTES:
                raise Malformed("an MFER file has an impossible number of channels")
        elif tag is Tag.PNT:
            self._pointer = value.signed() if value.raw else None
        elif tag is Tag.CMP and value.unsigned(0, 2):
            raise FormatFeature("compressed MFER is not read", feature=f"compression {value.unsigned(0, 2)}")
        elif tag in _OF_CHANNEL:
            self._define(tag, value, channel)
        else:
            self.found.values.append((tag, value))

    def _define(self, tag: Tag, value: Number, channel: int | None) -> None:
        if tag is Tag.DTP and value.raw[:1] == bytes([AHA_COMPRESSION]):
            raise FormatFeature("MFER samples in AHA compression are not read", feature="AHA compression")
        target = self._whole if channel is None else self._single.setdefault(channel, {})
        if value.raw:
            target[tag] = value
        else:
            target.pop(tag, None)

    def _in_force(self, channel: int) -> dict[Tag, Number]:
        """Return a channel's definitions; a lead stated for the whole file names its first channel only."""
        own = self._single.get(channel, {})
        return {tag: value for tag, value in self._whole.items() if channel == 0 or tag is not Tag.LDN} | own


def _read_tag(data: bytes, place: int) -> tuple[int, int, int]:
    """Return a tag, the channel of a channel definition (7 bits a byte), and where its length stands."""
    if place >= len(data):
        raise Malformed("an MFER file ends within a definition")
    tag, channel = data[place], 0
    place += 1
    if tag == Tag.ATT:
        for _ in range(_MOST_LENGTH_BYTES):
            byte = data[place] if place < len(data) else 0
            place += 1
            channel = channel << 7 | byte & 0x7F
            if not byte & _MORE:
                break
    return tag, channel, place


def _read_length(data: bytes, place: int) -> tuple[int | None, int]:
    """Return a length, None for contents that end with a mark, and where the value stands."""
    if place >= len(data):
        raise Malformed("an MFER file ends within a definition")
    first = data[place]
    place += 1
    if first < _INDEFINITE:
        return first, place
    count = first & 0x7F
    if count == 0:
        return None, place
    if count > _MOST_LENGTH_BYTES or place + count > len(data):
        raise Malformed("an MFER definition has an impossible length")
    return int.from_bytes(data[place : place + count], "big"), place + count
