"""From the wire to the catalogue: a real listener wired as the hub wires it, and real devices.

The devices are DCMTK's storescu and pynetdicom; what a device was answered, and which
bytes it sent, are the oracles for what must be in the catalogue and in the store.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.catalogue.models import Instance, Quarantined, Study
from hub.context import Context
from hub.db.session import Database
from hub.dicom import ingest
from hub.dicom.ingest import CannotBeFiled, PatientConflict, UidTaken
from hub.dicom.listening import start_listening
from hub.dicom.part10 import split
from hub.dicom.wire.server import Listener
from hub.errors import StoreUnavailable
from hub.reports.store_check import check_store
from hub.sites import service as sites
from hub.sites.models import AssociationRefusal, Device
from storage.base import Stored
from storage.errors import StorageError
from storage.staged import Staged
from tests.dicom import test_listener
from tests.dicom.samples import CT_CLASS, DATA, EXPLICIT, build, dataset_of, element, file_of
from tests.dicom.test_listener import PROPOSALS, eventually, run
from tests.fixtures.raw_dicom import c_store_raw, receive
from tests.fixtures.world import SETUP, World

storescp = test_listener.storescp

SUCCESS, REFUSED, CANNOT_UNDERSTAND, NO_RESOURCES = 0x0000, 0xA900, 0xC000, 0xA700
IMAGES = sorted(DATA.glob("*.dcm"))
WITHOUT_UIDS = {"JPEGLSNearLossless_16.dcm"}
"""Has no Study Instance UID."""


def ct(
    sop: str = "1.2.3.4",
    study: str = "1.2.3",
    *,
    series: str = "",
    patient: str = "P1",
    name: str = "张^三",
    **tags: bytes,
) -> bytes:
    """A small CT data set whose identity can be chosen."""
    return build(
        **{
            "t00080018": element(0x00080018, "UI", sop.encode()),
            "t00100010": element(0x00100010, "PN", name.encode("gb18030")),
            "t00100020": element(0x00100020, "LO", patient.encode()),
            "t0020000D": element(0x0020000D, "UI", study.encode()),
            "t0020000E": element(0x0020000E, "UI", (series or f"{study}.5").encode()),
            **tags,
        }
    )


@dataclass
class Hospital:
    """A county whose hub listens."""

    world: World
    listener: Listener

    @property
    def context(self) -> Context:
        return self.world.context

    def device(self, ae: str = "CT1", site: str = "DP", **fields: str) -> str:
        """Register a device; return its row id."""
        with self.context.db.transaction() as session:
            return sites.add_device(
                session, sites.require_site(session, site), ae, now=self.world.clock(), actor=SETUP, **fields
            ).id

    def send(
        self,
        dataset: bytes,
        *,
        ae: str = "CT1",
        sop: str = "1.2.3.4",
        sop_class: str = CT_CLASS,
        syntax: str = EXPLICIT,
    ) -> int | None:
        """C-STORE these very bytes; return the status, None when no association was made."""
        return c_store_raw(self.listener.port, dataset, sop_class, sop, syntax, ae)

    def receive(self, dataset: bytes, sop: str = "1.2.3.4", ae: str = "CT1") -> int:
        """The same, without a wire."""
        return receive(self.context, dataset, CT_CLASS, sop, EXPLICIT, ae)

    def rows(self, model: type[Any], *where: Any) -> list[Any]:
        with self.context.db.reading() as session:
            return list(session.scalars(select(model).where(*where)))

    def dataset(self, instance: Instance) -> bytes:
        """The data set as it lies in the store."""
        return self.context.store.get(instance.storage_key)[instance.dataset_offset :]

    def tags(self) -> list[str]:
        return [event.tag for event in self.rows(AuditEvent)]


def listening(world: World) -> Listener:
    """A listener wired as `hub.processes.run_dicom` wires it."""
    settings = world.context.settings.model_copy(update={"dicom_bind": "127.0.0.1:0"})
    return start_listening(Context(settings, world.context.db, world.context.store, world.clock), [])


@pytest.fixture
def hospital(world: World) -> Iterator[Hospital]:
    """On SQLite and PostgreSQL in turn."""
    listener = listening(world)
    yield Hospital(world, listener)
    listener.shutdown()


@pytest.fixture
def small(sqlite_world: World) -> Iterator[Hospital]:
    """On SQLite, for what has nothing to do with the database."""
    listener = listening(sqlite_world)
    yield Hospital(sqlite_world, listener)
    listener.shutdown()


class TestWhoCalls:
    def test_a_known_device_by_its_title(self, hospital: Hospital) -> None:
        device = hospital.device("CT1")
        assert hospital.send(ct()) == SUCCESS
        (instance,) = hospital.rows(Instance)
        (study,) = hospital.rows(Study)
        assert (instance.device_id, instance.calling_ae, instance.address) == (device, "CT1", "127.0.0.1")
        assert study.site_id == hospital.world.site_ids["DP"]
        assert (study.local_id, study.patient_name, study.modality) == ("P1", "张三", "CT")
        assert hospital.tags().count(Tag.INSTANCE_RECEIVE) == 1

    def test_a_known_device_by_its_address(self, small: Hospital) -> None:
        """The address decides; the title may be anything."""
        device = small.device("CT1", address="127.0.0.1")
        assert small.send(ct(), ae="RENAMED") == SUCCESS
        assert small.rows(Instance)[0].device_id == device

    def test_a_wrong_address_is_set_aside(self, small: Hospital) -> None:
        small.device("CT1", address="10.1.2.3")
        assert small.send(ct()) == SUCCESS
        assert small.rows(Instance) == []
        assert [item.reason for item in small.rows(Quarantined)] == ["wrong_address"]

    def test_one_title_at_two_sites_is_not_guessed(self, small: Hospital) -> None:
        """The service refuses to register it; two registrations that raced could still make it."""
        small.device("CT1", "DP")
        with small.context.db.transaction() as session:
            other = small.world.site_ids["LP"]
            session.add(Device(site_id=other, ae_title="CT1", created_at=small.world.clock()))
        assert small.send(ct()) == SUCCESS
        assert small.rows(Study) == []
        (item,) = small.rows(Quarantined)
        assert (item.reason, item.site_id, item.calling_ae) == ("ambiguous_device", None, "CT1")

    def test_a_blocked_device_is_refused_and_noted(self, hospital: Hospital) -> None:
        device = hospital.device("CT1")
        with hospital.context.db.transaction() as session:
            sites.set_device_active(session, device, active=False, actor=SETUP)
        assert hospital.send(ct()) is None
        assert eventually(lambda: len(hospital.rows(AssociationRefusal)) == 1)
        (refusal,) = hospital.rows(AssociationRefusal)
        assert (refusal.calling_ae, refusal.address, refusal.reason) == ("CT1", "127.0.0.1", "blocked_device")
        assert hospital.rows(Quarantined) == []

    def test_an_unknown_device_waits_at_the_desk(self, hospital: Hospital) -> None:
        for _ in range(2):
            assert hospital.send(ct(), ae="STRANGER") == SUCCESS
        (item,) = hospital.rows(Quarantined)
        assert (item.reason, item.sop_uid, item.calling_ae) == ("unknown_device", "1.2.3.4", "STRANGER")
        assert hospital.rows(Study) == []
        kept = hospital.context.store.get(item.files[0]["key"])
        assert kept[split(kept)[1] :] == ct()
        assert hospital.tags().count(Tag.QUARANTINE_KEEP) == 1

    def test_an_unknown_device_is_refused_when_the_county_says_so(self, small: Hospital) -> None:
        strict = small.context.settings.model_copy(update={"unknown_devices": "reject"})
        small.world.context = Context(strict, small.context.db, small.context.store, small.world.clock)
        listener = listening(small.world)
        strict_hospital = Hospital(small.world, listener)
        assert strict_hospital.send(ct(), ae="STRANGER") is None
        assert eventually(lambda: len(small.rows(AssociationRefusal)) == 1)
        assert small.rows(Quarantined) == []
        listener.shutdown()

    def test_unknown_bytes_at_once_make_one_item(self, hospital: Hospital) -> None:
        at_once(5, lambda _n: hospital.receive(ct(), ae="STRANGER"))
        assert len(hospital.rows(Quarantined)) == 1


class TestSuccessMeansDurable:
    def test_a_commit_that_fails(self, small: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
        """Planted: the database refuses the commit itself."""
        small.device()

        def refuse(_session: object) -> None:
            raise OperationalError("COMMIT", {}, Exception("disk I/O error"))

        monkeypatch.setattr(Database, "before_commit", [*Database.before_commit, refuse])
        assert small.send(ct()) == NO_RESOURCES
        monkeypatch.undo()
        assert small.rows(Instance) == []
        assert small.send(ct()) == SUCCESS
        assert len(small.rows(Instance)) == 1

    @pytest.mark.parametrize("ae", ["CT1", "STRANGER"])
    def test_a_store_that_fails(self, small: Hospital, monkeypatch: pytest.MonkeyPatch, ae: str) -> None:
        small.device()

        def full(*_: object, **__: object) -> None:
            raise StorageError("no space left")

        monkeypatch.setattr(small.context.store, "stage", full)
        assert small.send(ct(), ae=ae) == NO_RESOURCES
        assert small.rows(Instance) == []
        assert small.rows(Quarantined) == []

    def test_no_row_before_the_bytes_are_durable(
        self, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The sync is held up: nobody may see the object meanwhile."""
        hospital.device()
        begun, go_on, kept = threading.Event(), threading.Event(), Staged.keep

        def held_up(staged: Staged, key: str, **how: bool) -> Stored:
            begun.set()
            assert go_on.wait(30)
            return kept(staged, key, **how)

        monkeypatch.setattr(Staged, "keep", held_up)
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(hospital.send, ct())
            assert begun.wait(30)
            assert hospital.rows(Instance) == []
            assert not sent.done()
            go_on.set()
            assert sent.result(30) == SUCCESS
        assert len(hospital.rows(Instance)) == 1

    def test_bytes_that_do_not_become_durable_leave_no_row(
        self, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Planted: the disk fails at the end for one of eight that come at once; the others are filed."""
        hospital.device()
        kept = Staged.keep

        def fails(staged: Staged, key: str, **how: bool) -> Stored:
            if "/1.2.3.4.5-" in key:
                raise StorageError("disk error")
            return kept(staged, key, **how)

        monkeypatch.setattr(Staged, "keep", fails)
        statuses = at_once(8, lambda n: hospital.send(ct(f"1.2.3.4.{n}"), sop=f"1.2.3.4.{n}"))
        assert statuses == [SUCCESS] * 5 + [NO_RESOURCES] + [SUCCESS] * 2
        rows = hospital.rows(Instance)
        assert {row.sop_uid for row in rows} == {f"1.2.3.4.{n}" for n in range(8) if n != 5}
        assert all(hospital.dataset(row) for row in rows)
        assert hospital.tags().count(Tag.INSTANCE_RECEIVE) == 7

    def test_a_store_that_fails_for_an_object_that_cannot_be_filed(
        self, small: Hospital, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Told to try again, not that its object is bad: nothing of it was kept."""
        small.device()
        monkeypatch.setattr(
            small.context.store, "stage", lambda *_: (_ for _ in ()).throw(StorageError("gone"))
        )
        assert small.send(ct(t0020000D=b"")) == NO_RESOURCES


class TestWhatCannotBeFiled:
    @pytest.mark.parametrize("missing", ["t0020000D", "t0020000E", "t00080018"])
    def test_a_missing_uid(self, hospital: Hospital, missing: str) -> None:
        hospital.device()
        assert hospital.send(ct(**{missing: b""})) == ingest_status("UidMissing")
        (item,) = hospital.rows(Quarantined)
        assert (item.reason, item.site_id) == ("UidMissing", hospital.world.site_ids["DP"])
        assert hospital.rows(Study) == []

    def test_another_object_than_the_message_announced(self, small: Hospital) -> None:
        small.device()
        assert small.send(ct(sop="1.2.3.4"), sop="9.9.9") == REFUSED
        (item,) = small.rows(Quarantined)
        assert (item.reason, item.sop_uid) == ("WrongObject", "9.9.9")

    @pytest.mark.parametrize(
        "tags",
        [
            {"t00200011": element(0x00200011, "IS", b"1e300")},
            {"t00200013": element(0x00200013, "IS", b"99999999999999999999")},
            {"t00080060": element(0x00080060, "CS", b"C\0T")},
            {"t00080050": element(0x00080050, "SH", b"A\0B" * 40)},
            {"t00100020": element(0x00100020, "LO", b"P\0\0001" * 60)},
            {"t00100010": element(0x00100010, "PN", b"\xff\xfe\0\x1b$)C^\xd8\x00" * 40)},
            {"t00081030": element(0x00081030, "LO", b"a\0b\x1b\x07" + b"x" * 900)},
        ],
        ids=[
            "huge-series",
            "huge-number",
            "nul-modality",
            "nul-accession",
            "nul-id",
            "wild-name",
            "nul-text",
        ],
    )
    def test_values_that_no_index_can_hold_do_not_keep_an_image_out(
        self, hospital: Hospital, tags: dict[str, bytes]
    ) -> None:
        hospital.device()
        assert hospital.send(ct(**tags)) == SUCCESS
        assert len(hospital.rows(Instance)) == 1


def ingest_status(code: str) -> int:
    from hub.dicom import header

    return int(getattr(header, code).dimse_status)


class TestCharset:
    @pytest.mark.parametrize("charset", [None, "Big5"])
    def test_the_devices_own_charset_is_used(self, small: Hospital, charset: str | None) -> None:
        """Oracle: Python's big5 codec. The device declares nothing and writes Big5."""
        small.device(**({"charset": charset} if charset else {}))
        name = element(0x00100010, "PN", "黃^玉蘭".encode("big5"))
        assert small.send(ct(t00100010=name)) == SUCCESS
        (study,) = small.rows(Study)
        if charset:
            assert (study.patient_name, study.name_confidence) == ("黃玉蘭", 1.0)
        kept = small.context.store.get(small.rows(Instance)[0].storage_key)
        assert kept[split(kept)[1] :] == ct(t00100010=name), "the stored bytes are the sent ones"


class TestAgain:
    def test_five_times_one_after_the_other(self, hospital: Hospital) -> None:
        hospital.device()
        assert [hospital.send(ct()) for _ in range(5)] == [SUCCESS] * 5
        (instance,) = hospital.rows(Instance)
        (study,) = hospital.rows(Study)
        assert (instance.resends, study.n_instances, study.n_series) == (4, 1, 1)
        assert hospital.rows(Quarantined) == []
        assert hospital.tags().count(Tag.INSTANCE_DUPLICATE) == 4

    def test_five_at_once(self, hospital: Hospital) -> None:
        hospital.device()
        statuses = at_once(5, lambda _n: hospital.send(ct()))
        assert statuses == [SUCCESS] * 5
        (instance,) = hospital.rows(Instance)
        (study,) = hospital.rows(Study)
        assert (instance.resends, study.n_instances, study.n_series) == (4, 1, 1)

    def test_other_bytes_under_the_same_uid(self, hospital: Hospital) -> None:
        hospital.device()
        first, second = ct(), ct(t7FE00010=element(0x7FE00010, "OW", bytes(range(1, 33))))
        assert [hospital.send(first), hospital.send(second), hospital.send(second)] == [SUCCESS] * 3
        (instance,) = hospital.rows(Instance)
        assert hospital.dataset(instance) == first
        (item,) = hospital.rows(Quarantined)
        assert (item.reason, item.sop_uid) == ("uid_conflict", "1.2.3.4")
        kept = hospital.context.store.get(item.files[0]["key"])
        assert kept[split(kept)[1] :] == second
        assert hospital.send(first) == SUCCESS

    def test_other_bytes_under_the_same_uid_at_once(self, hospital: Hospital) -> None:
        """Whichever is first stays; the other is at the desk; both devices are content."""
        hospital.device()
        variants = [ct(), ct(t7FE00010=element(0x7FE00010, "OW", bytes(range(1, 33))))]
        assert at_once(2, lambda n: hospital.send(variants[n])) == [SUCCESS] * 2
        assert (len(hospital.rows(Instance)), len(hospital.rows(Quarantined))) == (1, 1)

    def test_one_uid_at_two_sites_is_two_objects(self, small: Hospital) -> None:
        small.device("CT1", "DP")
        small.device("CT2", "LP")
        other = ct(patient="ELSE", name="李^四")
        assert [small.send(ct()), small.send(other, ae="CT2")] == [SUCCESS] * 2
        assert {study.local_id for study in small.rows(Study)} == {"P1", "ELSE"}
        assert small.rows(Quarantined) == []

    def test_eight_threads_of_one_new_study(self, hospital: Hospital) -> None:
        hospital.device()

        def push(n: int) -> list[int]:
            return [
                hospital.receive(ct(f"1.2.3.4.{n}.{m}", series=f"1.2.3.5.{m % 2}"), f"1.2.3.4.{n}.{m}")
                for m in range(6)
            ]

        assert at_once(8, push) == [[SUCCESS] * 6] * 8
        (study,) = hospital.rows(Study)
        assert (study.n_instances, study.n_series) == (48, 2)
        assert len(hospital.rows(Instance)) == 48


class TestTwoPatients:
    def test_another_number(self, hospital: Hospital) -> None:
        hospital.device()
        assert hospital.send(ct()) == SUCCESS
        assert hospital.send(ct("1.2.3.4.2", patient="P2"), sop="1.2.3.4.2") == SUCCESS
        self.check_first_stays(hospital)

    def test_another_name(self, hospital: Hospital) -> None:
        hospital.device()
        assert hospital.send(ct()) == SUCCESS
        assert hospital.send(ct("1.2.3.4.2", name="李^四"), sop="1.2.3.4.2") == SUCCESS
        self.check_first_stays(hospital)

    @staticmethod
    def check_first_stays(hospital: Hospital) -> None:
        (study,) = hospital.rows(Study)
        assert (study.local_id, study.patient_name, study.n_instances) == ("P1", "张三", 1)
        assert len(hospital.rows(Instance)) == 1
        (item,) = hospital.rows(Quarantined)
        assert (item.reason, item.sop_uid, item.study_uid) == ("patient_conflict", "1.2.3.4.2", "1.2.3")
        assert hospital.tags().count(Tag.CONFLICT_RAISE) == 1

    def test_at_once(self, hospital: Hospital) -> None:
        """Two devices, one study UID, two patients: one patient's objects are filed, whichever."""
        hospital.device()

        def push(n: int) -> list[int | None]:
            patient = n % 2
            return [
                hospital.send(
                    ct(f"1.2.3.4.{n}.{m}", patient=f"P{patient}", name=("张^三", "李^四")[patient]),
                    sop=f"1.2.3.4.{n}.{m}",
                )
                for m in range(3)
            ]

        assert at_once(4, push) == [[SUCCESS] * 3] * 4
        (study,) = hospital.rows(Study)
        parity = {int(instance.sop_uid.split(".")[4]) % 2 for instance in hospital.rows(Instance)}
        assert len(parity) == 1
        assert study.local_id == f"P{parity.pop()}"
        assert (study.n_instances, len(hospital.rows(Quarantined))) == (6, 6)

    @pytest.mark.parametrize(
        "same",
        [
            {"patient": ""},
            {"name": ""},
            {"name": "张三"},
            {"name": "ZHANG^SAN"},
            {"name": "Zhang^San=张^三"},
        ],
    )
    def test_what_contradicts_nothing(self, small: Hospital, same: dict[str, str]) -> None:
        small.device()
        assert small.send(ct()) == SUCCESS
        assert small.send(ct("1.2.3.4.2", **same), sop="1.2.3.4.2") == SUCCESS
        assert small.rows(Quarantined) == []
        assert small.rows(Study)[0].n_instances == 2

    def test_an_upload_is_told(self, small: Hospital) -> None:
        origin = small.world.origin("DP")
        ingest.file_upload(small.context, BytesIO(file_of(ct())), origin, "DP")
        with pytest.raises(PatientConflict):
            ingest.file_upload(small.context, BytesIO(file_of(ct("1.2.3.4.2", patient="P2"))), origin, "DP")
        assert [item.reason for item in small.rows(Quarantined)] == ["patient_conflict"]

    def test_the_desk_cannot_file_it_into_the_other_patients_study(self, small: Hospital) -> None:
        small.device()
        small.send(ct())
        small.send(ct("1.2.3.4.2", patient="P2"), sop="1.2.3.4.2")
        with pytest.raises(PatientConflict):
            self.release(small, "DP")
        assert small.rows(Study)[0].n_instances == 1
        self.release(small, "LP")
        assert len(small.rows(Study)) == 2

    @staticmethod
    def release(hospital: Hospital, site: str) -> None:
        (item,) = hospital.rows(Quarantined)
        with hospital.context.db.transaction() as session:
            ingest.release_quarantined(
                hospital.context, session, item, hospital.world.site_ids[site], site, SETUP
            )


class TestRelease:
    def test_into_a_site(self, hospital: Hospital) -> None:
        hospital.send(ct(), ae="STRANGER")
        TestTwoPatients.release(hospital, "LP")
        (study,) = hospital.rows(Study)
        assert study.site_id == hospital.world.site_ids["LP"]
        assert hospital.dataset(hospital.rows(Instance)[0]) == ct()

    def test_a_taken_uid(self, small: Hospital) -> None:
        small.send(ct(t7FE00010=element(0x7FE00010, "OW", bytes(32))), ae="STRANGER")
        small.device()
        small.send(ct())
        with pytest.raises(UidTaken):
            TestTwoPatients.release(small, "DP")

    def test_a_conflict_is_never_filed(self, small: Hospital) -> None:
        small.device()
        small.send(ct())
        small.send(ct(t7FE00010=element(0x7FE00010, "OW", bytes(32))))
        with pytest.raises(CannotBeFiled):
            TestTwoPatients.release(small, "LP")

    def test_bytes_that_are_gone(self, small: Hospital) -> None:
        small.send(ct(), ae="STRANGER")
        (item,) = small.rows(Quarantined)
        small.context.store.delete(item.files[0]["key"])
        with pytest.raises(StoreUnavailable):
            TestTwoPatients.release(small, "LP")


class TestEveryByte:
    @pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
    def test_what_was_sent_is_what_is_returned(self, small: Hospital, path: Path) -> None:
        """Oracle: SHA-256 of the bytes put on the wire by pynetdicom, every file of the data."""
        small.device()
        meta, _ = split(path)
        sent = dataset_of(path)
        status = small.send(
            sent, sop=meta.sop_instance, sop_class=meta.sop_class, syntax=meta.transfer_syntax
        )
        digest = hashlib.sha256(sent).hexdigest()
        if status == SUCCESS:
            (instance,) = small.rows(Instance)
            kept = small.context.store.get(instance.storage_key)
            assert instance.transfer_syntax == meta.transfer_syntax
            assert hashlib.sha256(kept).hexdigest() == instance.sha256
            assert kept[instance.dataset_offset :] == sent
        else:
            (item,) = small.rows(Quarantined)
            kept = small.context.store.get(item.files[0]["key"])
            assert path.name in WITHOUT_UIDS
        assert hashlib.sha256(kept[split(kept)[1] :]).hexdigest() == digest
        assert [line for line in check_store(small.context) if line.fault] == []

    @pytest.mark.parametrize(
        ("name", "proposal"),
        [(name, PROPOSALS[name]) for name in ("MR_small_bigendian.dcm", "image_dfl.dcm", "JPEG2000.dcm")],
    )
    def test_what_dcmtk_sends_is_what_is_stored(
        self, small: Hospital, name: str, proposal: str, storescp: tuple[int, Path]
    ) -> None:
        """Oracle: DCMTK's storescp --bit-preserving receives the same from the same storescu."""
        port, folder = storescp
        small.device("STORESCU")
        for target in (small.listener.port, port):
            sent = run("storescu", "-R", proposal, "127.0.0.1", str(target), str(DATA / name))
            assert sent.returncode == 0, sent.stderr
        meta, _ = split(DATA / name)
        (written,) = folder.glob(f"*{meta.sop_instance}*")
        digest = hashlib.sha256(dataset_of(written)).hexdigest()
        written.unlink()
        assert [hashlib.sha256(small.dataset(row)).hexdigest() for row in small.rows(Instance)] == [digest]

    def test_dcmtk_reads_what_was_stored(self, small: Hospital, tmp_path: Path) -> None:
        """Oracle: dcmdump accepts the stored file and finds the calling device in its header."""
        small.device()
        assert small.send(ct()) == SUCCESS
        file = tmp_path / "stored.dcm"
        file.write_bytes(small.context.store.get(small.rows(Instance)[0].storage_key))
        shown = run("dcmdump", "+P", "0002,0016", "+P", "0002,0010", str(file))
        assert shown.returncode == 0
        assert re.search(r"\[CT1\]", shown.stdout)


def at_once(n: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work` in n threads that start together; an exception fails the test."""
    results: list[Any] = [None] * n
    gate = threading.Barrier(n)

    def one(number: int) -> None:
        gate.wait()
        try:
            results[number] = work(number)
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
