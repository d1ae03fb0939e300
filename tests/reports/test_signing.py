"""Signing, and what `hub verify report` says of each fault planted afterwards.

Reports are set by typst and signed by pyHanko as in production; the images are real
files that came in through the gate.
"""

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from hub.auth import service as accounts
from hub.auth.accounts import create_account
from hub.auth.certificates import WrongPassword
from hub.auth.repository import AuthRepository
from hub.auth.roles import Role
from hub.auth.service import AccountLocked
from hub.auth.signing_keys import NoSigningKey
from hub.catalogue.models import Instance
from hub.config import Settings
from hub.context import Context
from hub.db.session import Database
from hub.dicom import ingest
from hub.errors import Conflict, Forbidden, HubError, StoreUnavailable
from hub.kit.clock import utcnow
from hub.kit.uids import new_uid
from hub.reports import service, signing
from hub.reports.content import digest
from hub.reports.models import SignedReport
from hub.reports.repository import ReportRepository
from hub.reports.service import Draft, OwnReport, Picture, StaleDraft
from hub.reports.signing import ImagesNotOpened
from hub.reports.verify import verify
from hub.worklist import service as worklist
from hub.worklist.models import Exam
from hub.worklist.reading import images_opened
from storage.errors import StorageError
from storage.memory import MemoryStore
from tests.dicom.samples import build, element, file_of
from tests.fixtures.database import TestClock
from tests.fixtures.world import PASSWORD, SETUP, World
from tests.fixtures.world import build as build_world

ECG = Path(__file__).parents[1] / "data" / "ecg" / "ludb_88_12lead_gb18030.dcm"


class Desk:
    """What people do with one exam, each step by the service that production uses."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.exam_id = ""
        self.study_uid = new_uid()

    def image(self, number: int = 1) -> str:
        """A CT image arrives; return its UID."""
        uid = f"{self.study_uid}.{number}"
        dataset = build(
            t00080018=element(0x00080018, "UI", uid.encode()),
            t0020000D=element(0x0020000D, "UI", self.study_uid.encode()),
        )
        ingest.file_upload(
            self.world.context, BytesIO(file_of(dataset, sop_instance=uid)), self.world.origin(), "DP"
        )
        return uid

    def imaging(self, n_images: int = 2) -> "Desk":
        """A CT exam waits to be read."""
        self.study_uid = self.study_uid[:50]
        for number in range(1, n_images + 1):
            self.image(number)
        self.world.settle()
        self.exam_id = self.world.exam_of(self.study_uid).id
        return self

    def ecg(self) -> "Desk":
        """An ECG exam waits to be read."""
        ingest.file_upload(self.world.context, BytesIO(ECG.read_bytes()), self.world.origin(), "DP")
        self.world.settle()
        with self.world.context.db.reading() as session:
            self.exam_id = session.query(Exam).one().id
        return self

    def claim(self, login: str) -> "Desk":
        actor = self.world.actor(login)
        with self.world.context.db.transaction() as session:
            worklist.claim(
                session, actor, self.exam_id, settings=self.world.context.settings, now=self.world.clock()
            )
        return self

    def write(
        self, login: str, findings: str = "双肺纹理清晰，𠮷。", impression: str = "未见异常。"
    ) -> "Desk":
        actor = self.world.actor(login)
        with self.world.context.db.transaction() as session:
            draft = Draft(findings, impression, positive=False)
            service.save(session, actor, self.exam_id, draft, revision=None, now=self.world.clock())
        return self

    def choose(self, login: str, sop_uid: str) -> "Desk":
        actor = self.world.actor(login)
        with self.world.context.db.transaction() as session:
            service.choose_key_image(
                session, actor, self.exam_id, Picture(sop_uid, 1, (40.0, 400.0)), now=self.world.clock()
            )
        return self

    def submit(self, login: str) -> "Desk":
        actor = self.world.actor(login)
        with self.world.context.db.transaction() as session:
            service.submit(session, actor, self.exam_id, now=self.world.clock())
        return self

    def look(self, login: str) -> "Desk":
        actor = self.world.actor(login)
        with self.world.context.db.transaction() as session:
            exam = worklist.visible(session, actor, self.exam_id)
            images_opened(session, actor, exam)
        return self

    def sign(self, login: str, password: str = PASSWORD, revision: int | None = None) -> SignedReport:
        return signing.sign(self.world.context, self.world.actor(login), self.exam_id, password, revision)

    def submitted(self, *, picture: bool = False) -> "Desk":
        """A CT report waits for review; the reviewer has a key and has seen the images."""
        self.world.give_key("reviewer1", "writer1")
        self.imaging().claim("writer1").write("writer1")
        if picture:
            self.choose("writer1", f"{self.study_uid}.1")
        return self.submit("writer1").look("reviewer1")

    @property
    def state(self) -> str:
        return self.world.exam(self.exam_id).state

    def signed_rows(self) -> list[SignedReport]:
        with self.world.context.db.reading() as session:
            return session.query(SignedReport).all()

    def nothing_entered(self, state: str = "submitted") -> bool:
        with self.world.context.db.reading() as session:
            acts = {version.act for version in session.query(service.ReportVersion)}
        return self.signed_rows() == [] and self.state == state and "sign" not in acts

    def verdict(self) -> tuple[str, ...]:
        with self.world.context.db.reading() as session:
            signed = ReportRepository(session).any_signed(self.exam_id)
            assert signed is not None
            return verify(session, self.world.context.store, signed).problems

    def sql(self, statement: str, **values: Any) -> None:
        """What somebody with the database's password can do."""
        with self.world.context.db.transaction() as session:
            assert session.execute(text(statement), values).rowcount == 1  # type: ignore[attr-defined]


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def small(sqlite_world: World) -> Desk:
    return Desk(sqlite_world)


