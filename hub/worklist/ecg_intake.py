"""Taking in one ECG from whichever door: kept, analysed and placed before the sender is answered."""

import io
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
from hub.errors import HubError
from hub.patients import service as patients
from hub.patients.repository import PatientRepository
from hub.patients.service import Person
from hub.sites.models import Site
from hub.worklist import ecg_analysis, matching
from hub.worklist.models import EcgAnalysis, Exam
from hub.worklist.repository import WorklistRepository
from hub.worklist.states import SIGNED_STATES, State

log = structlog.get_logger()

OPENED_WITHIN_SECONDS = 10.0
"""The exam is opened here; a job looks after it once this time is over."""

_CLOSED = SIGNED_STATES | {State.UNMATCHED, State.CANCELLED}
_CONTRADICTIONS = {"id", "name", "sex"}


@dataclass(frozen=True)
class Kept:
    """An ECG that is durable, and what can be said of it at once."""

    receipt: EcgReceipt
    analysis: EcgAnalysis | None
    """None when a job makes it: the recording is long."""
    number: str
    """Of the exam that has it; empty when that is not known yet."""

    @property
    def document(self) -> dict[str, Any]:
        """The analysis as JSON; empty when there is none."""
        return ecg_analysis.opened(self.analysis) if self.analysis else {}


def keep(context: Context, group: Group, origin: Origin, site: Site, details: EcgDetails) -> Kept:
    """Keep one ECG under a site, analyse it, and put its exam where it belongs on the worklist.

    Raises
    ------
    HubError
        It is not kept; the error says why, and whether trying again can help.
    """
    receipt = _file(context, group, origin, site, details)
    urgent = details.chest_pain or details.urgency == "critical"
    if urgent:  # it is in its place without the machine's opinion, and does not wait for it
        _open(context, receipt, details, None)
    analysis = _analysed(context, receipt)
    if analysis is not None or not urgent:
        _open(context, receipt, details, analysis)
    with context.db.reading() as session:
        return Kept(receipt, analysis, _number(session, receipt, origin.site_id))


def _file(context: Context, group: Group, origin: Origin, site: Site, details: EcgDetails) -> EcgReceipt:
    if group.dicom:
        return _file_dicom(context, group, origin, site, details)
    return ingest.receive(
        context,
        group.files,
        origin,
        site.code,
        details=details,
        study_of=lambda session, new: _study_of_order(session, new, site.id),
        opened_within=OPENED_WITHIN_SECONDS,
    )


def _file_dicom(
    context: Context, group: Group, origin: Origin, site: Site, details: EcgDetails
) -> EcgReceipt:
    waveform = read_ecg(group.files)
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
    return EcgReceipt(study.id, study.study_uid, source_id, outcome, waveform, waveform.warnings)


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


def _analysed(context: Context, receipt: EcgReceipt) -> EcgAnalysis | None:
    try:
        return ecg_analysis.on_receipt(context, receipt.study_id, receipt.source_id, receipt.waveform)
    except HubError as error:
        # The database does not answer just now: the ECG is durable, the job analyses it later.
        log.warning("ecg_not_analysed", study_uid=receipt.study_uid, error=error.code)
        return None


def _open(context: Context, receipt: EcgReceipt, details: EcgDetails, analysis: EcgAnalysis | None) -> None:
    """Put the exam on the worklist now; should that fail, a job does it, as the ECG is durable."""
    now, settings = context.clock(), context.settings
    try:
        with context.db.transaction() as session:
            study = CatalogueRepository(session).lock_study(receipt.study_id)
            if study is None:
                return
            if receipt.outcome is not Outcome.RESENT:
                _note(study, details)
            known = WorklistRepository(session).exam_of_study(study.id)
            if receipt.outcome is not Outcome.RESENT or known is None:
                matching.open_exam(session, study.id, study.settle_reason, settings=settings, now=now)
            if analysis is not None:
                ecg_analysis.keep(session, context, [analysis], study.id)
            else:
                ecg_analysis.analyse_soon(session, study.id)
    except HubError as error:
        log.warning("exam_not_opened", study_uid=receipt.study_uid, error=error.code)


def _note(study: Study, details: EcgDetails) -> None:
    said = Said(details.clinical_question, details.urgency, details.chest_pain, details.onset_at)
    catalogue.say_more(study, said)


def _number(session: Session, receipt: EcgReceipt, site_id: str) -> str:
    """Return the number of the exam that has or will have this recording; empty when it is not known yet."""
    repository = WorklistRepository(session)
    exam = repository.exam_of_study(receipt.study_id)
    if exam is not None:
        return exam.number
    study = CatalogueRepository(session).study(receipt.study_id)
    order = repository.order_for(site_id, study.accession, study.study_uid) if study else None
    return order.accession if order else ""
