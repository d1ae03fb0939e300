"""Stored analyses, what they do to the worklist, readers' edits. Oracles: the engine itself, sums by hand."""

import io
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pydicom
import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.catalogue.models import Recording
from hub.ecg.analysis.analyse import analyse
from hub.ecg.analysis.model import QTC_FORMULAS
from hub.ecg.read import read_ecg
from hub.errors import Conflict
from hub.reports.figures import value_lines
from hub.web import i18n
from hub.worklist import ecg_analysis, ecg_intake
from hub.worklist import service as worklist
from hub.worklist.ecg_admission import Admission
from hub.worklist.ecg_turns import TURNS, AnalystGone
from hub.worklist.ecg_values import RANGES, UNITS, InForce, corrected, in_force
from hub.worklist.models import EcgAnalysis, EcgEdit, Exam, ExamStep
from hub.worklist.repository import Filter, WorklistRepository
from hub.worklist.tasks import LEFT_SECONDS, analyse_left
from tests.ecg.records import DATA, ludb
from tests.fixtures.world import World

DICOM = DATA / "ludb_88_12lead_gb18030.dcm"
PATIENT = {"patient_name": "王秀英", "local_id": "P1001", "sex": "F", "birth_date": "19580412"}


def slow(record: int = 64) -> dict[str, bytes]:
    """The record with a lower rate in its header: 65 beats a minute become 26, below every list's limit."""
    files = dict(ludb(record))
    name = f"ludb_{record}.hea"
    files[name] = re.sub(rb"^(\S+ 12) 500", rb"\1 200", files[name])
    return files


def again(record: int = 88) -> dict[str, bytes]:
    """The record under another header: taken again, as far as a hub can tell."""
    files = dict(ludb(record))
    return {**files, f"ludb_{record}.hea": files[f"ludb_{record}.hea"] + b"# taken again\n"}


def post(client: TestClient, files: dict[str, bytes], **fields: str) -> Any:
    sent = [("files", (name, content, "application/octet-stream")) for name, content in files.items()]
    return client.post("/api/v1/ecg", files=sent, data=fields)


def accepted(client: TestClient, files: dict[str, bytes], **fields: str) -> dict[str, Any]:
    answer = post(client, files, **fields)
    assert answer.status_code == 201, answer.text
    (item,) = answer.json()["accepted"]
    return item


def wait_until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rows(world: World, model: type) -> list:
    with world.context.db.reading() as session:
        return list(session.scalars(select(model).order_by(model.id)))


def order_of_list(world: World) -> list[str]:
    with world.context.db.reading() as session:
        found = WorklistRepository(session).rows(world.actor("cardio1"), Filter())
        return [row.patient_name for row in found]


@pytest.fixture
def sender(sqlite_world: World) -> TestClient:
    return sqlite_world.client("tech_dp")


@pytest.fixture
def reader(sqlite_world: World) -> TestClient:
    return sqlite_world.client("cardio1")


