"""Query/Retrieve with the programs that hospitals use: DCMTK's findscu, movescu and getscu, and Orthanc."""

import re
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from hub.dicom.part10 import split
from tests.dicom.samples import DATA
from tests.fixtures.orthanc import running_orthanc
from tests.fixtures.peers import require_peer
from tests.fixtures.ports import free_port
from tests.fixtures.query_retrieve import Archive
from tests.fixtures.storage_nodes import storescp
from tests.fixtures.world import World

STATUS = re.compile(r"DIMSE Status\s*:\s*(0x[0-9a-f]{4})")
NATIVE, COMPRESSED = ("CT_small", "MR_small"), ("MR_small_RLE", "JPEG2000", "SC_rgb_jpeg_dcmtk")


@pytest.fixture
def archive(sqlite_world: World) -> Archive:
    """Studies of two sites, and the devices WARD (its own site's) and COUNTY (all)."""
    archive = Archive(sqlite_world)
    archive.device("WARD", address="127.0.0.1")
    archive.device("COUNTY", address="127.0.0.1", query_scope="all")
    archive.study(n=3, t00100020="P1", t00080020="20260110", t0020000D="1.2.1")
    archive.study(n=1, series=2, name="ZHENG^WEI", t00100020="P2", t00080020="20260301", t0020000D="1.2.2")
    archive.study("LP", n=2, name="李^昞", t00100020="P1", t00080020="20260302", t0020000D="1.3.1")
    return archive


@pytest.fixture
def port(archive: Archive) -> Iterator[int]:
    with archive.listening() as port:
        yield port


def run(program: str, *options: str | bytes | Path) -> str:
    """Run a program of DCMTK and return what it says."""
    done = subprocess.run(
        [require_peer(program), "-d", *options], capture_output=True, timeout=60, check=False
    )
    return (done.stdout + done.stderr).decode(errors="replace")


def keys(*texts: str | bytes) -> list[str | bytes]:
    return [part for text in texts for part in ("-k", text)]


