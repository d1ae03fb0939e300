"""The sections of an SCP-ECG record: where they lie, and whether they add up to their checksums.

Source: EN 1064, sections 5.1 to 5.3: checksum and length, then sections with headers of 16
bytes (checksum, number, length, version of the section and of the protocol, 6 reserved bytes).
"""

import binascii
from dataclasses import dataclass, field

from hub.errors import Malformed

PREAMBLE = 6
HEADER = 16
MAGIC = b"SCPECG"
POINTER = 10
SAMPLE_SECTIONS = frozenset({2, 3, 4, 5, 6, 12})
"""What a sample's value depends on."""

_LAST_STANDARD = 12
_PROTOCOLS = frozenset(range(10, 40))
_FEWEST_POINTERS = 2
_MOST_SECTIONS = 2048
_CRC_START = 0xFFFF


@dataclass(frozen=True, slots=True)
class Section:
    """One section.

    Attributes
    ----------
    number : int
        0 to 12 by the standard, 128 and above for the maker's own.
    start, length : int
        Where its header begins in the file, and its length with the header.
    protocol : int
        Ten times the version of the standard: 13, 20, 21, 30.
    """

    number: int
    start: int
    length: int
    protocol: int


@dataclass
class Record:
    """All sections of a file.

    Attributes
    ----------
    data : bytes
        The whole file.
    sections : dict of int to Section
        By number; of repeated ones the first.
    damaged : bool
        Whether lengths or pointers contradict the file, so that sections were looked for.
    longer : bool
        Whether bytes follow the end that is stated.
    wrong_sums : set of int
        Sections whose checksum is wrong; -1 stands for that of the whole record.
    """

    data: bytes
    sections: dict[int, Section] = field(default_factory=dict)
    damaged: bool = False
    longer: bool = False
    wrong_sums: set[int] = field(default_factory=set)

    def body(self, number: int) -> bytes | None:
        """Return a section without its header; None when it is absent or empty."""
        section = self.sections.get(number)
        if section is None or section.length <= HEADER:
            return None
        return self.data[section.start + HEADER : section.start + section.length]

    @property
    def protocol(self) -> int:
        """Ten times the version of the standard that section 0 states."""
        return self.sections[0].protocol

    @property
    def zero_based(self) -> bool:
        """Whether section 0 counts bytes from 0 and not from 1, as one maker of handheld devices does."""
        at = PREAMBLE + HEADER + 6
        return int.from_bytes(self.data[at : at + 4], "little") == PREAMBLE

    @property
    def samples_damaged(self) -> bool:
        """Whether the device does write checksums and that of a section with samples is wrong."""
        right = self.sections.keys() - self.wrong_sums
        stored = {n for n in self.wrong_sums if n >= 0 and self._stored_sum(n)}
        return bool(right) and bool(stored & SAMPLE_SECTIONS)

    def _stored_sum(self, number: int) -> int:
        start = self.sections[number].start
        return int.from_bytes(self.data[start : start + 2], "little")


def looks_like_record(data: bytes) -> bool:
    """Say whether bytes begin like an SCP-ECG record: section 0 stands at byte 6 and points at itself."""
    head = data[PREAMBLE : PREAMBLE + HEADER + POINTER]
    if len(head) < HEADER + POINTER or head[2:4] != b"\0\0":
        return False
    length = int.from_bytes(head[4:8], "little")
    if head[10:16] == MAGIC:
        return True
    points_at_itself = head[HEADER : HEADER + 2] == b"\0\0" and head[HEADER + 2 : HEADER + 6] == head[4:8]
    return points_at_itself and head[9] in _PROTOCOLS and _pointers_fit(length)


def _pointers_fit(length: int) -> bool:
    return length >= HEADER + _FEWEST_POINTERS * POINTER and (length - HEADER) % POINTER == 0


def read_record(data: bytes) -> Record:
    """Find the sections, by the pointers of section 0 and where these fail one behind another.

    Raises
    ------
    Malformed
        There is no section 0 to begin with.
    """
    if not looks_like_record(data):
        raise Malformed("not an SCP-ECG record")
    record = Record(data)
    stated = int.from_bytes(data[2:PREAMBLE], "little")
    record.longer = stated < len(data)
    own = int.from_bytes(data[PREAMBLE + 4 : PREAMBLE + 8], "little")
    fits = _pointers_fit(own) and PREAMBLE + own <= len(data)
    record.damaged = stated > len(data) or not fits
    if fits:
        record.sections[0] = Section(0, PREAMBLE, own, data[PREAMBLE + 9])
        _follow_pointers(record, own)
    else:
        record.sections[0] = Section(0, PREAMBLE, HEADER, data[PREAMBLE + 9])
    if record.damaged or not {1, 3} <= record.sections.keys():
        _walk(record)
    _check_sums(record, stated)
    return record


def _follow_pointers(record: Record, own: int) -> None:
    data, end = record.data, PREAMBLE + own
    for at in range(PREAMBLE + HEADER, min(end, PREAMBLE + _MOST_SECTIONS * POINTER) - POINTER + 1, POINTER):
        number = int.from_bytes(data[at : at + 2], "little")
        length = int.from_bytes(data[at + 2 : at + 6], "little")
        index = int.from_bytes(data[at + 6 : at + 10], "little")
        if number == 0 or length == 0:
            continue
        section = _section_at(data, index - 1)
        if section is None or section.number != number or section.length != length:
            record.damaged = True
        else:
            record.sections.setdefault(number, section)


def _section_at(data: bytes, start: int) -> Section | None:
    """Return the section whose header stands here, if one does and it ends within the file."""
    if start < PREAMBLE or start + HEADER > len(data):
        return None
    number = int.from_bytes(data[start + 2 : start + 4], "little")
    length = int.from_bytes(data[start + 4 : start + 8], "little")
    if length < HEADER or start + length > len(data) or data[start + 9] not in _PROTOCOLS:
        return None
    return Section(number, start, length, data[start + 9])


def _walk(record: Record) -> None:
    """Add the sections that stand one behind another, from the first header that can be one."""
    own = record.sections[0].length
    start = PREAMBLE + own if own > HEADER else _first_after_pointers(record.data)
    for _ in range(_MOST_SECTIONS):
        section = _section_at(record.data, start)
        if section is None or section.number == 0:
            return
        record.sections.setdefault(section.number, section)
        start += section.length


def _first_after_pointers(data: bytes) -> int:
    """Return where section 1 begins behind a section 0 whose length is wrong, by its usual lengths."""
    for pointers in range(_LAST_STANDARD, 64):
        start = PREAMBLE + HEADER + pointers * POINTER
        section = _section_at(data, start)
        if section is not None and section.number == 1:
            return start
    return len(data)


def _check_sums(record: Record, stated: int) -> None:
    data = record.data
    if stated > len(data) or _sum(data[2:stated]) != int.from_bytes(data[:2], "little"):
        record.wrong_sums.add(-1)
    for number, section in record.sections.items():
        if number <= _LAST_STANDARD and section.length > HEADER:
            stored = int.from_bytes(data[section.start : section.start + 2], "little")
            if _sum(data[section.start + 2 : section.start + section.length]) != stored:
                record.wrong_sums.add(number)


def _sum(data: bytes) -> int:
    """Return the CRC of CCITT: x^16 + x^12 + x^5 + 1, beginning with all ones."""
    return binascii.crc_hqx(data, _CRC_START)


def checksum(data: bytes) -> bytes:
    """Return the checksum as it is stored before the bytes that it covers."""
    return _sum(data).to_bytes(2, "little")
