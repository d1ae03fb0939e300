"""Orthanc beside the hub: it pushes over DICOM, queries and retrieves, and is its DICOMweb client.

Oracles: SHA-256 of the data sets that Orthanc holds, that the hub holds, and that DCMTK's
storescp wrote bit by bit when Orthanc pushed the same objects to it. Orthanc knows nothing
of the hub, reads and writes with its own code and DCMTK's, and has an index of its own.
"""

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from PIL import Image
from pydicom import dcmread
from sqlalchemy import select

from hub.auth.actor import SYSTEM
from hub.auth.roles import Role
from hub.catalogue.models import Instance, Series, Study
from hub.dicom.part10 import split
from hub.dicom.stored import checked_chunks
from hub.sites.service import add_device, require_site
from tests.dicom.samples import DATA
from tests.fixtures.hub_process import RunningHub, running_hub
from tests.fixtures.orthanc import Orthanc, running_orthanc
from tests.fixtures.ports import free_port
from tests.fixtures.storage_nodes import storescp

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

DEFLATED = "1.2.840.10008.1.2.1.99"
SYNTAXES = {
    "CT_small": "1.2.840.10008.1.2.1",
    "dx_image": "1.2.840.10008.1.2.1",
    "test-SR": "1.2.840.10008.1.2.1",
    "seg_image_ct_binary": "1.2.840.10008.1.2",
    "ExplVR_BigEnd": "1.2.840.10008.1.2.2",
    "SC_rgb_small_odd_big_endian": "1.2.840.10008.1.2.2",
    "image_dfl": DEFLATED,
    "MR_small_RLE": "1.2.840.10008.1.2.5",
    "OBXXXX1A_rle_2frame": "1.2.840.10008.1.2.5",
    "SC_rgb_jpeg_dcmtk": "1.2.840.10008.1.2.4.50",
    "JPGExtended": "1.2.840.10008.1.2.4.51",
    "SC_rgb_jpeg_gdcm": "1.2.840.10008.1.2.4.70",
    "emri_small_jpeg_ls_lossless": "1.2.840.10008.1.2.4.80",
    "liver_j2k": "1.2.840.10008.1.2.4.90",
    "JPEG2000": "1.2.840.10008.1.2.4.91",
}
"""What Orthanc pushes, and the transfer syntax that each is in."""
SENT_AS_THEY_STAND = {
    "test-SR",
    "seg_image_ct_binary",
    "ExplVR_BigEnd",
    "SC_rgb_small_odd_big_endian",
    "SC_rgb_jpeg_dcmtk",
    "SC_rgb_jpeg_gdcm",
}
"""The others have padding, group lengths or open lengths, which Orthanc does not send as they stand."""


def digest(file: bytes) -> str:
    """SHA-256 of a file's data set; of a deflated one inflated, since each program deflates in its way."""
    meta, start = split(file)
    dataset = file[start:]
    if meta.transfer_syntax == DEFLATED:
        dataset = zlib.decompressobj(-zlib.MAX_WBITS).decompress(dataset)
    return hashlib.sha256(dataset).hexdigest()


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {uid: digest(file) for uid, file in files.items()}


