"""`hub rebuild`: a catalogue made from the objects alone shows what the lost one showed.

Oracle: the rows and the DICOMweb answers of the hub whose database is thrown away.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from sqlalchemy import select
from starlette.testclient import TestClient
from typer.testing import CliRunner

from hub.app import create_app
from hub.auth import service as accounts
from hub.auth.models import UserAccount
from hub.auth.roles import Role
from hub.catalogue import packing
from hub.catalogue.keys import quarantine_key
from hub.catalogue.models import Instance, Pack, Quarantined, Recording, RetiredObject, Series, Study
from hub.cli import app
from hub.config import Settings
from hub.context import Context
from hub.db.session import Database
from hub.dicom import ingest
from hub.ecg.ingest import EcgDetails, receive
from hub.jobs.testing import run_pending
from hub.kit.uids import new_uid
from hub.rebuild import CatalogueNotEmpty, Summary, rebuild
from hub.reports.store_check import check_store
from hub.sites import service as sites
from hub.sites.models import Device, Site
from hub.worklist.models import Exam
from storage.errors import StoreUnreachable
from storage.filesystem import FileSystemStore
from tests.dicom.outside import look, without_row_ids
from tests.dicom.samples import DATA
from tests.ecg.records import ludb, wfdb_record
from tests.fixtures.database import TestClock
from tests.fixtures.world import SETUP, World, as_user, build

SINGLE = (
    "CT_small.dcm",
    "OBXXXX1A_rle_2frame.dcm",
    "SC_rgb_rle_2frame.dcm",
    "test-SR.dcm",
    "MR_small_implicit.dcm",
)
ECG = DATA.parent / "ecg" / "ludb_88_12lead_gb18030.dcm"
DETAILS = EcgDetails("王秀英", "P1001", "F", "19580412", "", "心悸", "urgent")
NOT_COMPARED = {"id", "site_id", "study_id", "series_id", "device_id", "settle_due_at"}
OF_DERIVED = {"metadata_key", "metadata_tag"}


def file(world: World, content: bytes, site: str = "DP", device_id: str | None = None) -> None:
    origin = world.origin(site)
    origin = replace(origin, device_id=device_id, calling_ae="CT_ROOM_1", address="10.1.2.3")
    with world.context.db.reading() as session:
        device = session.get(Device, device_id) if device_id else None
    ingest.file_upload(world.context, io.BytesIO(content), origin, site, charset=device and device.charset)


def ct_series(count: int, name: bytes | None = None) -> list[bytes]:
    dataset = dcmread(DATA / "CT_small.dcm")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = new_uid(), new_uid()
    dataset.AccessionNumber = "0012603020001"
    files = []
    for number in range(1, count + 1):
        dataset.InstanceNumber, dataset.SOPInstanceUID = number, new_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        if name is not None:
            dataset.SpecificCharacterSet = "ISO_IR 100"
            dataset.PatientName = name.decode("latin-1")
        out = io.BytesIO()
        dataset.save_as(out)
        files.append(out.getvalue())
    return files


@dataclass(frozen=True)
class Kept:
    """A county at rest: folder of database and objects, time, row ids of the sites."""

    folder: Path
    now: datetime
    site_ids: dict[str, str]


@pytest.fixture(scope="module")
def kept(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, password_hash: str) -> Kept:
    """Packed and loose objects of two sites, ECGs of both kinds, and something at the desk."""
    folder = tmp_path_factory.mktemp("county")
    shutil.copyfile(sqlite_template, folder / "hub.db")
    world = opened(folder, TestClock())
    world = build(world.context, world.clock, password_hash)
    fill(world)
    world.context.db.dispose()
    return Kept(folder, world.clock.now, world.site_ids)


def opened(folder: Path, clock: TestClock, database: str = "hub.db") -> World:
    """The hub in a folder."""
    url = f"sqlite:///{folder / database}"
    store = FileSystemStore(folder / "objects")
    return World(
        Context(Settings(data_dir=folder, database_url=url), Database(url, pool_size=5), store, clock), clock
    )


@pytest.fixture
def county(kept: Kept, tmp_path: Path) -> Iterator[World]:
    """A copy of it."""
    shutil.copytree(kept.folder, tmp_path, dirs_exist_ok=True)
    world = opened(tmp_path, TestClock(kept.now))
    world.site_ids |= kept.site_ids
    yield world
    world.context.db.dispose()


def fill(world: World) -> None:
    """Let things arrive and settle."""
    with world.context.db.transaction() as session:
        site = session.get_one(Site, world.site_ids["DP"])
        device = sites.add_device(
            session, site, "CT_ROOM_1", charset="gb18030", label="CT", now=world.clock(), actor=SETUP
        )
    for content in ct_series(6, "郑伟".encode("gb18030")):
        file(world, content, device_id=device.id)
        world.clock.advance(seconds=1)
    for name in SINGLE:
        file(world, (DATA / name).read_bytes())
        world.clock.advance(seconds=1)
    for content in ct_series(5):
        file(world, content, "LP")
        file(world, content, "LP")
    file(world, ECG.read_bytes(), "LP")
    receive(world.context, ludb(88), world.origin("DP"), "DP", details=DETAILS)
    world.context.store.put(quarantine_key(world.clock.now, hashlib.sha256(b"?").hexdigest()), b"?")
    world.settle()
    world.settle()


@pytest.fixture
def lost(county: World, sqlite_template: Path, tmp_path: Path) -> Iterator[Context]:
    """The same store beside a database in which there is nothing."""
    shutil.copyfile(sqlite_template, tmp_path / "new.db")
    context = opened(tmp_path, county.clock, "new.db").context
    yield context
    context.db.dispose()


def rows(context: Context, model: type[Any]) -> list[Any]:
    with context.db.reading() as session:
        return list(session.scalars(select(model)))


def plain(context: Context, model: type[Any], *, without: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    names = [c.key for c in model.__table__.columns if c.key not in NOT_COMPARED | without]
    return sorted(repr({name: getattr(row, name) for name in names}) for row in rows(context, model))


def outside(context: Context) -> dict[str, Any]:
    """What a reader sees at each site's DICOMweb address."""
    with context.db.transaction() as session:
        user = session.scalars(select(UserAccount).where(UserAccount.login == "writer1")).one_or_none()
        if user is None:
            user = UserAccount(login="writer1", name="林书一", password_hash="-", created_at=context.clock())
            session.add(user)
            session.flush()
            accounts.add_post(session, user, Role.WRITER, None, valid_from=date(2020, 1, 1), actor=SETUP)
        codes = {site.code: site.id for site in session.scalars(select(Site))}
    client = as_user(TestClient(create_app(context), follow_redirects=False), "writer1")
    return {
        code: without_row_ids(look(client, f"/dicom-web/sites/{site_id}")) for code, site_id in codes.items()
    }


