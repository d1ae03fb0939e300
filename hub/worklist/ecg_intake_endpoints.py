"""ECG files sent over HTTP: the one door for every format, whichever room files it."""

import io
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import IO, Annotated, Any, cast

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session
from starlette.datastructures import UploadFile

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.catalogue.repository import CatalogueRepository
from hub.catalogue.service import Origin, Outcome
from hub.context import Context
from hub.dicom import ingest as dicom
from hub.dicom.header import InstanceHeader, read_header
from hub.dicom.ingest import SaidAlong
from hub.dicom.part10 import split
from hub.dicom.upload_endpoints import NothingSent, UidConflict
from hub.ecg import ingest
from hub.ecg.errors import PatientDiffers, RecordingTooLarge
from hub.ecg.grouping import Group, group_files
from hub.ecg.ingest import EcgDetails, EcgReceipt
from hub.ecg.limits import MAX_FILE_BYTES
from hub.ecg.read import read_ecg
from hub.errors import HubError, Malformed, Rejected, Retriable
from hub.patients import service as patients
from hub.patients.service import Person
from hub.sites import service as sites
from hub.sites.models import Site
from hub.web import i18n
from hub.web.deps import ContextDep
from hub.web.errors import message_of
from hub.web.templating import language_of
from hub.worklist.repository import WorklistRepository
from hub.worklist.triage import URGENCIES

router = APIRouter(prefix="/api/v1", tags=["upload"])

FILES_AT_ONCE = 400
FIELD_CHARS = 2000
LARGE_BYTES = 8 << 20
"""Requests beyond this are decoded one at a time: samples take several times their size."""

WAIT_SECONDS = 60.0
ONSET_AHEAD = timedelta(minutes=10)
ACCEPTED, NOTHING = 201, 422
SHOWN_FACTS = ("seen", "feature", "column", "limit")

_large = threading.Lock()

Sender = Annotated[Actor, guard(Permission.UPLOAD)]


class BadUrgency(Rejected):
    """Urgency is routine, urgent or critical."""


class BadOnset(Rejected):
    """The onset of the pain is a time that has passed, YYYY-MM-DDTHH:MM."""


class UploadBusy(Retriable):
    """Too many large files at once; send again in a moment."""


class FieldTooLong(Rejected):
    """A field of the form is too long."""


@dataclass(frozen=True)
class Sent:
    """What a request carries."""

    files: tuple[tuple[str, IO[bytes]], ...]
    fields: dict[str, str]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.seek(0, 2) for _, file in self.files)


async def received(request: Request, actor: Sender) -> AsyncIterator[Sent]:
    """Take the form in, after the guard has let the sender in; temporary files end with the request."""
    del actor
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Malformed("send the files as multipart/form-data")
    async with request.form(max_files=FILES_AT_ONCE, max_fields=40) as form:
        parts = form.multi_items()
        files = tuple(
            (part.filename or "", cast("IO[bytes]", part.file))
            for _, part in parts
            if isinstance(part, UploadFile)
        )
        yield Sent(files, {name: value for name, value in parts if isinstance(value, str)})


@router.post("/ecg", status_code=ACCEPTED)
def upload_ecg(
    request: Request, actor: Sender, sent: Annotated[Sent, Depends(received)], context: ContextDep
) -> JSONResponse:
    """Keep ECG recordings under a site: DICOM objects, and WFDB records of header and data files.

    Several recordings may come in one request; each is answered for itself. 201 when at least
    one was taken, 422 when none was. What is listed under ``accepted`` is durable; sending it
    again does no harm and makes no second exam. 503 means that the same request may succeed
    later. Fields, all optional: ``site``, ``patient_name``, ``local_id``, ``sex`` (M, F, O),
    ``birth_date`` (YYYYMMDD), ``accession``, ``clinical_question``, ``urgency`` (routine,
    urgent, critical), ``chest_pain`` (any text but 0), ``chest_pain_onset``
    (YYYY-MM-DDTHH:MM in the hub's zone).
    """
    with context.db.reading() as session:
        site = sites.acting_site(session, actor, Permission.UPLOAD, sent.fields.get("site", ""))
    if not sent.files:
        raise NothingSent
    if sent.size > MAX_FILE_BYTES:
        raise RecordingTooLarge(limit="bytes", declared=sent.size)
    details = details_of(sent.fields, context)
    origin = Origin(site.id, actor.ref, actor.address)
    lang = language_of(request)
    accepted: list[dict[str, Any]] = []
    with _room(sent.size):
        groups, refusals = group_files([(name, _content(file)) for name, file in sent.files])
        refused = [_refused(refusal.name, refusal.error, lang) for refusal in refusals]
        for group in groups:
            try:
                receipt = _keep(context, group, origin, site, details)
            except Retriable:
                raise
            except HubError as error:
                refused.append(_refused(group.name, error, lang))
            else:
                accepted.append(_accepted(context, group.name, receipt, origin, lang))
    body: dict[str, Any] = {"accepted": accepted, "refused": refused}
    if accepted:
        body["message"] = "; ".join(item["message"] for item in accepted)
    else:
        body |= {"code": refused[0]["code"], "message": refused[0]["message"]}
    return JSONResponse(body, ACCEPTED if accepted else NOTHING)


