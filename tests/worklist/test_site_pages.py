"""The township's page: ordering, following an exam, who may do what.

Oracle for the identity number: GB 11643-1999's example 11010519491231002X (female, 1949-12-31).
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from hub.app import running_feed
from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.auth import service as accounts
from hub.auth.repository import AuthRepository
from hub.auth.roles import Role
from hub.sites import service as sites
from hub.sites.repository import SiteRepository
from hub.web.sse import stream
from hub.worklist import service
from hub.worklist.repository import Filter, WorklistRepository
from tests.fixtures.world import SETUP, World
from tests.worklist.test_steps import Dr

FORM = {
    "site": "DP",
    "name": "王秀英",
    "sex": "F",
    "birth_date": "1958-04-12",
    "modality": "DX",
    "body_part": "胸部正位",
    "clinical_question": "咳嗽一周",
    "urgency": "urgent",
}


def post(client: TestClient, **changes: str) -> Any:
    return client.post("/site/orders", data=FORM | changes, headers={"HX-Request": "true"})


class TestOrdering:
    def test_an_order_shows_what_the_device_needs(self, sqlite_world: World) -> None:
        client = sqlite_world.client("doctor_dp")
        answer = post(client, local_id="P1")
        assert answer.status_code == 200, answer.text
        with sqlite_world.context.db.reading() as session:
            (row,) = WorklistRepository(session).rows(sqlite_world.actor("doctor_dp"), Filter())
        assert row.order is not None
        assert row.order.accession in answer.text
        assert row.exam.urgency == "urgent"
        assert row.exam.number in client.get("/site").text

    def test_a_like_order_is_flagged_and_takes_a_second_click(self, sqlite_world: World) -> None:
        client = sqlite_world.client("doctor_dp")
        post(client)
        flagged = post(client)
        assert flagged.status_code == 422
        assert 'name="repeat" value="1"' in flagged.text
        assert 'value="王秀英"' in flagged.text
        assert count(sqlite_world) == 1
        assert post(client, repeat="1").status_code == 200
        assert count(sqlite_world) == 2

    def test_a_refusal_stands_beside_its_field_with_what_was_typed(self, sqlite_world: World) -> None:
        answer = post(sqlite_world.client("doctor_dp"), id_number="110105194912310021")
        assert answer.status_code == 422
        assert 'id="f-id_number-error"' in answer.text
        assert "身份证号有误" in answer.text
        assert "咳嗽一周" in answer.text

    def test_the_identity_number_fills_sex_and_birth_date(self, sqlite_world: World) -> None:
        client = sqlite_world.client("doctor_dp")
        good = client.post("/site/id-number", data={"id_number": "11010519491231002x"}).text
        assert 'value="1949-12-31"' in good
        assert '<option value="F" selected>' in good
        bad = client.post("/site/id-number", data={"id_number": "110105194912310021", "sex": "M"}).text
        assert 'id="f-id_number-error"' in bad
        assert '<option value="M" selected>' in bad

    def test_a_known_patient_is_found_and_fills_the_form(self, sqlite_world: World) -> None:
        client = sqlite_world.client("doctor_dp")
        post(
            client,
            local_id="P1",
            id_number="11010519491231002X",
            birth_date="1949-12-31",
            phone="13900000000",
        )
        found = client.post("/site/patients", data={"site": "DP", "text": "秀英"}).text
        assert "王秀英" in found
        assert "11010519491231002X" not in found
        assert "13900000000" not in found
        address = found.split('hx-get="')[1].split('"')[0].replace("&amp;", "&")
        form = client.get(address).text
        assert 'value="P1"' in form
        assert "11010519491231002X" not in form
        assert len(audited(sqlite_world, Tag.PATIENT_VIEW)) == 1
        other = sqlite_world.client("doctor_lp")
        assert "王秀英" not in other.post("/site/patients", data={"text": "秀英"}).text
        assert other.get(address).status_code == 404

    def test_body_parts_follow_the_modality(self, sqlite_world: World) -> None:
        client = sqlite_world.client("doctor_dp")
        assert "胸部正侧位" in client.get("/site/body-parts?modality=DX").text
        assert client.get("/site/body-parts?modality=ZZ").text.strip() == ""


class TestFollowing:
    def test_the_technician_sees_objects_and_says_that_all_was_sent(self, sqlite_world: World) -> None:
        world = sqlite_world
        ordered = world.order()
        world.register(accession=ordered.number, instances=2)
        world.run_jobs()
        client = world.client("tech_dp")
        rows = client.get("/site/rows").text
        assert "已收 2 幅" in rows
        assert f"/site/exams/{ordered.id}/finish" in rows
        assert client.post(f"/site/exams/{ordered.id}/finish").status_code == 204
        world.run_jobs()
        assert world.exam(ordered.id).state == "complete"
        assert client.post(f"/site/exams/{ordered.id}/finish").status_code == 409

    def test_a_rejected_exam_says_why_and_what_to_do(self, sqlite_world: World) -> None:
        world = sqlite_world
        ordered = world.order()
        exam = world.complete_exam(accession=ordered.number)
        with world.context.db.transaction() as session:
            service.reject(
                session,
                world.actor("writer1"),
                exam.id,
                code="cut_off",
                text="右肋膈角未包括",
                now=world.clock(),
            )
        page = world.client("tech_dp").get(f"/site/exams/{exam.id}").text
        assert "退回重拍：部位未拍全" in page
        assert "右肋膈角未包括" in page
        assert "调整照射野" in page
        assert ordered.number in page
        assert exam.id in world.client("tech_dp").get("/site/rows?show=rejected").text

    def test_the_page_of_an_exam_shows_every_state_and_is_on_record(self, sqlite_world: World) -> None:
        world = sqlite_world
        exam = world.complete_exam(accession=world.order().number)
        page = world.client("doctor_dp").get(f"/site/exams/{exam.number}")
        assert page.status_code == 200
        assert [word in page.text for word in ("已开单", "接收中", "待诊断")] == [True] * 3
        assert audited(world, Tag.EXAM_VIEW) == [exam.id]

    def test_cancel_wants_a_reason(self, sqlite_world: World) -> None:
        ordered = sqlite_world.order()
        client = sqlite_world.client("doctor_dp")
        assert client.post(f"/site/exams/{ordered.id}/cancel", data={"reason": " "}).status_code == 422
        answer = client.post(f"/site/exams/{ordered.id}/cancel", data={"reason": "开错"})
        assert answer.headers["location"] == f"/site/exams/{ordered.id}"
        assert sqlite_world.exam(ordered.id).state == "cancelled"

    def test_filters(self, world: World) -> None:
        old = world.order(local_id="P1", name="甲某")
        world.clock.advance(days=2)
        new = world.order(local_id="P2", name="乙某")
        client = world.client("doctor_dp")

        def shown(query: str) -> list[bool]:
            text = client.get(f"/site/rows?{query}").text
            return [old.id in text, new.id in text]

        assert shown("show=open") == [True, True]
        assert shown("show=today") == [False, True]
        assert shown("show=all&text=甲某") == [True, False]
        assert shown("show=rejected") == [False, False]
        assert shown("show=nonsense") == [True, True]


class TestWhoMay:
    def test_only_own_sites(self, sqlite_world: World) -> None:
        ordered = sqlite_world.order("DP")
        other = sqlite_world.client("doctor_lp")
        for path in ("", "/body", "/images"):
            assert other.get(f"/site/exams/{ordered.id}{path}").status_code == 404
        assert other.post(f"/site/exams/{ordered.id}/cancel", data={"reason": "x"}).status_code == 404
        assert other.get("/site?site=DP").status_code == 404
        assert post(other).status_code == 404
        assert ordered.id not in other.get("/site?show=all").text

    def test_other_roles_and_strangers(self, sqlite_world: World) -> None:
        for login in ("writer1", "admin1", "auditor1", "director1"):
            assert sqlite_world.client(login).get("/site").status_code == 403
        assert sqlite_world.client().get("/site").status_code == 303
        ordered = sqlite_world.order()
        doctor = sqlite_world.client("doctor_dp")
        assert doctor.post(f"/site/exams/{ordered.id}/finish").status_code == 403
        forged = sqlite_world.client("doctor_dp")
        del forged.headers["X-CSRF-Token"]
        assert post(forged).status_code == 403
        assert count(sqlite_world) == 1

    def test_a_person_of_two_sites_chooses(self, sqlite_world: World) -> None:
        world = sqlite_world
        with world.context.db.transaction() as session:
            user = AuthRepository(session).user(world.user_ids["doctor_dp"])
            assert user is not None
            accounts.add_post(
                session, user, Role.DOCTOR, world.site_ids["LP"], valid_from=world.clock().date(), actor=SETUP
            )
        client = world.client("doctor_dp")
        assert "龙坪镇分院" in client.get("/site").text
        assert post(client, site="").status_code == 422
        assert post(client, site="LP").status_code == 200
        exam = world.order("LP", login="doctor_lp", local_id="P9", name="丁某")
        assert exam.id in client.get("/site/rows?site=LP").text
        assert exam.id not in client.get("/site/rows?site=DP").text


class TestPlanning:
    def test_time_device_and_number_of_images(self, sqlite_world: World) -> None:
        world = sqlite_world
        with world.context.db.transaction() as session:
            site = SiteRepository(session).site(world.site_ids["DP"])
            assert site is not None
            sites.add_device(session, site, "DR1", label="岛津 DR", now=world.clock(), actor=SETUP)
        client = world.client("doctor_dp")
        assert "岛津 DR · DR1" in client.get("/site").text
        plan = {"scheduled_at": "2026-03-03T09:30", "station_ae": "DR1", "expected_objects": "2"}
        assert post(client, **plan).status_code == 200
        with world.context.db.reading() as session:
            (row,) = WorklistRepository(session).rows(world.actor("doctor_dp"), Filter())
        assert row.order is not None
        assert row.order.scheduled_at == datetime(2026, 3, 3, 1, 30, tzinfo=UTC)
        assert (row.order.station_ae, row.order.expected_objects) == ("DR1", 2)
        page = client.get(f"/site/exams/{row.exam.id}").text
        assert "2026-03-03 09:30" in page
        assert "已收 0 / 2 幅" in page

    @pytest.mark.parametrize(
        ("field", "value", "said"),
        [
            ("scheduled_at", "tomorrow", "预约时间须为有效的日期和时间"),
            ("station_ae", "LPDR", "本站点没有这台设备"),
            ("expected_objects", "0", "预计图像数须为 1 至 9999"),
            ("expected_objects", "two", "预计图像数须为 1 至 9999"),
        ],
    )
    def test_what_cannot_be_is_said_beside_its_field(
        self, sqlite_world: World, field: str, value: str, said: str
    ) -> None:
        answer = post(sqlite_world.client("doctor_dp"), **{field: value})
        assert answer.status_code == 422
        assert said in answer.text
        assert '<details class="plan" open>' in answer.text
        assert count(sqlite_world) == 0


class TestAttendance:
    def test_the_technician_checks_in_and_out(self, sqlite_world: World) -> None:
        exam = sqlite_world.order()
        tech, doctor = sqlite_world.client("tech_dp"), sqlite_world.client("doctor_dp")
        assert f"/site/exams/{exam.id}/arrived" in tech.get("/site/rows").text
        assert f"/site/exams/{exam.id}/arrived" not in doctor.get("/site/rows").text
        assert f"/site/exams/{exam.id}/performed" not in doctor.get(f"/site/exams/{exam.id}").text
        assert tech.post(f"/site/exams/{exam.id}/arrived").status_code == 204
        assert "已到检" in doctor.get("/site/rows").text
        assert tech.post(f"/site/exams/{exam.id}/arrived").status_code == 409
        assert tech.post(f"/site/exams/{exam.id}/performed").status_code == 204
        assert sqlite_world.exam(exam.id).state == "performed"
        assert doctor.post(f"/site/exams/{exam.id}/arrived").status_code == 403

    def test_another_site_s_exam_is_not_there(self, sqlite_world: World) -> None:
        exam = sqlite_world.order("LP", "doctor_lp")
        answer = sqlite_world.client("tech_dp").post(f"/site/exams/{exam.id}/arrived")
        assert answer.status_code == 404
        assert sqlite_world.exam(exam.id).state == "ordered"

    def test_a_report_without_order_is_shown_to_its_site(self, sqlite_world: World) -> None:
        device = Dr(sqlite_world, "DP", "DR1")
        device.begin("X17", t00100020="9981")
        own = sqlite_world.client("tech_dp").get("/site/rows").text
        assert "近 7 天有 1 次设备上报没有对应的申请" in own
        assert "9981" in own
        assert "9981" not in sqlite_world.client("doctor_lp").get("/site/rows").text


def test_a_page_hears_of_its_own_sites_only(sqlite_world: World) -> None:
    world = sqlite_world
    dp, app = world.site_ids["DP"], world.app

    async def heard() -> list[bytes]:
        events = stream(app.state.live, lambda event: event.site_id == dp, "exam", "exam_id")
        got = [await anext(events)]
        await asyncio.to_thread(world.order, "LP", login="doctor_lp")
        own = await asyncio.to_thread(world.order, "DP")
        got.append(await asyncio.wait_for(anext(events), 10))
        assert own.id.encode() in got[1]
        await events.aclose()  # type: ignore[attr-defined]
        return got

    with running_feed(app):
        first, event = asyncio.run(heard())
    assert first.startswith(b":")
    assert event.startswith(b"event: exam\n")


def count(world: World) -> int:
    with world.context.db.reading() as session:
        return WorklistRepository(session).total(world.actor("director1"), Filter())


def audited(world: World, tag: Tag) -> list[str]:
    with world.context.db.reading() as session:
        return list(session.scalars(select(AuditEvent.subject_id).where(AuditEvent.tag == tag)))
