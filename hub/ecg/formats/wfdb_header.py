"""WFDB header files: the text that says what the data files hold (WFDB header(5))."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from hub.ecg.errors import RateMissing, RecordingTooLarge
from hub.ecg.limits import MAX_LEADS
from hub.errors import HubError, Malformed
from hub.kit.text import decode_text

MAX_HEADER_BYTES = 256 * 1024
MAX_SAMPLES_PER_FRAME = 1024
NULL_SEGMENT = "~"
"""Stands where a multi-segment record has a gap, and for the data file of a layout header."""
_MAX_SEGMENTS = 4096
_MAX_STATEMENTS = 500

_RATE = re.compile(r"^(?P<rate>[0-9.eE+\-]+)(?:/[0-9.eE+\-]+(?:\([0-9.eE+\-]+\))?)?$")
_FORMAT = re.compile(r"^(?P<format>\d+)(?:x(?P<per_frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?$")
_GAIN = re.compile(r"^(?P<gain>[0-9.eE+\-]+?)(?:\((?P<baseline>[+\-]?\d+)\))?(?:/(?P<units>\S+))?$")
_INTEGER = re.compile(r"^[+-]?[0-9]+$")
_SMALL = 18
"""Digits of the largest integer taken from a header; longer ones are nonsense."""


@dataclass(frozen=True, slots=True)
class SignalLine:
    """One signal of a record, as its header line states it."""

    file_name: str
    format: int
    per_frame: int
    skew: int
    byte_offset: int
    gain: float | None
    baseline: int
    units: str | None
    initial: int | None
    checksum: int | None
    description: str


@dataclass(frozen=True, slots=True)
class SegmentLine:
    """One segment of a multi-segment record: its record name, and its length in samples."""

    name: str
    n_samples: int

    @property
    def header_name(self) -> str:
        """The segment's own header file; empty for a gap."""
        return "" if self.name == NULL_SEGMENT else f"{self.name}.hea"


@dataclass(frozen=True, slots=True)
class Header:
    """A WFDB header: of one segment (`signals`), or of several (`segments`).

    `rate_hz` and `n_samples` count frames; a signal may have several samples in each.
    """

    rate_hz: float
    n_samples: int | None
    started_at: datetime | None
    n_signals: int
    signals: tuple[SignalLine, ...]
    comments: tuple[str, ...]
    segments: tuple[SegmentLine, ...] = ()


def parse_header(data: bytes) -> Header:
    """Read a WFDB header.

    Parameters
    ----------
    data : bytes
        The file; comments in UTF-8, or what else they most likely are.

    Returns
    -------
    Header
        Fields that the file leaves out are None where their WFDB default would be a guess.

    Raises
    ------
    RateMissing
        No sampling rate. WFDB would assume 250 Hz; a guessed rate gives a wrong heart rate.
    RecordingTooLarge
        More signals than are read.
    Malformed
        The text does not follow the format.
    """
    fields, comments = _lines(data)
    record = fields[0].split()
    _, several, n_segments = record[0].partition("/")
    n_signals = _integer(record[1]) if len(record) > 1 else 0
    stated = _integer(n_segments) if several else n_signals
    if stated != len(fields) - 1 or n_signals < 0:
        raise Malformed("WFDB header lists another number of lines than it states", stated=stated)
    if n_signals > MAX_LEADS:
        raise RecordingTooLarge(limit="leads", declared=n_signals)
    return Header(
        rate_hz=_rate(record[2]) if len(record) > 2 else _no_rate(),  # noqa: PLR2004 - third field
        n_samples=(_count(record[3]) or None) if len(record) > 3 else None,  # noqa: PLR2004 - fourth
        started_at=_start(record[4:6]),
        n_signals=n_signals,
        signals=() if several else tuple(_signal(line) for line in fields[1:]),
        comments=tuple(c for c in comments if c)[:_MAX_STATEMENTS],
        segments=_segments(fields[1:]) if several else (),
    )


def companions(data: bytes) -> list[str]:
    """Name the files that a WFDB header needs beside it.

    Parameters
    ----------
    data : bytes
        One header file.

    Returns
    -------
    list of str
        Names without folders, as the header writes them (what is sent may differ in case), each
        once: the data files of a single-segment record, the segments' own header files
        (``NAME.hea``) of a multi-segment one. Those headers have companions in turn, so a caller
        asks again for each. Empty when the bytes are no header; what is wrong further on in one
        does not matter here: its reader says so.
    """
    try:
        fields, _ = _lines(data)
        record = fields[0].split()
        _integer(record[1] if len(record) > 1 else "")
    except HubError:
        return []
    ending = ".hea" if "/" in record[0] else ""
    words = [line.split(maxsplit=1)[0] for line in fields[1:]]
    bare = [word.replace("\\", "/").rsplit("/", 1)[-1] for word in words if word != NULL_SEGMENT]
    return list(dict.fromkeys(name + ending for name in bare if name))


