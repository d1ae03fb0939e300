"""Boards for IT and for the auditor: jobs, devices' last signs of life, the audit trail."""

import base64
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from hub.audit import repository as trail
from hub.audit.tags import Tag
from hub.audit.verify import verify_chain
from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.context import Context
from hub.errors import Malformed
from hub.insight import service
from hub.insight.repository import InsightRepository
from hub.insight.service import VIEWS, Found, TrailSearch
from hub.jobs import board
from hub.sites.repository import SiteRepository
from hub.web import i18n
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.web.errors import explain
from hub.web.templating import language_of, render, toast, translator_of

router = APIRouter(include_in_schema=False)

STUCK_AFTER = timedelta(minutes=10)
STATUSES: tuple[board.Status, ...] = ("waiting", "delayed", "running", "failed", "cancelled", "done")
LATEST = 50

JobsActor = Annotated[Actor, guard(Permission.JOBS_VIEW)]
AuditActor = Annotated[Actor, guard(Permission.AUDIT_VIEW)]


@router.get("/admin/devices/seen")
def devices_seen(
    request: Request, session: ReadingDep, _actor: Annotated[Actor, guard(Permission.ADMINISTER)]
) -> Response:
    """Give the devices' last signs of life, to be put into the page of sites."""
    page = {
        "devices": SiteRepository(session).devices(),
        "seen": InsightRepository(session).device_last_seen(),
    }
    return render(request, "insight/_seen.html", page)


@router.get("/admin/jobs")
def jobs_page(request: Request, session: ReadingDep, _actor: JobsActor) -> Response:
    """Show what the background is doing and what is stuck."""
    return render(request, "insight/jobs.html", _board(session))


@router.get("/admin/jobs/board")
def jobs_board(request: Request, session: ReadingDep, _actor: JobsActor) -> Response:
    """Give the page's inside, which asks for itself again every few seconds."""
    return render(request, "insight/_jobs.html", _board(session))


@router.post("/admin/jobs/{job_id}/retry")
def retry_job(request: Request, session: SessionDep, actor: JobsActor, job_id: str) -> Response:
    """Start a job over."""
    service.retry_job(session, actor, job_id)
    headers = toast("ok", translator_of(request)("insight.jobs.retried"))
    return render(request, "insight/_jobs.html", _board(session), headers=headers)


@router.post("/admin/jobs/{job_id}/cancel")
def cancel_job(request: Request, session: SessionDep, actor: JobsActor, job_id: str) -> Response:
    """Take a job out of the queue."""
    service.cancel_job(session, actor, job_id)
    headers = toast("ok", translator_of(request)("insight.jobs.cancelled"))
    return render(request, "insight/_jobs.html", _board(session), headers=headers)


def _board(session: Session) -> dict[str, Any]:
    counts = board.count_jobs(session)
    totals = {
        status: sum(number for (_, theirs), number in counts.items() if theirs == status)
        for status in STATUSES
    }
    names = sorted({name for name, _ in counts})
    return {
        "statuses": STATUSES,
        "totals": totals,
        "names": [(name, {status: counts.get((name, status), 0) for status in STATUSES}) for name in names],
        "stuck": board.stuck_jobs(session, STUCK_AFTER),
        "latest": board.list_jobs(session, limit=LATEST),
        "minutes": int(STUCK_AFTER.total_seconds() // 60),
    }


def _typed(
    patient: Annotated[str, Query(max_length=200)] = "",
    person: Annotated[str, Query(max_length=64)] = "",
    tag: Annotated[str, Query(max_length=64)] = "",
    exam: Annotated[str, Query(max_length=64)] = "",
    since: Annotated[str, Query(max_length=32)] = "",
    until: Annotated[str, Query(max_length=32)] = "",
) -> TrailSearch:
    return TrailSearch(patient, person, tag, exam, since, until)


Typed = Annotated[TrailSearch, Depends(_typed)]


@router.get("/audit")
def audit_page(
    request: Request,
    context: ContextDep,
    session: ReadingDep,
    actor: AuditActor,
    typed: Typed,
    before: int | None = None,
) -> Response:
    """Search the trail; the search itself becomes part of it."""
    error = ""
    try:
        found = service.understand(session, typed, context.settings.zone)
    except Malformed as refused:
        error, typed = explain(request, refused), TrailSearch()
        found = service.understand(session, typed, context.settings.zone)
    if typed.fields:
        _note(context, actor, typed, found, export=False)
    rows = trail.search(session, found.query, before_seq=before, limit=service.PAGE_ROWS)
    repository = InsightRepository(session)
    filled = {name: getattr(typed, name) for name in typed.fields}
    last = rows[-1].seq if len(rows) == service.PAGE_ROWS else None
    page = {
        "rows": rows,
        "typed": typed,
        "error": error,
        "found_patients": found.patients,
        "patients": repository.patients_by_id(sorted({row.patient_id for row in rows if row.patient_id})),
        "people": repository.user_names(),
        "sites": repository.site_names(),
        "tags": _tags(request),
        "tag_text": _tag_text(request),
        "views": VIEWS,
        "later": f"/audit?{urlencode({**filled, 'before': last})}" if last else "",
        "earlier": f"/audit?{urlencode(filled)}" if before else "",
        "export": f"/audit/export.csv?{urlencode(filled)}",
    }
    return render(request, "insight/audit.html", page, 422 if error else 200)


@router.get("/audit/export.csv")
def export(context: ContextDep, session: ReadingDep, actor: AuditActor, typed: Typed) -> Response:
    """Give matching rows as a file, with its SHA-256 in the header; the export itself is noted."""
    found = service.understand(session, typed, context.settings.zone)
    content, sha256 = service.as_csv(session, found.query)
    _note(context, actor, typed, found, export=True)
    name = f"audit-{context.clock().astimezone(context.settings.zone):%Y%m%d-%H%M%S}-{sha256[:12]}.csv"
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-SHA256": sha256,
        "Repr-Digest": f"sha-256=:{digest}:",  # RFC 9530
        "Cache-Control": "no-store",
    }
    return Response(content, media_type="text/csv; charset=utf-8", headers=headers)


def _note(context: Context, actor: Actor, typed: TrailSearch, found: Found, *, export: bool) -> None:
    """Note a search in a transaction of its own: the search may be long and must not hold up writers."""
    with context.db.transaction() as session:
        service.note_search(session, actor, typed, found, export=export)


@router.post("/audit/verify")
def verify(request: Request, session: ReadingDep, _actor: AuditActor) -> Response:
    """Read the whole chain and say whether it holds."""
    return render(request, "insight/_verdict.html", {"verdict": verify_chain(session)})


def _tag_text(request: Request) -> Any:
    """Return what turns a tag into words; a tag without any is shown as it is."""
    lang = language_of(request)

    def words(tag: str) -> str:
        key = f"insight.tag.{tag.replace(':', '.')}"
        return str(i18n.translator(lang)(key)) if key in i18n.catalogue(lang) else tag

    return words


def _tags(request: Request) -> list[tuple[str, str]]:
    words = _tag_text(request)
    views = translator_of(request)("insight.audit.views")
    return [(VIEWS, views), *((tag.value, words(tag.value)) for tag in Tag)]
