"""A day at the hub with everything logged, in a process of its own; run by `test_logs`."""

import contextlib
import logging
import sys
from pathlib import Path

from hub.audit.service import ActorRef
from hub.auth.passwords import hash_password
from hub.config import Settings
from hub.context import open_context
from hub.db import migrate
from hub.dicom.listening import start_listening
from hub.errors import HubError
from hub.jobs.testing import run_pending
from hub.kit import log
from hub.processes import dicom_services
from hub.sites import service as sites
from hub.sites.repository import SiteRepository
from tests.dicom.samples import CT_CLASS, EXPLICIT, build, element, file_of
from tests.fixtures.database import TestClock
from tests.fixtures.ports import free_port
from tests.fixtures.world import PASSWORD
from tests.fixtures.world import build as build_county

NAME = "ZZSECRET^NAME"
NUMBER = "ZZSECRET7"


def objects() -> dict[str, bytes]:
    """Data sets that all name the patient: a good one, one that cannot be filed, one that is broken."""
    named = {
        "t00100010": element(0x00100010, "PN", NAME.encode()),
        "t00100020": element(0x00100020, "LO", NUMBER.encode()),
    }
    without_study = build(**named, t00080018=element(0x00080018, "UI", b"1.2.9.2"), t0020000D=b"")
    broken = build(**named, t00080018=element(0x00080018, "UI", b"1.2.9.3"))[:-60] + b"ZZSECRET"
    good = build(**named, t00080018=element(0x00080018, "UI", b"1.2.9.1"))
    return {"1.2.9.1": good, "1.2.9.2": without_study, "1.2.9.3": broken}


def push(port: int, ae_title: str, dataset: bytes, sop_instance: str) -> None:
    """Send raw data set bytes by C-STORE, as a device would."""
    from pynetdicom import AE

    entity = AE(ae_title=ae_title)
    entity.add_requested_context(CT_CLASS, EXPLICIT)
    association = entity.associate("127.0.0.1", port, ae_title="HUB")
    path = Path(sys.argv[1]) / f"{sop_instance}.dcm"
    path.write_bytes(file_of(dataset, sop_instance=sop_instance))
    with contextlib.suppress(Exception):
        association.send_c_store(path)
    association.release()


def main() -> None:
    folder = Path(sys.argv[1])
    log.configure("debug", "json")
    for library in ("pynetdicom", "pydicom", "fastapi", "starlette", "multipart", "hub", "storage"):
        logging.getLogger(library).setLevel(logging.INFO)
    settings = Settings(data_dir=folder, log_level="debug", dicom_bind=f"127.0.0.1:{free_port()}")
    migrate.create_all(settings.database)
    clock = TestClock()
    context = open_context(settings, clock)
    world = build_county(context, clock, hash_password(PASSWORD))
    with context.db.transaction() as session:
        site = SiteRepository(session).site(world.site_ids["DP"])
        assert site is not None
        sites.add_device(session, site, "CT1", now=clock(), actor=ActorRef("system", "t", "t"))

    listener = start_listening(context, dicom_services(context))
    for uid, dataset in objects().items():
        push(listener.port, "CT1", dataset, uid)
        push(listener.port, "STRANGER", dataset, uid)
    listener.shutdown()
    world.settle()
    browse(world)
    with contextlib.suppress(HubError):
        run_pending(context, skip_delays=True, raise_errors=False)


def browse(world: object) -> None:
    """Order, upload, search, read and write with that name, rightly and wrongly."""
    from tests.fixtures.world import World

    assert isinstance(world, World)
    doctor, admin, writer = world.client("doctor_dp"), world.client("admin1"), world.client("writer1")
    order = {"site": "DP", "name": NAME, "local_id": NUMBER, "sex": "F", "modality": "CT"}
    for changes in ({}, {"sex": "?"}, {"birth_date": NUMBER}, {"id_number": NUMBER}, {"site": NUMBER}):
        doctor.post("/site/orders", data={**order, **changes})
    doctor.post("/site/patients", data={"site": "DP", "text": NAME})
    doctor.get("/site", params={"text": NAME})
    doctor.get(f"/site/exams/{NUMBER}")
    for dataset in objects().values():
        doctor.post("/api/v1/dicom", data={"site": "DP"}, files={"file": (f"{NUMBER}.dcm", file_of(dataset))})
        doctor.post("/api/v1/ecg", data=order, files={"file": (f"{NUMBER}.hea", dataset)})
    world.settle()
    admin.get("/desk")
    world.client("auditor1").get("/audit", params={"patient": NAME})
    exam = world.claimed("writer1", patient_name=NAME, local_id=NUMBER)
    for draft in ({"fields": {"findings": NAME, "impression": NAME}, "version": 0}, {"fields": NAME}, NAME):
        writer.post(f"/exams/{exam.id}/draft", json=draft)
    writer.post(f"/exams/{exam.id}/submit")
    reviewer = world.client("reviewer1")
    reviewer.get(f"/reviews/{exam.id}")
    reviewer.post(f"/exams/{exam.id}/sign", data={"password": NUMBER})
    writer.get("/dicom-web/studies", params={"PatientName": NAME})


if __name__ == "__main__":
    main()
