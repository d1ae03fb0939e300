"""Queries about how patients' names are read, and what people corrected."""

from collections.abc import Sequence

from sqlalchemy import or_, select, update

from hub.catalogue.models import Instance, NameCorrection, Series, Study
from hub.db.repository import Repository
from hub.kit.people import searchable_name
from hub.kit.text import UNSURE_BELOW


class CorrectionRepository(Repository):
    """Doubtful names and their corrections. A listing takes the sites it may show; None means all."""

    def corrections(self, study_id: str) -> Sequence[NameCorrection]:
        """Return the corrections of a study, newest first, undone ones too."""
        return self.session.scalars(
            select(NameCorrection)
            .where(NameCorrection.study_id == study_id)
            .order_by(NameCorrection.at.desc(), NameCorrection.id.desc())
        ).all()

    def standing(self, study_id: str) -> NameCorrection | None:
        """Return the correction by which a study has its name now, None when it is as read."""
        return self.session.scalars(
            select(NameCorrection)
            .where(NameCorrection.study_id == study_id, NameCorrection.undone_at.is_(None))
            .order_by(NameCorrection.at.desc(), NameCorrection.id.desc())
            .limit(1)
        ).first()

    def find(self, sites: frozenset[str] | None, text: str, limit: int = 50) -> Sequence[Study]:
        """Return studies by accession number, patient number, Study UID or part of the name, newest first."""
        statement = (
            select(Study)
            .where(
                or_(
                    Study.accession == text,
                    Study.local_id == text,
                    Study.study_uid == text,
                    Study.name_key.contains(searchable_name(text), autoescape=True),
                )
            )
            .order_by(Study.first_received_at.desc())
            .limit(limit)
        )
        if sites is not None:
            statement = statement.where(Study.site_id.in_(sites))
        return self.session.scalars(statement).all()

    def devices_of(self, study_id: str) -> Sequence[str]:
        """Return the row ids of the devices that sent a study."""
        return [
            device
            for device in self.session.scalars(
                select(Instance.device_id)
                .join(Series, Series.id == Instance.series_id)
                .where(Series.study_id == study_id, Instance.device_id.is_not(None))
                .distinct()
            )
            if device
        ]

    def unsure_of_device(self, device_id: str, limit: int = 200) -> Sequence[Study]:
        """Return the studies of a device whose names are doubtful and were kept as received, newest first."""
        sent = (
            select(Series.study_id)
            .join(Instance, Instance.series_id == Series.id)
            .where(Instance.device_id == device_id)
        )
        return self.session.scalars(
            select(Study)
            .where(Study.id.in_(sent), Study.name_confidence < UNSURE_BELOW, Study.name_raw != b"")
            .order_by(Study.first_received_at.desc())
            .limit(limit)
        ).all()

    def forget_descriptions(self, device_id: str) -> int:
        """Let the stored descriptions of a device's series be made anew; return how many."""
        sent = select(Instance.series_id).where(Instance.device_id == device_id)
        changed = self.session.execute(
            update(Series)
            .where(Series.id.in_(sent), Series.metadata_key != "")
            .values(metadata_key="", metadata_tag="")
            .execution_options(synchronize_session=False)
        )
        return int(changed.rowcount)  # type: ignore[attr-defined]
