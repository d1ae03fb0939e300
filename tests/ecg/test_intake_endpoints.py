"""POST /api/v1/ecg: the door for every ECG format. Oracles: wfdb for facts, pydicom for UIDs."""

from typing import Any

import numpy as np
import pydicom
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from hub.auth.roles import Role
from hub.catalogue.models import Instance, Quarantined, Recording, Study
from hub.ecg.errors import HeaderMissing, NameTwice
from hub.ecg.grouping import group_files
from storage.errors import StoreUnreachable
from tests.ecg.oracles import by_wfdb, qrs_marks
from tests.ecg.records import DATA, load, ludb
from tests.fixtures.world import World

AF_DICOM = "ludb_88_12lead_gb18030.dcm"
PATIENT = {"patient_name": "王秀英", "local_id": "P1001", "sex": "F", "birth_date": "19580412"}


def post(client: TestClient, files: dict[str, bytes] | list[tuple[str, bytes]], **fields: str) -> Any:
    pairs = files.items() if isinstance(files, dict) else files
    return client.post(
        "/api/v1/ecg",
        files=[("files", (name, data, "application/octet-stream")) for name, data in pairs],
        data=fields,
    )


@pytest.fixture
def sender(sqlite_world: World) -> TestClient:
    return sqlite_world.client("tech_dp")


def count(world: World, model: type) -> int:
    with world.context.db.reading() as session:
        return len(session.scalars(select(model)).all())


def one_study(world: World) -> Study:
    with world.context.db.reading() as session:
        return session.scalars(select(Study)).one()


class TestWfdb:
    def test_answer_says_what_was_received(self, sqlite_world: World, sender: TestClient) -> None:
        answer = post(sender, ludb(88), **PATIENT)
        assert answer.status_code == 201
        (item,) = answer.json()["accepted"]
        record = by_wfdb(DATA / "ludb_88")
        assert (item["rate_hz"], item["n_samples"]) == (record.fs, record.sig_len)
        assert [lead.lower() for lead in item["leads"]] == [name.lower() for name in record.sig_name]
        exam = sqlite_world.exam_of(item["study_uid"])
        assert (item["format"], item["outcome"], item["exam_hint"]) == ("wfdb", "stored", exam.number)
        marks = qrs_marks(DATA / "ludb_88")  # by the record's cardiologists, in samples of 2 ms
        assert item["heart_rate_bpm"] == pytest.approx(60_000 / (2 * np.diff(marks).mean()), rel=0.03)
        assert item["study_uid"] == one_study(sqlite_world).study_uid

    def test_a_resend_names_the_exam(self, sqlite_world: World, sender: TestClient) -> None:
        post(sender, ludb(88), **PATIENT)
        sqlite_world.run_jobs()
        answer = post(sender, ludb(88), **PATIENT)
        (item,) = answer.json()["accepted"]
        exam = sqlite_world.exam_of(item["study_uid"])
        assert (answer.status_code, item["outcome"], item["exam_hint"]) == (201, "resent", exam.number)
        assert count(sqlite_world, Study) == 1

    def test_several_records_in_one_request(self, sqlite_world: World, sender: TestClient) -> None:
        answer = post(sender, {**ludb(45), **ludb(64), **load("JS20008.hea", "JS20008.mat")}, **PATIENT)
        assert [item["name"] for item in answer.json()["accepted"]] == [
            "ludb_45.hea",
            "ludb_64.hea",
            "JS20008.hea",
        ]
        assert count(sqlite_world, Recording) == 3

    def test_samples_without_header_are_refused_by_name(
        self, sqlite_world: World, sender: TestClient
    ) -> None:
        answer = post(sender, {"88.dat": ludb(88)["88.dat"]})
        assert answer.status_code == 422
        assert answer.json()["refused"][0]["name"] == "88.dat"
        assert answer.json()["code"] == "HeaderMissing"
        assert ".hea" in answer.json()["message"]
        assert count(sqlite_world, Study) == 0

    def test_one_good_one_bad(self, sender: TestClient) -> None:
        answer = post(sender, {**ludb(64), "note.pdf": b"%PDF-1.7"}, **PATIENT)
        assert answer.status_code == 201
        assert len(answer.json()["accepted"]) == 1
        (refused,) = answer.json()["refused"]
        assert (refused["name"], refused["code"]) == ("note.pdf", "UnknownFormat")
        assert "PDF 文档" in refused["message"]

    def test_missing_calibration_names_the_channel(self, sqlite_world: World, sender: TestClient) -> None:
        files = ludb(88)
        files["ludb_88.hea"] = files["ludb_88.hea"].replace(b"/mV", b"/xx")
        answer = post(sender, files)
        assert (answer.status_code, answer.json()["code"]) == (422, "UnitsMissing")
        assert "第 1 通道" in answer.json()["message"]
        assert list(sqlite_world.context.store.list()) == []

    def test_english(self, sender: TestClient) -> None:
        sender.cookies.set("hub_language", "en")
        answer = post(sender, {"x.png": b"\x89PNG\r\n"})
        assert answer.json()["message"] == "Not an ECG format that is read (it looks like: a PNG picture)"


