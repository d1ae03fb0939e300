"""The township's page: ordering, what has arrived, what became of each exam."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.catalogue.repository import CatalogueRepository
from hub.context import Context
from hub.errors import HubError, NotFound, Rejected
from hub.kit.people import mask_number, sex_of_id_number, valid_id_number
from hub.patients import service as patients
from hub.patients.repository import PatientRepository
from hub.patients.service import Person
from hub.sites import service as sites
from hub.sites.models import Site
from hub.sites.repository import SiteRepository
from hub.web.deps import ContextDep, ReadingDep, SessionDep
from hub.web.errors import message_of
from hub.web.live import LiveEvent
from hub.web.sse import events
from hub.web.templating import language_of, render, toast, translator_of
from hub.worklist import attendance, service
from hub.worklist.models import Exam
from hub.worklist.news import TOPIC
from hub.worklist.plans import Plan, ViewsImpossible, stations
from hub.worklist.reading import images_opened
from hub.worklist.repository import ExamRow, Filter, WorklistRepository
from hub.worklist.service import NewOrder
from hub.worklist.states import Event, State
from hub.worklist.steps import shown_step
from hub.worklist.timeline import timeline
from hub.worklist.triage import URGENCIES

router = APIRouter(include_in_schema=False)

SiteActor = Annotated[Actor, guard(Permission.SITE_PAGE)]
Orderer = Annotated[Actor, guard(Permission.ORDER_CREATE)]

MODALITIES = ("DX", "CR", "CT", "MR", "US", "ECG")
"""What the order form offers; the interface takes any."""

TAKES_OBJECTS = frozenset({State.ORDERED, State.ARRIVED, State.PERFORMED, State.RECEIVING})
TAKES_OBJECTS |= {State.COMPLETE, State.REJECTED}
"""States in which files can be put beside what has come."""

SETTLED = frozenset({State.ACKED, State.ADDENDED, State.CORRECTED, State.WITHDRAWN, State.CANCELLED})
SHOWN: dict[str, frozenset[State]] = {
    "open": frozenset(State) - SETTLED,
    "rejected": frozenset({State.REJECTED, State.UNMATCHED}),
    "today": frozenset(),
    "all": frozenset(),
}
"""The tabs of the exam list and the states each shows; empty means every state."""

PAGE_ROWS = 100
FIELDS = (
    *("name", "local_id", "id_number", "sex", "birth_date", "phone"),
    *("modality", "body_part", "clinical_question", "urgency"),
    *("scheduled_at", "station_ae", "expected_objects", "form"),
)
"""Fields of the order form, and ``form`` for what concerns none of them."""

FIELD_OF_ERROR = {
    "NameMissing": "name",
    "BadSex": "sex",
    "BadBirthDate": "birth_date",
    "BadIdNumber": "id_number",
    "IdNumberSex": "id_number",
    "IdNumberBirthDate": "id_number",
    "PatientNumberTaken": "local_id",
    "ModalityMissing": "modality",
    "BadPlannedTime": "scheduled_at",
    "StationUnknown": "station_ae",
    "ViewsImpossible": "expected_objects",
}
"""Beside which field of the order form a refusal is shown."""


PLAN_FIELDS = ("scheduled_at", "station_ae", "expected_objects")
"""Fields that few orders need; they are folded away."""

LOOSE_STEP_DAYS = 7
"""What devices reported of exams that nobody ordered is shown for so long."""


class BadPlannedTime(Rejected):
    """The planned time is a day and a minute."""


@dataclass(frozen=True)
class OrderForm:
    """The order form as it stands; `values` and `errors` have every one of `FIELDS`."""

    site: Site
    values: dict[str, str]
    errors: dict[str, str] = field(default_factory=lambda: dict.fromkeys(FIELDS, ""))
    duplicates: Sequence[Exam] = ()
    created: ExamRow | None = None
    modalities: tuple[str, ...] = MODALITIES
    urgencies: tuple[str, ...] = tuple(reversed(URGENCIES))
    body_parts: tuple[str, ...] = ()
    stations: Mapping[str, str] = field(default_factory=dict)
    """Titles of the site's devices, with their names."""

    @property
    def planned(self) -> bool:
        """Whether the folded fields say something."""
        return any(self.values[name] or self.errors[name] for name in PLAN_FIELDS)


