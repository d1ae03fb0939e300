"""The DICOMweb service as dicomweb-client uses it, over a real connection to a real server.

Oracles: dicomweb-client itself, which reads answers strictly after PS3.18, and pydicom's
reading of the files on disk. What one address or parameter means is tested beside each
(test_qido, test_wado, test_stow); here every transaction of the client is tried once.
"""

import io
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import requests
from dicomweb_client import DICOMwebClient
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRLittleEndian

from hub.auth.roles import Role
from hub.kit.uids import new_uid
from hub.sites import service as sites
from tests.dicom.conftest import Archive
from tests.dicom.samples import DATA
from tests.fixtures.world import SETUP

CT, US = "CT_small", "OBXXXX1A_rle_2frame"
STORED = (("application/octet-stream", "*"),)
FILES = (("application/dicom", "*"),)
PLAIN = (("application/dicom", ExplicitVRLittleEndian),)

Connect = Callable[..., DICOMwebClient]


@pytest.fixture(scope="module")
def connect(archive: Archive, address: str) -> Connect:
    """Make a client with a token of a site, which is made when it is not there."""

    def client(site: str, role: Role = Role.DOCTOR) -> DICOMwebClient:
        world = archive.world
        if site not in world.site_ids:
            with world.context.db.transaction() as session:
                world.site_ids[site] = sites.add_site(session, site, site, now=world.clock(), actor=SETUP).id
        headers = {"Authorization": f"Bearer {world.token(role, site)}"}
        made = DICOMwebClient(f"{address}/dicom-web", headers=headers)
        # By itself the client leaves the port out of the Host header (RFC 9110 section 7.2).
        made.host = address.removeprefix("http://")
        return made

    return client


def renamed(name: str, patient: str, **uids: str) -> FileDataset:
    """A real object as another patient's, with new UIDs."""
    dataset = dcmread(DATA / f"{name}.dcm")
    dataset.SpecificCharacterSet, dataset.PatientName, dataset.PatientID = "ISO_IR 192", patient, "C1"
    dataset.StudyInstanceUID = uids.get("study") or new_uid()
    dataset.SeriesInstanceUID = uids.get("series") or new_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = new_uid()
    return dataset


@pytest.fixture(scope="module")
def given(connect: Connect) -> list[FileDataset]:
    """What the site QUERY holds: a CT study of two series, and studies of two more patients."""
    study, series = new_uid(), new_uid()
    datasets = [
        renamed(CT, "王^秀英", study=study, series=series),
        renamed(CT, "王^秀英", study=study, series=series),
        renamed(CT, "王^秀英", study=study),
        renamed("MR_small", "LI^GANG"),
        renamed(US, "ZHANG^MIN"),
    ]
    answer = connect("QUERY", Role.SENDER).store_instances(datasets)
    assert len(answer.ReferencedSOPSequence) == len(datasets)
    return datasets


@pytest.fixture
def client(connect: Connect, given: list[FileDataset]) -> DICOMwebClient:
    return connect("QUERY")


def uids_of(dataset: FileDataset) -> tuple[str, str, str]:
    return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


def values(found: list[dict[str, Any]], tag: str) -> list[str]:
    return sorted(one[tag]["Value"][0] for one in found)


class TestSearch:
    def test_every_level(self, client: DICOMwebClient, given: list[FileDataset]) -> None:
        study, series = given[0].StudyInstanceUID, given[0].SeriesInstanceUID
        uids = sorted(each.SOPInstanceUID for each in given)
        assert values(client.search_for_studies(), "0020000D") == sorted(
            {each.StudyInstanceUID for each in given}
        )
        assert values(client.search_for_series(), "0020000E") == sorted(
            {each.SeriesInstanceUID for each in given}
        )
        assert values(client.search_for_series(study), "0020000E") == sorted(
            {each.SeriesInstanceUID for each in given[:3]}
        )
        assert values(client.search_for_instances(), "00080018") == uids
        assert values(client.search_for_instances(study), "00080018") == sorted(
            each.SOPInstanceUID for each in given[:3]
        )
        assert values(client.search_for_instances(study, series), "00080018") == sorted(
            each.SOPInstanceUID for each in given[:2]
        )

    def test_by_sound(self, client: DICOMwebClient, given: list[FileDataset]) -> None:
        by_letters: dict[str, Any] = {"search_filters": {"PatientName": "wang xiuying"}}
        (found,) = client.search_for_studies(fuzzymatching=True, **by_letters)
        assert found["0020000D"]["Value"] == [given[0].StudyInstanceUID]
        assert client.search_for_studies(fuzzymatching=False, **by_letters) == []
        assert len(client.search_for_series(fuzzymatching=True, **by_letters)) == 2
        assert len(client.search_for_instances(fuzzymatching=True, **by_letters)) == 3

    @pytest.mark.parametrize("level", ["studies", "series", "instances"])
    def test_page_by_page(self, client: DICOMwebClient, level: str) -> None:
        search = getattr(client, f"search_for_{level}")
        tag = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}[level]
        everything = [one[tag]["Value"][0] for one in search()]
        pages = [search(limit=2, offset=start) for start in range(0, len(everything), 2)]
        assert [one[tag]["Value"][0] for page in pages for one in page] == everything
        assert [one[tag]["Value"][0] for one in search(limit=1, get_remaining=True)] == everything
        assert search(limit=2, offset=len(everything)) == []

    def test_fields_and_filters(self, client: DICOMwebClient, given: list[FileDataset]) -> None:
        (found,) = client.search_for_studies(
            fields=["StudyDescription", "00081080"], search_filters={"ModalitiesInStudy": "US"}
        )
        assert found["0020000D"]["Value"] == [given[4].StudyInstanceUID]
        (found,) = client.search_for_instances(fields=["all"], search_filters={"Modality": "MR"})
        assert found["00280010"]["Value"] == [given[3].Rows]


