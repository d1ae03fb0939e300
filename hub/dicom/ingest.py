"""From a received object to a catalogue row: the gate where nothing may be lost or guessed."""

import hashlib
import unicodedata
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from hub.audit.service import ActorRef
from hub.catalogue import keys
from hub.catalogue import service as catalogue
from hub.catalogue.models import Quarantined
from hub.catalogue.service import InstanceFacts, Origin, Outcome, StoredFile
from hub.context import Context
from hub.dicom.header import InstanceHeader, read_header
from hub.dicom.part10 import split, wrap
from hub.dicom.scp import Admission, Caller, Received
from hub.errors import Conflict, HubError, Rejected, StoreUnavailable
from hub.kit.uids import parse_uid
from hub.sites import service as sites
from hub.sites.service import DeviceKnown, DeviceUnknown
from storage.errors import StorageError

log = structlog.get_logger()


class WrongObject(Rejected):
    """The data set is not the object that the message announced (PS3.4 B.2.3)."""


class CannotBeFiled(Conflict):
    """This item cannot be filed; it can only be set aside."""


@dataclass(frozen=True)
class SaidAlong:
    """What the sender of an upload said beside the file, where DICOM has no place for it.

    Attributes
    ----------
    accession : str
        Number of the order; one in the file goes before it.
    clinical_question, urgency : str
        As typed and marked; empty when nothing was said.
    """

    accession: str = ""
    clinical_question: str = ""
    urgency: str = ""


class UidTaken(Conflict):
    """An object with this UID and other content is filed already."""


class PatientConflict(Conflict):
    """The study holds objects of another patient; this object is kept at the desk."""


def admit(context: Context, caller: Caller) -> Admission:
    """Decide on an association: known devices come in, strangers by the setting, blocked ones never."""
    with context.db.reading() as session:
        device = sites.recognise(session, caller.calling_ae, caller.address)
    if isinstance(device, DeviceKnown):
        return Admission.ADMITTED
    if device.reason == "blocked_device" or context.settings.unknown_devices == "reject":
        return Admission.UNKNOWN_CALLER
    return Admission.ADMITTED


def note_refusal(context: Context, caller: Caller, reason: str) -> None:
    """Keep a refused association for the IT page."""
    with context.db.transaction() as session:
        sites.record_refusal(
            session,
            calling_ae=caller.calling_ae,
            called_ae=caller.called_ae,
            address=caller.address,
            reason=reason,
            now=context.clock(),
        )


def store(context: Context, received: Received) -> Outcome | None:
    """Keep one object that came over an association. Returns only when bytes and row are durable.

    Returns
    -------
    Outcome or None
        What became of it; None when the device is unknown and the object waits at the desk.

    Raises
    ------
    Rejected
        The object cannot be filed. Its bytes are at the desk with the reason, and the
        sender is told of the failure.
    StoreUnavailable
        The object store or the database does not answer; the sender should try again.
    """
    now = context.clock()
    with context.db.reading() as session:
        device = sites.recognise(session, received.calling_ae, received.address)
    file = wrap(
        received.dataset,
        sop_class=received.sop_class,
        sop_instance=received.sop_instance,
        transfer_syntax=received.transfer_syntax,
        calling_ae=received.calling_ae,
        called_ae=received.called_ae,
    )
    if isinstance(device, DeviceUnknown):
        keep_aside(context, file, received, None, device.reason, "", now)
        return None
    origin = Origin(
        device.site_id,
        ActorRef("device", device.id, received.calling_ae),
        received.address,
        device.id,
        received.calling_ae,
    )
    try:
        header = read_header(
            received.dataset, received.transfer_syntax, device.charset, sop_class=received.sop_class
        )
        if header.sop_uid != received.sop_instance:
            raise WrongObject
    except HubError as error:
        keep_aside(context, file, received, origin, error.code, str(error), now)
        raise
    return file_instance(
        context, file, len(file) - len(received.dataset), header, origin, device.site_code, now
    )


def file_instance(  # noqa: PLR0917 - what a filed object consists of
    context: Context,
    file: bytes,
    dataset_offset: int,
    header: InstanceHeader,
    origin: Origin,
    site_code: str,
    now: datetime,
    said: SaidAlong | None = None,
) -> Outcome:
    """Put a DICOM file into the store, then its row into the index: object first, row second."""
    facts = facts_of(header)
    if said is not None:
        facts = replace(
            facts,
            accession=facts.accession or said.accession,
            clinical_question=said.clinical_question,
            urgency=said.urgency,
        )
    sha256 = hashlib.sha256(file).hexdigest()
    key = keys.instance_key(site_code, header.study_uid, header.sop_uid, sha256)
    stored = _put(context, key, file)
    dataset_sha256 = hashlib.sha256(memoryview(file)[dataset_offset:]).hexdigest()
    with context.db.transaction() as session:
        outcome = catalogue.register(
            session,
            facts,
            stored,
            dataset_sha256,
            dataset_offset,
            origin,
            settings=context.settings,
            now=now,
        )
    log.info("instance_received", sop_uid=header.sop_uid, outcome=str(outcome), bytes=len(file))
    return outcome


