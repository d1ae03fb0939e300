"""Looking at the ECGs of an exam: sheets for a page, one sheet as SVG, samples as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.context import Context
from hub.ecg.measure import measure_heart_rate
from hub.ecg.paper import GAINS_MM_PER_MV, LAYOUTS, SPEEDS_MM_PER_S
from hub.ecg.sources import load
from hub.errors import NotFound, Rejected
from hub.web.deps import ContextDep
from hub.web.i18n import Translate, catalogue
from hub.web.templating import is_fragment, language_of, render, translator_of
from hub.worklist import ecg_sheets
from hub.worklist.ecg_sheets import Choice, ExamEcgs, Sheet
from hub.worklist.models import Exam
from hub.worklist.reading import images_opened
from hub.worklist.repository import ExamRow, WorklistRepository
from hub.worklist.states import LEASED_STATES, State

router = APIRouter()

Viewer = Annotated[Actor, guard(Permission.IMAGES_VIEW)]
Start = Annotated[float, Query(ge=0, le=200_000, allow_inf_nan=False)]

MAX_SECONDS = 120.0
NOT_MODIFIED = 304
_WORDS = ("ecg.view.", "ecg.hint.", "ecg.quality.", "ecg.number.", "ecg.reason.")
"""Keys of the texts that the viewer's script needs; of the first kind without its beginning."""


class LayoutUnknown(Rejected):
    """There is no such arrangement of leads, speed or gain."""


def _choice(
    layout: str = "", start: Start = 0.0, speed: float = 25.0, gain: float = 10.0, cabrera: bool = False
) -> Choice:
    """Read how a sheet is wanted from the address."""
    layout = layout or next(iter(LAYOUTS))
    if layout not in LAYOUTS or speed not in SPEEDS_MM_PER_S or gain not in GAINS_MM_PER_MV:
        raise LayoutUnknown
    return Choice(layout, start, speed, gain, cabrera)


ChoiceDep = Annotated[Choice, Depends(_choice)]


@dataclass(frozen=True)
class EcgView:
    """What the sheets of an exam are shown with."""

    exam: Exam
    row: ExamRow
    sheets: Sequence[Sheet]
    priors: Sequence[ExamRow]
    compared: ExamRow | None
    compared_sheets: Sequence[Sheet]
    choice: Choice
    fit: bool
    is_part: bool
    """Whether it stands inside another page."""
    may_edit: bool
    """Whether the reader holds the exam: values are put right by whoever writes the report."""
    words: dict[str, str]
    sources: list[dict[str, Any]]
    """The ECGs that can be read, for the viewer's script."""
    layouts: tuple[str, ...] = tuple(LAYOUTS)


@router.get("/exams/{exam_id}/ecg", include_in_schema=False)
def show(
    request: Request,
    exam_id: str,
    actor: Viewer,
    context: ContextDep,
    choice: ChoiceDep,
    compare: str = "",
    fit: bool = False,
) -> Response:
    """Show every ECG of an exam: a part for a page that asks by htmx, else a page to print."""
    with context.db.reading() as session:
        ecgs = ecg_sheets.find(session, actor, exam_id)
        others = WorklistRepository(session).priors(actor, ecgs.row.exam)
        priors = [row for row in others if row.exam.modality == "ECG"]
        compared = _prior(priors, compare) if compare else None
        compared_ecgs = ecg_sheets.find(session, actor, compared.exam.id) if compared else None
    sheets = _sheets(request, context, ecgs, choice)
    compared_sheets = _sheets(request, context, compared_ecgs, choice) if compared_ecgs else ()
    _seen(context, actor, [(ecgs, sheets), (compared_ecgs, compared_sheets)])
    part = is_fragment(request)
    view = EcgView(
        ecgs.row.exam,
        ecgs.row,
        sheets,
        priors,
        compared,
        compared_sheets,
        choice,
        fit,
        part,
        State(ecgs.row.exam.state) in LEASED_STATES and ecgs.row.exam.owner_id == actor.id,
        _words(language_of(request)),
        _sources(sheets, translator_of(request)),
    )
    return render(request, "ecg/_view.html" if part else "ecg/page.html", view)


