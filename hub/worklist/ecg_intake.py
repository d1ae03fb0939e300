"""Taking in one ECG from whichever door: kept, analysed and placed before the sender is answered."""

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import structlog
from sqlalchemy.orm import Session

from hub.catalogue import service as catalogue
from hub.catalogue.models import Study
from hub.catalogue.repository import CatalogueRepository
from hub.catalogue.service import NewRecording, Origin, Outcome, Said
from hub.context import Context
from hub.dicom import ingest as dicom
from hub.dicom.header import InstanceHeader, read_header
from hub.dicom.ingest import SaidAlong
from hub.dicom.part10 import split
from hub.dicom.upload_endpoints import UidConflict
from hub.ecg import ingest
from hub.ecg.errors import PatientDiffers
from hub.ecg.grouping import Group
from hub.ecg.ingest import EcgDetails, EcgReceipt
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Waveform
from hub.errors import HubError
from hub.jobs.queue import enqueue
from hub.patients import service as patients
from hub.patients.repository import PatientRepository
from hub.patients.service import Person
from hub.sites.models import Site
from hub.worklist import ecg_analysis, matching
from hub.worklist.ecg_turns import TURNS
from hub.worklist.ecg_writes import WRITES, T
from hub.worklist.models import EcgAnalysis, Exam
from hub.worklist.repository import WorklistRepository
from hub.worklist.states import SIGNED_STATES, State

log = structlog.get_logger()

AT_ONCE_SECONDS = 60.0
"""Recordings up to this length are analysed while the sender waits; longer ones by a job."""

TURN_SECONDS = 1.0
"""So long a sender waits for what the machine says; after that the answer is that it follows."""

WAITING_AT_ONCE = 12
"""Senders that wait for it at the same time; each holds a thread that pages need too."""

MARKED = 2.0
"""How much an ECG presses that its sender has marked: it stands where it should before it is analysed."""

_patience = threading.BoundedSemaphore(WAITING_AT_ONCE)

_CLOSED = SIGNED_STATES | {State.UNMATCHED, State.CANCELLED}
_CONTRADICTIONS = {"id", "name", "sex"}
_PRESSING = {"critical", "urgent"}


@dataclass(frozen=True)
class Kept:
    """An ECG that is durable, and what can be said of it at once."""

    receipt: EcgReceipt
    analysis: EcgAnalysis | None
    """None when it follows: the recording is long, or others go first."""
    number: str
    """Of the exam that has it; empty when that is not known yet."""

    @property
    def document(self) -> dict[str, Any]:
        """The analysis as JSON; empty when there is none."""
        return ecg_analysis.opened(self.analysis) if self.analysis else {}


def keep(
    context: Context,
    group: Group,
    origin: Origin,
    site: Site,
    details: EcgDetails,
    *,
    pressing: float = 0.0,
    waveform: Waveform | None = None,
    taken_in: Callable[[], None] = lambda: None,
) -> Kept:
    """Keep one ECG under a site, put its exam on the worklist, and have it analysed.

    Parameters
    ----------
    pressing : float
        Above 0 it is taken in and analysed before others, whatever its sender says of it; what
        presses most goes first.
    waveform : Waveform, optional
        What reading the files gave, if somebody has done it.
    taken_in : callable
        Called once the ECG is durable and on the worklist; the analysis follows.

    Raises
    ------
    HubError
        It is not kept; the error says why, and whether trying again can help.
    """
    if details.chest_pain or details.urgency in _PRESSING:
        pressing = max(pressing, MARKED)
    opening = _Opening(context, details, pressing > 0)
    receipt = _file(context, group, origin, site, details, waveform, opening)
    taken_in()
    analysis = _analysed(context, receipt, pressing=pressing)
    return Kept(receipt, analysis, opening.number or _number(context, receipt, origin.site_id))


@dataclass
class _Opening:
    """Puts the exam on the worklist, in the transaction that enters the recording."""

    context: Context
    details: EcgDetails
    pressing: bool
    number: str = ""
    """Of the exam, once it is there."""

    def write(self, work: Callable[[Session], T]) -> T:
        """Run the transaction."""
        return WRITES.write(self.context, work, pressing=self.pressing)

    def __call__(self, session: Session, study: Study, outcome: Outcome) -> None:
        """Open the exam; should that fail, a job does it, as the ECG must not be lost by it."""
        try:
            with session.begin_nested():
                self._open(session, study, outcome)
        except Exception as error:
            log.exception("exam_not_opened", study_uid=study.study_uid, error=type(error).__name__)
            enqueue(session, "worklist.open_exam", study_id=study.id, reason=study.settle_reason)

    def _open(self, session: Session, study: Study, outcome: Outcome) -> None:
        self.number = ""
        first = outcome is Outcome.STORED and (study.n_recordings, study.n_instances) == (1, 0)
        exam = None if first else WorklistRepository(session).exam_of_study(study.id)
        if exam is None or outcome is not Outcome.RESENT:
            if exam is not None:
                exam.ecg_verdict = ""  # of what has come now nothing is known yet
            settings, now = self.context.settings, self.context.clock()
            exam = matching.open_exam(session, study.id, study.settle_reason, settings=settings, now=now)
        self.number = exam.number if exam else ""


def _file(  # noqa: PLR0917 - what is kept, where it is from and what was said of it
    context: Context,
    group: Group,
    origin: Origin,
    site: Site,
    details: EcgDetails,
    waveform: Waveform | None,
    opening: _Opening,
) -> EcgReceipt:
    if group.dicom:
        receipt = _file_dicom(context, group, origin, site, details, waveform)
        _open(receipt, details, opening)
        return receipt
    return ingest.receive(
        context,
        group.files,
        origin,
        site.code,
        details=details,
        study_of=lambda session, new: _study_of_order(session, new, site.id),
        opens=opening,
        waveform=waveform,
        enter=opening.write,
    )


