"""QIDO-RS on both databases; the attributes are those of PS3.18 Tables 10.6.3-3 to 10.6.3-5."""

import io
from typing import Any

import pytest
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread
from starlette.testclient import TestClient

from hub.auth.deps import SESSION_COOKIE
from hub.dicom import ingest
from tests.dicom.conftest import Archive
from tests.dicom.samples import DATA
from tests.fixtures.world import CT, World

# PS3.18 2024d, the attributes of type R or U, and those with a condition that holds here.
STUDY_TABLE = [
    ("00080020", "DA"),
    ("00080030", "TM"),
    ("00080050", "SH"),
    ("00080056", "CS"),
    ("00080061", "CS"),
    ("00080090", "PN"),
    ("00081190", "UR"),
    ("00100010", "PN"),
    ("00100020", "LO"),
    ("00100030", "DA"),
    ("00100040", "CS"),
    ("0020000D", "UI"),
    ("00200010", "SH"),
    ("00201206", "IS"),
    ("00201208", "IS"),
]
SERIES_TABLE = [
    ("00080060", "CS"),
    ("0008103E", "LO"),
    ("00081190", "UR"),
    ("0020000E", "UI"),
    ("00200011", "IS"),
    ("00201209", "IS"),
]
INSTANCE_TABLE = [
    ("00080016", "UI"),
    ("00080018", "UI"),
    ("00080056", "CS"),
    ("00081190", "UR"),
    ("00200013", "IS"),
    ("00280008", "IS"),
    ("00280010", "US"),
    ("00280011", "US"),
]


@pytest.fixture
def county(world: World) -> World:
    """Four studies at two sites; WANG and 王 are different people."""
    world.register(
        study_uid="1.2.1", local_id="P1", patient_name="王秀英", accession="A1", study_date="20260301",
        study_time="081500", modality="DX", study_description="胸部正位", study_number="S1",
        referring_name="李主任", performed_date="20260301", performed_time="081000", step_id="SPS7",
        procedure_id="RP7",
    )  # fmt: skip
    world.register(
        study_uid="1.2.2", local_id="P2", patient_name="WANG XIU YING", accession="A_2",
        study_date="20260302", study_time="120000", modality="CT", instances=3,
    )  # fmt: skip
    world.register(
        study_uid="1.2.2", local_id="P2", patient_name="WANG XIU YING", modality="SR",
        series_uid="1.2.2.9", series_number=2, instances=1,
    )  # fmt: skip
    world.register(study_uid="1.2.3", local_id="p1", patient_name="李[雷%", study_date="", modality="US")
    world.register(
        "LP", study_uid="1.2.4", local_id="P1", patient_name="王芳", study_date="20260228", modality="DX"
    )
    return world


@pytest.fixture
def reader(county: World) -> TestClient:
    return county.client("writer1")


def uids(response: Any, tag: str = "0020000D") -> list[str]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/dicom+json"
    return [item[tag]["Value"][0] for item in response.json()]


