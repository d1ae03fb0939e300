"""Drafts, versions, submitting and returning."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from hub.catalogue.repository import CatalogueRepository
from hub.errors import Forbidden, NotFound
from hub.reports import service
from hub.reports.models import Report
from hub.reports.repository import ReportRepository
from hub.reports.service import (
    CommentMissing,
    Draft,
    EmptyFindings,
    EmptyImpression,
    OwnReport,
    Picture,
    StaleDraft,
    TextTooLong,
)
from hub.worklist import service as worklist
from hub.worklist.service import LeaseLost, OutOfScope
from tests.fixtures.world import World


def save(world: World, login: str, exam_id: str, draft: Draft, revision: int | None = None) -> Report:
    actor = world.actor(login)
    with world.context.db.transaction() as session:
        return service.save(session, actor, exam_id, draft, revision=revision, now=world.clock())


def submit(world: World, login: str, exam_id: str) -> None:
    actor = world.actor(login)
    with world.context.db.transaction() as session:
        service.submit(session, actor, exam_id, now=world.clock())


def give_back(world: World, login: str, exam_id: str) -> None:
    actor = world.actor(login)
    with world.context.db.transaction() as session:
        worklist.release(session, actor, exam_id, reason="", now=world.clock())


def take(world: World, login: str, exam_id: str) -> None:
    actor = world.actor(login)
    with world.context.db.transaction() as session:
        worklist.claim(session, actor, exam_id, settings=world.context.settings, now=world.clock())


def versions(world: World, exam_id: str):
    with world.context.db.reading() as session:
        report = ReportRepository(session).peek(exam_id)
        return [
            (row.number, row.act, row.findings, row.author_name)
            for row in ReportRepository(session).versions(report.id)
        ]


class TestSave:
    def test_the_first_save_begins_the_draft_and_each_one_counts(self, world: World):
        exam = world.claimed("writer1")
        assert save(world, "writer1", exam.id, Draft("一"), 0).revision == 1
        report = save(world, "writer1", exam.id, Draft(impression="二", positive=True), 1)
        assert (report.findings, report.impression, report.positive, report.revision) == ("一", "二", True, 2)
        assert world.exam(exam.id).state == "draft"

    def test_a_save_on_top_of_an_older_one_is_refused(self, world: World):
        exam = world.claimed("writer1")
        save(world, "writer1", exam.id, Draft("甲"), 0)
        with pytest.raises(StaleDraft):
            save(world, "writer1", exam.id, Draft("乙"), 0)

    def test_two_windows_that_begin_at_once_make_one_report(self, world: World):
        exam = world.claimed("writer1")
        barrier = threading.Barrier(2)
        actor = world.actor("writer1")

        def begin(text: str) -> str:
            barrier.wait(timeout=30)
            try:
                with world.context.db.transaction() as session:
                    service.save(session, actor, exam.id, Draft(text), revision=0, now=world.clock())
            except StaleDraft:
                return "stale"
            return text

        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(begin, ["甲", "乙"]))
        assert sorted(outcome == "stale" for outcome in outcomes) == [False, True]
        with world.context.db.reading() as session:
            kept = session.scalars(select(Report).where(Report.exam_id == exam.id)).all()
        assert [row.findings for row in kept] == [outcome for outcome in outcomes if outcome != "stale"]

    def test_nobody_writes_what_another_holds(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        with pytest.raises(LeaseLost):
            save(sqlite_world, "writer2", exam.id, Draft("x"))

    def test_a_text_beyond_the_limit_is_refused(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        with pytest.raises(TextTooLong):
            save(sqlite_world, "writer1", exam.id, Draft("x" * 20_001))


class TestHandover:
    def test_the_former_reader_s_words_stay_as_a_version(self, world: World):
        exam = world.claimed("writer1")
        save(world, "writer1", exam.id, Draft("林书一的所见"))
        give_back(world, "writer1", exam.id)
        take(world, "writer2", exam.id)
        save(world, "writer2", exam.id, Draft("林书二改写"))
        assert versions(world, exam.id) == [(1, "handover", "林书一的所见", "林书一")]

    def test_it_is_kept_once(self, sqlite_world: World):
        world = sqlite_world
        exam = world.claimed("writer1")
        save(world, "writer1", exam.id, Draft("原文"))
        give_back(world, "writer1", exam.id)
        take(world, "writer2", exam.id)
        save(world, "writer2", exam.id, Draft("改一"))
        save(world, "writer2", exam.id, Draft("改二"))
        assert len(versions(world, exam.id)) == 1


class TestSubmitAndReturn:
    @pytest.mark.parametrize(
        ("draft", "error"), [(Draft(" ", "意见"), EmptyFindings), (Draft("所见", "\n"), EmptyImpression)]
    )
    def test_both_texts_are_needed(self, sqlite_world: World, draft: Draft, error: type[Exception]):
        exam = sqlite_world.claimed("writer1")
        save(sqlite_world, "writer1", exam.id, draft)
        with pytest.raises(error):
            submit(sqlite_world, "writer1", exam.id)

    def test_the_whole_way_to_a_second_submission(self, world: World):
        exam = world.claimed("writer1")
        save(world, "writer1", exam.id, Draft("所见一", "意见"))
        submit(world, "writer1", exam.id)
        handed = world.exam(exam.id)
        assert (handed.state, handed.owner_id, handed.writer_id) == (
            "submitted",
            None,
            world.user_ids["writer1"],
        )
        reviewer = world.actor("reviewer1")
        with pytest.raises(CommentMissing), world.context.db.transaction() as session:
            service.send_back(session, reviewer, exam.id, comment=" ", now=world.clock())
        with world.context.db.transaction() as session:
            service.send_back(session, reviewer, exam.id, comment="左右写反", now=world.clock())
        assert world.exam(exam.id).state == "returned"
        take(world, "writer1", exam.id)
        save(world, "writer1", exam.id, Draft("所见二"))
        submit(world, "writer1", exam.id)
        assert versions(world, exam.id) == [
            (1, "submit", "所见一", "林书一"),
            (2, "return", "所见一", "沈审核"),
            (3, "submit", "所见二", "林书一"),
        ]

    def test_submitted_text_cannot_be_written_any_more(self, sqlite_world: World):
        exam = sqlite_world.claimed("writer1")
        save(sqlite_world, "writer1", exam.id, Draft("所见", "意见"))
        submit(sqlite_world, "writer1", exam.id)
        with pytest.raises(LeaseLost):
            save(sqlite_world, "writer1", exam.id, Draft("偷改"))

    def test_nobody_reviews_the_own_report(self, sqlite_world: World):
        world = sqlite_world
        exam = world.claimed("cardio1")
        save(world, "cardio1", exam.id, Draft("窦性心律", "正常心电图"))
        submit(world, "cardio1", exam.id)
        with pytest.raises(OwnReport), world.context.db.transaction() as session:
            service.send_back(session, world.actor("cardio1"), exam.id, comment="x", now=world.clock())

    def test_an_image_reviewer_does_not_review_an_ecg(self, sqlite_world: World):
        world = sqlite_world
        exam = world.claimed("cardio1")
        save(world, "cardio1", exam.id, Draft("窦性心律", "正常心电图"))
        submit(world, "cardio1", exam.id)
        with pytest.raises(OutOfScope), world.context.db.transaction() as session:
            service.send_back(session, world.actor("reviewer1"), exam.id, comment="x", now=world.clock())

    def test_a_writer_reviews_nobody(self, sqlite_world: World):
        world = sqlite_world
        exam = world.claimed("writer1")
        save(world, "writer1", exam.id, Draft("所见", "意见"))
        submit(world, "writer1", exam.id)
        with pytest.raises(Forbidden), world.context.db.transaction() as session:
            service.send_back(session, world.actor("writer2"), exam.id, comment="x", now=world.clock())


class TestKeyImages:
    def images(self, world: World, exam_id: str):
        with world.context.db.reading() as session:
            report = ReportRepository(session).peek(exam_id)
            return [
                (row.sop_uid, row.frame, row.window_center)
                for row in ReportRepository(session).key_images(report.id)
            ]

    def first_sop(self, world: World, study_id: str) -> str:
        with world.context.db.reading() as session:
            return CatalogueRepository(session).instances_of_study(study_id)[0][1].sop_uid

    def test_choosing_twice_keeps_one_with_the_later_window(self, world: World):
        exam = world.claimed("writer1")
        sop = self.first_sop(world, exam.study_id)
        for center in (40.0, 600.0):
            with world.context.db.transaction() as session:
                picture = Picture(sop, 1, (center, 1500.0))
                service.choose_key_image(session, world.actor("writer1"), exam.id, picture, now=world.clock())
        assert self.images(world, exam.id) == [(sop, 1, 600.0)]
        with world.context.db.transaction() as session:
            service.drop_key_image(session, world.actor("writer1"), exam.id, sop, 1)
        assert self.images(world, exam.id) == []

    @pytest.mark.parametrize("frame", [0, 2])
    def test_a_frame_the_image_does_not_have_is_refused(self, sqlite_world: World, frame: int):
        world = sqlite_world
        exam = world.claimed("writer1")
        picture = Picture(self.first_sop(world, exam.study_id), frame)
        with pytest.raises(NotFound), world.context.db.transaction() as session:
            service.choose_key_image(session, world.actor("writer1"), exam.id, picture, now=world.clock())

    def test_another_exam_s_image_is_refused(self, sqlite_world: World):
        world = sqlite_world
        other = world.complete_exam(local_id="other")
        exam = world.claimed("writer1")
        picture = Picture(self.first_sop(world, other.study_id))
        with pytest.raises(NotFound), world.context.db.transaction() as session:
            service.choose_key_image(session, world.actor("writer1"), exam.id, picture, now=world.clock())
