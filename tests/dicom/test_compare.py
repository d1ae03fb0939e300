"""What differs between two objects, told apart from how it is encoded."""

from pathlib import Path

import pydicom
import pytest

from hub.dicom.compare import compare
from hub.errors import HubError
from tests.dicom.samples import DATA, build, element, file_of


def test_one_changed_element() -> None:
    first, second = file_of(build()), file_of(build(t00280010=element(0x00280010, "US", b"\5\0")))
    compared = compare(first, second)
    [difference] = compared.differences
    assert (difference.number, difference.name) == ("(0028,0010)", "Rows")
    assert (difference.first, difference.second) == ("4", "5")
    assert compared.same_pixels


def test_changed_pixels() -> None:
    other = element(0x7FE00010, "OW", bytes(reversed(range(32))))
    compared = compare(file_of(build()), file_of(build(t7FE00010=other)))
    assert compared.differences == ()
    assert not compared.same_pixels


def test_an_element_that_one_lacks_and_a_private_one() -> None:
    added = element(0x00091001, "LO", "设备一".encode("gbk"))
    [difference] = compare(file_of(build()), file_of(build(t00091001=added))).differences
    assert (difference.number, difference.name) == ("(0009,1001)", "")
    assert (difference.first, difference.second) == ("", "设备一")


def test_the_same_text_in_another_charset_is_no_difference() -> None:
    utf8 = {
        "t00080005": element(0x00080005, "CS", b"ISO_IR 192"),
        "t00100010": element(0x00100010, "PN", "张^三".encode()),
    }
    compared = compare(file_of(build()), file_of(build(**utf8)))
    assert [difference.name for difference in compared.differences] == ["Specific Character Set"]


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_RLE.dcm"])
def test_against_itself_and_against_pydicom(name: str, tmp_path: Path) -> None:
    """Oracle: pydicom changes three elements; exactly these differ."""
    raw = (DATA / name).read_bytes()
    assert compare(raw, raw).differences == ()
    dataset = pydicom.dcmread(DATA / name)
    dataset.PatientID, dataset.EchoTime = "OTHER", "17.5"
    dataset.BurnedInAnnotation = "NO"
    dataset.save_as(tmp_path / "changed.dcm")
    compared = compare(raw, tmp_path / "changed.dcm")
    assert {difference.name for difference in compared.differences} == {
        "Patient ID",
        "Echo Time",
        "Burned In Annotation",
    }
    assert compared.same_pixels


def test_what_is_no_dicom_is_said() -> None:
    with pytest.raises(HubError):
        compare(file_of(build()), b"GET / HTTP/1.1\r\n\r\n")
