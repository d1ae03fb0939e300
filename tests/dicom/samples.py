"""Test objects: real small files, and ones put together byte by byte."""

import struct
from pathlib import Path

from hub.dicom.part10 import file_header, split

DATA = Path(__file__).parents[1] / "data" / "dicom"
IMAGES = sorted(path for path in DATA.glob("*.dcm") if path.name != "test-SR.dcm")

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def dataset_of(path: Path) -> bytes:
    """Return what follows the header of a file."""
    raw = path.read_bytes()
    return raw[split(raw)[1] :]


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """Return one explicit little-endian element; `length` may lie."""
    value += b" " * (len(value) % 2) if vr not in {"UI", "OB", "OW"} else b"\0" * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    stated = len(value) if length is None else length
    if vr in {"OB", "OW", "SQ", "UN", "UT"}:
        return head + struct.pack("<HL", 0, stated) + value
    return head + struct.pack("<H", stated) + value


def short(tag: int, number: int) -> bytes:
    """Return one element of VR US."""
    return element(tag, "US", struct.pack("<H", number))


def build(**changes: bytes) -> bytes:
    """Return a 4 x 4 CT data set; `changes` replace or drop elements by tag, as ``t00100010=b''``."""
    parts = {
        "t00080016": element(0x00080016, "UI", CT_CLASS.encode()),
        "t00080018": element(0x00080018, "UI", b"1.2.3.4"),
        "t00080020": element(0x00080020, "DA", b"20260102"),
        "t00080060": element(0x00080060, "CS", b"CT"),
        "t00100010": element(0x00100010, "PN", "张^三".encode("gbk")),
        "t00100020": element(0x00100020, "LO", b"P1"),
        "t0020000D": element(0x0020000D, "UI", b"1.2.3"),
        "t0020000E": element(0x0020000E, "UI", b"1.2.3.5"),
        "t00280002": short(0x00280002, 1),
        "t00280004": element(0x00280004, "CS", b"MONOCHROME2"),
        "t00280010": short(0x00280010, 4),
        "t00280011": short(0x00280011, 4),
        "t00280100": short(0x00280100, 16),
        "t00280101": short(0x00280101, 16),
        "t00280103": short(0x00280103, 0),
        "t7FE00010": element(0x7FE00010, "OW", bytes(range(32))),
    }
    return b"".join(value for _, value in sorted((parts | changes).items()))


def file_of(dataset: bytes, transfer_syntax: str = EXPLICIT, sop_instance: str = "1.2.3.4") -> bytes:
    """Return a DICOM file around a data set."""
    header = file_header(sop_class=CT_CLASS, sop_instance=sop_instance, transfer_syntax=transfer_syntax)
    return header + dataset


def encapsulated(*fragments: bytes) -> bytes:
    """Return a pixel data element of fragments with an empty offset table."""
    parts = [part + b"\0" * (len(part) % 2) for part in (b"", *fragments)]
    items = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(part)) + part for part in parts)
    return element(0x7FE00010, "OB", items, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
