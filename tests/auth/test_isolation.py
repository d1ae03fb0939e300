"""A township sees only its own: people and machines of 龙坪 call everything with what belongs to 东陂."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from hub.auth import service as accounts
from hub.auth.models import UserAccount
from hub.auth.roles import Role
from hub.catalogue import service as catalogue
from hub.catalogue.repository import CatalogueRepository
from hub.catalogue.service import StoredFile
from hub.config import Settings
from hub.context import Context
from hub.db.session import Database
from hub.delivery import service as delivery
from hub.reports.models import Report, SignedReport
from hub.sites import service as sites
from hub.sites.repository import SiteRepository
from hub.worklist.states import State
from storage.memory import MemoryStore
from tests.auth.test_permissions import ENDLESS, addresses, filled
from tests.fixtures.database import TestClock
from tests.fixtures.world import SETUP, World, build

NAME, LOCAL_ID = "欧阳东陂", "DPSECRET1"
FORM = {
    "item": "x",
    "keep": "kept_first",
    "reason": "x",
    "belongs": "1",
    "code": "other",
    "text": "x",
    "comment": "x",
    "password": "x",
}
"""What the changes ask for, so that they get as far as looking for the thing."""
REFUSED = (403, 404)
CALLERS = ("doctor_lp", "tech_lp", "sender", "site-system")


@dataclass
class Secrets:
    """What belongs to 东陂: values for paths, and words that nobody else may read."""

    paths: list[dict[str, str]]
    words: set[str]


@pytest.fixture(scope="module")
def county(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, password_hash: str
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("isolation")
    shutil.copyfile(sqlite_template, folder / "hub.db")
    clock, database = TestClock(), Database(f"sqlite:///{folder / 'hub.db'}")
    settings = Settings(data_dir=folder, database_url=database.url)
    world = build(Context(settings, database, MemoryStore(), clock), clock, password_hash)
    with world.context.db.transaction() as session:
        user = UserAccount(login="tech_lp", name="梁技师", password_hash=password_hash, created_at=clock())
        session.add(user)
        session.flush()
        day = clock().date().replace(year=2020)
        accounts.add_post(session, user, Role.TECHNICIAN, world.site_ids["LP"], valid_from=day, actor=SETUP)
    yield world
    database.dispose()


@pytest.fixture(scope="module")
def secrets(county: World) -> Secrets:
    """One of everything at 东陂."""
    who = {"name": NAME, "local_id": LOCAL_ID}
    seen = {"patient_name": NAME, "local_id": LOCAL_ID}
    ordered = county.order(**who)
    contradicted = county.register(accession=county.order(**who).number, sex="M", **seen)
    late = county.register(**seen)
    county.run_jobs()
    unmatched, receiving = county.exam_of(contradicted), county.exam_of(late)
    assert (unmatched.state, receiving.state) == (State.UNMATCHED, State.RECEIVING)
    complete, ecg = county.complete_exam(**seen), county.complete_ecg(**seen)
    with county.context.db.transaction() as session:
        index = CatalogueRepository(session)
        study = index.study(complete.study_id or "")
        assert study is not None
        ((series, instance), *_) = index.instances_of_study(study.id)
        signed = enter_signed(county, session, complete.id, study.id)
        device_site = SiteRepository(session).site(county.site_ids["DP"])
        assert device_site is not None
        device = sites.add_device(session, device_site, "DPONLY", now=county.clock(), actor=SETUP)
        item = catalogue.quarantine(
            session,
            kind="dicom",
            reason="UidMissing",
            files=[StoredFile("k", 1, "0" * 64)],
            origin=county.origin("DP"),
            now=county.clock(),
        )
    common = {
        "study_uid": study.study_uid,
        "series_uid": series.series_uid,
        "sop_uid": instance.sop_uid,
        "frames": "1",
        "frame": "1",
        "path": "1",
        "item_id": item.id,
        "study_id": study.id,
        "device_id": device.id,
        "site_id": county.site_ids["DP"],
        "user_id": county.user_ids["doctor_dp"],
    }
    exams = [ordered, unmatched, receiving, complete, ecg]
    paths = [
        {**common, "exam_id": name, "report_id": name}
        for name in (ordered.id, unmatched.id, receiving.number, complete.id, ecg.number)
    ]
    paths.append({**common, "exam_id": complete.id, "report_id": signed, "site_id": county.site_ids["LP"]})
    words = {NAME, LOCAL_ID, study.study_uid, series.series_uid, instance.sop_uid, signed, item.id}
    return Secrets(paths, words | {exam.number for exam in exams} | {exam.id for exam in exams})


def enter_signed(world: World, session: Any, exam_id: str, study_id: str) -> str:
    """A signed report in the site's inbox; the document itself does not matter here."""
    del study_id
    now, writer = world.clock(), world.user_ids["writer1"]
    report = Report(
        exam_id=exam_id,
        findings="x",
        impression="x",
        positive=False,
        saved_at=now,
        saved_by=writer,
        saved_by_name="x",
    )
    session.add(report)
    session.flush()
    stored = world.context.store.put("reports/secret.pdf", b"%PDF-1.7 secret")
    signed = SignedReport(
        report_id=report.id,
        exam_id=exam_id,
        site_id=world.site_ids["DP"],
        version=1,
        content="{}",
        content_sha256="0" * 64,
        writer_id=writer,
        signer_id=world.user_ids["reviewer1"],
        signer_name="x",
        signer_serial="1",
        signed_at=now,
        pdf_key=stored.key,
        pdf_size=stored.size,
        pdf_sha256=stored.sha256,
    )
    session.add(signed)
    session.flush()
    exam = world.exam(exam_id)
    session.merge(exam).state = "signed"
    session.flush()
    delivery.deliver(session, signed.id, now=now)
    return signed.id


