"""Reading, review and report pages through the real application."""

import re

import pytest
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.auth import signing_keys
from hub.auth.deps import CSRF_HEADER
from hub.catalogue.repository import CatalogueRepository
from hub.reports.repository import ReportRepository
from hub.reports.sign import verify_pdf
from hub.worklist.models import Exam
from tests.fixtures.world import PASSWORD, World

JSON = {"Accept": "application/json"}
HTMX = {"HX-Request": "true"}


def save(client, exam_id: str, version: int | None = 0, **fields: str):
    return client.post(
        f"/exams/{exam_id}/draft", json={"token": "", "version": version, "fields": fields}, headers=JSON
    )


def submitted(world: World) -> Exam:
    """An exam whose report writer1 has submitted."""
    exam = world.claimed("writer1")
    client = world.client("writer1")
    assert save(
        client, exam.id, findings="右下肺野见斑片状影。", impression="右下肺炎。", positive="yes"
    ).is_success
    assert client.post(f"/exams/{exam.id}/submit").status_code == 303
    return world.exam(exam.id)


@pytest.fixture
def signed(sqlite_world: World) -> Exam:
    """An exam signed by reviewer1."""
    exam = submitted(sqlite_world)
    sqlite_world.give_key("reviewer1")
    client = sqlite_world.client("reviewer1")
    assert client.get(f"/reviews/{exam.id}").status_code == 200
    answer = client.post(f"/exams/{exam.id}/sign", data={"password": PASSWORD})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/reports/{exam.id}")
    return sqlite_world.exam(exam.id)


