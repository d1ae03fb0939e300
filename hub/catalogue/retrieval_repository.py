"""Finding what a DICOMweb address names, in as few statements as possible.

A viewer asks for each frame by itself, so these run thousands of times for one CT.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, and_, bindparam, func, select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue.looked_up import looked_up
from hub.catalogue.models import Instance, Series, Study
from hub.catalogue.repository import CatalogueRepository, readable_studies
from hub.db.direct import Direct, Statements
from hub.db.session import Database

_OF_STUDY = ("id", "study_uid", "site_id", "local_id", "last_received_at", "settled_at")
_OF_SERIES = ("id", "study_id", "series_uid", "metadata_key", "metadata_tag")
_OF_INSTANCE = (
    "id",
    "series_id",
    "sop_uid",
    "transfer_syntax",
    "number",
    "rows",
    "columns",
    "frames",
    "storage_key",
    "storage_offset",
    "size",
    "sha256",
    "device_id",
)
"""Columns that DICOMweb answers are made from: half of the time went into the others."""

_SERIES_AT = len(_OF_STUDY)
_INSTANCE_AT = _SERIES_AT + len(_OF_SERIES)

_statements = Statements()
"""By the sites that `readable_studies` depends on, and whether one of them is asked for."""


@dataclass(frozen=True, slots=True)
class Addressed:
    """A readable study with the series and the instance of an address, as far as they are there.

    They hold the columns that answers are made from; asking for another one fails.
    """

    study: Study
    series: Series | None
    instance: Instance | None


def addressed(
    database: Database,
    actor: Actor,
    site_id: str | None,
    uids: tuple[str, str, str],
) -> list[Addressed]:
    """Return the readable studies with this UID that hold DICOM objects, of one site or of all.

    Each once, with its series and instance of the given UIDs beside it: whether an
    address names one study must not depend on which of them has such an instance.

    Parameters
    ----------
    uids : tuple
        Of study, series and instance; empty text for what is not asked for.
    """
    statement = _addressed(actor, one_site=site_id is not None)
    asked = dict(zip(("study_uid", "series_uid", "sop_uid"), uids, strict=True), site=site_id)
    found = []
    for row in statement.look(database, asked):
        of_study, of_series, of_instance = row[:_SERIES_AT], row[_SERIES_AT:_INSTANCE_AT], row[_INSTANCE_AT:]
        found.append(
            Addressed(
                looked_up(Study, _OF_STUDY, of_study),
                looked_up(Series, _OF_SERIES, of_series) if of_series[0] is not None else None,
                looked_up(Instance, _OF_INSTANCE, of_instance) if of_instance[0] is not None else None,
            )
        )
    return found


def _addressed(actor: Actor, *, one_site: bool) -> Direct:
    """Return the statement for what an actor may read; it is made once, because that takes longest."""
    key = (actor.sites_for(Permission.IMAGES_VIEW), one_site)
    return _statements.of(key, lambda: _written(actor, one_site=one_site))


def _written(actor: Actor, *, one_site: bool) -> Any:
    of_series = and_(Series.study_id == Study.id, Series.series_uid == bindparam("series_uid"))
    of_instance = and_(Instance.series_id == Series.id, Instance.sop_uid == bindparam("sop_uid"))
    columns = (
        *(getattr(Study, name) for name in _OF_STUDY),
        *(getattr(Series, name) for name in _OF_SERIES),
        *(getattr(Instance, name) for name in _OF_INSTANCE),
    )
    statement: Any = (
        readable_studies(actor)
        .outerjoin(Series, of_series)
        .outerjoin(Instance, of_instance)
        .with_only_columns(*columns)
        .where(Study.study_uid == bindparam("study_uid"), Study.n_instances > 0)
        .order_by(Study.id)
    )
    return statement.where(Study.site_id == bindparam("site")) if one_site else statement


def neighbours(database: Database, series_id: str, numbers: tuple[int, int], most: int) -> list[Instance]:
    """Return instances of a series whose Instance Number lies between two, both included."""
    asked = {"series": series_id, "low": numbers[0], "high": numbers[1], "most": most}
    return [looked_up(Instance, _OF_INSTANCE, row) for row in _neighbours.look(database, asked)]


_neighbours = Direct(
    select(*(getattr(Instance, name) for name in _OF_INSTANCE))
    .where(
        Instance.series_id == bindparam("series"),
        Instance.number.between(bindparam("low"), bindparam("high")),
    )
    .order_by(Instance.number, Instance.id)
    .limit(bindparam("most", type_=Integer))
)


class RetrievalRepository(CatalogueRepository):
    """What DICOMweb asks for besides."""

    def last_noted(self, tag: Tag, actor_id: str, study_id: str, since: datetime) -> datetime | None:
        """Return when the trail last says, at `since` or later, that somebody did this to a study."""
        return self.session.scalar(
            select(func.max(AuditEvent.at)).where(
                AuditEvent.subject_kind == "study",
                AuditEvent.subject_id == study_id,
                AuditEvent.tag == tag,
                AuditEvent.actor_id == actor_id,
                AuditEvent.at >= since,
            )
        )