@router.get("/site")
def site_page(
    request: Request,
    actor: SiteActor,
    context: ContextDep,
    session: ReadingDep,
    site: str = "",
    show: str = "open",
    text: str = "",
    panel: str = "order",
    offset: int = 0,
) -> Response:
    """Show a site's exams, and beside them the order form or the upload area."""
    here = _site(session, actor, site)
    listed = _listed(session, actor, context, here, show, text, offset)
    mine = SiteRepository(session).sites(actor.sites_for(Permission.SITE_PAGE))
    page = listed | {
        "sites": mine,
        "panel": panel if panel in ("order", "upload") else "order",
        "form": _new_form(request, session, here),
        "urgencies": tuple(reversed(URGENCIES)),
    }
    return render(request, "site/page.html", page)


@router.get("/site/rows")
def exam_rows(
    request: Request,
    actor: SiteActor,
    context: ContextDep,
    session: ReadingDep,
    site: str = "",
    show: str = "open",
    text: str = "",
    offset: int = 0,
) -> Response:
    """Show the exam list alone, for its live refresh."""
    here = _site(session, actor, site)
    return render(request, "site/_rows.html", _listed(session, actor, context, here, show, text, offset))


@router.get("/site/events")
async def site_events(request: Request, actor: SiteActor, site: str = "") -> Response:
    """Tell an open page of changes at the sites where its user works, or at one of them."""
    allowed = actor.sites_for(Permission.SITE_PAGE)

    def wanted(event: LiveEvent) -> bool:
        own = event.site_id is not None and (allowed is None or event.site_id in allowed)
        return own and event.topic == TOPIC and site in ("", event.site_id)

    return events(request, wanted, "exam", "exam_id")


def _site(session: Session, actor: Actor, code: str) -> Site:
    """Return the site whose page is shown: the one named, else the first of the actor's."""
    own = SiteRepository(session).sites(actor.sites_for(Permission.SITE_PAGE))
    if not code and own:
        return own[0]
    return sites.acting_site(session, actor, Permission.SITE_PAGE, code)


def _listed(
    session: Session, actor: Actor, context: Context, site: Site, show: str, text: str, offset: int
) -> dict[str, Any]:
    show = show if show in SHOWN else "open"
    midnight = _midnight(context)
    narrow = Filter(
        site_id=site.id,
        states=SHOWN[show],
        text=text.strip()[:200],
        since=midnight if show == "today" else None,
    )
    repository = WorklistRepository(session)
    offset = max(0, offset)
    lately = context.clock() - timedelta(days=LOOSE_STEP_DAYS)
    rows = repository.rows(actor, narrow, newest_first=True, limit=PAGE_ROWS, offset=offset)
    counts = repository.counts(actor, Filter(site_id=site.id))
    return {
        "site": site,
        "rows": rows,
        "show": show,
        "text": narrow.text,
        "offset": offset,
        "page_rows": PAGE_ROWS,
        "total": repository.total(actor, narrow),
        "open_count": sum(counts.get(state, 0) for state in SHOWN["open"]),
        "rejected_count": sum(counts.get(state, 0) for state in SHOWN["rejected"]),
        "may_send": actor.may(Permission.EXAM_SEND, site.id),
        "loose_steps": [shown_step(each) for each in repository.loose_steps(site.id, lately)],
    }


def _midnight(context: Context) -> datetime:
    zone = context.settings.zone
    today = context.clock().astimezone(zone).date()
    return datetime.combine(today, time(), zone).astimezone(UTC)


