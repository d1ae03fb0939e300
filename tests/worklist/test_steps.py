"""Procedure steps and completeness, in every order of events, on both databases.

Oracle: requirements §3.2 row 2 and §4.6, written out here case by case by hand. What DICOM
peers send is in tests/system/test_worklist_wire.py; here the reports are given as DICOM JSON.
"""

from typing import Any

import pytest
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.catalogue.models import Study
from hub.errors import Conflict, Forbidden
from hub.jobs.testing import run_pending
from hub.kit.uids import new_uid
from hub.sites import service as sites
from hub.sites.repository import SiteRepository
from hub.sites.service import DeviceKnown
from hub.worklist import attendance, completeness, service, steps
from hub.worklist.models import Exam, Order, ProcedureStep
from hub.worklist.mpps import StepUnreadable, read_attributes
from hub.worklist.repository import WorklistRepository
from hub.worklist.service import Plan
from tests.fixtures.world import SETUP, World

EXPLICIT = "1.2.840.10008.1.2.1"


def json(**values: Any) -> dict[str, Any]:
    """DICOM JSON by tag, tags written ``t00100020``."""
    return {
        tag[1:]: {"vr": "SQ" if isinstance(value, list) else "LO", "Value": value}
        if isinstance(value, list)
        else {"vr": "LO", "Value": [value]}
        for tag, value in values.items()
    }


def listing(*sop_uids: str) -> list[Any]:
    references = [json(t00081150="1.2.840.10008.5.1.4.1.1.1.1", t00081155=uid) for uid in sop_uids]
    return [json(t0020000E="1.2.3.4", t00081140=references)]


class Dr:
    """A device of a site that reports steps."""

    def __init__(self, world: World, site: str = "DP", title: str = "DR1") -> None:
        self.world = world
        with world.context.db.transaction() as session:
            row = SiteRepository(session).site(world.site_ids[site])
            assert row is not None
            device = sites.add_device(session, row, title, now=world.clock(), actor=SETUP)
            self.device = DeviceKnown(device.id, row.id, site, None, title)

    def begin(self, accession: str = "", study_uid: str = "", **changes: Any) -> str:
        uid = new_uid()
        scheduled = json(t0020000D=study_uid or new_uid(), t00080050=accession)
        told = json(
            **{
                "t00400270": [scheduled],
                "t00400253": "PPS1",
                "t00400241": self.device.ae_title,
                "t00400244": "20260302",
                "t00400245": "160000",
                "t00400252": "IN PROGRESS",
                "t00080060": "DX",
                "t00100020": "P1001",
                **changes,
            }
        )
        with self.world.context.db.transaction() as session:
            steps.begin_step(session, self.device, uid, told, address="10.0.0.1", now=self.world.clock())
        return uid

    def end(self, uid: str, *sop_uids: str, status: str = "COMPLETED") -> None:
        told = json(t00400252=status, t00400340=listing(*sop_uids))
        with self.world.context.db.transaction() as session:
            steps.change_step(session, self.device, uid, told, address="10.0.0.1", now=self.world.clock())

    def step(self, uid: str) -> ProcedureStep:
        with self.world.context.db.reading() as session:
            return session.scalars(select(ProcedureStep).where(ProcedureStep.sop_uid == uid)).one()


def send(world: World, exam: Exam, *sop_uids: str, study_uid: str = "") -> str:
    """Let images of an exam arrive, one after the other."""
    uid = study_uid or study_uid_of(world, exam)
    for sop_uid in sop_uids:
        world.register(
            instances=1, sop_uid=sop_uid, study_uid=uid, series_uid="1.2.3.4", accession=exam.number
        )
    world.run_jobs()
    return uid


def study_uid_of(world: World, exam: Exam) -> str:
    with world.context.db.reading() as session:
        order = session.get(Order, exam.order_id)
        assert order is not None
        return order.study_uid


def look(world: World) -> None:
    """Look at every study that waits, as the job does every two seconds; the quiet time is not over."""
    world.clock.advance(seconds=3)
    with world.context.db.transaction() as session:
        for study in session.scalars(select(Study).where(Study.settled_at.is_(None))).all():
            completeness.check_complete(session, study.id, now=world.clock())
    world.run_jobs()


def settled_by(world: World, study_uid: str) -> str:
    with world.context.db.reading() as session:
        return session.scalars(select(Study).where(Study.study_uid == study_uid)).one().settle_reason


def reasons(world: World, exam: Exam) -> list[tuple[str, str]]:
    with world.context.db.reading() as session:
        return [(one.to_state, one.reason) for one in WorklistRepository(session).steps(exam.id)]


