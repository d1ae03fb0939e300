import io
from pathlib import Path

import pydicom
import pytest

from hub.dicom.part10 import NotDicom, file_header, split
from tests.dicom.samples import CT_CLASS, DATA, EXPLICIT, IMAGES, build, file_of


class TestFileHeader:
    def test_another_reader_finds_the_header_and_the_bytes_untouched(self) -> None:
        """Oracle: pydicom reads the file meta information and the name."""
        dataset = build()
        header = file_header(
            sop_class=CT_CLASS,
            sop_instance="1.2.3.4",
            transfer_syntax=EXPLICIT,
            calling_ae="DR_东陂",
            called_ae="HUB",
        )
        raw = header + dataset
        read = pydicom.dcmread(io.BytesIO(raw))
        assert read.file_meta.MediaStorageSOPClassUID == CT_CLASS
        assert read.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
        assert read.file_meta.TransferSyntaxUID == EXPLICIT
        assert read.file_meta.SourceApplicationEntityTitle == "DR_"
        assert read.file_meta.FileMetaInformationGroupLength == len(raw) - len(dataset) - 144
        assert read.PatientID == "P1"

    def test_split_finds_it_again(self) -> None:
        dataset = build()
        raw = file_of(dataset)
        meta, offset = split(raw)
        assert raw[offset:] == dataset
        assert (meta.sop_class, meta.sop_instance, meta.transfer_syntax) == (CT_CLASS, "1.2.3.4", EXPLICIT)


class TestSplit:
    @pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
    def test_data_set_begins_where_pydicom_begins(self, path: Path) -> None:
        """Oracle: pydicom's reader of the header stops at the same offset."""
        with path.open("rb") as file:
            pydicom.filereader.read_preamble(file, force=False)
            pydicom.filereader.read_file_meta_info(path)
            meta = pydicom.filereader._read_file_meta_info(file)
            assert split(path) == split(path.read_bytes())
            assert split(path)[1] == file.tell()
            assert split(path)[0].transfer_syntax == meta.TransferSyntaxUID

    def test_wrong_group_length_is_not_believed(self) -> None:
        raw = bytearray(file_of(build()))
        raw[140:144] = (9999).to_bytes(4, "little")
        assert bytes(raw[split(bytes(raw))[1] :]) == build()

    @pytest.mark.parametrize(
        ("name", "syntax"),
        [("MR_small_implicit.dcm", "1.2.840.10008.1.2"), ("MR_small_bigendian.dcm", "1.2.840.10008.1.2.2")],
    )
    def test_bare_data_sets_are_recognised(self, name: str, syntax: str) -> None:
        raw = (DATA / name).read_bytes()
        bare = raw[split(raw)[1] :]
        meta, offset = split(bare)
        assert (offset, meta.transfer_syntax, meta.has_header) == (0, syntax, False)

    def test_header_without_preamble(self) -> None:
        raw = file_of(build())[132:]
        meta, offset = split(raw)
        assert raw[offset:] == build()
        assert meta.transfer_syntax == EXPLICIT

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"DICM",
            bytes(128) + b"DICM",
            b"%PDF-1.7 something",
            b"\xff\xd8\xff\xe0" + bytes(40),
            bytes(4000),
        ],
    )
    def test_other_bytes_are_refused(self, raw: bytes) -> None:
        with pytest.raises(NotDicom):
            split(raw)