class TestSign:
    def test_a_reviewer(self, desk: Desk) -> None:
        desk.submitted(picture=True)
        signed = desk.sign("reviewer1")
        assert desk.state == "signed"
        assert (signed.signer_name, signed.version) == ("沈审核", 2)
        pdf = desk.world.context.store.get(signed.pdf_key)
        assert pdf.startswith(b"%PDF")
        assert hashlib.sha256(pdf).hexdigest() == signed.pdf_sha256
        assert desk.verdict() == ()
        desk.world.run_jobs()
        assert desk.state == "delivered"
        assert desk.verdict() == ()

    def test_a_cardiologist_alone(self, desk: Desk) -> None:
        desk.world.give_key("cardio1")
        desk.ecg().claim("cardio1").write("cardio1").look("cardio1")
        signed = desk.sign("cardio1")
        assert signed.writer_id == signed.signer_id == desk.world.user_ids["cardio1"]
        assert desk.verdict() == ()
        desk.world.run_jobs()
        assert desk.state == "delivered"

    def test_twice(self, small: Desk) -> None:
        small.submitted().sign("reviewer1")
        with pytest.raises(Conflict):
            small.sign("reviewer1")
        assert len(small.signed_rows()) == 1


class TestWhoMayNot:
    def test_the_writer(self, small: Desk) -> None:
        """Also when the writer is a reviewer as well: nobody signs the own report."""
        small.world.give_key("writer1")
        with small.world.context.db.transaction() as session:
            user = AuthRepository(session).user(small.world.user_ids["writer1"])
            assert user is not None
            accounts.add_post(session, user, Role.REVIEWER, None, valid_from=date(2020, 1, 1), actor=SETUP)
        small.imaging().claim("writer1").write("writer1").submit("writer1").look("writer1")
        with pytest.raises(OwnReport):
            small.sign("writer1")
        assert small.nothing_entered()

    @pytest.mark.parametrize("login", ["writer2", "doctor_dp", "tech_dp", "admin1", "auditor1", "cardio1"])
    def test_somebody_without_the_right(self, small: Desk, login: str) -> None:
        small.submitted().world.give_key(login)
        with pytest.raises(HubError) as refused:
            small.sign(login)
        assert refused.value.http_status in {403, 404}
        assert small.nothing_entered()

    def test_a_draft_is_not_signed_by_one_person(self, small: Desk) -> None:
        small.world.give_key("writer1")
        small.imaging().claim("writer1").write("writer1").look("writer1")
        with pytest.raises(Forbidden):
            small.sign("writer1")
        assert small.nothing_entered("draft")

    def test_a_cardiologist_whose_lease_is_lost(self, small: Desk) -> None:
        small.world.give_key("cardio1")
        small.ecg().claim("cardio1").write("cardio1").look("cardio1")
        actor = small.world.actor("cardio1")
        with small.world.context.db.transaction() as session:
            worklist.release(session, actor, small.exam_id, reason="", now=small.world.clock())
        with pytest.raises(Conflict):
            small.sign("cardio1")
        assert small.signed_rows() == []

    def test_images_not_opened(self, small: Desk) -> None:
        small.world.give_key("reviewer1")
        small.imaging().claim("writer1").write("writer1").submit("writer1").look("writer1")
        with pytest.raises(ImagesNotOpened):
            small.sign("reviewer1")
        assert small.nothing_entered()

    def test_images_opened_before_the_last_one_came(self, small: Desk) -> None:
        """The audit trail runs on the real clock: the test's clock goes past it."""
        small.submitted()
        small.world.clock.now = utcnow() + timedelta(minutes=1)
        small.image(3)
        with pytest.raises(ImagesNotOpened):
            small.sign("reviewer1")
        assert small.signed_rows() == []

    def test_a_wrong_password(self, small: Desk) -> None:
        small.submitted()
        with pytest.raises(WrongPassword):
            small.sign("reviewer1", "not-it-2026")
        assert small.nothing_entered()

    def test_guessing_the_password_locks_the_account(self, small: Desk) -> None:
        """Five wrong ones by the settings' default; then the right one does not help either, for a while."""
        small.submitted()
        for _ in range(5):
            with pytest.raises(WrongPassword):
                small.sign("reviewer1", "not-it-2026")
        with pytest.raises(AccountLocked):
            small.sign("reviewer1")
        assert small.nothing_entered()
        small.world.clock.advance(minutes=16)
        small.sign("reviewer1")

    def test_no_certificate(self, small: Desk) -> None:
        small.imaging().claim("writer1").write("writer1").submit("writer1").look("reviewer1")
        with pytest.raises(NoSigningKey):
            small.sign("reviewer1")

    def test_another_text_than_was_read(self, small: Desk) -> None:
        small.submitted()
        with pytest.raises(StaleDraft):
            small.sign("reviewer1", revision=0)
        assert small.nothing_entered()
        small.sign("reviewer1", revision=1)