class TestRetrieve:
    def test_objects_at_every_level(self, client: DICOMwebClient, given: list[FileDataset]) -> None:
        study, series, uid = uids_of(given[0])

        def in_order(datasets: Iterable[Dataset]) -> list[Dataset]:
            return sorted(datasets, key=lambda each: each.SOPInstanceUID)

        assert in_order(client.retrieve_study(study)) == in_order(given[:3])
        assert in_order(client.iter_study(study)) == in_order(given[:3])
        assert in_order(client.retrieve_series(study, series)) == in_order(given[:2])
        assert client.retrieve_instance(study, series, uid) == given[0]

    def test_stored_or_decoded(self, client: DICOMwebClient, given: list[FileDataset]) -> None:
        """An object in RLE stays so for who takes it; in explicit little endian it is plain."""
        uids = uids_of(given[4])
        assert client.retrieve_instance(*uids, media_types=FILES) == given[4]
        plain = client.retrieve_instance(*uids, media_types=PLAIN)
        assert plain.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        np.testing.assert_array_equal(plain.pixel_array, given[4].pixel_array)

    def test_metadata_at_every_level(self, client: DICOMwebClient, given: list[FileDataset]) -> None:
        study, series, uid = uids_of(given[0])
        assert values(client.retrieve_study_metadata(study), "00080018") == sorted(
            each.SOPInstanceUID for each in given[:3]
        )
        assert len(client.retrieve_series_metadata(study, series)) == 2
        metadata = client.retrieve_instance_metadata(study, series, uid)
        assert metadata["00100010"]["Value"] == [{"Alphabetic": "王^秀英"}]
        assert metadata["00280010"]["Value"] == [given[0].Rows]

    def test_bulk_data(self, client: DICOMwebClient, given: list[FileDataset]) -> None:
        uids = uids_of(given[0])
        url = client.retrieve_instance_metadata(*uids)["7FE00010"]["BulkDataURI"]
        (whole,) = client.retrieve_bulkdata(url)
        assert whole == given[0].PixelData
        # The client only asks for parts of a multipart answer, of which no range is offered (RFC 9110 14.2).
        assert client.retrieve_bulkdata(url, byte_range=(100, 299)) == [whole]

    def test_frames(self, client: DICOMwebClient, given: list[FileDataset]) -> None:
        uids = uids_of(given[4])
        pixels = given[4].pixel_array
        frames = client.retrieve_instance_frames(*uids, [2, 1])
        assert frames == [pixels[1].tobytes(), pixels[0].tobytes()]
        (stored,) = client.retrieve_instance_frames(*uids, [1], media_types=STORED)
        assert stored in given[4].PixelData

    def test_pictures(self, client: DICOMwebClient, given: list[FileDataset]) -> None:
        uids = uids_of(given[4])
        size = (given[4].Columns, given[4].Rows)
        for kind, name in (("image/jpeg", "JPEG"), ("image/png", "PNG")):
            picture = Image.open(io.BytesIO(client.retrieve_instance_rendered(*uids, media_types=(kind,))))
            assert (picture.format, picture.size) == (name, size)
            frame = client.retrieve_instance_frames_rendered(*uids, [2], media_types=(kind,))
            assert Image.open(io.BytesIO(frame)).format == name
        small = client.retrieve_instance_rendered(*uids, params={"viewport": "100,100"})
        assert max(Image.open(io.BytesIO(small)).size) == 100


class TestStore:
    def test_each_object_is_answered_for_itself(self, connect: Connect) -> None:
        """Two are kept, one has another study's UID, one holds no pixels; the status is 202."""
        study = new_uid()
        good = [renamed(CT, "A^A", study=study), renamed(US, "A^A", study=study)]
        foreign, hollow = renamed(CT, "A^A"), renamed(CT, "A^A", study=study)
        del hollow.PixelData
        answer = connect("STORE", Role.SENDER).store_instances([good[0], foreign, hollow, good[1]], study)
        assert [each.ReferencedSOPInstanceUID for each in answer.ReferencedSOPSequence] == [
            each.SOPInstanceUID for each in good
        ]
        assert [
            (each.ReferencedSOPInstanceUID, each.FailureReason != 0) for each in answer.FailedSOPSequence
        ] == [(each.SOPInstanceUID, True) for each in (foreign, hollow)]
        reader = connect("STORE")
        assert values(reader.search_for_instances(), "00080018") == sorted(
            each.SOPInstanceUID for each in good
        )
        for each in good:
            assert reader.retrieve_instance(*uids_of(each), media_types=FILES) == each

    def test_nothing_kept_is_an_error(self, connect: Connect) -> None:
        with pytest.raises(requests.HTTPError) as caught:
            connect("STORE", Role.SENDER).store_instances([renamed(CT, "A^A")], new_uid())
        assert caught.value.response.status_code == 409

    def test_sending_is_not_reading(self, connect: Connect) -> None:
        with pytest.raises(requests.HTTPError) as caught:
            connect("QUERY", Role.SENDER).search_for_studies()
        assert caught.value.response.status_code == 403