def roots(headers: Mapping[str, bytes]) -> list[str]:
    """Return the names of those headers that no other one names as a segment: one recording each."""
    named = {
        part.casefold()
        for name, data in headers.items()
        for part in companions(data)
        if part.casefold() != name.casefold()
    }
    return [name for name in headers if name.casefold() not in named]


def _lines(data: bytes) -> tuple[list[str], tuple[str, ...]]:
    """Return the lines that say something, and the comments; at least one of the former."""
    if len(data) > MAX_HEADER_BYTES:
        raise Malformed("WFDB header is too long", length=len(data))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = decode_text(data, "").text
    lines = [line.strip() for line in text.splitlines()]
    comments = tuple(line.lstrip("#").strip() for line in lines if line.startswith("#"))
    fields = [line for line in lines if line and not line.startswith("#")]
    if not fields:
        raise Malformed("WFDB header is empty")
    return fields, comments


def _segments(lines: list[str]) -> tuple[SegmentLine, ...]:
    if not 0 < len(lines) <= _MAX_SEGMENTS:
        raise Malformed("WFDB header has an impossible number of segments", stated=len(lines))
    found = []
    for line in lines:
        name, _, length = line.replace("\t", " ").partition(" ")
        found.append(SegmentLine(name, _count(length.strip())))
    return tuple(found)


def _signal(line: str) -> SignalLine:
    parts = line.split(maxsplit=8)
    found = _FORMAT.match(parts[1]) if len(parts) > 1 else None
    if found is None:
        raise Malformed("WFDB signal line has no storage format")
    per_frame = _integer(found["per_frame"] or "1")
    if not 0 < per_frame <= MAX_SAMPLES_PER_FRAME:
        raise Malformed("WFDB signal line has an impossible number of samples per frame", stated=per_frame)
    gain, baseline, units = _gain(parts[2]) if len(parts) > 2 else (None, None, None)  # noqa: PLR2004
    adc_zero = _integer(parts[4]) if len(parts) > 4 else 0  # noqa: PLR2004 - field order of header(5)
    return SignalLine(
        file_name=parts[0],
        format=_integer(found["format"]),
        per_frame=per_frame,
        skew=_integer(found["skew"] or "0"),
        byte_offset=_integer(found["offset"] or "0"),
        gain=gain,
        baseline=adc_zero if baseline is None else baseline,
        units=units,
        initial=_integer(parts[5]) if len(parts) > 5 else None,  # noqa: PLR2004
        checksum=_integer(parts[6]) if len(parts) > 6 else None,  # noqa: PLR2004
        description=parts[8] if len(parts) > 8 else "",  # noqa: PLR2004
    )


def _gain(text: str) -> tuple[float, int | None, str | None]:
    found = _GAIN.match(text)
    if found is None:
        raise Malformed("WFDB signal line has an unreadable gain")
    baseline = None if found["baseline"] is None else _integer(found["baseline"])
    return _number(found["gain"]), baseline, found["units"]


def _rate(text: str) -> float:
    found = _RATE.match(text)
    if found is None:
        raise Malformed("WFDB header has an unreadable sampling rate")
    return _number(found["rate"])


def _no_rate() -> float:
    raise RateMissing("the WFDB header states no sampling rate")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Malformed("WFDB header has a number that is none") from error


def _integer(text: str) -> int:
    if len(text) > _SMALL or not _INTEGER.match(text):
        raise Malformed("WFDB header has an integer that is none")
    return int(text)


def _count(text: str) -> int:
    count = _integer(text)
    if count < 0:
        raise Malformed("WFDB header has a negative length")
    return count


def _start(parts: list[str]) -> datetime | None:
    """Base date and time; a time without a date says nothing about when."""
    if len(parts) != 2:  # noqa: PLR2004 - time and date
        return None
    clock = "%H:%M:%S.%f" if "." in parts[0] else "%H:%M:%S"
    try:
        return datetime.strptime(f"{parts[1]} {parts[0]}", f"%d/%m/%Y {clock}")  # noqa: DTZ007 - device's clock
    except ValueError:
        return None
