"""What is known of a study and stands in none of its files.

It is kept beside them when the study settles, so that a lost database can be made anew.
"""

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import Session

from hub.catalogue.keys import note_key
from hub.catalogue.models import Instance, Recording, Study
from hub.catalogue.pack_repository import PackRepository
from hub.catalogue.repository import CatalogueRepository
from hub.context import Context
from hub.db.base import Base
from hub.sites.models import Device, Site

_NOT_OF_STUDY = frozenset({"id", "site_id", "name_raw", "n_series", "n_instances", "n_recordings"})
_NOT_OF_RECORDING = frozenset({"id", "study_id"})
"""Columns that are counted or read from the files, or mean nothing in another database."""

_OF_INSTANCE = frozenset(
    {"sop_uid", "size", "sha256", "dataset_offset", "calling_ae", "address", "received_at", "resends"}
)
"""Columns that the file itself does not fill."""

OF_DEVICE = ("ae_title", "address", "label", "charset")

Facts = dict[str, Any]


def study_facts(study: Study, site: Site) -> Facts:
    """Return a study's row as plain values, with its site."""
    return {"site": site.code, "site_name": site.name, **_plain(study, _columns(Study) - _NOT_OF_STUDY)}


def instance_facts(instance: Instance, device: Device | None) -> Facts:
    """Return how an instance came here, as plain values."""
    facts = _plain(instance, _OF_INSTANCE)
    if device is not None:
        facts["device"] = {name: getattr(device, name) for name in OF_DEVICE}
    return facts


def recording_facts(recording: Recording) -> Facts:
    """Return a recording's row as plain values."""
    return _plain(recording, _columns(Recording) - _NOT_OF_RECORDING)


def devices_of(session: Session, instances: Collection[Instance]) -> dict[str, Device]:
    """Return the devices that sent instances, by row id."""
    return dict(PackRepository(session).devices({row.device_id for row in instances if row.device_id}))


def write_note(context: Context, study_id: str) -> str:
    """Keep a settled study's note in the store; return its key, empty when the study is not settled."""
    with context.db.reading() as session:
        found = PackRepository(session).settled(study_id)
        if found is None:
            return ""
        study, site = found
        repository = CatalogueRepository(session)
        instances = [instance for _, instance in repository.instances_of_study(study_id)]
        devices = devices_of(session, instances)
        note = {
            "study": study_facts(study, site),
            "instances": [instance_facts(row, devices.get(row.device_id or "")) for row in instances],
            "recordings": [recording_facts(row) for row in repository.recordings(study_id)],
        }
    key = note_key(site.code, study.study_uid)
    context.store.put(key, json.dumps(note, ensure_ascii=False, indent=1).encode())
    return key


def _columns(model: type[Base]) -> frozenset[str]:
    return frozenset(inspect(model).columns.keys())


def _plain(row: Base, names: frozenset[str]) -> Facts:
    values = {name: getattr(row, name) for name in sorted(names)}
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()
    }
