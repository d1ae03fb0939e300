"""From objects to exams, on both databases.

Oracle: the matching rules of the requirements (site + accession, else worklist UID; a
contradiction is never resolved by the machine), written out here case by case by hand.
"""

from typing import Any

import pytest

from hub.errors import Conflict, Forbidden, NotFound, Rejected
from hub.kit.uids import new_uid
from hub.worklist import matching, service
from hub.worklist.models import Exam, Order
from hub.worklist.repository import WorklistRepository
from hub.worklist.service import ReasonMissing
from tests.fixtures.world import World


def order_of(world: World, exam: Exam) -> Order:
    with world.context.db.reading() as session:
        order = session.get(Order, exam.order_id)
        assert order is not None
        return order


def resolve(world: World, login: str, exam_id: str, *, belongs: bool, reason: str = "查过登记本") -> Exam:
    with world.context.db.transaction() as session:
        return matching.resolve(
            session,
            world.actor(login),
            exam_id,
            belongs=belongs,
            reason=reason,
            settings=world.context.settings,
            now=world.clock(),
        )


def states(world: World, exam_id: str) -> list[str]:
    with world.context.db.reading() as session:
        return [step.to_state for step in WorklistRepository(session).steps(exam_id)]


class TestMatch:
    def test_by_accession(self, world: World) -> None:
        ordered = world.order(urgency="urgent")
        exam = world.complete_exam(accession=ordered.number)
        assert exam.id == ordered.id
        assert (exam.state, exam.conflicts, exam.unordered) == ("complete", [], False)
        assert states(world, exam.id) == ["ordered", "receiving", "complete"]
        assert (exam.priority, exam.due_at) == (1, _after(exam.complete_at, minutes=30))

    def test_by_worklist_uid_without_accession(self, world: World) -> None:
        ordered = world.order()
        exam = world.complete_exam(study_uid=order_of(world, ordered).study_uid)
        assert (exam.id, exam.state) == (ordered.id, "complete")

    def test_objects_without_order_become_an_exam_with_a_mark(self, world: World) -> None:
        exam = world.complete_exam(accession="NOT-OURS")
        assert (exam.state, exam.unordered, exam.order_id) == ("complete", True, None)

    def test_the_same_accession_at_two_sites_makes_two_exams(self, world: World) -> None:
        first = world.complete_exam("DP", accession="1")
        second = world.complete_exam("LP", accession="1")
        assert first.id != second.id
        assert first.number != second.number
        assert {first.site_id, second.site_id} == set(world.site_ids.values())

    def test_the_order_of_another_site_is_not_taken(self, world: World) -> None:
        ordered = world.order("DP")
        exam = world.complete_exam("LP", accession=ordered.number)
        assert exam.id != ordered.id
        assert world.exam(ordered.id).state == "ordered"

    def test_pinyin_against_han_matches_with_a_mark(self, world: World) -> None:
        ordered = world.order()
        exam = world.complete_exam(accession=ordered.number, patient_name="WANG XIUYING")
        assert (exam.id, exam.state, exam.conflicts) == (ordered.id, "complete", ["name_script"])

    def test_the_study_may_differ_from_the_order_in_modality(self, world: World) -> None:
        ordered = world.order(modality="DX")
        exam = world.complete_exam(accession=ordered.number, modality="CR")
        assert (exam.id, exam.modality) == (ordered.id, "CR")


