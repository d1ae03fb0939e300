"""ECG files into the catalogue, on both databases. Oracles: hashlib, and the records' own headers."""

import hashlib
import threading
import time
from datetime import UTC, datetime

import numpy as np
import pytest
from sqlalchemy import select

from hub.catalogue.models import Recording, Study
from hub.catalogue.repository import CatalogueRepository
from hub.catalogue.service import Outcome
from hub.ecg.errors import CompanionMissing, SentDifferently, UnitsMissing, UnknownFormat
from hub.ecg.ingest import EcgDetails, digest_of, receive, study_uid_of
from hub.errors import HubError, StoreUnavailable
from hub.kit.uids import parse_uid
from hub.patients.service import BadSex
from hub.worklist import service as worklist
from hub.worklist.matching import open_exam
from hub.worklist.models import Exam
from storage.errors import StoreUnreachable
from tests.ecg.records import ludb, wfdb_record
from tests.fixtures.world import World

NORMAL = EcgDetails("王秀英", "P1001", "F", "19580412", "", "心悸", "urgent")


def send(world: World, files: dict[str, bytes], details: EcgDetails | None = None, site: str = "DP"):
    return receive(world.context, files, world.origin(site), site, details=details)


def rows(world: World, model: type) -> list:
    with world.context.db.reading() as session:
        return list(session.scalars(select(model)))


def refused(world: World, files: dict[str, bytes], error: type[HubError]) -> HubError:
    with pytest.raises(error) as caught:
        send(world, files, NORMAL)
    assert rows(world, Study) == []
    assert rows(world, Recording) == []
    assert list(world.context.store.list()) == []
    return caught.value


class TestKeeping:
    def test_row_and_bytes_hold_what_was_sent(self, world: World) -> None:
        files = ludb(88)
        receipt = send(world, files, NORMAL)
        (study,), (recording,) = rows(world, Study), rows(world, Recording)
        assert receipt.outcome is Outcome.STORED
        assert (receipt.study_id, receipt.study_uid) == (study.id, parse_uid(study.study_uid))
        assert (recording.rate_hz, recording.n_samples, len(recording.leads)) == (500.0, 5000, 12)
        assert (study.modality, study.n_recordings) == ("ECG", 1)
        assert (study.patient_name, study.local_id, study.sex, study.birth_date) == (
            "王秀英",
            "P1001",
            "F",
            "19580412",
        )
        assert (study.clinical_question, study.urgency) == ("心悸", "urgent")
        for file in recording.files:
            kept = world.context.store.get(file["key"])
            assert kept == files[file["name"]]
            assert file["sha256"] == hashlib.sha256(kept).hexdigest()

    def test_exam_waits_to_be_read_without_a_quiet_time(self, world: World) -> None:
        receipt = send(world, ludb(135), NORMAL)
        world.run_jobs()
        exam = world.exam_of(receipt.study_uid)
        assert (exam.state, exam.modality, exam.urgency, exam.unordered) == (
            "complete",
            "ECG",
            "urgent",
            True,
        )

    def test_the_form_goes_before_the_file_which_fills_its_gaps(self, world: World) -> None:
        send(world, ludb(88), EcgDetails(patient_name="李建国", local_id="P7"))
        (study,) = rows(world, Study)
        assert (study.patient_name, study.sex) == ("李建国", "F")  # <sex>: F in the header

    def test_a_sex_other_than_the_files_is_kept_and_warned_of(self, world: World) -> None:
        receipt = send(world, ludb(88), EcgDetails(patient_name="李建国", local_id="P7", sex="M"))
        assert "sex_differs" in receipt.warnings
        assert rows(world, Study)[0].sex == "M"

    def test_nobody_named_is_warned_of(self, world: World) -> None:
        assert "patient_unnamed" in send(world, ludb(88)).warnings

    def test_a_start_without_zone_is_taken_in_the_hubs(self, world: World) -> None:
        files = wfdb_record(np.zeros((2000, 2), dtype="int16"), names=("I", "II"))
        first, rest = files["r.hea"].split(b"\n", 1)
        files["r.hea"] = first + b" 15:30:00 02/03/2026\n" + rest
        send(world, files, NORMAL)
        (recording,) = rows(world, Recording)
        assert recording.started_at == datetime(2026, 3, 2, 7, 30, tzinfo=UTC)  # Asia/Shanghai is UTC+8
        assert (rows(world, Study)[0].study_date, rows(world, Study)[0].study_time) == ("20260302", "153000")
        assert "clock_doubtful" not in recording.warnings

    def test_a_device_clock_of_another_year_is_warned_of(self, world: World) -> None:
        files = wfdb_record(np.zeros((2000, 1), dtype="int16"))
        first, rest = files["r.hea"].split(b"\n", 1)
        files["r.hea"] = first + b" 00:00:00 01/01/2000\n" + rest
        assert "clock_doubtful" in send(world, files, NORMAL).warnings

    def test_text_that_a_database_cannot_hold(self, world: World) -> None:
        send(world, ludb(88), EcgDetails(patient_name="王\x00秀英", clinical_question="胸闷\x00\n2 天"))
        (study,) = rows(world, Study)
        assert (study.patient_name, study.clinical_question) == ("王秀英", "胸闷\n2 天")

    def test_impossible_details_keep_nothing(self, world: World) -> None:
        with pytest.raises(BadSex):
            send(world, ludb(88), EcgDetails(sex="X"))
        assert list(world.context.store.list()) == []


