"""Two patients in one study, and one UID with two contents: the lock, the two people, the bytes."""

import hashlib

import pytest
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.auth import service as accounts
from hub.auth.models import UserAccount
from hub.auth.roles import Role
from hub.catalogue.conflicts import StudyContested
from hub.catalogue.models import Instance, Quarantined, Study
from hub.catalogue.places import place_of, read_place
from hub.sites import service as sites
from hub.sites.repository import SiteRepository
from hub.worklist import service as worklist
from hub.worklist.models import Exam
from hub.worklist.states import State
from tests.dicom.samples import CT_CLASS, EXPLICIT, build, element
from tests.fixtures.raw_dicom import receive
from tests.fixtures.world import SETUP, World


def push(world: World, sop_uid: str, **changes: bytes) -> bytes:
    """Let one object arrive from a registered device; return its data set."""
    dataset = build(t00080018=element(0x00080018, "UI", sop_uid.encode()), **changes)
    receive(world.context, dataset, CT_CLASS, sop_uid, EXPLICIT, "CT1", "10.0.0.1")
    return dataset


def named(number: str, name: str) -> dict[str, bytes]:
    return {
        "t00100010": element(0x00100010, "PN", name.encode("gbk")),
        "t00100020": element(0x00100020, "LO", number.encode()),
    }


def rows(world: World, model: type) -> list:
    with world.context.db.reading() as session:
        return list(session.scalars(select(model)))


def second_technician(world: World) -> None:
    with world.context.db.transaction() as session:
        user = UserAccount(login="tech2_dp", name="马技师", password_hash="x", created_at=world.clock())
        session.add(user)
        session.flush()
        world.user_ids["tech2_dp"] = user.id
        accounts.add_post(
            session,
            user,
            Role.TECHNICIAN,
            world.site_ids["DP"],
            valid_from=world.clock.now.date().replace(year=2020),
            actor=SETUP,
        )


@pytest.fixture
def device(world: World) -> World:
    with world.context.db.transaction() as session:
        site = SiteRepository(session).site(world.site_ids["DP"])
        assert site is not None
        sites.add_device(session, site, "CT1", address="10.0.0.1", now=world.clock(), actor=SETUP)
    return world


@pytest.fixture
def contested(device: World) -> World:
    """张三's study with two objects, and two of 李四 that came under its UID."""
    push(device, "1.2.3.101")
    push(device, "1.2.3.102")
    push(device, "1.2.3.201", **named("P2", "李四"))
    push(device, "1.2.3.202", **named("P2", "李四"))
    device.settle()
    return device


def claim(world: World, exam: Exam) -> None:
    with world.context.db.transaction() as session:
        worklist.claim(
            session, world.actor("writer1"), exam.id, settings=world.context.settings, now=world.clock()
        )


def items(world: World) -> list[str]:
    return [item.id for item in rows(world, Quarantined) if item.resolved_at is None]


