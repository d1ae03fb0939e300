"""Finding what a DICOMweb address names, in as few statements as possible.

A viewer asks for each frame by itself, so these run thousands of times for one CT.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, select
from sqlalchemy.orm import load_only

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue.models import Instance, Series, Study
from hub.catalogue.repository import CatalogueRepository

_WHAT_IS_NEEDED = (
    load_only(Study.study_uid, Study.site_id, Study.local_id, Study.last_received_at, Study.settled_at),
    load_only(Series.study_id, Series.series_uid, Series.metadata_key, Series.metadata_tag),
    load_only(
        Instance.series_id,
        Instance.sop_uid,
        Instance.transfer_syntax,
        Instance.rows,
        Instance.columns,
        Instance.frames,
        Instance.storage_key,
        Instance.storage_offset,
        Instance.size,
        Instance.sha256,
        Instance.device_id,
    ),
)
"""Columns that DICOMweb answers are made from: half of the time went into the others."""

_MOST_STATEMENTS = 500
_statements: dict[tuple[frozenset[str] | None, bool], Select[Any]] = {}
"""Made statements by the sites that `readable_studies` depends on."""


@dataclass(frozen=True, slots=True)
class Addressed:
    """A readable study with the series and the instance of an address, as far as they are there."""

    study: Study
    series: Series | None
    instance: Instance | None


class RetrievalRepository(CatalogueRepository):
    """What an actor may read, by the UIDs of an address."""

    def addressed(
        self, actor: Actor, site_id: str | None, study_uid: str, series_uid: str = "", sop_uid: str = ""
    ) -> Sequence[Addressed]:
        """Return the readable studies with this UID that hold DICOM objects, of one site or of all.

        Each once, with its series and instance of the given UIDs beside it: whether an
        address names one study must not depend on which of them has such an instance.
        """
        statement = self._addressed(actor, one_site=site_id is not None)
        asked = {"study_uid": study_uid, "series_uid": series_uid, "sop_uid": sop_uid, "site": site_id}
        return [Addressed(*row) for row in self.session.execute(statement, asked)]

    def _addressed(self, actor: Actor, *, one_site: bool) -> Select[Any]:
        """Return the statement for what an actor may read; it is made once, because that takes longest."""
        key = (actor.sites_for(Permission.IMAGES_VIEW), one_site)
        if key in _statements:
            return _statements[key]
        of_series = and_(Series.study_id == Study.id, Series.series_uid == bindparam("series_uid"))
        of_instance = and_(Instance.series_id == Series.id, Instance.sop_uid == bindparam("sop_uid"))
        statement: Any = (
            self.readable_studies(actor)
            .outerjoin(Series, of_series)
            .outerjoin(Instance, of_instance)
            .with_only_columns(Study, Series, Instance)
            .where(Study.study_uid == bindparam("study_uid"), Study.n_instances > 0)
            .order_by(Study.id)
            .options(*_WHAT_IS_NEEDED)
        )
        if one_site:
            statement = statement.where(Study.site_id == bindparam("site"))
        if len(_statements) >= _MOST_STATEMENTS:
            _statements.clear()
        _statements[key] = statement
        return _statements[key]

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
