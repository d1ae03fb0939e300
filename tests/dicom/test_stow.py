"""STOW-RS. Oracles: PS3.18 section 10.5, dicomweb-client over a real connection, the bytes in the store."""

import io
from collections.abc import Iterable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from sqlalchemy import select
from starlette.testclient import TestClient

from hub.auth.roles import Role
from hub.catalogue.models import Instance, Quarantined, Series, Study
from hub.dicom import parts as multipart
from hub.dicom import stow
from hub.dicom.parts import BrokenBody, parts
from hub.sites import service as sites
from storage.errors import StoreUnreachable
from tests.dicom.conftest import Archive
from tests.dicom.samples import DATA, build, element, file_of
from tests.fixtures.world import SETUP, World

BOUNDARY = "a+b_c'(d)"
RELATED = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
REFERENCED, FAILED, OTHERS, URL = "00081199", "00081198", "0008119A", "00081190"


def body(*files: bytes, kind: str = "application/dicom", end: str = "--") -> bytes:
    """Return a multipart/related body."""
    made = b"".join(
        b"--%s\r\nContent-Type: %s\r\n\r\n%s\r\n" % (BOUNDARY.encode(), kind.encode(), file) for file in files
    )
    return made + f"--{BOUNDARY}{end}\r\n".encode()


def one(sop_uid: str, study_uid: str = "1.2.3", patient: str = "P1", text: bytes = b"") -> bytes:
    """Return a small CT file."""
    changes = {"t00081030": element(0x00081030, "LO", text)} if text else {}
    dataset = build(
        t00080018=element(0x00080018, "UI", sop_uid.encode()),
        t0020000D=element(0x0020000D, "UI", study_uid.encode()),
        t00100020=element(0x00100020, "LO", patient.encode()),
        **changes,
    )
    return file_of(dataset, sop_instance=sop_uid)


@pytest.fixture
def sender(sqlite_world: World) -> TestClient:
    """A machine of the site DP."""
    client = sqlite_world.client()
    client.headers["Authorization"] = f"Bearer {sqlite_world.token(Role.SENDER, 'DP')}"
    client.headers["Content-Type"] = RELATED
    return client


def reasons(answer: Any, sequence: str = FAILED) -> list[tuple[str, int]]:
    """SOP Instance UID and Failure Reason of each item."""
    items = answer.json().get(sequence, {"Value": []})["Value"]
    return [
        (item["00081155"]["Value"][0] if "00081155" in item else "", item["00081197"]["Value"][0])
        for item in items
    ]


def referenced(answer: Any) -> list[str]:
    return [item["00081155"]["Value"][0] for item in answer.json().get(REFERENCED, {"Value": []})["Value"]]


def kept(world: World) -> dict[str, bytes]:
    with world.context.db.reading() as session:
        rows = session.scalars(select(Instance)).all()
        return {row.sop_uid: world.context.store.get(row.storage_key) for row in rows}


