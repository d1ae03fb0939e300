"""The desk: what waits there, who sees which part, and what their decisions do."""

import pytest
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.catalogue.models import Instance, Quarantined, Study
from hub.catalogue.repository import CatalogueRepository
from hub.dicom.peers import note_refusal
from hub.dicom.wire.association import Peer
from hub.sites.models import Device
from hub.worklist.models import Exam
from hub.worklist.states import State
from tests.dicom.samples import CT_CLASS, EXPLICIT, build, element
from tests.fixtures.raw_dicom import receive
from tests.fixtures.world import World


def push(
    world: World, sop_uid: str, *, ae: str = "STRANGER", address: str = "10.9.8.7", **changes: bytes
) -> None:
    """Let one object arrive by C-STORE, as the listener hands it on."""
    dataset = build(t00080018=element(0x00080018, "UI", sop_uid.encode()), **changes)
    receive(world.context, dataset, CT_CLASS, sop_uid, EXPLICIT, ae, address)


def desk_items(world: World, *, resolved: bool = False) -> list[Quarantined]:
    with world.context.db.reading() as session:
        return list(CatalogueRepository(session).quarantine_desk(None, resolved=resolved))


def rows(world: World, model: type) -> list:
    with world.context.db.reading() as session:
        return list(session.scalars(select(model)))


@pytest.fixture
def two_strangers(world: World) -> World:
    push(world, "1.2.3.101")
    push(world, "1.2.3.102")
    push(world, "1.2.3.103", ae="OTHER", address="10.9.8.8")
    return world