class TestDicom:
    def test_one_object_whichever_door(self, sqlite_world: World, sender: TestClient) -> None:
        file = load(AF_DICOM)[AF_DICOM]
        first = post(sender, {"a.dcm": file})
        assert first.status_code == 201
        (item,) = first.json()["accepted"]
        assert item["study_uid"] == str(pydicom.dcmread(DATA / AF_DICOM).StudyInstanceUID)
        assert (item["format"], item["rate_hz"], len(item["leads"])) == ("dicom", 500.0, 12)
        other = sender.post("/api/v1/dicom", files=[("files", ("b.dcm", file))])
        assert other.json()["accepted"][0]["outcome"] == "resent"
        assert (count(sqlite_world, Instance), count(sqlite_world, Recording)) == (1, 0)
        sqlite_world.settle()
        assert sqlite_world.exam_of(item["study_uid"]).modality == "ECG"

    def test_chest_pain_reaches_the_exam(self, sqlite_world: World, sender: TestClient) -> None:
        item = post(sender, load(AF_DICOM), chest_pain="1").json()["accepted"][0]
        sqlite_world.settle()
        exam = sqlite_world.exam_of(item["study_uid"])
        assert (exam.urgency, exam.priority) == ("critical", 0)
        assert one_study(sqlite_world).clinical_question == "胸痛"

    def test_another_patient_than_entered_is_refused(self, sqlite_world: World, sender: TestClient) -> None:
        answer = post(sender, load(AF_DICOM), patient_name="欧阳不同", local_id="P9")
        assert (answer.status_code, answer.json()["code"]) == (422, "PatientDiffers")
        assert (count(sqlite_world, Study), count(sqlite_world, Quarantined)) == (0, 0)

    def test_an_order_number_joins_the_order(self, sqlite_world: World, sender: TestClient) -> None:
        ds = pydicom.dcmread(DATA / AF_DICOM)
        order = sqlite_world.order(
            modality="ECG",
            body_part="",
            local_id=ds.PatientID,
            name=str(ds.PatientName.components[0]).replace("^", "") or "x",
            sex=ds.PatientSex,
            birth_date="",
        )
        post(sender, load(AF_DICOM), accession=order.number)
        assert one_study(sqlite_world).accession in {order.number, str(ds.get("AccessionNumber", ""))}

    def test_no_ecg_is_refused_here(self, sqlite_world: World, sender: TestClient) -> None:
        ds = pydicom.dcmread(DATA / AF_DICOM)
        del ds.WaveformSequence
        from io import BytesIO

        out = BytesIO()
        ds.save_as(out)
        answer = post(sender, {"x.dcm": out.getvalue()})
        assert (answer.status_code, answer.json()["code"]) == (422, "NoLeads")
        assert count(sqlite_world, Study) == 0


class TestFields:
    def test_chest_pain_makes_it_critical_and_stands_in_the_question(
        self, sqlite_world: World, sender: TestClient
    ) -> None:
        post(
            sender,
            ludb(64),
            **PATIENT,
            urgency="routine",
            chest_pain="1",
            chest_pain_onset="2026-03-02T15:20",
            clinical_question="伴出汗",
        )
        study = one_study(sqlite_world)
        assert (study.urgency, study.clinical_question) == ("critical", "胸痛，始于 2026-03-02 15:20\n伴出汗")

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"urgency": "soon"}, "BadUrgency"),
            ({"chest_pain_onset": "yesterday"}, "BadOnset"),
            ({"chest_pain_onset": "2026-03-03T15:20"}, "BadOnset"),
            ({"sex": "X"}, "BadSex"),
            ({"birth_date": "19581345"}, "BadBirthDate"),
            ({"clinical_question": "x" * 2001}, "FieldTooLong"),
        ],
    )
    def test_impossible_ones_are_refused(
        self, sqlite_world: World, sender: TestClient, fields: dict[str, str], code: str
    ) -> None:
        answer = post(sender, ludb(64), **fields)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert count(sqlite_world, Study) == 0

    def test_the_order_is_hinted_at_before_its_exam_has_the_recording(
        self, sqlite_world: World, sender: TestClient
    ) -> None:
        order = sqlite_world.order(modality="ECG", body_part="")
        item = post(sender, ludb(88), accession=order.number).json()["accepted"][0]
        assert item["exam_hint"] == order.number