def counts(summary: Summary) -> dict[str, int]:
    names = ("studies", "instances", "recordings", "known", "moved", "quarantined", "conflicts")
    return {name: getattr(summary, name) for name in names if getattr(summary, name)}


EVERYTHING = {"studies": 9, "instances": 17, "recordings": 1, "known": 11, "quarantined": 1}
"""Known are the files that lie alone still within the hour after they were packed."""


class TestFromObjectsAlone:
    def test_readers_see_the_same(self, county: World, lost: Context) -> None:
        before = outside(county.context)
        summary = rebuild(lost)
        assert (counts(summary), summary.problems) == (EVERYTHING, [])
        assert summary.sites_made == ["DP", "LP"]
        assert summary.devices_made == ["DP CT_ROOM_1"]
        run_pending(lost, skip_delays=True)
        after = outside(lost)
        for code, answers in before.items():
            assert [url for url, seen in answers.items() if after[code].get(url) != seen] == []
        assert after == before

    def test_rows_are_the_same(self, county: World, lost: Context) -> None:
        rebuild(lost)
        for model in (Study, Instance, Recording):
            assert plain(lost, model) == plain(county.context, model), model.__name__
        assert plain(lost, Series, without=OF_DERIVED) == plain(county.context, Series, without=OF_DERIVED)
        assert plain(lost, Pack, without={"created_at"}) == plain(
            county.context, Pack, without={"created_at"}
        )
        assert {(site.code, site.name) for site in rows(lost, Site)} == {
            ("DP", "东陂镇分院"),
            ("LP", "龙坪镇分院"),
        }
        [device] = rows(lost, Device)
        assert (device.charset, device.label, device.active) == ("gb18030", "CT", False)
        [item] = rows(lost, Quarantined)
        assert (item.kind, item.reason) == ("ecg", "rebuilt")
        assert [line for line in check_store(lost) if line.fault] == []

    def test_nothing_in_the_store_is_changed(self, county: World, lost: Context) -> None:
        before = {found.key: found for found in county.context.store.list()}
        rebuild(lost, dry_run=True)
        rebuild(lost)
        rebuild(lost, merge=True)
        assert {found.key: found for found in county.context.store.list()} == before

    def test_once_more_adds_nothing(self, lost: Context) -> None:
        rebuild(lost)
        before = {model: plain(lost, model) for model in (Study, Instance, Recording, Pack, Quarantined)}
        with pytest.raises(CatalogueNotEmpty):
            rebuild(lost)
        summary = rebuild(lost, merge=True)
        assert counts(summary).keys() <= {"known", "quarantined"}
        assert {model: plain(lost, model) for model in before} == before

    def test_a_dry_run_only_counts(self, lost: Context) -> None:
        assert counts(rebuild(lost, dry_run=True)) == {
            "studies": 8,
            "instances": 17,
            "recordings": 1,
            "quarantined": 1,
        }
        assert [rows(lost, model) for model in (Site, Study, Instance, Recording, Quarantined)] == [[]] * 5

    def test_files_that_are_still_loose_beside_their_pack(self, county: World, lost: Context) -> None:
        """As within the hour after packing: rows point into packs, the copies are noted for removal."""
        loose = {row.key for row in rows(county.context, RetiredObject)}
        assert len(loose) == 11
        rebuild(lost)
        assert {row.key for row in rows(lost, RetiredObject)} == loose
        county.clock.advance(hours=2)
        packing.remove_retired(lost)
        assert [line for line in check_store(lost) if line.fault] == []


