"""Identifiers against pydicom, which reads what the hub writes and writes what it reads.

Code extensions: the example of PS3.5 section K.2 (Chinese name in GB 2312), byte for byte.
"""

import io
import warnings

import pytest
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.filewriter import dcmwrite

from hub.dicom.identifier import (
    GB2312_EXTENSION,
    IDENTIFIER_SYNTAXES,
    BadIdentifier,
    IdentifierTooLarge,
    answer_charset,
    decode_identifier,
    encode_attributes,
    encode_identifier,
    holds,
)
from hub.errors import Malformed, Unsupported

EXPLICIT, IMPLICIT = IDENTIFIER_SYNTAXES
BIG = "1.2.840.10008.1.2.2"
NAMES = ["王小东", "郑伟", "李昞", "Wang^XiaoDong=王^小东", "欧阳^娜娜", "𠮷田"]


def written(dataset: Dataset, syntax: str) -> bytes:
    """The data set as pydicom writes it, without a file header."""
    buffer = io.BytesIO()
    dcmwrite(
        buffer,
        dataset,
        implicit_vr=syntax == IMPLICIT,
        little_endian=syntax != BIG,
        force_encoding=True,
    )
    return buffer.getvalue()


def read(data: bytes, syntax: str) -> Dataset:
    """What pydicom makes of bytes that the hub wrote."""
    return read_dataset(io.BytesIO(data), syntax == IMPLICIT, True)


def name_in(dataset: Dataset) -> str:
    """The patient's name; pydicom leaves the escape sequence of GB 2312 in the text."""
    return str(dataset.PatientName).replace("\x1b$)A", "")