class TestWhoMay:
    def test_a_machine_of_the_site(self, sqlite_world: World) -> None:
        client = sqlite_world.client()
        client.headers["Authorization"] = f"Bearer {sqlite_world.token(Role.SENDER, 'LP')}"
        assert post(client, ludb(88), **PATIENT).status_code == 201
        assert one_study(sqlite_world).site_id == sqlite_world.site_ids["LP"]

    def test_not_for_another_site(self, sqlite_world: World, sender: TestClient) -> None:
        assert post(sender, ludb(88), site="LP").status_code == 404
        assert count(sqlite_world, Study) == 0

    @pytest.mark.parametrize("login", ["cardio1", "director1", "admin1", "auditor1"])
    def test_not_the_centre(self, sqlite_world: World, login: str) -> None:
        assert post(sqlite_world.client(login), ludb(88)).status_code == 403

    def test_nobody(self, sqlite_world: World) -> None:
        assert post(sqlite_world.client(), ludb(88)).status_code == 401

    def test_not_from_another_sites_page(self, sqlite_world: World) -> None:
        client = sqlite_world.client("tech_dp")
        del client.headers["X-CSRF-Token"]
        assert post(client, ludb(88)).status_code == 403


class TestLimits:
    def test_no_file(self, sender: TestClient) -> None:
        assert sender.post("/api/v1/ecg", data={"sex": "F"}, files=[("x", ("", b""))]).status_code in {
            400,
            422,
        }

    def test_no_form(self, sender: TestClient) -> None:
        assert sender.post("/api/v1/ecg", content=b"x").status_code == 400

    def test_total_size(self, sender: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hub.worklist.ecg_intake_endpoints.MAX_FILE_BYTES", 1000)
        answer = post(sender, ludb(88))
        assert (answer.status_code, answer.json()["code"]) == (413, "RecordingTooLarge")

    def test_large_requests_take_turns(self, sender: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hub.worklist.ecg_intake_endpoints.LARGE_BYTES", 1000)
        monkeypatch.setattr("hub.worklist.ecg_intake_endpoints.WAIT_SECONDS", 0.05)
        assert post(sender, ludb(88), **PATIENT).status_code == 201
        from hub.worklist import ecg_intake_endpoints

        with ecg_intake_endpoints._large:
            assert post(sender, ludb(64), **PATIENT).status_code == 503
        assert post(sender, ludb(64), **PATIENT).status_code == 201

    def test_store_down_is_worth_another_try(
        self, sqlite_world: World, sender: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def down(*_: object) -> None:
            raise StoreUnreachable("away")

        monkeypatch.setattr(type(sqlite_world.context.store), "put", down)
        answer = post(sender, ludb(88), **PATIENT)
        assert (answer.status_code, answer.json()["code"]) == (503, "StoreUnavailable")
        assert count(sqlite_world, Study) == 0


class TestGrouping:
    def test_case_and_folders_do_not_count(self) -> None:
        files = ludb(88)
        sent = [("card\\ECG\\88.DAT", files["88.dat"]), ("x/ludb_88.hea", files["ludb_88.hea"])]
        (group,), refusals = group_files(sent)
        assert (group.name, sorted(group.files), refusals) == ("ludb_88.hea", ["88.DAT", "ludb_88.hea"], [])

    def test_the_same_file_twice_is_one(self) -> None:
        files = list(ludb(88).items())
        groups, refusals = group_files([*files, *files])
        assert (len(groups), refusals) == (1, [])

    def test_two_files_of_one_name_are_both_refused(self) -> None:
        groups, refusals = group_files([("a/1.dat", b"x" * 99), ("b/1.dat", b"y" * 99)])
        assert groups == []
        assert [(r.name, type(r.error)) for r in refusals] == [("1.dat", NameTwice)]

    def test_marks_beside_a_record_are_refused_for_themselves(self) -> None:
        groups, refusals = group_files([*ludb(88).items(), *load("ludb_88.ii").items()])
        assert len(groups) == 1
        assert [refusal.name for refusal in refusals] == ["ludb_88.ii"]
        assert not isinstance(refusals[0].error, HeaderMissing)
