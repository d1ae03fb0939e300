"""Orders and exams for other systems."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.errors import NotFound
from hub.sites import service as sites
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.worklist import service
from hub.worklist.repository import ExamRow, Filter, WorklistRepository
from hub.worklist.schemas import ExamDetail, ExamOut, ExamPage, OrderIn, exam_out, step_out
from hub.worklist.service import NewOrder
from hub.worklist.states import State

router = APIRouter(prefix="/api/v1", tags=["exams"])

Viewer = Annotated[Actor, guard(Permission.EXAM_VIEW, Permission.WORKLIST_VIEW)]
Orderer = Annotated[Actor, guard(Permission.ORDER_CREATE)]


@router.get("/exams")
def list_exams(
    actor: Viewer,
    session: ReadingDep,
    state: Annotated[list[State] | None, Query()] = None,
    site: str = "",
    modality: str = "",
    text: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> ExamPage:
    """List the exams that the caller may see, newest first. ``state`` may be given several times."""
    site_id = ""
    if site:
        site_id = sites.acting_site(session, actor, Permission.EXAM_VIEW, site).id
    narrow = Filter(
        modality=modality.upper(), site_id=site_id, states=frozenset(state or ()), text=text.strip()
    )
    repository = WorklistRepository(session)
    rows = repository.rows(actor, narrow, newest_first=True, limit=limit, offset=offset)
    total = repository.total(actor, narrow)
    return ExamPage(total=total, limit=limit, offset=offset, items=[exam_out(row) for row in rows])


@router.get("/exams/{exam_id}")
def show_exam(exam_id: str, actor: Viewer, session: SessionDep) -> ExamDetail:
    """Return one exam, by id or number, with every state it was in."""
    row = _row(session, actor, exam_id)
    service.viewed(session, actor, row.exam)
    steps = [step_out(step) for step in WorklistRepository(session).steps(row.exam.id)]
    return ExamDetail(**exam_out(row).model_dump(), timeline=steps)


@router.post("/orders", status_code=201)
def create_order(order: OrderIn, actor: Orderer, context: ContextDep, session: SessionDep) -> ExamOut:
    """Enter an order; the answer holds the accession number and the Study Instance UID for the device."""
    site = sites.acting_site(session, actor, Permission.ORDER_CREATE, order.site)
    new = NewOrder(
        site.id,
        order.patient.person(),
        order.modality,
        order.body_part,
        order.clinical_question,
        order.urgency,
        order.plan(),
    )
    now = context.clock()
    if not order.repeat and service.duplicates(session, actor, new, now=now):
        raise service.PossibleDuplicate
    exam = service.create_order(session, actor, new, settings=context.settings, now=now)
    return exam_out(_row(session, actor, exam.id))


def _row(session: Session, actor: Actor, exam_id: str) -> ExamRow:
    row = WorklistRepository(session).row(actor, exam_id)
    if row is None:
        raise NotFound("no such exam")
    return row
