"""The ECGs of an exam as sheets to look at and as samples to measure on."""

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue.repository import CatalogueRepository
from hub.context import Context
from hub.ecg.ingest import sex_of
from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.measure import HeartRate, measure_heart_rate
from hub.ecg.paper import LAYOUTS, TRACE_MM, Layout, in_cabrera_order
from hub.ecg.sources import EcgSource, ecg_sources, load
from hub.ecg.svg import draw_svg
from hub.ecg.waveform import Waveform
from hub.errors import Forbidden, HubError, NotFound
from hub.patients import service as patients
from hub.patients.service import Person
from hub.web.i18n import Translate, format_age, format_datetime
from hub.worklist.ecg_intake_endpoints import reason_of
from hub.worklist.repository import ExamRow, WorklistRepository

MISSING = -32768
"""Stands in the samples where the device recorded nothing."""

_INT16_MAX = 32767
_EXACT = 1e-6


@dataclass(frozen=True)
class Choice:
    """How a sheet is drawn: `layout` is a key of `hub.ecg.paper.LAYOUTS`."""

    layout: str = next(iter(LAYOUTS))
    start_s: float = 0.0
    mm_per_s: float = 25.0
    mm_per_mv: float = 10.0
    cabrera: bool = False

    @property
    def arrangement(self) -> Layout:
        """The leads in the order asked for."""
        plain = LAYOUTS[self.layout]
        return in_cabrera_order(plain) if self.cabrera else plain

    @property
    def seconds(self) -> float:
        """How much of a recording one sheet shows."""
        return TRACE_MM / self.mm_per_s


@dataclass(frozen=True)
class ExamEcgs:
    """An exam and where its ECGs lie."""

    row: ExamRow
    sources: Sequence[EcgSource]
    noted: dict[str, tuple[str, ...]]
    """Warnings noted on reception, by source."""


@dataclass(frozen=True)
class Sheet:
    """One ECG as a page shows it; with `error` there is nothing else."""

    source_id: str
    number: int
    received_at: datetime
    error: str = ""
    svg: str = ""
    """Safe to put into a page: `hub.ecg.svg` escapes every text."""
    header: tuple[str, ...] = ()
    """Whose it is, where and when it was taken."""
    waveform: Waveform | None = None
    started_at: datetime | None = None
    rate: HeartRate | None = None
    warnings: tuple[str, ...] = ()
    undrawn: tuple[str, ...] = ()
    """Recorded leads that the arrangement has no place for."""
    absent: tuple[str, ...] = ()
    """Standard leads that were not recorded and cannot be computed."""
    other_patient: tuple[str, ...] = ()
    """Fields in which the file contradicts the exam."""
    start_s: float = 0.0
    earlier_s: float | None = None
    later_s: float | None = None


def find(session: Session, actor: Actor, exam_id: str) -> ExamEcgs:
    """Return an exam's ECGs.

    Raises
    ------
    NotFound
        There is no such exam, or the actor does not see it.
    Forbidden
        The actor may not look at its tracings.
    """
    row = WorklistRepository(session).row(actor, exam_id)
    if row is None:
        raise NotFound("no such exam")
    if not actor.may(Permission.IMAGES_VIEW, row.exam.site_id):
        raise Forbidden
    if row.study is None:
        return ExamEcgs(row, (), {})
    noted = {
        recording.id: tuple(recording.warnings)
        for recording in CatalogueRepository(session).recordings(row.study.id)
    }
    return ExamEcgs(row, ecg_sources(session, row.study.id), noted)


def one_source(ecgs: ExamEcgs, source_id: str) -> EcgSource:
    """Return the source of that id, the latest when none is named.

    Raises
    ------
    NotFound
        The exam has no such ECG.
    """
    for source in reversed(ecgs.sources):
        if source_id in ("", source.id):
            return source
    raise NotFound("the exam has no such ECG")


def sheet_of(
    context: Context, ecgs: ExamEcgs, source: EcgSource, choice: Choice, *, t: Translate, lang: str
) -> Sheet:
    """Read and draw one ECG; one that cannot be read gives its reason in place of a picture."""
    number = 1 + [each.id for each in ecgs.sources].index(source.id)
    try:
        waveform = load(context.store, source)
    except HubError as error:
        return Sheet(source.id, number, source.received_at, error=reason_of(error, lang))
    choice = replace(choice, start_s=min(choice.start_s, last_start(waveform, choice)))
    rate = measure_heart_rate(waveform)
    layout = LAYOUTS[choice.layout]
    drawn = {lead for row in layout.rows for lead in row} | set(layout.strips)
    held = set(waveform.with_derived_limb_leads().leads)
    later = choice.start_s + choice.seconds
    return Sheet(
        source.id,
        number,
        source.received_at,
        svg=draw(context, ecgs.row, waveform, rate, choice, t=t),
        header=header_of(context, ecgs.row, waveform, t),
        waveform=waveform,
        started_at=started_at(waveform, context),
        rate=rate,
        warnings=tuple(dict.fromkeys((*waveform.warnings, *ecgs.noted.get(source.id, ())))),
        undrawn=tuple(lead for lead in waveform.leads if lead not in drawn),
        absent=tuple(lead for lead in STANDARD_LEADS if lead not in held),
        other_patient=contradictions(ecgs.row, waveform),
        start_s=choice.start_s,
        earlier_s=max(0.0, choice.start_s - choice.seconds) if choice.start_s > 0 else None,
        later_s=later if later < waveform.duration_s - 0.5 / waveform.rate_hz else None,
    )


