"""Every query about deliveries."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select

from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue.models import Study
from hub.db.repository import Repository
from hub.delivery.models import Delivery, DeliveryAttempt, Receipt
from hub.patients.models import Patient
from hub.reports.models import Report, SignedReport
from hub.sites.models import Site
from hub.worklist.models import Exam, Order

STATUSES = ("unread", "fetched", "acknowledged")
"""How far a delivered report has come at its site: nobody has it, its system has it, a person has read it."""


@dataclass(frozen=True)
class InboxRow:
    """A report in a site's inbox with what the list shows of it."""

    delivery: Delivery
    exam: Exam
    signed: SignedReport
    report: Report
    patient: Patient | None
    order: Order | None
    study: Study | None
    site: Site

    @property
    def local_id(self) -> str:
        """The site's own number of the patient."""
        return (self.patient.local_id if self.patient else "") or (self.study.local_id if self.study else "")

    @property
    def patient_name(self) -> str:
        """The name as ordered, else as the objects state it."""
        return self.patient.name if self.patient else self.study.patient_name if self.study else ""

    @property
    def sex(self) -> str:
        """M, F, O or empty."""
        return (self.patient.sex if self.patient else "") or (self.study.sex if self.study else "")

    @property
    def birth_date(self) -> str:
        """YYYYMMDD or shorter or empty."""
        return (self.patient.birth_date if self.patient else "") or (
            self.study.birth_date if self.study else ""
        )

    @property
    def said(self) -> dict[str, Any]:
        """What the report said when it was signed; `Report` may have moved on."""
        said: dict[str, Any] = json.loads(self.signed.content)["report"]
        return said

    @property
    def born(self) -> date | None:
        """The birth date when it is a whole one."""
        try:
            return datetime.strptime(self.birth_date, "%Y%m%d").date()  # noqa: DTZ007 - a calendar day has no zone
        except ValueError:
            return None

    @property
    def accession(self) -> str:
        """The order's number, else the one the objects carry."""
        return self.order.accession if self.order else self.study.accession if self.study else ""


class DeliveryRepository(Repository):
    """Deliveries, attempts, receipts."""

    def readable(self, actor: Actor) -> Select[Delivery]:
        """Return the deliveries this actor may see; every listing for a person starts here."""
        sites = actor.sites_for(Permission.REPORT_VIEW, Permission.REPORT_PULL)
        statement = select(Delivery)
        return statement if sites is None else statement.where(Delivery.site_id.in_(sites))

    def inbox(
        self,
        actor: Actor,
        sites: frozenset[str] | None,
        *,
        unread_only: bool = False,
        limit: int = 100,
        offset: int = 0,
    ) -> Sequence[InboxRow]:
        """Return the reports delivered to `sites`, those nobody has confirmed first, then newest first.

        Parameters
        ----------
        sites
            Sites whose inbox is shown, None for all that the actor may read. A person who
            works at the centre and at a site has an inbox of that site only.
        """
        statement = self._joined(self._at(actor, sites))
        if unread_only:
            statement = statement.where(Delivery.acknowledged_at.is_(None))
        statement = statement.order_by(
            Delivery.acknowledged_at.is_not(None), Exam.priority, Delivery.delivered_at.desc(), Delivery.id
        )
        return [InboxRow(*row) for row in self.session.execute(statement.limit(limit).offset(offset))]

    def _at(self, actor: Actor, sites: frozenset[str] | None) -> Select[Delivery]:
        statement = self.readable(actor).where(Delivery.delivered_at.is_not(None))
        return statement if sites is None else statement.where(Delivery.site_id.in_(sites))

    def counts(self, actor: Actor, sites: frozenset[str] | None) -> tuple[int, int]:
        """Return how many delivered reports nobody has confirmed, and how many there are in all."""
        delivered = self._at(actor, sites).subquery()
        unread, total = self.session.execute(
            select(
                func.count().filter(delivered.c.acknowledged_at.is_(None)),
                func.count(),
            ).select_from(delivered)
        ).one()
        return unread, total

    def _joined(self, statement: Select[Any]) -> Select[Any]:
        return (
            statement.add_columns(Exam, SignedReport, Report, Patient, Order, Study, Site)
            .join(Exam, Exam.id == Delivery.exam_id)
            .join(SignedReport, SignedReport.id == Delivery.signed_report_id)
            .join(Report, Report.id == SignedReport.report_id)
            .join(Site, Site.id == Delivery.site_id)
            .outerjoin(Patient, Patient.id == Exam.patient_id)
            .outerjoin(Order, Order.id == Exam.order_id)
            .outerjoin(Study, Study.id == Exam.study_id)
        )

    def delivered(self, actor: Actor, report_id: str) -> InboxRow | None:
        """Return a delivered report by its id, exam id or exam number, the latest version of it."""
        row = self.session.execute(
            self._joined(self.readable(actor))
            .where(
                Delivery.delivered_at.is_not(None),
                or_(SignedReport.id == report_id, Exam.id == report_id, Exam.number == report_id),
            )
            .order_by(SignedReport.version.desc())
            .limit(1)
        ).first()
        return InboxRow(*row) if row else None

    def page(
        self, actor: Actor, *, status: str, since: datetime | None, limit: int, offset: int
    ) -> tuple[Sequence[InboxRow], int]:
        """Return one page of delivered reports, oldest delivery first, and how many there are in all.

        The order does not change while a site's system walks through the pages: what is
        delivered meanwhile comes at the end.
        """
        statement = self.readable(actor).where(Delivery.delivered_at.is_not(None))
        if since is not None:
            statement = statement.where(Delivery.delivered_at >= since)
        if status in STATUSES:
            statement = statement.where(*self._status_conditions(status))
        total = self.session.scalar(select(func.count()).select_from(statement.subquery())) or 0
        rows = self.session.execute(
            self._joined(statement).order_by(Delivery.delivered_at, Delivery.id).limit(limit).offset(offset)
        )
        return [InboxRow(*row) for row in rows], total

    def _status_conditions(self, status: str) -> tuple[ColumnElement[bool], ...]:
        if status == "acknowledged":
            return (Delivery.acknowledged_at.is_not(None),)
        fetched = Delivery.id.in_(select(Receipt.delivery_id).where(Receipt.kind == "fetched"))
        return (Delivery.acknowledged_at.is_(None), fetched if status == "fetched" else ~fetched)

    def fetched(self, delivery_ids: Sequence[str]) -> frozenset[str]:
        """Return those deliveries that the site's own system has fetched."""
        return frozenset(
            self.session.scalars(
                select(Receipt.delivery_id).where(
                    Receipt.delivery_id.in_(delivery_ids), Receipt.kind == "fetched"
                )
            )
        )

    def has_opened(self, delivery_id: str, actor_id: str) -> bool:
        """Tell whether a receipt says that this person has opened the report."""
        return (
            self.session.scalars(
                select(Receipt.id)
                .where(
                    Receipt.delivery_id == delivery_id,
                    Receipt.actor_id == actor_id,
                    Receipt.kind == "opened",
                )
                .limit(1)
            ).first()
            is not None
        )

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
