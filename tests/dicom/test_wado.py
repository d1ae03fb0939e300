"""WADO-RS against dicomweb-client, pydicom and DCMTK, over every file of tests/data/dicom."""

import hashlib
import io
import json
import subprocess
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from dicomweb_client import DICOMwebClient
from PIL import Image as Picture
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from sqlalchemy import select
from starlette.testclient import TestClient

from hub.audit.models import AuditEvent
from hub.auth.deps import SESSION_COOKIE
from hub.auth.roles import Role
from hub.catalogue.models import Study
from hub.dicom import pictures, stored
from hub.dicom.part10 import split
from hub.dicom.transcode import COMPRESSED, MADE_HERE
from hub.kit.clock import utcnow
from tests.dicom.conftest import Archive, Filed
from tests.dicom.samples import DATA, IMAGES
from tests.fixtures.peers import require_peer

FILES = [path.name for path in sorted(DATA.glob("*.dcm"))]
IMAGE_FILES = [path.name for path in IMAGES]
STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
AS_VIEWER = "multipart/related; type=application/octet-stream; transfer-syntax=*"
DECODED = 'multipart/related; type="application/octet-stream"'
FILE_PARTS = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def parts_of(response: Any) -> list[tuple[str, bytes]]:
    """Take a multipart answer apart with the standard library; gives (content type, bytes) pairs."""
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + response.content, policy=HTTP)
    assert message.is_multipart(), response.text[:200]
    boundary = response.headers["content-type"].rsplit("boundary=", 1)[1].encode()
    found = []
    for piece in response.content.split(b"--" + boundary)[1:-1]:
        headers, _, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        kind = next(line for line in headers.split(b"\r\n") if line.lower().startswith(b"content-type"))
        found.append((kind.split(b": ", 1)[1].decode(), body.removesuffix(b"\r\n")))
    assert len(found) == len(list(message.iter_parts()))
    return found


@pytest.fixture(scope="module")
def reader(archive: Archive) -> TestClient:
    return archive.client()


class TestObjects:
    @pytest.mark.parametrize("name", FILES)
    def test_come_back_bit_by_bit(self, archive: Archive, reader: TestClient, name: str) -> None:
        """Oracle: SHA-256 of the file on disk, and of the data set as it was received."""
        filed = archive.filed[name]
        response = reader.get(filed.url, headers={"Accept": FILE_PARTS})
        assert response.status_code == 200, response.text
        ((kind, content),) = parts_of(response)
        assert kind == f"application/dicom; transfer-syntax={filed.instance.transfer_syntax}"
        assert hashlib.sha256(content).hexdigest() == hashlib.sha256(filed.path.read_bytes()).hexdigest()
        assert split(content)[1] == filed.instance.dataset_offset

    def test_single_object_without_parts(self, archive: Archive, reader: TestClient) -> None:
        filed = archive.filed["CT_small.dcm"]
        response = reader.get(filed.url, headers={"Accept": "application/dicom"})
        assert response.headers["content-type"].startswith("application/dicom")
        assert response.headers["content-length"] == str(filed.instance.size)
        assert response.content == filed.path.read_bytes()

    @pytest.mark.parametrize("level", ["study", "series"])
    def test_whole_study_and_series(self, archive: Archive, reader: TestClient, level: str) -> None:
        filed = archive.filed["MR_small_RLE.dcm"]
        url = filed.url.rsplit("/series/" if level == "study" else "/instances/", 1)[0]
        assert [content for _, content in parts_of(reader.get(url))] == [filed.path.read_bytes()]

    def test_dicomweb_client_reads_them(self, archive: Archive, address: str) -> None:
        """Oracle: dicomweb-client over a real connection, let in by the session's cookie."""
        session = requests.Session()
        session.cookies.set(SESSION_COOKIE, archive.client().cookies[SESSION_COOKIE])
        filed = archive.filed["dx_image.dcm"]
        # By itself the client leaves the port out of the Host header (RFC 9110 section 7.2).
        client = DICOMwebClient(address + filed.root, session=session)
        client.host = address.removeprefix("http://")
        uids = (filed.study_uid, filed.series_uid, filed.sop_uid)
        dataset = client.retrieve_instance(*uids)
        assert dataset == dcmread(filed.path)
        (metadata,) = client.retrieve_series_metadata(*uids[:2])
        assert metadata["00080018"]["Value"] == [filed.sop_uid]
        (frame,) = client.retrieve_instance_frames(*uids, [1])
        assert frame == dcmread(filed.path).PixelData[: len(frame)]
        picture = Picture.open(io.BytesIO(client.retrieve_instance_rendered(*uids)))
        assert picture.size == (dataset.Columns, dataset.Rows)
        (bulk,) = client.retrieve_bulkdata(metadata["7FE00010"]["BulkDataURI"])
        assert bulk == frame

    def test_token_of_the_own_site(self, archive: Archive, address: str) -> None:
        code = next(code for code in archive.world.site_ids if code == "F00")
        token = archive.world.token(Role.DOCTOR, code)
        client = DICOMwebClient(f"{address}/dicom-web", headers={"Authorization": f"Bearer {token}"})
        (study,) = client.search_for_studies()
        filed = archive.filed[FILES[0]]
        assert study["0020000D"]["Value"] == [filed.study_uid]
        (dataset,) = client.retrieve_study(filed.study_uid)
        assert dataset.SOPInstanceUID == filed.sop_uid


