"""Boards: jobs that are stuck, devices' last signs of life, the audit trail."""

import base64
import csv
import hashlib
import io
import json
from datetime import datetime

import pytest
from sqlalchemy import select, text

from hub.audit import service as audit
from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.catalogue.models import Instance
from hub.jobs import board
from hub.jobs.queue import enqueue
from hub.jobs.testing import run_pending
from hub.sites import service as sites
from hub.sites.repository import SiteRepository
from hub.worklist import service as worklist
from hub.worklist.repository import WorklistRepository
from tests.fixtures.world import SETUP, World


def events(world: World, tag: str) -> list[AuditEvent]:
    with world.context.db.reading() as session:
        return list(session.scalars(select(AuditEvent).where(AuditEvent.tag == tag).order_by(AuditEvent.seq)))


def failed_job(world: World) -> str:
    """A job whose handler cannot do its work: the report it names does not exist."""
    with world.context.db.transaction() as session:
        job_id = enqueue(session, "delivery.deliver", signed_report_id="0" * 26)
    run_pending(world.context, raise_errors=False)
    return job_id


def status_of(world: World, job_id: str) -> str:
    with world.context.db.reading() as session:
        return board.get_job(session, job_id).status


class TestJobs:
    def test_a_failed_job_is_shown_with_its_reason_and_started_over(self, world: World) -> None:
        job_id = failed_job(world)
        assert status_of(world, job_id) == "failed"
        client = world.client("admin1")
        page = client.get("/admin/jobs").text
        assert "delivery.deliver" in page
        assert f"/admin/jobs/{job_id}/retry" in page
        answer = client.post(f"/admin/jobs/{job_id}/retry", headers={"HX-Request": "true"})
        assert answer.status_code == 200
        assert status_of(world, job_id) == "waiting"
        (event,) = events(world, Tag.JOB_RETRY)
        assert (event.actor_id, event.subject_id) == (world.user_ids["admin1"], job_id)

    def test_a_waiting_job_is_cancelled_a_done_one_is_not(self, world: World) -> None:
        with world.context.db.transaction() as session:
            job_id = enqueue(session, "catalogue.settle", delay_seconds=3600, study_id="x")
        client = world.client("admin1")
        assert client.post(f"/admin/jobs/{job_id}/cancel").status_code == 200
        assert status_of(world, job_id) == "cancelled"
        assert client.post(f"/admin/jobs/{job_id}/cancel").status_code == 409
        assert len(events(world, Tag.JOB_CANCEL)) == 1
        assert client.post("/admin/jobs/nonsense/retry").status_code == 404

    def test_the_board_asks_again_by_itself(self, sqlite_world: World) -> None:
        client = sqlite_world.client("admin1")
        assert 'hx-trigger="every 5s"' in client.get("/admin/jobs").text
        assert "<html" not in client.get("/admin/jobs/board").text


class TestDevicesSeen:
    def test_the_latest_object_counts(self, world: World) -> None:
        with world.context.db.transaction() as session:
            site = SiteRepository(session).site(world.site_ids["DP"])
            assert site is not None
            device = sites.add_device(session, site, "DR1", now=world.clock(), actor=SETUP)
        client = world.client("admin1")
        assert "从未" in client.get("/admin/devices/seen").text
        world.register(instances=2)
        with world.context.db.transaction() as session:
            first, second = session.scalars(select(Instance).order_by(Instance.id)).all()
            first.device_id = second.device_id = device.id
            second.received_at = world.clock.advance(minutes=5)
        page = client.get("/admin/devices/seen").text
        assert f'id="seen-{device.id}"' in page
        assert "16:05" in page  # 08:05 UTC in Shanghai


@pytest.fixture
def looked_at(world: World) -> World:
    """writer1 looked at the exam of P1001, doctor_lp at that of another P1001 of the other site."""
    for site, login in (("DP", "writer1"), ("LP", "doctor_lp")):
        exam = world.complete_exam(site)
        with world.context.db.transaction() as session:
            row = WorklistRepository(session).exam(exam.id)
            assert row is not None
            worklist.viewed(session, world.actor(login), row)
    return world