def question(**values: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_reads_what_pydicom_writes(syntax: str) -> None:
    step = question(Modality="CT", ScheduledStationAETitle="CT1", ScheduledProcedureStepStartDate="20260302-")
    asked = question(
        SpecificCharacterSet="GB18030",
        PatientName="王^小东",
        StudyInstanceUID=["1.2.3", "1.2.4"],
        SeriesNumber=7,
        Rows=512,
        FrameIncrementPointer=0x00181063,
        ScheduledProcedureStepSequence=[step],
        ModalitiesInStudy=[],
    )
    got = decode_identifier(written(asked, syntax), syntax)
    assert str(got.PatientName) == "王^小东"
    assert list(got.StudyInstanceUID) == ["1.2.3", "1.2.4"]
    assert (got.SeriesNumber, got.Rows, got.FrameIncrementPointer) == (7, 512, 0x00181063)
    assert got.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate == "20260302-"
    assert got.ModalitiesInStudy in ("", None, [])


@pytest.mark.parametrize("declared", ["", "ISO_IR 100", "GB18030", "ISO_IR 192"])
@pytest.mark.parametrize("name", ["郑伟", "李昞", "王^小东"])
def test_gbk_is_read_under_any_declaration(declared: str, name: str) -> None:
    raw = name.encode("gbk") + b"*"
    raw += b" " * (len(raw) % 2)
    term = declared.encode() + b" " * (len(declared) % 2)
    data = b"\x08\x00\x05\x00CS" + bytes([len(term), 0]) + term + b"\x10\x00\x10\x00PN" + bytes([len(raw), 0])
    got = decode_identifier(data + raw, EXPLICIT)
    assert str(got.PatientName) == name + "*"


def test_wildcards_and_ranges_are_no_reason_to_warn_or_refuse() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, which writes it
        asked = Dataset()
        for tag, vr, value in [
            (0x00080020, "DA", "20260101-20260301"),
            (0x00080030, "TM", "-1200"),
            (0x0020000D, "UI", "*"),
            (0x00080060, "CS", "C?"),
            (0x00100020, "LO", "P" * 80),
        ]:
            asked.add(DataElement(tag, vr, value, validation_mode=config.IGNORE))
        data = written(asked, EXPLICIT)
    got = decode_identifier(data, EXPLICIT)
    assert got.StudyDate == "20260101-20260301"
    assert (got.StudyTime, got.StudyInstanceUID, got.Modality) == ("-1200", "*", "C?")
    assert len(got.PatientID) == 80


def test_a_wildcard_where_a_number_stands_means_any() -> None:
    assert decode_identifier(b"\x20\x00\x11\x00IS\x02\x00* ", EXPLICIT).SeriesNumber in ("", None)


@pytest.mark.parametrize(
    "data",
    [
        b"\x10\x00\x10\x00PN\xff\x00Wang",  # longer than what came
        b"\x10\x00\x10\x00PN",  # cut in the head
        b"\x20\x00\x11\x00IS\x04\x00zero",
        b"\x28\x00\x10\x00US\x03\x00abc",
        b"\x40\x00\x00\x01SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff",  # never closed
        b"\x09\x00\x01\x10UN\x00\x00\xff\xff\xff\xff\xfe\xff\xdd\xe0\x00\x00\x00\x00",  # private, unknown
    ],
)
def test_broken_identifiers_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode_identifier(data, EXPLICIT)


def test_deep_nesting_and_endless_elements_are_refused() -> None:
    deep = b""
    for _ in range(200):
        item = b"\xfe\xff\x00\xe0" + len(deep).to_bytes(4, "little") + deep
        deep = b"\x40\x00\x00\x01SQ\x00\x00" + len(item).to_bytes(4, "little") + item
    with pytest.raises(BadIdentifier):
        decode_identifier(deep, EXPLICIT)
    with pytest.raises(IdentifierTooLarge):
        decode_identifier(b"\x20\x00\x11\x00IS\x02\x001 " * 10_001, EXPLICIT)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("charset", ["GB18030", "ISO_IR 192"])
@pytest.mark.parametrize("name", NAMES)
def test_pydicom_reads_what_the_hub_writes(syntax: str, charset: str, name: str) -> None:
    item = question(Modality="CT", ScheduledProcedureStepDescription="胸部平扫")
    answer = question(
        PatientName=name,
        StudyInstanceUID="1.2.3",
        NumberOfStudyRelatedInstances=12,
        ModalitiesInStudy=["CT", "SR"],
        ScheduledProcedureStepSequence=[item],
        PatientBirthDate=None,
        Rows=512,
    )
    got = read(encode_identifier(answer, syntax, charset), syntax)
    assert got.SpecificCharacterSet == charset
    assert str(got.PatientName) == name
    assert got.ScheduledProcedureStepSequence[0].ScheduledProcedureStepDescription == "胸部平扫"
    assert (got.NumberOfStudyRelatedInstances, got.Rows) == (12, 512)
    assert list(got.ModalitiesInStudy) == ["CT", "SR"]
    assert not got.PatientBirthDate


def test_code_extension_as_the_standard_writes_it() -> None:
    data = encode_identifier(question(PatientName="Zhang^XiaoDong=张^小东"), EXPLICIT, GB2312_EXTENSION)
    # PS3.5 section K.2: escape sequence 1B 24 29 41 before each component with Chinese
    assert b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab" in data
    assert name_in(read(data, EXPLICIT)) == "Zhang^XiaoDong=张^小东"


def test_what_a_set_cannot_hold_becomes_a_question_mark_and_nothing_else() -> None:
    latin = encode_identifier(question(PatientName="Müller^王"), EXPLICIT, "ISO_IR 100")
    assert str(read(latin, EXPLICIT).PatientName) == "Müller^?"
    gbk = encode_identifier(question(PatientName="𠮷王"), EXPLICIT, "GBK")
    assert "?王".encode("gbk") in gbk
    plain = encode_identifier(question(PatientName="王", SpecificCharacterSet="GBK"), EXPLICIT, "")
    assert "SpecificCharacterSet" not in read(plain, EXPLICIT)
    assert str(read(plain, EXPLICIT).PatientName) == "?"


def test_other_transfer_syntaxes_and_oversized_values_are_refused() -> None:
    with pytest.raises(Unsupported):
        encode_identifier(Dataset(), BIG, "")
    with pytest.raises(IdentifierTooLarge):
        encode_attributes([(0x00204000, "LT", "x" * 70_000)], EXPLICIT, "")


@pytest.mark.parametrize(
    ("device", "query", "content", "term"),
    [
        ("GBK", "ISO_IR 192", "王", "GBK"),
        ("gb2312", "", "Wang", "GBK"),
        ("GB18030", "", "Wang", "GB18030"),
        ("utf-8", "GB18030", "王", "ISO_IR 192"),
        ("ISO 2022 IR 58", "", "王", GB2312_EXTENSION),
        ("latin-1", "GB18030", "王", "ISO_IR 100"),  # registered: ? rather than mojibake
        (None, "GB18030", "王", "GB18030"),
        (None, "GB18030\\ISO IR 192", "王", "GB18030"),
        (None, "ISO_IR 192", "Wang", "ISO_IR 192"),
        (None, "ISO_IR 100", "Müller", "ISO_IR 100"),
        (None, "ISO 2022 IR 100", "Müller", "ISO_IR 100"),
        (None, "ISO_IR 100", "王", "ISO_IR 192"),
        (None, "ISO_IR 6", "王", "ISO_IR 192"),
        (None, "ISO_IR 144", "Иван", "ISO_IR 144"),
        (None, "\\ISO 2022 IR 58", "王", GB2312_EXTENSION),
        (None, ["", "ISO 2022 IR 58"], "𠮷", "ISO_IR 192"),
        (None, "\\ISO 2022 IR 87", "王", "ISO_IR 192"),
        (None, "no such set", "王", "ISO_IR 192"),
        (None, "bad\0name", "Wang", ""),
        (None, "", "Wang", ""),
        (None, "", "王", "GB18030"),
        (None, "", "Müller", "ISO_IR 192"),
    ],
)
def test_choice_of_the_set(device: str | None, query: str | list[str], content: str, term: str) -> None:
    assert answer_charset(device, query, content) == term


@pytest.mark.parametrize("query", ["", "ISO_IR 100", "GB18030", "ISO_IR 192", "\\ISO 2022 IR 58", "nonsense"])
@pytest.mark.parametrize("name", [*NAMES, "Müller", "Wang"])
def test_without_a_registered_set_nothing_is_ever_lost(query: str, name: str) -> None:
    term = answer_charset(None, query, name)
    assert holds(term, name)
    assert name_in(read(encode_identifier(question(PatientName=name), IMPLICIT, term), IMPLICIT)) == name
