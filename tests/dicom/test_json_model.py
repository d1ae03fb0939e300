import base64
import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hub.dicom.json_model import NoBulkData, bulk_data, json_model
from hub.dicom.values import open_stored
from tests.dicom.samples import DATA, IMAGES, build, element, file_of
from tests.fixtures.peers import require_peer

COMPARED = [path for path in IMAGES if path.name != "image_dfl.dcm"]
"""Deflated: there is no such thing as the file up to its pixels."""

READ_BY_DCMTK = ["chrArab", "chrFren", "chrGreek", "chrRuss", "chrX1", "chrX2", "chrI2", "derived_cn_isoir58"]
"""Its build in Debian gives up on the Japanese one."""


def comparable(elements: dict[str, Any]) -> dict[str, Any]:
    """Bring two writers' freedoms together: binary forms, number types, empty values."""
    found: dict[str, Any] = {}
    for tag, one in elements.items():
        if tag == "00080005" or tag.endswith("0000"):
            continue
        if "BulkDataURI" in one or "InlineBinary" in one:
            found[tag] = (one["vr"], "binary")
        elif one["vr"] == "SQ":
            found[tag] = [comparable(item) for item in one.get("Value", [])]
        else:
            values = [None if value in ("", {}) else value for value in one.get("Value", [])]
            if one["vr"] in {"DS", "IS", "FL", "FD"}:
                values = [None if value is None else float(f"{float(value):.5g}") for value in values]
            found[tag] = (one["vr"], values if any(value is not None for value in values) else [])
    return found


@pytest.mark.parametrize(
    "path",
    [*COMPARED, DATA / "test-SR.dcm", *(DATA / "charsets" / f"{name}.dcm" for name in READ_BY_DCMTK)],
    ids=lambda path: path.name,
)
def test_agrees_with_dcmtk(path: Path, tmp_path: Path) -> None:
    """Oracle: dcm2json on the same file up to its pixels, texts converted to UTF-8."""
    raw = path.read_bytes()
    with open_stored(raw) as (values, _):
        pixels = values.pixel_element
        end = len(raw) if pixels is None else pixels.offset - (12 if pixels.encoding.explicit else 8)
    (tmp_path / "cut.dcm").write_bytes(raw[:end])
    written = subprocess.run(
        [require_peer("dcm2json"), "-q", str(tmp_path / "cut.dcm")], capture_output=True
    ).stdout
    ours = json_model(path, str)
    assert ours.skipped == 0
    elements = {tag: one for tag, one in ours.elements.items() if tag != "7FE00010"}
    assert comparable(json.loads(json.dumps(elements, allow_nan=False))) == comparable(json.loads(written))


