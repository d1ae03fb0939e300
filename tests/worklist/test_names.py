"""What a corrected name does to identity and exam, who may correct it, and the pages for it."""

import pytest
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.catalogue.keys import note_key
from hub.catalogue.models import Instance, NameCorrection, Study
from hub.patients.models import Patient
from hub.sites import service as sites
from hub.sites.models import Device
from hub.sites.repository import SiteRepository
from hub.worklist import names
from hub.worklist.models import Exam
from hub.worklist.states import State
from tests.catalogue.test_corrections import GARBLED, RAW, doubtful, study_of
from tests.fixtures.world import SETUP, World


def correct(world: World, study: Study, login: str = "tech_dp", **given: str) -> None:
    with world.context.db.transaction() as session:
        names.correct(
            session,
            world.actor(login),
            study.id,
            **{"reason": "核对身份证", **given},
            settings=world.context.settings,
            now=world.clock.advance(seconds=1),
        )


def undo(world: World, study: Study) -> None:
    with world.context.db.transaction() as session:
        names.undo(
            session,
            world.actor("tech_dp"),
            study.id,
            settings=world.context.settings,
            now=world.clock.advance(seconds=1),
        )


def patients(world: World) -> dict[str, str]:
    with world.context.db.reading() as session:
        return {patient.local_id: patient.name for patient in session.scalars(select(Patient))}


class TestExam:
    def misread(self, world: World) -> tuple[Exam, Study]:
        """Objects of an order for 王秀英 whose name was read as another Chinese one."""
        order = world.order()
        study = doubtful(world, patient_name="鑷熺", accession=order.number, local_id="P1001")
        world.settle()
        return order, study

    def test_a_conflict_of_name_vanishes_and_the_order_gets_its_objects(self, world: World) -> None:
        order, study = self.misread(world)
        unmatched = world.exam_of(study.study_uid)
        assert (unmatched.state, unmatched.conflicts) == (State.UNMATCHED, ["name"])
        correct(world, study, charset="GB18030")
        assert world.exam(order.id).study_id == study.id
        assert world.exam(order.id).state == State.COMPLETE
        assert world.exam(order.id).conflicts == []
        assert world.exam(unmatched.id).state == State.CANCELLED

    def test_another_conflict_stays(self, sqlite_world: World) -> None:
        order = sqlite_world.order()
        study = doubtful(sqlite_world, patient_name="鑷熺", accession=order.number, local_id="P1001", sex="M")
        sqlite_world.settle()
        correct(sqlite_world, study, charset="GB18030")
        exam = sqlite_world.exam_of(study.study_uid)
        assert (exam.state, exam.conflicts) == (State.UNMATCHED, ["sex"])

    def test_an_exam_keeps_its_order_and_shows_what_contradicts_now(self, sqlite_world: World) -> None:
        order, study = self.misread(sqlite_world)
        correct(sqlite_world, study, charset="GB18030")
        undo(sqlite_world, study)
        exam = sqlite_world.exam_of(study.study_uid)
        assert (exam.id, exam.conflicts) == (order.id, ["name"])

    def test_an_identity_that_came_from_the_objects_takes_the_name(self, world: World) -> None:
        study = doubtful(world)
        world.settle()
        assert patients(world) == {"P7": GARBLED}
        correct(world, study, charset="GB18030")
        assert patients(world) == {"P7": "王秀英"}
        undo(world, study)
        assert patients(world) == {"P7": GARBLED}
        correct(world, study, name="王秀瑛")
        assert patients(world) == {"P7": "王秀瑛"}

    def test_an_identity_that_a_person_entered_is_never_renamed(self, world: World) -> None:
        world.order(local_id="P7", name=GARBLED)
        study = doubtful(world)
        world.settle()
        correct(world, study, charset="GB18030")
        assert patients(world) == {"P7": GARBLED}

    def test_what_is_kept_beside_the_files_follows(self, sqlite_world: World) -> None:
        """A lost database is made anew from the objects and this note."""
        study = doubtful(sqlite_world)
        sqlite_world.settle()
        key = note_key("DP", study.study_uid)
        assert GARBLED in sqlite_world.context.store.get(key).decode()
        correct(sqlite_world, study, charset="GB18030")
        sqlite_world.run_jobs()
        assert '"patient_name": "王秀英"' in sqlite_world.context.store.get(key).decode()

    def test_not_after_signature(self, sqlite_world: World) -> None:
        """Planted: the exam is signed; name and identity stay, and the message says what to do."""
        study = doubtful(sqlite_world)
        sqlite_world.settle()
        with sqlite_world.context.db.transaction() as session:
            exam = session.scalars(select(Exam).where(Exam.study_id == study.id)).one()
            exam.state, exam.signed_at = State.SIGNED, sqlite_world.clock()
        with pytest.raises(names.ReportSigned):
            correct(sqlite_world, study, charset="GB18030")
        with pytest.raises(names.ReportSigned):
            undo(sqlite_world, study)
        client = sqlite_world.client("tech_dp")
        assert "须先重新打开报告" in client.get(f"/desk/names/{study.id}").text
        answer = client.post(f"/desk/names/{study.id}", data={"charset": "GB18030", "reason": "x"})
        assert answer.status_code == 409
        assert study_of(sqlite_world, study.study_uid).patient_name == GARBLED