class TestMeanwhile:
    """Between gathering and entering the document is made; whatever happens then must be noticed."""

    @pytest.fixture
    def meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
        def plant(happens: Callable[[], None]) -> None:
            real = signing.seal

            def seal(*args: Any) -> Any:
                sealed = real(*args)
                happens()
                return sealed

            monkeypatch.setattr(signing, "seal", seal)

        return plant

    def test_an_object_arrives(self, desk: Desk, meanwhile: Any) -> None:
        desk.submitted()
        meanwhile(lambda: desk.image(3) and None)
        with pytest.raises(StaleDraft):
            desk.sign("reviewer1")
        assert desk.nothing_entered()

    def test_it_is_returned_and_submitted_again(self, small: Desk, meanwhile: Any) -> None:
        small.submitted()

        def happens() -> None:
            actor = small.world.actor("reviewer1")
            with small.world.context.db.transaction() as session:
                service.send_back(session, actor, small.exam_id, comment="补充", now=small.world.clock())
            small.claim("writer1").submit("writer1")

        meanwhile(happens)
        with pytest.raises(StaleDraft):
            small.sign("reviewer1")
        assert small.nothing_entered()

    def test_it_is_returned(self, small: Desk, meanwhile: Any) -> None:
        small.submitted()

        def happens() -> None:
            actor = small.world.actor("reviewer1")
            with small.world.context.db.transaction() as session:
                service.send_back(session, actor, small.exam_id, comment="补充", now=small.world.clock())

        meanwhile(happens)
        with pytest.raises(Conflict):
            small.sign("reviewer1")
        assert small.nothing_entered("returned")

    def test_two_reviewers_sign_at_once(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both have their document ready before either enters it."""
        context = desk.world.context
        with context.db.transaction() as session:
            desk.world.user_ids["reviewer2"] = create_account(
                session,
                login="reviewer2",
                name="薛二审",
                password=PASSWORD,
                role=Role.REVIEWER,
                site_id=None,
                settings=context.settings,
                now=desk.world.clock(),
                actor=SETUP,
            ).id
        desk.submitted().look("reviewer2")
        both, real = threading.Barrier(2), signing.seal

        def seal(*args: Any) -> Any:
            sealed = real(*args)
            both.wait(60)
            return sealed

        monkeypatch.setattr(signing, "seal", seal)
        actors = [desk.world.actor(login) for login in ("reviewer1", "reviewer2")]
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(signing.sign, context, actor, desk.exam_id, PASSWORD) for actor in actors]
            failures = [future.exception() for future in futures]
        assert [failure is None for failure in failures].count(True) == 1
        assert all(isinstance(failure, Conflict) for failure in failures if failure)
        assert len(desk.signed_rows()) == 1
        assert desk.verdict() == ()

    @pytest.mark.parametrize("verb", ["put", "open"])
    def test_the_store_is_down(self, small: Desk, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
        small.submitted(picture=True)

        def down(*_: object, **__: object) -> None:
            raise StorageError("does not answer")

        monkeypatch.setattr(small.world.context.store, verb, down)
        with pytest.raises(StoreUnavailable):
            small.sign("reviewer1")
        monkeypatch.undo()
        assert small.nothing_entered()
        small.sign("reviewer1")
        assert small.verdict() == ()

    def test_the_store_is_down_under_an_ecg(self, small: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        small.world.give_key("cardio1")
        small.ecg().claim("cardio1").write("cardio1").look("cardio1")

        def down(*_: object) -> None:
            raise StorageError("does not answer")

        monkeypatch.setattr(small.world.context.store, "get", down)
        with pytest.raises(StoreUnavailable):
            small.sign("cardio1")
        monkeypatch.undo()
        assert small.nothing_entered("draft")


@pytest.fixture(scope="module")
def signed_once(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, password_hash: str
) -> tuple[Path, Desk]:
    """A report that is well, made once: setting and signing take their time."""
    folder = tmp_path_factory.mktemp("signed")
    clock = TestClock()
    desk = Desk(build_world(open_at(folder, sqlite_template, MemoryStore(), clock), clock, password_hash))
    desk.submitted()
    desk.sign("reviewer1")
    assert desk.verdict() == ()
    desk.world.context.db.dispose()
    return folder, desk


def open_at(folder: Path, database: Path, store: MemoryStore, clock: TestClock) -> Context:
    shutil.copyfile(database, folder / "hub.db")
    settings = Settings(data_dir=folder)
    return Context(settings, Database(settings.database), store, clock)


@pytest.fixture
def signed(signed_once: tuple[Path, Desk], tmp_path: Path) -> Iterator[Desk]:
    """A copy of that report, to plant a fault in."""
    folder, desk = signed_once
    store, full = MemoryStore(), desk.world.context.store
    for found in full.list(""):
        store.put(found.key, full.get(found.key))
    shutil.copytree(folder / "secrets", tmp_path / "secrets")
    copy = Desk(replace(desk.world, context=open_at(tmp_path, folder / "hub.db", store, desk.world.clock)))
    copy.exam_id, copy.study_uid = desk.exam_id, desk.study_uid
    yield copy
    copy.world.context.db.dispose()


class TestPlantedFaults:
    """Each is planted in a report that was found well, and must be named."""

    @pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.9, 0.999])
    def test_one_byte_of_the_document(self, signed: Desk, place: float) -> None:
        store, row = signed.world.context.store, signed.signed_rows()[0]
        pdf = bytearray(store.get(row.pdf_key))
        pdf[int(len(pdf) * place)] ^= 1
        store.delete(row.pdf_key)
        store.put(row.pdf_key, bytes(pdf))
        problems = signed.verdict()
        assert "document_altered" in problems
        assert len(problems) > 1, "the signature itself tells, too"

    def test_the_document_is_gone(self, signed: Desk) -> None:
        signed.world.context.store.delete(signed.signed_rows()[0].pdf_key)
        assert signed.verdict() == ("document_missing",)

    def test_the_document_is_another_signed_one(self, signed: Desk) -> None:
        """A document signed by the right person with the right certificate, for another exam."""
        other = Desk(signed.world)
        other.imaging().claim("writer1").write("writer1", impression="另一份报告").submit("writer1").look(
            "reviewer1"
        )
        row = other.sign("reviewer1")
        signed.sql(
            "UPDATE signed_report SET pdf_key = :key, pdf_sha256 = :sha256 WHERE exam_id = :exam",
            key=row.pdf_key,
            sha256=row.pdf_sha256,
            exam=signed.exam_id,
        )
        assert signed.verdict() == ("content_not_signed",)

    def test_one_byte_of_an_image(self, signed: Desk) -> None:
        store, row = signed.world.context.store, self.instance(signed)
        content = bytearray(store.get(row.storage_key))
        content[-1] ^= 1
        store.delete(row.storage_key)
        store.put(row.storage_key, bytes(content))
        assert signed.verdict() == (f"object_altered:{row.sop_uid}",)

    def test_an_image_is_gone(self, signed: Desk) -> None:
        row = self.instance(signed)
        signed.world.context.store.delete(row.storage_key)
        assert signed.verdict() == (f"object_missing:{row.sop_uid}",)

    def test_an_images_row_is_gone(self, signed: Desk) -> None:
        row = self.instance(signed)
        signed.sql("DELETE FROM instance WHERE id = :id", id=row.id)
        assert signed.verdict() == (f"objects_differ:{row.sop_uid}",)

    def test_an_image_and_its_row_are_replaced(self, signed: Desk) -> None:
        """Bytes and row fit each other; only the signed content knows what was read."""
        row, other = self.instance(signed), b"other bytes"
        key = signed.world.context.store.put("dicom/DP/1/other.dcm", other).key
        signed.sql(
            "UPDATE instance SET storage_key = :key, sha256 = :sha256 WHERE id = :id",
            key=key,
            sha256=hashlib.sha256(other).hexdigest(),
            id=row.id,
        )
        assert signed.verdict() == (f"objects_differ:{row.sop_uid}",)

    @pytest.mark.parametrize(
        ("column", "value"), [("findings", "改"), ("impression", "改"), ("positive", True)]
    )
    def test_the_versions_row(self, signed: Desk, column: str, value: Any) -> None:
        signed.sql(f"UPDATE report_version SET {column} = :value WHERE act = 'sign'", value=value)
        assert signed.verdict() == ("version_altered",)

    def test_the_content(self, signed: Desk) -> None:
        row = signed.signed_rows()[0]
        signed.sql("UPDATE signed_report SET content = :content", content=row.content.replace("未见", "可见"))
        assert set(signed.verdict()) == {"content_altered", "version_altered"}

    def test_content_hash_and_version_together(self, signed: Desk) -> None:
        """Whoever changes all rows consistently still cannot change what the signature covers."""
        row = signed.signed_rows()[0]
        content = row.content.replace("未见异常", "可见异常")
        signed.sql(
            "UPDATE signed_report SET content = :content, content_sha256 = :sha256",
            content=content,
            sha256=digest(content),
        )
        signed.sql(
            "UPDATE report_version SET impression = :text WHERE act = 'sign'",
            text=json.loads(content)["report"]["impression"],
        )
        assert signed.verdict() == ("content_not_signed",)

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"report": 5}', '{"report": {"signer": []}}'])
    def test_content_that_is_none(self, signed: Desk, content: str) -> None:
        signed.sql("UPDATE signed_report SET content = :content", content=content)
        assert signed.verdict() == ("content_altered",)

    def test_another_signer(self, signed: Desk) -> None:
        signed.sql("UPDATE signed_report SET signer_id = :id", id=signed.world.user_ids["writer1"])
        assert signed.verdict() == ("signer_differs",)

    def test_another_signers_name(self, signed: Desk) -> None:
        signed.sql("UPDATE signed_report SET signer_name = '别人'")
        assert signed.verdict() == ("signer_differs",)

    def test_another_signer_with_his_certificate(self, signed: Desk) -> None:
        with signed.world.context.db.reading() as session:
            serial = session.execute(
                text("SELECT serial FROM signing_key WHERE user_id = :id"),
                {"id": signed.world.user_ids["writer1"]},
            ).scalar_one()
        signed.sql(
            "UPDATE signed_report SET signer_id = :id, signer_serial = :serial",
            id=signed.world.user_ids["writer1"],
            serial=serial,
        )
        assert signed.verdict() == ("signer_differs",)

    def test_another_authority(self, signed: Desk) -> None:
        from hub.auth import certificates

        made = certificates.create_authority("别的机构", now=signed.world.clock())
        signed.sql("UPDATE authority_key SET certificate_pem = :pem", pem=made.certificate_pem.decode())
        assert signed.verdict() == ("signer_untrusted",)

    @staticmethod
    def instance(desk: Desk) -> Instance:
        with desk.world.context.db.reading() as session:
            return session.query(Instance).order_by(Instance.sop_uid).first()  # type: ignore[return-value]
