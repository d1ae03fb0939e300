r"""Identifiers of queries and worklists: small data sets read and written in the peer's character set.

A device that asks writes its keys as carelessly as its images, so they are read with the
same evidence (`hub.kit.text`). What goes out must be readable by a device that may be
twenty years old: the set is chosen once per answer, and a character that it cannot hold
never becomes other characters.

Which set an answer is written in:

1. The set registered for the device, always. What it cannot hold becomes ``?``: the
   device was registered with it because it shows nothing else.
2. The set that the query names, when it holds the whole answer; otherwise ISO_IR 192.
3. When the query names none: nothing for plain ASCII; GB18030 for an answer with Han
   characters, because Chinese devices that declare nothing show GBK bytes rightly
   even when they do not heed the declaration; ISO_IR 192 for the rest.

PS3.4 section C.2.2.2 lets an SCP answer in another set than the query's.
"""

import codecs
import contextlib
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hub.dicom.elements import MAX_DEPTH, BrokenDataset, Element, items, vr_of, walk
from hub.dicom.part10 import layout
from hub.dicom.source import Source
from hub.errors import Malformed, TooLarge, Unsupported
from hub.kit.people import has_han
from hub.kit.text import decode_text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

IMPLICIT_LITTLE, EXPLICIT_LITTLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
IDENTIFIER_SYNTAXES = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
"""Transfer syntaxes in which identifiers are written."""

SPECIFIC_CHARACTER_SET = 0x00080005
UTF_8, GB18030, GBK = "ISO_IR 192", "GB18030", "GBK"
GB2312_EXTENSION = "\\ISO 2022 IR 58"
"""GB 2312 by code extension (PS3.5 annex K): the only extension that answers are written in."""

MOST_ELEMENTS = 10_000
"""An identifier with more elements is no question."""

_CODECS = {
    "ISO_IR 6": "ascii",
    "ISO_IR 100": "iso8859-1",
    "ISO_IR 101": "iso8859-2",
    "ISO_IR 109": "iso8859-3",
    "ISO_IR 110": "iso8859-4",
    "ISO_IR 144": "iso8859-5",
    "ISO_IR 127": "iso8859-6",
    "ISO_IR 126": "iso8859-7",
    "ISO_IR 138": "iso8859-8",
    "ISO_IR 148": "iso8859-9",
    "ISO_IR 203": "iso8859-15",
    "ISO_IR 166": "iso8859-11",
    UTF_8: "utf-8",
    GB18030: "gb18030",
    GBK: "gbk",
}
"""Defined terms of single sets (PS3.3 section C.12.1.1.2) and the codec of each."""

_TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Written in the Specific Character Set (PS3.5 section 6.1.2.3)."""
_ONE_VALUE = frozenset({"LT", "ST", "UT", "UR"})
_PLAIN_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_NUMBERS = {
    "US": "H",
    "SS": "h",
    "UL": "I",
    "SL": "i",
    "UV": "Q",
    "SV": "q",
    "FL": "f",
    "FD": "d",
}
_LONG_HEAD = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_RUNS_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_DELIMITERS = re.compile(r"([\\^=\r\n\f\t])")


class BadIdentifier(Malformed):
    """The identifier of the request cannot be read."""


class IdentifierTooLarge(TooLarge):
    """A value or the number of elements is beyond what an identifier may hold."""


Attribute = tuple[int, str, Any]
"""Tag, value representation, value: text, numbers, several of them, or the items of a sequence."""


def decode_identifier(data: bytes, transfer_syntax: str, charset_override: str | None = None) -> "Dataset":
    r"""Read the identifier of a request.

    Parameters
    ----------
    data
        As received, encoded in `transfer_syntax`; what it plainly is wins over that.
    charset_override
        The set that this device is known to write.

    Returns
    -------
    Dataset
        Texts decoded, several values split, values not validated: keys hold wildcards and
        ranges. Group lengths and repeated elements are left out. Specific Character Set is
        what the device declared.

    Raises
    ------
    BadIdentifier
        Elements do not fit together, or a number is none.
    IdentifierTooLarge
        More than 10,000 elements.
    """
    source = Source(memoryview(data))
    try:
        return _Decoder(source, charset_override).dataset(0, len(data), layout(transfer_syntax, data[:12]))
    except BrokenDataset as error:
        raise BadIdentifier from error


def encode_identifier(dataset: "Dataset", transfer_syntax: str, charset: str) -> bytes:
    r"""Write a data set in one of `IDENTIFIER_SYNTAXES` with its texts in `charset`.

    Parameters
    ----------
    charset
        A term as `answer_charset` gives it; Specific Character Set is set to it, or left
        out when it is empty. Characters that it cannot hold become ``?``.

    Raises
    ------
    Unsupported
        Another transfer syntax.
    IdentifierTooLarge
        A value does not fit its element.
    """
    return encode_attributes(_attributes_of(dataset), transfer_syntax, charset)


def encode_attributes(attributes: Iterable[Attribute], transfer_syntax: str, charset: str) -> bytes:
    """Write attributes in ascending order of tag; otherwise like `encode_identifier`."""
    if transfer_syntax not in IDENTIFIER_SYNTAXES:
        raise Unsupported
    encoder = _Encoder(transfer_syntax == EXPLICIT_LITTLE, _writer(charset))
    declared = charset if charset != "ISO_IR 6" else ""
    head = [(SPECIFIC_CHARACTER_SET, "CS", declared)] if declared else []
    return encoder.dataset([*head, *(one for one in attributes if one[0] != SPECIFIC_CHARACTER_SET)])


def answer_charset(device_charset: str | None, query_charset: str | Sequence[str], content: str = "") -> str:
    r"""Choose the set for an answer by the rules at the top of this file.

    Parameters
    ----------
    device_charset
        As registered: a DICOM term or a Python codec name; None when nothing was.
    query_charset
        Specific Character Set of the query, as one text with ``\`` or as values; empty
        when it had none.
    content
        All texts of the answer, joined.

    Returns
    -------
    str
        A defined term, ``\ISO 2022 IR 58``, or empty for the default repertoire.
    """
    registered = _term(device_charset) if device_charset else ""
    if registered:
        return registered
    declared = query_charset if isinstance(query_charset, str) else "\\".join(query_charset)
    named = _term(declared)
    if named and holds(named, content):
        return named
    if content.isascii():
        return ""
    return GB18030 if not declared.strip("\\ ") and has_han(content) else UTF_8


def holds(charset: str, text: str) -> bool:
    """Tell whether a set that `answer_charset` gives can hold a text."""
    try:
        text.encode("gb2312" if charset == GB2312_EXTENSION else _CODECS[charset or "ISO_IR 6"])
    except UnicodeEncodeError:
        return False
    return True


def texts_of(attributes: Iterable[Attribute]) -> Iterator[str]:
    """Yield every text that a character set applies to, items of sequences included."""
    for _, vr, value in attributes:
        if vr == "SQ":
            for item in value or ():
                yield from texts_of(_attributes_of(item))
        elif vr in _TEXT_VRS:
            yield from map(str, _values(value))


def _term(name: str) -> str:
    """Return the term for answers of what a device or a query calls its set; empty when there is none."""
    parts = [" ".join(part.upper().replace("_", " ").split()) for part in name.split("\\")]
    if any(part in {"ISO 2022 IR 58", "ISO 2022 58"} for part in parts):
        return GB2312_EXTENSION
    plain = next((part for part in parts if part), "").replace("ISO 2022 IR", "ISO IR")
    for term in _CODECS:
        if plain == term.replace("_", " "):
            return term
    with contextlib.suppress(LookupError, ValueError):
        codec = codecs.lookup(plain.replace(" ", "_")).name
        # DICOM has no term for bare GB 2312; whoever shows it shows GBK.
        codec = "gbk" if codec == "gb2312" else codec
        return next((term for term, known in _CODECS.items() if codecs.lookup(known).name == codec), "")
    return ""


def _writer(charset: str) -> Callable[[str], bytes]:
    if charset == GB2312_EXTENSION:
        return _with_extension
    codec = _CODECS.get(charset or "ISO_IR 6")
    if codec is None:
        raise Unsupported
    return lambda text: text.encode(codec, errors="replace")


def _with_extension(text: str) -> bytes:
    """Write GB 2312 into G1; a delimiter ends the designation (PS3.5 section 6.1.2.5.3)."""
    written = []
    for part in _DELIMITERS.split(text):
        run = _RUNS_BEYOND_ASCII.search(part)
        if run is None:
            written.append(part.encode("ascii"))
        else:
            start = run.start()
            written.append(
                part[:start].encode("ascii") + b"\x1b$)A" + part[start:].encode("gb2312", errors="replace")
            )
    return b"".join(written)


class _Decoder:
    """Reads one identifier, its sequences included."""

    def __init__(self, source: Source, override: str | None) -> None:
        self._source = source
        self._override = override
        self._elements = 0

    def dataset(
        self, start: int, end: int, encoding: Any, declared: Sequence[str] = ("",), depth: int = 0
    ) -> "Dataset":
        from pydicom.dataset import Dataset

        if depth > MAX_DEPTH:
            raise BadIdentifier
        found: dict[int, Element] = {}
        for element in walk(self._source, start, end, encoding):
            self._elements += 1
            if self._elements > MOST_ELEMENTS:
                raise IdentifierTooLarge
            if element.tag & 0xFFFF:
                found.setdefault(element.tag, element)
        stated = found.get(SPECIFIC_CHARACTER_SET)
        if stated is not None and not stated.undefined:
            declared = self._plain(stated)
        dataset = Dataset()
        for tag in sorted(found):
            self._add(dataset, found[tag], declared, end, depth)
        return dataset

    def _add(
        self, dataset: "Dataset", element: Element, declared: Sequence[str], end: int, depth: int
    ) -> None:
        from pydicom import config
        from pydicom.dataelem import DataElement

        try:
            value = self._value(element, declared, end, depth)
            dataset.add(DataElement(element.tag, self._vr(element), value, validation_mode=config.IGNORE))
        except (ValueError, TypeError, OverflowError, struct.error) as error:
            raise BadIdentifier(tag=f"{element.tag:08X}") from error

    @staticmethod
    def _vr(element: Element) -> str:
        """Return the VR, by the dictionary where the sender wrote UN for what is known."""
        return vr_of(element.tag) if element.vr == "UN" else element.vr

    def _value(self, element: Element, declared: Sequence[str], end: int, depth: int) -> Any:
        vr = self._vr(element)
        if vr == "SQ" or element.undefined:
            if vr != "SQ":
                raise BadIdentifier(tag=f"{element.tag:08X}")
            return [
                self.dataset(item.start, item.end, item.encoding, declared, depth + 1)
                for item in items(self._source, element, end)
            ]
        if vr in _PLAIN_VRS:
            return self._several(self._plain(element), vr)
        raw = self._source.read(element.offset, element.length)
        if vr in _TEXT_VRS:
            text = decode_text(raw, declared, self._override).text
            return (
                text if vr in _ONE_VALUE else self._several([part.strip() for part in text.split("\\")], vr)
            )
        order = "<" if element.encoding.little else ">"
        if vr in _NUMBERS:
            size = struct.calcsize(_NUMBERS[vr])
            numbers = struct.unpack(f"{order}{len(raw) // size}{_NUMBERS[vr]}", raw)
            return numbers[0] if len(numbers) == 1 else list(numbers) or None
        if vr == "AT":
            halves = struct.unpack(f"{order}{len(raw) // 2}H", raw)
            tags = [group << 16 | number for group, number in zip(halves[::2], halves[1::2], strict=True)]
            return tags[0] if len(tags) == 1 else tags or None
        return raw

    def _plain(self, element: Element) -> list[str]:
        raw = self._source.read(element.offset, element.length)
        return [part.strip("\0 ") for part in raw.decode("ascii", errors="replace").split("\\")]

    @staticmethod
    def _several(parts: list[str], vr: str) -> str | list[str]:
        if vr in {"IS", "DS"} and parts == ["*"]:
            return ""  # some devices write "any" as a wildcard where the standard wants nothing
        return parts[0] if len(parts) == 1 else parts


class _Encoder:
    """Writes one identifier in little-endian order."""

    def __init__(self, explicit: bool, write_text: Callable[[str], bytes]) -> None:
        self._explicit = explicit
        self._write_text = write_text

    def dataset(self, attributes: Iterable[Attribute]) -> bytes:
        return b"".join(self._element(*attribute) for attribute in sorted(attributes, key=lambda one: one[0]))

    def _element(self, tag: int, vr: str, value: Any) -> bytes:
        raw = self._raw(vr, value)
        if len(raw) % 2:
            raw += b"\0" if vr in {"UI", "OB", "UN"} else b" "
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        if not self._explicit:
            return head + struct.pack("<I", len(raw)) + raw
        if vr in _LONG_HEAD:
            return head + vr.encode("ascii") + struct.pack("<HI", 0, len(raw)) + raw
        if len(raw) > 0xFFFE:  # noqa: PLR2004 - two bytes of length, even
            raise IdentifierTooLarge(tag=f"{tag:08X}")
        return head + vr.encode("ascii") + struct.pack("<H", len(raw)) + raw

    def _raw(self, vr: str, value: Any) -> bytes:
        if vr == "SQ":
            return b"".join(self._item(item) for item in value or ())
        if isinstance(value, bytes):
            return value
        values = _values(value)
        if vr in _NUMBERS:
            return struct.pack(f"<{len(values)}{_NUMBERS[vr]}", *values)
        if vr == "AT":
            return b"".join(struct.pack("<HH", int(tag) >> 16, int(tag) & 0xFFFF) for tag in values)
        text = "\\".join(map(str, values))
        return self._write_text(text) if vr in _TEXT_VRS else text.encode("ascii", errors="replace")

    def _item(self, item: "Dataset") -> bytes:
        body = self.dataset(_attributes_of(item))
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body


def _attributes_of(dataset: "Dataset") -> list[Attribute]:
    return [(int(element.tag), str(element.VR).split(" ", 1)[0], element.value) for element in dataset]


def _values(value: Any) -> Sequence[Any]:
    """Return the values of an element, however many there are."""
    if value is None or value == "":
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        return (value,)  # a PersonName of pydicom can be iterated and is one value all the same
    return tuple("" if one is None else one for one in value)