class TestTwoPatients:
    def study(self, world: World) -> Study:
        (study,) = rows(world, Study)
        return study

    def test_the_study_is_locked_until_somebody_decides(self, contested: World) -> None:
        world, study = contested, self.study(contested)
        exam = world.exam_of(study.study_uid)
        assert exam.state == State.COMPLETE
        with pytest.raises(StudyContested):
            claim(world, exam)
        client = world.client("tech_dp")
        form = {"item": items(world), "reason": "另一位患者，已在设备上重发"}
        assert client.post(f"/desk/conflicts/{study.id}/discard", data=form).status_code == 303
        claim(world, exam)
        assert world.exam(exam.id).state == State.CLAIMED

    def test_a_reader_who_has_it_already_cannot_submit(self, device: World) -> None:
        world = device
        push(world, "1.2.3.101")
        world.settle()
        exam = world.exam_of("1.2.3")
        claim(world, exam)
        push(world, "1.2.3.201", **named("P2", "李四"))
        with world.context.db.transaction() as session:
            found = session.get(Exam, exam.id)
            assert found is not None
            found.state = State.DRAFT
            with pytest.raises(StudyContested):
                worklist.advance(session, found, worklist.Event.SUBMIT, world.actor("writer1"), world.clock())

    def test_both_sides_are_shown(self, contested: World) -> None:
        world, study = contested, self.study(contested)
        client = world.client("tech_dp")
        assert f"/desk/conflicts/{study.id}" in client.get("/desk?show=conflicts").text
        page = client.get(f"/desk/conflicts/{study.id}").text
        for text in ("张三", "李四", "P1", "P2", "1.2.3.102", "/desk/items/"):
            assert text in page
        seen = [row for row in rows(world, AuditEvent) if row.tag == Tag.STUDY_VIEW]
        assert [row.subject_id for row in seen] == [study.id]

    def test_moving_takes_two_people(self, contested: World) -> None:
        """Oracle for the bytes: SHA-256 over the data sets as they were sent."""
        world, study = contested, self.study(contested)
        second_technician(world)
        first, second = world.client("tech_dp"), world.client("tech2_dp")
        path, chosen = f"/desk/conflicts/{study.id}", {"item": items(world)}
        assert second.post(f"{path}/confirm", data=chosen).status_code == 409  # nothing proposed
        form = {**chosen, "reason": "患者编号录错"}
        assert first.post(f"{path}/propose", data=form).status_code == 303
        assert first.post(f"{path}/propose", data=form).status_code == 409
        own = first.post(f"{path}/confirm", data=chosen)
        assert own.status_code == 409
        assert "须由另一人确认" in own.text
        assert len(rows(world, Instance)) == 2
        assert second.post(f"{path}/confirm", data=chosen).status_code == 303
        assert items(world) == []
        kept = {
            instance.sop_uid: hashlib.sha256(
                read_place(world.context.store, place_of(instance))[instance.dataset_offset :]
            ).digest()
            for instance in rows(world, Instance)
        }
        sent = build(t00080018=element(0x00080018, "UI", b"1.2.3.201"), **named("P2", "李四"))
        assert kept["1.2.3.201"] == hashlib.sha256(sent).digest()
        assert set(kept) == {"1.2.3.101", "1.2.3.102", "1.2.3.201", "1.2.3.202"}
        done = rows(world, Quarantined)
        assert {(item.proposed_by, item.resolved_by) for item in done} == {
            (world.user_ids["tech_dp"], world.user_ids["tech2_dp"])
        }
        assert {item.resolution_reason for item in done} == {"患者编号录错"}
        assert self.study(world).patient_name == "张三"

    def test_it_is_the_second_person_where_a_site_has_one_technician(self, contested: World) -> None:
        world, study = contested, self.study(contested)
        path, chosen = f"/desk/conflicts/{study.id}", {"item": items(world)}
        it = world.client("admin1")
        assert it.post(f"{path}/propose", data={**chosen, "reason": "x"}).status_code == 403
        assert it.post(f"{path}/discard", data={**chosen, "reason": "x"}).status_code == 403
        world.client("tech_dp").post(f"{path}/propose", data={**chosen, "reason": "编号录错"})
        assert it.post(f"{path}/confirm", data=chosen).status_code == 303
        assert len(rows(world, Instance)) == 4

    def test_a_proposal_is_taken_back(self, contested: World) -> None:
        world, study = contested, self.study(contested)
        path, chosen = f"/desk/conflicts/{study.id}", {"item": items(world)}
        client = world.client("tech_dp")
        client.post(f"{path}/propose", data={**chosen, "reason": "编号录错"})
        assert client.post(f"{path}/dismiss", data=chosen).status_code == 303
        assert {(item.resolution, item.proposed_by) for item in rows(world, Quarantined)} == {("", None)}
        with pytest.raises(StudyContested):
            claim(world, world.exam_of(study.study_uid))

    @pytest.mark.parametrize("decision", ["propose", "discard"])
    def test_a_decision_needs_its_reason(self, contested: World, decision: str) -> None:
        world, study = contested, self.study(contested)
        form = {"item": items(world), "reason": " "}
        answer = world.client("tech_dp").post(f"/desk/conflicts/{study.id}/{decision}", data=form)
        assert answer.status_code == 422
        assert "请填写判断依据" in answer.text
        assert len(items(world)) == 2

    def test_what_was_decided_is_not_asked_again_when_it_is_sent_again(self, contested: World) -> None:
        """A device that sends its whole day again must not lock every study that was sorted out."""
        world, study = contested, self.study(contested)
        second_technician(world)
        one, other = items(world)
        path = f"/desk/conflicts/{study.id}"
        world.client("tech_dp").post(f"{path}/propose", data={"item": one, "reason": "编号录错"})
        assert world.client("tech2_dp").post(f"{path}/confirm", data={"item": one}).status_code == 303
        world.client("tech_dp").post(f"{path}/discard", data={"item": other, "reason": "重发"})
        for uid in ("1.2.3.201", "1.2.3.202"):
            push(world, uid, **named("P2", "李四"))
        assert items(world) == []
        assert len(rows(world, Quarantined)) == 2
        assert {row.sop_uid: row.resends for row in rows(world, Instance)}["1.2.3.201"] == 1

    @pytest.mark.parametrize(
        ("login", "status"), [("doctor_dp", 403), ("writer1", 403), ("director1", 403), ("doctor_lp", 403)]
    )
    def test_others_neither_see_nor_decide(self, contested: World, login: str, status: int) -> None:
        world, study = contested, self.study(contested)
        client, form = world.client(login), {"item": items(world), "reason": "x"}
        assert client.get(f"/desk/conflicts/{study.id}").status_code == status
        for decision in ("propose", "confirm", "dismiss", "discard"):
            assert client.post(f"/desk/conflicts/{study.id}/{decision}", data=form).status_code == status
        assert client.get(f"/desk/items/{items(world)[0]}/picture").status_code == status

    def test_it_does_not_decide_alone_by_the_quarantine_desk(self, contested: World) -> None:
        world = contested
        client, item = world.client("admin1"), items(world)[0]
        assert item not in client.get("/desk?show=quarantine").text
        form = {"site": world.site_ids["DP"]}
        assert client.post(f"/desk/quarantine/{item}/file", data=form).status_code == 422
        assert client.post(f"/desk/quarantine/{item}/aside", data={"reason": "x"}).status_code == 409
        assert len(items(world)) == 2
        assert len(rows(world, Instance)) == 2

    def test_a_thumbnail_of_what_was_kept_out(self, contested: World) -> None:
        answer = contested.client("tech_dp").get(f"/desk/items/{items(contested)[0]}/picture")
        assert answer.status_code == 200
        assert answer.content.startswith(b"\xff\xd8")