class TestPages:
    def test_bytes_readings_and_scores(self, sqlite_world: World) -> None:
        study = doubtful(sqlite_world)
        page = sqlite_world.client("tech_dp").get(f"/desk/names/{study.id}").text
        assert "CD F5 D0 E3 D3 A2" in page  # 王秀英 in GBK
        assert 'value="GB18030"' in page
        assert "王秀英" in page
        assert "Íõ" in page
        with sqlite_world.context.db.reading() as session:
            seen = list(session.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.STUDY_VIEW)))
        assert [row.subject_id for row in seen] == [study.id]

    def test_choosing_and_undoing(self, world: World) -> None:
        study, client = doubtful(world), world.client("tech_dp")
        form = {"charset": "GB18030", "reason": "核对身份证"}
        assert client.post(f"/desk/names/{study.id}", data=form).status_code == 303
        assert study_of(world, study.study_uid).patient_name == "王秀英"
        assert "王秀英" not in client.get("/desk?show=names").text
        assert "王秀英" in client.get("/desk?show=names&q=P7").text
        assert client.post(f"/desk/names/{study.id}/undo").status_code == 303
        assert study_of(world, study.study_uid).patient_name == GARBLED
        assert client.post(f"/desk/names/{study.id}/undo").status_code == 409

    def test_a_refused_form_comes_back_filled_in(self, sqlite_world: World) -> None:
        study = doubtful(sqlite_world)
        answer = sqlite_world.client("tech_dp").post(
            f"/desk/names/{study.id}", data={"name": "王秀英", "reason": " "}
        )
        assert answer.status_code == 422
        assert "请填写依据" in answer.text
        assert 'value="王秀英"' in answer.text

    @pytest.mark.parametrize(("login", "status"), [("doctor_dp", 403), ("writer1", 403), ("auditor1", 403)])
    def test_others_do_not_correct(self, sqlite_world: World, login: str, status: int) -> None:
        study = doubtful(sqlite_world)
        client = sqlite_world.client(login)
        assert client.get(f"/desk/names/{study.id}").status_code == status
        form = {"charset": "GB18030", "reason": "x"}
        assert client.post(f"/desk/names/{study.id}", data=form).status_code == status

    def test_another_sites_names_do_not_exist(self, sqlite_world: World) -> None:
        uid = sqlite_world.register("LP", patient_name=GARBLED, name_confidence=0.3, name_raw=RAW)
        study = study_of(sqlite_world, uid)
        client = sqlite_world.client("tech_dp")
        assert client.get(f"/desk/names/{study.id}").status_code == 404
        form = {"charset": "GB18030", "reason": "x"}
        assert client.post(f"/desk/names/{study.id}", data=form).status_code == 404
        assert client.post(f"/desk/names/{study.id}/undo").status_code == 404


class TestForTheDevice:
    def device_of_all(self, world: World) -> Device:
        with world.context.db.transaction() as session:
            site = SiteRepository(session).site(world.site_ids["DP"])
            assert site is not None
            device = sites.add_device(session, site, "DR1", now=world.clock(), actor=SETUP)
            for instance in session.scalars(select(Instance)):
                instance.device_id = device.id
        return device

    def test_one_choice_sets_the_device_and_offers_its_other_names(self, world: World) -> None:
        first, second = doubtful(world), doubtful(world, local_id="P8")
        device = self.device_of_all(world)
        client = world.client("admin1")
        form = {"charset": "GB18030", "reason": "厂商说明", "for_device": device.id}
        answer = client.post(f"/desk/names/{first.id}", data=form)
        assert answer.headers["location"] == f"/desk/devices/{device.id}/names"
        with world.context.db.reading() as session:
            known = SiteRepository(session).device(device.id)
            assert known is not None
            assert known.charset == "GB18030"
        page = client.get(f"/desk/devices/{device.id}/names").text
        assert second.id in page
        assert first.id not in page
        form = {"study": second.id, "reason": "该设备实际使用 GB18030"}
        assert client.post(f"/desk/devices/{device.id}/names", data=form).status_code == 303
        assert study_of(world, second.study_uid).patient_name == "王秀英"
        with world.context.db.reading() as session:
            assert len(list(session.scalars(select(NameCorrection)))) == 2

    def test_a_technician_does_not_change_devices(self, sqlite_world: World) -> None:
        study = doubtful(sqlite_world)
        device = self.device_of_all(sqlite_world)
        client = sqlite_world.client("tech_dp")
        assert "for_device" not in client.get(f"/desk/names/{study.id}").text
        form = {"charset": "GB18030", "reason": "x", "for_device": device.id}
        assert client.post(f"/desk/names/{study.id}", data=form).status_code == 303
        with sqlite_world.context.db.reading() as session:
            known = SiteRepository(session).device(device.id)
            assert known is not None
            assert known.charset is None
        assert client.get(f"/desk/devices/{device.id}/names").status_code == 403
