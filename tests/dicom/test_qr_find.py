"""C-FIND: matching by the rules of PS3.4 section C.2.2.2, answers read by pydicom, the wire by pynetdicom."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from hub.catalogue.qr_search import Level, RetrieveRepository
from hub.dicom import qr_find
from hub.dicom.identifier import IDENTIFIER_SYNTAXES, decode_identifier, encode_attributes
from hub.dicom.qr_find import answers, full_name
from hub.dicom.qr_keys import (
    KEYS,
    PATIENT_ROOT_FIND,
    STUDY_ROOT_FIND,
    TOP_LEVEL,
    IdentifierMismatch,
    read_question,
    read_retrieval,
)
from hub.sites.service import DeviceKnown
from tests.fixtures.query_retrieve import Archive
from tests.fixtures.world import World

STUDY_KEYS = ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "NumberOfStudyRelatedInstances")
EXPLICIT = IDENTIFIER_SYNTAXES[0]


def asked(level: str, *wanted: str, **keys: Any) -> Dataset:
    """An identifier; `wanted` are keys without a value."""
    import warnings

    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom takes wildcards and ranges for bad values
        for keyword in wanted:
            setattr(identifier, keyword, None)
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
    return identifier


def found(
    archive: Archive, device: DeviceKnown, identifier: Dataset, root: str = STUDY_ROOT_FIND
) -> list[Dataset]:
    """The answers, as bytes read again."""
    question = read_question(identifier, TOP_LEVEL[root])
    with archive.world.context.db.reading() as session:
        ids = RetrieveRepository(session).matching(device, question.level, question.matches, 10_000)
    return [
        decode_identifier(encode_attributes(one, EXPLICIT, "ISO_IR 192"), EXPLICIT)
        for one in answers(archive.world.context, device, question, ids)
    ]


def filled(world: World) -> Archive:
    """Two sites' studies; both sites use the patient number P1."""
    archive = Archive(world)
    archive.study(
        "DP", n=2, t00100020="P1", t00080020="20260110", t00080030="081500", t00080050="A1", t00200010="S1",
        t0020000D="1.2.1", t00081030="胸部平扫",
    )  # fmt: skip
    archive.study(
        "DP", t00100020="P1", t00080020="20260220", t00080030="143000", t00080050="A2", t0020000D="1.2.2"
    )
    archive.study(
        "DP", n=1, series=2, name="ZHENG^WEI", t00100020="P2", t00080020="20260301", t0020000D="1.2.3"
    )
    archive.study("LP", name="李^四", t00100020="P1", t00080020="20260302", t0020000D="1.3.1", t00080060="DX")
    return archive


@pytest.fixture
def archive(world: World) -> Archive:
    """On both databases."""
    return filled(world)


def uids(answers: list[Dataset]) -> list[str]:
    return [str(answer.StudyInstanceUID) for answer in answers]


MATCHING: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["1.2.3", "1.2.2", "1.2.1"]),
    ({"PatientID": "P1"}, ["1.2.2", "1.2.1"]),
    ({"PatientID": "P*"}, ["1.2.3", "1.2.2", "1.2.1"]),
    ({"PatientID": "p1"}, []),
    ({"PatientID": "P?"}, ["1.2.3", "1.2.2", "1.2.1"]),
    ({"PatientName": "zheng*"}, ["1.2.3"]),
    ({"PatientName": "王*"}, ["1.2.2", "1.2.1"]),
    ({"PatientName": "*^小东"}, ["1.2.2", "1.2.1"]),
    ({"PatientName": "王小东"}, ["1.2.2", "1.2.1"]),
    ({"PatientName": "李*"}, []),
    ({"StudyDate": "20260110"}, ["1.2.1"]),
    ({"StudyDate": "20260111-20260301"}, ["1.2.3", "1.2.2"]),
    ({"StudyDate": "-20260220"}, ["1.2.2", "1.2.1"]),
    ({"StudyDate": "20260220-"}, ["1.2.3", "1.2.2"]),
    ({"StudyDate": "2026.02.20"}, ["1.2.2"]),
    ({"StudyTime": "0800-0830"}, ["1.2.1"]),
    ({"StudyTime": "14"}, ["1.2.2"]),
    ({"AccessionNumber": "A2"}, ["1.2.2"]),
    ({"AccessionNumber": "A*", "StudyDate": "-20260131"}, ["1.2.1"]),
    ({"StudyID": "S1"}, ["1.2.1"]),
    ({"StudyDescription": "胸部*"}, ["1.2.1"]),
    ({"StudyInstanceUID": ["1.2.1", "1.2.3", "9.9"]}, ["1.2.3", "1.2.1"]),
    ({"StudyInstanceUID": "*"}, ["1.2.3", "1.2.2", "1.2.1"]),
    ({"ModalitiesInStudy": "CT"}, ["1.2.3", "1.2.2", "1.2.1"]),
    ({"ModalitiesInStudy": ["MR", "DX"]}, []),
    ({"Modality": "CT"}, ["1.2.3", "1.2.2", "1.2.1"]),
    ({"Modality": "MR"}, []),
    ({"SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.2"}, ["1.2.3", "1.2.2", "1.2.1"]),
    ({"SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.4"}, []),
]
"""Keys, and the studies that match them."""