class TestTrail:
    def test_who_saw_this_patient(self, looked_at: World) -> None:
        page = looked_at.client("auditor1").get("/audit?patient=P1001&tag=views").text
        assert "林书一" in page
        assert "冯医生" in page
        assert "收到对象" not in page.split("<tbody>")[1]

    def test_an_exam_number_brings_its_whole_history(self, looked_at: World) -> None:
        exam = looked_at.complete_exam("DP")
        body = looked_at.client("auditor1").get(f"/audit?exam={exam.number}").text.split("<tbody>")[1]
        assert "检查流转" in body
        assert "检查收齐" in body
        assert "登录" not in body

    def test_a_person_by_login_or_name(self, looked_at: World) -> None:
        client = looked_at.client("auditor1")
        by_login = client.get("/audit?person=WRITER1").text.split("<tbody>")[1]
        by_name = client.get("/audit?person=林书一").text.split("<tbody>")[1]
        assert "查看检查" in by_login
        assert "冯医生" not in by_login
        assert "查看检查" in by_name

    def test_nobody_like_that_finds_nothing(self, looked_at: World) -> None:
        page = looked_at.client("auditor1").get("/audit?patient=NOSUCH").text
        assert "没有匹配的患者" in page
        assert "没有符合条件的记录" in page

    def test_time_range_is_in_the_hubs_zone(self, looked_at: World) -> None:
        client = looked_at.client("auditor1")
        now = datetime.now(looked_at.context.settings.zone)
        recent = client.get(f"/audit?since={now:%Y-%m-%d}T00:00").text
        assert "没有符合条件的记录" not in recent
        assert "没有符合条件的记录" in client.get("/audit?until=2001-01-01T00:00").text
        assert client.get("/audit?since=yesterday").status_code == 422

    def test_the_search_itself_is_on_record_without_what_was_typed(self, looked_at: World) -> None:
        looked_at.client("auditor1").get("/audit?patient=王秀英&tag=views")
        (event,) = events(looked_at, Tag.AUDIT_SEARCH)
        assert event.actor_id == looked_at.user_ids["auditor1"]
        assert event.facts["fields"] == ["patient", "tag"]
        assert len(event.facts["patients"]) == 2
        assert "王秀英" not in json.dumps(event.facts, ensure_ascii=False)

    def test_opening_the_page_is_no_search(self, sqlite_world: World) -> None:
        assert sqlite_world.client("auditor1").get("/audit").status_code == 200
        assert events(sqlite_world, Tag.AUDIT_SEARCH) == []

    def test_pages_follow_each_other_without_gap(self, sqlite_world: World) -> None:
        world = sqlite_world
        with world.context.db.transaction() as session:
            for _ in range(230):
                audit.record(session, Tag.LOGIN, actor=SETUP, subject_kind="user", subject_id="x")
        client, seen, path = world.client("auditor1"), [], "/audit?tag=auth:session:login"
        while path:
            page = client.get(path).text
            seen += [int(cell) for cell in page_numbers(page)]
            older = [
                part for part in page.split('href="') if part.startswith("/audit?") and "before=" in part
            ]
            path = older[-1].split('"')[0].replace("&amp;", "&") if older else ""
        assert len(seen) == len(set(seen)) == 230
        assert seen == sorted(seen, reverse=True)


def page_numbers(page: str) -> list[str]:
    cells = page.split('<td class="num mono">')[1:]
    return [cell.split("<")[0] for cell in cells]


class TestExport:
    def test_the_hash_in_the_header_is_the_files(self, looked_at: World) -> None:
        """Oracle: hashlib over the body; the rows are those of the table and follow each other."""
        answer = looked_at.client("auditor1").get("/audit/export.csv")
        sha256 = hashlib.sha256(answer.content).hexdigest()
        assert answer.headers["x-content-sha256"] == sha256
        digest = base64.b64encode(bytes.fromhex(sha256)).decode()
        assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [int(row["seq"]) for row in rows] == list(range(1, len(rows) + 1))
        with looked_at.context.db.reading() as session:
            stored = {event.seq: event.hash for event in session.scalars(select(AuditEvent))}
        assert [stored[int(row["seq"])] for row in rows] == [row["hash"] for row in rows]
        assert [row["previous_hash"] for row in rows[1:]] == [row["hash"] for row in rows[:-1]]
        assert all(isinstance(json.loads(row["facts"]), dict) for row in rows)
        assert len(events(looked_at, Tag.AUDIT_EXPORT)) == 1

    def test_a_cell_never_begins_a_formula(self, sqlite_world: World) -> None:
        with sqlite_world.context.db.transaction() as session:
            actor = audit.ActorRef("device", "", "=HYPERLINK()")
            audit.record(session, Tag.LOGIN, actor=actor, subject_kind="x", subject_id="x")
        answer = sqlite_world.client("auditor1").get("/audit/export.csv?tag=auth:session:login")
        (row,) = csv.DictReader(io.StringIO(answer.text))
        assert row["actor_name"] == "'=HYPERLINK()"


class TestChain:
    def test_whole(self, looked_at: World) -> None:
        assert "完整" in looked_at.client("auditor1").post("/audit/verify").text

    def test_an_altered_row_is_named(self, sqlite_world: World) -> None:
        world = sqlite_world
        with world.context.db.transaction() as session:
            for trigger in session.scalars(
                text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_event'")
            ).all():
                session.execute(text(f"DROP TRIGGER {trigger}"))
            session.execute(text("UPDATE audit_event SET actor_name = 'somebody' WHERE seq = 3"))
        page = world.client("auditor1").post("/audit/verify").text
        assert "第 3 条不一致" in page


@pytest.mark.parametrize("login", ["tech_dp", "doctor_dp", "writer1", "reviewer1", "director1"])
def test_boards_are_closed_to_clinicians(sqlite_world: World, login: str) -> None:
    client = sqlite_world.client(login)
    for path in ("/admin/jobs", "/admin/jobs/board", "/admin/devices/seen", "/audit", "/audit/export.csv"):
        assert client.get(path).status_code == 403


def test_administrator_and_auditor_keep_apart(sqlite_world: World) -> None:
    assert sqlite_world.client("admin1").get("/audit").status_code == 403
    assert sqlite_world.client("auditor1").get("/admin/jobs").status_code == 403
