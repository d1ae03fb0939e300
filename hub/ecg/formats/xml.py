"""One safe way to read the XML that electrocardiographs write.

Nothing is fetched and nothing is expanded: a document type is tolerated (MUSE files name one),
entities declared in it are refused. Text is kept as the bytes that came, so that a name in GBK
under a declaration of UTF-8 is still read.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from xml.parsers import expat

from hub.ecg.errors import FormatFeature, RecordingTooLarge
from hub.errors import Malformed
from hub.kit.text import decode_text

MAX_XML_BYTES = 16 * 1024 * 1024
"""Ten minutes of twelve leads at 500 Hz as text; what is longer comes in other formats."""

MAX_ELEMENTS = 100_000
MAX_DEPTH = 64
MAX_TOKEN_BYTES = 8 * 1024 * 1024
"""One tag with its attributes, or one comment. Mortara writes whole leads into an attribute."""

_FEED_BYTES = 1024 * 1024
_HEAD_BYTES = 16 * 1024
_MAX_TEXT = 4096
_MAX_REFERENCES = 10_000
_NOTHING: Mapping[str, str] = MappingProxyType({})
"""Shared by the many elements without attributes."""

_DECLARED = re.compile(rb"^\s*<\?xml[^>]{0,200}?\bencoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._\-]{0,40})[\"']")
_REFERENCE = re.compile(rb"&#(?:([0-9]{3,7})|x([0-9A-Fa-f]{2,6}));")
_BEFORE_ROOT = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>", re.DOTALL)
_ROOT = re.compile(r"<(?:[\w.\-]{1,64}:)?([\w.\-]{1,200})([^>]*)")
_PADDING = "\x00 \t\r\n"


@dataclass(slots=True, eq=False)
class Element:
    """One element. What is absent reads as an empty one, which is false.

    Attributes
    ----------
    name : str
        Without its namespace prefix.
    attributes : mapping of str to str
        As written, prefixes included.
    children : list of Element
        In the order of the file.
    """

    name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    children: "list[Element]" = field(default_factory=list)
    _pieces: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.name)

    @property
    def text(self) -> str:
        """The element's own characters, without space around them, undecoded (see `Document.read`)."""
        return "".join(self._pieces).strip(_PADDING)

    def get(self, attribute: str) -> str:
        """Return an attribute without space around it; empty when absent."""
        return self.attributes.get(attribute, "").strip(_PADDING)

    def all(self, path: str) -> "list[Element]":
        """Return every element under a path of child names such as ``"component/series"``."""
        found = [self]
        for name in path.split("/"):
            found = [child for element in found for child in element.children if child.name == name]
        return found

    def find(self, path: str) -> "Element":
        """Return the first element under a path, or an empty one."""
        return next(iter(self.all(path)), None) or Element()

    def walk(self) -> "Iterator[Element]":
        """Go through this element and all below it, parents first."""
        waiting = [self]
        while waiting:
            element = waiting.pop()
            yield element
            waiting.extend(reversed(element.children))


@dataclass(slots=True)
class Document:
    """A parsed file.

    Attributes
    ----------
    root : Element
        The document element.
    charset : str
        The encoding that the file declares; empty if none.
    unsure : bool
        Whether a text given to `read` needed a doubtful reading.
    """

    root: Element
    charset: str
    unsure: bool = False
    _bytewise: bool = False
    _override: str | None = None

    def read(self, text: str) -> str:
        """Decode one text value for people, at most 4096 characters of it."""
        if not self._bytewise or text.isascii():
            return text[:_MAX_TEXT]
        raw = text[: 4 * _MAX_TEXT].encode("latin-1", errors="replace")
        decoded = decode_text(raw, self.charset or "UTF-8", self._override)
        self.unsure = self.unsure or decoded.unsure
        return decoded.text.strip(_PADDING)[:_MAX_TEXT]