class TestQuarantine:
    def test_the_list_says_who_sent_what_and_why(self, two_strangers: World) -> None:
        page = two_strangers.client("admin1").get("/desk").text
        assert page.count("10.9.8.7") == 2
        assert "STRANGER" in page
        assert "设备未登记" in page
        assert "1.2.3.103" in page

    def test_the_patient_is_masked_for_the_administrator(self, two_strangers: World) -> None:
        """Oracle: the object's own name, written in GBK by `build`, is 张三."""
        item = next(item for item in desk_items(two_strangers) if item.sop_uid == "1.2.3.101")
        page = two_strangers.client("admin1").get(f"/desk/quarantine/{item.id}")
        assert page.status_code == 200
        assert "张*" in page.text
        assert "张三" not in page.text

    def test_filing_one_leaves_the_others(self, two_strangers: World) -> None:
        world = two_strangers
        item = next(item for item in desk_items(world) if item.sop_uid == "1.2.3.101")
        answer = world.client("admin1").post(
            f"/desk/quarantine/{item.id}/file", data={"site": world.site_ids["DP"]}
        )
        assert answer.status_code == 303, answer.text
        (instance,) = rows(world, Instance)
        assert instance.sop_uid == "1.2.3.101"
        assert [study.site_id for study in rows(world, Study)] == [world.site_ids["DP"]]
        assert {item.sop_uid for item in desk_items(world)} == {"1.2.3.102", "1.2.3.103"}
        (done,) = desk_items(world, resolved=True)
        assert (done.resolution, done.resolved_by) == ("filed", world.user_ids["admin1"])

    def test_the_bytes_filed_are_the_bytes_sent(self, two_strangers: World) -> None:
        """Oracle: SHA-256 over the data set as it was handed to the listener."""
        import hashlib

        world = two_strangers
        item = next(item for item in desk_items(world) if item.sop_uid == "1.2.3.101")
        world.client("admin1").post(f"/desk/quarantine/{item.id}/file", data={"site": world.site_ids["DP"]})
        (instance,) = rows(world, Instance)
        sent = build(t00080018=element(0x00080018, "UI", b"1.2.3.101"))
        kept = world.context.store.get(instance.storage_key)[instance.dataset_offset :]
        assert hashlib.sha256(kept).digest() == hashlib.sha256(sent).digest()

    def test_a_whole_sender_is_filed_and_registered(self, two_strangers: World) -> None:
        world = two_strangers
        item = next(item for item in desk_items(world) if item.sop_uid == "1.2.3.101")
        form = {"site": world.site_ids["DP"], "whole_sender": "1", "register_device": "1"}
        answer = world.client("admin1").post(f"/desk/quarantine/{item.id}/file", data=form)
        assert answer.status_code == 303, answer.text
        assert {item.sop_uid for item in desk_items(world)} == {"1.2.3.103"}
        (device,) = rows(world, Device)
        assert (device.ae_title, device.address) == ("STRANGER", "10.9.8.7")
        push(world, "1.2.3.109")
        assert len(rows(world, Instance)) == 3
        assert len(desk_items(world)) == 1

    def test_registering_twice_is_no_obstacle(self, two_strangers: World) -> None:
        world, client = two_strangers, two_strangers.client("admin1")
        for uid in ("1.2.3.101", "1.2.3.102"):
            item = next(item for item in desk_items(world) if item.sop_uid == uid)
            form = {"site": world.site_ids["DP"], "register_device": "1"}
            assert client.post(f"/desk/quarantine/{item.id}/file", data=form).status_code == 303
        assert len(rows(world, Device)) == 1

    def test_what_cannot_be_filed_stays_and_says_why(self, world: World) -> None:
        push(world, "1.2.3.104", t0020000D=b"")
        (item,) = desk_items(world)
        answer = world.client("admin1").post(
            f"/desk/quarantine/{item.id}/file", data={"site": world.site_ids["DP"]}
        )
        assert answer.status_code == 422
        assert "UID" in answer.text
        (still,) = desk_items(world)
        assert still.resolved_at is None
        assert rows(world, Instance) == []

    def test_setting_aside_needs_a_reason(self, two_strangers: World) -> None:
        world, client = two_strangers, two_strangers.client("admin1")
        item = desk_items(world)[0]
        assert client.post(f"/desk/quarantine/{item.id}/aside", data={"reason": "  "}).status_code == 422
        assert len(desk_items(world)) == 3
        answer = client.post(f"/desk/quarantine/{item.id}/aside", data={"reason": "误发的测试体模"})
        assert answer.status_code == 303
        (done,) = desk_items(world, resolved=True)
        assert done.resolution_reason == "误发的测试体模"
        assert world.context.store.get(done.files[0]["key"])
        again = client.post(f"/desk/quarantine/{item.id}/aside", data={"reason": "x"})
        assert again.status_code == 409
        assert "误发的测试体模" in client.get("/desk?show=resolved").text

    def test_refused_devices_are_listed(self, world: World) -> None:
        note_refusal(world.context, Peer("EVIL", "HUB", "10.6.6.6", "a2"), "unknown_device")
        page = world.client("admin1").get("/desk?show=refused").text
        assert "EVIL" in page
        assert "10.6.6.6" in page
        assert "设备未登记" in page
        assert "ae_title=EVIL&amp;address=10.6.6.6" in page

    @pytest.mark.parametrize("login", ["tech_dp", "doctor_dp", "writer1", "auditor1", "director1"])
    def test_only_the_administrator_decides(self, two_strangers: World, login: str) -> None:
        world, item = two_strangers, desk_items(two_strangers)[0]
        client = world.client(login)
        assert client.get(f"/desk/quarantine/{item.id}").status_code == 403
        form = {"site": world.site_ids["DP"]}
        assert client.post(f"/desk/quarantine/{item.id}/file", data=form).status_code == 403
        assert client.post(f"/desk/quarantine/{item.id}/aside", data={"reason": "x"}).status_code == 403
        assert len(desk_items(world)) == 3


@pytest.fixture
def unmatched(world: World) -> tuple[World, Exam, Exam]:
    """An order for 王秀英 (F), and objects with its number that say 王秀英 is male."""
    order = world.order()
    uid = world.register(accession=order.number, sex="M")
    world.settle()
    return world, order, world.exam_of(uid)


