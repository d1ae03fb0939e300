"""The DICOM file format: a header before the bytes that were received (PS3.10 section 7)."""

import struct
from dataclasses import dataclass
from functools import lru_cache

from hub.dicom.elements import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    BrokenDataset,
    Encoding,
    element_at,
    sniff,
)
from hub.dicom.source import Readable, Source, open_source
from hub.errors import Malformed

IMPLEMENTATION_CLASS_UID = "2.25.5561750701090541446942003655078802226"
"""Names this program as the writer of the header; made once from a random UUID."""

IMPLEMENTATION_VERSION = "SHARED_DIAG_HUB"

PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_META_GROUP = 2
_LONG_META_VRS = frozenset({"OB", "UN", "UT"})


class NotDicom(Malformed):
    """The bytes are neither a DICOM file nor a bare data set."""


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the header of a DICOM file says; empty where it says nothing.

    `transfer_syntax` is told from the data set itself when the header is absent or
    silent.
    """

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    source_ae: str
    has_header: bool


def file_header(
    *, sop_class: str, sop_instance: str, transfer_syntax: str, calling_ae: str = "", called_ae: str = ""
) -> bytes:
    """Return what a DICOM file begins with: preamble, prefix and group 0002; the data set follows.

    Parameters
    ----------
    sop_class, sop_instance, transfer_syntax : str
        UIDs of the association message that carries the data set.
    calling_ae, called_ae : str
        Titles of the sender and of this listener, kept as Source and Receiving
        Application Entity Title (PS3.10 Table 7.1-1).
    """
    before, after = _around_instance(sop_class, transfer_syntax, calling_ae, called_ae)
    meta = before + _meta_element(0x0003, "UI", sop_instance.encode("ascii")) + after
    group_length = _meta_element(0x0000, "UL", struct.pack("<L", len(meta)))
    return b"".join((bytes(PREAMBLE_BYTES), _PREFIX, group_length, meta))


@lru_cache(maxsize=256)
def _around_instance(
    sop_class: str, transfer_syntax: str, calling_ae: str, called_ae: str
) -> tuple[bytes, bytes]:
    """Return what is before and behind the one element that tells the objects of an association apart."""
    after = (
        _meta_element(0x0010, "UI", transfer_syntax.encode("ascii")),
        _meta_element(0x0012, "UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
        _meta_element(0x0013, "SH", IMPLEMENTATION_VERSION.encode("ascii")),
        _meta_element(0x0016, "AE", _title(calling_ae)) if _title(calling_ae) else b"",
        _meta_element(0x0018, "AE", _title(called_ae)) if _title(called_ae) else b"",
    )
    before = _meta_element(0x0001, "OB", b"\x00\x01") + _meta_element(0x0002, "UI", sop_class.encode("ascii"))
    return before, b"".join(after)


def split(data: Readable) -> tuple[FileMeta, int]:
    """Read the header of a file and tell where its data set begins.

    Files without a preamble, without a header, with a wrong group length or without
    a transfer syntax are all understood.

    Returns
    -------
    tuple of FileMeta and int
        The facts, and the offset of the data set in bytes.

    Raises
    ------
    NotDicom
        Nothing in the bytes looks like DICOM.
    """
    with open_source(data) as source:
        return _split(source)


def layout(transfer_syntax: str, head: bytes) -> Encoding:
    """Return the layout of a data set that is not deflated.

    The first bytes win over the transfer syntax where they plainly contradict it:
    implicit data sets under an explicit syntax, and the reverse, are both met.
    """
    from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

    stated = EXPLICIT_LITTLE
    if transfer_syntax == ImplicitVRLittleEndian:
        stated = IMPLICIT_LITTLE
    elif transfer_syntax == ExplicitVRBigEndian:
        stated = EXPLICIT_BIG
    return sniff(head) or stated


def _split(source: Source) -> tuple[FileMeta, int]:
    start = 0
    if source.read(PREAMBLE_BYTES, 4) == _PREFIX:
        start = PREAMBLE_BYTES + 4
    elif source.read(0, 4) == _PREFIX:
        start = 4
    facts, offset = _read_meta(source, start)
    head = source.read(offset, 12)
    found = sniff(head)
    if found is None and not (facts or start):
        raise NotDicom(bytes=source.size)
    syntax = facts.get(0x0010, "") or _syntax_of(found)
    if not syntax:
        raise NotDicom(bytes=source.size)
    meta = FileMeta(facts.get(0x0002, ""), facts.get(0x0003, ""), syntax, facts.get(0x0016, ""), bool(facts))
    return meta, offset


def _read_meta(source: Source, start: int) -> tuple[dict[int, str], int]:
    """Read group 0002 by its tags; its stated length is wrong too often to be used."""
    encoding = sniff(source.read(start, 12)) or EXPLICIT_LITTLE
    facts: dict[int, str] = {}
    offset = start
    try:
        while encoding.number(source.read(offset, 2)) == _META_GROUP:
            element = element_at(source, offset, encoding)
            if element.undefined or element.length > source.size - element.offset:
                raise NotDicom(offset=offset)
            value = source.read(element.offset, min(element.length, 256))
            facts[element.tag & 0xFFFF] = value.decode("ascii", errors="replace").strip("\0 ")
            offset = element.offset + element.length
    except BrokenDataset as error:
        raise NotDicom(offset=offset) from error
    return facts, offset


def _syntax_of(encoding: Encoding | None) -> str:
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if encoding is None:
        return ""
    if not encoding.little:
        return str(ExplicitVRBigEndian)
    return str(ExplicitVRLittleEndian if encoding.explicit else ImplicitVRLittleEndian)


def _meta_element(number: int, vr: str, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr in {"UI", "OB"} else b" "
    head = struct.pack("<HH2s", 2, number, vr.encode("ascii"))
    if vr in _LONG_META_VRS:
        return head + struct.pack("<HL", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def _title(title: str) -> bytes:
    return title.encode("ascii", errors="ignore").strip()[:16]