def root_of(data: bytes) -> tuple[str, str]:
    """Return name and written attributes of the document element, from the first 16 kB alone.

    Both are empty when the bytes are no XML. Never raises.
    """
    head = data[:_HEAD_BYTES]
    wide = head[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"<\x00" in head[:4] or b"\x00<" in head[:4]
    text = (head.replace(b"\x00", b"") if wide else head).lstrip(b"\xef\xbb\xbf\xff\xfe").decode("latin-1")
    place = 0
    if not text.lstrip().startswith("<"):
        return "", ""
    while before := _BEFORE_ROOT.match(text, place):
        place = before.end()
    root = _ROOT.match(text, place)
    return (root[1], root[2]) if root else ("", "")


def parse_xml(data: bytes, *, charset_override: str | None = None) -> Document:
    """Parse a whole file.

    Parameters
    ----------
    data : bytes
        UTF-8, UTF-16 (with or without mark), or any single- or multi-byte encoding that keeps
        ASCII. What the file declares is believed as far as it is true.
    charset_override : str, optional
        The character set that this device is known to send, for `Document.read`.

    Raises
    ------
    Malformed
        The XML is not well formed, or cannot be decoded.
    FormatFeature
        The document declares entities or default attributes.
    RecordingTooLarge
        The file, its depth, its number of elements or one tag passes a limit of this module.
    """
    if len(data) > MAX_XML_BYTES:
        raise RecordingTooLarge(limit="bytes", declared=len(data))
    body, declared, bytewise = _bytes_to_parse(data)
    builder = _Builder()
    # The encoding given here wins over the declared one. As Latin-1 every byte is one character.
    parser = expat.ParserCreate("iso-8859-1" if bytewise else "utf-8")
    parser.buffer_text = True
    parser.buffer_size = 256 * 1024
    parser.specified_attributes = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.characters
    parser.EntityDeclHandler = _refuse_declaration
    parser.AttlistDeclHandler = _refuse_declaration
    # Without a handler for external entities expat never asks for one; nothing is opened here.
    try:
        _feed(parser, body)
    except expat.ExpatError as error:
        raise Malformed("the XML is not well formed", line=error.lineno) from error
    if builder.root is None:
        raise Malformed("the XML holds no element")
    return Document(builder.root, declared, _bytewise=bytewise, _override=charset_override)


def _feed(parser: expat.XMLParserType, body: bytes) -> None:
    """Hand the bytes over piece by piece; expat reads a piece of unfinished markup again each time."""
    for start in range(0, len(body), _FEED_BYTES):
        end = start + _FEED_BYTES
        parser.Parse(body[start:end], end >= len(body))
        if end < len(body) and end - parser.CurrentByteIndex > MAX_TOKEN_BYTES:
            raise RecordingTooLarge(limit="token", declared=end - parser.CurrentByteIndex)
    if not body:
        parser.Parse(b"", True)


def _bytes_to_parse(data: bytes) -> tuple[bytes, str, bool]:
    """Return the bytes for the parser, the declared encoding, and whether text must be decoded later."""
    if data.endswith(b"\x00") and b"\x00" not in data[:64]:
        data = data.rstrip(b"\x00")
    wide = _utf_16(data)
    if wide:
        try:
            text = data.decode(wide).removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise Malformed("the XML is not the UTF-16 that it seems to be") from error
        return text.encode(errors="replace"), "UTF-16", False
    data = data.removeprefix(codecs.BOM_UTF8)
    found = _DECLARED.match(data[:512])
    declared = found[1].decode("ascii") if found else ""
    if data.isascii():
        return data, declared, False
    return _references_as_bytes(data, declared), declared, True


def _utf_16(data: bytes) -> str:
    if data.startswith(codecs.BOM_UTF16_LE) or data[:4] == b"<\x00?\x00":
        return "utf-16-le"
    if data.startswith(codecs.BOM_UTF16_BE) or data[:4] == b"\x00<\x00?":
        return "utf-16-be"
    return ""


def _references_as_bytes(data: bytes, declared: str) -> bytes:
    """Write character references as the bytes that the declared encoding has for them.

    Only where text is decoded after parsing: there ``&#233;`` would be taken for the byte 0xE9.
    """

    def as_bytes(found: re.Match[bytes]) -> bytes:
        number = int(found[1]) if found[1] else int(found[2], 16)
        try:
            return chr(number).encode(declared or "utf-8") if number > 0x7F else found[0]  # noqa: PLR2004
        except (LookupError, ValueError, OverflowError):
            return found[0]

    return _REFERENCE.sub(as_bytes, data, count=_MAX_REFERENCES)


class _Builder:
    """Makes elements of what the parser reports, and stops it at the limits."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise RecordingTooLarge(limit="elements", declared=self._count)
        if len(self._open) >= MAX_DEPTH:
            raise RecordingTooLarge(limit="depth", declared=len(self._open) + 1)
        element = Element(name.rpartition(":")[2], attributes or _NOTHING)
        if self._open:
            self._open[-1].children.append(element)
        elif self.root is None:
            self.root = element
        self._open.append(element)

    def end(self, _name: str) -> None:
        self._open.pop()

    def characters(self, text: str) -> None:
        pieces = self._open[-1]._pieces  # noqa: SLF001 - built here, read there
        if pieces or not text.isspace():  # space between elements is never looked at
            pieces.append(text)


def _refuse_declaration(*_: object) -> None:
    raise FormatFeature("the XML declares entities or attributes", feature="XML declarations")