def test_repaired_names_and_bulk_paths() -> None:
    icon = element(0x7FE00010, "OW", bytes(8))
    item = b"\xfe\xff\x00\xe0" + len(icon).to_bytes(4, "little") + icon
    raw = file_of(
        build(t00880200=element(0x00880200, "SQ", item), t00091001=element(0x00091001, "UN", bytes(2000)))
    )
    model = json_model(raw, lambda path: f"bulk/{path}").elements
    assert model["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "张^三"}]}
    assert model["7FE00010"] == {"vr": "OW", "BulkDataURI": "bulk/7FE00010"}
    assert model["00091001"] == {"vr": "UN", "BulkDataURI": "bulk/00091001"}
    assert model["00880200"]["Value"][0]["7FE00010"]["BulkDataURI"] == "bulk/00880200/0/7FE00010"
    assert bulk_data(raw, "7FE00010") == bytes(range(32))
    assert bulk_data(raw, "00880200/0/7FE00010") == bytes(8)


@pytest.mark.parametrize("path", ["", "x", "00100099", "00880200/0/7FE00010", "00100010/-1/00100010", "a/b"])
def test_bulk_data_that_is_not_there(path: str) -> None:
    with pytest.raises(NoBulkData):
        bulk_data(file_of(build()), path)


def test_the_written_charset_is_utf8() -> None:
    raw = file_of(build(t00080005=element(0x00080005, "CS", b"GB18030")))
    assert json_model(raw, str).elements["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}


def test_a_broken_element_is_left_out_and_counted() -> None:
    raw = file_of(build(t00181111=element(0x00181111, "FD", b"123")))
    model = json_model(raw, str)
    assert (model.skipped, "00181111" in model.elements) == (1, False)
    assert model.elements["00100020"]["Value"] == ["P1"]


def test_numbers_that_json_cannot_hold() -> None:
    raw = file_of(
        build(
            t00180050=element(0x00180050, "DS", b"1.5\\NaN\\\\thick"),
            t00181152=element(0x00181152, "IS", b"12\\1.5"),
        )
    )
    model = json_model(raw, str).elements
    assert model["00180050"]["Value"] == [1.5, "NaN", None, "thick"]
    assert model["00181152"]["Value"] == [12, "1.5"]


WIDTHS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8, "OB": 1}
OCTETS = bytes(range(240)) * 8


def in_order(vr: str, value: bytes, byte_order: str) -> bytes:
    """Return the octets of a value whose numbers are those of `value` read in little-endian order."""
    width = WIDTHS[vr]
    parts = [value[at : at + width] for at in range(0, len(value), width)]
    return b"".join(part if byte_order == "<" else part[::-1] for part in parts)


def long_element(tag: int, vr: str, value: bytes, byte_order: str) -> bytes:
    head = struct.pack(f"{byte_order}HH2sHL", tag >> 16, tag & 0xFFFF, vr.encode(), 0, len(value))
    return head + in_order(vr, value, byte_order)


def binary_object(byte_order: str) -> bytes:
    """Return a file whose every binary value says the same in either order (PS3.5 section 7.3)."""
    short = struct.pack(f"{byte_order}HH2sH", 0x0008, 0x0060, b"CS", 2) + b"CT"
    parts = [
        long_element(0x00091001 + number, vr, OCTETS, byte_order)
        + long_element(0x00091101 + number, vr, OCTETS[:16], byte_order)
        for number, vr in enumerate(WIDTHS)
    ]
    overlays = [long_element(tag, "OW", OCTETS, byte_order) for tag in (0x60003000, 0x601E3000)]
    dataset = short + b"".join(sorted(parts)) + b"".join(overlays)
    return file_of(dataset, "1.2.840.10008.1.2.2" if byte_order == ">" else "1.2.840.10008.1.2.1")


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_binary_values_leave_in_little_endian_order(byte_order: str) -> None:
    """Oracle: the octets that PS3.5 section 7.3 gives each VR, written by hand in both orders."""
    file = binary_object(byte_order)
    elements = json_model(file, str).elements
    for number, vr in enumerate(WIDTHS):
        assert elements[f"{0x00091001 + number:08X}"] == {
            "vr": vr,
            "BulkDataURI": f"{0x00091001 + number:08X}",
        }
        assert bulk_data(file, f"{0x00091001 + number:08X}") == OCTETS
        inline = elements[f"{0x00091101 + number:08X}"]["InlineBinary"]
        assert base64.b64decode(inline) == OCTETS[:16]


@pytest.mark.parametrize("tag", ["60003000", "601E3000"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_overlays_are_bulk_data(tag: str, byte_order: str) -> None:
    file = binary_object(byte_order)
    assert json_model(file, str).elements[tag] == {"vr": "OW", "BulkDataURI": tag}
    assert bulk_data(file, tag) == OCTETS


def test_words_without_a_vr_are_words() -> None:
    """PS3.5 section A.1: overlay, waveform and table data are OW where no VR is written."""
    implicit = b"".join(
        struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(OCTETS)) + OCTETS
        for tag in (0x00283006, 0x54001010, 0x60003000)
    )
    elements = json_model(file_of(implicit, "1.2.840.10008.1.2"), str).elements
    assert {tag: one["vr"] for tag, one in elements.items()} == {
        "00283006": "OW",
        "54001010": "OW",
        "60003000": "OW",
    }