def last_start(waveform: Waveform, choice: Choice) -> float:
    """Return where the last sheet of a recording begins, in seconds."""
    sheets = math.ceil(waveform.duration_s / choice.seconds - _EXACT)
    return max(0.0, (sheets - 1) * choice.seconds)


def draw(
    context: Context, row: ExamRow, waveform: Waveform, rate: HeartRate, choice: Choice, *, t: Translate
) -> str:
    """Draw one sheet with whose it is, when it was taken and what the machine measured."""
    first, second = header_of(context, row, waveform, t)
    return draw_svg(
        waveform,
        header_lines=(first, f"{second}   {rate_words(rate, t)}"),
        footer=t("ecg.footer", rate=f"{waveform.rate_hz:g}"),
        when_cut=t("ecg.cut"),
        layout=choice.arrangement,
        start_s=choice.start_s,
        mm_per_s=choice.mm_per_s,
        mm_per_mv=choice.mm_per_mv,
    )


def header_of(context: Context, row: ExamRow, waveform: Waveform, t: Translate) -> tuple[str, str]:
    """Return what stands above the paper: whose it is, and where and when it was taken."""
    begun = started_at(waveform, context)
    when = format_datetime(begun, context.settings.zone, seconds=True) if begun else t("ecg.time_unknown")
    return "   ".join(whose(row, t)), f"{row.site.name}   {when}"


def whose(row: ExamRow, t: Translate) -> list[str]:
    """Return name, sex, age and exam number, as far as they are known."""
    born = row.born
    day = (row.exam.received_at or row.exam.created_at).date()
    return [
        row.patient_name or t("common.no_name"),
        t(f"common.sex.{row.sex}") if row.sex in {"M", "F", "O"} else "",
        format_age(born, day, t) if born else "",
        row.exam.number,
    ]


def rate_words(rate: HeartRate, t: Translate) -> str:
    """Return the heart rate as a sentence that says a machine measured it."""
    if rate.bpm is None:
        return t("ecg.no_rate", reason=t(f"ecg.rate_reason.{rate.reason}"))
    return t("ecg.rate", bpm=round(rate.bpm))


def started_at(waveform: Waveform, context: Context) -> datetime | None:
    """Return when the recording began; a device that states no zone is taken to run in the hub's."""
    moment = waveform.started_at
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=context.settings.zone)


def contradictions(row: ExamRow, waveform: Waveform) -> tuple[str, ...]:
    """Name the fields in which the file itself names another patient than the exam."""
    stated = waveform.patient
    name = "" if stated.unsure else stated.name.split("=", maxsplit=1)[0].replace("^", " ")
    own = Person("", row.patient_name, row.sex)
    found = patients.disagreements(own, Person("", name, sex_of(stated.sex)))
    return tuple(field for field in found if field in {"name", "sex"})


def etag_of(source: EcgSource, *parts: object) -> str:
    """Return a strong validator: the hashes of the files, and what shapes the answer."""
    text = "\n".join([*sorted(place.sha256 for place in source.files.values()), *map(str, parts)])
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:40]}"'


def samples_of(waveform: Waveform, source: EcgSource, start_s: float, seconds: float) -> dict[str, Any]:
    """Return a stretch of a recording for a program that measures on it.

    Parameters
    ----------
    start_s, seconds : float
        Where it begins and how long it is at most.

    Returns
    -------
    dict
        ``samples`` of a lead is base64 of 16-bit little-endian signed integers; millivolts are
        ``sample * mv_per_unit``; `MISSING` stands where nothing was recorded. ``exact`` tells
        that these are the device's own steps; else the lead was scaled to 16 bits.
    """
    first = min(int(np.ceil(max(0.0, start_s) * waveform.rate_hz - _EXACT)), waveform.n_samples)
    last = min(waveform.n_samples, first + round(seconds * waveform.rate_hz))
    part = waveform.samples_mv[first:last]
    return {
        "source": source.id,
        "format": waveform.format,
        "rate_hz": waveform.rate_hz,
        "n_samples_total": waveform.n_samples,
        "first_sample": first,
        "n_samples": last - first,
        "started_at": waveform.started_at.isoformat() if waveform.started_at else None,
        "missing": MISSING,
        "leads": [
            _lead(name, part[:, column], waveform.lsb_mv[column])
            for column, name in enumerate(waveform.leads)
        ],
    }


def _lead(name: str, values: NDArray[np.float64], lsb_mv: float | None) -> dict[str, Any]:
    present = np.isfinite(values)
    highest = float(np.abs(values[present]).max(initial=0.0))
    scale = abs(lsb_mv) if lsb_mv else 0.0
    exact = bool(scale) and highest / scale <= _INT16_MAX
    if exact:
        steps = values[present] / scale
        exact = bool((np.abs(steps - np.rint(steps)) < _EXACT * np.maximum(1.0, np.abs(steps))).all())
    if not exact:
        scale = highest / _INT16_MAX or 1.0
    stored = np.full(values.shape, MISSING, dtype="<i2")
    stored[present] = np.rint(values[present] / scale).astype("<i2")
    return {
        "name": name,
        "mv_per_unit": scale,
        "exact": exact,
        "samples": base64.b64encode(stored.tobytes()).decode("ascii"),
    }
