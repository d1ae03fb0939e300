"""Finding what a DICOMweb address names, in as few statements as possible.

A viewer asks for each frame by itself, so these run thousands of times for one CT.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.catalogue.models import Instance, Series, Study
from hub.catalogue.repository import CatalogueRepository


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
        of_series = and_(Series.study_id == Study.id, Series.series_uid == series_uid)
        of_instance = and_(Instance.series_id == Series.id, Instance.sop_uid == sop_uid)
        statement = (
            self.readable_studies(actor)
            .outerjoin(Series, of_series)
            .outerjoin(Instance, of_instance)
            .with_only_columns(Study, Series, Instance)
            .where(Study.study_uid == study_uid, Study.n_instances > 0)
            .order_by(Study.id)
        )
        if site_id is not None:
            statement = statement.where(Study.site_id == site_id)
        return [Addressed(*row) for row in self.session.execute(statement)]

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