class TestRefusals:
    def test_damaged_object_is_not_sent(self, archive: Archive, reader: TestClient) -> None:
        """A planted fault: one bit of the stored file differs from what was received."""
        filed = archive.filed["liver_j2k.dcm"]
        store, key = archive.world.context.store, filed.instance.storage_key
        original = store.get(key)
        spoilt = bytearray(original)
        spoilt[-100] ^= 1
        store.put(key, bytes(spoilt))
        stored.checked.forget()
        try:
            for tail in ("", "/metadata", "/frames/1", "/rendered", "/thumbnail", "/bulkdata/7FE00010"):
                response = reader.get(filed.url + tail)
                assert (response.status_code, response.json()["code"]) == (500, "ObjectDamaged"), tail
        finally:
            store.put(key, original)
        assert reader.get(filed.url).status_code == 200

    def test_absent_object(self, archive: Archive, reader: TestClient) -> None:
        filed = archive.filed["liver_rle.dcm"]
        store, key = archive.world.context.store, filed.instance.storage_key
        original = store.get(key)
        store.delete(key)
        stored.checked.forget()
        try:
            assert reader.get(filed.url).json()["code"] == "ObjectDamaged"
        finally:
            store.put(key, original)

    @pytest.mark.parametrize("tail", ["", "/metadata", "/frames/1", "/rendered", "/thumbnail"])
    def test_another_sites_study_is_not_there(self, archive: Archive, tail: str) -> None:
        stranger = archive.client("doctor_dp")
        filed = archive.filed["CT_small.dcm"]
        for root in (filed.root, "/dicom-web"):
            assert stranger.get(filed.url.replace(filed.root, root) + tail).status_code == 404

    def test_who_may_not_look(self, archive: Archive) -> None:
        filed = archive.filed["CT_small.dcm"]
        assert archive.client("admin1").get(filed.url).status_code == 403
        assert archive.client("auditor1").get(filed.url).status_code == 403
        anonymous = TestClient(archive.world.app, follow_redirects=False)
        assert anonymous.get(filed.url).status_code == 401

    def test_same_uid_at_two_sites_is_never_guessed(self, archive: Archive, reader: TestClient) -> None:
        """MR_small.dcm and its variants share their UIDs but lie at several sites."""
        filed = archive.filed["MR_small.dcm"]
        response = reader.get(filed.url.replace(filed.root, "/dicom-web"))
        assert (response.status_code, response.json()["code"]) == (409, "SeveralStudies")

    @pytest.mark.parametrize(
        ("tail", "accept", "status"),
        [
            ("", "text/html", 406),
            ("", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50', 406),
            ("", "not a media type", 400),
            ("/metadata", 'multipart/related; type="application/dicom+xml"', 406),
            ("/frames/1", "image/jpeg", 406),
            ("/frames/1,1", "application/octet-stream", 406),
            ("/frames/0", "*/*", 400),
            ("/frames/x", "*/*", 400),
            ("/frames/2", "*/*", 404),
            ("/frames/1,2", "*/*", 404),
            ("/rendered", "image/gif", 406),
            ("/rendered?viewport=0,0", "*/*", 422),
            ("/rendered?viewport=9", "*/*", 400),
            ("/rendered?viewport=10,10,0,0,5,", "*/*", 200),
            ("/rendered?viewport=10,10,0,0,5,5,5", "*/*", 400),
            ("/rendered?viewport=10,10,128,0,5,5", "*/*", 422),
            ("/rendered?viewport=10,10,0,0,0,5", "*/*", 422),
            ("/frames/0/rendered", "*/*", 400),
            ("/frames/2/rendered", "*/*", 404),
            ("/rendered?window=1", "*/*", 400),
            ("/rendered?window=40,400,cubic", "*/*", 400),
            ("/rendered?window=40,0,linear", "*/*", 422),
            ("/rendered?quality=0", "*/*", 400),
            ("/frames/1,2/rendered", "*/*", 400),
            ("/bulkdata/00100010x", "*/*", 404),
            ("/bulkdata/00091234", "*/*", 404),
        ],
    )
    def test_bad_requests(
        self, archive: Archive, reader: TestClient, tail: str, accept: str, status: int
    ) -> None:
        response = reader.get(archive.filed["CT_small.dcm"].url + tail, headers={"Accept": accept})
        assert response.status_code == status, response.text

    def test_unknown_and_malformed_uids(self, archive: Archive, reader: TestClient) -> None:
        filed = archive.filed["CT_small.dcm"]
        assert reader.get(f"{filed.root}/studies/1.2.3").status_code == 404
        assert reader.get(f"{filed.root}/studies/abc").status_code == 400
        assert reader.get(f"{filed.root}/studies/{filed.study_uid}/series/1.2.3").status_code == 404
        assert reader.get(filed.url.rsplit("/", 1)[0] + "/1.2.3/rendered").status_code == 404

    def test_object_without_pixels(self, archive: Archive, reader: TestClient) -> None:
        url = archive.filed["test-SR.dcm"].url
        for tail in ("/frames/1", "/rendered", "/thumbnail"):
            assert reader.get(url + tail).status_code == 404


class TestFrames:
    @pytest.mark.parametrize("name", IMAGE_FILES)
    def test_decoded_values_are_pydicoms(self, archive: Archive, reader: TestClient, name: str) -> None:
        """Oracle: pydicom's pixel data (native) or its decoded array, colours as RGB (compressed)."""
        filed = archive.filed[name]
        dataset = dcmread(filed.path)
        count = int(dataset.get("NumberOfFrames", 1))
        numbers = ",".join(str(number) for number in range(1, count + 1))
        response = reader.get(f"{filed.url}/frames/{numbers}", headers={"Accept": DECODED})
        assert response.status_code == 200, response.text
        parts = parts_of(response)
        assert len(parts) == count
        for index, (kind, content) in enumerate(parts):
            assert kind == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
            assert content == expected_octets(dataset, filed.path, index), (name, index)

    @pytest.mark.parametrize("name", IMAGE_FILES)
    def test_stored_frames_decode_to_the_same(self, archive: Archive, reader: TestClient, name: str) -> None:
        """What the viewer asks for: the part names the syntax of its bytes. Oracle: pydicom's fragments."""
        filed = archive.filed[name]
        dataset = dcmread(filed.path)
        response = reader.get(f"{filed.url}/frames/1", headers={"Accept": AS_VIEWER})
        ((kind, content),) = parts_of(response)
        syntax = kind.rsplit("transfer-syntax=", 1)[1]
        if name == "liver_deflate.dcm" or dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            from pydicom.encaps import get_frame

            count = int(dataset.get("NumberOfFrames", 1))
            assert syntax == dataset.file_meta.TransferSyntaxUID
            assert content == get_frame(dataset.PixelData, 0, number_of_frames=count)
        else:
            assert syntax == "1.2.840.10008.1.2.1"
            assert content == expected_octets(dataset, filed.path, 0)

    def test_jpeg_by_its_own_media_type(self, archive: Archive, reader: TestClient) -> None:
        filed = archive.filed["SC_rgb_jpeg_dcmtk.dcm"]
        accept = 'multipart/related; type="image/jpeg"'
        ((kind, content),) = parts_of(reader.get(f"{filed.url}/frames/1", headers={"Accept": accept}))
        assert kind == "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"
        assert Picture.open(io.BytesIO(content)).size == (100, 100)

    def test_one_frame_alone(self, archive: Archive, reader: TestClient) -> None:
        filed = archive.filed["MR_small_RLE.dcm"]
        response = reader.get(f"{filed.url}/frames/1", headers={"Accept": "application/octet-stream"})
        assert response.content == dcmread(DATA / "MR_small.dcm").PixelData


def expected_octets(dataset: Any, path: Path, index: int) -> bytes:
    """One frame as Explicit VR Little Endian would hold it."""
    syntax = dataset.file_meta.TransferSyntaxUID
    size = dataset.Rows * dataset.Columns
    if dataset.BitsAllocated == 1:
        # pydicom decodes neither RLE nor deflated 1-bit frames; liver_j2k.dcm is the same segmentation
        same = path.with_name("liver_j2k.dcm") if path.name.startswith("liver") else path
        pixels = pixel_array(same, index=index)
        return np.packbits(pixels.reshape(-1).astype(bool), bitorder="little").tobytes()
    if dataset.get("PlanarConfiguration") == 1 and not syntax.is_encapsulated:
        return bytes(np.moveaxis(pixel_array(path, index=index), 2, 0).tobytes())
    if syntax.is_encapsulated or not syntax.is_little_endian:
        pixels = pixel_array(path, index=index)
        return pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    samples = 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else dataset.SamplesPerPixel
    length = size * samples * dataset.BitsAllocated // 8
    return bytes(dataset.PixelData[index * length : (index + 1) * length])


class TestOtherSyntaxes:
    @pytest.mark.parametrize("syntax", sorted(MADE_HERE))
    @pytest.mark.parametrize("name", ["CT_small.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_bigendian.dcm"])
    def test_files(self, archive: Archive, reader: TestClient, name: str, syntax: str) -> None:
        """Oracle: pydicom's pixels of the file on disk."""
        filed = archive.filed[name]
        accept = f'multipart/related; type="application/dicom"; transfer-syntax={syntax}'
        ((kind, content),) = parts_of(reader.get(filed.url, headers={"Accept": accept}))
        assert kind == f"application/dicom; transfer-syntax={syntax}"
        made = dcmread(io.BytesIO(content))
        assert made.file_meta.TransferSyntaxUID == syntax
        np.testing.assert_array_equal(made.pixel_array, dcmread(filed.path).pixel_array)

    @pytest.mark.parametrize("syntax", sorted(COMPRESSED))
    @pytest.mark.parametrize("name", ["CT_small.dcm", "emri_small_jpeg_ls_lossless.dcm"])
    def test_frames(self, archive: Archive, reader: TestClient, name: str, syntax: str) -> None:
        """Oracle: pydicom decodes each frame under its data set."""
        filed = archive.filed[name]
        accept = f'multipart/related; type="application/octet-stream"; transfer-syntax={syntax}'
        dataset = dcmread(filed.path)
        expected = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
        dataset.NumberOfFrames = 1
        dataset.file_meta.TransferSyntaxUID = syntax
        numbers = ",".join(str(number) for number in range(1, len(expected) + 1))
        for index, (kind, content) in enumerate(
            parts_of(reader.get(f"{filed.url}/frames/{numbers}", headers={"Accept": accept}))
        ):
            assert kind == f"application/octet-stream; transfer-syntax={syntax}"
            dataset.PixelData = encapsulate([content])
            dataset["PixelData"].VR = "OB"
            np.testing.assert_array_equal(dataset.pixel_array, expected[index])

    def test_the_best_that_can_be_made(self, archive: Archive, reader: TestClient) -> None:
        one = 'multipart/related; type="application/dicom"; transfer-syntax='
        both = f"{one}1.2.840.10008.1.2.4.201, {one}*;q=0.1"
        got = {
            name: parts_of(reader.get(archive.filed[name].url, headers={"Accept": both}))[0][0][-24:]
            for name in ("CT_small.dcm", "test-SR.dcm", "liver_rle.dcm")
        }
        assert got["CT_small.dcm"].endswith("1.2.840.10008.1.2.4.201")
        assert got["test-SR.dcm"].endswith("=1.2.840.10008.1.2.1")
        assert got["liver_rle.dcm"].endswith("=1.2.840.10008.1.2.5")

    @pytest.mark.parametrize("name", ["test-SR.dcm", "liver_rle.dcm", "seg_image_ct_binary.dcm"])
    def test_what_cannot_be_made_is_not_acceptable(
        self, archive: Archive, reader: TestClient, name: str
    ) -> None:
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.201'
        assert reader.get(archive.filed[name].url, headers={"Accept": accept}).status_code == 406


class TestLengths:
    @pytest.mark.parametrize(
        ("tail", "accept"),
        [("", FILE_PARTS), ("/frames/1", STORED), ("/frames/1", DECODED), ("/bulkdata/7FE00010", "*/*")],
    )
    def test_are_stated_and_right(self, archive: Archive, reader: TestClient, tail: str, accept: str) -> None:
        response = reader.get(archive.filed["CT_small.dcm"].url + tail, headers={"Accept": accept})
        assert int(response.headers["content-length"]) == len(response.content)

    def test_of_a_large_body_over_a_real_connection(self, archive: Archive, address: str) -> None:
        """More than one lot is handed over; the client checks the length."""
        filed = archive.filed["OBXXXX1A_rle_2frame.dcm"]
        numbers = ",".join(["1", "2"] * 20)
        cookies = {SESSION_COOKIE: archive.client().cookies[SESSION_COOKIE]}
        got = requests.get(f"{address}{filed.url}/frames/{numbers}", cookies=cookies, timeout=60)
        assert [len(content) for _, content in parts_of(got)] == [600 * 800] * 40


class TestRanges:
    OCTETS = {"Accept": "application/octet-stream"}  # noqa: RUF012 - never changed

    @pytest.mark.parametrize("tail", ["/bulkdata/7FE00010", "/frames/1"])
    @pytest.mark.parametrize(
        ("asked", "part"),
        [
            ("bytes=0-9", slice(0, 10)),
            ("bytes=100-", slice(100, None)),
            ("bytes=-5", slice(-5, None)),
            ("bytes=32760-99999", slice(32760, None)),
            ("bytes=-99999999", slice(None)),
        ],
    )
    def test_one_range(
        self, archive: Archive, reader: TestClient, tail: str, asked: str, part: slice
    ) -> None:
        filed = archive.filed["CT_small.dcm"]
        whole = dcmread(filed.path).PixelData
        got = reader.get(filed.url + tail, headers=self.OCTETS | {"Range": asked})
        assert (got.status_code, got.content) == (206, whole[part])
        start, stop, _ = part.indices(len(whole))
        assert got.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(whole)}"
        assert got.headers["content-length"] == str(len(whole[part]))

    def test_beyond_the_end(self, archive: Archive, reader: TestClient) -> None:
        url = archive.filed["CT_small.dcm"].url + "/bulkdata/7FE00010"
        got = reader.get(url, headers=self.OCTETS | {"Range": "bytes=32768-"})
        assert (got.status_code, got.headers["content-range"]) == (416, "bytes */32768")

    @pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "items=0-1", "bytes=9-1", "bytes=-", "x"])
    def test_what_is_not_understood_gives_the_whole(
        self, archive: Archive, reader: TestClient, asked: str
    ) -> None:
        url = archive.filed["CT_small.dcm"].url + "/bulkdata/7FE00010"
        got = reader.get(url, headers=self.OCTETS | {"Range": asked})
        assert (got.status_code, len(got.content)) == (200, 32768)
        assert got.headers["accept-ranges"] == "bytes"

    def test_only_of_what_the_caller_holds(self, archive: Archive, reader: TestClient) -> None:
        url = archive.filed["CT_small.dcm"].url + "/bulkdata/7FE00010"
        tag = reader.get(url, headers=self.OCTETS).headers["etag"]
        for held, status in ((tag, 206), (f"W/{tag}", 200), ('"other"', 200)):
            headers = self.OCTETS | {"Range": "bytes=0-1", "If-Range": held}
            assert reader.get(url, headers=headers).status_code == status

    def test_big_endian_pixels_are_turned_first(self, archive: Archive, reader: TestClient) -> None:
        url = archive.filed["MR_small_bigendian.dcm"].url + "/bulkdata/7FE00010"
        got = reader.get(url, headers=self.OCTETS | {"Range": "bytes=2-5"})
        assert got.content == dcmread(DATA / "MR_small.dcm").PixelData[2:6]