class TestConflict:
    @pytest.mark.parametrize(
        ("seen", "conflicts"),
        [
            ({"patient_name": "王秀兰"}, ["name"]),
            ({"local_id": "P2002"}, ["id"]),
            ({"sex": "M"}, ["sex"]),
            ({"patient_name": "李四", "local_id": "P2002", "sex": "M"}, ["name", "id", "sex"]),
        ],
    )
    def test_goes_to_unmatched_and_leaves_the_order_waiting(
        self, world: World, seen: dict[str, Any], conflicts: list[str]
    ) -> None:
        ordered = world.order()
        exam = world.complete_exam(accession=ordered.number, **seen)
        assert (exam.state, exam.conflicts) == ("unmatched", conflicts)
        assert (exam.candidate_order_id, exam.order_id) == (ordered.order_id, None)
        assert world.exam(ordered.id).state == "ordered"

    def test_a_second_study_of_a_taken_order_waits_for_a_person(self, world: World) -> None:
        ordered = world.order()
        world.complete_exam(accession=ordered.number)
        second = world.complete_exam(accession=ordered.number)
        assert (second.state, second.conflicts) == ("unmatched", ["order_taken"])

    def test_an_empty_field_contradicts_nothing(self, world: World) -> None:
        ordered = world.order()
        exam = world.complete_exam(accession=ordered.number, local_id="", sex="")
        assert (exam.id, exam.state) == (ordered.id, "complete")

    def test_unordered_objects_never_overwrite_a_known_identity(self, world: World) -> None:
        world.order()
        exam = world.complete_exam(patient_name="李四")
        assert (exam.unordered, exam.patient_id) == (True, None)


class TestMoreObjects:
    def test_a_rejected_exam_takes_a_new_study(self, world: World) -> None:
        ordered = world.order()
        first = world.complete_exam(accession=ordered.number)
        with world.context.db.transaction() as session:
            service.reject(
                session,
                world.actor("writer1"),
                first.id,
                code="cut_off",
                text="右肋膈角未包括",
                now=world.clock(),
            )
        again = world.complete_exam(accession=ordered.number)
        assert (again.id, again.state) == (ordered.id, "complete")
        assert again.study_id != first.study_id
        assert states(world, ordered.id)[-3:] == ["rejected", "receiving", "complete"]

    def test_a_rejected_exam_takes_more_of_the_same_study(self, world: World) -> None:
        uid = world.register()
        world.settle()
        exam = world.exam_of(uid)
        with world.context.db.transaction() as session:
            service.reject(
                session,
                world.actor("writer1"),
                exam.id,
                code="missing_view",
                text="缺侧位",
                now=world.clock(),
            )
        world.register(study_uid=uid, instances=1)
        world.settle()
        assert world.exam(exam.id).state == "complete"

    def test_objects_after_completion_reopen_and_the_clock_keeps_its_start(self, world: World) -> None:
        uid = world.register()
        world.settle()
        first = world.exam_of(uid)
        world.clock.advance(minutes=20)
        world.register(study_uid=uid, instances=1)
        world.run_jobs()
        assert world.exam(first.id).state == "receiving"
        world.settle()
        again = world.exam(first.id)
        assert (again.state, again.complete_at, again.due_at) == ("complete", first.complete_at, first.due_at)
        assert states(world, first.id) == ["receiving", "complete", "receiving", "complete"]

    def test_objects_after_a_claim_are_counted_and_the_reader_keeps_it(self, world: World) -> None:
        uid = world.register()
        world.settle()
        exam = world.exam_of(uid)
        with world.context.db.transaction() as session:
            service.claim(
                session,
                world.actor("writer1"),
                exam.id,
                settings=world.context.settings,
                now=world.clock(),
            )
        world.clock.advance(minutes=1)
        world.register(study_uid=uid, instances=1)
        world.run_jobs()
        late = world.exam(exam.id)
        assert (late.state, late.owner_id) == ("claimed", world.user_ids["writer1"])
        assert late.late_objects == 1
        world.register(study_uid=uid, instances=2)
        world.settle()
        assert world.exam(exam.id).late_objects == 3

    def test_sent_again_changes_nothing(self, world: World) -> None:
        ordered = world.order()
        exam = world.complete_exam(accession=ordered.number)
        with world.context.db.transaction() as session:
            matching.open_exam(
                session, str(exam.study_id), "quiet", settings=world.context.settings, now=world.clock()
            )
        assert states(world, exam.id) == ["ordered", "receiving", "complete"]

    def test_send_finished_settles_without_the_quiet_time(self, world: World) -> None:
        uid = world.register()
        world.run_jobs()
        exam = world.exam_of(uid)
        assert exam.state == "receiving"
        with world.context.db.transaction() as session:
            service.finish_sending(session, world.actor("tech_dp"), exam.id, now=world.clock())
        world.run_jobs()
        assert world.exam(exam.id).state == "complete"

    def test_an_ecg_is_complete_at_once(self, world: World) -> None:
        uid = world.register_ecg()
        world.run_jobs()
        assert world.exam_of(uid).state == "complete"


