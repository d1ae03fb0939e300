"""Watched folders: real files, real moves. Oracles: the files' own hashes, and what the archive holds."""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from hub.catalogue.models import Recording, Study
from hub.config import Settings
from hub.context import Context
from hub.ecg.grouping import Group
from hub.ecg.watch import PATIENCE_SECONDS, UNSPEAKABLE, Watcher
from hub.ecg.watch_files import Folder
from hub.errors import HubError, StoreUnavailable
from hub.worklist.ecg_watch import FolderIntake, look_into
from hub.worklist.models import Exam, WatchedFolder
from tests.ecg.records import DATA, load, ludb
from tests.fixtures.world import World

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
REST = 3.0
DICOM = "ludb_88_12lead_gb18030.dcm"


@dataclass
class Desk:
    """A folder, a watcher over it, and a clock that the test moves."""

    root: Path
    taken: list[Group] = field(default_factory=list)
    refusing: HubError | None = None
    at: float = 0.0
    watcher: Watcher = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """What is only remembered is gone."""
        self.watcher = Watcher(self.root, REST, self._take, lambda error: f"because {error.code}")

    def _take(self, group: Group) -> None:
        if self.refusing is not None:
            raise self.refusing
        from hub.ecg.read import read_ecg

        read_ecg(group.files)
        self.taken.append(group)

    def put(self, files: dict[str, bytes], place: str = "") -> None:
        folder = self.root / place
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)

    def look(self, seconds: float = 0.0):
        self.at += seconds
        return self.watcher.look(NOW, self.at)

    def rested(self):
        """Look, wait until everything has rested, look again."""
        self.look()
        return self.look(REST)

    def names(self, into: str = "") -> list[str]:
        folder = self.root / into
        return sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    root = tmp_path / "drop"
    root.mkdir()
    return Desk(root)


class TestTaking:
    def test_a_record_is_taken_whole_and_moved_unchanged(self, desk: Desk) -> None:
        files = ludb(88)
        desk.put(files)
        assert desk.look().taken == 0  # it has not rested yet
        look = desk.look(REST)
        assert (look.taken, look.waiting, look.problem) == (1, 0, "")
        assert [sorted(group.files) for group in desk.taken] == [sorted(files)]
        assert desk.names() == []
        kept = {p.name: p.read_bytes() for p in (desk.root / "done/20260302").iterdir()}
        assert kept == files

    def test_folders_below_are_looked_into_each_for_itself(self, desk: Desk) -> None:
        desk.put(ludb(88), "2026/bed1")
        desk.put(load(DICOM), "2026/bed2")
        assert desk.rested().taken == 2
        assert {group.dicom for group in desk.taken} == {True, False}

    def test_what_lies_in_done_is_never_taken_again(self, desk: Desk) -> None:
        desk.put(ludb(88))
        desk.rested()
        assert (desk.look(60).taken, desk.look(60).taken, len(desk.taken)) == (0, 0, 1)

    def test_dropped_again_it_is_handed_over_again_and_replaces_nothing(self, desk: Desk) -> None:
        for _ in range(2):
            desk.put(load(DICOM))
            desk.rested()
        assert len(desk.taken) == 2
        assert desk.names("done/20260302") == [DICOM.replace(".dcm", "-2.dcm"), DICOM]


