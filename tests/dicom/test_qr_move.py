"""C-MOVE and C-GET with pynetdicom at the other end: what arrives is held against what was filed."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, build_context, build_role, evt
from pynetdicom.association import Association

from hub.dicom.models import DicomNode
from hub.dicom.qr_keys import PATIENT_ROOT_MOVE, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from hub.dicom.qr_transfer import MOST_LISTED_BYTES, Progress, Sent, _listed
from hub.dicom.sending import MOST_PAIRS, batches, proposal
from tests.dicom.samples import CT_CLASS, DATA
from tests.fixtures.query_retrieve import Archive
from tests.fixtures.storage_nodes import StorageNode
from tests.fixtures.world import World

FILES = (
    "CT_small",
    "MR_small_RLE",
    "JPEG2000",
    "SC_rgb_jpeg_dcmtk",
    "SC_rgb_small_odd_big_endian",
    "image_dfl",
    "dx_image",
)
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
ALL_CLASSES = tuple(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
Answer = tuple[int, dict[str, int], list[str]]


@pytest.fixture
def archive(sqlite_world: World) -> Archive:
    return Archive(sqlite_world)


@pytest.fixture
def port(archive: Archive) -> Iterator[int]:
    with archive.listening() as port:
        yield port


@pytest.fixture
def node() -> Iterator[StorageNode]:
    with StorageNode(syntaxes=tuple(AllTransferSyntaxes), classes=ALL_CLASSES).running() as node:
        yield node


def wanted(level: str = "STUDY", **keys: Any) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def read(status: Dataset, identifier: Dataset | None) -> Answer:
    names = ("Remaining", "Completed", "Failed", "Warning")
    counts = {
        name: int(status[f"NumberOf{name}Suboperations"].value)
        for name in names
        if f"NumberOf{name}Suboperations" in status
    }
    listed = [] if identifier is None else identifier.get("FailedSOPInstanceUIDList", [])
    return status.Status, counts, [listed] if isinstance(listed, str) else list(listed or [])


def move(
    port: int,
    asking: str,
    to: str,
    identifier: Dataset,
    *,
    model: str = STUDY_ROOT_MOVE,
    cancel_after: int = 0,
) -> list[Answer]:
    """Every answer to a C-MOVE."""
    association = AE(asking).associate("127.0.0.1", port, [build_context(model)], ae_title="HUB")
    assert association.is_established
    answers = []
    for number, answer in enumerate(association.send_c_move(identifier, to, model, msg_id=5), 1):
        answers.append(read(*answer))
        if number == cancel_after:
            association.send_c_cancel(5, query_model=model)
    association.release()
    return answers


class Getter:
    """A device that gets: pynetdicom in the role of storage SCP on its own association."""

    def __init__(self) -> None:
        self.received: dict[str, bytes] = {}

    @contextmanager
    def associated(
        self, port: int, asking: str, classes: list[str], syntaxes: list[str]
    ) -> Iterator[Association]:
        contexts = [build_context(STUDY_ROOT_GET), *(build_context(uid, syntaxes) for uid in classes)]
        association = AE(asking).associate(
            "127.0.0.1",
            port,
            contexts,
            ae_title="HUB",
            ext_neg=[build_role(uid, scp_role=True) for uid in classes],
            evt_handlers=[(evt.EVT_C_STORE, self._store)],
        )
        assert association.is_established
        yield association
        association.release()

    def _store(self, event: Any) -> int:
        self.received[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return 0x0000


def given(archive: Archive, folder: Path, *names: str) -> tuple[list[str], dict[str, bytes]]:
    """File some of the files; their study UIDs, and their data sets by SOP Instance UID."""
    folder.mkdir()
    for name in names:
        (folder / f"{name}.dcm").write_bytes((DATA / f"{name}.dcm").read_bytes())
    studies = [str(dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in folder.iterdir()]
    return studies, archive.files(folder)


def padded(dataset: bytes) -> bytes:
    """No fragment on the wire may be odd (PS3.8 annex E.2)."""
    return dataset + b"\0" * (len(dataset) % 2)


class TestMove:
    def test_what_arrives_is_what_was_filed(
        self, archive: Archive, port: int, node: StorageNode, tmp_path: Path
    ) -> None:
        archive.device("WARD", address="127.0.0.1")
        archive.device("VIEWER", address="127.0.0.1", port=node.port)
        studies, data = given(archive, tmp_path / "in", *FILES)
        answers = move(port, "WARD", "VIEWER", wanted(StudyInstanceUID=studies))
        assert answers[-1] == (0x0000, {"Completed": 7, "Failed": 0, "Warning": 0}, [])
        assert [counts["Remaining"] for _, counts, _ in answers[:-1]] == [6, 5, 4, 3, 2, 1]
        assert {uid: content for uid, _, content in node.received} == {
            uid: padded(content) for uid, content in data.items()
        }
        stored = {one.sop_uid: one.transfer_syntax for one in archive.instances()}
        assert {uid: syntax for uid, syntax, _ in node.received} == stored
        assert node.callers == ["HUB"]
        events = archive.events("catalogue:study:download")
        assert sum(event.facts["instances"] for event in events) == 7
        assert {(event.actor_kind, event.actor_name, event.facts["destination"]) for event in events} == {
            ("device", "WARD", "VIEWER")
        }

    def test_a_series_an_image_a_patient(self, archive: Archive, port: int, node: StorageNode) -> None:
        archive.device("WARD", address="127.0.0.1", port=node.port)
        study = archive.study(n=3, series=2, t00100020="P9")
        archive.study(t00100020="P9")
        first, second = archive.instances()[0], archive.instances()[1]
        series = {one.series_id for one in archive.instances()}
        assert len(series) == 3
        with archive.world.context.db.reading() as session:
            from hub.catalogue.repository import CatalogueRepository

            found = CatalogueRepository(session).study_of_site(archive.world.site_ids["DP"], study)
            assert found is not None
            series_uid = CatalogueRepository(session).series(found.id)[0].series_uid
        keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series_uid}
        assert move(port, "WARD", "WARD", wanted("SERIES", **keys))[-1][1]["Completed"] == 3
        images = wanted("IMAGE", **keys, SOPInstanceUID=[first.sop_uid, second.sop_uid])
        assert move(port, "WARD", "WARD", images)[-1][1]["Completed"] == 2
        patient = wanted("PATIENT", PatientID="P9")
        assert move(port, "WARD", "WARD", patient, model=PATIENT_ROOT_MOVE)[-1][1]["Completed"] == 7

    def test_whom_a_title_means(self, archive: Archive, port: int, node: StorageNode) -> None:
        archive.device("WARD", address="127.0.0.1")
        archive.device("COUNTY", query_scope="all", address="127.0.0.1")
        archive.device("DEAF", address="127.0.0.1")  # it has no port to be called at
        archive.device("OFF", address="127.0.0.1", port=node.port, active=False)
        archive.device("THEIRS", "LP", address="127.0.0.1", port=node.port)
        with archive.world.context.db.transaction() as session:
            session.add(
                DicomNode(
                    name="pacs",
                    ae_title="PACS",
                    host="127.0.0.1",
                    port=node.port,
                    created_at=archive.world.clock(),
                    forward_sites=[],
                    forward_modalities=[],
                )
            )
        study = archive.study()
        theirs = archive.study("LP")
        for title in ("NOBODY", "DEAF", "OFF", "THEIRS", ""):
            assert move(port, "WARD", title or "EMPTY", wanted(StudyInstanceUID=study))[-1][0] == 0xA801
        assert move(port, "WARD", "PACS", wanted(StudyInstanceUID=study))[-1][0] == 0x0000
        assert move(port, "COUNTY", "THEIRS", wanted(StudyInstanceUID=theirs))[-1][0] == 0x0000
        # a device gets no other site's pictures, whoever sends them
        assert move(port, "COUNTY", "THEIRS", wanted(StudyInstanceUID=study))[-1][0] == 0xA702
        assert len(node.received) == 2

    def test_what_a_device_may_not_see_is_not_there(
        self, archive: Archive, port: int, node: StorageNode
    ) -> None:
        archive.device("WARD", address="127.0.0.1", port=node.port)
        archive.device("DOOR", query_scope="none", address="127.0.0.1", port=node.port)
        planted = archive.study("LP")
        nothing: list[Answer] = [(0x0000, {"Completed": 0, "Failed": 0, "Warning": 0}, [])]
        assert move(port, "WARD", "WARD", wanted(StudyInstanceUID=planted)) == nothing
        assert move(port, "WARD", "WARD", wanted(StudyInstanceUID="9.9.9")) == nothing
        own = archive.study("DP")
        assert move(port, "DOOR", "WARD", wanted(StudyInstanceUID=own))[-1][0] == 0x0124
        assert node.received == []
        assert archive.events("catalogue:study:download") == []

    def test_what_names_two_patients_is_refused(self, archive: Archive, port: int, node: StorageNode) -> None:
        archive.device("COUNTY", query_scope="all", address="127.0.0.1", port=node.port)
        for site in ("DP", "LP"):
            archive.study(site, t00100020="P1")
            archive.study(site, t00100020=f"P{site}", t0020000D="1.2.77")
        patient = wanted("PATIENT", PatientID="P1")
        assert move(port, "COUNTY", "COUNTY", patient, model=PATIENT_ROOT_MOVE)[-1][0] == 0xA900
        assert move(port, "COUNTY", "COUNTY", wanted(StudyInstanceUID="1.2.77"))[-1][0] == 0xA900
        assert node.received == []

    def test_objects_that_are_not_taken_are_listed(self, archive: Archive, port: int, tmp_path: Path) -> None:
        archive.device("WARD", address="127.0.0.1")
        studies, _ = given(archive, tmp_path / "in", "CT_small", "SC_rgb_jpeg_dcmtk")
        other = next(one.sop_uid for one in archive.instances() if one.sop_class != CT_CLASS)
        with StorageNode(classes=(CT_CLASS,)).running() as only_ct:
            archive.device("ONLYCT", address="127.0.0.1", port=only_ct.port)
            answers = move(port, "WARD", "ONLYCT", wanted(StudyInstanceUID=studies))
            assert answers[-1] == (0xB000, {"Completed": 1, "Failed": 1, "Warning": 0}, [other])

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
    def test_a_destination_without_codecs_gets_every_sample(
        self, archive: Archive, port: int, tmp_path: Path, syntax: str
    ) -> None:
        """pydicom decodes what was filed; the samples that arrive must be the same."""
        archive.device("WARD", address="127.0.0.1")
        studies, _ = given(
            archive, tmp_path / "in", "CT_small", "MR_small_RLE", "JPEG2000", "SC_rgb_small_odd_big_endian"
        )
        with StorageNode(syntaxes=(syntax,)).running() as plain:
            archive.device("PLAIN", address="127.0.0.1", port=plain.port)
            answers = move(port, "WARD", "PLAIN", wanted(StudyInstanceUID=studies))
            assert answers[-1] == (0x0000, {"Completed": 4, "Failed": 0, "Warning": 0}, [])
        originals = {
            (dataset := dcmread(path)).SOPInstanceUID: dataset for path in (tmp_path / "in").iterdir()
        }
        for uid, used, data in plain.received:
            assert used == syntax
            got = read_dataset(BytesIO(data), syntax == IMPLICIT, True)
            got.file_meta = FileMetaDataset()
            got.file_meta.TransferSyntaxUID = UID(syntax)
            assert np.array_equal(got.pixel_array, originals[uid].pixel_array)

    def test_a_destination_that_refuses_is_away_or_leaves(self, archive: Archive, port: int) -> None:
        archive.device("WARD", address="127.0.0.1")
        study = archive.study(n=4)
        uids = [one.sop_uid for one in archive.instances()]
        with StorageNode(answer=lambda number: 0xB000 if number == 1 else 0xA700).running() as full:
            archive.device("FULL", address="127.0.0.1", port=full.port)
            answer = move(port, "WARD", "FULL", wanted(StudyInstanceUID=study))[-1]
            assert answer == (0xB000, {"Completed": 0, "Failed": 3, "Warning": 1}, uids[1:])
        archive.device("AWAY", address="127.0.0.1", port=full.port)
        answer = move(port, "WARD", "AWAY", wanted(StudyInstanceUID=study))[-1]
        assert answer == (0xA702, {"Completed": 0, "Failed": 4, "Warning": 0}, uids)
        with StorageNode(answer=lambda number: 0 if number == 1 else None).running() as leaving:
            archive.device("LEAVES", address="127.0.0.1", port=leaving.port)
            answer = move(port, "WARD", "LEAVES", wanted(StudyInstanceUID=study))[-1]
            assert answer == (0xB000, {"Completed": 1, "Failed": 3, "Warning": 0}, uids[1:])

    def test_a_damaged_object_is_not_sent(self, archive: Archive, port: int, node: StorageNode) -> None:
        archive.device("WARD", address="127.0.0.1", port=node.port)
        study = archive.study(n=2)
        good, bad = archive.instances()
        archive.world.context.store.delete(bad.storage_key)
        archive.world.context.store.put(bad.storage_key, b"other bytes")
        answer = move(port, "WARD", "WARD", wanted(StudyInstanceUID=study))[-1]
        assert answer == (0xB000, {"Completed": 1, "Failed": 1, "Warning": 0}, [bad.sop_uid])
        assert [uid for uid, _, _ in node.received] == [good.sop_uid]

    def test_cancel(self, archive: Archive, port: int) -> None:
        import time

        def slow(_number: int) -> int:
            time.sleep(0.2)  # the cancel overtakes the rest
            return 0

        study = archive.study(n=6)
        with StorageNode(answer=slow).running() as node:
            archive.device("WARD", address="127.0.0.1", port=node.port)
            status, counts, _ = move(port, "WARD", "WARD", wanted(StudyInstanceUID=study), cancel_after=1)[-1]
        assert status == 0xFE00
        assert counts["Remaining"] > 0
        assert counts["Remaining"] + counts["Completed"] == 6
        assert len(node.received) == counts["Completed"]


class TestGet:
    def test_what_arrives_is_what_was_filed(self, archive: Archive, port: int, tmp_path: Path) -> None:
        archive.device("WARD", address="127.0.0.1")
        studies, data = given(archive, tmp_path / "in", *FILES)
        classes = sorted({one.sop_class for one in archive.instances()})
        stored = {one.sop_uid: one.transfer_syntax for one in archive.instances()}
        for syntax in sorted(set(stored.values())):
            getter = Getter()
            with getter.associated(port, "WARD", classes, [syntax]) as association:
                identifier = wanted(StudyInstanceUID=studies)
                answers = [read(*each) for each in association.send_c_get(identifier, STUDY_ROOT_GET)]
            as_stored = {uid for uid, kept in stored.items() if kept == syntax}
            assert as_stored <= getter.received.keys()
            assert all(getter.received[uid] == padded(data[uid]) for uid in as_stored)
            assert answers[-1][1]["Completed"] == len(getter.received)
            assert answers[-1][1]["Failed"] == len(stored) - len(getter.received)
            assert syntax == EXPLICIT or as_stored == getter.received.keys()

    def test_planted_studies_and_cancel(self, archive: Archive, port: int) -> None:
        archive.device("WARD", address="127.0.0.1")
        study, planted = archive.study(n=30), archive.study("LP")
        getter = Getter()
        with getter.associated(port, "WARD", [CT_CLASS], [EXPLICIT]) as association:
            identifier = wanted(StudyInstanceUID=planted)
            answers = [read(*each) for each in association.send_c_get(identifier, STUDY_ROOT_GET)]
            assert answers == [(0x0000, {"Completed": 0, "Failed": 0, "Warning": 0}, [])]
            assert getter.received == {}
            identifier = wanted(StudyInstanceUID=study)
            answers = []
            for each in association.send_c_get(identifier, STUDY_ROOT_GET, msg_id=9):
                answers.append(read(*each))
                if len(answers) == 1:
                    association.send_c_cancel(9, query_model=STUDY_ROOT_GET)
            status, counts, _ = answers[-1]
            assert status == 0xFE00
            assert counts["Remaining"] + counts["Completed"] == 30

    def test_a_class_that_was_not_negotiated_fails(self, archive: Archive, port: int) -> None:
        archive.device("WARD", address="127.0.0.1")
        study = archive.study(n=2)
        getter = Getter()
        with getter.associated(port, "WARD", ["1.2.840.10008.5.1.4.1.1.4"], [EXPLICIT]) as association:
            identifier = wanted(StudyInstanceUID=study)
            answers = [read(*each) for each in association.send_c_get(identifier, STUDY_ROOT_GET)]
        assert answers[-1][0] == 0xA702
        assert answers[-1][1]["Failed"] == len(answers[-1][2]) == 2


class TestCounting:
    def test_the_list_of_failures_fits_its_element(self) -> None:
        uids = [f"2.25.{number:059d}" for number in range(5000)]
        listed = _listed(uids)
        assert listed == uids[: len(listed)]
        assert len("\\".join(listed)) <= MOST_LISTED_BYTES < len("\\".join(uids[: len(listed) + 1])) + 2

    def test_counts(self) -> None:
        progress = Progress(3)
        for outcome in (Sent.COMPLETED, Sent.WARNING, Sent.FAILED):
            progress.note(outcome.value, outcome)
        assert (progress.remaining, progress.completed, progress.warnings) == (0, 1, 1)
        assert progress.failed == ["failed"]

    def test_no_association_proposes_more_than_it_may(self) -> None:
        class One:
            def __init__(self, number: int) -> None:
                self.sop_class = f"1.2.{number}"
                self.transfer_syntax = EXPLICIT

        objects = [One(number) for number in range(150)] * 2
        parts = list(batches(objects))
        assert [len({one.sop_class for one in part}) for part in parts] == [MOST_PAIRS, MOST_PAIRS, 30]
        assert sum(map(len, parts)) == 300
        assert all(len(proposal(part)) <= 128 for part in parts)
        assert ("1.2.0", (EXPLICIT,)) in proposal(parts[0])