class TestCompressedJson:
    def test_only_for_who_takes_it(self, archive: Archive, reader: TestClient) -> None:
        url = archive.filed["CT_small.dcm"].url + "/metadata"
        plain = reader.get(url, headers={"Accept-Encoding": "identity"})
        packed = reader.get(url, headers={"Accept-Encoding": "br, gzip;q=0.5"})
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.json() == plain.json()
        assert plain.headers["etag"] != packed.headers["etag"]
        assert "Accept-Encoding" in plain.headers["vary"]
        refused = reader.get(url, headers={"Accept-Encoding": "gzip;q=0, identity"})
        assert "content-encoding" not in refused.headers

    def test_each_form_has_its_own_tag(self, archive: Archive, reader: TestClient) -> None:
        url = archive.filed["CT_small.dcm"].url + "/metadata"
        tag = reader.get(url, headers={"Accept-Encoding": "gzip"}).headers["etag"]
        for encoding, status in (("gzip", 304), ("identity", 200)):
            headers = {"Accept-Encoding": encoding, "If-None-Match": tag}
            assert reader.get(url, headers=headers).status_code == status


class TestMetadata:
    @pytest.mark.parametrize("name", FILES)
    def test_addresses_in_it_work(self, archive: Archive, reader: TestClient, name: str) -> None:
        """Every BulkDataURI gives bytes; those of native pixels are pydicom's."""
        filed = archive.filed[name]
        response = reader.get(f"{filed.url}/metadata")
        assert response.headers["content-type"] == "application/dicom+json"
        (model,) = response.json()
        assert model["00080018"]["Value"] == [filed.sop_uid]
        assert response.text.isascii() or model["00080005"]["Value"] == ["ISO_IR 192"]
        for tag, uri in bulk_uris(model):
            got = reader.get(uri, headers={"Accept": STORED if tag == "7FE00010" else "*/*"})
            assert got.status_code == 200, (tag, got.text[:200])
            assert parts_of(got)[0][1], tag

    @pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "test-SR.dcm", "dx_image.dcm"])
    def test_agrees_with_dcm2json(self, archive: Archive, reader: TestClient, name: str) -> None:
        """Oracle: DCMTK's dcm2json. Left out: bulk values, which it gives in the text, and the charset."""
        filed = archive.filed[name]
        run = subprocess.run(
            [require_peer("dcm2json"), "-fc", str(filed.path)], capture_output=True, timeout=60, check=True
        )
        theirs = json.loads(run.stdout)
        (ours,) = reader.get(f"{filed.url}/metadata").json()
        for tag, element in theirs.items():
            if (
                tag in {"00080005", "FFFCFFFC"}
                or "InlineBinary" in element
                or "InlineBinary" in ours.get(tag, {})
            ):
                continue
            assert plain(ours[tag]) == plain(element), tag

    def test_series_and_study(self, archive: Archive, reader: TestClient) -> None:
        filed = archive.filed["emri_small_jpeg_ls_lossless.dcm"]
        one = reader.get(f"{filed.url}/metadata").json()
        assert reader.get(filed.url.rsplit("/instances/", 1)[0] + "/metadata").json() == one
        assert reader.get(f"{filed.root}/studies/{filed.study_uid}/metadata").json() == one

    def test_native_pixels_as_bulk_data(self, archive: Archive, reader: TestClient) -> None:
        filed = archive.filed["MR_small_bigendian.dcm"]
        response = reader.get(
            f"{filed.url}/bulkdata/7FE00010", headers={"Accept": "application/octet-stream"}
        )
        assert response.content == dcmread(DATA / "MR_small.dcm").PixelData


