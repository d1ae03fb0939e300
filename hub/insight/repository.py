"""Counts over the other rooms' tables; nothing here writes."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, or_, select, text

from hub.auth.models import UserAccount
from hub.catalogue.models import Instance, Quarantined, Recording
from hub.db.repository import Repository
from hub.delivery.models import Delivery
from hub.patients.models import Patient
from hub.reports.models import Report, SignedReport
from hub.sites.models import Site
from hub.worklist.models import Exam


class InsightRepository(Repository):
    """Figures for boards and for Prometheus."""

    def ping(self) -> None:
        """Ask the database for anything at all."""
        self.session.execute(text("SELECT 1"))

    def exams_by_state(self) -> dict[tuple[str, str], int]:
        """Return how many exams of each modality are in each state."""
        rows = self.session.execute(
            select(Exam.modality, Exam.state, func.count()).group_by(Exam.modality, Exam.state)
        )
        return {(modality, state): count for modality, state, count in rows}

    def received(self) -> dict[str, int]:
        """Return how many objects the hub holds, by kind."""
        return {
            "instance": self.session.scalar(select(func.count()).select_from(Instance)) or 0,
            "recording": self.session.scalar(select(func.count()).select_from(Recording)) or 0,
            "quarantined": self.session.scalar(
                select(func.count()).select_from(Quarantined).where(Quarantined.resolved_at.is_(None))
            )
            or 0,
        }

    def device_last_seen(self) -> dict[str, datetime]:
        """Return when each device last sent an object that was filed."""
        rows = self.session.execute(
            select(Instance.device_id, func.max(Instance.received_at))
            .where(Instance.device_id.is_not(None))
            .group_by(Instance.device_id)
        )
        return {device_id: at for device_id, at in rows if device_id is not None}

    def patients_like(self, typed: str, limit: int = 200) -> Sequence[Patient]:
        """Return the identities that a site knows by this number, or whose name holds this text."""
        return self.session.scalars(
            select(Patient)
            .where(or_(Patient.local_id == typed, Patient.name.contains(typed, autoescape=True)))
            .order_by(Patient.site_id, Patient.local_id)
            .limit(limit)
        ).all()

    def patients_by_id(self, ids: Sequence[str]) -> dict[str, Patient]:
        """Return identities by their row ids."""
        return {row.id: row for row in self.session.scalars(select(Patient).where(Patient.id.in_(ids)))}

    def users_like(self, typed: str) -> Sequence[str]:
        """Return the ids of the accounts with this login, or whose name holds this text."""
        return self.session.scalars(
            select(UserAccount.id).where(
                or_(
                    func.lower(UserAccount.login) == typed.lower(),
                    UserAccount.name.contains(typed, autoescape=True),
                )
            )
        ).all()

    def user_names(self) -> dict[str, str]:
        """Return everybody's name by account id."""
        return {row.id: row.name for row in self.session.scalars(select(UserAccount))}

    def site_names(self) -> dict[str, str]:
        """Return every site's name by its id."""
        return {row.id: row.name for row in self.session.scalars(select(Site))}

    def subjects_of_exam(self, number: str) -> tuple[str, ...]:
        """Return the row ids of an exam and of everything that hangs on it; nothing when there is none."""
        exam = self.session.scalars(
            select(Exam).where(or_(Exam.number == number, Exam.id == number))
        ).one_or_none()
        if exam is None:
            return ()
        hanging = [
            *self.session.scalars(select(Report.id).where(Report.exam_id == exam.id)),
            *self.session.scalars(select(SignedReport.id).where(SignedReport.exam_id == exam.id)),
            *self.session.scalars(select(Delivery.id).where(Delivery.exam_id == exam.id)),
        ]
        return tuple(row for row in (exam.id, exam.order_id, exam.study_id, *hanging) if row)
