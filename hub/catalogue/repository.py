"""Every query about studies, series, instances, recordings and quarantine."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Select, false, func, or_, select

from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue.models import Instance, Quarantined, Recording, Series, Study
from hub.db.repository import Repository
from hub.kit.text import UNSURE_BELOW

LEFT_OUT = ("discarded", "kept_first", "kept_both")
"""Decisions about a conflict that hold for the same bytes when they come again."""

UIDS_PER_QUERY = 500


def readable_studies(actor: Actor) -> Select[Study]:
    """Return the studies this actor may see; every listing for a person starts here."""
    sites = actor.sites_for(Permission.IMAGES_VIEW)
    statement = select(Study)
    if sites is None:
        return statement
    # No IN: `hub.db.direct` takes statements with a known number of values.
    return statement.where(or_(false(), *(Study.site_id == site for site in sorted(sites))))


class CatalogueRepository(Repository):
    """The index of what was received."""

    def study_of_site(self, site_id: str, study_uid: str) -> Study | None:
        """Return a site's study with this UID, whoever asks: for reception."""
        return self.session.scalars(
            select(Study).where(Study.site_id == site_id, Study.study_uid == study_uid)
        ).one_or_none()

    def study(self, study_id: str) -> Study | None:
        """Return a study by its row id."""
        return self.session.get(Study, study_id)

    def lock_study(self, study_id: str) -> Study | None:
        """Return a study and hold its row until the transaction ends."""
        if self.session.get_bind().dialect.name == "sqlite":
            # A transaction that writes is the only one: what it has read of a row holds.
            return self.session.get(Study, study_id)
        return self.session.scalars(
            select(Study)
            .where(Study.id == study_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one_or_none()

    def series(self, study_id: str) -> Sequence[Series]:
        """Return a study's series in order of number."""
        return self.session.scalars(
            select(Series).where(Series.study_id == study_id).order_by(Series.number, Series.series_uid)
        ).all()

    def series_sizes(self, study_id: str) -> Sequence[tuple[Series, int, datetime]]:
        """Return a study's series in display order, each with its number of objects and the last arrival."""
        statement = (
            select(Series, func.count(Instance.id), func.max(Instance.received_at))
            .join(Instance, Instance.series_id == Series.id)
            .where(Series.study_id == study_id)
            .group_by(Series.id)
            .order_by(Series.number, Series.series_uid)
        )
        return [(series, count, last) for series, count, last in self.session.execute(statement)]

    def one_series(self, study_id: str, series_uid: str) -> Series | None:
        """Return one series of a study."""
        return self.session.scalars(
            select(Series).where(Series.study_id == study_id, Series.series_uid == series_uid)
        ).one_or_none()

    def instances(self, series_id: str) -> Sequence[Instance]:
        """Return a series' instances in order of number."""
        return self.session.scalars(
            select(Instance)
            .where(Instance.series_id == series_id)
            .order_by(Instance.number, Instance.sop_uid)
        ).all()

    def instances_of_study(self, study_id: str) -> Sequence[tuple[Series, Instance]]:
        """Return every instance of a study with its series, in display order."""
        return [
            (series, instance)
            for series, instance in self.session.execute(
                select(Series, Instance)
                .join(Instance, Instance.series_id == Series.id)
                .where(Series.study_id == study_id)
                .order_by(Series.number, Series.series_uid, Instance.number, Instance.sop_uid)
            )
        ]

    def instance(self, study_id: str, series_uid: str, sop_uid: str) -> Instance | None:
        """Return one instance of a study by the UIDs of a DICOMweb address."""
        return self.session.scalars(
            select(Instance)
            .join(Series, Series.id == Instance.series_id)
            .where(Series.study_id == study_id, Series.series_uid == series_uid, Instance.sop_uid == sop_uid)
        ).one_or_none()

    def instance_in_study(self, study_id: str, sop_uid: str) -> Instance | None:
        """Return one instance of a study by its SOP Instance UID."""
        return self.session.scalars(
            select(Instance)
            .join(Series, Series.id == Instance.series_id)
            .where(Series.study_id == study_id, Instance.sop_uid == sop_uid)
            .limit(1)
        ).one_or_none()

    def held(self, site_id: str, sop_uids: Collection[str]) -> set[str]:
        """Return which of these SOP Instance UIDs a site has, `UIDS_PER_QUERY` to a query."""
        found: set[str] = set()
        wanted = list(sop_uids)
        for first in range(0, len(wanted), UIDS_PER_QUERY):
            statement = (
                select(Instance.sop_uid)
                .join(Series, Series.id == Instance.series_id)
                .join(Study, Study.id == Series.study_id)
                .where(Study.site_id == site_id)
                .where(Instance.sop_uid.in_(wanted[first : first + UIDS_PER_QUERY]))
            )
            found.update(self.session.scalars(statement))
        return found

    def count_objects_since(self, study_id: str, moment: datetime) -> int:
        """Return how many instances and recordings of a study came after a moment."""
        instances = (
            select(func.count())
            .select_from(Instance)
            .join(Series, Series.id == Instance.series_id)
            .where(Series.study_id == study_id, Instance.received_at > moment)
        )
        recordings = (
            select(func.count())
            .select_from(Recording)
            .where(Recording.study_id == study_id, Recording.received_at > moment)
        )
        return (self.session.scalar(instances) or 0) + (self.session.scalar(recordings) or 0)

    def recordings(self, study_id: str) -> Sequence[Recording]:
        """Return the ECG recordings of a study, oldest first."""
        return self.session.scalars(
            select(Recording).where(Recording.study_id == study_id).order_by(Recording.received_at)
        ).all()

    def recording_by_digest(self, site_id: str, digest: str) -> Recording | None:
        """Return the recording with these very bytes, if the site has sent it before."""
        return self.session.scalars(
            select(Recording)
            .join(Study, Study.id == Recording.study_id)
            .where(Study.site_id == site_id, Recording.digest == digest)
            .order_by(Recording.received_at)
            .limit(1)
        ).first()

    def unsettled(self, now: datetime, limit: int = 500) -> Sequence[Study]:
        """Return studies whose quiet time is over and that nobody has settled."""
        return self.session.scalars(
            select(Study).where(Study.settled_at.is_(None), Study.settle_due_at <= now).limit(limit)
        ).all()

    def quarantined(self, quarantined_id: str) -> Quarantined | None:
        """Return one quarantined item, holding its row until the transaction ends."""
        return self.session.scalars(
            select(Quarantined).where(Quarantined.id == quarantined_id).with_for_update()
        ).one_or_none()

    def peek_quarantined(self, quarantined_id: str) -> Quarantined | None:
        """Return one quarantined item for reading."""
        return self.session.get(Quarantined, quarantined_id)

    def quarantine_desk(
        self, sites: frozenset[str] | None, *, resolved: bool = False
    ) -> Sequence[Quarantined]:
        """Return quarantined items, newest first; `sites` None means all, unknown senders included."""
        statement = select(Quarantined).order_by(Quarantined.at.desc()).limit(500)
        statement = statement.where(
            Quarantined.resolved_at.is_not(None) if resolved else Quarantined.resolved_at.is_(None)
        )
        if sites is not None:
            statement = statement.where(Quarantined.site_id.in_(sites))
        return self.session.scalars(statement).all()

    def unsure_names(self, sites: frozenset[str] | None, limit: int = 200) -> Sequence[Study]:
        """Return studies whose patient name was read with little confidence, newest first."""
        statement = (
            select(Study)
            .where(Study.name_confidence < UNSURE_BELOW, Study.patient_name != "")
            .order_by(Study.first_received_at.desc())
            .limit(limit)
        )
        if sites is not None:
            statement = statement.where(Study.site_id.in_(sites))
        return self.session.scalars(statement).all()

    def same_quarantined(self, sha256: str, reason: str, sop_uid: str) -> Quarantined | None:
        """Return a quarantined item that holds the very same single file for the same reason.

        It is open, or people have decided to leave it out: sent again it is not asked again.

        Of two callers with the same bytes at once, the second waits for the first one's
        commit: SQLite has one writer, PostgreSQL takes a lock named by the content.
        """
        if self.session.get_bind().dialect.name == "postgresql":
            content = int.from_bytes(bytes.fromhex(sha256)[:8], "big", signed=True)
            self.session.execute(select(func.pg_advisory_xact_lock(content)))
        return self.session.scalars(
            select(Quarantined)
            .where(
                or_(Quarantined.resolved_at.is_(None), Quarantined.resolution.in_(LEFT_OUT)),
                Quarantined.reason == reason,
                Quarantined.sop_uid == sop_uid,
                func.json_array_length(Quarantined.files) == 1,
                Quarantined.files[0]["sha256"].as_string() == sha256,
            )
            .limit(1)
        ).first()