class TestReadingPage:
    def test_looking_does_not_claim(self, sqlite_world: World):
        exam = sqlite_world.complete_exam()
        page = sqlite_world.client("writer1").get(f"/exams/{exam.id}").text
        assert sqlite_world.exam(exam.id).state == "complete"
        assert 'data-island="autosave"' not in page
        assert f'hx-post="/exams/{exam.id}/claim"' in page

    def test_the_holder_gets_editor_lease_and_viewer(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        page = sqlite_world.client("writer1").get(f"/exams/{exam.id}").text
        for part in (
            'data-island="autosave"',
            f'data-url="/exams/{exam.id}/lease"',
            'data-island="image-viewer"',
            f'data-key-image-url="/exams/{exam.id}/key-images"',
            'data-key="Ctrl+Enter"',
        ):
            assert part in page, part

    def test_another_reader_sees_who_holds_it_and_no_editor(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        page = sqlite_world.client("writer2").get(f"/exams/{exam.id}").text
        assert "林书一 正在书写此报告" in page
        assert 'data-island="autosave"' not in page
        assert 'data-key-image-url=""' in page

    def test_an_ecg_asks_for_its_paper_and_offers_the_single_signature(self, sqlite_world: World):
        exam = sqlite_world.claimed("cardio1")
        page = sqlite_world.client("cardio1").get(f"/exams/{exam.id}").text
        assert f'hx-get="/exams/{exam.id}/ecg"' in page
        assert 'id="sign-dialog"' in page
        assert 'data-island="image-viewer"' not in page

    def test_opening_it_is_on_record_as_opening_the_images(self, sqlite_world: World):
        exam = sqlite_world.complete_exam()
        sqlite_world.client("writer1").get(f"/exams/{exam.id}")
        with sqlite_world.context.db.reading() as session:
            seen = session.scalars(
                select(AuditEvent)
                .where(AuditEvent.tag.in_([Tag.EXAM_VIEW, Tag.STUDY_VIEW]))
                .order_by(AuditEvent.seq)
            ).all()
        assert [(row.tag, row.subject_kind, row.subject_id, row.actor_id) for row in seen] == [
            (Tag.EXAM_VIEW, "exam", exam.id, sqlite_world.user_ids["writer1"]),
            (Tag.STUDY_VIEW, "study", exam.study_id, sqlite_world.user_ids["writer1"]),
        ]

    def test_doubts_are_said_on_top(self, sqlite_world: World):
        world = sqlite_world
        exam = world.claimed("writer1", name_confidence=0.2)
        with world.context.db.reading() as session:
            uid = CatalogueRepository(session).study(exam.study_id).study_uid
        world.clock.advance(minutes=1)
        world.register(study_uid=uid, instances=3)
        world.run_jobs()
        for page in (
            world.client("writer1").get(f"/exams/{exam.id}").text,
            world.client("writer1").get(f"/exams/{exam.id}/banners").text,
        ):
            assert "没有申请单" in page
            assert "请与送检机构核对" in page
            assert "在可诊断之后才到达" in page

    def test_another_patient_s_objects_under_the_study_are_said_on_top(self, sqlite_world: World):
        world = sqlite_world
        exam = world.claimed("writer1")
        with world.context.db.reading() as session:
            uid = CatalogueRepository(session).study(exam.study_id).study_uid
        client = world.client("writer1")
        assert "另一名患者" not in client.get(f"/exams/{exam.id}/banners").text
        world.register(study_uid=uid, instances=1, local_id="other", patient_name="别人")
        for address in (f"/exams/{exam.id}", f"/exams/{exam.id}/banners"):
            assert "混入了另一名患者的图像" in client.get(address).text

    def test_an_exam_still_arriving_says_so(self, sqlite_world: World):
        uid = sqlite_world.register()
        sqlite_world.run_jobs()
        exam = sqlite_world.exam_of(uid)
        assert "图像仍在接收" in sqlite_world.client("writer1").get(f"/exams/{exam.id}").text

    def test_prior_exams_of_the_same_patient_open_beside(self, sqlite_world: World):
        earlier = sqlite_world.complete_exam()
        stranger = sqlite_world.complete_exam(local_id="other", patient_name="别人")
        exam = sqlite_world.complete_exam()
        page = sqlite_world.client("writer1").get(f"/exams/{exam.id}").text
        assert f'href="/exams/{earlier.id}"' in page
        assert stranger.id not in page

    def test_the_former_reader_s_draft_is_offered_by_name(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        save(sqlite_world.client("writer1"), exam.id, findings="写到一半")
        sqlite_world.client("writer1").post(f"/exams/{exam.id}/release")
        other = sqlite_world.client("writer2")
        assert "林书一 于" in other.get(f"/exams/{exam.id}").text
        other.post(f"/exams/{exam.id}/claim")
        page = other.get(f"/exams/{exam.id}").text
        assert "以下草稿由 林书一" in page
        assert "写到一半" in page

    def test_works_in_english(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        client = sqlite_world.client("writer1")
        client.cookies.set("hub_language", "en")
        assert "Submit for review" in client.get(f"/exams/{exam.id}").text


class TestAutosave:
    def test_answers_with_the_version_the_next_save_builds_on(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        client = sqlite_world.client("writer1")
        first = save(client, exam.id, findings="一")
        assert (first.status_code, first.json()["version"]) == (200, 1)
        assert save(client, exam.id, 1, impression="二", positive="no").json()["version"] == 2
        with sqlite_world.context.db.reading() as session:
            report = ReportRepository(session).peek(exam.id)
        assert (report.findings, report.impression, report.positive) == ("一", "二", False)

    def test_a_save_on_an_older_version_is_a_conflict(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        client = sqlite_world.client("writer1")
        save(client, exam.id, findings="窗口一")
        stale = save(client, exam.id, 0, findings="窗口二")
        assert (stale.status_code, stale.json()["code"]) == (409, "StaleDraft")

    def test_a_lost_claim_is_a_conflict(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        lost = save(sqlite_world.client("writer2"), exam.id, findings="x")
        assert (lost.status_code, lost.json()["code"]) == (409, "LeaseLost")

    def test_text_is_kept_to_the_letter_and_shown_as_text(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        client = sqlite_world.client("writer1")
        text = '  <script>alert("x")</script>\n右肺 < 5mm & 边界清\n'
        save(client, exam.id, findings=text)
        with sqlite_world.context.db.reading() as session:
            assert ReportRepository(session).peek(exam.id).findings == text
        page = client.get(f"/exams/{exam.id}").text
        assert "<script>alert" not in page
        assert "&lt; 5mm &amp;" in page


class TestKeyImages:
    def sop(self, world: World, exam: Exam) -> str:
        with world.context.db.reading() as session:
            return CatalogueRepository(session).instances_of_study(exam.study_id)[0][1].sop_uid

    def test_chosen_shown_and_dropped(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        client = sqlite_world.client("writer1")
        sop = self.sop(sqlite_world, exam)
        sent = {
            "sop_instance_uid": sop,
            "series_instance_uid": "1.2",
            "study_instance_uid": "1.2",
            "frame": 1,
            "window_center": 40,
            "window_width": 400,
        }
        assert client.post(f"/exams/{exam.id}/key-images", json=sent, headers=JSON).status_code == 200
        shown = client.get(f"/exams/{exam.id}/key-images").text
        assert f"/instances/{sop}/frames/1/rendered" in shown
        assert "window=40.0,400.0,linear" in shown
        after = client.post(f"/exams/{exam.id}/key-images/drop", data={"sop_uid": sop, "frame": "1"}).text
        assert sop not in after

    def test_only_by_the_holder(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        sent = {"sop_instance_uid": self.sop(sqlite_world, exam), "frame": 1}
        answer = sqlite_world.client("writer2").post(f"/exams/{exam.id}/key-images", json=sent, headers=JSON)
        assert answer.status_code == 409


class TestReview:
    def test_the_list_names_writer_and_impression(self, sqlite_world: World):
        exam = submitted(sqlite_world)
        page = sqlite_world.client("reviewer1").get("/reviews").text
        assert f'data-href="/reviews/{exam.id}"' in page
        assert "右下肺炎。" in page
        assert "林书一" in page

    def test_the_page_shows_images_text_and_writer(self, sqlite_world: World):
        exam = submitted(sqlite_world)
        page = sqlite_world.client("reviewer1").get(f"/reviews/{exam.id}").text
        for part in ('data-island="image-viewer"', "右下肺野见斑片状影。", "林书一", 'type="password"'):
            assert part in page

    def test_a_cardiologist_finds_no_images_to_review(self, sqlite_world: World):
        exam = submitted(sqlite_world)
        client = sqlite_world.client("cardio1")
        assert exam.id not in client.get("/reviews").text
        assert client.get(f"/reviews/{exam.id}").status_code == 403

    def test_return_needs_words_and_the_writer_reads_them(self, sqlite_world: World):
        exam = submitted(sqlite_world)
        client = sqlite_world.client("reviewer1")
        refused = client.post(f"/reviews/{exam.id}/return", data={"comment": " "}, headers=HTMX)
        assert (refused.status_code, refused.json()["message"]) == (422, "请填写审核意见")
        assert client.post(f"/reviews/{exam.id}/return", data={"comment": "左右写反"}).status_code == 303
        writer = sqlite_world.client("writer1")
        assert "左右写反" in writer.get(f"/exams/{exam.id}").text
        writer.post(f"/exams/{exam.id}/claim")
        page = writer.get(f"/exams/{exam.id}").text
        assert "左右写反" in page
        assert 'data-island="autosave"' in page

    def test_a_wrong_password_comes_back_in_the_form(self, sqlite_world: World):
        exam = submitted(sqlite_world)
        sqlite_world.give_key("reviewer1")
        client = sqlite_world.client("reviewer1")
        client.get(f"/reviews/{exam.id}")
        answer = client.post(f"/exams/{exam.id}/sign", data={"password": "wrong"}, headers=HTMX)
        assert answer.status_code == 422
        assert "签名密码不正确" in answer.text
        assert 'id="sign-form"' in answer.text
        assert "wrong" not in answer.text
        assert sqlite_world.exam(exam.id).state == "submitted"

    def test_nobody_signs_without_having_opened_the_images(self, sqlite_world: World):
        exam = submitted(sqlite_world)
        sqlite_world.give_key("reviewer1")
        answer = sqlite_world.client("reviewer1").post(f"/exams/{exam.id}/sign", data={"password": PASSWORD})
        assert answer.status_code == 422
        assert "签发前请先打开图像" in answer.text
        assert sqlite_world.exam(exam.id).state == "submitted"

    def test_a_text_other_than_the_one_read_is_not_signed(self, sqlite_world: World):
        exam = submitted(sqlite_world)
        sqlite_world.give_key("reviewer1")
        client = sqlite_world.client("reviewer1")
        client.get(f"/reviews/{exam.id}")
        answer = client.post(f"/exams/{exam.id}/sign", data={"password": PASSWORD, "revision": "0"})
        assert answer.status_code == 422
        assert sqlite_world.exam(exam.id).state == "submitted"

    def test_the_page_of_a_signed_report_is_not_a_review(self, sqlite_world: World, signed: Exam):
        answer = sqlite_world.client("reviewer1").get(f"/reviews/{signed.id}")
        assert answer.status_code == 303


class TestReport:
    def test_shows_verdict_people_and_way(self, sqlite_world: World, signed: Exam):
        page = sqlite_world.client("director1").get(f"/reports/{signed.id}").text
        for part in ("核验通过", "沈审核", "林书一", "右下肺炎。", "/pdf", "待审核"):
            assert part in page

    def test_the_document_is_the_signed_one(self, sqlite_world: World, signed: Exam):
        answer = sqlite_world.client("doctor_dp").get(f"/reports/{signed.id}/pdf?download=true")
        assert answer.headers["content-type"] == "application/pdf"
        assert answer.headers["content-disposition"] == f'attachment; filename="{signed.number}-2.pdf"'
        with sqlite_world.context.db.reading() as session:
            status = verify_pdf(answer.content, signing_keys.trust_roots(session))
        assert status.problems == ()

    def test_an_altered_document_is_said_to_be_altered(self, sqlite_world: World, signed: Exam):
        world = sqlite_world
        with world.context.db.reading() as session:
            key = ReportRepository(session).signed(signed.id).pdf_key
        pdf = bytearray(world.context.store.get(key))
        pdf[len(pdf) // 3] ^= 1
        world.context.store.put(key, bytes(pdf))
        page = world.client("doctor_dp").get(f"/reports/{signed.id}").text
        assert "核验未通过" in page
        assert "签名文件与签发时不同" in page
        assert "核验通过" not in page

    def test_a_lost_document_is_said_to_be_lost(self, sqlite_world: World, signed: Exam):
        with sqlite_world.context.db.reading() as session:
            key = ReportRepository(session).signed(signed.id).pdf_key
        sqlite_world.context.store.delete(key)
        client = sqlite_world.client("doctor_dp")
        assert "签名文件不在存储中" in client.get(f"/reports/{signed.id}").text
        answer = client.get(f"/reports/{signed.id}/pdf", headers={"Accept": "application/json"})
        assert answer.status_code == 500
        assert answer.json()["code"] == "DocumentDamaged"

    def test_reading_and_fetching_are_on_record(self, sqlite_world: World, signed: Exam):
        client = sqlite_world.client("doctor_dp")
        client.get(f"/reports/{signed.id}")
        client.get(f"/reports/{signed.id}/pdf?download=true")
        with sqlite_world.context.db.reading() as session:
            tags = session.scalars(
                select(AuditEvent.tag).where(AuditEvent.actor_id == sqlite_world.user_ids["doctor_dp"])
            ).all()
        assert {Tag.REPORT_VIEW, Tag.REPORT_DOWNLOAD} <= set(tags)


class TestEcg:
    def test_a_cardiologist_signs_alone(self, sqlite_world: World):
        exam = sqlite_world.claimed("cardio1")
        sqlite_world.give_key("cardio1")
        client = sqlite_world.client("cardio1")
        client.get(f"/exams/{exam.id}")
        save(client, exam.id, findings="窦性心律，心率 72 次/分。", impression="正常心电图。")
        answer = client.post(f"/exams/{exam.id}/sign", data={"password": "no"}, headers=HTMX)
        assert answer.status_code == 422
        assert 'name="revision"' not in answer.text


class TestWhoMay:
    def test_the_site_s_own_people_are_led_to_their_page_and_see_no_draft(self, sqlite_world: World):
        exam = submitted(sqlite_world)
        for login in ("doctor_dp", "tech_dp"):
            client = sqlite_world.client(login)
            answer = client.get(f"/exams/{exam.id}")
            assert (answer.status_code, answer.headers["location"]) == (303, f"/site/exams/{exam.id}")
            assert client.get(f"/reports/{exam.id}").status_code == 404
            assert client.get(f"/exams/{exam.id}/key-images").status_code == 403
            assert client.get(f"/exams/{exam.id}/banners").status_code == 403
            assert "右下肺" not in client.get(f"/site/exams/{exam.id}").text

    def test_another_site_s_people_find_nothing(self, sqlite_world: World, signed: Exam):
        client = sqlite_world.client("doctor_lp")
        for path in (f"/exams/{signed.id}", f"/reports/{signed.id}", f"/reports/{signed.id}/pdf"):
            assert client.get(path).status_code == 404, path

    @pytest.mark.parametrize("login", ["admin1", "auditor1"])
    def test_administrators_and_auditors_read_no_report(self, sqlite_world: World, signed: Exam, login: str):
        client = sqlite_world.client(login)
        for path in (f"/exams/{signed.id}", f"/reports/{signed.id}", f"/reports/{signed.id}/pdf"):
            assert client.get(path).status_code == 403, path

    def test_a_writer_neither_reviews_nor_signs(self, sqlite_world: World):
        exam = submitted(sqlite_world)
        client = sqlite_world.client("writer2")
        assert client.get("/reviews").status_code == 403
        assert client.post(f"/exams/{exam.id}/sign", data={"password": PASSWORD}).status_code == 403
        assert client.post(f"/reviews/{exam.id}/return", data={"comment": "x"}).status_code == 403

    @pytest.mark.parametrize("path", ["draft", "submit", "key-images", "sign"])
    def test_a_click_without_the_page_s_token_changes_nothing(self, sqlite_world: World, path: str):
        exam = sqlite_world.claimed("cardio1")
        client = sqlite_world.client("cardio1")
        del client.headers[CSRF_HEADER]
        assert client.post(f"/exams/{exam.id}/{path}", json={}).status_code == 403
        assert sqlite_world.exam(exam.id).state == "claimed"

    def test_nobody_without_login(self, sqlite_world: World):
        exam = sqlite_world.complete_exam()
        client = sqlite_world.client()
        for path in (f"/exams/{exam.id}", "/reviews", f"/reports/{exam.id}"):
            assert client.get(path).status_code == 303
        assert client.post(f"/exams/{exam.id}/submit").status_code == 401


def test_no_text_is_missing_from_the_pages(sqlite_world: World, signed: Exam):
    for lang in ("zh-CN", "en"):
        client = sqlite_world.client("reviewer1")
        client.cookies.set("hub_language", lang)
        for path in ("/worklist?group=done", "/reviews", f"/exams/{signed.id}", f"/reports/{signed.id}"):
            page = client.get(path).text
            assert not re.search("⟦", page), path
