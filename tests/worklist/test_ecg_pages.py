"""Looking at ECGs. Oracle for samples: wfdb-python; for scale: the millimetres written in the SVG."""

import base64
import json
import re
from html import unescape
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from sqlalchemy import func, select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.ecg.ingest import EcgDetails, receive
from hub.worklist.models import Exam
from tests.ecg.oracles import by_wfdb
from tests.ecg.records import DATA, load, ludb, wfdb_record
from tests.fixtures.world import World

PART = {"HX-Request": "true"}
HER = EcgDetails("王秀英", "P1001", "F", "19580412")


def sent(world: World, files: dict[str, bytes], site: str = "DP", details: EcgDetails = HER) -> Exam:
    receipt = receive(world.context, files, world.origin(site), site, details=details)
    world.run_jobs()
    return world.exam_of(receipt.study_uid, site)


def views(world: World) -> list[tuple[str, str | None]]:
    with world.context.db.reading() as session:
        rows = session.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.STUDY_VIEW)).all()
        return [(row.subject_kind, row.subject_id) for row in rows]


def long_record(seconds: int) -> dict[str, bytes]:
    wave = np.zeros((seconds * 500, 12), dtype="int16")
    names = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    return wfdb_record(wave, names=names)


class TestSheets:
    def test_true_to_scale_with_the_machines_rate_apart(self, world: World) -> None:
        exam = sent(world, ludb(88))
        page = world.client("cardio1").get(f"/exams/{exam.id}/ecg", headers=PART)
        assert page.status_code == 200
        assert "<html" not in page.text
        assert '<svg xmlns="http://www.w3.org/2000/svg" width="277mm"' in page.text
        machine = re.search(r'<div class="machine[^>]*>(.*?)</div>', page.text, re.DOTALL)
        assert machine
        assert "机器测量" in machine[1]
        assert "500 Hz" in machine[1]
        device = re.search(r'<details class="machine.*?</details>', page.text, re.DOTALL)
        assert device
        assert "Rhythm: Atrial fibrillation." in device[0]
        assert views(world) == [("study", exam.study_id)]

    def test_opened_by_itself_it_is_a_page_to_print(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, ludb(88))
        page = sqlite_world.client("cardio1").get(f"/exams/{exam.id}/ecg")
        assert "<html" in page.text
        assert "Ctrl+P" in page.text

    def test_english(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, ludb(88))
        client = sqlite_world.client("cardio1")
        client.cookies.set("hub_language", "en")
        assert "measured by machine" in client.get(f"/exams/{exam.id}/ecg", headers=PART).text

    @pytest.mark.parametrize("layout", ["3x4+1", "6x2", "12x1"])
    def test_layouts(self, sqlite_world: World, layout: str) -> None:
        exam = sent(sqlite_world, ludb(88))
        page = sqlite_world.client("cardio1").get(
            f"/exams/{exam.id}/ecg", params={"layout": layout}, headers=PART
        )
        shown = layout.replace("x", "×")
        assert f"10 mm/mV · {shown}" in page.text
        assert re.findall(r'aria-current="true">([^<]*)<', page.text) == [shown]

    def test_speed_gain_and_cabrera_order(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, ludb(88))
        client = sqlite_world.client("cardio1")
        wanted = {"layout": "6x2", "speed": "50", "gain": "20", "cabrera": "true"}
        page = client.get(f"/exams/{exam.id}/ecg", params=wanted, headers=PART).text
        assert "50 mm/s · 20 mm/mV · 6×2" in page
        assert ">-aVR</text>" in page
        assert "所示 0–5 秒" in page

    def test_the_script_is_told_what_it_may_show_and_change(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, ludb(88))
        client = sqlite_world.client("cardio1")
        before = client.get(f"/exams/{exam.id}/ecg", headers=PART).text
        assert 'data-may-edit="false"' in before  # nobody holds the exam
        client.post(f"/exams/{exam.id}/claim")
        page = client.get(f"/exams/{exam.id}/ecg", headers=PART).text
        assert 'data-may-edit="true"' in page
        (sources,) = re.findall(r'data-sources="([^"]*)"', page)
        (source,) = json.loads(unescape(sources))
        assert "王秀英" in source["header"][0]
        answer = client.get(f"/api/v1/exams/{exam.id}/ecg.json", params={"source": source["id"]})
        assert answer.json()["source"] == source["id"]

    def test_scaled_to_the_width_says_so(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, ludb(88))
        client = sqlite_world.client("cardio1")
        assert "不是真实毫米" in client.get(f"/exams/{exam.id}/ecg?fit=true", headers=PART).text
        assert "不是真实毫米" not in client.get(f"/exams/{exam.id}/ecg", headers=PART).text

    def test_what_does_not_fit_on_a_sheet_can_be_reached(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, long_record(25))
        client = sqlite_world.client("cardio1")
        first = client.get(f"/exams/{exam.id}/ecg", headers=PART).text
        assert "start=10.0" in first
        assert "所示 0–10 秒" in first
        last = client.get(f"/exams/{exam.id}/ecg?start=999", headers=PART).text
        assert "所示 20–25 秒" in last
        assert "后 10 秒" not in last

    def test_exactly_ten_seconds_have_no_second_sheet(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, long_record(10))
        assert (
            "后 10 秒" not in sqlite_world.client("cardio1").get(f"/exams/{exam.id}/ecg", headers=PART).text
        )

    def test_leads_that_are_not_drawn_are_named(self, sqlite_world: World) -> None:
        wave = np.zeros((5000, 3), dtype="int16")
        exam = sent(sqlite_world, wfdb_record(wave, names=("I", "II", "V7")))
        text = sqlite_world.client("cardio1").get(f"/exams/{exam.id}/ecg", headers=PART).text
        assert "未画出的导联：V7" in text
        assert "未记录的导联：V1, V2, V3, V4, V5, V6" in text

    def test_a_file_of_another_sex_than_the_exam_is_shouted_about(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, ludb(135))  # <sex>: M in the header, entered as F
        text = sqlite_world.client("cardio1").get(f"/exams/{exam.id}/ecg", headers=PART).text
        assert "与本检查不一致（性别）" in text
        assert "填写的性别与文件中的不一致" in text

    def test_dicom(self, sqlite_world: World) -> None:
        name = "ludb_88_12lead_gb18030.dcm"
        client = sqlite_world.client("tech_dp")
        uid = client.post("/api/v1/ecg", files=[("files", (name, load(name)[name]))]).json()["accepted"][0]
        sqlite_world.settle()
        exam = sqlite_world.exam_of(uid["study_uid"])
        page = sqlite_world.client("cardio1").get(f"/exams/{exam.id}/ecg", headers=PART)
        assert 'width="277mm"' in page.text
        assert "DICOM" in page.text

    def test_an_unreadable_one_shows_its_reason(self, sqlite_world: World) -> None:
        exam = sqlite_world.complete_ecg()  # 64 random bytes
        page = sqlite_world.client("cardio1").get(f"/exams/{exam.id}/ecg", headers=PART)
        assert page.status_code == 200
        assert "无法显示此心电图：不是可读取的心电文件格式" in page.text
        assert views(sqlite_world) == []  # signing asks whether the tracing was seen

    def test_store_down_shows_its_reason(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, ludb(88))
        for stat in list(sqlite_world.context.store.list()):
            sqlite_world.context.store.delete(stat.key)
        page = sqlite_world.client("cardio1").get(f"/exams/{exam.id}/ecg", headers=PART)
        assert (page.status_code, "存储暂时不可用" in page.text) == (200, True)

    def test_an_exam_without_any(self, sqlite_world: World) -> None:
        exam = sqlite_world.order(modality="ECG", body_part="")
        page = sqlite_world.client("cardio1").get(f"/exams/{exam.id}/ecg", headers=PART)
        assert "尚无心电记录" in page.text

    def test_hostile_text_stays_text(self, sqlite_world: World) -> None:
        files = ludb(88)
        files["ludb_88.hea"] += b"\n# <script>alert(1)</script>\n"
        details = EcgDetails("<img src=x onerror=alert(1)>", "P1001", "F", "19580412")
        exam = sent(sqlite_world, files, details=details)
        text = sqlite_world.client("cardio1").get(f"/exams/{exam.id}/ecg", headers=PART).text
        assert re.findall(r"<script[^>]*>", text) == ['<script type="application/json" data-island-text>']
        assert "<img" not in text
        assert "&lt;script&gt;" in text


