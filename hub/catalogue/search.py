"""Searching the index by DICOM attributes (PS3.4 section C.2.2.2), for DICOMweb."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.catalogue.models import Instance, Series, Study
from hub.catalogue.repository import CatalogueRepository

STUDY_COLUMNS: dict[str, InstrumentedAttribute[Any]] = {
    "StudyInstanceUID": Study.study_uid,
    "StudyDate": Study.study_date,
    "StudyTime": Study.study_time,
    "StudyDescription": Study.description,
    "AccessionNumber": Study.accession,
    "PatientID": Study.local_id,
    "PatientName": Study.patient_name,
    "PatientBirthDate": Study.birth_date,
    "PatientSex": Study.sex,
}
SERIES_COLUMNS: dict[str, InstrumentedAttribute[Any]] = {
    "SeriesInstanceUID": Series.series_uid,
    "Modality": Series.modality,
    "SeriesNumber": Series.number,
    "SeriesDescription": Series.description,
    "BodyPartExamined": Series.body_part,
}
INSTANCE_COLUMNS: dict[str, InstrumentedAttribute[Any]] = {
    "SOPInstanceUID": Instance.sop_uid,
    "SOPClassUID": Instance.sop_class,
    "InstanceNumber": Instance.number,
}
_COLUMNS = STUDY_COLUMNS | SERIES_COLUMNS | INSTANCE_COLUMNS

MODALITIES_IN_STUDY = "ModalitiesInStudy"


@dataclass(frozen=True, slots=True)
class Match:
    r"""One condition on one attribute.

    ``any_of``: one of `values`. ``wildcard``: one of the patterns, ``*`` and ``?``, case as
    written. ``name``: the same without regard to case. ``range``: from the first value to
    the second, both included; an empty one leaves that side open.
    """

    keyword: str
    kind: Literal["any_of", "wildcard", "name", "range"]
    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """Which of the matches to return."""

    limit: int
    offset: int = 0


class SearchRepository(CatalogueRepository):
    """Matching over what an actor may read. Studies without any DICOM object are left out."""

    def named(self, actor: Actor, study_uid: str, site_id: str | None) -> Sequence[Study]:
        """Return the readable studies with this UID that hold DICOM objects, of one site or of all."""
        return self.session.scalars(
            self._readable(actor, site_id).where(Study.study_uid == study_uid).order_by(Study.id)
        ).all()

    def studies(
        self, actor: Actor, matches: Iterable[Match], part: Slice, site_id: str | None = None
    ) -> Sequence[Study]:
        """Return matching studies, newest first."""
        statement = self._readable(actor, site_id).where(*map(self._condition, matches))
        statement = statement.order_by(Study.study_date.desc(), Study.study_time.desc(), Study.id.desc())
        return self.session.scalars(statement.limit(part.limit).offset(part.offset)).all()

    def series_found(
        self, actor: Actor, matches: Iterable[Match], part: Slice, site_id: str | None = None
    ) -> Sequence[tuple[Study, Series, int]]:
        """Return matching series with their study and their number of instances."""
        instances = (
            select(func.count())
            .select_from(Instance)
            .where(Instance.series_id == Series.id)
            .scalar_subquery()
        )
        statement = (
            self._readable(actor, site_id)
            .join(Series, Series.study_id == Study.id)
            .with_only_columns(Study, Series, instances)
            .where(*map(self._condition, matches))
            .order_by(Study.study_date.desc(), Study.id.desc(), Series.number, Series.series_uid)
        )
        rows = self.session.execute(statement.limit(part.limit).offset(part.offset))
        return [(study, series, count) for study, series, count in rows]

    def instances_found(
        self, actor: Actor, matches: Iterable[Match], part: Slice, site_id: str | None = None
    ) -> Sequence[tuple[Study, Series, Instance]]:
        """Return matching instances with their study and series."""
        statement = (
            self._readable(actor, site_id)
            .join(Series, Series.study_id == Study.id)
            .join(Instance, Instance.series_id == Series.id)
            .with_only_columns(Study, Series, Instance)
            .where(*map(self._condition, matches))
            .order_by(Study.id, Series.number, Series.series_uid, Instance.number, Instance.sop_uid)
        )
        rows = self.session.execute(statement.limit(part.limit).offset(part.offset))
        return [(study, series, instance) for study, series, instance in rows]

    def modalities(self, study_ids: Iterable[str]) -> dict[str, list[str]]:
        """Return the modalities of each study's series, in alphabetical order."""
        found: dict[str, list[str]] = {}
        statement = select(Series.study_id, Series.modality).where(Series.study_id.in_(list(study_ids)))
        for study_id, modality in self.session.execute(statement.distinct().order_by(Series.modality)):
            if modality:
                found.setdefault(study_id, []).append(modality)
        return found

    def has_noted(self, tag: Tag, actor_id: str, study_id: str, since: datetime) -> bool:
        """Tell whether the trail already says since then that somebody did this to a study."""
        statement = select(AuditEvent.seq).where(
            AuditEvent.subject_kind == "study",
            AuditEvent.subject_id == study_id,
            AuditEvent.tag == tag,
            AuditEvent.actor_id == actor_id,
            AuditEvent.at >= since,
        )
        return self.session.scalars(statement.limit(1)).first() is not None

    def _readable(self, actor: Actor, site_id: str | None) -> Select[Any]:
        statement = self.readable_studies(actor).where(Study.n_instances > 0)
        return statement if site_id is None else statement.where(Study.site_id == site_id)

    def _condition(self, match: Match) -> ColumnElement[bool]:
        if match.keyword == MODALITIES_IN_STUDY:
            # A table of its own, so that the condition also works where series are listed.
            other = Series.__table__.alias()
            return exists().where(other.c.study_id == Study.id, self._compared(other.c.modality, match))
        return self._compared(_COLUMNS[match.keyword], match)

    def _compared(self, column: Any, match: Match) -> ColumnElement[bool]:
        if match.kind == "any_of":
            return cast("ColumnElement[bool]", column.in_(match.values))
        if match.kind == "range":
            low, high = match.values
            bounds = [column != ""]
            if low:
                bounds.append(column >= low)
            if high:
                bounds.append(column <= high)
            return and_(*bounds)
        like = self._like_any_case if match.kind == "name" else self._like
        return or_(false(), *(like(column, str(value)) for value in match.values))

    def _like(self, column: Any, pattern: str) -> Any:
        """Match with regard to case, which SQLite does with GLOB only."""
        if self.session.get_bind().dialect.name == "sqlite":
            return column.op("GLOB", is_comparison=True)(pattern.replace("[", "[[]"))
        return column.like(_sql_pattern(pattern), escape="/")

    @staticmethod
    def _like_any_case(column: Any, pattern: str) -> Any:
        return func.lower(column).like(_sql_pattern(pattern.lower()), escape="/")


def _sql_pattern(pattern: str) -> str:
    escaped = pattern.replace("/", "//").replace("%", "/%").replace("_", "/_")
    return escaped.replace("*", "%").replace("?", "_")
