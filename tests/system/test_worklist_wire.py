"""The worklist and the procedure steps over real associations.

Oracles: DCMTK's ``findscu`` asks and its ``dcmdump`` says what the answers read in UTF-8;
pynetdicom is the modality that reports its steps. Both know nothing of the hub.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.dicom.peers import admit
from hub.dicom.wire.gate import ListenerSettings
from hub.dicom.wire.server import listen
from hub.kit.uids import new_uid
from hub.sites import service as sites
from hub.sites.repository import SiteRepository
from hub.worklist.models import ProcedureStep
from hub.worklist.mpps import PERFORMED_PROCEDURE_STEP, mpps_service
from hub.worklist.mwl import MODALITY_WORKLIST, mwl_service
from hub.worklist.service import Plan
from tests.fixtures.peers import require_peer
from tests.fixtures.world import SETUP, World

IN_ITEM = "ScheduledProcedureStepSequence[0]."


@dataclass
class Wire:
    """A listening hub of the small county, and the devices that call it."""

    world: World
    port: int
    folder: Path
    declared: list[str] = field(default_factory=list)
    """Specific Character Set of each answer to the last question."""

    def device(self, site: str, title: str, charset: str | None = None) -> None:
        """Register a device."""
        with self.world.context.db.transaction() as session:
            row = SiteRepository(session).site(self.world.site_ids[site])
            assert row is not None
            sites.add_device(session, row, title, charset=charset, now=self.world.clock(), actor=SETUP)

    def find(self, title: str, *keys: str, charset: str = "", encode: str = "utf-8") -> list[str]:
        """Ask as DCMTK does; return each answer as DCMTK prints it."""
        findscu, dump2dcm = require_peer("findscu"), require_peer("dump2dcm")
        dcmdump = require_peer("dcmdump")
        place = self.folder / f"{title}-{len(list(self.folder.iterdir()))}"
        place.mkdir()
        text = (f"(0008,0005) CS [{charset}]\n" if charset else "") + "(0010,0010) PN []\n"
        (place / "q.dump").write_bytes(text.encode(encode))
        subprocess.run([dump2dcm, place / "q.dump", place / "q.dcm"], check=True, capture_output=True)
        arguments = [argument for key in keys for argument in ("-k", key.encode(encode))]
        done = subprocess.run(
            [
                *(findscu, "-W", "-aet", title, "-aec", "HUB", "-X", "-od", place),
                *(*arguments, "127.0.0.1", str(self.port), place / "q.dcm"),
            ],
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        answers = sorted(place.glob("rsp*.dcm"))
        plain = [subprocess.run([dcmdump, one], check=True, capture_output=True).stdout for one in answers]
        self.declared = [value(dump.decode("latin-1"), "0008,0005") for dump in plain]
        return [
            subprocess.run([dcmdump, "+U8", one], check=True, capture_output=True).stdout.decode()
            for one in answers
        ]

    def names(self, title: str, *keys: str, **options: str) -> list[str]:
        """The patients' names of the answers."""
        return [value(answer, "0010,0010") for answer in self.find(title, *keys, **options)]

    def modality(self, title: str) -> Any:
        """An association of pynetdicom for procedure steps."""
        entity = AE(ae_title=title)
        entity.add_requested_context(PERFORMED_PROCEDURE_STEP)
        entity.add_requested_context(MODALITY_WORKLIST)
        return entity.associate("127.0.0.1", self.port, ae_title="HUB")


def value(dump: str, tag: str) -> str:
    """The value of a tag as dcmdump prints it."""
    found = re.search(rf"\({tag}\) \w\w (?:\[(.*?)\]|\(no value)", dump)
    return (found[1] or "") if found else "absent"


@pytest.fixture
def wire(sqlite_world: World, tmp_path: Path) -> Iterator[Wire]:
    context = sqlite_world.context
    listener = listen(
        [ListenerSettings("127.0.0.1", 0)],
        lambda peer: admit(context, peer),
        [mwl_service(context), mpps_service(context)],
        None,
        lambda _peer, _reason, _detail: None,
        context.clock,
    )
    wire = Wire(sqlite_world, listener.port, tmp_path)
    wire.device("DP", "DR1")
    wire.device("DP", "DRGB", "GB18030")
    yield wire
    listener.shutdown(1.0)


