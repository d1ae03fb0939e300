"""Signed reports in a site's inbox, entered as signing enters them but without setting a document."""

import hashlib
import json
from datetime import datetime

import pytest
from sqlalchemy import select

from hub.catalogue import keys
from hub.delivery.models import Delivery
from hub.jobs.queue import enqueue
from hub.reports import service as reports
from hub.reports.models import Report, SignedReport
from hub.reports.service import Draft
from hub.worklist import service as worklist
from hub.worklist.models import Exam
from hub.worklist.states import Event
from tests.fixtures.world import World

PDF = b"%PDF-1.7\nnot a real document, and never altered\n%%EOF\n"


def sign(world: World, site: str = "DP", *, deliver: bool = True, **facts: object) -> SignedReport:
    """Take an exam from its first object to a signed, delivered report."""
    exam = world.complete_exam(site, **facts)
    writer, reviewer, now = world.actor("writer1"), world.actor("reviewer1"), world.clock()
    with world.context.db.transaction() as session:
        worklist.claim(session, writer, exam.id, settings=world.context.settings, now=now)
        draft = Draft("双肺纹理清晰。", "未见异常。", False)
        reports.save(session, writer, exam.id, draft, revision=None, now=now)
        reports.submit(session, writer, exam.id, now=now)
    with world.context.db.transaction() as session:
        signed = _enter(session, world, exam.id, now)
        held = session.get(Exam, exam.id)
        assert held is not None
        worklist.advance(session, held, Event.SIGN, reviewer, now, values={"signed_at": now})
        if deliver:
            enqueue(session, "delivery.deliver", signed_report_id=signed.id)
    if deliver:
        world.run_jobs()
    return signed


def _enter(session, world: World, exam_id: str, now: datetime) -> SignedReport:
    report = session.scalars(select(Report).where(Report.exam_id == exam_id)).one()
    exam = session.get(Exam, exam_id)
    said = {
        "version": 1,
        "findings": report.findings,
        "impression": report.impression,
        "positive": report.positive,
        "writer": [report.writer_id, report.writer_name, now.isoformat(timespec="seconds")],
    }
    content = json.dumps({"report": said}, ensure_ascii=False, sort_keys=True)
    pdf = PDF + exam_id.encode()
    digest = hashlib.sha256(pdf).hexdigest()
    stored = world.context.store.put(keys.report_key(exam.number, 1, digest), pdf)
    signed = SignedReport(
        report_id=report.id,
        exam_id=exam_id,
        site_id=exam.site_id,
        version=1,
        content=content,
        content_sha256=hashlib.sha256(content.encode()).hexdigest(),
        writer_id=world.user_ids["writer1"],
        signer_id=world.user_ids["reviewer1"],
        signer_name="沈审核",
        signer_serial="01",
        signed_at=now,
        pdf_key=stored.key,
        pdf_size=stored.size,
        pdf_sha256=digest,
    )
    session.add(signed)
    session.flush()
    return signed


def delivery_of(world: World, signed: SignedReport) -> Delivery:
    """The delivery of a signed report as it is now."""
    with world.context.db.reading() as session:
        return session.scalars(select(Delivery).where(Delivery.signed_report_id == signed.id)).one()


@pytest.fixture
def signed(world: World) -> SignedReport:
    """A report in the inbox of DP, on both databases."""
    return sign(world)


@pytest.fixture
def sqlite_signed(sqlite_world: World) -> SignedReport:
    """A report in the inbox of DP."""
    return sign(sqlite_world)