class TestSendingAgain:
    def test_the_first_receipt_comes_again_and_no_second_exam(self, world: World) -> None:
        first = send(world, ludb(64), NORMAL)
        world.run_jobs()
        again = send(world, ludb(64), NORMAL)
        world.run_jobs()
        assert again.outcome is Outcome.RESENT
        assert (again.study_uid, again.source_id) == (first.study_uid, first.source_id)
        assert [row.resends for row in rows(world, Recording)] == [1]
        assert len(rows(world, Exam)) == 1

    def test_the_order_of_the_files_does_not_count(self, world: World) -> None:
        files = ludb(64)
        first = send(world, files, NORMAL)
        again = send(world, dict(reversed(files.items())), NORMAL)
        assert again.outcome is Outcome.RESENT
        assert first.study_uid == again.study_uid

    def test_digest_is_of_sorted_names_and_hashes(self) -> None:
        text = b"a.dat\0" + b"1" * 64 + b"\n" + b"a.hea\0" + b"2" * 64 + b"\n"
        hashes = {"a.hea": "2" * 64, "a.dat": "1" * 64}
        assert digest_of(hashes) == hashlib.sha256(text).hexdigest()

    @pytest.mark.parametrize(
        "other",
        [
            EcgDetails("李建国", "P1001"),
            EcgDetails("王秀英", "P2002"),
            EcgDetails("王秀英", "P1001", urgency="critical"),
            EcgDetails("王秀英", "P1001", accession="0012603020001"),
        ],
        ids=["name", "number", "urgency", "order"],
    )
    def test_for_somebody_else_it_is_refused_and_nothing_changes(
        self, world: World, other: EcgDetails
    ) -> None:
        send(world, ludb(64), NORMAL)
        with pytest.raises(SentDifferently):
            send(world, ludb(64), other)
        assert [(row.resends) for row in rows(world, Recording)] == [0]
        assert [row.patient_name for row in rows(world, Study)] == ["王秀英"]

    def test_another_site_gets_a_study_of_its_own(self, world: World) -> None:
        here, there = send(world, ludb(64), NORMAL), send(world, ludb(64), NORMAL, site="LP")
        assert there.outcome is Outcome.STORED
        assert here.study_uid != there.study_uid

    def test_two_at_once_make_one(self, world: World) -> None:
        barrier = threading.Barrier(4)
        outcomes: list[Outcome] = []

        def run() -> None:
            barrier.wait()
            outcomes.append(send(world, ludb(45), NORMAL).outcome)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(str, outcomes)) == ["resent", "resent", "resent", "stored"]
        assert len(rows(world, Study)) == len(rows(world, Recording)) == 1
        assert rows(world, Study)[0].n_recordings == 1

    def test_study_uid_is_a_name_based_uuid(self) -> None:
        uid = study_uid_of("S1", "d" * 64)
        assert uid == study_uid_of("S1", "d" * 64) != study_uid_of("S2", "d" * 64)
        assert len(parse_uid(uid)) <= 64
        assert uid.startswith("2.25.")