def _file_dicom(  # noqa: PLR0917 - as above
    context: Context,
    group: Group,
    origin: Origin,
    site: Site,
    details: EcgDetails,
    waveform: Waveform | None,
) -> EcgReceipt:
    waveform = waveform or read_ecg(group.files)
    file = group.files[group.name]
    meta, offset = split(file)
    header = read_header(file[offset:], meta.transfer_syntax, sop_class=meta.sop_class)
    if _contradicts(header, details):
        raise PatientDiffers(study_uid=header.study_uid)
    said = SaidAlong(
        details.accession, details.clinical_question, details.urgency, details.chest_pain, details.onset_at
    )
    outcome = dicom.file_upload(context, io.BytesIO(file), origin, site.code, said)
    if outcome is Outcome.CONFLICT:
        raise UidConflict
    with context.db.reading() as session:
        study = CatalogueRepository(session).study_of_site(origin.site_id, header.study_uid)
        assert study is not None  # it was filed under it just now
        instance = CatalogueRepository(session).instance_in_study(study.id, header.sop_uid)
    source_id = instance.id if instance else ""
    return EcgReceipt(study, source_id, outcome, waveform, waveform.warnings)


def _contradicts(header: InstanceHeader, details: EcgDetails) -> bool:
    """Tell whether a DICOM file is another patient's or order's than the sender says.

    A DICOM file keeps its own identity, so a contradiction cannot be settled in the sender's
    favour. The patient number is not compared: carts often count their own.
    """
    name = "" if header.patient.name.unsure else header.patient.name.display
    own = Person(header.patient.local_id, name, header.patient.sex, header.patient.birth_date)
    found = set(patients.disagreements(own, replace(details.person, local_id="")))
    other_order = bool(header.accession and details.accession) and header.accession != details.accession
    return other_order or bool(found & {"name", "sex"})


def _study_of_order(session: Session, new: NewRecording, site_id: str) -> str:
    """Return the study that a further recording for an order joins; empty when it is the first.

    One that was taken again, because the first was bad, belongs beside the first: where both
    name the same patient, and nobody has signed yet.
    """
    repository = WorklistRepository(session)
    order = repository.order_for(site_id, new.accession, "") if new.accession else None
    exam = repository.exam_of_order(order.id) if order else None
    if order is None or exam is None or exam.study_id is None or not _takes_more(exam):
        return ""
    study = CatalogueRepository(session).study(exam.study_id)
    ordered = PatientRepository(session).patient(order.patient_id)
    assert study is not None  # the foreign keys say so
    assert ordered is not None
    seen = Person(new.local_id, new.patient_name, new.sex, new.birth_date)
    first = Person(study.local_id, study.patient_name, study.sex, study.birth_date)
    known = Person(ordered.local_id, ordered.name, ordered.sex, ordered.birth_date)
    found = {*patients.disagreements(first, seen), *patients.disagreements(known, seen)}
    return "" if found & _CONTRADICTIONS else study.study_uid


def _takes_more(exam: Exam) -> bool:
    return exam.modality == "ECG" and State(exam.state) not in _CLOSED


def _analysed(context: Context, receipt: EcgReceipt, *, pressing: float) -> EcgAnalysis | None:
    """Return the analysis if it is there in time; None when it follows."""
    try:
        if receipt.outcome is Outcome.RESENT and (known := ecg_analysis.stored(context, receipt.source_id)):
            return known
        if receipt.waveform.duration_s > AT_ONCE_SECONDS:
            with context.db.transaction() as session:
                ecg_analysis.analyse_soon(session, receipt.study_id)
            return None
    except HubError as error:
        # The database does not answer just now: the ECG is durable, the job analyses it later.
        log.warning("ecg_not_analysed", study_uid=receipt.study_uid, error=error.code)
        return None
    person = ecg_analysis.person_of(receipt.study)
    answer = TURNS.submit(
        context,
        receipt.study_id,
        receipt.source_id,
        receipt.waveform,
        person,
        context.clock(),
        pressing=pressing,
    )
    if not _patience.acquire(blocking=False):
        return answer.result() if answer.done() else None
    try:
        return answer.result(timeout=TURN_SECONDS)
    except TimeoutError:
        return None
    finally:
        _patience.release()


def _open(receipt: EcgReceipt, details: EcgDetails, opening: _Opening) -> None:
    """Put the exam of a DICOM object that was filed on the worklist now; or leave it to its job."""

    def open_it(session: Session) -> None:
        study = CatalogueRepository(session).lock_study(receipt.study_id)
        if study is None:
            return
        if receipt.outcome is not Outcome.RESENT:
            said = Said(details.clinical_question, details.urgency, details.chest_pain, details.onset_at)
            catalogue.say_more(study, said)
        opening(session, study, receipt.outcome)

    try:
        opening.write(open_it)
    except HubError as error:
        log.warning("exam_not_opened", study_uid=receipt.study_uid, error=error.code)


def _number(context: Context, receipt: EcgReceipt, site_id: str) -> str:
    """Return the number of the exam that has or will have this recording; empty when it is not known yet."""
    with context.db.reading() as session:
        repository = WorklistRepository(session)
        exam = repository.exam_of_study(receipt.study_id)
        if exam is not None:
            return exam.number
        study = CatalogueRepository(session).study(receipt.study_id)
        order = repository.order_for(site_id, study.accession, study.study_uid) if study else None
        return order.accession if order else ""