class TestWorklist:
    def test_a_console_gets_names_in_its_own_set(self, wire: Wire) -> None:
        wire.world.order(body_part="胸部正位")
        keys = ("0008,0050", "0032,1060", "0040,0100[0].0040,0007")
        (registered,) = wire.find("DRGB", *keys)
        assert wire.declared == ["GB18030"]
        assert value(registered, "0010,0010") == "Wang^XiuYing=王^秀英"
        assert value(registered, "0032,1060") == "胸部正位"
        (named,) = wire.find("DR1", *keys, charset="ISO_IR 192")
        assert wire.declared == ["ISO_IR 192"]
        assert value(named, "0010,0010") == "Wang^XiuYing=王^秀英"
        (plain,) = wire.find("DR1", *keys)
        assert wire.declared == ["absent"]
        assert value(plain, "0010,0010") == "Wang^XiuYing"
        assert value(plain, "0032,1060") == "Xiong Bu Zheng Wei"
        assert value(plain, "0040,0007") == "Xiong Bu Zheng Wei"
        assert plain.isascii()
        wire.find("DR1", *keys, charset="ISO_IR 100")
        assert wire.declared == ["ISO_IR 100"]

    def test_a_patient_is_found_by_characters_and_by_letters(self, wire: Wire) -> None:
        wire.world.order(local_id="P1")
        wire.world.order(local_id="P2", name="李建国", sex="M")
        for key, encode, charset in [
            ("王秀英", "gbk", ""),  # declared by nobody, as old consoles do
            ("王*", "gb18030", "GB18030"),
            ("王^秀?", "utf-8", "ISO_IR 192"),
            ("WANG*", "utf-8", ""),
            ("wang^xiu*", "utf-8", ""),
            ("Wang Xiuying", "utf-8", ""),
            ("Wang^XiuYing=王^秀英", "utf-8", "ISO_IR 192"),
            ("*YING", "utf-8", ""),
        ]:
            found = wire.find("DR1", f"0010,0010={key}", "0010,0020", charset=charset, encode=encode)
            assert [value(one, "0010,0020") for one in found] == ["P1"], key
        assert wire.names("DR1", "0010,0010=ZHANG*") == []

    def test_dates_times_stations_and_modalities_narrow(self, wire: Wire) -> None:
        world, now = wire.world, wire.world.clock.now  # 2026-03-02 16:00 in Shanghai
        plans = {
            "A": Plan(now + timedelta(hours=1), "DR1"),
            "B": Plan(now + timedelta(days=1), "DRGB"),
            "C": Plan(now + timedelta(days=2)),
        }
        for patient, plan in plans.items():
            world.order(local_id=patient, plan=plan, modality="CT" if patient == "C" else "DX")

        def found(*step_keys: str) -> str:
            asked = [f"0040,0100[0].{key}" for key in step_keys]
            return "".join(sorted(value(one, "0010,0020") for one in wire.find("DR1", "0010,0020", *asked)))

        assert found("0040,0002") == "ABC"
        assert found("0040,0002=20260302") == "A"
        assert found("0040,0002=20260303-") == "BC"
        assert found("0040,0002=-20260303") == "AB"
        assert found("0040,0002=20260302-20260303") == "AB"
        assert found("0040,0002=20260302-20260303", "0040,0003=1730-1500") == ""
        assert found("0040,0002=20260302-20260303", "0040,0003=1600-1700") == "AB"
        assert found("0040,0003=1600") == "BC"
        assert found("0040,0001=DR1") == "AC"
        assert found("0040,0001=DRGB") == "BC"
        assert found("0008,0060=CT") == "C"
        assert found("0008,0060=MR") == ""

    def test_another_site_sees_nothing_and_a_stranger_is_refused(self, wire: Wire) -> None:
        wire.device("LP", "LPDR")
        wire.world.order()
        mine = wire.world.order("LP", "doctor_lp", local_id="L1", name="罗某")
        assert wire.names("LPDR", "0008,0050") == ["Luo^Mou"]
        (order,) = wire.find("LPDR", "0008,0050")
        assert value(order, "0008,0050") == mine.number
        with wire.world.context.db.transaction() as session:
            for device in SiteRepository(session).devices():
                device.query_scope = "all"
        assert wire.names("LPDR", "0008,0050") == ["Luo^Mou"]
        stranger = wire.modality("NOBODY")
        assert [one.abstract_syntax for one in stranger.accepted_contexts] == []
        stranger.abort()

    def test_every_question_is_in_the_trail_without_names(self, wire: Wire) -> None:
        wire.world.order()
        wire.find("DR1", "0010,0010=WANG*")
        with wire.world.context.db.reading() as session:
            (row,) = session.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.WORKLIST_QUERY)).all()
        assert (row.actor_kind, row.actor_name, row.subject_id) == (
            "device",
            "DR1",
            wire.world.site_ids["DP"],
        )
        assert row.facts == {"answers": 1}

    def test_a_long_list_is_cut_with_a_warning_and_unknown_keys_are_said(
        self, wire: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hub.worklist.mwl.MOST_ANSWERS", 3)
        for number in range(4):
            wire.world.order(local_id=f"P{number}", name="王秀英")
        association = wire.modality("DR1")
        question = Dataset()
        question.PatientName = ""
        statuses = [status.Status for status, _ in association.send_c_find(question, MODALITY_WORKLIST)]
        assert statuses == [0xFF00, 0xFF00, 0xFF00, 0xB001]
        question.PatientComments = ""
        statuses = [status.Status for status, _ in association.send_c_find(question, MODALITY_WORKLIST)]
        assert statuses[:1] == [0xFF01]
        association.release()


def create_of(order_uid: str, accession: str, **changes: Any) -> Dataset:
    """A complete N-CREATE after Table F.7.2-1."""
    scheduled = Dataset()
    scheduled.StudyInstanceUID = order_uid
    scheduled.ReferencedStudySequence = []
    scheduled.AccessionNumber = accession
    scheduled.RequestedProcedureID = accession
    scheduled.RequestedProcedureDescription = "CHEST"
    scheduled.ScheduledProcedureStepID = accession
    scheduled.ScheduledProcedureStepDescription = ""
    step = Dataset()
    step.ScheduledStepAttributesSequence = [scheduled]
    step.PatientName = "Wang^XiuYing"
    step.PatientID = "P1001"
    step.PatientBirthDate = "19580412"
    step.PatientSex = "F"
    step.PerformedProcedureStepID = "PPS1"
    step.PerformedStationAETitle = "DR1"
    step.PerformedProcedureStepStartDate = "20260302"
    step.PerformedProcedureStepStartTime = "160000"
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.PerformedSeriesSequence = []
    step.Modality = "DX"
    for keyword, new in changes.items():
        if new is None:
            delattr(step, keyword)
        else:
            setattr(step, keyword, new)
    return step


def end_of(status: str = "COMPLETED", *objects: str) -> Dataset:
    """An N-SET that ends a step."""
    step = Dataset()
    step.PerformedProcedureStepStatus = status
    step.PerformedProcedureStepEndDate = "20260302"
    step.PerformedProcedureStepEndTime = "160500"
    series = Dataset()
    series.SeriesInstanceUID = new_uid()
    series.ProtocolName = "CHEST PA"
    series.ReferencedImageSequence = []
    for uid in objects:
        reference = Dataset()
        reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
        reference.ReferencedSOPInstanceUID = uid
        series.ReferencedImageSequence.append(reference)
    step.PerformedSeriesSequence = [series]
    return step


@dataclass
class Reporting:
    """A modality that reports one step after the other."""

    wire: Wire
    association: Any

    def create(self, dataset: Dataset, uid: str | None = None) -> tuple[int, str]:
        uid = uid or new_uid()
        status, _ = self.association.send_n_create(dataset, PERFORMED_PROCEDURE_STEP, uid)
        return int(status.Status), uid

    def set(self, dataset: Dataset, uid: str) -> Any:
        status, _ = self.association.send_n_set(dataset, PERFORMED_PROCEDURE_STEP, uid)
        return status


@pytest.fixture
def reporting(wire: Wire) -> Iterator[Callable[[str], Reporting]]:
    open_ones: list[Any] = []

    def associate(title: str = "DR1") -> Reporting:
        open_ones.append(wire.modality(title))
        return Reporting(wire, open_ones[-1])

    yield associate
    for association in open_ones:
        association.release()


class TestSteps:
    def test_the_exam_follows_the_device(self, wire: Wire, reporting: Callable[..., Reporting]) -> None:
        exam = wire.world.order()
        dr1 = reporting()
        status, uid = dr1.create(create_of(new_uid(), exam.number))
        assert (status, wire.world.exam(exam.id).state) == (0, "arrived")
        (entry,) = wire.find("DR1", "0040,0100[0].0040,0020=STARTED")
        assert value(entry, "0040,0020") == "STARTED"
        assert dr1.set(end_of("COMPLETED", "1.2.3"), uid).Status == 0
        assert wire.world.exam(exam.id).state == "performed"
        assert wire.names("DR1") == []
        (entry,) = wire.find("DR1", "0040,0100[0].0040,0020=DEPARTED")
        assert value(entry, "0010,0010") == "Wang^XiuYing"

    def test_a_final_step_is_not_changed(self, wire: Wire, reporting: Callable[..., Reporting]) -> None:
        exam = wire.world.order()
        dr1 = reporting()
        _, uid = dr1.create(create_of(new_uid(), exam.number))
        assert dr1.set(end_of("COMPLETED", "1.2.3"), uid).Status == 0
        answer = dr1.set(end_of("DISCONTINUED"), uid)
        assert (answer.Status, answer.ErrorID) == (0x0110, 0xA710)
        assert step_of(wire, uid).status == "completed"
        assert wire.world.exam(exam.id).state == "performed"

    def test_what_is_missing_or_wrong_is_refused_by_its_status(
        self, wire: Wire, reporting: Callable[..., Reporting]
    ) -> None:
        exam = wire.world.order()
        dr1 = reporting()
        study = new_uid()
        assert dr1.create(create_of(study, exam.number, Modality=None))[0] == 0x0120
        assert dr1.create(create_of(study, exam.number, PerformedStationAETitle=""))[0] == 0x0121
        assert (
            dr1.create(create_of(study, exam.number, PerformedProcedureStepStatus="COMPLETED"))[0] == 0x0106
        )
        assert dr1.create(create_of(study, exam.number, ScheduledStepAttributesSequence=[]))[0] == 0x0121
        status, uid = dr1.create(create_of(study, exam.number))
        assert status == 0
        assert dr1.create(create_of(study, exam.number), uid)[0] == 0x0111
        assert dr1.set(end_of(), new_uid()).Status == 0x0112
        assert dr1.set(end_of("FINISHED"), uid).Status == 0x0106
        assert wire.world.exam(exam.id).state == "arrived"

    def test_a_step_of_another_site_moves_nothing_and_cannot_be_reached(
        self, wire: Wire, reporting: Callable[..., Reporting]
    ) -> None:
        exam = wire.world.order()
        wire.device("LP", "LPDR")
        own, foreign = reporting(), reporting("LPDR")
        _, uid = own.create(create_of(new_uid(), exam.number))
        assert foreign.set(end_of(), uid).Status == 0x0112
        second = wire.world.order(local_id="P2", name="李建国", sex="M")
        status, other = foreign.create(create_of(new_uid(), second.number, PatientID="P2"))
        assert status == 0
        assert wire.world.exam(second.id).state == "ordered"
        assert step_of(wire, other).order_id is None

    def test_another_patient_under_the_number_moves_nothing(
        self, wire: Wire, reporting: Callable[..., Reporting]
    ) -> None:
        exam = wire.world.order()
        dr1 = reporting()
        status, uid = dr1.create(create_of(new_uid(), exam.number, PatientID="P2002"))
        assert (status, wire.world.exam(exam.id).state) == (0, "ordered")
        assert step_of(wire, uid).order_id is None

    def test_a_step_that_was_given_up_is_kept_with_its_reason(
        self, wire: Wire, reporting: Callable[..., Reporting]
    ) -> None:
        exam = wire.world.order()
        dr1 = reporting()
        _, uid = dr1.create(create_of(new_uid(), exam.number))
        end = end_of("DISCONTINUED")
        reason = Dataset()
        reason.CodeValue, reason.CodingSchemeDesignator = "110513", "DCM"
        reason.CodeMeaning = "Discontinued for unspecified reason"
        end.PerformedProcedureStepDiscontinuationReasonCodeSequence = [reason]
        assert dr1.set(end, uid).Status == 0
        assert wire.world.exam(exam.id).state == "arrived"
        page = wire.world.client("tech_dp").get(f"/site/exams/{exam.id}").text
        assert "Discontinued for unspecified reason" in page


def step_of(wire: Wire, uid: str) -> ProcedureStep:
    with wire.world.context.db.reading() as session:
        return session.scalars(select(ProcedureStep).where(ProcedureStep.sop_uid == uid)).one()