class TestExamFollows:
    def test_arrived_performed_received(self, world: World) -> None:
        exam, dr = world.order(), Dr(world)
        uid = dr.begin(exam.number)
        assert world.exam(exam.id).state == "arrived"
        dr.end(uid, "1.2.1", "1.2.2")
        assert world.exam(exam.id).state == "performed"
        send(world, exam, "1.2.1")
        assert world.exam(exam.id).state == "receiving"
        assert reasons(world, exam) == [
            ("ordered", ""),
            ("arrived", "step"),
            ("performed", "step"),
            ("receiving", ""),
        ]

    def test_images_before_the_first_report_are_not_undone(self, world: World) -> None:
        exam, dr = world.order(), Dr(world)
        send(world, exam, "1.2.1")
        uid = dr.begin(exam.number)
        assert world.exam(exam.id).state == "receiving"
        dr.end(uid, "1.2.1", "1.2.2")
        assert world.exam(exam.id).state == "receiving"

    def test_by_the_uid_of_the_worklist_alone(self, world: World) -> None:
        exam = world.order()
        Dr(world).begin(study_uid=study_uid_of(world, exam), t00100010="李建国")
        assert world.exam(exam.id).state == "ordered"  # another name
        Dr(world, title="DR2").begin(study_uid=study_uid_of(world, exam))
        assert world.exam(exam.id).state == "arrived"

    def test_by_patient_alone_only_when_one_order_waits(self, world: World) -> None:
        exam, dr = world.order(), Dr(world)
        dr.begin()
        assert world.exam(exam.id).state == "arrived"
        first, second = (world.order(local_id="P2", name="李建国", sex="M") for _ in range(2))
        uid = dr.begin(t00100020="P2")
        assert dr.step(uid).order_id is None
        assert {world.exam(one.id).state for one in (first, second)} == {"ordered"}

    def test_what_may_not_change_stays(self, world: World) -> None:
        exam, dr = world.order(), Dr(world)
        uid = dr.begin(exam.number)
        with world.context.db.transaction() as session:
            told = json(t00100020="P666", t00080060="CT", t00400254="CHEST")
            steps.change_step(session, dr.device, uid, told, address="", now=world.clock())
        step = dr.step(uid)
        assert (step.local_id, step.modality, step.status) == ("P1001", "DX", "in_progress")
        assert steps.text_of(step.attributes, "00100020") == "P1001"
        assert steps.text_of(step.attributes, "00400254") == "CHEST"

    def test_every_report_is_in_the_trail(self, sqlite_world: World) -> None:
        exam, dr = sqlite_world.order(), Dr(sqlite_world)
        dr.end(dr.begin(exam.number), "1.2.1")
        with sqlite_world.context.db.reading() as session:
            rows = session.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.STEP_REPORT)).all()
        assert [row.facts for row in rows] == [
            {"status": "in_progress", "objects": 0},
            {"status": "completed", "objects": 1},
        ]
        assert {row.patient_id for row in rows} == {exam.patient_id}

    def test_bytes_that_are_no_data_set_are_refused(self) -> None:
        with pytest.raises(StepUnreadable) as refused:
            read_attributes(b"\x40\x00\x70\x02SQ\x00\x00\xff\x00\x00\x00", EXPLICIT, None)
        assert refused.value.dimse_status == 0x0110


class TestByHand:
    def test_the_technician_checks_in_and_out(self, world: World) -> None:
        first, second = world.order(local_id="A"), world.order(local_id="B")
        with world.context.db.transaction() as session:
            tech = world.actor("tech_dp")
            attendance.arrive(session, tech, first.id, now=world.clock())
            attendance.perform(session, tech, first.id, now=world.clock())
            attendance.perform(session, tech, second.id, now=world.clock())
        assert [state for state, _ in reasons(world, first)] == ["ordered", "arrived", "performed"]
        assert [state for state, _ in reasons(world, second)] == ["ordered", "arrived", "performed"]
        with world.context.db.transaction() as session, pytest.raises(Conflict):
            attendance.arrive(session, tech, first.id, now=world.clock())

    def test_nobody_else_does(self, sqlite_world: World) -> None:
        exam = sqlite_world.order()
        for login in ("doctor_dp", "writer1"):
            with sqlite_world.context.db.transaction() as session, pytest.raises(Forbidden):
                attendance.arrive(session, sqlite_world.actor(login), exam.id, now=sqlite_world.clock())


