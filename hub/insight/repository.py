"""Counts over the other rooms' tables; nothing here writes."""

from sqlalchemy import func, select, text

from hub.catalogue.models import Instance, Quarantined, Recording
from hub.db.repository import Repository
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
