"""Entering received DICOM objects into the index, one or many in one transaction."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.catalogue.arrival_repository import ArrivalRepository, InstanceRow, StudyRow
from hub.catalogue.models import Instance, Series, Study
from hub.catalogue.service import (
    InstanceFacts,
    Origin,
    Outcome,
    StoredFile,
    announce,
    other_patient,
    quarantine,
    study_modality,
)
from hub.config import Settings
from hub.db.direct import place_of
from hub.db.writing import Transaction, session_of
from hub.kit.ids import new_id

KEPT_AFTER_MOVE = timedelta(hours=1)
"""How long an object stays that nothing points at any more: somebody may be reading it."""


@dataclass(frozen=True, slots=True)
class Twin:
    """What comparing an arrival with the object that has its UID already has shown.

    Attributes
    ----------
    sha256 : str
        Of the file that was here and was compared.
    same : bool
        Both files hold the same data set; only their headers differ, as when two
        application entities send one object.
    """

    sha256: str
    same: bool


@dataclass(frozen=True, slots=True)
class Arrival:
    """One DICOM object whose file lies in the object store, durable.

    Attributes
    ----------
    dataset_offset : int
        Where the data set begins in the file, in bytes.
    twin : Twin, optional
        Known once its outcome was `Outcome.DIFFERENT` and the data sets were compared.
    """

    facts: InstanceFacts
    file: StoredFile
    dataset_offset: int
    origin: Origin
    twin: Twin | None = None
    same_patient: bool = False
    """Two people have said that it is the study's own patient, whatever it states."""


def register_many(
    at: Transaction,
    arrivals: Sequence[Arrival],
    *,
    settings: Settings,
    now: datetime,
    announced: bool = True,
) -> list[Outcome]:
    """Enter DICOM objects whose bytes are already durable; one outcome each, in their order.

    Rows, audit and the jobs that settle studies are written in the caller's transaction;
    only after its commit may the senders be told Success. The result is that of entering
    them one by one: the same object several times, in one call or in several at once in any
    number of processes, makes one row. The studies' rows stay locked until the transaction
    ends, so nobody else adds to them meanwhile.

    An arrival with the UID of an object that is here in another file comes back as
    `Outcome.DIFFERENT` and nothing is written for it: whether both hold the same data set
    takes reading them, which nobody should wait for. `hub.catalogue.twins.enter` compares
    outside the transaction and enters it again.

    An ECG study is complete with the batch, other studies when they have been quiet. With
    `announced` False nobody is told of the studies and nothing settles them; it is for
    making a catalogue anew, where the caller does that.
    """
    return _Batch(at, settings, now, announced=announced).enter(arrivals) if arrivals else []


@dataclass(slots=True)
class _Growing:
    """A study of the batch and what it gains."""

    row: StudyRow
    begun_here: bool
    instances: int = 0
    series: int = 0
    seen: set[tuple[str, str, float]] = field(default_factory=set)
    """Patients that are known to be the study's own."""