class TestComplete:
    def test_the_last_image_comes_after_the_list(self, world: World) -> None:
        exam, dr = world.order(), Dr(world)
        dr.end(dr.begin(exam.number), "1.2.1", "1.2.2")
        study = send(world, exam, "1.2.1")
        look(world)
        assert world.exam(exam.id).state == "receiving"
        send(world, exam, "1.2.2")
        look(world)
        assert (world.exam(exam.id).state, settled_by(world, study)) == ("complete", "mpps")
        assert reasons(world, exam)[-1] == ("complete", "mpps")

    def test_the_list_comes_after_the_last_image(self, world: World) -> None:
        exam, dr = world.order(), Dr(world)
        uid = dr.begin(exam.number)
        study = send(world, exam, "1.2.1", "1.2.2")
        look(world)
        assert world.exam(exam.id).state == "receiving"
        dr.end(uid, "1.2.1", "1.2.2")
        look(world)
        assert (world.exam(exam.id).state, settled_by(world, study)) == ("complete", "mpps")

    def test_unordered_objects_are_complete_by_their_own_list(self, world: World) -> None:
        dr, study = Dr(world), new_uid()
        uid = dr.begin(study_uid=study)
        assert dr.step(uid).order_id is None
        world.register(instances=1, sop_uid="1.2.1", study_uid=study, series_uid="1.2.3.4")
        world.run_jobs()
        dr.end(uid, "1.2.1")
        look(world)
        assert settled_by(world, study) == "mpps"

    def test_a_list_with_objects_that_are_never_sent_leaves_it_to_the_timer(self, world: World) -> None:
        exam, dr = world.order(), Dr(world)
        dr.end(dr.begin(exam.number), "1.2.1", "1.2.99")
        study = send(world, exam, "1.2.1")
        look(world)
        assert world.exam(exam.id).state == "receiving"
        world.settle()
        assert (world.exam(exam.id).state, settled_by(world, study)) == ("complete", "quiet")

    def test_while_a_second_step_is_in_progress_the_first_list_decides_nothing(self, world: World) -> None:
        exam, dr = world.order(), Dr(world)
        first, second = dr.begin(exam.number), dr.begin(exam.number)
        dr.end(first, "1.2.1")
        study = send(world, exam, "1.2.1")
        look(world)
        assert world.exam(exam.id).state == "receiving"
        dr.end(second, "1.2.2")
        look(world)
        assert world.exam(exam.id).state == "receiving"
        send(world, exam, "1.2.2")
        look(world)
        assert settled_by(world, study) == "mpps"

    @pytest.mark.parametrize("status", ["DISCONTINUED", "IN PROGRESS"])
    def test_what_was_given_up_or_goes_on_lists_nothing(self, sqlite_world: World, status: str) -> None:
        exam, dr = sqlite_world.order(), Dr(sqlite_world)
        dr.end(dr.begin(exam.number), "1.2.1", status=status)
        send(sqlite_world, exam, "1.2.1")
        look(sqlite_world)
        assert sqlite_world.exam(exam.id).state == "receiving"

    def test_as_many_images_as_expected(self, world: World) -> None:
        exam = world.order(plan=Plan(expected_objects=2))
        study = send(world, exam, "1.2.1")
        assert world.exam(exam.id).state == "receiving"
        send(world, exam, "1.2.2")
        # what looked for the first image has left a look behind that is due by now
        (job,) = run_pending(world.context, skip_delays=True, only=("worklist.check_complete",))
        assert job.ids.keys() == {"study_id"}
        world.run_jobs()
        assert (world.exam(exam.id).state, settled_by(world, study)) == ("complete", "views")

    def test_fewer_than_expected_wait_for_the_timer(self, sqlite_world: World) -> None:
        exam = sqlite_world.order(plan=Plan(expected_objects=3))
        study = send(sqlite_world, exam, "1.2.1", "1.2.2")
        sqlite_world.settle()
        assert settled_by(sqlite_world, study) == "quiet"

    def test_an_exam_that_is_taken_again_does_not_count_its_old_images(self, world: World) -> None:
        exam = world.order(plan=Plan(expected_objects=1))
        study = send(world, exam, "1.2.1")
        look(world)
        assert world.exam(exam.id).state == "complete"
        with world.context.db.transaction() as session:
            service.reject(
                session, world.actor("writer1"), exam.id, code="cut_off", text="重拍", now=world.clock()
            )
        world.clock.advance(minutes=5)
        send(world, exam, "1.2.2")
        look(world)
        assert world.exam(exam.id).state == "receiving"
        world.settle()
        assert (world.exam(exam.id).state, settled_by(world, study)) == ("complete", "quiet")

    def test_looking_is_over_when_the_timer_was_first(self, sqlite_world: World) -> None:
        exam = sqlite_world.order(plan=Plan(expected_objects=3))
        send(sqlite_world, exam, "1.2.1")
        sqlite_world.settle()
        assert sqlite_world.settle() == []
