"""Searching and gathering for Query/Retrieve: what a device may see, and what of it matches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, false, func, select, tuple_

from hub.catalogue.models import Instance, Series, Study
from hub.catalogue.search import Match, SearchRepository, barred_column
from hub.sites.service import DeviceKnown

SOP_CLASSES_IN_STUDY = "SOPClassesInStudy"


class Level(IntEnum):
    """Levels of the information models, from above (PS3.4 section C.6)."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


@dataclass(frozen=True, slots=True)
class Found:
    """One match: the row of its level and those above. Of a patient the latest study stands for it."""

    study: Study
    series: Series | None = None
    instance: Instance | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object that is to be sent, without its row."""

    instance_id: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    study_id: str
    study_uid: str
    site_id: str
    local_id: str


@dataclass(frozen=True, slots=True)
class PatientTotals:
    """What a device may see of one patient."""

    studies: int
    series: int
    instances: int


class RetrieveRepository(SearchRepository):
    """What devices ask for. Studies without any DICOM object are left out."""

    def retrievable_studies(self, device: DeviceKnown, *, indexed: bool = True) -> Select[Any]:
        """Return the studies this device may see; every listing for a device starts here.

        Without `indexed` no index of sites is used for it.
        """
        statement = select(Study).where(Study.n_instances > 0)
        if device.query_scope == "all":
            return statement
        if device.query_scope == "site":
            site = Study.site_id if indexed else barred_column(Study.site_id)
            return statement.where(site == device.site_id)
        return statement.where(false())

    def matching(self, device: DeviceKnown, level: Level, matches: Sequence[Match], most: int) -> list[str]:
        """Return the row ids of at most `most` matches: studies newest first, patients by number.

        The ids are those of series and instances at their levels, of a study at the
        others: of a patient the latest one that matches. Patients without a patient id
        are no patients that could be asked for, and left out.
        """
        statement = self._joined(device, level, matches)
        newest = (Study.study_date.desc(), Study.study_time.desc(), Study.id.desc())
        if level is Level.PATIENT:
            statement = (
                statement.where(Study.local_id != "")
                .with_only_columns(func.max(Study.id))
                .group_by(Study.site_id, Study.local_id)
                .order_by(Study.site_id, Study.local_id)  # an index has this order: only so many are read
            )
        elif level is Level.STUDY:
            statement = statement.with_only_columns(Study.id).order_by(*newest)
        elif level is Level.SERIES:
            statement = statement.with_only_columns(Series.id).order_by(
                *newest, Series.number, Series.series_uid
            )
        else:
            statement = statement.with_only_columns(Instance.id).order_by(
                *newest, Series.number, Series.series_uid, Instance.number, Instance.sop_uid
            )
        return list(self.session.scalars(statement.limit(most)))

    def found(self, level: Level, ids: Sequence[str]) -> list[Found]:
        """Return what `matching` found, in its order; rows that are gone since are left out."""
        rows: dict[str, Found] = {}
        if level is Level.IMAGE:
            statement = (
                select(Study, Series, Instance)
                .join(Series, Series.study_id == Study.id)
                .join(Instance, Instance.series_id == Series.id)
                .where(Instance.id.in_(ids))
            )
            rows = {row[2].id: Found(*row) for row in self.session.execute(statement)}
        elif level is Level.SERIES:
            joined = select(Study, Series).join(Series, Series.study_id == Study.id).where(Series.id.in_(ids))
            rows = {row[1].id: Found(*row) for row in self.session.execute(joined)}
        else:
            studies = self.session.scalars(select(Study).where(Study.id.in_(ids)))
            rows = {study.id: Found(study) for study in studies}
        return [rows[row_id] for row_id in ids if row_id in rows]

    def patient_totals(
        self, device: DeviceKnown, patients: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], PatientTotals]:
        """Count what a device may see of patients, given and returned by (site id, local id)."""
        statement = (
            self.retrievable_studies(device)
            .with_only_columns(
                Study.site_id,
                Study.local_id,
                func.count(),
                func.sum(Study.n_series),
                func.sum(Study.n_instances),
            )
            .where(tuple_(Study.site_id, Study.local_id).in_(list(patients)))
            .group_by(Study.site_id, Study.local_id)
        )
        return {
            (site_id, local_id): PatientTotals(int(studies), int(series), int(instances))
            for site_id, local_id, studies, series, instances in self.session.execute(statement)
        }

    def sop_classes(self, study_ids: Iterable[str]) -> dict[str, list[str]]:
        """Return the SOP classes of each study's objects."""
        found: dict[str, list[str]] = {}
        statement = (
            select(Series.study_id, Instance.sop_class)
            .join(Instance, Instance.series_id == Series.id)
            .where(Series.study_id.in_(list(study_ids)))
            .distinct()
            .order_by(Instance.sop_class)
        )
        for study_id, sop_class in self.session.execute(statement):
            found.setdefault(study_id, []).append(sop_class)
        return found

    def wanted(self, device: DeviceKnown, matches: Sequence[Match], most: int) -> list[Wanted]:
        """Return at most `most` objects below the patients, studies, series or objects named."""
        statement = (
            self._joined(device, Level.IMAGE, matches)
            .with_only_columns(
                Instance.id,
                Instance.sop_uid,
                Instance.sop_class,
                Instance.transfer_syntax,
                Study.id,
                Study.study_uid,
                Study.site_id,
                Study.local_id,
            )
            .order_by(Study.id, Series.number, Series.series_uid, Instance.number, Instance.sop_uid)
        )
        rows: Any = self.session.execute(statement.limit(most))
        return [Wanted(*row) for row in rows]

    def instances_by_id(self, ids: Sequence[str]) -> dict[str, Instance]:
        """Return instances by their row ids."""
        rows = self.session.scalars(select(Instance).where(Instance.id.in_(ids)))
        return {instance.id: instance for instance in rows}

    def _joined(self, device: DeviceKnown, level: Level, matches: Sequence[Match]) -> Select[Any]:
        statement = self._narrowed(lambda indexed: self.retrievable_studies(device, indexed=indexed), matches)
        if level >= Level.SERIES:
            statement = statement.join(Series, Series.study_id == Study.id)
        if level >= Level.IMAGE:
            statement = statement.join(Instance, Instance.series_id == Series.id)
        return statement

    def _condition(self, match: Match, *, barred: bool = False) -> ColumnElement[bool]:
        if match.keyword == SOP_CLASSES_IN_STUDY:
            series, instance = Series.__table__.alias(), Instance.__table__.alias()
            return exists().where(
                series.c.study_id == Study.id,
                instance.c.series_id == series.c.id,
                instance.c.sop_class.in_(match.values),
            )
        return super()._condition(match, barred=barred)
