"""The DICOMweb service over real files: one site for each, because several share their UIDs."""

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
import uvicorn
from pydicom import dcmread
from sqlalchemy import select
from starlette.testclient import TestClient

from hub.catalogue.models import Instance, Series, Study
from hub.config import Settings
from hub.context import Context
from hub.db.session import Database
from hub.dicom import ingest
from hub.kit.uids import new_uid
from hub.sites import service as sites
from storage.memory import MemoryStore
from tests.dicom.samples import DATA
from tests.fixtures.database import TestClock
from tests.fixtures.world import SETUP, World, build

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class Filed:
    """A file as the service knows it."""

    path: Path
    root: str
    study_uid: str
    series_uid: str
    sop_uid: str
    instance: Instance

    @property
    def url(self) -> str:
        """Path of the instance."""
        return f"{self.root}/studies/{self.study_uid}/series/{self.series_uid}/instances/{self.sop_uid}"


class Archive:
    """The service, and what was filed in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.filed: dict[str, Filed] = {}

    def file(self, path: Path, code: str) -> Filed:
        """File one object under a site of its own."""
        world = self.world
        with world.context.db.transaction() as session:
            world.site_ids[code] = sites.add_site(session, code, code, now=world.clock(), actor=SETUP).id
        ingest.file_upload(world.context, BytesIO(path.read_bytes()), world.origin(code), code)
        with world.context.db.reading() as session:
            study, series, instance = session.execute(
                select(Study, Series, Instance)
                .join(Series, Series.study_id == Study.id)
                .join(Instance, Instance.series_id == Series.id)
                .where(Study.site_id == world.site_ids[code])
            ).one()
        root = f"/dicom-web/sites/{world.site_ids[code]}"
        filed = Filed(path, root, study.study_uid, series.series_uid, instance.sop_uid, instance)
        self.filed[path.name] = filed
        return filed

    def client(self, login: str = "writer1") -> TestClient:
        """A browser of somebody."""
        return self.world.client(login)


def with_uids(path: Path, folder: Path) -> Path:
    """The file itself, or a copy with the UIDs without which nothing is filed."""
    dataset = dcmread(path)
    missing = [
        name
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
        if not dataset.get(name)
    ]
    if not missing:
        return path
    for name in missing:
        setattr(dataset, name, SECONDARY_CAPTURE if name == "SOPClassUID" else new_uid())
    dataset.save_as(folder / path.name)
    return folder / path.name


@pytest.fixture(scope="module")
def archive(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, password_hash: str
) -> Iterator[Archive]:
    """Every file of tests/data/dicom, filed as an upload."""
    folder = tmp_path_factory.mktemp("archive")
    shutil.copyfile(sqlite_template, folder / "hub.db")
    database = Database(f"sqlite:///{folder / 'hub.db'}", pool_size=10)
    clock = TestClock()
    context = Context(Settings(data_dir=folder, database_url=database.url), database, MemoryStore(), clock)
    archive = Archive(build(context, clock, password_hash))
    for number, path in enumerate(sorted(DATA.glob("*.dcm"))):
        archive.file(with_uids(path, folder), f"F{number:02d}")
    yield archive
    database.dispose()


@pytest.fixture(scope="module")
def address(archive: Archive) -> Iterator[str]:
    """Address of a real server over the archive."""
    config = uvicorn.Config(archive.world.app, host="127.0.0.1", port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)