class TestWithoutNotes:
    """What is left when a study never settled: the files and their keys."""

    def test_images(self, county: World, lost: Context) -> None:
        for found in list(county.context.store.list("studies/")):
            county.context.store.delete(found.key)
        summary = rebuild(lost)
        assert counts(summary) == EVERYTHING
        same = {"received_at", "address", "calling_ae", "resends"}
        assert plain(lost, Instance, without=same) == plain(county.context, Instance, without=same)

    def test_an_ecg_whose_names_its_header_tells(self, county: World, lost: Context) -> None:
        files = wfdb_record(np.arange(12_000, dtype=np.int16).reshape(-1, 2) % 1000, names=("I", "II"))
        receive(county.context, files, county.origin("LP"), "LP")
        rebuild(lost)
        [kept] = [row for row in rows(county.context, Recording) if len(row.leads) == 2]
        [made] = [row for row in rows(lost, Recording) if len(row.leads) == 2]
        assert (made.digest, made.files, made.leads) == (kept.digest, kept.files, kept.leads)

    def test_an_ecg_that_cannot_be_read_goes_to_the_desk(self, county: World, lost: Context) -> None:
        county.register_ecg()
        assert rebuild(lost).quarantined == 2
        assert sorted(item.kind for item in rows(lost, Quarantined)) == ["ecg", "ecg"]