class TestNotYet:
    def test_a_file_that_grows_is_not_read(self, desk: Desk) -> None:
        content = load(DICOM)[DICOM]
        path = desk.root / DICOM
        for part in range(1, 6):
            path.write_bytes(content[: len(content) * part // 5])
            os.utime(path, ns=(part * 10**9, part * 10**9))
            assert desk.look(REST).taken == 0
        assert desk.look(REST).taken == 1

    def test_changed_between_listing_and_reading_it_is_left(self, desk: Desk) -> None:
        desk.put(load(DICOM))
        with Folder.open(desk.root, "20260302") as folder:
            (lying,) = folder.files()
            with (desk.root / DICOM).open("ab") as file:
                file.write(b"more")
            assert folder.read(lying) is None

    def test_a_header_waits_for_its_samples(self, desk: Desk) -> None:
        files = ludb(88)
        desk.put({"ludb_88.hea": files["ludb_88.hea"]})
        assert (desk.rested().refused, desk.look(30).refused) == (0, 0)
        desk.put({"88.dat": files["88.dat"]})
        assert desk.rested().taken == 1

    @pytest.mark.parametrize("name", ["ludb_88.hea", "88.dat"])
    def test_half_a_record_is_refused_in_the_end(self, desk: Desk, name: str) -> None:
        desk.put({name: ludb(88)[name]})
        desk.rested()
        assert desk.look(PATIENCE_SECONDS).refused == 1
        assert desk.names("refused/20260302") == [name, f"{name}.txt"]

    @pytest.mark.parametrize("name", [".upload.dcm", "~a.dcm", "a.dcm.part", "A.DCM.TMP"])
    def test_an_unfinished_copy_is_left_alone(self, desk: Desk, name: str) -> None:
        desk.put({name: load(DICOM)[DICOM]})
        look = desk.rested()
        assert (look.taken, look.refused, look.waiting) == (0, 0, 0)
        assert desk.names() == [name]


class TestRefusing:
    def test_the_reason_lies_beside_the_file(self, desk: Desk) -> None:
        desk.put({"note.pdf": b"%PDF-1.7 of a patient"})
        assert desk.rested().refused == 1
        assert desk.names("refused/20260302") == ["note.pdf", "note.pdf.txt"]
        assert (desk.root / "refused/20260302/note.pdf.txt").read_text() == "because UnknownFormat\n"

    def test_a_store_that_is_away_leaves_everything_in_place(self, desk: Desk) -> None:
        desk.put(load(DICOM))
        desk.refusing = StoreUnavailable()
        look = desk.rested()
        assert (look.problem, look.taken, look.refused, desk.names()) == ("StoreUnavailable", 0, 0, [DICOM])
        desk.refusing = None
        assert desk.look(1).taken == 1

    def test_a_folder_that_is_not_there_is_a_problem_that_passes(self, desk: Desk) -> None:
        desk.root.rmdir()
        assert desk.look().problem == "FileNotFoundError"
        desk.root.mkdir()
        desk.put(load(DICOM))
        assert desk.rested().taken == 1

    def test_a_file_too_large_is_not_read(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hub.ecg.watch.MAX_FILE_BYTES", 1000)
        desk.put(load(DICOM))
        assert desk.rested().refused == 1
        text = (desk.root / f"refused/20260302/{DICOM}.txt").read_text()
        assert text == "because RecordingTooLarge\n"

    def test_a_name_that_cannot_be_printed_stays_and_is_told(self, desk: Desk) -> None:
        desk.put({"a\x07.dcm": load(DICOM)[DICOM]})
        look = desk.rested()
        assert (look.problem, look.waiting, look.taken) == (UNSPEAKABLE, 1, 0)


class TestHostile:
    def test_links_are_not_followed(self, desk: Desk, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        shutil.copy(DATA / DICOM, outside / DICOM)
        (desk.root / "link.dcm").symlink_to(outside / DICOM)
        (desk.root / "folder").symlink_to(outside)
        os.mkfifo(desk.root / "pipe.dcm")
        look = desk.rested()
        assert (look.taken, look.waiting, desk.taken) == (0, 0, [])
        assert (outside / DICOM).is_file()

    @pytest.mark.parametrize("into", ["done", "refused"])
    def test_a_link_in_the_place_of_done_stops_the_taking(
        self, desk: Desk, tmp_path: Path, into: str
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        (desk.root / into).symlink_to(tmp_path / "elsewhere")
        desk.put(load(DICOM))
        look = desk.rested()
        assert (look.taken, bool(look.problem)) == (0, True)
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_a_plan_that_leads_out_moves_nothing(self, desk: Desk, tmp_path: Path) -> None:
        victim = tmp_path / "victim.dcm"
        victim.write_bytes(b"x")
        plans = desk.root / "done/20260302"
        plans.mkdir(parents=True)
        (plans / ".moving-a").write_text('[["..", "victim.dcm"], ["", "../victim.dcm"], ["/", "etc"], 7]')
        desk.look()
        assert victim.read_bytes() == b"x"


class TestCrash:
    def test_between_keeping_and_moving_it_is_handed_over_again(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.put(ludb(88))

        def dies(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Folder, "move", dies)
            with pytest.raises(KeyboardInterrupt):
                desk.rested()
        desk.restart()
        assert desk.rested().taken == 1
        assert desk.names("done/20260302") == sorted(ludb(88))

    def test_between_two_files_the_rest_follows(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.put(ludb(88))
        rename, moved = os.rename, []

        def once(*args: object, **kwargs: object) -> None:
            if moved:
                raise KeyboardInterrupt
            moved.append(args)
            rename(*args, **kwargs)  # type: ignore[arg-type]

        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", once)
            with pytest.raises(KeyboardInterrupt):
                desk.rested()
        desk.restart()
        look = desk.rested()
        assert (look.taken, look.refused, look.waiting) == (0, 0, 0)
        kept = [p.read_bytes() for p in (desk.root / "done/20260302").iterdir() if p.stat().st_size]
        assert sorted(kept) == sorted(ludb(88).values())

    def test_what_cannot_be_moved_is_not_taken_again_and_again(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.put(load(DICOM))

        def denied(*_: object, **__: object) -> None:
            raise PermissionError

        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", denied)
            problems = {desk.rested().problem, desk.look(1).problem}
        assert problems == {"PermissionError"}
        assert len(desk.taken) == 1
        desk.look(1)
        assert (desk.names(), len(desk.taken)) == ([], 1)


class TestIntoTheHub:
    @pytest.fixture
    def intake(self, sqlite_world: World, tmp_path: Path) -> Callable[[], FolderIntake]:
        root = tmp_path / "drop"
        root.mkdir()
        known = sqlite_world.context
        settings = Settings(
            data_dir=known.settings.data_dir,
            database_url=known.settings.database_url,
            ecg_watch=(f"DP={root}",),
            ecg_watch_rest_seconds=REST,
        )
        context = Context(settings, known.db, known.store, known.clock)
        return lambda: FolderIntake(context, settings.ecg_watch[0])

    def rows(self, world: World, model: type) -> list:
        with world.context.db.reading() as session:
            return list(session.scalars(select(model)))

    def test_exactly_one_recording_and_exam_whatever_happens(
        self, sqlite_world: World, tmp_path: Path, intake: Callable[[], FolderIntake]
    ) -> None:
        files = ludb(88)
        for start in (0.0, 100.0):  # the same record is dropped twice, and the process is another one
            for name, content in files.items():
                (tmp_path / "drop" / name).write_bytes(content)
            one = intake()
            one.look(start)
            assert one.look(start + REST).taken == 1
        (recording,) = self.rows(sqlite_world, Recording)
        (study,), (exam,) = self.rows(sqlite_world, Study), self.rows(sqlite_world, Exam)
        assert recording.resends == 1
        assert {file["sha256"] for file in recording.files} == {
            hashlib.sha256(content).hexdigest() for content in files.values()
        }
        assert (study.site_id, exam.state) == (sqlite_world.site_ids["DP"], "complete")
        (row,) = self.rows(sqlite_world, WatchedFolder)
        assert (row.taken, row.refused, row.waiting, row.problem) == (2, 0, 0, "")

    def test_a_single_file_under_another_name_is_the_same_recording(
        self, sqlite_world: World, tmp_path: Path, intake: Callable[[], FolderIntake]
    ) -> None:
        one = intake()
        for number, name in enumerate(("a.dcm", "b.dcm")):
            shutil.copy(DATA / DICOM, tmp_path / "drop" / name)
            one.look(number * 10)
            one.look(number * 10 + REST)
        assert len(self.rows(sqlite_world, Exam)) == len(self.rows(sqlite_world, Study)) == 1

    def test_a_refusal_says_why_in_the_hubs_language(
        self, tmp_path: Path, intake: Callable[[], FolderIntake]
    ) -> None:
        (tmp_path / "drop/x.png").write_bytes(b"\x89PNG\r\n")
        one = intake()
        one.look(0)
        one.look(REST)
        (text,) = (tmp_path / "drop/refused").rglob("*.txt")
        assert "PNG" in text.read_text(encoding="utf-8")

    def test_an_unknown_site_takes_nothing(
        self, sqlite_world: World, tmp_path: Path, intake: Callable[[], FolderIntake]
    ) -> None:
        one = intake()
        one.site_code = "NOSUCH"
        shutil.copy(DATA / DICOM, tmp_path / "drop")
        for at in (0.0, REST, 2 * REST):
            look_into([one])
            assert one.look(at).problem == "SiteUnknown"
        assert self.rows(sqlite_world, Study) == []
        assert (tmp_path / "drop" / DICOM).is_file()
