"""Every query about stored analyses of ECGs, edits of their values, and watched folders."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import defer

from hub.auth.actor import Actor
from hub.catalogue.models import Study
from hub.db.repository import Repository, insert_or_get
from hub.worklist.models import EcgAnalysis, EcgEdit, Exam, WatchedFolder
from hub.worklist.repository import WorklistRepository
from hub.worklist.states import State


class EcgRepository(Repository):
    """Analyses and edits; listings for a person start from the exams that this person may see."""

    def latest(self, study_id: str) -> dict[str, EcgAnalysis]:
        """Return the latest analysis of each ECG of a study, by source; their documents are not loaded."""
        rows = self.session.scalars(
            select(EcgAnalysis)
            .options(defer(EcgAnalysis.document))
            .where(EcgAnalysis.study_id == study_id)
            .order_by(EcgAnalysis.created_at, EcgAnalysis.id)
        )
        return {row.source_id: row for row in rows}

    def analysis(self, source_id: str) -> EcgAnalysis | None:
        """Return the latest analysis of one ECG."""
        return self.session.scalars(
            select(EcgAnalysis)
            .where(EcgAnalysis.source_id == source_id)
            .order_by(EcgAnalysis.created_at.desc(), EcgAnalysis.id.desc())
            .limit(1)
        ).first()

    def not_analysed(self, before: datetime, limit: int) -> Sequence[str]:
        """Return studies of ECGs that wait to be read since before a time and of which nothing is known."""
        statement = (
            select(Exam.study_id)
            .where(
                Exam.state == State.COMPLETE,
                Exam.modality == "ECG",
                Exam.ecg_verdict == "",
                Exam.complete_at < before,
                Exam.study_id.is_not(None),
            )
            .order_by(Exam.priority, Exam.due_at)
            .limit(limit)
        )
        return [study_id for study_id in self.session.scalars(statement) if study_id is not None]

    def store(self, row: EcgAnalysis) -> EcgAnalysis:
        """Add an analysis; of two that make the same one at once, the first stays."""
        identity = {name: getattr(row, name) for name in ("source_id", "engine", "profile")}
        columns = {column.name for column in EcgAnalysis.__table__.columns} - {"id", *identity}
        values = {name: getattr(row, name) for name in columns if getattr(row, name) is not None}
        kept, _ = insert_or_get(self.session, EcgAnalysis, identity, values)
        return kept

    def edits(self, exam_id: str, source_id: str) -> Sequence[EcgEdit]:
        """Return the edits of one ECG's values, oldest first."""
        return self.session.scalars(
            select(EcgEdit)
            .where(EcgEdit.exam_id == exam_id, EcgEdit.source_id == source_id)
            .order_by(EcgEdit.at, EcgEdit.id)
        ).all()

    def earlier(
        self, actor: Actor, exam: Exam, limit: int = 50
    ) -> Sequence[tuple[Exam, Study, EcgAnalysis | None]]:
        """Return other ECG exams of the same identity with their latest analyses, newest first.

        An exam with several ECGs comes once for each that was analysed.
        """
        if exam.patient_id is None:
            return []
        statement = (
            WorklistRepository(self.session)
            .readable(actor)
            .add_columns(Study)
            .join(Study, Study.id == Exam.study_id)
            .where(Exam.patient_id == exam.patient_id, Exam.id != exam.id, Exam.modality == "ECG")
            .order_by(Study.study_date.desc(), Study.study_time.desc(), Exam.id.desc())
            .limit(limit)
        )
        found = [(row[0], row[1]) for row in self.session.execute(statement)]
        analyses = self._by_study({study.id for _, study in found})
        listed: list[tuple[Exam, Study, EcgAnalysis | None]] = []
        for each, study in found:
            rows = analyses.get(study.id) or [None]
            listed += [(each, study, row) for row in rows]
        return listed

    def _by_study(self, study_ids: Collection[str]) -> dict[str, list[EcgAnalysis | None]]:
        rows = self.session.scalars(
            select(EcgAnalysis)
            .options(defer(EcgAnalysis.document))
            .where(EcgAnalysis.study_id.in_(study_ids))
            .order_by(EcgAnalysis.created_at, EcgAnalysis.id)
        )
        latest = {row.source_id: row for row in rows}
        found: dict[str, list[EcgAnalysis | None]] = {}
        for row in latest.values():
            found.setdefault(row.study_id, []).append(row)
        return found

    def folder(self, site_code: str, folder: str, now: datetime) -> WatchedFolder:
        """Return the row of a watched folder, making it when it is new."""
        values: dict[str, Any] = {"looked_at": now, "waiting": 0, "taken": 0, "refused": 0, "problem": ""}
        row, _ = insert_or_get(
            self.session, WatchedFolder, {"site_code": site_code, "folder": folder}, values
        )
        return row

    def folders(self) -> Sequence[WatchedFolder]:
        """Return all folders that were ever watched."""
        return self.session.scalars(
            select(WatchedFolder).order_by(WatchedFolder.site_code, WatchedFolder.folder)
        ).all()