FOUND = [
    ("", "2 1 4 3"),
    ("StudyInstanceUID=1.2.1", "1"),
    ("0020000D=1.2.1,1.2.3", "1 3"),
    ("0020000d=1.2.1%5C1.2.3", "1 3"),
    ("StudyInstanceUID=1.2.1&StudyInstanceUID=1.2.4", "1 4"),
    ("PatientID=P1", "1 4"),
    ("PatientID=p1", "3"),
    ("PatientID=P*", "2 1 4"),
    ("PatientID=?1", "1 4 3"),
    ("00100020=P%25", ""),
    ("PatientName=王*", "1 4"),
    ("PatientName=王^秀英", "1"),
    ("PatientName=王??", "1"),
    ("PatientName=wang^xiu*", "2"),
    ("PatientName=Wang^Xiu^Ying", "2"),
    ("PatientName=nobody=王芳", "4"),
    ("PatientName=李[*", "3"),
    ("PatientName=*%25", "3"),
    ("PatientName=*", "2 1 4 3"),
    ("PatientName=", "2 1 4 3"),
    ("AccessionNumber=A_2", "2"),
    ("AccessionNumber=A_*", "2"),
    ("AccessionNumber=A?", "1"),
    ("StudyDate=20260301", "1"),
    ("StudyDate=20260301-20260302", "2 1"),
    ("StudyDate=-20260301", "1 4"),
    ("StudyDate=20260302-", "2"),
    ("StudyDate=20260301&StudyTime=08-09", "1"),
    ("StudyDate=20260301&StudyTime=0816-", ""),
    ("ModalitiesInStudy=SR", "2"),
    ("ModalitiesInStudy=CT,US", "2 3"),
    ("00080061=dx", "1 4"),
    ("Modality=DX", "1 4"),
    ("StudyDescription=胸部*", "2 1 4 3"),
    ("PatientSex=M", ""),
    ("PatientBirthDate=19580412", "2 1 4 3"),
    ("PatientName=Ying%20Wang&fuzzymatching=true", "2 1"),
    ("PatientName=wang^x*&fuzzymatching=true", "2 1"),
    ("PatientName=WANG^*&fuzzymatching=true", "2 1 4"),
    ("PatientName=xiuying&fuzzymatching=true", "1"),
    ("PatientName=秀英&fuzzymatching=true", "1"),
    ("PatientName=王%20英&fuzzymatching=true", "1"),
    ("PatientName=ing&fuzzymatching=true", ""),
    ("PatientName=wang*", "2"),
    ("ReferringPhysicianName=李主*", "1"),
    ("ReferringPhysicianName=李&fuzzymatching=true", "1"),
    ("StudyID=S1", "1"),
    ("StudyID=S?", "1"),
    ('AccessionNumber=""&emptyvaluematching=true', "4 3"),
    ('AccessionNumber=""', ""),
    ('StudyDate=""&emptyvaluematching=true', "3"),
    ("PatientID=P1%5CP2&multiplevaluematching=true", "2 1 4"),
    ("StudyDate=20260228-20260301&StudyTime=17-09", "1"),
    ("StudyDate=20260228-20260302&StudyTime=1500-1100", "1 4"),
    ("StudyDate=20260301-&StudyTime=09-", "2"),
    ("limit=2", "2 1"),
    ("limit=2&offset=1", "1 4"),
    ("limit=0", ""),
    ("offset=9", ""),
    ("includefield=StudyDescription,PatientSex", "2 1 4 3"),
]


def test_studies_found(reader: TestClient) -> None:
    """Worked out by hand from the four studies; newest first, without a date last."""
    for query, expected in FOUND:
        found = uids(reader.get(f"/dicom-web/studies?{query}"))
        assert [uid.rsplit(".", 1)[1] for uid in found] == expected.split(), query


IMPOSSIBLE = [
    "StudyDate=2026",
    "StudyDate=20261301",
    "StudyDate=-",
    "StudyTime=9",
    "limit=-1",
    "limit=x",
    "offset=1.5",
    "StudyInstanceUID=abc",
    "PatientID=a&PatientID=b",
    "fuzzymatching=maybe",
]


def test_impossible_values_are_refused_by_name(reader: TestClient) -> None:
    """PS3.18 section 8.3; the value is never repeated."""
    for query in IMPOSSIBLE:
        response = reader.get(f"/dicom-web/studies?{query}")
        assert (response.status_code, response.json()["code"]) == (400, "BadQuery"), query
        assert response.json()["message"].startswith(query.partition("=")[0])


def test_unsupported_parameters_are_ignored_and_named(reader: TestClient) -> None:
    """PS3.18 section 8.3: the origin server ignores them and may warn."""
    url = "/dicom-web/studies?PatientsName=x&SOPInstanceUID=1.2&a%0d%0ab=1&includefield=nonsense"
    response = reader.get(url)
    assert len(uids(response)) == 4
    warning = response.headers["warning"]
    assert "ignored: (unprintable), PatientsName, SOPInstanceUID, nonsense." in warning


