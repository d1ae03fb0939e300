"""Every query about deliveries."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select

from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.db.repository import Repository
from hub.delivery.models import Delivery, DeliveryAttempt, Receipt
from hub.patients.models import Patient
from hub.reports.models import Report, SignedReport
from hub.worklist.models import Exam


@dataclass(frozen=True)
class InboxRow:
    """A report in a site's inbox with what the list shows of it."""

    delivery: Delivery
    exam: Exam
    signed: SignedReport
    report: Report
    patient: Patient | None


class DeliveryRepository(Repository):
    """Deliveries, attempts, receipts."""

    def readable(self, actor: Actor) -> Select[Delivery]:
        """Return the deliveries this actor may see; every listing for a person starts here."""
        sites = actor.sites_for(Permission.REPORT_VIEW, Permission.REPORT_PULL)
        statement = select(Delivery)
        return statement if sites is None else statement.where(Delivery.site_id.in_(sites))

    def inbox(
        self, actor: Actor, *, site_id: str = "", status: str = "", limit: int = 100, offset: int = 0
    ) -> Sequence[InboxRow]:
        """Return delivered reports, those nobody has confirmed first, then newest first."""
        statement = (
            self.readable(actor)
            .add_columns(Exam, SignedReport, Report, Patient)
            .join(Exam, Exam.id == Delivery.exam_id)
            .join(SignedReport, SignedReport.id == Delivery.signed_report_id)
            .join(Report, Report.id == SignedReport.report_id)
            .outerjoin(Patient, Patient.id == Exam.patient_id)
            .where(Delivery.delivered_at.is_not(None))
        )
        if site_id:
            statement = statement.where(Delivery.site_id == site_id)
        if status == "unread":
            statement = statement.where(Delivery.acknowledged_at.is_(None))
        elif status == "acknowledged":
            statement = statement.where(Delivery.acknowledged_at.is_not(None))
        statement = statement.order_by(
            Delivery.acknowledged_at.is_not(None), Exam.priority, Delivery.delivered_at.desc(), Delivery.id
        )
        return [InboxRow(*row) for row in self.session.execute(statement.limit(limit).offset(offset))]

    def unread(self, actor: Actor, site_id: str = "") -> int:
        """Return how many delivered reports nobody has confirmed."""
        statement = self.readable(actor).where(
            Delivery.delivered_at.is_not(None), Delivery.acknowledged_at.is_(None)
        )
        if site_id:
            statement = statement.where(Delivery.site_id == site_id)
        return self.session.scalar(select(func.count()).select_from(statement.subquery())) or 0

    def of_signed(self, signed_report_id: str) -> Delivery | None:
        """Return the delivery of a signed report, locked for update where rows can be."""
        return self.session.scalars(
            select(Delivery).where(Delivery.signed_report_id == signed_report_id).with_for_update()
        ).one_or_none()

    def attempts(self, delivery_id: str) -> Sequence[DeliveryAttempt]:
        """Return the attempts of a delivery, oldest first."""
        return self.session.scalars(
            select(DeliveryAttempt)
            .where(DeliveryAttempt.delivery_id == delivery_id)
            .order_by(DeliveryAttempt.at)
        ).all()

    def receipts(self, delivery_id: str) -> Sequence[Receipt]:
        """Return the receipts of a delivery, oldest first."""
        return self.session.scalars(
            select(Receipt).where(Receipt.delivery_id == delivery_id).order_by(Receipt.at)
        ).all()
