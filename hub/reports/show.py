"""A report with all its versions, for the command line."""

from typing import Any

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.errors import NotFound
from hub.reports.repository import ReportRepository
from hub.worklist.repository import WorklistRepository


def describe(session: Session, report_id: str, actor: Actor) -> dict[str, Any]:
    """Return everything about a report as JSON values; looking is written to the audit trail.

    Raises
    ------
    NotFound
        Neither an exam number nor an id of exam, report or signed report.
    """
    repository, worklist = ReportRepository(session), WorklistRepository(session)
    signed = repository.any_signed(report_id)
    exam = worklist.exam(signed.exam_id) if signed else worklist.readable_exam(actor, report_id)
    if exam is None:
        raise NotFound(f"no report or exam {report_id}")
    report = repository.peek(exam.id)
    row = worklist.row_of(exam)
    audit.record(
        session,
        Tag.REPORT_VIEW,
        actor=actor.ref,
        subject_kind="exam",
        subject_id=exam.id,
        site_id=exam.site_id,
        patient_id=exam.patient_id,
    )
    return {
        "exam": exam.number,
        "exam_id": exam.id,
        "state": exam.state,
        "modality": exam.modality,
        "site": row.site.code,
        "patient_name": row.patient_name,
        "patient_id": row.local_id,
        "report_id": report.id if report else None,
        "findings": report.findings if report else "",
        "impression": report.impression if report else "",
        "writer": report.writer_name if report else "",
        "versions": [
            {
                "number": v.number,
                "act": v.act,
                "author": v.author_name,
                "at": v.at.isoformat(),
                "comment": v.comment,
            }
            for v in (repository.versions(report.id) if report else [])
        ],
        "signed": {
            "id": signed.id,
            "version": signed.version,
            "signer": signed.signer_name,
            "signed_at": signed.signed_at.isoformat(),
            "content_sha256": signed.content_sha256,
            "pdf_sha256": signed.pdf_sha256,
            "pdf_key": signed.pdf_key,
        }
        if signed
        else None,
        "timeline": [
            {
                "at": s.at.isoformat(),
                "event": s.event,
                "from": s.from_state,
                "to": s.to_state,
                "by": s.actor_name,
                "reason": s.reason,
            }
            for s in worklist.steps(exam.id)
        ],
    }
