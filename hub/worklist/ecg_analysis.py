"""What the machine says of each ECG, kept: made on receipt, held per version of the engine, never in the way.

An analysis that fails is noted with its reason and shows as "not analysed"; the ECG itself goes
its way to the reader all the same.
"""

import json
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import structlog
from sqlalchemy.orm import Session

from hub.catalogue.models import Study
from hub.catalogue.repository import CatalogueRepository
from hub.context import Context
from hub.ecg.sources import EcgSource, ecg_sources, load
from hub.ecg.waveform import Waveform
from hub.errors import HubError, NotFound, Retriable
from hub.jobs.queue import enqueue
from hub.worklist import placing
from hub.worklist.ecg_document import document_of
from hub.worklist.ecg_repository import EcgRepository
from hub.worklist.models import EcgAnalysis, Exam
from hub.worklist.repository import WorklistRepository
from hub.worklist.states import SIGNED_STATES, State

log = structlog.get_logger()

FAILED = "failed"
"""Stands for the verdict of an ECG that could not be analysed."""

_LEVELS = ("critical", "urgent", "note")
_DAYS_A_YEAR = 365.25
_WARM_RATE_HZ = 250.0


@dataclass(frozen=True)
class Person:
    """What the rules need to know of the patient."""

    sex: str = ""
    age_years: float | None = None


def engine() -> str:
    """Return the version of the engine that is installed."""
    from hub.ecg.analysis.analyse import ENGINE

    return ENGINE


def person_of(study: Study) -> Person:
    """Return sex and age on the day of the recording, as far as the study states them."""
    return Person(study.sex, _age(study.birth_date, study.study_date))


def _age(birth_date: str, on: str) -> float | None:
    try:
        born, day = (datetime.strptime(text, "%Y%m%d").date() for text in (birth_date, on))  # noqa: DTZ007 - calendar days have no zone
    except ValueError:
        return None
    return (day - born).days / _DAYS_A_YEAR if date.min < born <= day else None


def make(  # noqa: PLR0917 - what is analysed, whose it is and under which rules
    study_id: str, source_id: str, waveform: Waveform, person: Person, profile: str, now: datetime
) -> EcgAnalysis:
    """Analyse one ECG and return the row to be stored; it says so when that was not possible."""
    row = EcgAnalysis(
        study_id=study_id,
        source_id=source_id,
        engine=engine(),
        profile=profile,
        created_at=now,
        error="",
        verdict="",
        hint_level="",
        hint_rules=[],
        analysed_seconds=0.0,
        document=b"",
    )
    try:
        _fill(row, waveform, person, profile)
    except Exception as error:  # whatever goes wrong in here must not cost the ECG its way to a reader
        row.error = error.code if isinstance(error, HubError) else type(error).__name__
        log.exception("ecg_not_analysed", source_id=source_id, error=row.error)
    return row


def _fill(row: EcgAnalysis, waveform: Waveform, person: Person, profile: str) -> None:
    from hub.ecg.analysis.analyse import LONGEST_S, analyse

    found = analyse(waveform, profile=profile, sex=person.sex, age_years=person.age_years)
    document = document_of(waveform, found)
    row.verdict = found.quality.verdict
    row.hint_level, row.hint_rules = _worst([(hint.level, [hint.rule]) for hint in found.hints])
    values = found.measurement.values
    row.hr_bpm, row.qrs_ms, row.qtc_ms = (
        values[name].value for name in ("hr_bpm", "qrs_ms", "qtc_bazett_ms")
    )
    row.analysed_seconds = min(waveform.duration_s, LONGEST_S)
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    row.document = zlib.compress(text.encode(), 6)


def _worst(levels: Sequence[tuple[str, Sequence[str]]]) -> tuple[str, list[str]]:
    """Return the most serious level and the rules that have it."""
    for level in _LEVELS:
        rules = [rule for found, names in levels if found == level for rule in names]
        if rules:
            return level, list(dict.fromkeys(rules))
    return "", []


def opened(row: EcgAnalysis) -> dict[str, Any]:
    """Return the document of a stored analysis; empty when there is none."""
    if not row.document:
        return {}
    document: dict[str, Any] = json.loads(zlib.decompress(row.document))
    return document


