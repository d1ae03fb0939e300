"""Signing a report, and verifying a signed one.

Signing has three parts: gather (reading), seal (draw, set, sign, store: no transaction
is open meanwhile), enter (one transaction that fails if anything has changed since).
The document lies durable in the store before its row exists.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.orm import Session

from hub.audit.tags import Tag
from hub.auth import signing_keys
from hub.auth.actor import Actor
from hub.auth.certificates import SignerCredential, WrongPassword, unlock_key
from hub.auth.roles import Permission
from hub.auth.service import note_wrong_password, require_person, require_unlocked
from hub.catalogue import keys
from hub.catalogue.places import place_of
from hub.catalogue.repository import CatalogueRepository
from hub.context import Context
from hub.ecg.sources import EcgSource, ecg_sources
from hub.errors import Conflict, Forbidden, NotFound, Rejected, StoreUnavailable
from hub.jobs.queue import enqueue
from hub.reports import content as words
from hub.reports import service
from hub.reports.content import Signature
from hub.reports.document import Figure, ReportContent, render_report
from hub.reports.figures import ChosenImage, ecg_figures, image_figures
from hub.reports.models import Report, SignedReport
from hub.reports.repository import ReportRepository
from hub.reports.sign import sign_pdf
from hub.web import i18n
from hub.worklist import service as worklist
from hub.worklist.ecg_analysis import opened
from hub.worklist.ecg_repository import EcgRepository
from hub.worklist.ecg_values import InForce, in_force
from hub.worklist.models import Exam
from hub.worklist.repository import WorklistRepository
from hub.worklist.service import NOBODY
from hub.worklist.states import Event, State
from storage.errors import StorageError


class ImagesNotOpened(Conflict):
    """Open the images before signing: a report is not signed on its text alone."""


@dataclass(frozen=True)
class Gathered:
    """Everything that goes into one signed document, as plain values."""

    exam_id: str
    site_id: str
    report_id: str
    revision: int
    version: int
    canonical: str
    signature: Signature
    credential: SignerCredential
    sheet: ReportContent
    images: tuple[ChosenImage, ...]
    ecgs: tuple[EcgSource, ...]
    values: Mapping[str, Mapping[str, InForce]]
    """Measured values in force, by ECG."""
    number: str


@dataclass(frozen=True)
class Sealed:
    """A signed document that lies in the store."""

    key: str
    size: int
    sha256: str


def sign(
    context: Context, actor: Actor, exam_id: str, password: str, revision: int | None = None
) -> SignedReport:
    """Sign an exam's report as `actor`, whose password opens the signing key.

    Parameters
    ----------
    revision
        The save that the signer has read; None skips the check.

    Raises
    ------
    WrongPassword
        The password does not open the signer's key; it counts towards the lock-out.
    AccountLocked
        Too many wrong passwords.
    OwnReport, Forbidden, OutOfScope
        This person may not sign this report.
    ImagesNotOpened
        The signer has not looked at the images.
    StaleDraft
        The text has changed since the signer read it.
    """
    now = context.clock()
    with context.db.reading() as session:
        gathered = gather(session, context, actor, exam_id, revision, now)
    try:
        # Before anything is drawn: a wrong password is to be answered at once.
        unlock_key(gathered.credential, password)
    except WrongPassword:
        with context.db.transaction() as session:
            note_wrong_password(session, actor.id, settings=context.settings, now=now, address=actor.address)
        raise
    sealed = seal(context, gathered, password)
    with context.db.transaction() as session:
        return enter(session, actor, gathered, sealed, now)


def gather(  # noqa: PLR0917 - what is signed, by whom, when
    session: Session, context: Context, actor: Actor, exam_id: str, revision: int | None, now: datetime
) -> Gathered:
    """Check that `actor` may sign this report now, and collect what goes into it."""
    exam = worklist.visible(session, actor, exam_id)
    repository = ReportRepository(session)
    report = service.require_text(repository.peek(exam.id))
    reviewed = check_signer(session, actor, exam, report)
    if revision is not None and revision != report.revision:
        raise service.StaleDraft
    row = WorklistRepository(session).row_of(exam)
    study = row.study
    if study is not None and not repository.has_opened_images(actor.id, study.id, study.last_received_at):
        raise ImagesNotOpened
    require_unlocked(session, actor.id, now)
    credential = signing_keys.credential_of(session, actor.id)
    signature = Signature(actor.id, actor.name, credential.serial, now, reviewed)
    if not reviewed:
        report = _written_by(report, actor, now)
    version = repository.next_version(report.id)
    canonical = words.canonical(session, row, report, version, signature)
    settings = context.settings
    ecgs = tuple(ecg_sources(session, study.id)) if study and exam.modality == "ECG" else ()
    return Gathered(
        exam_id=exam.id,
        site_id=exam.site_id,
        report_id=report.id,
        revision=report.revision,
        version=version,
        canonical=canonical,
        signature=signature,
        credential=credential,
        sheet=words.printed(row, report, signature, (), words.digest(canonical), settings),
        images=_chosen(session, report, study.id) if study else (),
        ecgs=ecgs,
        values=_values(session, exam, ecgs),
        number=exam.number,
    )


def check_signer(session: Session, actor: Actor, exam: Exam, report: Report) -> bool:
    """Check that a person may sign; tell whether it is a review (True) or a single signature."""
    del session
    require_person(actor)
    state = State(exam.state)
    if state is State.SUBMITTED:
        if report.writer_id == actor.id:
            raise service.OwnReport
        service.require_other(actor, exam)
        return True
    if state is not State.DRAFT:
        raise Conflict("there is nothing to sign in this state")
    if exam.modality != "ECG" or not actor.may(Permission.REPORT_SIGN_ALONE, exam.site_id):
        raise Forbidden("the report has to be submitted to a second doctor")
    if exam.owner_id != actor.id:
        raise worklist.LeaseLost
    if not actor.reads(exam.modality):
        raise worklist.OutOfScope
    return False


def _written_by(report: Report, actor: Actor, now: datetime) -> Report:
    """Return a copy of the report that names the single signer as its writer."""
    return Report(
        id=report.id,
        exam_id=report.exam_id,
        findings=report.findings,
        impression=report.impression,
        positive=report.positive,
        revision=report.revision,
        writer_id=actor.id,
        writer_name=actor.name,
        written_at=now,
    )


def _chosen(session: Session, report: Report, study_id: str) -> tuple[ChosenImage, ...]:
    catalogue = CatalogueRepository(session)
    chosen = []
    for image in ReportRepository(session).key_images(report.id):
        instance = catalogue.instance_in_study(study_id, image.sop_uid)
        if instance is None:
            raise NotFound("a chosen picture is not in this exam any more")
        window = None
        if image.window_center is not None and image.window_width is not None:
            window = (image.window_center, image.window_width)
        chosen.append(ChosenImage(image.sop_uid, place_of(instance), image.frame, window))
    return tuple(chosen)


def _values(session: Session, exam: Exam, ecgs: Sequence[EcgSource]) -> dict[str, Mapping[str, InForce]]:
    repository = EcgRepository(session)
    made = {each.id: repository.analysis(each.id) for each in ecgs}
    return {
        source_id: in_force(opened(row), repository.edits(exam.id, source_id))
        for source_id, row in made.items()
        if row is not None and row.document
    }


def seal(context: Context, gathered: Gathered, password: str) -> Sealed:
    """Draw, set and sign the document, and put it into the store."""
    figures: tuple[Figure, ...] = image_figures(context.store, gathered.images, context.settings)
    figures += ecg_figures(context.store, gathered.ecgs, context.settings, gathered.values)
    signed_at = gathered.signature.signed_at
    pdf = render_report(replace(gathered.sheet, figures=figures), created_at=signed_at)
    t = i18n.translator(context.settings.language)
    signed = sign_pdf(
        pdf,
        gathered.credential,
        password,
        reason=words.bound(t("document.signature.reason", number=gathered.number), gathered.canonical),
        location=context.settings.centre_name,
        signed_at=signed_at,
    )
    sha256 = hashlib.sha256(signed).hexdigest()
    try:
        stored = context.store.put(keys.report_key(gathered.number, gathered.version, sha256), signed)
    except StorageError as error:
        raise StoreUnavailable from error
    return Sealed(stored.key, stored.size, sha256)


def enter(session: Session, actor: Actor, gathered: Gathered, sealed: Sealed, now: datetime) -> SignedReport:
    """Enter a sealed document: version, state, delivery job and audit row, or nothing at all.

    Raises
    ------
    StaleDraft
        Text or objects have changed while the document was made.
    """
    exam = worklist.visible(session, actor, gathered.exam_id)
    report = ReportRepository(session).of_exam(exam.id)
    if report is None or report.revision != gathered.revision:
        raise service.StaleDraft
    reviewed = check_signer(session, actor, exam, report)
    if not reviewed:
        report.writer_id, report.writer_name, report.written_at = actor.id, actor.name, now
    row = WorklistRepository(session).row_of(exam)
    if words.canonical(session, row, report, gathered.version, gathered.signature) != gathered.canonical:
        raise service.StaleDraft
    if report.writer_id is None:
        raise Rejected("the report has no writer")
    version = service.add_version(session, report, "sign", actor.id, actor.name, now)
    if version.number != gathered.version:
        raise service.StaleDraft
    signed = SignedReport(
        report_id=report.id,
        exam_id=exam.id,
        site_id=exam.site_id,
        version=gathered.version,
        content=gathered.canonical,
        content_sha256=words.digest(gathered.canonical),
        writer_id=report.writer_id,
        signer_id=actor.id,
        signer_name=actor.name,
        signer_serial=gathered.signature.signer_serial,
        signed_at=now,
        pdf_key=sealed.key,
        pdf_size=sealed.size,
        pdf_sha256=sealed.sha256,
    )
    session.add(signed)
    session.flush()
    worklist.advance(
        session,
        exam,
        Event.SIGN,
        actor,
        now,
        values={**NOBODY, "signed_at": now, "writer_id": report.writer_id},
    )
    enqueue(session, "delivery.deliver", signed_report_id=signed.id)
    service.audit_report(session, Tag.REPORT_SIGN, actor, exam, report.id, pdf_sha256=sealed.sha256)
    return signed