class TestClashes:
    @pytest.fixture
    def clashing(self, device: World) -> World:
        push(device, "1.2.3.101")
        push(device, "1.2.3.101", t00281050=element(0x00281050, "DS", b"40"))
        return device

    def test_both_are_shown_with_what_differs(self, clashing: World) -> None:
        (item,) = items(clashing)
        client = clashing.client("tech_dp")
        assert f"/desk/clashes/{item}" in client.get("/desk?show=conflicts").text
        page = client.get(f"/desk/clashes/{item}").text
        assert "(0028,1050)" in page
        assert "像素相同" in page

    @pytest.mark.parametrize("keep", ["kept_first", "kept_both"])
    def test_a_person_closes_it_and_nothing_is_overwritten(self, clashing: World, keep: str) -> None:
        world = clashing
        (item,) = items(world)
        (before,) = rows(world, Instance)
        client = world.client("tech_dp")
        assert client.post(f"/desk/clashes/{item}", data={"keep": keep, "reason": " "}).status_code == 422
        assert client.post(f"/desk/clashes/{item}", data={"keep": "second", "reason": "x"}).status_code == 422
        assert (
            client.post(f"/desk/clashes/{item}", data={"keep": keep, "reason": "已核对"}).status_code == 303
        )
        (done,) = rows(world, Quarantined)
        assert (done.resolution, done.resolved_by) == (keep, world.user_ids["tech_dp"])
        (after,) = rows(world, Instance)
        assert after.sha256 == before.sha256
        assert world.context.store.get(done.files[0]["key"])
        push(world, "1.2.3.101", t00281050=element(0x00281050, "DS", b"40"))
        assert items(world) == []

    @pytest.mark.parametrize("login", ["admin1", "doctor_dp", "writer1"])
    def test_only_technicians_decide(self, clashing: World, login: str) -> None:
        (item,) = items(clashing)
        client = clashing.client(login)
        assert client.get(f"/desk/clashes/{item}").status_code == 403
        form = {"keep": "kept_first", "reason": "x"}
        assert client.post(f"/desk/clashes/{item}", data=form).status_code == 403