def test_more_than_is_given_at_once(reader: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from hub.dicom import qido

    monkeypatch.setattr(qido, "MOST_ANYWHERE", 2)
    response = reader.get("/dicom-web/studies")
    assert len(uids(response)) == 2
    assert "Additional results can be requested" in response.headers["warning"]
    assert response.headers["X-Total-Count"] == "4"
    assert "warning" not in reader.get("/dicom-web/studies?limit=2").headers


TOTALS = [
    ("/studies", "4"),
    ("/studies?limit=1", "4"),
    ("/studies?limit=1&offset=3", "4"),
    ("/studies?limit=5&offset=9", "4"),
    ("/studies?PatientID=P1&limit=1", "2"),
    ("/studies?PatientName=王*&limit=1", "2"),
    ("/studies?PatientName=nobody", "0"),
    ("/studies?ModalitiesInStudy=DX&limit=1", "2"),
    ("/series?limit=2", "5"),
    ("/studies/1.2.2/series?limit=1", "2"),
    ("/studies/1.2.2/instances?limit=1", "4"),
    ("/instances?limit=1", "10"),
]


def test_how_many_there_are_altogether(reader: TestClient) -> None:
    """Counted by hand: five series, 2 + 3 + 1 + 2 + 2 instances."""
    for path, total in TOTALS:
        assert reader.get(f"/dicom-web{path}").headers["X-Total-Count"] == total, path
    # A condition that no index serves is not counted when the answer is full.
    assert "X-Total-Count" not in reader.get("/dicom-web/studies?PatientName=*英&limit=1").headers


def test_attributes_of_studies(reader: TestClient) -> None:
    """Oracle: PS3.18 Table 10.6.3-3; counts and modalities worked out by hand."""
    (study,) = reader.get("/dicom-web/studies?StudyInstanceUID=1.2.2").json()
    assert [(tag, study[tag]["vr"]) for tag, _ in STUDY_TABLE] == STUDY_TABLE
    assert study["00080005"]["Value"] == ["ISO_IR 192"]
    assert study["00080061"]["Value"] == ["CT", "SR"]
    assert (study["00201206"]["Value"], study["00201208"]["Value"]) == ([2], [4])
    assert study["00100010"]["Value"] == [{"Alphabetic": "WANG XIU YING"}]
    assert "Value" not in study["00080090"]
    (other,) = reader.get("/dicom-web/studies?StudyInstanceUID=1.2.1").json()
    assert other["00080090"]["Value"] == [{"Alphabetic": "李主任"}]
    assert other["00200010"]["Value"] == ["S1"]
    assert list(study) == sorted(study)


def test_attributes_of_series(reader: TestClient) -> None:
    """Oracle: PS3.18 Table 10.6.3-4; all series carry their study's attributes too."""
    first, second = reader.get("/dicom-web/studies/1.2.2/series").json()
    assert [(tag, first[tag]["vr"]) for tag, _ in SERIES_TABLE] == SERIES_TABLE
    assert [series["00201209"]["Value"] for series in (first, second)] == [[3], [1]]
    everywhere = reader.get("/dicom-web/series?Modality=SR&StudyInstanceUID=1.2.2").json()
    assert [(tag, everywhere[0][tag]["vr"]) for tag, _ in STUDY_TABLE] == STUDY_TABLE
    assert everywhere[0]["00080060"]["Value"] == ["SR"]
    assert uids(reader.get("/dicom-web/studies/1.2.2/series?SeriesNumber=2")) == ["1.2.2"]
    assert uids(reader.get("/dicom-web/studies/1.2.2/series?Modality=MR")) == []


REQUESTS = [
    ("RequestAttributesSequence.ScheduledProcedureStepID=SPS7", ["1.2.1"]),
    ("00400275.00401001=RP7", ["1.2.1"]),
    ("00400275.00400009=SPS?", ["1.2.1"]),
    ("00400275.00400009=SPS8", []),
    ("PerformedProcedureStepStartDate=20260301", ["1.2.1"]),
    ("PerformedProcedureStepStartDate=20260228-20260301&PerformedProcedureStepStartTime=09-0811", ["1.2.1"]),
    ("PerformedProcedureStepStartDate=20260302-", []),
]


def test_series_are_found_by_step_and_request(reader: TestClient) -> None:
    """The other required keys of the series level; a dot leads into a sequence (PS3.18 section 8.3.4.1)."""
    for query, expected in REQUESTS:
        assert uids(reader.get(f"/dicom-web/series?{query}")) == expected, query
    (series,) = reader.get("/dicom-web/studies/1.2.1/series").json()
    assert series["00400244"] == {"vr": "DA", "Value": ["20260301"]}
    assert series["00400245"] == {"vr": "TM", "Value": ["081000"]}
    (request,) = series["00400275"]["Value"]
    assert request["00400009"] == {"vr": "SH", "Value": ["SPS7"]}
    assert request["00401001"] == {"vr": "SH", "Value": ["RP7"]}


def test_instances_of_all_studies(reader: TestClient) -> None:
    """Each carries what identifies its series and its study (PS3.18 section 10.6.3.3.3)."""
    found = reader.get("/dicom-web/instances?Modality=SR").json()
    assert [item["0020000E"]["Value"] for item in found] == [["1.2.2.9"]]
    assert [(tag, found[0][tag]["vr"]) for tag, _ in STUDY_TABLE] == STUDY_TABLE
    assert [(tag, found[0][tag]["vr"]) for tag, _ in SERIES_TABLE] == SERIES_TABLE
    assert [(tag, found[0][tag]["vr"]) for tag, _ in INSTANCE_TABLE] == INSTANCE_TABLE
    sop_uid = found[0]["00080018"]["Value"][0]
    assert uids(reader.get(f"/dicom-web/instances?SOPInstanceUID={sop_uid}"), "00080018") == [sop_uid]
    assert uids(reader.get("/dicom-web/instances?limit=5")) == ["1.2.2"] * 4 + ["1.2.1"]


def test_attributes_of_instances(reader: TestClient) -> None:
    """Oracle: PS3.18 Table 10.6.3-5."""
    found = reader.get("/dicom-web/studies/1.2.2/instances?Modality=CT").json()
    assert len(found) == 3
    assert [(tag, found[0][tag]["vr"]) for tag, _ in INSTANCE_TABLE] == INSTANCE_TABLE
    assert [item["00200013"]["Value"] for item in found] == [[1], [2], [3]]
    assert found[0]["00201209"]["Value"] == [3]
    series = found[0]["0020000E"]["Value"][0]
    one = reader.get(f"/dicom-web/studies/1.2.2/series/{series}/instances?InstanceNumber=2&SOPClassUID={CT}")
    assert uids(one, "00080018") == [found[1]["00080018"]["Value"][0]]
    assert uids(reader.get("/dicom-web/studies/1.2.1/series/1.9/instances")) == []


def test_only_what_may_be_seen(county: World) -> None:
    doctor = county.client("doctor_lp")
    assert uids(doctor.get("/dicom-web/studies")) == ["1.2.4"]
    assert uids(doctor.get("/dicom-web/studies?StudyInstanceUID=1.2.1")) == []
    assert uids(doctor.get("/dicom-web/series")) == ["1.2.4"]
    for tail in ("/series", "/instances", "/series/1.2/instances"):
        assert doctor.get(f"/dicom-web/studies/1.2.1{tail}").status_code == 404
    other_site = f"/dicom-web/sites/{county.site_ids['DP']}/studies"
    assert uids(doctor.get(other_site)) == []
    assert county.client("admin1").get("/dicom-web/studies").status_code == 403
    assert county.client().get("/dicom-web/studies").status_code == 401


def test_same_uid_at_two_sites(county: World) -> None:
    """Both are listed, each with an address that leads to it; a bare UID is refused."""
    county.register("LP", study_uid="1.2.1", patient_name="赵六", local_id="Z")
    reader = county.client("writer1")
    found = reader.get("/dicom-web/studies?StudyInstanceUID=1.2.1").json()
    assert len(found) == 2
    assert reader.get("/dicom-web/studies/1.2.1/series").json()["code"] == "SeveralStudies"
    for study in found:
        (again,) = reader.get(
            study["00081190"]["Value"][0].rsplit("/", 1)[0] + "?StudyInstanceUID=1.2.1"
        ).json()
        assert again["00100010"] == study["00100010"]
        assert reader.get(study["00081190"]["Value"][0] + "/series").status_code == 200


def test_ecg_recordings_are_no_dicom_studies(county: World) -> None:
    uid = county.register_ecg()
    reader = county.client("writer1")
    assert uid not in uids(reader.get("/dicom-web/studies"))
    assert reader.get(f"/dicom-web/studies/{uid}/series").status_code == 404


MEDIA_TYPES = [
    ("application/dicom+json", 200, "application/dicom+json"),
    ("application/json", 200, "application/json"),
    ("text/html, */*;q=0.1", 200, "application/dicom+json"),
    ('multipart/related; type="application/dicom+xml"', 406, "application/json"),
]


def test_media_types(reader: TestClient) -> None:
    for accept, status, media_type in MEDIA_TYPES:
        response = reader.get("/dicom-web/studies", headers={"Accept": accept})
        assert (response.status_code, response.headers["content-type"]) == (status, media_type), accept


def test_dicomweb_client_searches(archive: Archive, address: str) -> None:
    """Oracle: dicomweb-client over a real connection."""
    import requests

    session = requests.Session()
    session.cookies.set(SESSION_COOKIE, archive.client().cookies[SESSION_COOKIE])
    client = DICOMwebClient(f"{address}/dicom-web", session=session)
    filed = archive.filed["CT_small.dcm"]
    (study,) = client.search_for_studies(search_filters={"StudyInstanceUID": filed.study_uid})
    assert study["00100010"]["Value"] == [{"Alphabetic": "CompressedSamples^CT1"}]
    (series,) = client.search_for_series(filed.study_uid)
    assert series["0020000E"]["Value"] == [filed.series_uid]
    (instance,) = client.search_for_instances(filed.study_uid, filed.series_uid, fields=["all"])
    assert instance["00280010"]["Value"] == [128]
    assert instance["00281052"]["Value"] == [-1024]
    assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []
    assert len(client.search_for_studies(get_remaining=True, limit=10)) == len(archive.filed)


def test_fields_beyond_the_index(archive: Archive) -> None:
    """Oracle: pydicom's own reading of the file."""
    filed = archive.filed["CT_small.dcm"]
    dataset = dcmread(filed.path)
    reader, study = archive.client(), f"{filed.root}/studies/{filed.study_uid}"
    (whole,) = reader.get(f"{study}/series/{filed.series_uid}/instances?includefield=all").json()
    expected = {
        f"{element.tag:08X}": element.VR
        for element in dataset
        if element.tag not in {0x7FE00010, 0xFFFCFFFC} and not element.tag.is_private
    }
    assert {tag: whole[tag]["vr"] for tag in expected if tag in whole} == {
        tag: vr for tag, vr in expected.items() if tag in whole
    }
    assert set(expected) - set(whole) <= {"FFFCFFFC"}
    assert "7FE00010" not in whole
    assert whole["00200032"]["Value"] == [float(value) for value in dataset.ImagePositionPatient]
    (of_study,) = reader.get(f"{filed.root}/studies?includefield=all").json()
    assert of_study["00101030"]["Value"] == [float(dataset.PatientWeight)]
    assert not {"00180050", "00280010", "00200013"} & set(of_study)
    (of_series,) = reader.get(f"{study}/series?includefield=Manufacturer,00180050").json()
    assert of_series["00080070"]["Value"] == [dataset.Manufacturer]
    assert "00180050" not in of_series
    outside = reader.get(f"{study}/series?includefield=Manufacturer,00180050").headers["warning"]
    assert "ignored: 00180050." in outside


def test_fields_within_sequences(sqlite_world: World) -> None:
    """Hand-made: two items, of which one attribute each is asked for."""
    dataset = dcmread(DATA / "CT_small.dcm")
    items = [Dataset(), Dataset()]
    for number, item in enumerate(items):
        item.ScheduledProcedureStepID, item.RequestedProcedureID = f"S{number}", f"R{number}"
        item.ScheduledProcedureStepDescription = "胸部"
    dataset.RequestAttributesSequence, dataset.SpecificCharacterSet = items, "GB18030"
    dataset.PatientName = "Wang^XiaoDong=王^小东"
    made = io.BytesIO()
    dataset.save_as(made)
    ingest.file_upload(sqlite_world.context, made, sqlite_world.origin(), "DP")
    reader = sqlite_world.client("writer1")
    root = "/dicom-web/instances?includefield="
    (found,) = reader.get(f"{root}RequestAttributesSequence.ScheduledProcedureStepDescription").json()
    assert found["00400275"]["Value"] == [
        {
            "00400007": {"vr": "LO", "Value": ["胸部"]},
            "00400009": {"vr": "SH", "Value": [f"S{number}"]},
            "00401001": {"vr": "SH", "Value": [f"R{number}"]},
        }
        for number in range(2)
    ]
    groups = {"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小东"}
    assert found["00100010"]["Value"] == [groups]
    for name in ("wang*", "王^小东", "Wang^Xiao*", "nobody=王小东"):
        assert len(uids(reader.get(f"/dicom-web/studies?PatientName={name}"))) == 1, name
    assert uids(reader.get("/dicom-web/studies?PatientName=dong*")) == []
