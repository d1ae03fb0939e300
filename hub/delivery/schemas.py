"""What the interface for a site's own system says of a report."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from hub.delivery.repository import InboxRow

Status = Literal["unread", "fetched", "acknowledged"]


class PatientOut(BaseModel):
    """The patient as the site knows the person."""

    local_id: str
    name: str
    sex: str
    birth_date: str


class ReportSummary(BaseModel):
    """A delivered report in a list."""

    id: str
    exam_number: str
    accession: str
    site: str
    patient: PatientOut
    modality: str
    body_part: str
    version: int
    signed_at: datetime
    delivered_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str
    status: Status
    url: str
    pdf_url: str


class ReportPage(BaseModel):
    """One page of a list; `total` counts all that the question fits."""

    total: int
    limit: int
    offset: int
    items: list[ReportSummary]


class ReceiptOut(BaseModel):
    """Proof that somebody took or read the report."""

    at: datetime
    kind: str
    by: str


class ReportOut(ReportSummary):
    """A delivered report in full."""

    findings: str
    impression: str
    positive: bool | None
    writer: str
    written_at: datetime | None
    signer: str
    signer_certificate: str
    exam_at: datetime | None
    pdf_sha256: str
    pdf_size: int
    content_sha256: str
    receipts: list[ReceiptOut]


def summary(row: InboxRow, fetched: bool) -> ReportSummary:
    """Return what a list says of one report."""
    signed, delivery = row.signed, row.delivery
    assert delivery.delivered_at is not None  # listings hold delivered reports only
    return ReportSummary(
        id=signed.id,
        exam_number=row.exam.number,
        accession=row.accession,
        site=row.site.code,
        patient=PatientOut(
            local_id=row.local_id, name=row.patient_name, sex=row.sex, birth_date=row.birth_date
        ),
        modality=row.exam.modality,
        body_part=row.exam.body_part,
        version=signed.version,
        signed_at=signed.signed_at,
        delivered_at=delivery.delivered_at,
        acknowledged_at=delivery.acknowledged_at,
        acknowledged_by=row.exam.acked_by if delivery.acknowledged_at else "",
        status="acknowledged" if delivery.acknowledged_at else "fetched" if fetched else "unread",
        url=f"/api/v1/reports/{signed.id}",
        pdf_url=f"/api/v1/reports/{signed.id}/pdf",
    )
