"""WFDB header files: the text that says what the data files hold (WFDB header(5))."""

import re
from dataclasses import dataclass
from datetime import datetime

from hub.ecg.errors import FormatFeature, RateMissing
from hub.errors import Malformed
from hub.kit.text import decode_text

MAX_HEADER_BYTES = 256 * 1024
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
    skew: int
    byte_offset: int
    gain: float | None
    baseline: int
    units: str | None
    initial: int | None
    checksum: int | None
    description: str


@dataclass(frozen=True, slots=True)
class Header:
    """A single-segment WFDB header."""

    rate_hz: float
    n_samples: int | None
    started_at: datetime | None
    signals: tuple[SignalLine, ...]
    comments: tuple[str, ...]


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
    FormatFeature
        A multi-segment record, or several samples per frame.
    Malformed
        The text does not follow the format.
    """
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
    record = fields[0].split()
    if "/" in record[0]:
        raise FormatFeature("multi-segment WFDB records are not read", feature="multi-segment")
    n_signals = _integer(record[1]) if len(record) > 1 else 0
    if n_signals != len(fields) - 1:
        raise Malformed("WFDB header lists another number of signals than it states", stated=n_signals)
    return Header(
        rate_hz=_rate(record[2]) if len(record) > 2 else _no_rate(),  # noqa: PLR2004 - third field
        n_samples=(_integer(record[3]) or None) if len(record) > 3 else None,  # noqa: PLR2004 - fourth
        started_at=_start(record[4:6]),
        signals=tuple(_signal(line) for line in fields[1:]),
        comments=tuple(c for c in comments if c)[:_MAX_STATEMENTS],
    )


def _signal(line: str) -> SignalLine:
    parts = line.split(maxsplit=8)
    found = _FORMAT.match(parts[1]) if len(parts) > 1 else None
    if found is None:
        raise Malformed("WFDB signal line has no storage format")
    if _integer(found["per_frame"] or "1") != 1:
        raise FormatFeature("several samples per frame are not read", feature="samples-per-frame")
    gain, baseline, units = _gain(parts[2]) if len(parts) > 2 else (None, None, None)  # noqa: PLR2004
    adc_zero = _integer(parts[4]) if len(parts) > 4 else 0  # noqa: PLR2004 - field order of header(5)
    return SignalLine(
        file_name=parts[0],
        format=_integer(found["format"]),
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


def _start(parts: list[str]) -> datetime | None:
    """Base date and time; a time without a date says nothing about when."""
    if len(parts) != 2:  # noqa: PLR2004 - time and date
        return None
    time = parts[0].split(".")[0]
    try:
        return datetime.strptime(f"{parts[1]} {time}", "%d/%m/%Y %H:%M:%S")  # noqa: DTZ007 - device's clock
    except ValueError:
        return None
