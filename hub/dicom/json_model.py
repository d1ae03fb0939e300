"""DICOM JSON of a stored object, for WADO-RS metadata (PS3.18 annex F).

Large binary values are replaced by an address. Names and texts are read as
`hub.kit.text` reads them, so that a wrong charset is repaired on the way out and
only there. An element that cannot be read is left out and counted.
"""

import base64
import contextlib
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hub.dicom.elements import MAX_DEPTH, BrokenDataset, Element, items
from hub.dicom.source import Readable
from hub.dicom.values import PIXEL_TAGS, Values, open_stored
from hub.errors import NotFound
from hub.kit.text import decode_text, person_name

MAX_INLINE_BYTES = 1024
"""Binary values beyond this are given by address."""

MAX_TEXT_BYTES = 1024 * 1024
"""Texts beyond this are given by address."""

Json = dict[str, Any]
BulkUri = Callable[[str], str]
"""Makes an address of a path such as ``7FE00010`` or ``54000100/0/54001010``."""

_SPECIFIC_CHARACTER_SET = 0x00080005
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_WIDTHS = {"OW": 2, "AT": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
"""Bytes of one value of what is no number of `_NUMBERS`; everything else is single bytes."""

_WORDS = frozenset({0x54000110, 0x54000112, 0x5400100A, 0x54001010, 0x00283006, *PIXEL_TAGS})
"""What may be bytes or words, and is words where no VR is written (PS3.5 section A.1)."""

_OVERLAY = 0x60003000
_OVERLAY_GROUPS = 0xFF01FFFF
"""Overlay data of all sixteen repeating groups, 6000 to 601E (PS3.5 section 7.6)."""

_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_TEXTS = frozenset({"LO", "LT", "SH", "ST", "UC", "UT"})
_ONE_VALUE = frozenset({"LT", "ST", "UT", "UR"})


class NoBulkData(NotFound):
    """There is no binary value under that path."""


class _Unreadable(Exception):
    """An element whose value does not fit its value representation."""


@dataclass(frozen=True, slots=True)
class JsonModel:
    """The elements of an object by tag, and how many had to be left out."""

    elements: Json
    skipped: int


@dataclass(slots=True)
class _Writer:
    bulk_uri: BulkUri
    override: str | None
    skipped: int = field(default=0)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the nesting a data set is, and which charset it inherits."""

    path: str = ""
    charset: tuple[str, ...] = ("",)
    depth: int = 0


def json_model(data: Readable, bulk_uri: BulkUri, charset_override: str | None = None) -> JsonModel:
    """Return the DICOM JSON of a stored file, without group lengths and without its header.

    Parameters
    ----------
    data : bytes, path or seekable binary file
        The stored file; pixels are not read.
    bulk_uri : callable
        Gives the address of a binary value by its path.
    charset_override : str, optional
        The charset the sending device is known to use.

    Raises
    ------
    NotDicom, BrokenDataset, BrokenDeflate, InflatesTooLarge
        The file cannot be walked at all.
    """
    writer = _Writer(bulk_uri, charset_override)
    with open_stored(data) as (values, _):
        elements = _dataset(writer, values, _Place())
    return JsonModel(elements, writer.skipped)


def bulk_data(data: Readable, path: str) -> bytes:
    """Return the binary value under a path that `json_model` gave out.

    Raises
    ------
    NoBulkData
        There is none.
    """
    with open_stored(data) as (values, _):
        holder: Values | None = values
        steps = path.split("/")
        with contextlib.suppress(ValueError):
            for tag, number in zip(steps[:-1:2], steps[1::2], strict=True):
                holder = holder.item(int(tag, 16), int(number)) if holder else None
            element = holder.elements.get(int(steps[-1], 16)) if holder else None
            if holder is not None and element is not None and not element.undefined and element.vr != "SQ":
                raw = values.source.read(element.offset, element.length)
                return _little_endian(raw, _vr(holder, element), element)
    raise NoBulkData(path=path[:64])


def _dataset(writer: _Writer, values: Values, place: _Place) -> Json:
    if _SPECIFIC_CHARACTER_SET in values.elements:
        place = replace(place, charset=tuple(values.codes(_SPECIFIC_CHARACTER_SET)))
    found: Json = {}
    for tag, element in sorted(values.elements.items()):
        if tag & 0xFFFF == 0 or tag >> 16 <= 2:  # noqa: PLR2004 - group lengths; command and file header groups
            continue
        try:
            found[f"{tag:08X}"] = _element(writer, values, element, place)
        except (_Unreadable, BrokenDataset, ValueError, struct.error):
            writer.skipped += 1
    return found


def _element(writer: _Writer, values: Values, element: Element, place: _Place) -> Json:
    vr = _vr(values, element)
    if vr == "SQ":
        return _sequence(writer, values, element, place)
    by_address = element.tag in PIXEL_TAGS or element.undefined
    if by_address or element.length > (MAX_INLINE_BYTES if vr in _BINARY else MAX_TEXT_BYTES):
        return {"vr": vr, "BulkDataURI": writer.bulk_uri(f"{place.path}{element.tag:08X}")}
    raw = values.source.read(element.offset, element.length)
    if vr in _BINARY:
        raw = _little_endian(raw, vr, element)
        return {"vr": vr, "InlineBinary": base64.b64encode(raw).decode("ascii")} if raw else {"vr": vr}
    if element.tag == _SPECIFIC_CHARACTER_SET:
        return {"vr": vr, "Value": ["ISO_IR 192"]}  # what is written here is UTF-8 (PS3.18 F.2.2)
    order = "<" if element.encoding.little else ">"
    present = _values(vr, raw, place.charset, writer.override, order) if raw else []
    return {"vr": vr, "Value": present} if any(value is not None for value in present) else {"vr": vr}


def _sequence(writer: _Writer, values: Values, element: Element, place: _Place) -> Json:
    if place.depth >= MAX_DEPTH:
        raise _Unreadable
    nested: list[Json] = []
    for number, item in enumerate(items(values.source, element, values.end)):
        inner = Values(values.source, item.start, item.end, item.encoding)
        path = f"{place.path}{element.tag:08X}/{number}/"
        nested.append(_dataset(writer, inner, _Place(path, place.charset, place.depth + 1)))
    return {"vr": "SQ", "Value": nested} if nested else {"vr": "SQ"}


def _vr(values: Values, element: Element) -> str:
    """Settle what the dictionary leaves open: signed or not, and sequences sent as UN."""
    if element.vr == "UN" and element.undefined:
        return "SQ"
    ambiguous = {0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00280120, 0x00280121}
    if not element.encoding.explicit and element.tag in ambiguous:
        return "SS" if values.short(0x00280103) == 1 else "US"
    words = element.tag in _WORDS or element.tag & _OVERLAY_GROUPS == _OVERLAY
    if not element.encoding.explicit and words and element.vr in {"US", "OB"}:
        return "OW"
    return element.vr


def _little_endian(raw: bytes, vr: str, element: Element) -> bytes:
    """Return a binary value in the order in which JSON and bulk data have it, whatever the object's."""
    width = _WIDTHS.get(vr) or struct.calcsize(f"={_NUMBERS.get(vr, 'b')}")
    if element.encoding.little or width == 1:
        return raw
    whole = len(raw) // width * width
    return np.frombuffer(raw[:whole], f">u{width}").astype(f"<u{width}").tobytes() + raw[whole:]


def _values(vr: str, raw: bytes, charset: tuple[str, ...], override: str | None, order: str) -> list[Any]:
    if vr in _NUMBERS:
        return _binary_numbers(vr, raw, order)
    if vr == "AT":
        pairs = struct.unpack(f"{order}{len(raw) // 4 * 2}H", raw[: len(raw) // 4 * 4])
        return [f"{group:04X}{number:04X}" for group, number in zip(pairs[::2], pairs[1::2], strict=True)]
    if vr == "PN":
        return _names(raw, charset, override)
    if vr in _TEXTS:
        text = decode_text(raw, charset, override).text
        parts = [text.rstrip("\0 ")] if vr in _ONE_VALUE else [part.strip("\0 ") for part in text.split("\\")]
        return [part or None for part in parts]
    text = raw.decode("ascii", errors="replace")
    parts = [text] if vr in _ONE_VALUE else text.split("\\")
    cleaned = [part.strip("\0 ") for part in parts]
    if vr in {"DS", "IS"}:
        return [_decimal(vr, part) for part in cleaned]
    return [part or None for part in cleaned]


def _binary_numbers(vr: str, raw: bytes, order: str) -> list[Any]:
    code = _NUMBERS[vr]
    width = struct.calcsize(f"={code}")
    if len(raw) % width:
        raise _Unreadable
    numbers = struct.unpack(f"{order}{len(raw) // width}{code}", raw)
    if code in "fd":
        return [number if math.isfinite(number) else str(number) for number in numbers]
    return list(numbers)


def _decimal(vr: str, text: str) -> int | float | str | None:
    """Return a number where the text is one, else the text itself, as PS3.18 F.2.3.1 allows."""
    if not text:
        return None
    with contextlib.suppress(ValueError):
        if vr == "IS":
            return int(text)
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _names(raw: bytes, charset: tuple[str, ...], override: str | None) -> list[Any]:
    """Return person names by group; several are told apart after decoding."""
    whole = decode_text(raw, charset, override).text
    names: list[Any] = []
    for text in whole.split("\\"):
        name = person_name(text.encode(), "ISO_IR 192", "utf-8")
        groups = {
            "Alphabetic": name.alphabetic,
            "Ideographic": name.ideographic,
            "Phonetic": name.phonetic,
        }
        names.append({group: value for group, value in groups.items() if value} or None)
    return names