def bulk_uris(model: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for tag, element in model.items():
        if "BulkDataURI" in element:
            found.append((tag, element["BulkDataURI"]))
        if element["vr"] == "SQ":
            for item in element.get("Value", []):
                found += bulk_uris(item)
    return found


def plain(element: Any) -> Any:
    """Bring what both may write differently to one form: numbers as float, no empty values."""
    if isinstance(element, dict):
        return {key: plain(value) for key, value in element.items() if value not in ([], None, "")}
    if isinstance(element, list):
        return [plain(value) for value in element]
    if isinstance(element, str):
        try:
            return pytest.approx(float(element), rel=1e-6)
        except ValueError:
            return element.strip()
    return pytest.approx(element, rel=1e-6) if isinstance(element, int | float) else element


class TestPictures:
    @pytest.mark.parametrize("name", IMAGE_FILES)
    def test_every_image_has_a_thumbnail(self, archive: Archive, reader: TestClient, name: str) -> None:
        filed = archive.filed[name]
        levels = (filed.url, filed.url.rsplit("/instances/", 1)[0], f"{filed.root}/studies/{filed.study_uid}")
        for url in levels:
            response = reader.get(f"{url}/thumbnail")
            assert response.status_code == 200, response.text
            assert response.headers["content-type"] == "image/jpeg"
            assert max(Picture.open(io.BytesIO(response.content)).size) == 128

    def test_parameters(self, archive: Archive, reader: TestClient) -> None:
        """Oracle: the linear window function of PS3.3 C.11.2.1.2.1, worked out here."""
        filed = archive.filed["CT_small.dcm"]
        response = reader.get(
            f"{filed.url}/rendered?window=40,400,linear&viewport=64,32", headers={"Accept": "image/png"}
        )
        assert Picture.open(io.BytesIO(response.content)).size == (32, 32)
        whole = reader.get(f"{filed.url}/frames/1/rendered?window=40,400", headers={"Accept": "image/png"})
        dataset = dcmread(filed.path)
        values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        expected = np.clip(((values - 39.5) / 399 + 0.5) * 255, 0, 255)
        shown = np.asarray(Picture.open(io.BytesIO(whole.content)).convert("L"), float)
        assert np.abs(shown - expected).max() <= 1

    def test_region_of_the_source(self, archive: Archive, reader: TestClient) -> None:
        """Oracle: the same part cut out of the whole picture, mirrored where its size is negative."""
        url = archive.filed["CT_small.dcm"].url + "/rendered?window=40,400"
        png = {"Accept": "image/png"}
        whole = np.asarray(Picture.open(io.BytesIO(reader.get(url, headers=png).content)))
        for viewport, part in (
            ("32,16,10,20,32,16", whole[20:36, 10:42]),
            ("32,16,10,20,-32,16", whole[20:36, 10:42][:, ::-1]),
            ("28,108,100,20", whole[20:, 100:]),
        ):
            got = reader.get(f"{url}&viewport={viewport}", headers=png)
            np.testing.assert_array_equal(np.asarray(Picture.open(io.BytesIO(got.content))), part)

    @pytest.mark.parametrize("level", ["/series/", "/instances/"])
    def test_every_frame_of_a_series(self, archive: Archive, reader: TestClient, level: str) -> None:
        filed = archive.filed["emri_small_jpeg_ls_lossless.dcm"]
        url = filed.url.rsplit(level, 1)[0] + "/rendered"
        for accept in ("*/*", 'multipart/related; type="image/jpeg"', "image/jpeg"):
            parts = parts_of(reader.get(url, headers={"Accept": accept}))
            assert [kind for kind, _ in parts] == ["image/jpeg"] * 10
        alone = reader.get(f"{filed.url}/frames/10/rendered").content
        assert parts[9][1] == alone

    def test_not_more_than_can_be_looked_at(
        self, archive: Archive, reader: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pictures, "MOST_PICTURES", 9)
        filed = archive.filed["emri_small_jpeg_ls_lossless.dcm"]
        response = reader.get(f"{filed.root}/studies/{filed.study_uid}/rendered")
        assert (response.status_code, response.json()["code"]) == (413, "TooManyPictures")

    def test_quality_changes_the_size(self, archive: Archive, reader: TestClient) -> None:
        url = archive.filed["CT_small.dcm"].url
        low, high = (len(reader.get(f"{url}/rendered?quality={quality}").content) for quality in (10, 95))
        assert low < high / 2

    def test_what_is_not_supported_is_named(self, archive: Archive, reader: TestClient) -> None:
        response = reader.get(f"{archive.filed['CT_small.dcm'].url}/rendered?annotation=patient")
        assert response.headers["warning"].endswith("were ignored: annotation.")


class TestCaching:
    @pytest.mark.parametrize(
        "tail", ["", "/metadata", "/frames/1", "/rendered", "/thumbnail", "/bulkdata/7FE00010"]
    )
    def test_unchanged_is_not_sent_again(self, archive: Archive, reader: TestClient, tail: str) -> None:
        url = archive.filed["CT_small.dcm"].url + tail
        first = reader.get(url)
        assert first.headers["cache-control"] == "private, no-cache"
        tag = first.headers["etag"]
        again = reader.get(url, headers={"If-None-Match": f'"other", W/{tag}'})
        assert (again.status_code, again.content) == (304, b"")
        assert reader.get(url, headers={"If-None-Match": '"other"'}).status_code == 200

    def test_tag_depends_on_what_is_asked(self, archive: Archive, reader: TestClient) -> None:
        url = archive.filed["MR_small_RLE.dcm"].url
        tags = {
            reader.get(f"{url}/frames/1", headers={"Accept": STORED}).headers["etag"],
            reader.get(f"{url}/frames/1", headers={"Accept": DECODED}).headers["etag"],
            reader.get(f"{url}/rendered").headers["etag"],
            reader.get(f"{url}/rendered?window=40,400").headers["etag"],
            reader.get(f"{url}/rendered", headers={"Accept": "image/png"}).headers["etag"],
        }
        assert len(tags) == 5


class TestTrail:
    def events(self, archive: Archive, login: str, filed: Filed) -> list[str]:
        with archive.world.context.db.reading() as session:
            rows = session.scalars(
                select(AuditEvent)
                .where(
                    AuditEvent.actor_id == archive.world.user_ids[login], AuditEvent.subject_kind == "study"
                )
                .order_by(AuditEvent.seq)
            )
            return [row.tag for row in rows if row.site_id == filed_site(filed)]

    def test_one_look_is_one_row(self, archive: Archive) -> None:
        filed, client = archive.filed["MR_small_padded.dcm"], archive.client("writer2")
        client.get(f"{filed.url}/thumbnail")
        assert self.events(archive, "writer2", filed) == ["catalogue:study:preview"]
        for tail in ("/metadata", "/frames/1", "/rendered", "/frames/1"):
            assert client.get(filed.url + tail).status_code == 200
        assert self.events(archive, "writer2", filed)[1:] == ["catalogue:study:view"]

    def test_another_look_after_ten_minutes_or_a_new_object(self, archive: Archive) -> None:
        """What is remembered of noted looks must not outlive what the row stands for."""
        filed, client = archive.filed["JPGExtended.dcm"], archive.client("reviewer1")
        client.get(f"{filed.url}/frames/1")
        client.get(f"{filed.url}/frames/1")
        assert len(self.events(archive, "reviewer1", filed)) == 1
        with archive.world.context.db.transaction() as session:
            study = session.scalars(select(Study).where(Study.site_id == filed_site(filed))).one()
            before = study.last_received_at
            study.last_received_at = utcnow()
        client.get(f"{filed.url}/frames/1")
        assert len(self.events(archive, "reviewer1", filed)) == 2
        with archive.world.context.db.transaction() as session:
            session.get_one(Study, study.id).last_received_at = before

    def test_each_download_is_a_row(self, archive: Archive) -> None:
        filed, client = archive.filed["CT_small.dcm"], archive.client("director1")
        client.get(filed.url)
        client.get(f"{filed.root}/studies/{filed.study_uid}")
        assert self.events(archive, "director1", filed) == ["catalogue:study:download"] * 2

    def test_refused_looks_leave_none(self, archive: Archive) -> None:
        filed, client = archive.filed["CT_small.dcm"], archive.client("reviewer1")
        assert client.get(f"{filed.url}/frames/9").status_code == 404
        assert self.events(archive, "reviewer1", filed) == []


def filed_site(filed: Filed) -> str:
    return filed.root.rsplit("/", 1)[1]
