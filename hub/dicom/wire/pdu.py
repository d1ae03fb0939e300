"""Protocol data units of the DICOM upper layer (PS3.8 section 9.3), read and written.

Reading is tolerant where devices in the field are sloppy (titles of any bytes, unknown
items, missing implementation names) and strict about lengths: every item must lie
within the one around it.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from hub.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from hub.dicom.wire.errors import ProtocolError

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
HEADER_BYTES = 6
PDV_HEADER_BYTES = 6
MOST_ASSOCIATE_BYTES = 1 << 20
"""Longest association request that is read: 128 contexts with 40 syntaxes each need a third of it."""

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
ACCEPTED, USER_REJECTED, NO_REASON, ABSTRACT_UNSUPPORTED, TRANSFER_UNSUPPORTED = range(5)
"""Results of a presentation context (PS3.8 Table 9-18)."""

_FIXED = struct.Struct(">HH16s16s32x")
_ITEM = struct.Struct(">BxH")
_MOST_UID = 64


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context that the requestor proposes."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """The acceptor's answer to a presentation context; `transfer_syntax` counts when accepted."""

    id: int
    result: int
    transfer_syntax: str


@dataclass(slots=True)
class Associate:
    """An A-ASSOCIATE-RQ or -AC. Titles are the 16 bytes on the wire, in whatever set they are."""

    called: bytes
    calling: bytes
    version: int = 1
    application_context: str = APPLICATION_CONTEXT
    proposed: list[ProposedContext] = field(default_factory=list)
    answered: list[AnsweredContext] = field(default_factory=list)
    maximum_length: int = 0
    """Longest P-DATA unit, after its header, that the writer takes; 0 sets no limit."""
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    """SOP class to (SCU, SCP) role of the requestor (PS3.7 section D.3.3.4)."""


def header(kind: int, length: int) -> bytes:
    """Return the six bytes before the body of a unit."""
    return struct.pack(">BxI", kind, length)


def title(text: str) -> bytes:
    """Return an AE title as the 16 bytes of the wire."""
    return text.encode("ascii", errors="replace")[:16].ljust(16)


def read_title(raw: bytes) -> str:
    """Return a title for people and for recognition, padding of blanks or NULs removed.

    The standard allows the default repertoire only (PS3.5 section 6.2, AE); consoles set up
    in Chinese write GBK, others whatever their service engineer typed.
    """
    kept = raw.strip(b"\0 ")
    for charset in ("ascii", "utf-8", "gb18030"):
        try:
            text = kept.decode(charset)
        except UnicodeDecodeError:
            continue
        return "".join(each if each.isprintable() else "\ufffd" for each in text)
    return kept.decode("latin-1")


def decode_associate(kind: int, body: bytes) -> Associate:
    """Read the body of an A-ASSOCIATE-RQ or -AC.

    Raises
    ------
    ProtocolError
        Lengths contradict each other, or a UID cannot be one.
    """
    if len(body) < _FIXED.size:
        raise ProtocolError("the association request is too short")
    version, _, called, calling = _FIXED.unpack_from(body)
    found = Associate(called, calling, version, application_context="")
    for number, value in _items(body[_FIXED.size :]):
        if number == 0x10:  # noqa: PLR2004 - item types are the standard's own
            found.application_context = _uid(value)
        elif number == 0x20 and kind == ASSOCIATE_RQ:  # noqa: PLR2004
            found.proposed.append(_proposed(value))
        elif number == 0x21 and kind == ASSOCIATE_AC:  # noqa: PLR2004
            found.answered.append(_answered(value))
        elif number == 0x50:  # noqa: PLR2004
            _read_user_information(found, value)
    return found


def encode_associate(kind: int, associate: Associate) -> bytes:
    """Return a whole A-ASSOCIATE-RQ or -AC."""
    items = [_item(0x10, associate.application_context.encode("ascii"))]
    items += [_encode_proposed(each) for each in associate.proposed]
    items += [_encode_answered(each) for each in associate.answered]
    items.append(_item(0x50, _user_information(associate)))
    body = _FIXED.pack(associate.version, 0, associate.called, associate.calling) + b"".join(items)
    return header(kind, len(body)) + body


def reject(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""
    return header(ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))


def abort(source: int = 2, reason: int = 0) -> bytes:
    """Return an A-ABORT (PS3.8 Table 9-26); source 2 is the service provider."""
    return header(ABORT, 4) + bytes((0, 0, source, reason))


def release(kind: int) -> bytes:
    """Return an A-RELEASE-RQ or -RP."""
    return header(kind, 4) + bytes(4)