class TestMatching:
    def test_studies(self, archive: Archive) -> None:
        ward = archive.device("WARD")
        got = []
        for keys, _ in MATCHING:
            wanted = [keyword for keyword in STUDY_KEYS if keyword not in keys]
            got.append((keys, uids(found(archive, ward, asked("STUDY", *wanted, **keys)))))
        assert got == MATCHING

    def test_every_study_key_is_answered(self, archive: Archive) -> None:
        wanted = [key.keyword for key in KEYS.values() if key.level <= Level.STUDY]
        wanted.remove("StudyInstanceUID")
        (answer,) = found(archive, archive.device("WARD"), asked("STUDY", *wanted, StudyInstanceUID="1.2.1"))
        assert {element.keyword: str(element.value) for element in answer} == {
            "SpecificCharacterSet": "ISO_IR 192",
            "QueryRetrieveLevel": "STUDY",
            "RetrieveAETitle": "HUB",
            "InstanceAvailability": "ONLINE",
            "StudyInstanceUID": "1.2.1",
            "StudyDate": "20260110",
            "StudyTime": "081500",
            "AccessionNumber": "A1",
            "StudyID": "S1",
            "StudyDescription": "胸部平扫",
            "ReferringPhysicianName": "",
            "ModalitiesInStudy": "CT",
            "SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.2",
            "PatientID": "P1",
            "PatientName": "王^小东",
            "PatientBirthDate": "",
            "PatientSex": "",
            "IssuerOfPatientID": "DP",
            "NumberOfPatientRelatedStudies": "2",
            "NumberOfPatientRelatedSeries": "2",
            "NumberOfPatientRelatedInstances": "3",
            "NumberOfStudyRelatedSeries": "1",
            "NumberOfStudyRelatedInstances": "2",
        }

    def test_series_and_images(self, archive: Archive) -> None:
        ward = archive.device("WARD")
        series = found(
            archive,
            ward,
            asked("SERIES", "SeriesInstanceUID", "Modality", "SeriesNumber", "NumberOfSeriesRelatedInstances",
                  StudyInstanceUID="1.2.3"),
        )  # fmt: skip
        assert [(one.SeriesNumber, one.Modality, one.NumberOfSeriesRelatedInstances) for one in series] == [
            (1, "CT", 1),
            (2, "CT", 1),
        ]
        second = found(
            archive, ward, asked("SERIES", StudyInstanceUID="1.2.3", SeriesNumber="2", Modality="CT")
        )
        assert [one.SeriesInstanceUID for one in second] == [series[1].SeriesInstanceUID]
        (image,) = found(
            archive,
            ward,
            asked("IMAGE", "SOPInstanceUID", "SOPClassUID", "InstanceNumber", "Rows", "NumberOfFrames",
                  "AvailableTransferSyntaxUID", StudyInstanceUID="1.2.3",
                  SeriesInstanceUID=series[1].SeriesInstanceUID),
        )  # fmt: skip
        assert (image.SOPClassUID, image.Rows, image.NumberOfFrames) == ("1.2.840.10008.5.1.4.1.1.2", 4, 1)
        assert image.AvailableTransferSyntaxUID == EXPLICIT

    def test_patients(self, archive: Archive) -> None:
        wanted = ("PatientID", "PatientName", "NumberOfPatientRelatedStudies", "IssuerOfPatientID")
        archive.study("DP", name="无^号", t00100020="")  # no number, no patient that could be asked for
        own = found(archive, archive.device("WARD"), asked("PATIENT", *wanted), PATIENT_ROOT_FIND)
        assert sorted((one.PatientID, one.NumberOfPatientRelatedStudies) for one in own) == [
            ("P1", 2),
            ("P2", 1),
        ]
        everybody = found(
            archive, archive.device("PACS", query_scope="all"), asked("PATIENT", *wanted), PATIENT_ROOT_FIND
        )
        # one number at two sites is two patients
        assert sorted((one.IssuerOfPatientID, one.PatientID, str(one.PatientName)) for one in everybody) == [
            ("DP", "P1", "王^小东"),
            ("DP", "P2", "ZHENG^WEI"),
            ("LP", "P1", "李^四"),
        ]
        studies = asked("STUDY", "StudyInstanceUID", PatientID="P2")
        assert uids(found(archive, archive.device("WARD2"), studies, PATIENT_ROOT_FIND)) == ["1.2.3"]

    def test_scope(self, archive: Archive) -> None:
        everything = asked("STUDY", "StudyInstanceUID")
        assert uids(found(archive, archive.device("A", "DP"), everything)) == ["1.2.3", "1.2.2", "1.2.1"]
        assert uids(found(archive, archive.device("B", "LP"), everything)) == ["1.3.1"]
        assert uids(found(archive, archive.device("C", "DP", query_scope="none"), everything)) == []
        assert uids(found(archive, archive.device("D", "DP", query_scope="all"), everything))[0] == "1.3.1"
        planted = asked("STUDY", StudyInstanceUID="1.3.1")
        assert found(archive, archive.device("E", "DP"), planted) == []