def born(birth_date: str) -> date | None:
    """Return a full birth date as a day; None when it is not known to the day."""
    try:
        return datetime.strptime(birth_date, "%Y%m%d").date()  # noqa: DTZ007 - a calendar day has no zone
    except ValueError:
        return None


# --- ordering


def _new_form(request: Request, session: Session, site: Site, **values: str) -> OrderForm:
    values = {**dict.fromkeys(FIELDS, ""), "urgency": "routine", **values}
    parts = _body_parts(request, values.get("modality", ""))
    return OrderForm(site, values, body_parts=parts, stations=stations(session, site.id))


def _body_parts(request: Request, modality: str) -> tuple[str, ...]:
    if modality not in MODALITIES:
        return ()
    return tuple(translator_of(request)(f"site.body_parts.{modality}").split("|"))


@router.get("/site/order-form")
def order_form(
    request: Request, actor: Orderer, session: SessionDep, site: str = "", patient: str = ""
) -> Response:
    """Show the order form, empty or for a patient the site knows."""
    here = sites.acting_site(session, actor, Permission.ORDER_CREATE, site)
    values: dict[str, str] = {}
    if patient:
        known = PatientRepository(session).readable(actor, patient)
        if known is None or known.site_id != here.id:
            raise NotFound("no such patient")
        patients.viewed(session, actor, known)
        day = born(known.birth_date)
        values = {
            "local_id": known.local_id,
            "name": known.name,
            "sex": known.sex,
            "birth_date": day.isoformat() if day else "",
        }
    return render(request, "site/_order_form.html", {"form": _new_form(request, session, here, **values)})


@router.post("/site/patients")
def find_patients(
    request: Request,
    actor: Orderer,
    session: ReadingDep,
    site: Annotated[str, Form()] = "",
    text: Annotated[str, Form()] = "",
) -> Response:
    """Find patients the site knows. A POST, so that no name or number lands in an address."""
    here = sites.acting_site(session, actor, Permission.ORDER_CREATE, site)
    wanted = text.strip()
    found = PatientRepository(session).search(actor, wanted, here.id, limit=8) if wanted else []
    return render(
        request,
        "site/_patients.html",
        {"patients": found, "asked": bool(wanted), "site": here, "born": born},
    )


@router.post("/site/id-number")
def check_id_number(
    request: Request,
    actor: Orderer,
    id_number: Annotated[str, Form()] = "",
    sex: Annotated[str, Form()] = "",
    birth_date: Annotated[str, Form()] = "",
) -> Response:
    """Check an identity number and fill in what it says: sex and birth date (GB 11643-1999)."""
    del actor
    number = id_number.strip().upper()
    values = {"id_number": number, "sex": sex, "birth_date": birth_date}
    errors = dict.fromkeys(FIELDS, "")
    if valid_id_number(number):
        values |= {
            "sex": sex_of_id_number(number),
            "birth_date": f"{number[6:10]}-{number[10:12]}-{number[12:14]}",
        }
    elif number:
        errors["id_number"] = message_of(language_of(request), "BadIdNumber", "")
    return render(request, "site/_id_fields.html", {"values": values, "errors": errors})


@router.get("/site/body-parts")
def body_parts(request: Request, actor: Orderer, modality: str = "") -> Response:
    """Suggest the body parts of a modality."""
    del actor
    return render(request, "site/_body_parts.html", {"body_parts": _body_parts(request, modality)})


