"""Every query about reports."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import func, or_, select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue.models import Instance, Series
from hub.db.repository import Repository
from hub.reports.models import KeyImage, Report, ReportVersion, SignedReport
from hub.worklist.models import Exam
from hub.worklist.states import State


class ReportRepository(Repository):
    """Reports, versions, signed documents."""

    def of_exam(self, exam_id: str) -> Report | None:
        """Return the report of an exam, locked for update where rows can be."""
        return self.session.scalars(
            select(Report).where(Report.exam_id == exam_id).with_for_update()
        ).one_or_none()

    def peek(self, exam_id: str) -> Report | None:
        """Return the report of an exam for reading."""
        return self.session.scalars(select(Report).where(Report.exam_id == exam_id)).one_or_none()

    def versions(self, report_id: str) -> Sequence[ReportVersion]:
        """Return the versions of a report, oldest first."""
        return self.session.scalars(
            select(ReportVersion).where(ReportVersion.report_id == report_id).order_by(ReportVersion.number)
        ).all()

    def next_version(self, report_id: str) -> int:
        """Return the number of the version to be added."""
        highest = self.session.scalar(
            select(func.max(ReportVersion.number)).where(ReportVersion.report_id == report_id)
        )
        return (highest or 0) + 1

    def key_images(self, report_id: str) -> Sequence[KeyImage]:
        """Return the pictures chosen for a report."""
        return self.session.scalars(
            select(KeyImage).where(KeyImage.report_id == report_id).order_by(KeyImage.added_at)
        ).all()

    def pictures(self, report_id: str, study_id: str) -> Sequence[tuple[KeyImage, str]]:
        """Return the pictures chosen for a report, each with the UID of its series."""
        return [
            (image, series_uid)
            for image, series_uid in self.session.execute(
                select(KeyImage, Series.series_uid)
                .join(Instance, Instance.sop_uid == KeyImage.sop_uid)
                .join(Series, Series.id == Instance.series_id)
                .where(KeyImage.report_id == report_id, Series.study_id == study_id)
                .order_by(KeyImage.added_at, KeyImage.id)
            )
        ]

    def key_image(self, report_id: str, sop_uid: str, frame: int) -> KeyImage | None:
        """Return one chosen picture."""
        return self.session.scalars(
            select(KeyImage).where(
                KeyImage.report_id == report_id, KeyImage.sop_uid == sop_uid, KeyImage.frame == frame
            )
        ).one_or_none()

    def submitted(self, actor: Actor) -> Sequence[tuple[str, Report]]:
        """Return exam id and report of what waits for review where the actor may review."""
        sites = actor.sites_for(Permission.REPORT_REVIEW, Permission.REPORT_SIGN_ALONE)
        statement = (
            select(Exam.id, Report)
            .join(Report, Report.exam_id == Exam.id)
            .where(Exam.state == State.SUBMITTED)
            .order_by(Exam.priority, Exam.due_at.is_(None), Exam.due_at, Report.written_at)
            .limit(200)
        )
        if sites is not None:
            statement = statement.where(Exam.site_id.in_(sites))
        return [(exam_id, report) for exam_id, report in self.session.execute(statement)]

    def signed(self, exam_id: str) -> SignedReport | None:
        """Return the latest signed document of an exam."""
        return self.session.scalars(
            select(SignedReport)
            .where(SignedReport.exam_id == exam_id)
            .order_by(SignedReport.version.desc())
            .limit(1)
        ).first()

    def readable_signed(self, actor: Actor, report_id: str) -> tuple[SignedReport, Exam] | None:
        """Return a signed document by its id, exam id or exam number, if the actor may read it."""
        sites = actor.sites_for(Permission.REPORT_VIEW, Permission.REPORT_PULL)
        statement = (
            select(SignedReport, Exam)
            .join(Exam, Exam.id == SignedReport.exam_id)
            .where(or_(SignedReport.id == report_id, Exam.id == report_id, Exam.number == report_id))
            .order_by(SignedReport.version.desc())
            .limit(1)
        )
        if sites is not None:
            statement = statement.where(SignedReport.site_id.in_(sites))
        row = self.session.execute(statement).first()
        return (row[0], row[1]) if row else None

    def any_signed(self, report_id: str) -> SignedReport | None:
        """Return a signed document by its id, report id, exam id or exam number: for `hub verify`."""
        return self.session.scalars(
            select(SignedReport)
            .join(Exam, Exam.id == SignedReport.exam_id)
            .where(
                or_(
                    SignedReport.id == report_id,
                    SignedReport.report_id == report_id,
                    Exam.id == report_id,
                    Exam.number == report_id,
                )
            )
            .order_by(SignedReport.version.desc())
            .limit(1)
        ).first()

    def version(self, report_id: str, number: int) -> ReportVersion | None:
        """Return one version of a report."""
        return self.session.scalars(
            select(ReportVersion).where(ReportVersion.report_id == report_id, ReportVersion.number == number)
        ).one_or_none()

    def has_opened_images(self, actor_id: str, study_id: str, since: datetime) -> bool:
        """Tell whether a person has opened a study's images or tracing since its last object came."""
        return (
            self.session.scalars(
                select(AuditEvent.seq)
                .where(
                    AuditEvent.tag == Tag.STUDY_VIEW,
                    AuditEvent.actor_id == actor_id,
                    AuditEvent.subject_id == study_id,
                    AuditEvent.at >= since,
                )
                .limit(1)
            ).first()
            is not None
        )

    def every_document(self) -> Iterator[tuple[str, str, str, int, str]]:
        """Yield (kind, row id, key, size, sha256) of every signed document."""
        for row in self.session.scalars(select(SignedReport).execution_options(yield_per=500)):
            yield "report", row.id, row.pdf_key, row.pdf_size, row.pdf_sha256