class TestQuestions:
    @pytest.mark.parametrize(
        ("identifier", "top"),
        [
            (asked("PATIENT", "PatientID"), Level.STUDY),
            (asked("ROOM"), Level.STUDY),
            (asked(""), Level.PATIENT),
            (asked("SERIES", "SeriesInstanceUID"), Level.STUDY),
            (asked("SERIES", StudyInstanceUID="*"), Level.STUDY),
            (asked("SERIES", StudyInstanceUID=["1.2", "1.3"]), Level.STUDY),
            (asked("IMAGE", StudyInstanceUID="1.2"), Level.STUDY),
            (asked("STUDY", "StudyInstanceUID"), Level.PATIENT),
            (asked("SERIES", StudyInstanceUID="1.2"), Level.PATIENT),
            (asked("STUDY", StudyDate="yesterday"), Level.STUDY),
            (asked("STUDY", StudyInstanceUID="abc"), Level.STUDY),
            (asked("STUDY", PatientID="a\0b"), Level.STUDY),
        ],
    )
    def test_what_does_not_fit_the_model(self, identifier: Dataset, top: Level) -> None:
        with pytest.raises(IdentifierMismatch):
            read_question(identifier, top)

    @pytest.mark.parametrize(
        ("identifier", "partial"),
        [
            (asked("STUDY", "PatientName", "StudyInstanceUID"), False),
            (asked("STUDY", "NumberOfStudyRelatedInstances"), False),
            (asked("STUDY", NumberOfStudyRelatedInstances="3"), True),
            (asked("STUDY", "InstitutionName"), True),
            (asked("STUDY", "SeriesInstanceUID"), True),
            (asked("STUDY", RequestAttributesSequence=[]), True),
        ],
    )
    def test_keys_that_are_not_supported_are_told(self, identifier: Dataset, partial: bool) -> None:
        assert read_question(identifier, Level.STUDY).partial is partial

    @pytest.mark.parametrize(
        "identifier",
        [
            asked("STUDY"),
            asked("STUDY", StudyInstanceUID="1.2.*"),
            asked("STUDY", StudyInstanceUID=["1.2", ""]),
            asked("SERIES", SeriesInstanceUID="1.2"),
            asked("PATIENT", PatientID="P1"),
        ],
    )
    def test_a_retrieval_names_what_it_wants(self, identifier: Dataset) -> None:
        with pytest.raises(IdentifierMismatch):
            read_retrieval(identifier, Level.STUDY)


def test_a_corrected_name_is_given_as_it_is_shown(archive: Archive) -> None:
    with archive.world.context.db.transaction() as session:
        study = RetrieveRepository(session).study_of_site(archive.world.site_ids["DP"], "1.2.1")
        assert study is not None
        study.name_raw, study.name_charset = "王^小东=王^小东".encode("gbk"), "GB18030"
        assert full_name(study) == "王^小东=王^小东"
        study.patient_name = "王小冬"
        assert full_name(study) == "王小冬"