def test_every_object_is_kept_as_sent_and_answered_for_itself(world: World) -> None:
    """On both databases. The addresses given lead to what was stored."""
    headers = {"Authorization": f"Bearer {world.token(Role.SENDER, 'DP')}", "Content-Type": RELATED}
    files = {path.name: path.read_bytes() for path in (DATA / "CT_small.dcm", DATA / "MR_small.dcm")}
    answer = world.client().post("/dicom-web/studies", content=body(*files.values()), headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    assert set(answer.json()) == {REFERENCED}
    uids = [str(dcmread(io.BytesIO(file)).SOPInstanceUID) for file in files.values()]
    assert referenced(answer) == uids
    assert kept(world) == dict(zip(uids, files.values(), strict=True))
    reader = world.client("writer1")
    for item, file in zip(answer.json()[REFERENCED]["Value"], files.values(), strict=True):
        again = reader.get(item[URL]["Value"][0], headers={"Accept": "application/dicom"})
        assert again.content == file
    with world.context.db.reading() as session:
        assert set(session.scalars(select(Study.site_id))) == {world.site_ids["DP"]}


def test_a_study_in_the_address_is_the_only_one_taken(sender: TestClient, sqlite_world: World) -> None:
    sent = body(one("1.9.1"), one("1.9.2", "1.2.4"))
    answer = sender.post("/dicom-web/studies/1.2.3", content=sent)
    assert answer.status_code == 202
    assert answer.json()[URL]["Value"][0].endswith("/studies/1.2.3")
    assert (referenced(answer), reasons(answer)) == (["1.9.1"], [("1.9.2", 0xA901)])
    assert list(kept(sqlite_world)) == ["1.9.1"]
    none = sender.post("/dicom-web/studies/1.2.9", content=sent)
    assert (none.status_code, referenced(none)) == (409, [])
    assert "2 of 2 objects were not stored" in none.headers["warning"]


def test_what_is_kept_at_the_desk_is_told(sender: TestClient, sqlite_world: World) -> None:
    """Other bytes under a taken UID: 0111 (PS3.7 annex C); another patient's study: 0110."""
    assert sender.post("/dicom-web/studies", content=body(one("1.9.1"))).status_code == 200
    again = sender.post("/dicom-web/studies", content=body(one("1.9.1")))
    assert (again.status_code, referenced(again)) == (200, ["1.9.1"])
    sent = body(one("1.9.1", text=b"OTHER"), one("1.9.2", patient="P2"), one("1.9.3"))
    answer = sender.post("/dicom-web/studies", content=sent)
    assert (answer.status_code, referenced(answer)) == (202, ["1.9.3"])
    assert reasons(answer) == [("1.9.1", 0x0111), ("1.9.2", 0x0110)]
    with sqlite_world.context.db.reading() as session:
        assert sorted(session.scalars(select(Quarantined.reason))) == ["patient_conflict", "uid_conflict"]


def test_what_is_no_object_does_not_spoil_the_rest(sender: TestClient) -> None:
    """Parts without a SOP Instance UID are Other Failures (0008,119A)."""
    no_uid = file_of(build(t0020000D=b""), sop_instance="1.9.8")
    answer = sender.post("/dicom-web/studies", content=body(b"only words", b"", no_uid, one("1.9.1")))
    assert (answer.status_code, referenced(answer)) == (202, ["1.9.1"])
    assert reasons(answer, OTHERS) == [("", 0xC000), ("", 0xC000)]
    assert reasons(answer) == [("1.9.8", 0xA900)]
    declared = sender.post("/dicom-web/studies", content=body(one("1.9.2"), kind="image/jpeg"))
    assert (declared.status_code, reasons(declared, OTHERS)) == (409, [("", 0xC000)])


def test_a_bare_data_set_and_a_single_body(sender: TestClient, sqlite_world: World) -> None:
    bare = build(t00080018=element(0x00080018, "UI", b"1.9.5"))
    assert sender.post("/dicom-web/studies", content=body(bare)).status_code == 200
    file = one("1.9.6")
    alone = sender.post("/dicom-web/studies", content=file, headers={"Content-Type": "application/dicom"})
    assert (alone.status_code, referenced(alone)) == (200, ["1.9.6"])
    found = kept(sqlite_world)
    assert found["1.9.5"].endswith(bare)
    assert found["1.9.6"] == file


REFUSED = [
    ('multipart/related; type="application/dicom+json"; boundary=b', 415, "WrongMediaType"),
    ('multipart/related; type="application/dicom+xml"; boundary=b', 415, "WrongMediaType"),
    ("multipart/form-data; boundary=b", 415, "WrongMediaType"),
    ("application/json", 415, "WrongMediaType"),
    ('multipart/related; type="application/dicom"', 400, "BrokenBody"),
    (f'multipart/related; type="application/dicom"; boundary={"b" * 300}', 400, "BrokenBody"),
]


def test_bodies_that_cannot_be_taken(sender: TestClient, sqlite_world: World) -> None:
    for kind, status, code in REFUSED:
        answer = sender.post("/dicom-web/studies", content=body(one("1.9.1")), headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (status, code), kind
    xml = sender.post(
        "/dicom-web/studies", content=body(one("1.9.1")), headers={"Accept": "application/dicom+xml"}
    )
    assert xml.status_code == 406
    assert kept(sqlite_world) == {}


def test_bodies_that_break_off(sender: TestClient, sqlite_world: World) -> None:
    """What came whole is kept and said; when nothing did, the body is malformed."""
    nothing = [
        b"",
        b"\r\n",
        f"--{BOUNDARY}".encode(),
        b"--other--\r\n",
        body(one("1.9.1"))[:-60],
        b"x" * 70_000,
    ]
    for sent in nothing:
        answer = sender.post("/dicom-web/studies", content=sent)
        assert (answer.status_code, answer.json()["code"]) == (400, "BrokenBody"), sent[:40]
    empty = sender.post("/dicom-web/studies", content=f"--{BOUNDARY}--\r\n".encode())
    assert (empty.status_code, empty.json()["code"]) == (400, "NothingSent")
    cut = body(one("1.9.1"), one("1.9.2"))
    answer = sender.post("/dicom-web/studies", content=cut[: len(cut) - 300])
    assert (answer.status_code, referenced(answer)) == (202, ["1.9.1"])
    assert reasons(answer, OTHERS) == [("", 0xC000)]
    assert list(kept(sqlite_world)) == ["1.9.1"]


def test_a_body_over_the_limit(sqlite_world: World) -> None:
    """Stated lengths are refused at once; others when they pass the limit, and what came before stays."""
    for middleware in sqlite_world.app.user_middleware:
        if "limit" in middleware.kwargs:
            middleware.kwargs["limit"] = 3000
    token = sqlite_world.token(Role.SENDER, "DP")
    client = sqlite_world.client()
    client.headers |= {"Authorization": f"Bearer {token}", "Content-Type": RELATED}
    sent = body(one("1.9.1"), one("1.9.2", text=b"x" * 4000))
    assert client.post("/dicom-web/studies", content=sent).status_code == 413
    assert kept(sqlite_world) == {}

    def slowly() -> Iterator[bytes]:
        for at in range(0, len(sent), 100):
            yield sent[at : at + 100]

    answer = client.post("/dicom-web/studies", content=slowly())
    assert answer.status_code in {202, 413}


def test_who_may(sqlite_world: World) -> None:
    """As with uploads: senders and site staff, for their own site."""
    sent: dict[str, Any] = {"content": body(one("1.9.1")), "headers": {"Content-Type": RELATED}}
    assert sqlite_world.client().post("/dicom-web/studies", **sent).status_code == 401
    for login in ("writer1", "admin1"):
        assert sqlite_world.client(login).post("/dicom-web/studies", **sent).status_code == 403
    technician = sqlite_world.client("tech_dp")
    own, other = (sqlite_world.site_ids[code] for code in ("DP", "LP"))
    assert technician.post(f"/dicom-web/sites/{other}/studies", **sent).status_code == 404
    assert technician.post(f"/dicom-web/sites/{own}/studies", **sent).status_code == 200
    assert technician.post("/dicom-web/sites/dp/studies/1.2.3", **sent).status_code == 200
    forged = sqlite_world.client("tech_dp")
    del forged.headers["X-CSRF-Token"]
    assert forged.post("/dicom-web/studies", **sent).status_code == 403


def test_a_store_that_is_away_asks_for_the_same_again(
    sender: TestClient, sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise StoreUnreachable("away")

    with monkeypatch.context() as patched:
        patched.setattr(sqlite_world.context.store, "stage", away)
        answer = sender.post("/dicom-web/studies", content=body(one("1.9.1")))
        assert (answer.status_code, answer.json()["code"]) == (503, "StoreUnavailable")
    assert sender.post("/dicom-web/studies", content=body(one("1.9.1"))).status_code == 200


def test_rows_are_committed_together(sender: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven objects in batches of three; one is sent twice within the request."""
    monkeypatch.setattr(stow, "ENTERED_TOGETHER", 3)
    uids = [f"1.9.{number}" for number in range(1, 7)]
    answer = sender.post("/dicom-web/studies", content=body(*map(one, [*uids, "1.9.2"])))
    assert (answer.status_code, referenced(answer)) == (200, [*uids, "1.9.2"])


def chopped(content: bytes, size: int) -> Iterable[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


class TestParts:
    """Bodies that were put together by hand (RFC 2046 section 5.1.1)."""

    FILES = (b"", b"\r\n", b"--b", b"\r\n--a", b"ab\r\n--B\r\n", bytes(range(256)) * 9)

    def read(self, content: bytes, size: int, boundary: bytes = b"b") -> list[tuple[str, bytes]]:
        return [
            (part.media_type, b"".join(part.pieces())) for part in parts(chopped(content, size), boundary)
        ]

    def test_any_cut_gives_the_same_parts(self) -> None:
        content = b"preamble\r\n--b  \r\n\r\n"
        content += b"\r\n--b\r\nContent-Type: a/b;\r\n c=d\r\nX: y\r\n\r\n".join(self.FILES)
        content += b"\r\n--b--\r\nepilogue --b\r\n"
        expected = [("", self.FILES[0]), *(("a/b", file) for file in self.FILES[1:])]
        for size in (1, 2, 3, 5, 7, 64, 10_000):
            assert self.read(content, size) == expected, size

    def test_parts_that_nobody_reads_are_passed_over(self) -> None:
        content = b"--b\r\n\r\n" + b"x" * 100_000 + b"\r\n--b\r\n\r\ny\r\n--b--"
        assert len(list(parts(chopped(content, 1000), b"b"))) == 2

    def test_ten_thousand_parts(self) -> None:
        content = b"--b\r\n\r\n" + b"\r\n--b\r\n\r\n".join(b"%d" % n for n in range(10_000)) + b"\r\n--b--"
        found = self.read(content, 1 << 16)
        assert found == [("", b"%d" % n) for n in range(10_000)]

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"--b",
            b"--b\r\n",
            b"--b\r\n\r\nx",
            b"--b\r\n\r\nx\r\n--b",
            b"--bx\r\n\r\ny\r\n--b--",
            b"--b\r\nno colon\r\n\r\n\r\n--b--",
            b"--b\r\nA: " + b"x" * 20_000 + b"\r\n\r\n\r\n--b--",
            b"--b" + b" " * 20_000 + b"\r\n\r\n\r\n--b--",
            b"x" * 20_000 + b"\r\n--b--",
        ],
    )
    def test_broken_bodies(self, content: bytes) -> None:
        with pytest.raises(BrokenBody):
            self.read(content, 4096)

    def test_boundaries(self) -> None:
        for given, expected in (("x", b"x"), ('"a b"', b"a b"), ("==1==", b"==1==")):
            assert (
                multipart.boundary_of(multipart.content_type(f"multipart/related; boundary={given}"))
                == expected
            )
        for given in ("", '""', '"a;b"', "x" * 300):
            message = Message()
            message["content-type"] = f"multipart/related; boundary={given}"
            with pytest.raises(BrokenBody):
                multipart.boundary_of(message)


def site_of_its_own(world: World, code: str) -> None:
    with world.context.db.transaction() as session:
        world.site_ids[code] = sites.add_site(session, code, "x", now=world.clock(), actor=SETUP).id


def test_dicomweb_client_stores_searches_and_retrieves(archive: Archive, address: str) -> None:
    """Oracle: dicomweb-client; pydicom compares what comes back with what was sent."""
    world = archive.world
    site_of_its_own(world, "STOW")
    sending = requests.Session()
    sending.headers["Authorization"] = f"Bearer {world.token(Role.SENDER, 'STOW')}"
    client = DICOMwebClient(f"{address}/dicom-web", session=sending)
    sent = dcmread(Path(DATA / "CT_small.dcm"))
    sent.StudyInstanceUID, sent.SOPInstanceUID = "1.2.77", "1.2.77.1"
    sent.file_meta.MediaStorageSOPInstanceUID = sent.SOPInstanceUID
    report = client.store_instances([sent], study_instance_uid="1.2.77")
    assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == ["1.2.77.1"]
    reading = requests.Session()
    reading.cookies.update(archive.client().cookies)
    reader = DICOMwebClient(f"{address}/dicom-web", session=reading)
    (found,) = reader.search_for_instances("1.2.77")
    assert found["00080018"]["Value"] == ["1.2.77.1"]
    back = reader.retrieve_instance("1.2.77", str(sent.SeriesInstanceUID), "1.2.77.1")
    assert back == sent
    with world.context.db.reading() as session:
        rows = session.scalars(select(Series).join(Study).where(Study.study_uid == "1.2.77")).all()
        assert len(rows) == 1