class TestComparing:
    def test_an_earlier_ecg_of_the_same_patient(self, world: World) -> None:
        old, new = sent(world, ludb(64)), sent(world, ludb(88))
        page = world.client("cardio1").get(f"/exams/{new.id}/ecg", params={"compare": old.id}, headers=PART)
        assert page.text.count("<article") == 2
        assert f"· {old.number}" in page.text
        assert {subject for _, subject in views(world)} == {old.study_id, new.study_id}

    def test_never_another_patients(self, sqlite_world: World) -> None:
        old = sent(sqlite_world, ludb(64), details=EcgDetails("李建国", "P2", "F"))
        new = sent(sqlite_world, ludb(88))
        client = sqlite_world.client("cardio1")
        assert client.get(f"/exams/{new.id}/ecg?compare={old.id}", headers=PART).status_code == 404


class TestSvg:
    def test_a_picture_without_script_in_millimetres(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, ludb(88))
        answer = sqlite_world.client("doctor_dp").get(f"/api/v1/exams/{exam.id}/ecg.svg?layout=6x2")
        assert answer.headers["content-type"].startswith("image/svg+xml")
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        root = ET.fromstring(answer.text)
        assert root.get("width") == "277mm"
        assert "王秀英" in answer.text
        assert not [node for node in root.iter() if node.tag.endswith(("script", "foreignObject"))]
        assert views(sqlite_world) == [("study", exam.study_id)]

    def test_known_by_its_tag_until_something_changes(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, ludb(88))
        client = sqlite_world.client("cardio1")
        url = f"/api/v1/exams/{exam.id}/ecg.svg"
        tag = client.get(url).headers["etag"]
        again = client.get(url, headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(f"{url}?layout=12x1", headers={"If-None-Match": tag}).status_code == 200
        assert client.get(f"{url}?start=1", headers={"If-None-Match": tag}).status_code == 200

    def test_unknown_source_and_layout(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, ludb(88))
        client = sqlite_world.client("cardio1")
        assert client.get(f"/api/v1/exams/{exam.id}/ecg.svg?source=nope").status_code == 404
        assert client.get(f"/api/v1/exams/{exam.id}/ecg.svg?layout=nope").status_code == 422
        assert client.get(f"/exams/{exam.id}/ecg?layout=nope", headers=PART).status_code == 422
        assert client.get(f"/api/v1/exams/{exam.id}/ecg.svg?speed=30").status_code == 422
        assert client.get(f"/api/v1/exams/{exam.id}/ecg.svg?gain=nan").status_code == 422

    def test_an_unreadable_one_is_refused_by_name(self, sqlite_world: World) -> None:
        exam = sqlite_world.complete_ecg()
        answer = sqlite_world.client("cardio1").get(f"/api/v1/exams/{exam.id}/ecg.svg")
        assert (answer.status_code, answer.json()["code"]) == (422, "UnknownFormat")


def millivolts(lead: dict[str, Any], missing: int) -> np.ndarray:
    stored = np.frombuffer(base64.b64decode(lead["samples"]), dtype="<i2").astype(float)
    return np.where(stored == missing, np.nan, stored * lead["mv_per_unit"])


class TestSamples:
    @pytest.mark.parametrize(("files", "record"), [("ludb_88", 88), ("ludb_45", 45)])
    def test_as_wfdb_reads_them(self, sqlite_world: World, files: str, record: int) -> None:
        exam = sent(sqlite_world, ludb(record))
        answer = sqlite_world.client("cardio1").get(f"/api/v1/exams/{exam.id}/ecg.json").json()
        truth = by_wfdb(DATA / files).p_signal
        ours = np.column_stack([millivolts(lead, answer["missing"]) for lead in answer["leads"]])
        assert answer["rate_hz"] == 500
        assert ours.shape == truth.shape
        assert all(lead["exact"] for lead in answer["leads"])
        np.testing.assert_allclose(ours, truth, atol=1e-9)

    def test_a_stretch(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, ludb(88))
        url = f"/api/v1/exams/{exam.id}/ecg.json"
        part = sqlite_world.client("cardio1").get(f"{url}?start=2.5&seconds=1").json()
        truth = by_wfdb(DATA / "ludb_88").p_signal[1250:1750]
        assert (part["first_sample"], part["n_samples"], part["n_samples_total"]) == (1250, 500, 5000)
        ours = np.column_stack([millivolts(lead, part["missing"]) for lead in part["leads"]])
        np.testing.assert_allclose(ours, truth, atol=1e-9)

    def test_formats_wider_than_16_bits_are_scaled_and_say_so(self, sqlite_world: World) -> None:
        names = [f"binformats.{end}" for end in ("hea", *(f"d{n}" for n in range(10)))]
        exam = sent(sqlite_world, load(*names))
        answer = sqlite_world.client("cardio1").get(f"/api/v1/exams/{exam.id}/ecg.json").json()
        truth = by_wfdb(DATA / "binformats").p_signal
        for column, lead in enumerate(answer["leads"]):
            ours = millivolts(lead, answer["missing"])
            tolerance = 1e-6 if lead["exact"] else 0.51 * lead["mv_per_unit"]
            np.testing.assert_allclose(ours, truth[: len(ours), column], atol=tolerance)
        assert not all(lead["exact"] for lead in answer["leads"])

    @pytest.mark.parametrize("query", ["seconds=0", "seconds=9999", "start=-1", "start=nan", "seconds=nan"])
    def test_impossible_stretches(self, sqlite_world: World, query: str) -> None:
        exam = sent(sqlite_world, ludb(88))
        assert (
            sqlite_world.client("cardio1").get(f"/api/v1/exams/{exam.id}/ecg.json?{query}").status_code == 422
        )


class TestWhoMay:
    PATHS = ("/exams/{}/ecg", "/api/v1/exams/{}/ecg.svg", "/api/v1/exams/{}/ecg.json")

    @pytest.mark.parametrize("path", PATHS)
    def test_the_site_itself_and_readers(self, sqlite_world: World, path: str) -> None:
        exam = sent(sqlite_world, ludb(88))
        for login in ("tech_dp", "doctor_dp", "cardio1", "director1"):
            assert sqlite_world.client(login).get(path.format(exam.id), headers=PART).status_code == 200

    @pytest.mark.parametrize("path", PATHS)
    def test_another_site_does_not_know_it(self, sqlite_world: World, path: str) -> None:
        exam = sent(sqlite_world, ludb(88))
        assert sqlite_world.client("doctor_lp").get(path.format(exam.id), headers=PART).status_code == 404
        assert views(sqlite_world) == []

    @pytest.mark.parametrize("path", PATHS)
    def test_not_administrators_or_auditors(self, sqlite_world: World, path: str) -> None:
        exam = sent(sqlite_world, ludb(88))
        for login in ("admin1", "auditor1"):
            assert sqlite_world.client(login).get(path.format(exam.id), headers=PART).status_code == 403

    @pytest.mark.parametrize("path", PATHS[1:])
    def test_nobody(self, sqlite_world: World, path: str) -> None:
        exam = sent(sqlite_world, ludb(88))
        assert sqlite_world.client().get(path.format(exam.id)).status_code == 401

    def test_every_look_is_on_record_once(self, sqlite_world: World) -> None:
        exam = sent(sqlite_world, ludb(88))
        client = sqlite_world.client("cardio1")
        for path in self.PATHS:
            client.get(path.format(exam.id), headers=PART)
        with sqlite_world.context.db.reading() as session:
            total = session.scalar(
                select(func.count()).select_from(AuditEvent).where(AuditEvent.tag == Tag.STUDY_VIEW)
            )
        assert total == 3
