"""Claims, leases, releases and rejections, on both databases."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.errors import Forbidden, NotFound, Rejected
from hub.reports import service as reports
from hub.reports.repository import ReportRepository
from hub.reports.service import Draft
from hub.worklist import reading, service, tasks
from hub.worklist.reading import NothingToRead
from hub.worklist.repository import Filter, WorklistRepository
from hub.worklist.service import (
    AlreadyClaimed,
    LeaseLost,
    NotHolder,
    OutOfScope,
    ReasonMissing,
    ReturnedToWriter,
)
from hub.worklist.states import IllegalTransition
from tests.fixtures.world import World


def claim(world: World, login: str, exam_id: str):
    actor = world.actor(login)
    with world.context.db.transaction() as session:
        return service.claim(session, actor, exam_id, settings=world.context.settings, now=world.clock())


def write(world: World, login: str, exam_id: str, findings: str):
    with world.context.db.transaction() as session:
        return reports.save(
            session, world.actor(login), exam_id, Draft(findings), revision=None, now=world.clock()
        )


class TestTwoReadersAtOnce:
    def test_exactly_one_of_two_gets_the_exam(self, world: World):
        """The threads meet at a barrier with their transactions about to begin, twenty exams long."""
        actors = [world.actor("writer1"), world.actor("writer2")]
        exams = [world.complete_exam(local_id=f"P{number}") for number in range(20)]
        barrier = threading.Barrier(2)

        def take(actor, exam_id):
            barrier.wait(timeout=30)
            try:
                with world.context.db.transaction() as session:
                    service.claim(session, actor, exam_id, settings=world.context.settings, now=world.clock())
            except AlreadyClaimed:
                return None
            return actor.id

        with ThreadPoolExecutor(2) as pool:
            for exam in exams:
                outcomes = list(pool.map(take, actors, [exam.id, exam.id]))
                winners = [outcome for outcome in outcomes if outcome]
                assert len(winners) == 1
                held = world.exam(exam.id)
                assert (held.state, held.owner_id) == ("claimed", winners[0])

    def test_next_gives_two_readers_two_exams(self, world: World):
        first, second = world.complete_exam(local_id="A"), world.complete_exam(local_id="B")
        actors = [world.actor("writer1"), world.actor("writer2")]
        barrier = threading.Barrier(2)

        def take(actor):
            barrier.wait(timeout=30)
            with world.context.db.transaction() as session:
                return reading.claim_next(
                    session, actor, Filter(), settings=world.context.settings, now=world.clock()
                ).id

        with ThreadPoolExecutor(2) as pool:
            assert set(pool.map(take, actors)) == {first.id, second.id}


class TestNext:
    def test_takes_by_priority_then_by_time_left(self, sqlite_world: World):
        world = sqlite_world
        orders = [
            world.order(local_id=f"P{number}", name=f"甲{number}", urgency=urgency)
            for number, urgency in enumerate(["routine", "urgent", "critical"])
        ]
        for number, order in enumerate(orders):
            world.register(accession=order.number, local_id=f"P{number}", patient_name=f"甲{number}")
        world.settle()
        taken = []
        for _ in orders:
            with world.context.db.transaction() as session:
                exam = reading.claim_next(
                    session,
                    world.actor("writer1"),
                    Filter(),
                    settings=world.context.settings,
                    now=world.clock(),
                )
                taken.append(exam.urgency)
        assert taken == ["critical", "urgent", "routine"]

    def test_passes_over_what_the_reader_is_not_licensed_for(self, sqlite_world: World):
        world = sqlite_world
        world.complete_exam()
        with pytest.raises(NothingToRead), world.context.db.transaction() as session:
            reading.claim_next(
                session, world.actor("cardio1"), Filter(), settings=world.context.settings, now=world.clock()
            )


class TestScope:
    def test_an_image_reader_gets_no_ecg(self, sqlite_world: World):
        exam = sqlite_world.complete_ecg()
        with pytest.raises(OutOfScope):
            claim(sqlite_world, "writer1", exam.id)

    def test_a_reviewer_holds_no_post_that_claims(self, sqlite_world: World):
        exam = sqlite_world.complete_exam()
        with pytest.raises(Forbidden):
            claim(sqlite_world, "reviewer1", exam.id)

    def test_another_site_s_doctor_does_not_see_it(self, sqlite_world: World):
        exam = sqlite_world.complete_exam("DP")
        with pytest.raises(NotFound):
            claim(sqlite_world, "doctor_lp", exam.id)


class TestLease:
    def test_expires_when_the_page_is_silent_and_keeps_the_draft(self, world: World):
        exam = world.claimed("writer1")
        write(world, "writer1", exam.id, "右下肺见斑片影")
        world.clock.advance(seconds=world.context.settings.lease_seconds + 1)
        tasks.expire_leases(world.context)
        back = world.exam(exam.id)
        assert (back.state, back.owner_id, back.owner_name) == ("complete", None, "")
        with pytest.raises(LeaseLost):
            write(world, "writer1", exam.id, "晚到的文字")
        claim(world, "writer2", exam.id)
        with world.context.db.reading() as session:
            report = ReportRepository(session).peek(exam.id)
            assert (report.findings, report.saved_by_name) == ("右下肺见斑片影", "林书一")

    def test_lives_while_the_page_shows_signs_of_life(self, world: World):
        exam = world.claimed("writer1")
        for _ in range(4):
            world.clock.advance(seconds=world.context.settings.lease_seconds / 2)
            with world.context.db.transaction() as session:
                service.renew(
                    session,
                    world.actor("writer1"),
                    exam.id,
                    settings=world.context.settings,
                    now=world.clock(),
                )
            tasks.expire_leases(world.context)
        assert world.exam(exam.id).state == "claimed"

    def test_nobody_else_renews_it(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        with pytest.raises(LeaseLost), sqlite_world.context.db.transaction() as session:
            service.renew(
                session,
                sqlite_world.actor("writer2"),
                exam.id,
                settings=sqlite_world.context.settings,
                now=sqlite_world.clock(),
            )

    def test_claiming_again_what_one_holds_prolongs_it(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        sqlite_world.clock.advance(seconds=60)
        claim(sqlite_world, "writer1", exam.id)
        after = sqlite_world.exam(exam.id)
        assert after.state == "claimed"
        assert after.lease_until > exam.lease_until


class TestReleaseAndReject:
    def test_release_by_another_reader_is_refused(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        with pytest.raises(NotHolder), sqlite_world.context.db.transaction() as session:
            service.release(
                session, sqlite_world.actor("writer2"), exam.id, reason="x", now=sqlite_world.clock()
            )

    def test_a_director_releases_with_a_reason(self, sqlite_world: World):
        world = sqlite_world
        exam = world.claimed("writer1")
        with pytest.raises(ReasonMissing), world.context.db.transaction() as session:
            service.release(session, world.actor("director1"), exam.id, reason=" ", now=world.clock())
        with world.context.db.transaction() as session:
            service.release(session, world.actor("director1"), exam.id, reason="下班", now=world.clock())
        with world.context.db.reading() as session:
            last = WorklistRepository(session).steps(exam.id)[-1]
        assert (last.event, last.actor_name, last.reason) == ("release", "邹主任", "下班")
        assert world.exam(exam.id).state == "complete"

    def test_reject_needs_a_code_and_words(self, sqlite_world: World):
        world = sqlite_world
        exam = world.claimed("writer1")
        for code, text, error in (("motion", " ", ReasonMissing), ("ugly", "模糊", Rejected)):
            with pytest.raises(error), world.context.db.transaction() as session:
                service.reject(
                    session, world.actor("writer1"), exam.id, code=code, text=text, now=world.clock()
                )
        with world.context.db.transaction() as session:
            service.reject(
                session, world.actor("writer1"), exam.id, code="motion", text="呼吸模糊", now=world.clock()
            )
        back = world.exam(exam.id)
        assert (back.state, back.reject_code, back.reject_text, back.owner_id) == (
            "rejected",
            "motion",
            "呼吸模糊",
            None,
        )

    def test_one_reader_cannot_reject_what_another_holds(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        with pytest.raises(AlreadyClaimed), sqlite_world.context.db.transaction() as session:
            service.reject(
                session,
                sqlite_world.actor("writer2"),
                exam.id,
                code="motion",
                text="x",
                now=sqlite_world.clock(),
            )

    def test_a_signed_exam_is_not_rejected(self, sqlite_world: World):
        world = sqlite_world
        exam = world.complete_exam()
        with world.context.db.transaction() as session:
            WorklistRepository(session).exam(exam.id).state = "signed"
        with pytest.raises(IllegalTransition), world.context.db.transaction() as session:
            service.reject(
                session, world.actor("writer1"), exam.id, code="motion", text="x", now=world.clock()
            )

    def test_a_returned_report_is_taken_up_by_its_writer_only(self, sqlite_world: World):
        world = sqlite_world
        exam = world.claimed("writer1")
        with world.context.db.transaction() as session:
            writer = world.actor("writer1")
            reports.save(session, writer, exam.id, Draft("所见", "意见"), revision=None, now=world.clock())
            reports.submit(session, writer, exam.id, now=world.clock())
            reports.send_back(
                session, world.actor("reviewer1"), exam.id, comment="请补充侧位", now=world.clock()
            )
        with pytest.raises(ReturnedToWriter):
            claim(world, "writer2", exam.id)
        assert claim(world, "writer1", exam.id).state == "draft"


def test_a_transition_leaves_a_step_and_an_audit_row(sqlite_world: World):
    exam = sqlite_world.claimed("writer1")
    with sqlite_world.context.db.reading() as session:
        steps = [(row.event, row.to_state) for row in WorklistRepository(session).steps(exam.id)]
        audited = session.scalars(
            select(AuditEvent).where(AuditEvent.tag == Tag.EXAM_TRANSITION, AuditEvent.subject_id == exam.id)
        ).all()
    assert steps == [("receive", "receiving"), ("complete", "complete"), ("claim", "claimed")]
    assert [row.facts["to"] for row in audited] == ["receiving", "complete", "claimed"]


def test_looking_at_late_objects_is_a_person_s_act(sqlite_world: World):
    world = sqlite_world
    exam = world.claimed("writer1")
    with world.context.db.reading() as session:
        study_uid = WorklistRepository(session).row_of(exam).study.study_uid
    world.clock.advance(minutes=1)
    world.register(study_uid=study_uid)
    world.run_jobs()
    assert world.exam(exam.id).late_objects == 2
    with pytest.raises(OutOfScope), world.context.db.transaction() as session:
        reading.saw_late_objects(session, world.actor("cardio1"), exam.id)
    with world.context.db.transaction() as session:
        reading.saw_late_objects(session, world.actor("writer1"), exam.id)
    assert world.exam(exam.id).late_objects == 0