class TestOnTheWire:
    @pytest.fixture
    def archive(self, sqlite_world: World) -> Archive:
        return filled(sqlite_world)

    @pytest.fixture
    def port(self, archive: Archive) -> Iterator[int]:
        with archive.listening() as port:
            yield port

    def association(self, port: int, title: str, sop_class: str = STUDY_ROOT_FIND) -> Association:
        entity = AE(title)
        return entity.associate("127.0.0.1", port, [build_context(sop_class)], ae_title="HUB")

    def ask(self, port: int, title: str, identifier: Dataset) -> list[tuple[int, Dataset | None, str]]:
        association = self.association(port, title)
        assert association.is_established
        got = [
            (status.Status, answer, str(status.get("ErrorComment", "")))
            for status, answer in association.send_c_find(identifier, STUDY_ROOT_FIND)
        ]
        association.release()
        return got

    def test_answers_and_statuses(self, archive: Archive, port: int) -> None:
        archive.device("WARD")
        got = self.ask(port, "WARD", asked("STUDY", "StudyInstanceUID", PatientID="P1"))
        assert [status for status, _, _ in got] == [0xFF00, 0xFF00, 0x0000]
        got = self.ask(port, "WARD", asked("STUDY", "InstitutionName", PatientID="P1"))
        assert [status for status, _, _ in got] == [0xFF01, 0xFF01, 0x0000]
        got = self.ask(port, "WARD", asked("SERIES", "Modality"))
        assert got[0][0] == 0xA900
        assert "StudyInstanceUID" in got[0][2]
        first, second = archive.events("catalogue:study:query")
        assert (first.actor_name, first.facts["keys"], first.facts["found"]) == ("WARD", ["PatientID"], 2)
        assert "P1" not in str(second.facts)

    def test_none_and_strangers_are_refused(self, archive: Archive, port: int) -> None:
        archive.device("DOOR", query_scope="none")
        assert [status for status, _, _ in self.ask(port, "DOOR", asked("STUDY"))] == [0x0124]
        # the service is not even offered to one that nobody registered
        assert not self.association(port, "STRANGER").is_established

    def test_answers_in_the_set_of_the_device_else_of_the_query(self, archive: Archive, port: int) -> None:
        archive.device("OLD", charset="GBK")
        archive.device("NEW")
        for title, charset, expected in [
            ("OLD", "ISO_IR 192", "GBK"),
            ("NEW", "ISO_IR 192", "ISO_IR 192"),
            ("NEW", "GB18030", "GB18030"),
            ("NEW", "", "GB18030"),
            ("NEW", "ISO_IR 100", "ISO_IR 192"),
        ]:
            identifier = asked("STUDY", "PatientName", StudyInstanceUID="1.2.1")
            if charset:
                identifier.SpecificCharacterSet = charset
            answer = self.ask(port, title, identifier)[0][1]
            assert answer is not None
            assert (answer.SpecificCharacterSet, str(answer.PatientName)) == (expected, "王^小东")

    def test_too_many_answers(self, archive: Archive, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        archive.device("WARD")
        monkeypatch.setattr(qr_find, "MOST_ANSWERS", 2)
        got = self.ask(port, "WARD", asked("STUDY"))
        assert [status for status, _, _ in got] == [0xFF00, 0xFF00, 0xA700]
        assert "more than" in got[-1][2]

    def test_cancel(self, archive: Archive, port: int) -> None:
        archive.device("WARD")
        for number in range(30):
            archive.study("DP", t00100020=f"M{number}")
        association = self.association(port, "WARD")
        statuses: list[int] = []
        for status, _ in association.send_c_find(asked("STUDY"), STUDY_ROOT_FIND, msg_id=7):
            if not statuses:
                association.send_c_cancel(7, query_model=STUDY_ROOT_FIND)
            statuses.append(status.Status)
        association.release()
        # it may have been answered already when the cancel came
        assert statuses[-1] in {0xFE00, 0x0000}

    def test_an_identifier_that_is_none(self, archive: Archive, port: int) -> None:
        from hub.dicom.wire.requestor import Target, connect

        archive.device("WARD")
        association = connect(Target("127.0.0.1", port, "HUB", "WARD"), [(STUDY_ROOT_FIND, (EXPLICIT,))])
        context = association.context_for(STUDY_ROOT_FIND)
        assert context is not None
        assert [status for status, _ in association.find(context, b"\x10\x00\x10\x00PN\xff\x00")] == [0xC000]
        assert [status for status, _ in association.find(context, b"")] == [0xA900]
        association.release()