def caller(world: World, who: str) -> TestClient:
    if who in {"sender", "site-system"}:
        client = world.client()
        client.headers["Authorization"] = f"Bearer {world.token(Role(who), 'LP')}"
        return client
    return world.client(who)


def leaks(secrets: Secrets, answer: Any, address: str) -> list[str]:
    """Words of 东陂 in an answer that the caller did not say himself."""
    return sorted(word for word in secrets.words if word in answer.text and word not in address)


@pytest.mark.parametrize("who", CALLERS)
def test_nothing_of_another_site_by_its_id(county: World, secrets: Secrets, who: str) -> None:
    client, wrong, asked = caller(county, who), set(), set()
    for method, path, _ in addresses(county.app.routes):
        if "{" not in path or path.endswith(ENDLESS):
            continue  # streams stay silent for other sites: tests of the site's page hold them to it
        stores = method == "POST" and path.startswith("/dicom-web")
        for values in secrets.paths:
            if stores and ("{site_id}" not in path or values["site_id"] == county.site_ids["LP"]):
                continue  # into the own site: the UID is only what the sent objects have to state
            address = filled(path, values)
            if (method, address) in asked:
                continue  # these two exams differ in nothing that the address names
            asked.add((method, address))
            answer = client.request(method, address, data=FORM if method == "POST" else None)
            empty_match = path.startswith("/dicom-web") and answer.text in {"", "[]"}
            if leaks(secrets, answer, address) or not (answer.status_code in REFUSED or empty_match):
                wrong.add((method, path, answer.status_code))
    assert wrong == set()


@pytest.mark.parametrize("who", CALLERS)
def test_no_listing_names_another_site(county: World, secrets: Secrets, who: str) -> None:
    client, wrong = caller(county, who), set()
    site = county.site_ids["DP"]
    for method, path, _ in addresses(county.app.routes):
        if method != "GET" or "{" in path or path.endswith(ENDLESS):
            continue
        for query in ("", f"?site={site}", "?site=DP", f"?site_id={site}", f"?text={NAME}", f"?q={NAME}"):
            answer = client.get(path + query)
            if leaks(secrets, answer, path + query):
                wrong.add((path, query, answer.status_code))
    assert wrong == set()


@pytest.mark.parametrize("who", CALLERS)
@pytest.mark.parametrize("site", ["DP", "id"])
def test_no_change_at_another_site_by_naming_it(county: World, secrets: Secrets, who: str, site: str) -> None:
    client = caller(county, who)
    named = county.site_ids["DP"] if site == "id" else site
    order = {"site": named, "local_id": "N1", "name": "某人", "sex": "F", "modality": "DX"}
    for path, body in (("/site/orders", order), ("/site/patients", {"site": named, "text": NAME})):
        answer = client.post(path, data=body)
        assert answer.status_code in {*REFUSED, 422} or not leaks(secrets, answer, NAME), path
        assert LOCAL_ID not in answer.text
    person = {"local_id": "N1", "name": "某人", "sex": "F"}
    answer = client.post("/api/v1/orders", json={**order, "patient": person})
    assert answer.status_code in {*REFUSED, 422}
    for path in ("/api/v1/dicom", "/api/v1/ecg"):
        answer = client.post(path, data={"site": named}, files={"file": ("a.dcm", b"x")})
        assert answer.status_code in {*REFUSED, 422, 400}
    with county.context.db.reading() as session:
        from hub.patients.repository import PatientRepository

        assert PatientRepository(session).by_local_id(county.site_ids["DP"], "N1") is None


def test_the_site_itself_sees_them(county: World, secrets: Secrets) -> None:
    """The words are there to be leaked: 东陂's own technician reads them."""
    client = county.client("tech_dp")
    assert NAME in client.get("/site").text
    assert NAME in client.get("/desk").text
    assert any(client.get(f"/site/exams/{values['exam_id']}").status_code == 200 for values in secrets.paths)
