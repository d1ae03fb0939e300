"""Reports for a site's own system: list, text, document; each fetch leaves a receipt."""

import hashlib
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import AwareDatetime
from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.delivery import service
from hub.delivery.documents import DocumentDamaged, hand_out
from hub.delivery.repository import DeliveryRepository, InboxRow
from hub.delivery.schemas import ReceiptOut, ReportOut, ReportPage, ReportSummary, summary
from hub.errors import NotFound
from hub.web.deps import ContextDep, ReadingDep, SessionDep

router = APIRouter(prefix="/api/v1/reports", tags=["reports"])

Reader = Annotated[Actor, guard(Permission.REPORT_VIEW, Permission.REPORT_PULL)]
Confirmer = Annotated[Actor, guard(Permission.REPORT_ACKNOWLEDGE, Permission.REPORT_PULL)]
StatusQuery = Literal["unread", "fetched", "acknowledged", "all"]


@router.get("")
def list_reports(
    actor: Reader,
    session: ReadingDep,
    status: StatusQuery = "all",
    since: AwareDatetime | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> ReportPage:
    """List delivered reports, oldest delivery first.

    ``status``: ``unread`` nobody has taken it; ``fetched`` the site's system has, no person
    has confirmed it; ``acknowledged`` a named person has. ``since`` compares with the
    time of delivery and needs a zone, for example ``2026-03-02T08:00:00+08:00``.
    """
    repository = DeliveryRepository(session)
    rows, total = repository.page(actor, status=status, since=since, limit=limit, offset=offset)
    fetched = repository.fetched([row.delivery.id for row in rows])
    items = [summary(row, row.delivery.id in fetched) for row in rows]
    return ReportPage(total=total, limit=limit, offset=offset, items=items)


@router.get("/{report_id}")
def show_report(report_id: str, actor: Reader, context: ContextDep, session: SessionDep) -> ReportOut:
    """Return a delivered report with its text as it was signed."""
    row = _delivered(session, actor, report_id)
    said = _signed_content(row)
    service.opened(session, actor, row.signed, now=context.clock())
    session.flush()
    repository = DeliveryRepository(session)
    receipts = repository.receipts(row.delivery.id)
    base = summary(row, any(receipt.kind == "fetched" for receipt in receipts))
    return ReportOut(
        **base.model_dump(),
        findings=said["findings"],
        impression=said["impression"],
        positive=said["positive"],
        writer=said["writer"][1],
        written_at=datetime.fromisoformat(said["writer"][2]) if said["writer"][2] else None,
        signer=row.signed.signer_name,
        signer_certificate=row.signed.signer_serial,
        exam_at=row.exam.received_at,
        pdf_sha256=row.signed.pdf_sha256,
        pdf_size=row.signed.pdf_size,
        content_sha256=row.signed.content_sha256,
        receipts=[ReceiptOut(at=each.at, kind=each.kind, by=each.actor_name) for each in receipts],
    )


@router.get("/{report_id}/pdf", response_class=Response)
def fetch_pdf(report_id: str, actor: Reader, context: ContextDep) -> Response:
    """Return the signed document, byte for byte as it was signed."""
    with context.db.reading() as session:
        signed_id = _delivered(session, actor, report_id).signed.id
    document = hand_out(context, actor, signed_id)
    return Response(
        document.content,
        media_type="application/pdf",
        headers={
            "Content-Disposition": f'attachment; filename="{document.file_name}"',
            "X-Content-SHA256": document.signed.pdf_sha256,
        },
    )


@router.post("/{report_id}/acknowledge")
def acknowledge(report_id: str, actor: Confirmer, context: ContextDep, session: SessionDep) -> ReportSummary:
    """Confirm having read a report. Only a named person of the site can; a machine's token is refused."""
    row = _delivered(session, actor, report_id)
    service.acknowledge(session, actor, row.signed, now=context.clock())
    session.flush()
    return summary(_delivered(session, actor, report_id), fetched=False)


def _delivered(session: Session, actor: Actor, report_id: str) -> InboxRow:
    row = DeliveryRepository(session).delivered(actor, report_id)
    if row is None:
        raise NotFound("no such report")
    return row


def _signed_content(row: InboxRow) -> dict[str, Any]:
    """Return the text that the signature answers for."""
    content = row.signed.content
    if hashlib.sha256(content.encode()).hexdigest() != row.signed.content_sha256:
        raise DocumentDamaged(signed_report_id=row.signed.id)
    return row.said