def data_units(context_id: int, *, command: bool, pieces: Iterable[bytes], maximum: int) -> Iterator[bytes]:
    """Yield P-DATA units for the pieces of one command or data set, the last one marked.

    Parameters
    ----------
    pieces : iterable of bytes
        Of any length.
    maximum : int
        Longest body of a unit that the peer takes.
    """
    room = (maximum - PDV_HEADER_BYTES) & ~1  # fragments are even (PS3.8 annex E)
    held = bytearray()
    for piece in pieces:
        left = memoryview(piece)
        while left:
            if len(held) == room:
                yield _data_unit(context_id, held, command=command, last=False)
                held = bytearray()
            taken = left[: room - len(held)]
            held += taken
            left = left[len(taken) :]
    yield _data_unit(context_id, held, command=command, last=True)


def _data_unit(context_id: int, value: bytes | bytearray, *, command: bool, last: bool) -> bytes:
    control = (1 if command else 0) | (2 if last else 0)
    return b"".join(
        (
            header(P_DATA, len(value) + PDV_HEADER_BYTES),
            struct.pack(">IBB", len(value) + 2, context_id, control),
            value,
        )
    )


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        if len(data) - at < _ITEM.size:
            raise ProtocolError("an item of the association request is cut")
        number, length = _ITEM.unpack_from(data, at)
        at += _ITEM.size
        if length > len(data) - at:
            raise ProtocolError("an item of the association request is longer than its surroundings")
        yield number, data[at : at + length]
        at += length


def _uid(value: bytes) -> str:
    text = value.rstrip(b"\0 ").decode("ascii", errors="replace")
    if len(text) > _MOST_UID or not text.replace(".", "").isalnum():
        raise ProtocolError("an association request names what cannot be a UID")
    return text


def _proposed(value: bytes) -> ProposedContext:
    if len(value) < 4:  # noqa: PLR2004 - id and three reserved bytes
        raise ProtocolError("a presentation context is cut")
    abstract, transfer = "", []
    for number, inner in _items(value[4:]):
        if number == 0x30:  # noqa: PLR2004
            abstract = _uid(inner)
        elif number == 0x40:  # noqa: PLR2004
            transfer.append(_uid(inner))
    return ProposedContext(value[0], abstract, tuple(transfer))


def _answered(value: bytes) -> AnsweredContext:
    if len(value) < 4:  # noqa: PLR2004 - id, reserved, result, reserved
        raise ProtocolError("an answered presentation context is cut")
    syntaxes = [inner for number, inner in _items(value[4:]) if number == 0x40]  # noqa: PLR2004
    accepted = value[2] == ACCEPTED
    return AnsweredContext(value[0], value[2], _uid(syntaxes[0]) if accepted and syntaxes else "")


def _read_user_information(found: Associate, value: bytes) -> None:
    for number, inner in _items(value):
        if number == 0x51 and len(inner) == 4:  # noqa: PLR2004
            (found.maximum_length,) = struct.unpack(">I", inner)
        elif number == 0x54 and len(inner) >= 4:  # noqa: PLR2004
            (length,) = struct.unpack_from(">H", inner)
            if len(inner) < 2 + length + 2:
                raise ProtocolError("a role selection is cut")
            scu, scp = inner[2 + length : 4 + length]
            found.roles[_uid(inner[2 : 2 + length])] = (bool(scu), bool(scp))


def _user_information(associate: Associate) -> bytes:
    parts = [
        _item(0x51, struct.pack(">I", associate.maximum_length)),
        _item(0x52, IMPLEMENTATION_CLASS_UID.encode("ascii")),
    ]
    for uid, (scu, scp) in associate.roles.items():
        name = uid.encode("ascii")
        parts.append(_item(0x54, struct.pack(">H", len(name)) + name + bytes((scu, scp))))
    parts.append(_item(0x55, IMPLEMENTATION_VERSION.encode("ascii")))
    return b"".join(parts)


def _encode_proposed(context: ProposedContext) -> bytes:
    inner: Sequence[bytes] = [_item(0x30, context.abstract_syntax.encode("ascii"))]
    inner = [*inner, *(_item(0x40, uid.encode("ascii")) for uid in context.transfer_syntaxes)]
    return _item(0x20, bytes((context.id, 0, 0, 0)) + b"".join(inner))


def _encode_answered(context: AnsweredContext) -> bytes:
    syntax = _item(0x40, context.transfer_syntax.encode("ascii"))
    return _item(0x21, bytes((context.id, 0, context.result, 0)) + syntax)


def _item(number: int, value: bytes) -> bytes:
    return _ITEM.pack(number, len(value)) + value