def file_upload(
    context: Context, file: bytes, origin: Origin, site_code: str, said: SaidAlong | None = None
) -> Outcome:
    """File a DICOM file that a person or a machine sent over HTTP, with what was said along with it.

    Raises
    ------
    Rejected
        It is no DICOM file, or cannot be filed; nothing is kept, the sender is told why.
    PatientConflict
        Its study is another patient's; it is kept at the desk.
    """
    meta, offset = split(file)
    parse_uid(meta.transfer_syntax)
    dataset = memoryview(file)[offset:]
    header = read_header(bytes(dataset), meta.transfer_syntax, sop_class=meta.sop_class)
    if offset == 0:
        file = wrap(
            file,
            sop_class=header.sop_class,
            sop_instance=header.sop_uid,
            transfer_syntax=meta.transfer_syntax,
        )
        offset = len(file) - len(dataset)
    outcome = file_instance(context, file, offset, header, origin, site_code, context.clock(), said)
    if outcome is Outcome.OTHER_PATIENT:
        raise PatientConflict
    return outcome


def keep_aside(  # noqa: PLR0917 - what a desk item consists of
    context: Context,
    file: bytes,
    received: Received,
    origin: Origin | None,
    reason: str,
    detail: str,
    now: datetime,
) -> None:
    """Keep bytes for the desk, durable before the sender gets its answer."""
    stored = _put(context, keys.quarantine_key(now, hashlib.sha256(file).hexdigest()), file)
    with context.db.transaction() as session:
        catalogue.quarantine(
            session,
            kind="dicom",
            reason=reason,
            detail=detail,
            files=[stored],
            origin=origin,
            now=now,
            sop_uid=received.sop_instance,
            transfer_syntax=received.transfer_syntax,
            calling_ae=received.calling_ae,
            address=received.address,
        )
    log.warning("instance_quarantined", sop_uid=received.sop_instance, reason=reason)


def release_quarantined(  # noqa: PLR0917 - where from, where to, by whom
    context: Context, session: Session, item: Quarantined, site_id: str, site_code: str, actor: ActorRef
) -> None:
    """File a quarantined object under a site after all, in the caller's transaction.

    Raises
    ------
    Conflict
        It is not one DICOM file, its UID is taken by other bytes, or its study is another
        patient's. Then the caller's transaction must not be committed.
    Rejected
        It still cannot be filed.
    """
    if item.kind != "dicom" or len(item.files) != 1 or item.reason == "uid_conflict":
        raise CannotBeFiled
    try:
        file = context.store.get(item.files[0]["key"])
    except StorageError as error:
        raise StoreUnavailable from error
    meta, offset = split(file)
    header = read_header(bytes(memoryview(file)[offset:]), meta.transfer_syntax, sop_class=meta.sop_class)
    sha256 = hashlib.sha256(file).hexdigest()
    stored = _put(context, keys.instance_key(site_code, header.study_uid, header.sop_uid, sha256), file)
    outcome = catalogue.register(
        session,
        facts_of(header),
        stored,
        hashlib.sha256(memoryview(file)[offset:]).hexdigest(),
        offset,
        Origin(site_id, actor, item.address, None, item.calling_ae),
        settings=context.settings,
        now=context.clock(),
    )
    if outcome is Outcome.CONFLICT:
        raise UidTaken
    if outcome is Outcome.OTHER_PATIENT:
        raise PatientConflict


def _put(context: Context, key: str, file: bytes) -> StoredFile:
    try:
        stored = context.store.put(key, file)
    except StorageError as error:
        log.exception("store_failed", key_prefix=key.split("/", 1)[0])
        raise StoreUnavailable from error
    return StoredFile(stored.key, stored.size, stored.sha256)


def _line(text: str) -> str:
    """Return text as the index can hold it: no control characters, which PostgreSQL refuses in part."""
    return "".join(character for character in text if unicodedata.category(character) not in {"Cc", "Cs"})


def _whole(number: int | None) -> int | None:
    """Return a number that the index can hold; IS has 12 characters, and they are not always an IS."""
    return number if number is not None and -(2**31) <= number < 2**31 else None


def facts_of(header: InstanceHeader) -> InstanceFacts:
    """Return what the index keeps of a header."""
    name = header.patient.name
    pixels = header.pixels
    return InstanceFacts(
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        sop_uid=header.sop_uid,
        sop_class=header.sop_class,
        transfer_syntax=header.transfer_syntax,
        local_id=_line(header.patient.local_id),
        patient_name=_line(name.display),
        name_charset=name.used,
        name_confidence=name.confidence,
        sex=header.patient.sex,
        birth_date=header.patient.birth_date,
        accession=_line(header.accession),
        study_number=_line(header.study_id),
        referring_name=_line(header.referring.display),
        study_date=_line(header.study_date),
        study_time=_line(header.study_time),
        study_description=_line(header.study_description.text),
        modality=_line(header.modality),
        body_part=_line(header.body_part),
        series_number=_whole(header.series_number),
        series_description=_line(header.series_description.text),
        performed_date=header.performed_date,
        performed_time=header.performed_time,
        step_id=_line(header.step_id),
        procedure_id=_line(header.procedure_id),
        instance_number=_whole(header.instance_number),
        rows=pixels.rows if pixels else 0,
        columns=pixels.columns if pixels else 0,
        frames=pixels.frames if pixels else 0,
    )
