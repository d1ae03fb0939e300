import json
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
