"""Handing out signed documents: only the bytes that were signed, and each time with a trace."""

import hashlib
from dataclasses import dataclass

import structlog

from hub.auth.actor import Actor
from hub.context import Context
from hub.delivery import service
from hub.errors import HubError, NotFound, StoreUnavailable
from hub.reports.models import SignedReport
from hub.reports.repository import ReportRepository
from storage.errors import ObjectNotFound, StorageError

log = structlog.get_logger()


class DocumentDamaged(HubError):
    """The stored document is not the one that was signed; it is not handed out."""


@dataclass(frozen=True)
class Document:
    """A signed document as it is handed out."""

    signed: SignedReport
    file_name: str
    content: bytes


def hand_out(context: Context, actor: Actor, report_id: str) -> Document:
    """Return a signed document with its bytes, keeping who got it.

    The object store is read outside any transaction. What is handed out was signed: bytes
    whose SHA-256 differs from the row's never leave.

    Raises
    ------
    NotFound
        There is no such report, or the actor may not read it.
    DocumentDamaged
        The stored bytes are missing or altered. The failed attempt is kept.
    StoreUnavailable
        The object store does not answer. The failed attempt is kept.
    """
    with context.db.reading() as session:
        found = ReportRepository(session).readable_signed(actor, report_id)
    if found is None:
        raise NotFound("no such report")
    signed, exam = found
    try:
        content = _intact(context, signed)
    except HubError as error:
        with context.db.transaction() as session:
            service.failed(session, signed, cause=error.code, now=context.clock())
        raise
    with context.db.transaction() as session:
        service.opened(session, actor, signed, now=context.clock(), download=True)
    return Document(signed, f"{exam.number}-{signed.version}.pdf", content)


def _intact(context: Context, signed: SignedReport) -> bytes:
    try:
        content = context.store.get(signed.pdf_key)
    except ObjectNotFound as error:
        log.exception("document_missing", signed_report_id=signed.id)
        raise DocumentDamaged(signed_report_id=signed.id) from error
    except StorageError as error:
        log.exception("store_failed", key_prefix="report", cause=type(error).__name__)
        raise StoreUnavailable from error
    if hashlib.sha256(content).hexdigest() != signed.pdf_sha256:
        log.error("document_altered", signed_report_id=signed.id)
        raise DocumentDamaged(signed_report_id=signed.id)
    return content
