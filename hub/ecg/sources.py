"""Where the ECGs of a study lie, and reading them back from the store."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydicom import uid
from sqlalchemy.orm import Session

from hub.catalogue.places import Place, place_of, read_place
from hub.catalogue.repository import CatalogueRepository
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Waveform
from hub.errors import StoreUnavailable
from storage.base import ObjectStore
from storage.errors import StorageError

ECG_CLASSES = frozenset(
    {
        uid.TwelveLeadECGWaveformStorage,
        uid.GeneralECGWaveformStorage,
        uid.General32bitECGWaveformStorage,
        uid.AmbulatoryECGWaveformStorage,
    }
)
"""SOP classes that hold an ECG (PS3.4 B.5)."""


@dataclass(frozen=True)
class EcgSource:
    """One ECG of a study: a recording of files, or a DICOM waveform object."""

    id: str
    received_at: datetime
    files: Mapping[str, Place]
    """File name to where it lies."""


def ecg_sources(session: Session, study_id: str) -> list[EcgSource]:
    """Return the ECGs of a study, oldest first."""
    repository = CatalogueRepository(session)
    found = [
        EcgSource(
            row.id,
            row.received_at,
            {file["name"]: Place(file["key"], 0, file["size"], file["sha256"]) for file in row.files},
        )
        for row in repository.recordings(study_id)
    ]
    found += [
        EcgSource(row.id, row.received_at, {f"{row.sop_uid}.dcm": place_of(row)})
        for _, row in repository.instances_of_study(study_id)
        if row.sop_class in ECG_CLASSES
    ]
    return sorted(found, key=lambda source: (source.received_at, source.id))


def load(store: ObjectStore, source: EcgSource) -> Waveform:
    """Read one ECG as calibrated millivolts.

    Raises
    ------
    StoreUnavailable
        The object store does not answer.
    hub.errors.Rejected
        The files cannot be read as an ECG.
    """
    try:
        files = {name: read_place(store, place) for name, place in source.files.items()}
    except StorageError as error:
        raise StoreUnavailable from error
    return read_ecg(files)