@router.post("/site/orders")
def create_order(
    request: Request,
    actor: Orderer,
    context: ContextDep,
    site: Annotated[str, Form()] = "",
    local_id: Annotated[str, Form(max_length=64)] = "",
    name: Annotated[str, Form(max_length=200)] = "",
    sex: Annotated[str, Form()] = "",
    birth_date: Annotated[str, Form()] = "",
    id_number: Annotated[str, Form()] = "",
    phone: Annotated[str, Form(max_length=32)] = "",
    modality: Annotated[str, Form()] = "",
    body_part: Annotated[str, Form(max_length=64)] = "",
    clinical_question: Annotated[str, Form(max_length=2000)] = "",
    urgency: Annotated[str, Form()] = "routine",
    scheduled_at: Annotated[str, Form(max_length=32)] = "",
    station_ae: Annotated[str, Form(max_length=16)] = "",
    expected_objects: Annotated[str, Form(max_length=8)] = "",
    repeat: Annotated[str, Form()] = "",
) -> Response:
    """Enter an order. A like one within a week is shown first and wants a second click."""
    person = Person(local_id, name, sex, birth_date, id_number, phone)
    values = {
        **{key: getattr(person, key) for key in ("local_id", "name", "sex", "birth_date", "id_number")},
        "phone": phone,
        "modality": modality,
        "body_part": body_part,
        "clinical_question": clinical_question,
        "urgency": urgency,
        "scheduled_at": scheduled_at,
        "station_ae": station_ae,
        "expected_objects": expected_objects,
    }
    with context.db.reading() as session:
        here = sites.acting_site(session, actor, Permission.ORDER_CREATE, site)
        form, empty = _new_form(request, session, here, **values), _new_form(request, session, here)
    now = context.clock()
    try:
        plan = _plan(context, scheduled_at, station_ae, expected_objects)
        new = NewOrder(here.id, person, modality, body_part, clinical_question, urgency, plan)
        with context.db.transaction() as session:
            alike = [] if repeat else service.duplicates(session, actor, new, now=now)
            if alike:
                again = replace(form, duplicates=alike)
                return render(request, "site/_order_form.html", {"form": again}, 422)
            exam = service.create_order(session, actor, new, settings=context.settings, now=now)
            row = WorklistRepository(session).row_of(exam)
    except HubError as error:
        said = message_of(language_of(request), error.code, str(error))
        errors = {**dict.fromkeys(FIELDS, ""), FIELD_OF_ERROR.get(error.code, "form"): said}
        again = replace(form, errors=errors)
        return render(request, "site/_order_form.html", {"form": again}, 422)
    done = replace(empty, created=row)
    said = translator_of(request)("site.order.created", number=exam.number)
    return render(request, "site/_order_form.html", {"form": done}, headers=toast("ok", said))


def _plan(context: Context, scheduled_at: str, station_ae: str, expected_objects: str) -> Plan:
    """Read the folded fields: a local time, a title, a number."""
    try:
        local = datetime.fromisoformat(scheduled_at) if scheduled_at else None
    except ValueError as error:
        raise BadPlannedTime from error
    number = expected_objects.strip()
    if number and not (number.isascii() and number.isdecimal()):
        raise ViewsImpossible
    zoned = local.replace(tzinfo=local.tzinfo or context.settings.zone) if local else None
    return Plan(zoned.astimezone(UTC) if zoned else None, station_ae, int(number) if number else None)


# --- one exam


def _exam_page(request: Request, session: Session, actor: Actor, exam_id: str) -> dict[str, Any]:
    repository, files = WorklistRepository(session), CatalogueRepository(session)
    row = repository.row(actor, exam_id)
    if row is None or not actor.may(Permission.SITE_PAGE, row.exam.site_id):
        raise NotFound("no such exam")
    state = State(row.exam.state)
    study_uid = row.study.study_uid if row.study else row.order.study_uid if row.order else ""
    reported = repository.steps_of_study(row.exam.site_id, study_uid, row.exam.order_id)
    return {
        "row": row,
        "exam": row.exam,
        "id_number": mask_number(row.patient.id_number) if row.patient else "",
        "timeline": timeline(translator_of(request), repository.steps(row.exam.id)),
        "series": files.series_sizes(row.study.id) if row.study else [],
        "recordings": files.recordings(row.study.id) if row.study else [],
        "may_send": actor.may(Permission.EXAM_SEND, row.exam.site_id) and state is State.RECEIVING,
        "may_arrive": service.possible(actor, row.exam, Event.ARRIVE),
        "may_perform": state in (State.ORDERED, State.ARRIVED)
        and actor.may(Permission.EXAM_SEND, row.exam.site_id),
        "procedure_steps": [shown_step(each) for each in reported],
        "may_cancel": service.possible(actor, row.exam, Event.CANCEL),
        "may_match": state is State.UNMATCHED and actor.may(Permission.DESK_MATCH, row.exam.site_id),
        "takes_objects": state in TAKES_OBJECTS,
        "site": row.site,
        "urgencies": tuple(reversed(URGENCIES)),
    }