class Finder:
    """findscu, with its answers as files."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder
        self.said = ""

    def __call__(
        self, title: str, *texts: str | bytes, model: str = "-S", more: tuple[str, ...] = ()
    ) -> list[Dataset]:
        self.folder.mkdir(exist_ok=True)
        for old in self.folder.iterdir():
            old.unlink()
        who = ["-aet", title, "-aec", "HUB", "127.0.0.1", str(self.port)]
        self.said = run("findscu", model, "-X", "-od", self.folder, *more, *keys(*texts), *who)
        return [dcmread(path) for path in sorted(self.folder.iterdir())]


@pytest.fixture
def find(port: int, tmp_path: Path) -> Finder:
    return Finder(port, tmp_path / "answers")


class TestFindscu:
    def test_levels_of_both_models(self, find: Finder) -> None:
        studies = find(
            "WARD", "QueryRetrieveLevel=STUDY", "StudyInstanceUID", "NumberOfStudyRelatedInstances"
        )
        assert [(one.StudyInstanceUID, one.NumberOfStudyRelatedInstances) for one in studies] == [
            ("1.2.2", 2),
            ("1.2.1", 3),
        ]
        series = find(
            "WARD", "QueryRetrieveLevel=SERIES", "StudyInstanceUID=1.2.2", "SeriesInstanceUID", "SeriesNumber"
        )
        assert [one.SeriesNumber for one in series] == [1, 2]
        images = find(
            "WARD",
            "QueryRetrieveLevel=IMAGE",
            "StudyInstanceUID=1.2.2",
            f"SeriesInstanceUID={series[0].SeriesInstanceUID}",
            "SOPInstanceUID",
        )
        assert len(images) == 1
        patients = find("WARD", "QueryRetrieveLevel=PATIENT", "PatientID", "PatientName", model="-P")
        assert {str(one.PatientID) for one in patients} == {"P1", "P2"}
        below = ("QueryRetrieveLevel=STUDY", "PatientID=P2", "StudyInstanceUID")
        assert [one.StudyInstanceUID for one in find("WARD", *below, model="-P")] == ["1.2.2"]
        assert find("WARD", "QueryRetrieveLevel=SERIES", "SeriesInstanceUID", model="-S") == []
        assert "0xa900" in find.said.lower()

    def test_wildcards_and_ranges(self, find: Finder) -> None:
        level = ("QueryRetrieveLevel=STUDY", "StudyInstanceUID")
        assert len(find("WARD", *level, "PatientName=zheng*")) == 1
        assert len(find("WARD", *level, "PatientID=P?")) == 2
        assert len(find("WARD", *level, "StudyDate=20260101-20260131")) == 1
        assert find("WARD", *level, "PatientName=none*") == []

    @pytest.mark.parametrize(("charset", "codec"), [("GB18030", "gb18030"), ("ISO_IR 192", "utf-8")])
    def test_chinese_names_in_the_set_of_the_query(self, find: Finder, charset: str, codec: str) -> None:
        (answer,) = find(
            "WARD",
            "QueryRetrieveLevel=STUDY",
            f"SpecificCharacterSet={charset}",
            "PatientName=王*".encode(codec),
            "StudyInstanceUID",
        )
        assert answer.SpecificCharacterSet == charset
        assert "王^小东".encode(codec) in (find.folder / "rsp0001.dcm").read_bytes()

    def test_scope(self, find: Finder) -> None:
        level = ("QueryRetrieveLevel=STUDY", "StudyInstanceUID")
        assert find("WARD", *level, "StudyInstanceUID=1.3.1") == []
        assert [one.StudyInstanceUID for one in find("COUNTY", *level)] == ["1.3.1", "1.2.2", "1.2.1"]

    def test_cancel(self, archive: Archive, find: Finder) -> None:
        for _ in range(60):
            archive.study(n=1)
        got = find("WARD", "QueryRetrieveLevel=STUDY", "StudyInstanceUID", more=("--cancel", "2"))
        assert 2 <= len(got) <= 62
        final = STATUS.findall(find.said)[-1]
        assert final in {"0xfe00", "0x0000"}  # all may have been sent before the cancel came
        assert final == "0xfe00" or len(got) == 62


def arrived(folder: Path) -> dict[str, bytes]:
    """Data sets of the files in a folder by SOP Instance UID."""
    found = {}
    for path in folder.iterdir():
        data = path.read_bytes()
        found[str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)] = data[split(data)[1] :]
    return found


def fill(archive: Archive, folder: Path, *names: str) -> tuple[list[str], dict[str, bytes]]:
    """File real objects; their study UIDs and their data sets."""
    folder.mkdir()
    for name in names:
        (folder / f"{name}.dcm").write_bytes((DATA / f"{name}.dcm").read_bytes())
    studies = [str(dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in folder.iterdir()]
    return studies, archive.files(folder)


class TestMovescu:
    @pytest.mark.parametrize("names", [NATIVE, COMPRESSED], ids=["native", "compressed"])
    def test_storescp_gets_every_bit(
        self, archive: Archive, port: int, tmp_path: Path, names: tuple[str, ...]
    ) -> None:
        studies, data = fill(archive, tmp_path / "in", *names)
        with storescp(tmp_path / "out", "+xa") as destination:
            archive.device("VIEWER", address="127.0.0.1", port=destination)
            level = keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID=" + "\\".join(studies))
            who = ["-aet", "WARD", "-aec", "HUB", "-aem", "VIEWER", "127.0.0.1", str(port)]
            said = run("movescu", "-S", *level, *who)
        assert STATUS.findall(said)[-1] == "0x0000", said
        assert arrived(tmp_path / "out") == data

    def test_cancel_and_planted(self, archive: Archive, port: int, tmp_path: Path) -> None:
        archive.study(n=60, t0020000D="1.2.9")
        with storescp(tmp_path / "out") as destination:
            archive.device("VIEWER", address="127.0.0.1", port=destination)
            who = ["-aet", "WARD", "-aec", "HUB", "-aem", "VIEWER", "127.0.0.1", str(port)]
            planted = keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.3.1")
            assert STATUS.findall(run("movescu", "-S", *planted, *who))[-1] == "0x0000"
            assert arrived(tmp_path / "out") == {}
            level = keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.9")
            said = run("movescu", "-S", "--cancel", "2", *level, *who)
        assert STATUS.findall(said)[-1] == "0xfe00"
        assert 2 <= len(arrived(tmp_path / "out")) < 60
        unknown = [*who[:5], "NOBODY", *who[6:]]
        assert STATUS.findall(run("movescu", "-S", *level, *unknown))[-1] == "0xa801"


class TestGetscu:
    def test_gets_every_bit(self, archive: Archive, port: int, tmp_path: Path) -> None:
        studies, data = fill(archive, tmp_path / "in", *NATIVE)
        out = tmp_path / "out"
        out.mkdir()
        level = keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID=" + "\\".join(studies))
        who = ["-aet", "WARD", "-aec", "HUB", "127.0.0.1", str(port)]
        said = run("getscu", "-S", "+B", "-od", out, *level, *who)
        assert STATUS.findall(said)[-1] == "0x0000", said
        assert arrived(out) == data
        for each in out.iterdir():
            each.unlink()
        planted = keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.3.1")
        assert STATUS.findall(run("getscu", "-S", "+B", "-od", out, *planted, *who))[-1] == "0x0000"
        assert arrived(out) == {}

    def test_what_the_asking_side_does_not_take_is_told(
        self, archive: Archive, port: int, tmp_path: Path
    ) -> None:
        studies, _ = fill(archive, tmp_path / "in", "CT_small", "JPEG2000")
        out = tmp_path / "out"
        out.mkdir()
        level = keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID=" + "\\".join(studies))
        said = run("getscu", "-S", "+B", "-od", out, *level, "-aet", "WARD", "127.0.0.1", str(port))
        assert STATUS.findall(said)[-1] in {"0xb000", "0x0000"}
        assert len(arrived(out)) >= 1


class TestOrthanc:
    def test_queries_and_retrieves(self, archive: Archive, port: int, tmp_path: Path) -> None:
        _, data = fill(archive, tmp_path / "in", "CT_small", *COMPRESSED)
        own_port = free_port()
        archive.device("ORTHANC", address="127.0.0.1", port=own_port)
        with running_orthanc(tmp_path / "orthanc", {"hub": ["HUB", "127.0.0.1", port]}, own_port) as orthanc:
            asked = {"Level": "Study", "Query": {"PatientName": "王*", "StudyDate": "20260101-20260131"}}
            query = orthanc.post("/modalities/hub/query", asked)["Path"]
            (answer,) = [
                orthanc.get(f"{query}/answers/{number}/content?simplify")
                for number in orthanc.get(f"{query}/answers")
            ]
            assert (answer["StudyInstanceUID"], answer["PatientName"]) == ("1.2.1", "王^小东")
            planted = orthanc.post(
                "/modalities/hub/query", {"Level": "Study", "Query": {"StudyInstanceUID": "1.3.1"}}
            )
            assert orthanc.get(f"{planted['Path']}/answers") == []
            everything = orthanc.post("/modalities/hub/query", {"Level": "Study", "Query": {}})["Path"]
            orthanc.post(f"{everything}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
            uids = {}
            for one in orthanc.get("/instances"):
                tags = orthanc.get(f"/instances/{one}/simplified-tags")
                uids[tags["SOPInstanceUID"]] = orthanc.fetch(f"/instances/{one}/file")
        stored = {one.sop_uid for one in archive.instances()}
        assert data.keys() <= uids.keys()
        assert uids.keys() <= stored
        assert len(stored - uids.keys()) == 2  # the other site's
        for path in (tmp_path / "in").iterdir():
            sent = dcmread(path)
            # Orthanc writes sequences and group lengths in its own way; the picture must be the same.
            assert dcmread(BytesIO(uids[str(sent.SOPInstanceUID)])).PixelData == sent.PixelData
