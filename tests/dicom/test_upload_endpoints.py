"""Files over HTTP. Oracle: the bytes that the store gives back, compared with those sent."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import select

from hub.auth.roles import Role
from hub.catalogue.models import Instance, Quarantined, Series, Study
from storage.errors import StoreUnreachable
from tests.dicom.samples import DATA, build, element, file_of
from tests.fixtures.world import World

CT = DATA / "CT_small.dcm"


def bearer(world: World, role: Role = Role.SENDER, site: str = "DP") -> dict[str, str]:
    return {"Authorization": f"Bearer {world.token(role, site)}"}


def parts(*paths: Path) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("files", (path.name, path.read_bytes(), "application/dicom")) for path in paths]


def stored(world: World) -> list[tuple[str, bytes]]:
    with world.context.db.reading() as session:
        rows = session.execute(
            select(Instance.storage_key, Study.site_id)
            .join(Series, Instance.series_id == Series.id)
            .join(Study, Study.id == Series.study_id)
        ).all()
        return [(site, world.context.store.get(key)) for key, site in rows]


def test_each_file_is_kept_as_sent_under_the_own_site(world: World) -> None:
    paths = [CT, DATA / "MR_small.dcm"]
    answer = world.client("tech_dp").post("/api/v1/dicom", files=parts(*paths))
    assert answer.status_code == 200, answer.text
    assert [(each["name"], each["outcome"]) for each in answer.json()["accepted"]] == [
        (path.name, "stored") for path in paths
    ]
    kept = stored(world)
    assert {content for _, content in kept} == {path.read_bytes() for path in paths}
    assert {site for site, _ in kept} == {world.site_ids["DP"]}


def test_a_single_body_and_a_second_sending(world: World) -> None:
    client, headers = world.client(), bearer(world) | {"Content-Type": "application/dicom"}
    for outcome in ("stored", "resent"):
        answer = client.post("/api/v1/dicom", content=CT.read_bytes(), headers=headers)
        assert answer.json()["accepted"] == [{"name": "", "outcome": outcome}]
    assert len(stored(world)) == 1


def test_a_bad_file_does_not_spoil_the_good_one(sqlite_world: World) -> None:
    files = [*parts(CT), ("files", ("notes.txt", b"no image at all, only words", "text/plain"))]
    answer = sqlite_world.client("tech_dp").post("/api/v1/dicom", files=files)
    assert answer.status_code == 202
    said = answer.json()
    assert [each["name"] for each in said["accepted"]] == ["CT_small.dcm"]
    assert [(each["name"], each["code"]) for each in said["refused"]] == [("notes.txt", "NotDicom")]
    assert "DICOM" in said["refused"][0]["message"]


def test_archives_and_empty_files_are_refused_by_name(sqlite_world: World) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.write(CT, "ct.dcm")
    files = [
        ("files", ("study.zip", archive.getvalue(), "application/zip")),
        ("files", ("empty.dcm", b"", "application/dicom")),
    ]
    answer = sqlite_world.client("tech_dp").post("/api/v1/dicom", files=files)
    assert answer.status_code == 422
    assert [each["code"] for each in answer.json()["refused"]] == ["ArchiveRefused", "EmptyFile"]
    assert answer.json()["message"]
    assert stored(sqlite_world) == []


def test_other_bytes_under_a_taken_uid_are_refused_and_kept_aside(sqlite_world: World) -> None:
    client = sqlite_world.client("tech_dp")
    first = file_of(build())
    second = file_of(build(t00081030=element(0x00081030, "LO", b"OTHER")))
    assert client.post("/api/v1/dicom", files={"files": ("a.dcm", first)}).status_code == 200
    answer = client.post("/api/v1/dicom", files={"files": ("b.dcm", second)})
    assert (answer.status_code, answer.json()["code"]) == (422, "UidConflict")
    with sqlite_world.context.db.reading() as session:
        assert session.scalars(select(Quarantined.reason)).all() == ["uid_conflict"]


def test_nothing_sent(sqlite_world: World) -> None:
    client = sqlite_world.client("tech_dp")
    assert client.post("/api/v1/dicom").json()["code"] == "NothingSent"
    assert client.post("/api/v1/dicom", files={"site": (None, "DP")}).json()["code"] == "NothingSent"


def test_the_site_is_checked_against_the_sender(sqlite_world: World) -> None:
    client = sqlite_world.client()
    headers = bearer(sqlite_world)
    other = client.post("/api/v1/dicom", files=parts(CT), data={"site": "LP"}, headers=headers)
    assert other.status_code == 404
    assert client.post("/api/v1/dicom?site=LP", files=parts(CT), headers=headers).status_code == 404
    assert (
        client.post("/api/v1/dicom", files=parts(CT), data={"site": "dp"}, headers=headers).status_code == 200
    )


def test_who_may_not(sqlite_world: World) -> None:
    assert sqlite_world.client().post("/api/v1/dicom", files=parts(CT)).status_code == 401
    for login in ("writer1", "admin1"):
        assert sqlite_world.client(login).post("/api/v1/dicom", files=parts(CT)).status_code == 403
    system = bearer(sqlite_world, Role.SITE_SYSTEM)
    assert sqlite_world.client().post("/api/v1/dicom", files=parts(CT), headers=system).status_code == 403
    forged = sqlite_world.client("tech_dp")
    del forged.headers["X-CSRF-Token"]
    assert forged.post("/api/v1/dicom", files=parts(CT)).status_code == 403
    assert stored(sqlite_world) == []


def test_a_store_that_does_not_answer_asks_for_the_same_again(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: object) -> None:
        raise StoreUnreachable("away")

    client = sqlite_world.client("tech_dp")
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_world.context.store, "stage", away)
        answer = client.post("/api/v1/dicom", files=parts(CT))
        assert (answer.status_code, answer.json()["code"]) == (503, "StoreUnavailable")
    assert client.post("/api/v1/dicom", files=parts(CT)).status_code == 200


def test_the_catalogue_says_the_bytes_it_holds(sqlite_world: World) -> None:
    sqlite_world.client("tech_dp").post("/api/v1/dicom", files=parts(CT))
    with sqlite_world.context.db.reading() as session:
        row = session.scalars(select(Instance)).one()
    assert row.sha256 == hashlib.sha256(CT.read_bytes()).hexdigest()