@dataclass
class Pair:
    """A hub and an Orthanc that know each other, after Orthanc has pushed everything to the hub."""

    hub: RunningHub
    orthanc: Orthanc
    known: dict[str, dict[str, str]] = field(default_factory=dict)
    """Orthanc's own reading of each object, by SOP Instance UID."""
    given: dict[str, bytes] = field(default_factory=dict)
    """Its own files, by SOP Instance UID."""

    def rows(self) -> dict[str, tuple[Study, Series, Instance]]:
        """The hub's catalogue, by SOP Instance UID."""
        joined = (
            select(Study, Series, Instance)
            .join(Series, Series.study_id == Study.id)
            .join(Instance, Instance.series_id == Series.id)
        )
        with self.hub.context.db.reading() as session:
            return {
                instance.sop_uid: (study, series, instance)
                for study, series, instance in session.execute(joined)
            }

    def kept(self) -> dict[str, bytes]:
        """The hub's files of what Orthanc has pushed."""
        rows = self.rows()
        return {uid: b"".join(checked_chunks(self.hub.context, rows[uid][2])) for uid in self.known}

    def held(self) -> dict[str, bytes]:
        """The files that Orthanc holds now, by SOP Instance UID."""
        return {
            one["MainDicomTags"]["SOPInstanceUID"]: self.orthanc.fetch(f"/instances/{one['ID']}/file")
            for one in self.orthanc.get("/instances?expand")
        }

    def forget(self) -> None:
        """Make Orthanc delete everything."""
        for one in self.orthanc.get("/patients"):
            self.orthanc.fetch(f"/patients/{one}", method="DELETE")
        assert self.orthanc.get("/instances") == []

    def study_of(self, name: str) -> str:
        return self.known[self.uid_of(name)]["StudyInstanceUID"]

    def uid_of(self, name: str) -> str:
        return str(dcmread(DATA / f"{name}.dcm", stop_before_pixels=True).SOPInstanceUID)

    def ask(self, uri: str, **arguments: str) -> Any:
        """Search the hub over DICOMweb."""
        return self.orthanc.post("/dicom-web/servers/reading/qido", {"Uri": uri, "Arguments": arguments})

    def retrieve(self, *resources: dict[str, str]) -> None:
        """Fetch from the hub over DICOMweb into Orthanc."""
        body = {"Resources": list(resources), "Synchronous": True}
        self.orthanc.post("/dicom-web/servers/reading/retrieve", body)

    def stow(self, *names: str) -> list[bytes]:
        """Make new objects of real ones with Orthanc, store them over DICOMweb for the other site."""
        made = {}
        for name in names:
            put = self.orthanc.post("/instances", (DATA / f"{name}.dcm").read_bytes())["ID"]
            changes = {"Replace": {"PatientID": "STOW"}, "Force": True}
            file = self.orthanc.fetch(f"/instances/{put}/modify", changes)
            made[self.orthanc.post("/instances", file)["ID"]] = file
        body = {"Resources": list(made), "Synchronous": True}
        self.orthanc.post("/dicom-web/servers/sending/stow", body)
        return list(made.values())


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which storescp writes what Orthanc pushes."""
    return tmp_path_factory.mktemp("witness")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, witness: Path) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    with ExitStack() as stack:
        hub = stack.enter_context(running_hub(folder))
        hub.register(sites=[("DP", "东陂镇分院"), ("LP", "洛陂镇分院")])
        modalities = {
            "hub": ["HUB", "127.0.0.1", hub.dicom_port],
            "witness": ["WITNESS", "127.0.0.1", stack.enter_context(storescp(witness, "+xa"))],
        }
        tokens = {
            "reading": hub.token(Role.DOCTOR, "DP"),
            "sending": hub.token(Role.SENDER, "LP"),
            "stranger": "none",
        }
        servers = {
            name: {"Url": f"{hub.url}/dicom-web/", "HttpHeaders": {"Authorization": f"Bearer {secret}"}}
            for name, secret in tokens.items()
        }
        port = free_port()  # chosen late: others may take what has been free for long
        with hub.context.db.transaction() as session:
            add_device(
                session,
                require_site(session, "DP"),
                "ORTHANC",
                now=hub.context.clock(),
                actor=SYSTEM.ref,
                address="127.0.0.1",
                port=port,
            )
        orthanc = stack.enter_context(running_orthanc(folder / "orthanc", modalities, port, servers))
        pair = Pair(hub, orthanc)
        for name in SYNTAXES:
            put = orthanc.post("/instances", (DATA / f"{name}.dcm").read_bytes())["ID"]
            tags = orthanc.get(f"/instances/{put}/simplified-tags")
            pair.known[tags["SOPInstanceUID"]] = tags
        pair.given = pair.held()
        body = {"Resources": orthanc.get("/instances"), "Synchronous": True}
        for target in ("hub", "witness"):
            assert orthanc.post(f"/modalities/{target}/store", body)["FailedInstancesCount"] == 0
        yield pair


class TestPush:
    def test_every_bit_of_every_object_is_kept(self, pair: Pair, witness: Path) -> None:
        written = [path.read_bytes() for path in witness.iterdir()]
        kept = digests(pair.kept())
        assert kept == {split(file)[0].sop_instance: digest(file) for file in written}
        for name in SENT_AS_THEY_STAND:
            uid = pair.uid_of(name)
            assert kept[uid] == digest(pair.given[uid]), name

    def test_every_object_is_catalogued_as_orthanc_reads_it(self, pair: Pair) -> None:
        rows = pair.rows()
        assert pair.known.keys() <= rows.keys()
        for name, syntax in SYNTAXES.items():
            study, series, instance = rows[pair.uid_of(name)]
            known = pair.known[instance.sop_uid]
            assert (instance.transfer_syntax, instance.calling_ae) == (syntax, "ORTHANC")
            assert (study.study_uid, series.series_uid, instance.sop_class) == (
                known["StudyInstanceUID"],
                known["SeriesInstanceUID"],
                known["SOPClassUID"],
            )
            assert (study.local_id, series.modality) == (known.get("PatientID", ""), known["Modality"])
            assert (instance.rows, instance.columns) == (
                int(known.get("Rows", 0)),
                int(known.get("Columns", 0)),
            )

    def test_pushed_again_nothing_is_doubled(self, pair: Pair) -> None:
        before = pair.rows()
        put = pair.orthanc.post("/instances", (DATA / "CT_small.dcm").read_bytes())["ID"]
        body = {"Resources": [put], "Synchronous": True}
        assert pair.orthanc.post("/modalities/hub/store", body)["FailedInstancesCount"] == 0
        after = pair.rows()
        assert after.keys() == before.keys()
        assert after[pair.uid_of("CT_small")][2].resends == 1


class TestQueryAndRetrieve:
    """Criteria, scope and pictures are in test_query_retrieve; this is the way there and back."""

    def test_what_comes_back_is_what_is_kept(self, pair: Pair) -> None:
        query = pair.orthanc.post("/modalities/hub/query", {"Level": "Study", "Query": {}})["Path"]
        found = [
            pair.orthanc.get(f"{query}/answers/{number}/content?simplify")
            for number in pair.orthanc.get(f"{query}/answers")
        ]
        assert sorted(one["StudyInstanceUID"] for one in found) == sorted(
            {known["StudyInstanceUID"] for known in pair.known.values()}
        )
        pair.forget()
        pair.orthanc.post(f"{query}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
        held = pair.held()
        assert digests(held) == digests(pair.kept())
        assert {split(file)[0].transfer_syntax for file in held.values()} == set(SYNTAXES.values())


class TestDicomweb:
    def test_searches_every_level(self, pair: Pair) -> None:
        expected: dict[str, set[str]] = {}
        for known in pair.known.values():
            expected.setdefault(known["StudyInstanceUID"], set()).add(known["SeriesInstanceUID"])
        studies = pair.ask("/studies", includefield="all")
        assert sorted(one["0020000D"]["Value"] for one in studies) == sorted(expected)
        study = pair.study_of("SC_rgb_jpeg_dcmtk")
        series = pair.ask(f"/studies/{study}/series")
        assert {one["0020000E"]["Value"] for one in series} == expected[study]
        instances = pair.ask(f"/studies/{study}/instances")
        assert {one["00080018"]["Value"] for one in instances} == {
            uid for uid, known in pair.known.items() if known["StudyInstanceUID"] == study
        }

    def test_searches_by_criteria(self, pair: Pair) -> None:
        (found,) = pair.ask("/studies", PatientID="1CT1", StudyDate="20040101-20041231")
        assert found["0020000D"]["Value"] == pair.study_of("CT_small")
        assert len(pair.ask("/studies", limit="2", offset="1")) == 2
        assert len(pair.ask("/studies", PatientName="CompressedSamples*")) == 3
        assert pair.ask("/studies", PatientID="nobody") == []

    def test_another_sites_study_is_not_there(self, pair: Pair) -> None:
        (file,) = pair.stow("SC_rgb_jpeg_gdcm")
        study = pair.rows()[split(file)[0].sop_instance][0].study_uid
        assert pair.ask("/studies", StudyInstanceUID=study) == []
        pair.forget()
        with pytest.raises(HTTPError):
            pair.retrieve({"Study": study})
        assert pair.held() == {}

    def test_retrieves_every_bit_of_every_study(self, pair: Pair) -> None:
        pair.forget()
        pair.retrieve(
            *({"Study": uid} for uid in {known["StudyInstanceUID"] for known in pair.known.values()})
        )
        assert digests(pair.held()) == digests(pair.kept())

    @pytest.mark.parametrize("level", ["Series", "Instance"])
    def test_retrieves_part_of_a_study(self, pair: Pair, level: str) -> None:
        pair.forget()
        uid = pair.uid_of("SC_rgb_jpeg_dcmtk")
        known = pair.known[uid]
        asked = {"Study": known["StudyInstanceUID"], "Series": known["SeriesInstanceUID"]}
        pair.retrieve(asked if level == "Series" else asked | {"Instance": uid})
        wanted = {
            each
            for each, other in pair.known.items()
            if each == uid or (level == "Series" and other["SeriesInstanceUID"] == asked["Series"])
        }
        kept = pair.kept()
        assert digests(pair.held()) == {each: digest(kept[each]) for each in wanted}

    def test_reads_metadata_and_pictures(self, pair: Pair) -> None:
        uid = pair.uid_of("dx_image")
        known = pair.known[uid]
        address = f"/studies/{known['StudyInstanceUID']}/series/{known['SeriesInstanceUID']}"
        get = "/dicom-web/servers/reading/get"
        (metadata,) = pair.orthanc.post(get, {"Uri": f"{address}/metadata"})
        assert (metadata["00080018"]["Value"], metadata["00280010"]["Value"]) == ([uid], [int(known["Rows"])])
        asked = {"Uri": f"{address}/instances/{uid}/rendered", "HttpHeaders": {"Accept": "image/png"}}
        picture = Image.open(BytesIO(pair.orthanc.fetch(get, asked)))
        assert picture.size == (int(known["Columns"]), int(known["Rows"]))

    def test_stores_its_own_files_whole(self, pair: Pair) -> None:
        files = pair.stow("CT_small", "SC_rgb_jpeg_dcmtk", "MR_small_RLE")
        rows = pair.rows()
        for file in files:
            study, _, instance = rows[split(file)[0].sop_instance]
            assert study.local_id == "STOW"
            assert b"".join(checked_chunks(pair.hub.context, instance)) == file

    @pytest.mark.parametrize("what", ["qido", "retrieve", "stow"])
    def test_without_a_token_nothing_is_done(self, pair: Pair, what: str) -> None:
        pair.forget()
        before = pair.rows().keys()
        put = pair.orthanc.post("/instances", (DATA / "MR_small.dcm").read_bytes())["ID"]
        bodies: dict[str, dict[str, Any]] = {
            "qido": {"Uri": "/studies"},
            "retrieve": {"Resources": [{"Study": pair.study_of("CT_small")}], "Synchronous": True},
            "stow": {"Resources": [put], "Synchronous": True},
        }
        with pytest.raises(HTTPError):
            pair.orthanc.post(f"/dicom-web/servers/stranger/{what}", bodies[what])
        assert pair.orthanc.get("/instances") == [put]
        assert pair.rows().keys() == before