class TestOnReceipt:
    def test_what_is_stored_and_answered_is_what_the_engine_says(
        self, sqlite_world: World, sender: TestClient, reader: TestClient
    ) -> None:
        item = accepted(sender, ludb(88), **PATIENT)
        direct = analyse(read_ecg(ludb(88)), sex="F", age_years=64.9)
        (row,) = rows(sqlite_world, EcgAnalysis)
        assert (row.source_id, row.engine, row.error) == (item["source"], direct.engine, "")
        assert row.hr_bpm == direct.measurement.values["hr_bpm"].value
        assert item["quality"]["verdict"] == row.verdict == direct.quality.verdict
        assert item["heart_rate_bpm"] == round(row.hr_bpm, 1)
        body = reader.get(f"/api/v1/exams/{item['exam_hint']}/ecg/analysis").json()
        assert body["measurement"]["qrs_samples"] == [beat.sample for beat in direct.measurement.beats]
        assert [hint["rule"] for hint in body["hints"]] == [hint.rule for hint in direct.hints]
        assert len(body["median"]["leads"]) == len(direct.measurement.median.leads)
        assert (body["edits"], body["not_analysed"]) == ([], "")

    def test_a_bad_recording_is_to_be_repeated_and_says_why(self, sender: TestClient) -> None:
        files = dict(ludb(135))
        files["ludb_135.hea"] = re.sub(rb"^(\S+ 12) 500", rb"\1 1500", files["ludb_135.hea"])  # 3.3 s
        answer = post(sender, files, **PATIENT).json()
        (item,) = answer["accepted"]
        assert answer["repeat"] is item["repeat"] is True
        assert "too_short" in [finding["code"] for finding in item["quality"]["findings"]]
        assert "请在患者离开前重新采集" in answer["message"]
        assert "记录太短" in answer["message"]

    def test_an_analysis_that_fails_costs_nothing_but_itself(
        self,
        sqlite_world: World,
        sender: TestClient,
        reader: TestClient,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr("hub.ecg.analysis.analyse.analyse", broken)
        item = accepted(sender, ludb(88), **PATIENT)
        exam = sqlite_world.exam_of(item["study_uid"])
        assert (exam.state, exam.ecg_verdict, exam.priority) == ("complete", "failed", 2)
        assert (item["not_analysed"], item["quality"]) == ("ZeroDivisionError", None)
        body = reader.get(f"/api/v1/exams/{exam.id}/ecg/analysis").json()
        assert (body["not_analysed"], body["measurement"]) == ("ZeroDivisionError", None)
        assert "未能分析" in reader.get("/worklist").text

    def test_sent_again_it_is_not_analysed_again(self, sqlite_world: World, sender: TestClient) -> None:
        for _ in range(2):
            accepted(sender, ludb(88), **PATIENT)
        sqlite_world.settle()
        assert len(rows(sqlite_world, EcgAnalysis)) == 1

    def test_a_notice_that_a_reader_closed_stays_closed_when_it_is_sent_again(
        self, sqlite_world: World, sender: TestClient
    ) -> None:
        item = accepted(sender, ludb(88), **PATIENT)
        exam = sqlite_world.exam_of(item["study_uid"])
        with sqlite_world.context.db.transaction() as session:
            session.execute(update(Exam).values(state="claimed", created_at=exam.created_at))
            session.execute(update(ExamStep).values(at=exam.created_at - timedelta(days=1)))
        accepted(sender, ludb(88), **PATIENT)
        assert sqlite_world.exam(exam.id).late_objects == 0

    def test_while_another_is_analysed_the_sender_hears_that_it_follows(
        self, sqlite_world: World, sender: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ecg_intake, "TURN_SECONDS", 0.01)
        with TURNS.analysts[True].turn:
            item = accepted(sender, slow(), **PATIENT)
            assert item["not_analysed"] == "later"
            assert sqlite_world.exam_of(item["study_uid"]).priority == 2
        wait_until(lambda: sqlite_world.exam_of(item["study_uid"]).priority == 0)

    def test_what_was_left_behind_is_taken_up(
        self, sqlite_world: World, sender: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def gone(*_: object) -> None:
            raise AnalystGone

        monkeypatch.setattr(TURNS.analysts[True], "row", gone)
        item = accepted(sender, slow(), **PATIENT)
        assert (item["not_analysed"], item["outcome"]) == ("later", "stored")
        analyse_left(sqlite_world.context)
        assert {job.name for job in sqlite_world.run_jobs()} <= {"catalogue.note_studies"}
        sqlite_world.clock.advance(seconds=LEFT_SECONDS + 1)
        analyse_left(sqlite_world.context)
        sqlite_world.run_jobs()
        assert sqlite_world.exam_of(item["study_uid"]).priority == 0
        analyse_left(sqlite_world.context)
        assert sqlite_world.run_jobs() == []

    def test_an_exam_that_cannot_be_opened_at_once_is_opened_by_a_job(
        self, sqlite_world: World, sender: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def taken(*_: object, **__: object) -> None:
            raise Conflict

        with monkeypatch.context() as broken:
            broken.setattr("hub.worklist.matching.open_exam", taken)
            item = accepted(sender, ludb(88), **PATIENT)
        assert (item["outcome"], item["exam_hint"]) == ("stored", "")
        sqlite_world.run_jobs()
        assert sqlite_world.exam_of(item["study_uid"]).state == "complete"

    def test_a_device_over_dicom_gets_its_place_when_it_first_appears(
        self, sqlite_world: World, sender: TestClient
    ) -> None:
        dataset = pydicom.dcmread(DICOM)
        for group in dataset.WaveformSequence:
            group.SamplingFrequency = "150"  # 89 beats a minute become 27
        out = io.BytesIO()
        dataset.save_as(out)
        sent = sender.post("/api/v1/dicom", files=[("files", ("a.dcm", out.getvalue()))])
        assert sent.json()["accepted"], sent.text
        sqlite_world.run_jobs()
        (exam,) = rows(sqlite_world, Exam)
        assert (exam.priority, exam.hint_level, exam.hint_rules) == (0, "critical", ["pause", "rate_low"])
        assert exam.due_at is not None
        assert (exam.due_at - exam.complete_at).total_seconds() == 600


class TestPlace:
    def test_pain_then_hints_and_urgent_ones_then_routine(
        self, sqlite_world: World, sender: TestClient
    ) -> None:
        clock = sqlite_world.clock
        said = [
            ("routine", ludb(135), {}),
            ("hinted", slow(), {}),
            ("marked", ludb(45), {"urgency": "critical"}),
            ("pained", ludb(88), {"chest_pain_onset": "2026-03-02T15:20"}),
        ]
        for number, (name, files, fields) in enumerate(said):
            accepted(sender, files, patient_name=name, local_id=f"P{number}", **fields)
            clock.advance(minutes=1)
        assert order_of_list(sqlite_world) == ["pained", "hinted", "marked", "routine"]
        exams = {exam.priority for exam in rows(sqlite_world, Exam)[1:]}
        assert exams == {0}
        page = sqlite_world.client("cardio1").get("/worklist").text
        assert "胸痛 2026-03-02 15:20 起" in page
        assert "机器提示：心室率很慢" in page
        assert "机器·" in page

    def test_dismissed_hints_order_no_longer_and_stay_to_be_seen(
        self, sqlite_world: World, sender: TestClient, reader: TestClient
    ) -> None:
        item = accepted(sender, slow(), **PATIENT)
        exam = sqlite_world.exam_of(item["study_uid"])
        assert reader.post(f"/exams/{exam.id}/hints/dismiss").status_code == 303
        exam = sqlite_world.exam(exam.id)
        assert (exam.priority, exam.hint_level, exam.hint_dismissed_by) == (2, "critical", "罗心电")
        assert (exam.due_at - exam.complete_at).total_seconds() == 30 * 60
        assert reader.post(f"/exams/{exam.id}/hints/dismiss").status_code == 409
        assert [e.facts["rules"] for e in rows(sqlite_world, AuditEvent) if e.tag == Tag.HINT_DISMISS] == [
            "rate_low"
        ]

    def test_more_than_was_dismissed_orders_again(self, sqlite_world: World, sender: TestClient) -> None:
        item = accepted(sender, slow(), **PATIENT)
        exam_id = sqlite_world.exam_of(item["study_uid"]).id
        sqlite_world.client("cardio1").post(f"/exams/{exam_id}/hints/dismiss")
        with sqlite_world.context.db.transaction() as session:
            row = session.scalars(select(EcgAnalysis)).one()
            row.hint_rules = ["rate_low", "vf_like"]
            session.flush()
            exam = session.get(Exam, exam_id)
            ecg_analysis.mark(session, sqlite_world.context, exam)
        exam = sqlite_world.exam(exam_id)
        assert (exam.hint_dismissed_at, exam.priority) == (None, 0)

    @pytest.mark.parametrize(("login", "status"), [("writer1", 403), ("director1", 403), ("tech_dp", 403)])
    def test_only_who_reads_ecgs_dismisses(
        self, sqlite_world: World, sender: TestClient, login: str, status: int
    ) -> None:
        item = accepted(sender, slow(), **PATIENT)
        exam = sqlite_world.exam_of(item["study_uid"])
        assert sqlite_world.client(login).post(f"/exams/{exam.id}/hints/dismiss").status_code == status
        assert sqlite_world.exam(exam.id).priority == 0

    def test_urgent_ones_overtake_a_crowd(self, sqlite_world: World, sender: TestClient) -> None:
        sqlite_world.app.state.ecg_admission = Admission(at_once=0)  # no routine ECG gets in any more
        assert accepted(sender, slow(), **PATIENT)["outcome"] == "stored"  # suspicious
        assert accepted(sender, ludb(88), **PATIENT, chest_pain="1")["outcome"] == "stored"


class TestSecondRecording:
    """Taken again because the first was bad: one order, one exam, two recordings."""

    def both(self, world: World, sender: TestClient, **second: str) -> tuple[dict, dict, Exam]:
        order = world.order(modality="ECG", body_part="")
        one = accepted(sender, ludb(88), accession=order.number)
        world.clock.advance(minutes=2)
        two = accepted(sender, again(), accession=order.number, **second)
        world.run_jobs()
        return one, two, world.exam(order.id)

    def test_joins_the_first(self, sqlite_world: World, sender: TestClient) -> None:
        one, two, exam = self.both(sqlite_world, sender)
        assert one["study_uid"] == two["study_uid"]
        assert one["exam_hint"] == two["exam_hint"] == exam.number
        assert len(rows(sqlite_world, Recording)) == 2
        assert [(each.state, each.order_id) for each in rows(sqlite_world, Exam)] == [
            ("complete", exam.order_id)
        ]
        assert len(rows(sqlite_world, EcgAnalysis)) == 2

    def test_pain_told_with_the_second_raises_the_exam(self, sqlite_world: World, sender: TestClient) -> None:
        _, _, exam = self.both(sqlite_world, sender, chest_pain="1")
        assert (exam.priority, exam.chest_pain, exam.urgency) == (0, True, "critical")
        assert (exam.due_at - exam.received_at).total_seconds() == 600

    def test_another_patient_does_not_join(self, sqlite_world: World, sender: TestClient) -> None:
        one, two, exam = self.both(sqlite_world, sender, patient_name="李建国", sex="M")
        assert one["study_uid"] != two["study_uid"]
        other = sqlite_world.exam_of(two["study_uid"])
        assert (other.state, other.candidate_order_id) == ("unmatched", exam.order_id)
        assert sorted(other.conflicts) == ["name", "sex"]

    def test_a_reader_at_work_is_told_of_it(self, sqlite_world: World, sender: TestClient) -> None:
        order = sqlite_world.order(modality="ECG", body_part="")
        accepted(sender, ludb(88), accession=order.number)
        with sqlite_world.context.db.transaction() as session:
            actor, settings = sqlite_world.actor("cardio1"), sqlite_world.context.settings
            worklist.claim(session, actor, order.id, settings=settings, now=sqlite_world.clock())
        sqlite_world.clock.advance(minutes=1)
        accepted(sender, again(), accession=order.number)
        exam = sqlite_world.exam(order.id)
        assert (exam.state, exam.late_objects) == ("claimed", 1)

    def test_nothing_joins_what_is_signed(self, sqlite_world: World, sender: TestClient) -> None:
        order = sqlite_world.order(modality="ECG", body_part="")
        accepted(sender, ludb(88), accession=order.number)
        with sqlite_world.context.db.transaction() as session:
            session.execute(update(Exam).where(Exam.id == order.id).values(state="signed"))
        two = accepted(sender, again(), accession=order.number)
        sqlite_world.run_jobs()
        assert sqlite_world.exam_of(two["study_uid"]).conflicts == ["order_taken"]

    def test_a_rejected_one_comes_back_with_both(self, sqlite_world: World, sender: TestClient) -> None:
        order = sqlite_world.order(modality="ECG", body_part="")
        accepted(sender, ludb(88), accession=order.number)
        sqlite_world.clock.advance(minutes=1)
        with sqlite_world.context.db.transaction() as session:
            actor = sqlite_world.actor("cardio1")
            worklist.reject(session, actor, order.id, code="lead_off", text="V2", now=sqlite_world.clock())
        sqlite_world.clock.advance(minutes=1)
        accepted(sender, again(), accession=order.number)
        assert sqlite_world.exam(order.id).state == "complete"
        assert len(rows(sqlite_world, Exam)) == 1


class TestRenewal:
    def test_a_newer_engine_adds_a_row_and_keeps_the_old(
        self, sqlite_world: World, sender: TestClient, reader: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        item = accepted(sender, ludb(88), **PATIENT)
        monkeypatch.setattr("hub.ecg.analysis.analyse.ENGINE", "99.0")
        address = f"/api/v1/exams/{item['exam_hint']}/ecg/analysis"
        assert reader.get(address).json()["engine"] == "99.0"
        reader.get(address)
        assert len(rows(sqlite_world, EcgAnalysis)) == 2

    def test_once_signed_what_was_seen_stays(
        self, sqlite_world: World, sender: TestClient, reader: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        item = accepted(sender, ludb(88), **PATIENT)
        with sqlite_world.context.db.transaction() as session:
            session.execute(update(Exam).values(state="signed"))
        monkeypatch.setattr("hub.ecg.analysis.analyse.ENGINE", "99.0")
        body = reader.get(f"/api/v1/exams/{item['exam_hint']}/ecg/analysis").json()
        assert body["engine"] != "99.0"


class TestEdits:
    @pytest.fixture
    def held(self, sqlite_world: World, sender: TestClient) -> str:
        item = accepted(sender, ludb(88), **PATIENT)
        exam = sqlite_world.exam_of(item["study_uid"])
        with sqlite_world.context.db.transaction() as session:
            actor, settings = sqlite_world.actor("cardio1"), sqlite_world.context.settings
            worklist.claim(session, actor, exam.id, settings=settings, now=sqlite_world.clock())
        return f"/api/v1/exams/{exam.id}/ecg"

    def test_kept_beside_what_was_measured_and_taken_back(
        self, sqlite_world: World, reader: TestClient, held: str
    ) -> None:
        before = reader.get(f"{held}/analysis")
        measured = before.json()["measurement"]["qrs_ms"]
        sent = {"source": "", "name": "qrs_ms", "value": 111.0, "reason": "V1 起点"}
        body = reader.post(f"{held}/edits", json=sent).json()
        assert body["measurement"]["qrs_ms"] == measured
        (edit,) = body["edits"]
        assert (edit["value"], edit["was"], edit["unit"], edit["by"]) == (111.0, measured, "ms", "罗心电")
        after = reader.get(f"{held}/analysis", headers={"if-none-match": before.headers["etag"]})
        assert after.status_code == 200
        again = reader.get(f"{held}/analysis", headers={"if-none-match": after.headers["etag"]})
        assert again.status_code == 304
        body = reader.post(f"{held}/edits", json=sent | {"value": None}).json()
        assert [(each["value"], each["was"]) for each in body["edits"]] == [(111.0, measured), (None, 111.0)]
        found = in_force({"measurement": body["measurement"]}, rows(sqlite_world, EcgEdit))
        assert found["qrs_ms"] == InForce(measured)
        assert [e.tag for e in rows(sqlite_world, AuditEvent)].count(Tag.ECG_EDIT) == 2

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            ({"name": "qrs_ms", "value": 1.0}, "ValueImpossible"),
            ({"name": "qrs_ms", "lead": "V1", "value": 90.0}, "ValueUnknown"),
            ({"name": "st_j_uv", "value": 90.0}, "ValueUnknown"),
            ({"name": "st_j_uv", "lead": "X9", "value": 90.0}, "ValueUnknown"),
            ({"name": "nothing", "value": 90.0}, "ValueUnknown"),
        ],
    )
    def test_impossible_ones_are_refused(
        self, sqlite_world: World, reader: TestClient, held: str, sent: dict, code: str
    ) -> None:
        answer = reader.post(f"{held}/edits", json=sent)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert rows(sqlite_world, EcgEdit) == []

    def test_of_one_lead(self, reader: TestClient, held: str) -> None:
        sent = {"name": "st_j60_uv", "lead": "V2", "value": 210.0}
        body = reader.post(f"{held}/edits", json=sent).json()
        assert body["edits"][0]["was"] == body["measurement"]["st_uv"]["V2"]["j60"]

    def test_nobody_else_and_not_after_signature(
        self, sqlite_world: World, reader: TestClient, held: str
    ) -> None:
        sent = {"name": "qrs_ms", "value": 111.0}
        for login, status in (("writer1", 409), ("reviewer1", 403), ("doctor_dp", 403), ("director1", 403)):
            assert sqlite_world.client(login).post(f"{held}/edits", json=sent).status_code == status
        with sqlite_world.context.db.transaction() as session:
            session.execute(update(Exam).values(state="signed"))
        assert reader.post(f"{held}/edits", json=sent).status_code == 409
        assert rows(sqlite_world, EcgEdit) == []

    def test_rows_are_only_added(self, sqlite_world: World, reader: TestClient, held: str) -> None:
        reader.post(f"{held}/edits", json={"name": "qrs_ms", "value": 111.0})
        with pytest.raises(DBAPIError, match="append-only"):
            self.change(sqlite_world)

    def change(self, world: World) -> None:
        with world.context.db.transaction() as session:
            session.execute(update(EcgEdit).values(value=90.0))


class TestEarlier:
    def test_the_same_identity_only(
        self, sqlite_world: World, sender: TestClient, reader: TestClient
    ) -> None:
        first = accepted(sender, ludb(88), **PATIENT)
        accepted(sender, ludb(45), patient_name="李建国", local_id="P2", sex="M")
        other_site = sqlite_world.client("doctor_lp")
        accepted(other_site, ludb(135), **PATIENT)  # the same number at another site is another identity
        latest = accepted(sender, ludb(64), **PATIENT)
        (earlier,) = reader.get(f"/api/v1/exams/{latest['exam_hint']}/ecg/earlier").json()
        assert (earlier["number"], earlier["source"]) == (first["exam_hint"], first["source"])
        assert round(earlier["hr_bpm"], 1) == first["heart_rate_bpm"]
        assert other_site.get(f"/api/v1/exams/{latest['exam_hint']}/ecg/earlier").status_code == 404
        assert other_site.get(f"/api/v1/exams/{latest['exam_hint']}/ecg/analysis").status_code == 404


class TestValues:
    def test_every_value_has_a_range_and_a_unit(self) -> None:
        assert RANGES.keys() == UNITS.keys()

    def test_corrected_qt_by_hand(self) -> None:
        """QT 400 ms at 75 beats a minute: RR 0.8 s; the four formulas on a pocket calculator."""
        found = [round(corrected(400, 75, name), 1) for name in QTC_FORMULAS]
        assert found == [447.2, 430.9, 430.8, 426.2]

    def test_a_corrected_qt_follows_the_readers_qt(self) -> None:
        document = {"measurement": {"hr_bpm": 75.0, "qt_ms": 380.0, "qtc_ms": {"bazett": 424.9}}}
        edit = EcgEdit(name="qt_ms", lead="", value=400.0)
        found = in_force(document, [edit])
        assert found["qt_ms"] == InForce(400.0, edited=True)
        assert round(found["qtc_bazett_ms"].value or 0, 1) == 447.2
        own = EcgEdit(name="qtc_bazett_ms", lead="", value=450.0)
        assert in_force(document, [edit, own])["qtc_bazett_ms"] == InForce(450.0, edited=True)

    def test_the_printed_lines_keep_machine_and_reader_apart(self) -> None:
        values = dict.fromkeys(UNITS, InForce(None)) | {
            "hr_bpm": InForce(74.6),
            "qrs_ms": InForce(111.0, edited=True),
        }
        assert value_lines(values, i18n.translator("zh-CN")) == (
            "机器测量（仅供参考）：心率 75 次/分",
            "医师修正：QRS 111 ms",
        )