class TestResolve:
    def unmatched(self, world: World) -> tuple[Exam, Exam]:
        ordered = world.order()
        return ordered, world.complete_exam(accession=ordered.number, patient_name="王秀兰")

    def test_belongs_joins_the_order_and_closes_the_other(self, world: World) -> None:
        ordered, stray = self.unmatched(world)
        target = resolve(world, "tech_dp", stray.id, belongs=True)
        assert target.id == ordered.id
        joined, closed = world.exam(ordered.id), world.exam(stray.id)
        assert (joined.state, joined.study_id, joined.conflicts) == ("complete", stray.study_id, ["name"])
        assert (closed.state, closed.study_id) == ("cancelled", None)

    def test_does_not_belong_becomes_an_exam_without_order(self, world: World) -> None:
        ordered, stray = self.unmatched(world)
        resolve(world, "tech_dp", stray.id, belongs=False)
        exam = world.exam(stray.id)
        assert (exam.state, exam.unordered, exam.candidate_order_id) == ("complete", True, None)
        assert world.exam(ordered.id).state == "ordered"

    def test_is_decided_once(self, world: World) -> None:
        _, stray = self.unmatched(world)
        resolve(world, "tech_dp", stray.id, belongs=False)
        with pytest.raises(Conflict):
            resolve(world, "tech_dp", stray.id, belongs=True)

    def test_wants_a_reason(self, world: World) -> None:
        _, stray = self.unmatched(world)
        with pytest.raises(Rejected):
            resolve(world, "tech_dp", stray.id, belongs=True, reason=" ")

    def test_is_the_technicians_own(self, world: World) -> None:
        _, stray = self.unmatched(world)
        with pytest.raises(Forbidden):
            resolve(world, "doctor_dp", stray.id, belongs=True)
        with pytest.raises(NotFound):
            resolve(world, "doctor_lp", stray.id, belongs=True)

    def test_before_the_quiet_time_the_exam_goes_on_receiving(self, world: World) -> None:
        ordered = world.order()
        uid = world.register(accession=ordered.number, patient_name="王秀兰")
        world.run_jobs()
        resolve(world, "tech_dp", world.exam_of(uid).id, belongs=True)
        assert world.exam(ordered.id).state == "receiving"
        world.settle()
        assert world.exam(ordered.id).state == "complete"

    def test_an_order_that_was_taken_meanwhile_cannot_be_joined(self, world: World) -> None:
        ordered, stray = self.unmatched(world)
        world.complete_exam(accession=ordered.number)
        with pytest.raises(Conflict):
            resolve(world, "tech_dp", stray.id, belongs=True)
        assert world.exam(stray.id).state == "unmatched"


def test_cancel_wants_a_reason_and_a_state_before_reading(world: World) -> None:
    ordered = world.order()
    with pytest.raises(ReasonMissing), world.context.db.transaction() as session:
        service.cancel(session, world.actor("doctor_dp"), ordered.id, reason="", now=world.clock())
    claimed = world.claimed("writer1", study_uid=new_uid())
    with pytest.raises(Conflict), world.context.db.transaction() as session:
        service.cancel(session, world.actor("doctor_dp"), claimed.id, reason="重复", now=world.clock())
    with world.context.db.transaction() as session:
        service.cancel(session, world.actor("doctor_dp"), ordered.id, reason="重复", now=world.clock())
    assert world.exam(ordered.id).state == "cancelled"


def _after(moment: Any, **units: float) -> Any:
    from datetime import timedelta

    return moment + timedelta(**units)
