"""Is it alive, is it ready, how is it doing: for the watchdog, for Prometheus, for client writers."""

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from hub.auth.actor import Actor
from hub.auth.deps import guard, public
from hub.auth.roles import Permission
from hub.errors import DatabaseUnavailable
from hub.insight.repository import InsightRepository
from hub.jobs import board
from hub.web.deps import ContextDep, ReadingDep
from storage.errors import StorageError

router = APIRouter()


@router.get("/healthz", dependencies=[public()])
def healthz() -> dict[str, str]:
    """Answer as long as the process works at all."""
    return {"status": "alive"}


@router.get("/readyz", dependencies=[public()])
def readyz(context: ContextDep) -> Response:
    """Tell whether database and object store answer; 503 names the one that does not."""
    problems = []
    try:
        with context.db.reading() as session:
            InsightRepository(session).ping()
    except (SQLAlchemyError, DatabaseUnavailable):
        problems.append("database")
    try:
        next(iter(context.store.list("readiness/")), None)
    except StorageError:
        problems.append("object_store")
    status = {"status": "not ready" if problems else "ready", "problems": problems}
    return JSONResponse(status, 503 if problems else 200)


@router.get("/api/openapi.json", dependencies=[public()], include_in_schema=False)
def openapi(request: Request) -> JSONResponse:
    """Describe every REST interface."""
    return JSONResponse(request.app.openapi())


@router.get("/metrics")
def metrics(session: ReadingDep, _actor: Annotated[Actor, guard(Permission.METRICS_VIEW)]) -> Response:
    """Give counts in Prometheus' text format; no label ever holds a person."""
    registry = CollectorRegistry()
    repository = InsightRepository(session)
    exams = Gauge("hub_exams", "Exams by modality and state", ["modality", "state"], registry=registry)
    for (modality, state), count in repository.exams_by_state().items():
        exams.labels(modality, state).set(count)
    held = Gauge(
        "hub_objects",
        "Objects held, by kind; quarantined ones are those still open",
        ["kind"],
        registry=registry,
    )
    for kind, count in repository.received().items():
        held.labels(kind).set(count)
    jobs = Gauge("hub_jobs", "Background jobs by name and status", ["name", "status"], registry=registry)
    for (name, status), count in board.count_jobs(session).items():
        jobs.labels(name, str(status)).set(count)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