class TestConflicts:
    def test_another_object_under_a_uid_goes_to_the_desk_again(self, county: World, lost: Context) -> None:
        changed = dcmread(DATA / "CT_small.dcm")
        changed.ImageComments = "another"
        out = io.BytesIO()
        changed.save_as(out)
        file(county, out.getvalue())
        assert len(rows(county.context, Quarantined)) == 1
        summary = rebuild(lost)
        assert counts(summary) == EVERYTHING | {"conflicts": 1}
        assert {item.reason for item in rows(lost, Quarantined)} == {"uid_conflict", "rebuilt"}
        assert plain(lost, Instance) == plain(county.context, Instance)

    def test_what_was_filed_from_the_desk_does_not_come_back(self, county: World, lost: Context) -> None:
        store = county.context.store
        [key] = [
            row.storage_key for row in rows(county.context, Instance) if "1.3.6.1.4.1.5962" in row.sop_uid
        ][:1]
        content = store.get(key)

        store.put(f"quarantine/20260301/{hashlib.sha256(content).hexdigest()}.bin", content)
        assert rebuild(lost).quarantined == 1


def spoil(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.chmod(0o640)
    path.write_bytes(content)


class TestDamage:
    """Planted faults are listed with their reason and stop nothing."""

    @pytest.mark.parametrize("fault", ["spoilt", "missing"])
    def test_a_loose_file(self, county: World, lost: Context, tmp_path: Path, fault: str) -> None:
        row = next(row for row in rows(county.context, Instance) if not row.storage_offset)
        path = tmp_path / "objects" / row.storage_key
        path.unlink() if fault == "missing" else spoil(path)
        summary = rebuild(lost)
        assert summary.instances == 16
        reasons = {reason for _, reason in summary.problems}
        assert reasons <= {"damaged", "missing"}
        with county.context.db.reading() as session:
            series = session.get_one(Series, row.series_id)
            study = session.get_one(Study, series.study_id)
        assert any(study.study_uid in key for key, _ in summary.problems)

    def test_a_member_of_a_pack(self, county: World, lost: Context, tmp_path: Path) -> None:
        county.clock.advance(hours=2)
        packing.remove_retired(county.context)
        row = next(row for row in rows(county.context, Instance) if row.storage_offset)
        spoil(tmp_path / "objects" / row.storage_key, row.storage_offset + row.size - 1)
        summary = rebuild(lost)
        assert summary.instances == 16
        assert (f"{row.storage_key}", "damaged") in [
            (key.split(" ")[0], why) for key, why in summary.problems
        ]

    def test_foreign_files(self, county: World, lost: Context) -> None:
        store = county.context.store
        for key in (
            "dicom/DP/1.2.3/foreign.dcm",
            "dicom/foreign",
            "dicom/no site/1.2/x.dcm".replace(" ", "_"),
            "packs/DP/1.2.3/x.zip",
            "studies/DP/1.2.4.json",
            "studies/x",
            "ecg/DP/x",
            "ecg/DP/0123/00-0123.bin",
            "quarantine/x",
            "dump.sql",
        ):
            store.put(key, b"by hand")
        summary = rebuild(lost)
        assert counts(summary) == EVERYTHING
        assert len(summary.problems) >= 6

    def test_a_note_that_makes_no_sense(self, county: World, lost: Context) -> None:
        for number, found in enumerate(list(county.context.store.list("studies/"))):
            content = [b"{}", b"[]", b'{"study": {}}', b'{"study": {"settled_at": "x"}}', b"\xff"][number % 5]
            county.context.store.put(found.key, content)
        assert rebuild(lost).instances >= 11

    def test_a_store_that_stops_answering_stops_the_run(
        self, lost: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(_key: str) -> bytes:
            raise StoreUnreachable("gone")

        monkeypatch.setattr(lost.store, "open", away)
        with pytest.raises(StoreUnreachable):
            rebuild(lost)


class TestMerge:
    def test_only_what_is_missing_is_added(self, county: World) -> None:
        context = county.context
        before = {model: plain(context, model) for model in (Study, Series, Instance, Recording)}
        with context.db.transaction() as session:
            gone = session.scalars(select(Instance).where(Instance.storage_offset > 0)).first()
            assert gone is not None
            session.delete(gone)
        summary = rebuild(context, merge=True)
        assert summary.instances == 1
        assert plain(context, Instance) == before[Instance]

    def test_a_database_older_than_its_store(self, county: World) -> None:
        """Its rows point at loose files that were packed and removed since."""
        context = county.context
        now = plain(context, Instance)
        with context.db.transaction() as session:
            for row in session.scalars(select(Instance).where(Instance.storage_offset > 0)):
                row.storage_key = f"dicom/DP/1.2/{row.sop_uid}-0.dcm"
                row.storage_offset = 0
            for pack in session.scalars(select(Pack)):
                session.delete(pack)
        for key in {row.key for row in rows(context, RetiredObject)}:
            context.store.delete(key)
        county.clock.now = max(county.clock.now, datetime.now(UTC)) + timedelta(hours=25)
        assert len(packing.retire_strays(context)[1]) == 2
        summary = rebuild(context, merge=True)
        assert counts(summary)["moved"] == 11
        assert plain(context, Instance) == now
        assert len(rows(context, Pack)) == 2
        assert [line for line in check_store(context) if line.fault] == []


class TestWorklist:
    def test_exams_wait_to_be_read(self, lost: Context) -> None:
        assert rebuild(lost).exams == 9
        run_pending(lost, skip_delays=True)
        assert {exam.state for exam in rows(lost, Exam)} == {"complete"}
        assert len(rows(lost, Exam)) == 9

    def test_none_when_none_is_wanted(self, lost: Context) -> None:
        assert rebuild(lost, worklist=False).exams == 0
        run_pending(lost, skip_delays=True)
        assert rows(lost, Exam) == []
        assert None not in {study.settled_at for study in rows(lost, Study)}

    def test_not_those_with_a_signed_document(self, county: World, lost: Context) -> None:
        """Both CT studies carry the accession number of that exam."""
        county.context.store.put("reports/0012603020001/001-0123.pdf", b"%PDF")
        summary = rebuild(lost)
        assert (summary.exams, summary.reports) == (7, 1)

    def test_a_late_object_still_opens_the_exam(self, county: World, lost: Context) -> None:
        rebuild(lost, worklist=False)
        study = next(row for row in rows(lost, Study) if row.n_instances == 6)
        late = dcmread(DATA / "CT_small.dcm")
        late.StudyInstanceUID, late.SOPInstanceUID = study.study_uid, new_uid()
        late.SpecificCharacterSet = "ISO_IR 192"
        late.PatientName, late.PatientID = study.patient_name, study.local_id
        out = io.BytesIO()
        late.save_as(out)
        world = World(lost, county.clock, {site.code: site.id for site in rows(lost, Site)})
        ingest.file_upload(lost, io.BytesIO(out.getvalue()), world.origin("DP"), "DP")
        county.clock.advance(hours=1)
        run_pending(lost, skip_delays=True)
        assert len(rows(lost, Exam)) == 1


def command(lost: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    for name, value in {
        "DATA_DIR": tmp_path,
        "DATABASE_URL": lost.db.url,
        "OBJECT_STORE": f"file:{tmp_path / 'objects'}",
    }.items():
        monkeypatch.setenv(f"HUB_{name}", str(value))
    monkeypatch.setattr("hub.kit.log.configure", lambda *_: None)
    # The tests' template has the tables and no record of who made them.
    monkeypatch.setattr("hub.cli_support.pending", lambda _url: [])

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["rebuild", *arguments])
        return done.exit_code, done.stdout + done.stderr

    return run


def test_on_the_command_line(lost: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = command(lost, tmp_path, monkeypatch)
    status, out = run("--json", "--dry-run")
    assert (status, json.loads(out)["instances"], json.loads(out)["dry_run"]) == (0, 17, True)
    status, out = run()
    assert status == 0
    assert "sites_made: DP, LP" in out
    assert "blocked" in out
    status, out = run()
    assert (status, "--merge" in out) == (2, True)
    status, out = run("--merge", "--json")
    assert (status, json.loads(out)["instances"]) == (0, 0)
    lost.store.put("packs/DP/1.2.3/x.zip", b"by hand")
    status, out = run("--merge")
    assert (status, "NotAPack: packs/DP/1.2.3/x.zip" in out) == (1, True)
