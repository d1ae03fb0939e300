"""What every process of the hub holds: settings, database, object store, clock."""

from dataclasses import dataclass

from hub.config import Settings
from hub.db.session import Database
from hub.kit.clock import Clock, utcnow
from storage.base import ObjectStore
from storage.factory import open_store


@dataclass(frozen=True)
class Context:
    """The parts that are made once per process and handed to whoever works."""

    settings: Settings
    db: Database
    store: ObjectStore
    clock: Clock = utcnow


def open_context(settings: Settings, clock: Clock = utcnow) -> Context:
    """Open the database and the object store that the settings name."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    store = open_store(
        settings.store,
        endpoint=settings.s3_endpoint,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
        secure=settings.s3_secure,
    )
    return Context(settings, Database(settings.database), store, clock)
