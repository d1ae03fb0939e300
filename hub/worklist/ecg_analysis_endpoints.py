"""The machine's opinion of an exam's ECGs, what readers changed of it, and the person's earlier ECGs."""

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.context import Context
from hub.ecg.sources import EcgSource, load
from hub.errors import Forbidden, HubError, NotFound
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.worklist import ecg_analysis, ecg_edits, ecg_sheets, service
from hub.worklist.ecg_document import device_of
from hub.worklist.ecg_repository import EcgRepository
from hub.worklist.ecg_sheets import ExamEcgs
from hub.worklist.models import EcgAnalysis, EcgEdit
from hub.worklist.pages import go
from hub.worklist.repository import WorklistRepository
from hub.worklist.states import SIGNED_STATES, State

router = APIRouter()

Viewer = Annotated[Actor, guard(Permission.IMAGES_VIEW)]
Writer = Annotated[Actor, guard(Permission.REPORT_WRITE)]

NOT_MODIFIED = 304
NO_DEVICE: dict[str, Any] = {"name": "", "measurements": [], "statements": [], "median": None}


class NewEdit(BaseModel):
    """A value in the place of a measured one; null brings the measured one back."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(default="", max_length=26)
    name: str = Field(max_length=32)
    lead: str = Field(default="", max_length=16)
    value: float | None
    reason: str = Field(default="", max_length=ecg_edits.LONGEST_REASON)


@router.get("/api/v1/exams/{exam_id}/ecg/analysis", tags=["exams"])
def analysis(
    request: Request, exam_id: str, actor: Viewer, context: ContextDep, source: str = ""
) -> Response:
    """Return what the machine says of one ECG, the latest unless ``source`` names one, with readers' edits.

    ``measurement``, ``quality`` and ``median`` are null and ``not_analysed`` says why where the
    ECG could not be analysed. All of it is the machine's: hints, no diagnosis.
    """
    with context.db.reading() as session:
        ecgs = ecg_sheets.find(session, actor, exam_id)
    chosen = ecg_sheets.one_source(ecgs, source)
    _renew(context, ecgs, chosen)
    with context.db.transaction() as session:
        service.viewed(session, actor, ecgs.row.exam)
        row, edits = _stored(session, ecgs, chosen)
    tag = _tag(row, edits)
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=NOT_MODIFIED, headers=headers)
    return JSONResponse(_body(context, chosen, row, edits), headers=headers)


@router.post("/api/v1/exams/{exam_id}/ecg/edits", tags=["exams"])
def edit(exam_id: str, sent: NewEdit, actor: Writer, context: ContextDep) -> dict[str, Any]:
    """Put a value right, as the reader who writes the report; the measured one is kept beside it."""
    with context.db.reading() as session:
        ecgs = ecg_sheets.find(session, actor, exam_id)
    chosen = ecg_sheets.one_source(ecgs, sent.source)
    with context.db.transaction() as session:
        ecg_edits.edit(
            session,
            actor,
            ecgs.row.exam.id,
            chosen.id,
            sent.name,
            sent.lead,
            sent.value,
            sent.reason,
            now=context.clock(),
        )
        row, edits = _stored(session, ecgs, chosen)
    return _body(context, chosen, row, edits)


@router.get("/api/v1/exams/{exam_id}/ecg/earlier", tags=["exams"])
def earlier(exam_id: str, actor: Viewer, session: ReadingDep) -> list[dict[str, Any]]:
    """List the other ECGs of the same identity that the caller may see, newest first; nobody else's."""
    row = WorklistRepository(session).row(actor, exam_id)
    if row is None:
        raise NotFound("no such exam")
    if not actor.may(Permission.IMAGES_VIEW, row.exam.site_id):
        raise Forbidden
    found = EcgRepository(session).earlier(actor, row.exam)
    return [
        {
            "exam_id": exam.id,
            "number": exam.number,
            "source": made.source_id if made else "",
            "taken_at": _taken_at(study.study_date, study.study_time),
            "hr_bpm": made.hr_bpm if made else None,
            "qrs_ms": made.qrs_ms if made else None,
            "qtc_ms": made.qtc_ms if made else None,
        }
        for exam, study, made in found
        if actor.may(Permission.IMAGES_VIEW, exam.site_id)
    ]


@router.post("/exams/{exam_id}/hints/dismiss", include_in_schema=False)
def dismiss(
    request: Request,
    exam_id: str,
    context: ContextDep,
    session: SessionDep,
    actor: Annotated[Actor, guard(Permission.EXAM_CLAIM, Permission.REPORT_REVIEW)],
) -> Response:
    """Let the machine's hints order an exam no longer: a reader has looked."""
    exam = ecg_edits.dismiss(session, actor, exam_id, settings=context.settings, now=context.clock())
    return go(request, f"/exams/{exam.id}")


def _taken_at(day: str, time: str) -> str | None:
    """Return the device's own day and time, ``2026-03-02T16:05``, as far as it states them."""
    if len(day) != len("YYYYMMDD"):
        return None
    clock = f"T{time[:2]}:{time[2:4]}" if len(time) >= len("HHMM") else ""
    return f"{day[:4]}-{day[4:6]}-{day[6:]}{clock}"


def _renew(context: Context, ecgs: ExamEcgs, chosen: EcgSource) -> None:
    """Have the ECGs analysed by the installed engine; once a report is signed, what was seen stays."""
    exam = ecgs.row.exam
    if exam.study_id is None or State(exam.state) in SIGNED_STATES:
        return
    with context.db.reading() as session:
        known = EcgRepository(session).analysis(chosen.id)
    if not ecg_analysis.is_current(known, context.settings.ecg_profile):
        ecg_analysis.analyse_study(context, exam.study_id)


def _stored(session: Session, ecgs: ExamEcgs, chosen: EcgSource) -> tuple[EcgAnalysis | None, list[EcgEdit]]:
    repository = EcgRepository(session)
    return repository.analysis(chosen.id), list(repository.edits(ecgs.row.exam.id, chosen.id))


def _tag(row: EcgAnalysis | None, edits: list[EcgEdit]) -> str:
    text = "\n".join([row.id if row else "", *(each.id for each in edits)])
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:40]}"'


def _body(
    context: Context, chosen: EcgSource, row: EcgAnalysis | None, edits: list[EcgEdit]
) -> dict[str, Any]:
    document = ecg_analysis.opened(row) if row else {}
    return {
        "source": chosen.id,
        "engine": row.engine if row else "",
        "profile": row.profile if row else "",
        "not_analysed": "" if document else (row.error if row else "later"),
        "analysed_seconds": row.analysed_seconds if row else 0.0,
        "measurement": document.get("measurement"),
        "quality": document.get("quality"),
        "hints": document.get("hints", []),
        "median": document.get("median"),
        "device": document.get("device") or _device(context, chosen),
        "edits": [_edit(each) for each in edits],
    }


def _device(context: Context, chosen: EcgSource) -> dict[str, Any]:
    """Return what the device says of an ECG that the hub could not analyse."""
    try:
        return device_of(load(context.store, chosen))
    except HubError:
        return NO_DEVICE


def _edit(row: EcgEdit) -> dict[str, Any]:
    return {
        "name": row.name,
        "lead": row.lead,
        "value": row.value,
        "was": row.was,
        "unit": row.unit,
        "by": row.by_name,
        "at": row.at.isoformat(),
        "reason": row.reason,
    }
