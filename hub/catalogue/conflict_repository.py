"""Queries about objects that contradict what is filed: another patient in a study, a UID with other bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, select

from hub.catalogue.models import Instance, Quarantined, Series, Study
from hub.db.repository import Repository

OTHER_PATIENT, OTHER_BYTES = "patient_conflict", "uid_conflict"


@dataclass(frozen=True)
class Contested:
    """A study under which objects of another patient came."""

    study: Study
    objects: int
    proposed: int
    """How many of them wait for a second person only."""
    latest: datetime


class ConflictRepository(Repository):
    """Open conflicts. A listing takes the sites it may show; None means all."""

    def contested(self, sites: frozenset[str] | None) -> Sequence[Contested]:
        """Return the studies with open objects of another patient, the latest first."""
        latest = func.max(Quarantined.at)
        statement = (
            select(Study, func.count(Quarantined.id), func.count(Quarantined.proposed_at), latest)
            .join(Quarantined, _open_objects_of_another())
            .group_by(Study.id)
            .order_by(latest.desc())
        )
        if sites is not None:
            statement = statement.where(Study.site_id.in_(sites))
        return [Contested(*row) for row in self.session.execute(statement)]

    def is_contested(self, study_id: str) -> bool:
        """Tell whether objects of another patient came under a study and nobody has decided yet."""
        statement = select(Quarantined.id).join(Study, _open_objects_of_another())
        return self.session.scalar(statement.where(Study.id == study_id).limit(1)) is not None

    def foreign_objects(self, study: Study) -> Sequence[Quarantined]:
        """Return the open objects of another patient under a study, in order of arrival."""
        return self.session.scalars(
            select(Quarantined)
            .where(
                Quarantined.resolved_at.is_(None),
                Quarantined.reason == OTHER_PATIENT,
                Quarantined.site_id == study.site_id,
                Quarantined.study_uid == study.study_uid,
            )
            .order_by(Quarantined.at, Quarantined.id)
        ).all()

    def clashes(self, sites: frozenset[str] | None, limit: int = 500) -> Sequence[Quarantined]:
        """Return the open objects whose UID is taken by other bytes, newest first."""
        statement = (
            select(Quarantined)
            .where(Quarantined.resolved_at.is_(None), Quarantined.reason == OTHER_BYTES)
            .order_by(Quarantined.at.desc())
            .limit(limit)
        )
        if sites is not None:
            statement = statement.where(Quarantined.site_id.in_(sites))
        return self.session.scalars(statement).all()

    def holder(self, item: Quarantined) -> tuple[Series, Instance] | None:
        """Return the filed object that has the UID of a quarantined one, with its series."""
        row = self.session.execute(
            select(Series, Instance)
            .join(Instance, Instance.series_id == Series.id)
            .join(Study, Study.id == Series.study_id)
            .where(
                Study.site_id == item.site_id,
                Study.study_uid == item.study_uid,
                Instance.sop_uid == item.sop_uid,
            )
            .limit(1)
        ).first()
        return (row[0], row[1]) if row else None


def _open_objects_of_another() -> ColumnElement[bool]:
    return and_(
        Quarantined.resolved_at.is_(None),
        Quarantined.reason == OTHER_PATIENT,
        Quarantined.site_id == Study.site_id,
        Quarantined.study_uid == Study.study_uid,
    )