def is_current(row: EcgAnalysis | None, profile: str) -> bool:
    """Tell whether a stored analysis is what the installed engine would say under these rules."""
    return row is not None and (row.engine, row.profile) == (engine(), profile)


def made_up() -> Waveform:
    """Return a few beats of nobody, for loading whatever looks at an ECG before the first one comes."""
    seconds = np.arange(0, 3, 1 / _WARM_RATE_HZ)
    beats = np.exp(-(((seconds % 0.8) - 0.4) ** 2) / 2e-4)
    return Waveform(np.column_stack([beats, beats]), _WARM_RATE_HZ, ("I", "II"), "warm-up")


def stored(context: Context, source_id: str) -> EcgAnalysis | None:
    """Return the analysis of an ECG if it is what the installed engine says of it."""
    with context.db.reading() as session:
        known = EcgRepository(session).analysis(source_id)
    return known if is_current(known, context.settings.ecg_profile) else None


def read_again(context: Context, study_id: str, source_id: str) -> Waveform:
    """Return an ECG as it lies in the store.

    Raises
    ------
    HubError
        It is not there any more, the store does not answer, or it cannot be read.
    """
    with context.db.reading() as session:
        found = [source for source in ecg_sources(session, study_id) if source.id == source_id]
    if not found:
        raise NotFound("the study does not have this ECG", source_id=source_id)
    return load(context.store, found[0])


def keep(session: Session, context: Context, rows: Collection[EcgAnalysis], study_id: str) -> None:
    """Store analyses and let them order the exam of their study, if it has one."""
    # Two that store at once must each see what the other found.
    CatalogueRepository(session).lock_study(study_id)
    repository = EcgRepository(session)
    for row in rows:
        repository.store(row)
    exam = WorklistRepository(session).exam_of_study(study_id)
    if exam is not None:
        mark(session, context, exam)


def mark(session: Session, context: Context, exam: Exam) -> None:
    """Put what the latest analyses say on an exam, and order it by that."""
    if exam.study_id is None:
        return
    latest = list(EcgRepository(session).latest(exam.study_id).values())
    if not latest:
        return
    level, rules = _worst([(row.hint_level, row.hint_rules) for row in latest])
    newest = max(latest, key=lambda row: row.source_id)
    before = (exam.hint_level, exam.hint_rules, exam.ecg_verdict)
    verdict = FAILED if newest.error else newest.verdict
    if before == (level, rules, verdict):
        return
    if exam.hint_dismissed_at and not set(rules) <= set(exam.hint_rules):
        # A reader dismissed what was there; this is more.
        exam.hint_dismissed_at, exam.hint_dismissed_by = None, ""
    exam.hint_level, exam.hint_rules, exam.ecg_verdict = level, rules, verdict
    if State(exam.state) not in SIGNED_STATES:
        placing.place(session, exam, settings=context.settings)


def analyse_study(context: Context, study_id: str) -> int:
    """Analyse the ECGs of a study that have no current analysis; return how many were analysed.

    Raises
    ------
    Retriable
        Store or database do not answer; the same call may succeed later.
    """
    profile = context.settings.ecg_profile
    with context.db.reading() as session:
        study = CatalogueRepository(session).study(study_id)
        known = EcgRepository(session).latest(study_id)
        every = ecg_sources(session, study_id)
    sources = [each for each in every if not is_current(known.get(each.id), profile)]
    if study is None:
        return 0
    rows = [_of_source(context, study, source) for source in sources]
    with context.db.transaction() as session:
        keep(session, context, rows, study_id)
    return len(rows)


def _of_source(context: Context, study: Study, source: EcgSource) -> EcgAnalysis:
    profile, now = context.settings.ecg_profile, context.clock()
    try:
        waveform = load(context.store, source)
    except Retriable:
        raise
    except HubError as error:
        return EcgAnalysis(
            study_id=study.id,
            source_id=source.id,
            engine=engine(),
            profile=profile,
            created_at=now,
            error=error.code,
            hint_rules=[],
        )
    return make(study.id, source.id, waveform, person_of(study), profile, now)


def analyse_soon(session: Session, study_id: str) -> None:
    """Have a study's ECGs analysed by a job."""
    enqueue(session, "worklist.analyse_ecgs", once_key=study_id, study_id=study_id)