def details_of(fields: dict[str, str], context: Context) -> EcgDetails:
    """Return what the form says; chest pain becomes part of the question and makes the case critical.

    Raises
    ------
    Rejected
        A field cannot be what it claims to be.
    """
    if any(len(value) > FIELD_CHARS for value in fields.values()):
        raise FieldTooLong
    urgency = fields.get("urgency", "").strip()
    if urgency and urgency not in URGENCIES:
        raise BadUrgency
    question = fields.get("clinical_question", "")
    onset = _onset(fields.get("chest_pain_onset", "").strip(), context)
    if onset or fields.get("chest_pain", "0").strip() not in {"", "0", "false"}:
        # The words are stored, so they are in the hub's language and not in the sender's.
        t = i18n.translator(context.settings.language)
        pain = t("ecg.chest_pain_since", at=onset) if onset else t("ecg.chest_pain")
        question = "\n".join(part for part in (pain, question.strip()) if part)
        urgency = URGENCIES[0]
    names = ("patient_name", "local_id", "sex", "birth_date", "accession")
    said = {name: fields.get(name, "") for name in names}
    return ingest.checked(EcgDetails(**said, clinical_question=question, urgency=urgency))


def _onset(text: str, context: Context) -> str:
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadOnset from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=context.settings.zone)
    if moment > context.clock() + ONSET_AHEAD:
        raise BadOnset
    return i18n.format_datetime(moment, context.settings.zone)


@contextmanager
def _room(size: int) -> Iterator[None]:
    if size <= LARGE_BYTES:
        yield
        return
    if not _large.acquire(timeout=WAIT_SECONDS):
        raise UploadBusy
    try:
        yield
    finally:
        _large.release()


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _keep(context: Context, group: Group, origin: Origin, site: Site, details: EcgDetails) -> EcgReceipt:
    if not group.dicom:
        return ingest.receive(context, group.files, origin, site.code, details=details)
    waveform = read_ecg(group.files)
    file = group.files[group.name]
    meta, offset = split(file)
    header = read_header(file[offset:], meta.transfer_syntax, sop_class=meta.sop_class)
    if _contradicts(header, details):
        raise PatientDiffers(study_uid=header.study_uid)
    said = SaidAlong(details.accession, details.clinical_question, details.urgency)
    outcome = dicom.file_upload(context, io.BytesIO(file), origin, site.code, said)
    if outcome is Outcome.CONFLICT:
        raise UidConflict
    with context.db.reading() as session:
        study = CatalogueRepository(session).study_of_site(origin.site_id, header.study_uid)
    study_id = study.id if study else ""
    return ingest.receipt_of(waveform, study_id, header.study_uid, outcome, waveform.warnings)


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


def _accepted(context: Context, name: str, receipt: EcgReceipt, origin: Origin, lang: str) -> dict[str, Any]:
    with context.db.reading() as session:
        hint = _exam_hint(session, receipt, origin.site_id)
    t = i18n.translator(lang)
    words = [t(f"ecg.warning.{code}") for code in receipt.warnings]
    facts = asdict(receipt)
    del facts["study_id"]
    return {
        "name": name,
        **facts,
        "outcome": str(receipt.outcome),
        "exam_hint": hint,
        "warning_texts": words,
        "message": "; ".join([t(f"ecg.receipt.{receipt.outcome}", number=hint), *words]),
    }


def _exam_hint(session: Session, receipt: EcgReceipt, site_id: str) -> str:
    """Return the number of the exam that has or will have this recording; empty when it is not known yet."""
    repository = WorklistRepository(session)
    exam = repository.exam_of_study(receipt.study_id)
    if exam is not None:
        return exam.number
    study = CatalogueRepository(session).study(receipt.study_id)
    order = repository.order_for(site_id, study.accession, study.study_uid) if study else None
    return order.accession if order else ""


def _refused(name: str, error: HubError, lang: str) -> dict[str, Any]:
    return {"name": name, "code": error.code, "message": reason_of(error, lang)}


def reason_of(error: HubError, lang: str) -> str:
    """Return why an ECG is refused, with the facts that help to mend it, in the reader's language."""
    texts = i18n.catalogue(lang)
    t = i18n.translator(lang)
    sentence = message_of(lang, error.code, str(error))
    for fact in SHOWN_FACTS:
        value = error.facts.get(fact)
        if value in (None, ""):
            continue
        shown = value + 1 if isinstance(value, int) and fact == "column" else value
        slug = f"ecg.{fact}.{str(value).lower().replace(' ', '_')}"
        shown = t(slug) if texts.get(slug) else shown
        sentence += t(f"ecg.fact.{fact}", value=shown)
    return sentence