@router.get("/site/exams/{exam_id}")
def exam_page(request: Request, exam_id: str, actor: SiteActor, session: SessionDep) -> Response:
    """Show one exam: order, objects, every state with its time, and where more files can be put."""
    page = _exam_page(request, session, actor, exam_id)
    service.viewed(session, actor, page["exam"])
    return render(request, "site/exam.html", page)


@router.get("/site/exams/{exam_id}/body")
def exam_body(request: Request, exam_id: str, actor: SiteActor, session: SessionDep) -> Response:
    """Show the part of an exam's page that changes, for its live refresh."""
    page = _exam_page(request, session, actor, exam_id)
    service.viewed(session, actor, page["exam"])
    return render(request, "site/_exam_body.html", page)


@router.get("/site/exams/{exam_id}/images")
def exam_images(request: Request, exam_id: str, actor: SiteActor, session: SessionDep) -> Response:
    """Show an exam's images or tracing to the site that sent them."""
    page = _exam_page(request, session, actor, exam_id)
    images_opened(session, actor, page["exam"])
    return render(request, "site/images.html", page)


@router.get("/site/exams/{exam_id}/events")
async def exam_events(request: Request, exam_id: str, actor: SiteActor) -> Response:
    """Tell an open exam page of changes to this exam, if it is of one of the user's sites."""
    allowed = actor.sites_for(Permission.SITE_PAGE)

    def wanted(event: LiveEvent) -> bool:
        own = event.site_id is not None and (allowed is None or event.site_id in allowed)
        return own and event.topic == TOPIC and event.ids.get("exam_id") == exam_id

    return events(request, wanted, "exam", "exam_id")


@router.post("/site/exams/{exam_id}/finish")
def finish_sending(
    request: Request,
    exam_id: str,
    context: ContextDep,
    session: SessionDep,
    actor: Annotated[Actor, guard(Permission.EXAM_SEND)],
) -> Response:
    """Take the technician's word that everything was sent."""
    service.finish_sending(session, actor, exam_id, now=context.clock())
    return Response(status_code=204, headers=toast("info", translator_of(request)("site.finish.said")))


@router.post("/site/exams/{exam_id}/arrived")
def patient_arrived(
    exam_id: str,
    context: ContextDep,
    session: SessionDep,
    actor: Annotated[Actor, guard(Permission.EXAM_SEND)],
) -> Response:
    """Take the technician's word that the patient has come and is who the order says."""
    attendance.arrive(session, actor, exam_id, now=context.clock())
    return Response(status_code=204)


@router.post("/site/exams/{exam_id}/performed")
def exam_performed(
    exam_id: str,
    context: ContextDep,
    session: SessionDep,
    actor: Annotated[Actor, guard(Permission.EXAM_SEND)],
) -> Response:
    """Take the technician's word that the exam was taken."""
    attendance.perform(session, actor, exam_id, now=context.clock())
    return Response(status_code=204)


@router.post("/site/exams/{exam_id}/cancel")
def cancel_exam(
    exam_id: str,
    context: ContextDep,
    session: SessionDep,
    actor: Annotated[Actor, guard(Permission.EXAM_CANCEL)],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Cancel an exam that nobody has begun to read, with its reason."""
    exam = service.cancel(session, actor, exam_id, reason=reason, now=context.clock())
    return RedirectResponse(f"/site/exams/{exam.id}", 303)
