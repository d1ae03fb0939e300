"""What lies in an object store, told without a database: files, where they came from, notes beside them."""

import hashlib
import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from itertools import groupby
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from hub.catalogue import keys
from hub.catalogue.packs import damaged_parts, read_manifest
from hub.catalogue.places import Place, open_place
from hub.catalogue.service import NewRecording, StoredFile
from hub.dicom.header import InstanceHeader, read_header
from hub.dicom.part10 import split
from hub.ecg.ingest import clean, digest_of, sex_of
from hub.ecg.read import read_ecg
from hub.errors import HubError, Rejected, Retriable
from storage.base import ObjectStore, Stat, sha256_of
from storage.errors import ObjectNotFound, StorageError

Facts = dict[str, Any]


UNUSABLE = (
    HubError,
    StorageError,
    SQLAlchemyError,
    OSError,
    LookupError,
    AttributeError,
    TypeError,
    ValueError,
)
"""What reading and entering things that nobody vouches for may raise."""


class FileAltered(Rejected):
    """The stored file is not the one that its key names."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A DICOM file that is whole, and what is known of its arrival.

    Attributes
    ----------
    start : int
        Where its data set begins in it, in bytes.
    facts : dict
        As `hub.catalogue.notes.instance_facts` wrote them; empty without a note.
    """

    place: Place
    start: int
    header: InstanceHeader
    calling_ae: str
    received_at: datetime
    facts: Facts


@dataclass(slots=True)
class FoundStudy:
    """The files of one study of one site, those in packs first, and its note."""

    site_code: str
    study_uid: str
    files: list[FoundFile] = field(default_factory=list)
    packs: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Key to size and SHA-256."""
    note: Facts = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Keys of what cannot be used, with the reason."""


def studies(store: ObjectStore) -> Iterator[FoundStudy]:
    """Yield what there is of each DICOM study, in order of site and UID."""

    def rest(found: Stat) -> str:
        return found.key.partition("/")[2]

    def owner(found: Stat) -> tuple[str, str]:
        site_code, _, study = rest(found).partition("/")
        return site_code, study.partition("/")[0]

    every = heapq.merge(store.list(keys.PACKS), store.list(keys.INSTANCES), key=rest)
    for (site_code, study_uid), group in groupby(every, owner):
        yield _study(store, site_code, study_uid, list(group))


def read_note(store: ObjectStore, site_code: str, study_uid: str) -> Facts:
    """Return the note of a study; empty when there is none that can be read."""
    try:
        note = json.loads(store.get(keys.note_key(site_code, study_uid)))
    except (StorageError, HubError, ValueError):
        return {}
    return note if isinstance(note, dict) and isinstance(note.get("study"), dict) else {}


def _study(store: ObjectStore, site_code: str, study_uid: str, objects: Sequence[Stat]) -> FoundStudy:
    study = FoundStudy(site_code, study_uid, note=read_note(store, site_code, study_uid))
    known = {facts["sha256"]: facts for facts in study.note.get("instances", [])}
    for found in sorted(objects, key=lambda found: not found.key.startswith(keys.PACKS)):
        try:
            if found.key.startswith(keys.PACKS):
                _add_pack(store, study, found, known)
            else:
                _add_loose(store, study, found, known)
        except UNUSABLE as error:
            if passes(error):
                raise
            study.problems.append((found.key, reason_of(error)))
    there = {file.place.sha256 for file in study.files}
    for sha256, facts in known.items():
        if sha256 not in there:
            study.problems.append((f"{site_code}/{study_uid}/{facts['sop_uid']}", "missing"))
    return study


def _add_pack(store: ObjectStore, study: FoundStudy, found: Stat, known: dict[str, Facts]) -> None:
    """Add the whole members of a pack."""
    manifest = read_manifest(store, found.key)
    members = manifest["members"]
    places = [Place(found.key, each["offset"], each["size"], each["sha256"]) for each in members]
    sha256, damaged = damaged_parts(store, found.key, places)
    study.packs[found.key] = (found.size, sha256)
    if not study.note:
        study.note = {"study": manifest["study"]}
    for member, place in zip(members, places, strict=True):
        name = f"{found.key} {member['name']}"
        if place.offset in damaged:
            study.problems.append((name, "damaged"))
            continue
        try:
            facts = known.get(place.sha256) or member
            study.files.append(_opened(store, place, facts, datetime.fromisoformat(member["received_at"])))
        except HubError as error:
            study.problems.append((name, reason_of(error)))