@router.get("/api/v1/exams/{exam_id}/ecg.svg", tags=["exams"])
def svg(
    request: Request,
    exam_id: str,
    actor: Viewer,
    context: ContextDep,
    choice: ChoiceDep,
    source: str = "",
) -> Response:
    """Return one ECG as a sheet true to scale in millimetres; the latest unless ``source`` names one."""
    with context.db.reading() as session:
        ecgs = ecg_sheets.find(session, actor, exam_id)
    chosen = ecg_sheets.one_source(ecgs, source)
    t = translator_of(request)
    tag = ecg_sheets.etag_of(
        chosen, choice, language_of(request), ecgs.row.site.name, *ecg_sheets.whose(ecgs.row, t)
    )
    headers = {"etag": tag, "content-disposition": f'inline; filename="{ecgs.row.exam.number}.svg"'}
    if tag in request.headers.get("if-none-match", ""):
        _note(context, actor, [ecgs.row.exam])
        return Response(status_code=NOT_MODIFIED, headers=headers)
    waveform = load(context.store, chosen)
    choice = replace(choice, start_s=min(choice.start_s, ecg_sheets.last_start(waveform, choice)))
    drawn = ecg_sheets.draw(context, ecgs.row, waveform, measure_heart_rate(waveform), choice, t=t)
    _note(context, actor, [ecgs.row.exam])
    return Response(drawn, media_type="image/svg+xml", headers=headers)


@router.get("/api/v1/exams/{exam_id}/ecg.json", tags=["exams"])
def samples(
    exam_id: str,
    actor: Viewer,
    context: ContextDep,
    source: str = "",
    start: Start = 0.0,
    seconds: Annotated[float, Query(gt=0, le=MAX_SECONDS)] = 30.0,
) -> Response:
    """Return the samples of one ECG, unfiltered, for a program that measures on them.

    Each lead carries ``samples``, base64 of 16-bit little-endian signed integers, and
    ``mv_per_unit``; the value ``missing`` stands where the device recorded nothing. Only
    recorded leads are given: III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2 and
    aVF = II - I / 2 are for the caller to compute where they are absent.
    """
    with context.db.reading() as session:
        ecgs = ecg_sheets.find(session, actor, exam_id)
    chosen = ecg_sheets.one_source(ecgs, source)
    body = ecg_sheets.samples_of(load(context.store, chosen), chosen, start, seconds)
    _note(context, actor, [ecgs.row.exam])
    return JSONResponse(body)


def _sources(sheets: Sequence[Sheet], t: Translate) -> list[dict[str, Any]]:
    return [
        {
            "id": sheet.source_id,
            "label": t("ecg.view.source_of", n=sheet.number, of=len(sheets)),
            "header": sheet.header,
        }
        for sheet in sheets
        if sheet.waveform
    ]


def _words(lang: str) -> dict[str, str]:
    """Return the texts of the viewer's script in one language."""
    texts = catalogue(lang)
    return {
        key.removeprefix("ecg.").removeprefix("view."): text
        for key, text in texts.items()
        if key.startswith(_WORDS) and isinstance(text, str)
    }


def _prior(priors: Sequence[ExamRow], exam_id: str) -> ExamRow:
    """Return the prior to compare with: an ECG of the same identity, never anybody else's."""
    for row in priors:
        if exam_id in (row.exam.id, row.exam.number):
            return row
    raise NotFound("no such earlier ECG of this patient")


def _sheets(request: Request, context: Context, ecgs: ExamEcgs, choice: Choice) -> list[Sheet]:
    t, lang = translator_of(request), language_of(request)
    return [ecg_sheets.sheet_of(context, ecgs, source, choice, t=t, lang=lang) for source in ecgs.sources]


def _seen(context: Context, actor: Actor, shown: Sequence[tuple[ExamEcgs | None, Sequence[Sheet]]]) -> None:
    """Note what was looked at: an ECG that could not be read was not."""
    exams = [ecgs.row.exam for ecgs, sheets in shown if ecgs and any(sheet.waveform for sheet in sheets)]
    _note(context, actor, exams)


def _note(context: Context, actor: Actor, exams: Sequence[Exam]) -> None:
    if exams:
        with context.db.transaction() as session:
            for exam in exams:
                images_opened(session, actor, exam)