class _Batch:
    """What one call reads first, decides in the order of arrival, and writes at the end."""

    def __init__(self, at: Transaction, settings: Settings, now: datetime, *, announced: bool) -> None:
        self._at = at
        self._repository = ArrivalRepository(at)
        self._settings = settings
        self._now = now
        self._announced = announced
        self._studies: dict[tuple[str, str], _Growing] = {}
        self._series: dict[tuple[str, str], str] = {}
        self._instances: dict[tuple[str, str], InstanceRow] = {}
        self._new_series: list[dict[str, Any]] = []
        self._new_instances: list[dict[str, Any]] = []
        self._series_gains: Counter[str] = Counter()
        self._resends: Counter[str] = Counter()
        self._superseded: set[str] = set()

    def enter(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        self._at.flush()  # the statements here do not do it by themselves
        self._open_studies(arrivals)
        self._series, self._instances = self._repository.objects(
            [study.row.id for study in self._studies.values()],
            {arrival.facts.series_uid for arrival in arrivals},
            {arrival.facts.sop_uid for arrival in arrivals},
        )
        outcomes = [self._decide(arrival) for arrival in arrivals]
        self._write()
        return outcomes

    def _open_studies(self, arrivals: Sequence[Arrival]) -> None:
        """Lock the studies, making those that are not here from their first object."""
        first = {(one.origin.site_id, one.facts.study_uid): one for one in reversed(arrivals)}
        known = self._repository.studies(first.keys())
        made = {
            key: _study_values(arrival, self._settings, self._now)
            for key, arrival in first.items()
            if key not in known
        }
        if made:
            self._repository.insert_studies(list(made.values()))
        if made or place_of(self._at).dialect.name != "sqlite":  # its only writer is this one
            known = self._repository.studies(first.keys(), lock=True)
        self._studies = {
            key: _Growing(row, begun_here=key in made and made[key]["id"] == row.id)
            for key, row in known.items()
        }

    def _decide(self, arrival: Arrival) -> Outcome:
        facts, file = arrival.facts, arrival.file
        study = self._studies[arrival.origin.site_id, facts.study_uid]
        series_id = self._series.get((study.row.id, facts.series_uid))
        known = self._instances.get((series_id, facts.sop_uid)) if series_id else None
        # What is filed already was decided, perhaps by people: sent again it raises nothing.
        filed = known is not None and known.sha256 == file.sha256
        if not filed and not arrival.same_patient and self._is_other_patient(study, facts):
            self._set_apart("patient_conflict", arrival, study.row.id)
            return Outcome.OTHER_PATIENT
        if known is None:
            self._store(arrival, study, series_id)
            return Outcome.STORED
        twin = arrival.twin
        if filed or (twin and twin.same and twin.sha256 == known.sha256):
            self._resends[known.id] += 1
            if file.key != known.key:  # what is here lies in a pack, or under the name of another header
                self._superseded.add(file.key)
            self._audit(Tag.INSTANCE_DUPLICATE, arrival, known.id)
            return Outcome.RESENT
        if twin is None or twin.sha256 != known.sha256:
            return Outcome.DIFFERENT
        self._set_apart("uid_conflict", arrival, known.id)
        return Outcome.CONFLICT

    def _is_other_patient(self, study: _Growing, facts: InstanceFacts) -> bool:
        patient = (facts.local_id, facts.patient_name, facts.name_confidence)
        if patient in study.seen:
            return False
        took_it_from_this = study.begun_here and not study.instances
        if not took_it_from_this and other_patient(study.row, facts):
            return True
        study.seen.add(patient)
        return False

    def _store(self, arrival: Arrival, study: _Growing, series_id: str | None) -> None:
        facts = arrival.facts
        if series_id is None:
            values = _series_values(study.row.id, facts)
            series_id = self._series[study.row.id, facts.series_uid] = values["id"]
            self._new_series.append(values)
            study.series += 1
        values = _instance_values(series_id, arrival, self._now)
        self._instances[series_id, facts.sop_uid] = InstanceRow(
            values["id"], arrival.file.sha256, arrival.file.key
        )
        self._new_instances.append(values)
        self._series_gains[series_id] += 1
        study.instances += 1
        self._audit(Tag.INSTANCE_RECEIVE, arrival, values["id"], sha256=arrival.file.sha256)

    def _write(self) -> None:
        write = self._repository
        grown = [study for study in self._studies.values() if study.instances]
        if self._new_series:
            write.insert_series(self._new_series)
        if self._new_instances:
            write.insert_instances(self._new_instances)
            write.grow_series(self._series_gains)
            write.grow_studies([self._gain(study) for study in grown])
        if self._resends:
            write.count_resends(self._resends)
        write.forget(Study, [study.row.id for study in grown])
        write.forget(Series, self._series_gains)
        write.forget(Instance, self._resends)
        write.retire(self._superseded, self._now + KEPT_AFTER_MOVE)
        for study in grown if self._announced else ():
            announce(
                self._at,
                study.row.id,
                first=study.begun_here or study.row.settled,
                seconds=self._settings.settle_for(study.row.modality),
                now=self._now,
            )

    def _gain(self, study: _Growing) -> dict[str, Any]:
        quiet = timedelta(seconds=self._settings.settle_for(study.row.modality))
        return {
            "study": study.row.id,
            "instances": study.instances,
            "series": study.series,
            "now": self._now,
            "due": self._now + quiet,
        }

    def _set_apart(self, reason: str, arrival: Arrival, subject_id: str) -> None:
        facts = arrival.facts
        quarantine(
            session_of(self._at),
            kind="dicom",
            reason=reason,
            files=[arrival.file],
            origin=arrival.origin,
            now=self._now,
            study_uid=facts.study_uid,
            sop_uid=facts.sop_uid,
            transfer_syntax=facts.transfer_syntax,
        )
        self._audit(Tag.CONFLICT_RAISE, arrival, subject_id, reason=reason)

    def _audit(self, tag: Tag, arrival: Arrival, subject_id: str, **facts: str) -> None:
        audit.record(
            self._at,
            tag,
            actor=arrival.origin.actor,
            subject_kind="instance",
            subject_id=subject_id,
            site_id=arrival.origin.site_id,
            address=arrival.origin.address,
            sop_uid=arrival.facts.sop_uid,
            **facts,
        )


def _study_values(arrival: Arrival, settings: Settings, now: datetime) -> dict[str, Any]:
    facts = arrival.facts
    modality = study_modality(facts.modality)
    return {
        "id": new_id(),
        "site_id": arrival.origin.site_id,
        "study_uid": facts.study_uid,
        "local_id": facts.local_id[:64],
        "patient_name": facts.patient_name[:200],
        "name_charset": facts.name_charset[:32],
        "name_confidence": facts.name_confidence,
        "name_raw": facts.name_raw,
        "declared_charset": facts.declared_charset[:64],
        "sex": facts.sex[:1],
        "birth_date": facts.birth_date[:8],
        "accession": facts.accession[:64],
        "study_number": facts.study_number[:64],
        "referring_name": facts.referring_name[:200],
        "study_date": facts.study_date[:8],
        "study_time": facts.study_time[:16],
        "description": facts.study_description[:200],
        "modality": modality,
        "body_part": facts.body_part[:64],
        "clinical_question": facts.clinical_question,
        "urgency": facts.urgency,
        "chest_pain": facts.chest_pain,
        "onset_at": facts.onset_at,
        "first_received_at": now,
        "last_received_at": now,
        "settle_due_at": now + timedelta(seconds=settings.settle_for(modality)),
    }


def _series_values(study_id: str, facts: InstanceFacts) -> dict[str, Any]:
    return {
        "id": new_id(),
        "study_id": study_id,
        "series_uid": facts.series_uid,
        "modality": facts.modality[:16],
        "number": facts.series_number,
        "description": facts.series_description[:200],
        "body_part": facts.body_part[:64],
        "performed_date": facts.performed_date[:8],
        "performed_time": facts.performed_time[:16],
        "step_id": facts.step_id[:64],
        "procedure_id": facts.procedure_id[:64],
    }


def _instance_values(series_id: str, arrival: Arrival, now: datetime) -> dict[str, Any]:
    facts, file, origin = arrival.facts, arrival.file, arrival.origin
    return {
        "id": new_id(),
        "series_id": series_id,
        "sop_uid": facts.sop_uid,
        "sop_class": facts.sop_class,
        "transfer_syntax": facts.transfer_syntax,
        "number": facts.instance_number,
        "rows": facts.rows,
        "columns": facts.columns,
        "frames": facts.frames,
        "storage_key": file.key,
        "storage_offset": 0,
        "size": file.size,
        "sha256": file.sha256,
        "dataset_offset": arrival.dataset_offset,
        "device_id": origin.device_id,
        "calling_ae": origin.calling_ae,
        "address": origin.address,
        "received_at": now,
        "resends": 0,
    }