def _add_loose(store: ObjectStore, study: FoundStudy, found: Stat, known: dict[str, Facts]) -> None:
    """Add a file that lies alone, if it is what its key says."""
    sha256 = sha256_of(store, found.key)
    if f"-{sha256[: keys.HASH_LENGTH]}." not in found.key:
        study.problems.append((found.key, "damaged"))
        return
    facts = known.get(sha256, {})
    at = datetime.fromisoformat(facts["received_at"]) if facts else found.modified
    study.files.append(_opened(store, Place(found.key, 0, found.size, sha256), facts, at))


def _opened(store: ObjectStore, place: Place, facts: Facts, received_at: datetime) -> FoundFile:
    charset = (facts.get("device") or {}).get("charset")
    with open_place(store, place) as stream:
        meta, start = split(stream)
        header = read_header(stream, meta.transfer_syntax, charset, sop_class=meta.sop_class, start=start)
    return FoundFile(place, start, header, facts.get("calling_ae", meta.source_ae), received_at, facts)


def recordings(store: ObjectStore) -> Iterator[tuple[str, str, list[Stat]]]:
    """Yield (site code, beginning of the digest, objects) of each ECG."""

    def folder(found: Stat) -> tuple[str, str]:
        _, site_code, digest_start, *_ = [*found.key.split("/"), "", ""]
        return site_code, digest_start

    for (site_code, digest_start), group in groupby(store.list(keys.RECORDINGS), folder):
        yield site_code, digest_start, list(group)


def open_recording(store: ObjectStore, objects: Sequence[Stat]) -> dict[str, bytes]:
    """Return the files of an ECG in their order, with the names that a WFDB header states.

    Raises
    ------
    FileAltered
        One is not what its key says.
    ObjectNotFound
        One is gone.
    """
    contents = [store.get(found.key) for found in objects]
    for found, content in zip(objects, contents, strict=True):
        if f"-{hashlib.sha256(content).hexdigest()[: keys.HASH_LENGTH]}." not in found.key:
            raise FileAltered(key=found.key)
    return dict(zip(_names(contents), contents, strict=True))


def noted_recording(study_uid: str, study: Facts, facts: Facts) -> NewRecording:
    """Return an ECG as its study's note tells of it."""
    started = facts["started_at"]
    return NewRecording(
        study_uid=study_uid,
        digest=facts["digest"],
        format=facts["format"],
        files=tuple(StoredFile(**file) for file in facts["files"]),
        started_at=datetime.fromisoformat(started) if started else None,
        rate_hz=facts["rate_hz"],
        n_samples=facts["n_samples"],
        leads=tuple(facts["leads"]),
        warnings=tuple(facts["warnings"]),
        **{name: study[name] for name in ("local_id", "patient_name", "sex", "birth_date")},
    )


def read_recording(files: dict[str, bytes], kept: Sequence[StoredFile], zone: tzinfo) -> NewRecording:
    """Return an ECG as its own files tell of it; its study's UID is left open.

    Raises
    ------
    HubError
        They cannot be read.
    """
    waveform = read_ecg(files)
    started, patient = waveform.started_at, waveform.patient
    if started is not None and started.tzinfo is None:
        started = started.replace(tzinfo=zone)
    return NewRecording(
        study_uid="",
        digest=digest_of({file.name: file.sha256 for file in kept}),
        format=waveform.format,
        files=tuple(kept),
        started_at=started,
        rate_hz=waveform.rate_hz,
        n_samples=waveform.n_samples,
        leads=waveform.leads,
        warnings=waveform.warnings,
        local_id=clean(patient.local_id),
        patient_name=clean(patient.name),
        sex=sex_of(patient.sex),
        birth_date=patient.birth_date if len(patient.birth_date) == 8 else "",  # noqa: PLR2004 - YYYYMMDD
    )


def _names(contents: Sequence[bytes]) -> list[str]:
    """Return the names of files that lie in their order, as the WFDB header among them states them."""
    for at, content in enumerate(contents):
        try:
            lines = [
                line for line in content.decode("ascii").splitlines() if line and not line.startswith("#")
            ]
            record, count = lines[0].split()[:2]
            names = sorted({line.split()[0] for line in lines[1 : 1 + int(count)]})
        except (UnicodeDecodeError, ValueError, IndexError):
            continue
        if len(names) == len(contents) - 1:
            return [*names[:at], f"{record.partition('/')[0]}.hea", *names[at:]]
    return [f"file{number:02d}" for number in range(len(contents))]


def passes(error: Exception) -> bool:
    """Tell whether the same attempt may succeed later: the store or the database does not answer."""
    return isinstance(error, Retriable) or (isinstance(error, StorageError) and error.retriable)


def reason_of(error: Exception) -> str:
    """Return in a word why an object cannot be used."""
    if isinstance(error, ObjectNotFound):
        return "missing"
    return error.code if isinstance(error, HubError) else type(error).__name__