class TestUnmatched:
    def test_both_sides_are_shown_and_the_difference_is_marked(
        self, unmatched: tuple[World, Exam, Exam]
    ) -> None:
        world, order, exam = unmatched
        client = world.client("tech_dp")
        assert exam.number in client.get("/desk").text
        page = client.get(f"/desk/exams/{exam.id}").text
        assert order.number in page
        assert page.count('class="critical"') == 1
        assert "性别不一致" in page

    def test_looking_is_an_event(self, unmatched: tuple[World, Exam, Exam]) -> None:
        world, _, exam = unmatched
        world.client("tech_dp").get(f"/desk/exams/{exam.id}")
        seen = [e for e in rows(world, AuditEvent) if e.tag == Tag.EXAM_VIEW and e.subject_id == exam.id]
        assert [event.actor_id for event in seen] == [world.user_ids["tech_dp"]]

    def test_belonging_joins_the_objects_to_the_order(self, unmatched: tuple[World, Exam, Exam]) -> None:
        world, order, exam = unmatched
        form = {"belongs": "1", "reason": "登记时性别点错"}
        answer = world.client("tech_dp").post(f"/desk/exams/{exam.id}/resolve", data=form)
        assert answer.status_code == 303, answer.text
        assert world.exam(order.id).state == State.COMPLETE
        assert world.exam(order.id).study_id == exam.study_id
        assert world.exam(exam.id).state == State.CANCELLED

    def test_not_belonging_makes_an_exam_without_order(self, unmatched: tuple[World, Exam, Exam]) -> None:
        world, order, exam = unmatched
        form = {"belongs": "0", "reason": "另一位患者"}
        world.client("tech_dp").post(f"/desk/exams/{exam.id}/resolve", data=form)
        assert world.exam(exam.id).state == State.COMPLETE
        assert world.exam(exam.id).unordered
        assert world.exam(order.id).state == State.ORDERED

    def test_a_decision_needs_its_reason(self, unmatched: tuple[World, Exam, Exam]) -> None:
        world, _, exam = unmatched
        answer = world.client("tech_dp").post(
            f"/desk/exams/{exam.id}/resolve", data={"belongs": "1", "reason": " "}
        )
        assert answer.status_code == 422
        assert "请填写理由" in answer.text
        assert world.exam(exam.id).state == State.UNMATCHED

    def test_an_order_that_has_objects_offers_no_joining(self, unmatched: tuple[World, Exam, Exam]) -> None:
        world, order, exam = unmatched
        world.register(accession=order.number)
        world.settle()
        page = world.client("tech_dp").get(f"/desk/exams/{exam.id}").text
        assert 'value="1"' not in page
        answer = world.client("tech_dp").post(
            f"/desk/exams/{exam.id}/resolve", data={"belongs": "1", "reason": "x"}
        )
        assert answer.status_code == 409

    @pytest.mark.parametrize(("login", "status"), [("doctor_dp", 403), ("writer1", 403), ("admin1", 403)])
    def test_others_do_not_decide(self, unmatched: tuple[World, Exam, Exam], login: str, status: int) -> None:
        world, _, exam = unmatched
        form = {"belongs": "1", "reason": "x"}
        client = world.client(login)
        assert client.post(f"/desk/exams/{exam.id}/resolve", data=form).status_code == status
        assert client.get(f"/desk/exams/{exam.id}").status_code == status

    def test_without_the_token_nothing_happens(self, unmatched: tuple[World, Exam, Exam]) -> None:
        world, _, exam = unmatched
        client = world.client("tech_dp")
        client.headers.pop("X-CSRF-Token")
        form = {"belongs": "1", "reason": "x"}
        assert client.post(f"/desk/exams/{exam.id}/resolve", data=form).status_code == 403
        assert world.exam(exam.id).state == State.UNMATCHED


class TestDoubtfulNames:
    def test_only_unsure_names_of_the_own_site(self, sqlite_world: World) -> None:
        world = sqlite_world
        world.register(patient_name="ÍõÐãÓ¢", name_charset="ISO_IR 100", name_confidence=0.4, local_id="P7")
        world.register(patient_name="陈清楚", name_confidence=0.9, local_id="P8")
        world.register("LP", patient_name="ÀîËÄ", name_confidence=0.3, local_id="P9")
        page = world.client("tech_dp").get("/desk?show=names").text
        assert "ÍõÐãÓ¢" in page
        assert "ISO_IR 100" in page
        assert "陈清楚" not in page
        assert "ÀîËÄ" not in page
        assert "ÀîËÄ" in world.client("admin1").get("/desk?show=names").text
        assert world.client("doctor_dp").get("/desk?show=names").status_code == 403
