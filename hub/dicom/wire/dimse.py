"""Command sets of DIMSE messages (PS3.7 section 6.3 and annex E): always implicit, little endian."""

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hub.dicom.wire.errors import ProtocolError

C_STORE_RQ, C_GET_RQ, C_FIND_RQ, C_MOVE_RQ, C_ECHO_RQ = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030
N_EVENT_REPORT_RQ, N_GET_RQ, N_SET_RQ = 0x0100, 0x0110, 0x0120
N_ACTION_RQ, N_CREATE_RQ, N_DELETE_RQ = 0x0130, 0x0140, 0x0150
C_CANCEL_RQ = 0x0FFF
RESPONSE = 0x8000
"""Bit that makes a request's command field that of its response."""
NO_DATA_SET = 0x0101
MEDIUM = 0
"""Priority (PS3.7 section 9.1.1.1.4)."""

KEYWORDS: dict[str, tuple[int, str]] = {
    "CommandGroupLength": (0x0000, "UL"),
    "AffectedSOPClassUID": (0x0002, "UI"),
    "RequestedSOPClassUID": (0x0003, "UI"),
    "CommandField": (0x0100, "US"),
    "MessageID": (0x0110, "US"),
    "MessageIDBeingRespondedTo": (0x0120, "US"),
    "MoveDestination": (0x0600, "AE"),
    "Priority": (0x0700, "US"),
    "CommandDataSetType": (0x0800, "US"),
    "Status": (0x0900, "US"),
    "OffendingElement": (0x0901, "AT"),
    "ErrorComment": (0x0902, "LO"),
    "ErrorID": (0x0903, "US"),
    "AffectedSOPInstanceUID": (0x1000, "UI"),
    "RequestedSOPInstanceUID": (0x1001, "UI"),
    "EventTypeID": (0x1002, "US"),
    "AttributeIdentifierList": (0x1005, "AT"),
    "ActionTypeID": (0x1008, "US"),
    "NumberOfRemainingSuboperations": (0x1020, "US"),
    "NumberOfCompletedSuboperations": (0x1021, "US"),
    "NumberOfFailedSuboperations": (0x1022, "US"),
    "NumberOfWarningSuboperations": (0x1023, "US"),
    "MoveOriginatorApplicationEntityTitle": (0x1030, "AE"),
    "MoveOriginatorMessageID": (0x1031, "US"),
}
"""Element number in group 0000 and value representation of each command element."""

_BY_NUMBER = {number: (keyword, vr) for keyword, (number, vr) in KEYWORDS.items()}
_ELEMENT = struct.Struct("<HHI")
_GROUP_LENGTH = struct.Struct("<HHII")
_SHORT = struct.Struct("<H")
_MOST_COMMENT = 64


@dataclass(slots=True)
class Command:
    """A command set; elements by keyword, absent ones read as 0 or empty."""

    elements: dict[str, Any] = field(default_factory=dict)

    def number(self, keyword: str) -> int:
        """Return a numeric element, 0 when absent."""
        return int(self.elements.get(keyword, 0))

    def text(self, keyword: str) -> str:
        """Return a text element, empty when absent."""
        return str(self.elements.get(keyword, ""))

    @property
    def field(self) -> int:
        """Which message it is."""
        return self.number("CommandField")

    @property
    def message_id(self) -> int:
        """Number that the sender gave a request."""
        return self.number("MessageID")

    @property
    def responds_to(self) -> int:
        """Number of the request that a response or a cancel belongs to."""
        return self.number("MessageIDBeingRespondedTo")

    @property
    def status(self) -> int:
        """Outcome in a response."""
        return self.number("Status")

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows."""
        return self.number("CommandDataSetType") != NO_DATA_SET

    @property
    def sop_class(self) -> str:
        """Affected SOP Class UID."""
        return self.text("AffectedSOPClassUID")

    @property
    def sop_instance(self) -> str:
        """Affected SOP Instance UID."""
        return self.text("AffectedSOPInstanceUID")

    @property
    def requested_sop_class(self) -> str:
        """Requested SOP Class UID (N-SET, N-ACTION, N-GET, N-DELETE)."""
        return self.text("RequestedSOPClassUID")

    @property
    def requested_sop_instance(self) -> str:
        """Requested SOP Instance UID."""
        return self.text("RequestedSOPInstanceUID")

    @property
    def priority(self) -> int:
        """Priority as sent; the hub treats all alike."""
        return self.number("Priority")

    @property
    def move_destination(self) -> str:
        """Title to which a C-MOVE sends."""
        return self.text("MoveDestination")

    @property
    def action_type(self) -> int:
        """Action Type ID of an N-ACTION."""
        return self.number("ActionTypeID")

    @property
    def attributes(self) -> list[int]:
        """Attribute Identifier List as tags."""
        return list(self.elements.get("AttributeIdentifierList", []))


def decode_command(data: bytes) -> Command:
    """Read a command set; elements that are not known are skipped.

    Raises
    ------
    ProtocolError
        It is cut, not of group 0000, or has no command field.
    """
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        if len(data) - at < _ELEMENT.size:
            raise ProtocolError("a command set is cut")
        group, number, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        if group != 0 or length > len(data) - at:
            raise ProtocolError("a command set holds what no command set can hold")
        known = _BY_NUMBER.get(number)
        if known is not None:
            found[known[0]] = _value(known[1], data[at : at + length])
        at += length
    if "CommandField" not in found:
        raise ProtocolError("a command set does not say what it commands")
    return Command(found)


def encode_command(**elements: Any) -> bytes:
    """Return a command set with these elements by keyword, in order of their numbers, length first."""
    parts = []
    for keyword, number, vr in _in_order(tuple(elements)):
        value = _encoded(vr, elements[keyword])
        parts.append(_ELEMENT.pack(0, number, len(value)))
        parts.append(value)
    body = b"".join(parts)
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


@lru_cache(maxsize=256)
def _in_order(keywords: tuple[str, ...]) -> list[tuple[str, int, str]]:
    """Return keywords with number and value representation, in order of the numbers; few sets are sent."""
    return sorted(((keyword, *KEYWORDS[keyword]) for keyword in keywords), key=lambda each: each[1])


def _value(vr: str, raw: bytes) -> Any:
    if vr == "US":
        return int.from_bytes(raw[:2], "little")
    if vr == "UL":
        return int.from_bytes(raw[:4], "little")
    if vr == "AT":
        return [
            int.from_bytes(raw[at : at + 2], "little") << 16 | int.from_bytes(raw[at + 2 : at + 4], "little")
            for at in range(0, len(raw) - 3, 4)
        ]
    return raw.strip(b"\0 ").decode("ascii", errors="replace")


def _encoded(vr: str, value: Any) -> bytes:
    if vr == "US":
        return _SHORT.pack(value & 0xFFFF)
    if vr == "AT":
        tags = value if isinstance(value, (list, tuple)) else [value]
        return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in tags)
    raw = str(value).encode("ascii", errors="replace")
    if vr == "LO":
        raw = raw[:_MOST_COMMENT]
    if len(raw) % 2:
        raw += b"\0" if vr == "UI" else b" "
    return raw