class TestRefusing:
    def test_missing_calibration_with_the_channel(self, world: World) -> None:
        files = ludb(88)
        text = files["ludb_88.hea"].decode()
        lines = text.splitlines()
        parts = lines[3].split(" ")
        parts[2] = "0"
        files["ludb_88.hea"] = "\n".join([*lines[:3], " ".join(parts), *lines[4:]]).encode()
        error = refused(world, files, UnitsMissing)
        assert error.facts == {"column": 2}

    def test_a_header_without_its_data(self, world: World) -> None:
        refused(world, {"ludb_88.hea": ludb(88)["ludb_88.hea"]}, CompanionMissing)

    def test_a_picture(self, world: World) -> None:
        assert refused(world, {"x.png": b"\x89PNG\r\n"}, UnknownFormat).facts == {"seen": "PNG picture"}

    def test_a_dicom_object_goes_another_way(self, world: World) -> None:
        from tests.ecg.records import load

        refused(world, load("mortara_12lead.dcm"), UnknownFormat)

    def test_store_down(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def down(*_: object) -> None:
            raise StoreUnreachable("away")

        monkeypatch.setattr(type(world.context.store), "put", down)
        with pytest.raises(StoreUnavailable):
            send(world, ludb(88), NORMAL)
        assert rows(world, Study) == []


class TestOrders:
    def test_the_number_of_an_order_joins_its_exam(self, world: World) -> None:
        order = world.order(modality="ECG", body_part="", local_id="P1001", clinical_question="体检")
        receipt = send(world, ludb(88), EcgDetails(accession=order.number))
        world.run_jobs()
        exam = world.exam_of(receipt.study_uid)
        assert exam.id == order.id
        assert exam.state == "complete"

    def test_chest_pain_told_with_the_upload_raises_a_routine_order(self, world: World) -> None:
        order = world.order(modality="ECG", body_part="", clinical_question="体检")
        send(
            world,
            ludb(88),
            EcgDetails(accession=order.number, urgency="critical", clinical_question="胸痛"),
        )
        world.run_jobs()
        exam = world.exam(order.id)
        assert (exam.urgency, exam.priority) == ("critical", 0)
        assert exam.due_at is not None
        assert (exam.due_at - exam.complete_at).total_seconds() == 600
        with world.context.db.reading() as session:
            from hub.worklist.repository import WorklistRepository

            assert WorklistRepository(session).row_of(exam).clinical_question == "体检\n胸痛"

    def test_an_urgent_order_stays_urgent(self, world: World) -> None:
        order = world.order(modality="ECG", body_part="", urgency="urgent")
        send(world, ludb(88), EcgDetails(accession=order.number, urgency="routine"))
        world.run_jobs()
        assert world.exam(order.id).urgency == "urgent"

    def test_a_file_of_the_other_sex_than_ordered_waits_for_a_decision(self, world: World) -> None:
        order = world.order(modality="ECG", body_part="")
        receipt = send(world, ludb(135), EcgDetails(accession=order.number))  # <sex>: M, ordered for a woman
        world.run_jobs()
        exam = world.exam_of(receipt.study_uid)
        assert (exam.state, exam.conflicts) == ("unmatched", ["sex"])

    def test_another_persons_order_waits_for_a_decision(self, world: World) -> None:
        order = world.order(modality="ECG", body_part="")
        receipt = send(world, ludb(88), EcgDetails("李桂兰", "P2", "F", accession=order.number))
        world.run_jobs()
        exam = world.exam_of(receipt.study_uid)
        assert (exam.state, exam.candidate_order_id) == ("unmatched", order.order_id)


class TestRetaken:
    """An ECG has no quiet time, so a study is settled whenever its exam is looked at."""

    def rejected(self, world: World) -> tuple[str, str]:
        uid = world.register(modality="ECG", instances=1)
        world.run_jobs()
        exam = world.exam_of(uid)
        world.clock.advance(minutes=1)
        with world.context.db.transaction() as session:
            worklist.reject(
                session, world.actor("cardio1"), exam.id, code="lead_off", text="V2 脱落", now=world.clock()
            )
        return uid, exam.id

    def test_a_new_object_of_the_study_brings_it_back(self, world: World) -> None:
        uid, exam_id = self.rejected(world)
        world.clock.advance(minutes=5)
        world.register(modality="ECG", instances=1, study_uid=uid)
        world.run_jobs()
        assert world.exam(exam_id).state == "complete"

    def test_a_job_that_runs_again_does_not(self, world: World) -> None:
        _, exam_id = self.rejected(world)
        exam = world.exam(exam_id)
        with world.context.db.transaction() as session:
            open_exam(session, exam.study_id, "quiet", settings=world.context.settings, now=world.clock())
        assert world.exam(exam_id).state == "rejected"


def test_receiving_is_quick(sqlite_world: World) -> None:
    send(sqlite_world, ludb(45), NORMAL)
    begin = time.perf_counter()
    send(sqlite_world, ludb(88), NORMAL)
    assert time.perf_counter() - begin < 2.0
    with sqlite_world.context.db.reading() as session:
        assert CatalogueRepository(session).study_of_site(sqlite_world.site_ids["DP"], "1.2") is None
