"""From a received object to a catalogue row: the gate where nothing may be lost or guessed.

Whatever the door (association, upload, STOW), an object is first staged in the store as it
comes, read there for what the catalogue needs, named durably, and only then entered.
"""

import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import BinaryIO

import structlog
from sqlalchemy.orm import Session

from hub.audit.service import ActorRef
from hub.catalogue import keys
from hub.catalogue import service as catalogue
from hub.catalogue.arrivals import Arrival
from hub.catalogue.models import Quarantined
from hub.catalogue.service import InstanceFacts, Origin, Outcome, StoredFile
from hub.catalogue.twins import enter, enter_within
from hub.context import Context
from hub.dicom.header import InstanceHeader, read_header
from hub.dicom.part10 import file_header, split
from hub.errors import Conflict, Rejected, StoreUnavailable
from hub.kit.uids import parse_uid
from storage.errors import StorageError
from storage.staged import Staged

log = structlog.get_logger()


class WrongObject(Rejected):
    """The data set is not the object that the message announced (PS3.4 B.2.3)."""


class CannotBeFiled(Conflict):
    """This item cannot be filed; it can only be set aside."""


class UidTaken(Conflict):
    """An object with this UID and other content is filed already."""


class PatientConflict(Conflict):
    """The study holds objects of another patient; this object is kept at the desk."""


@dataclass(frozen=True)
class SaidAlong:
    """What the sender of an upload said beside the file, where DICOM has no place for it.

    Attributes
    ----------
    accession : str
        Number of the order; one in the file goes before it.
    clinical_question, urgency : str
        As typed and marked; empty when nothing was said.
    chest_pain : bool
        Whether the patient has pain in the chest.
    onset_at : datetime or None
        When it began.
    """

    accession: str = ""
    clinical_question: str = ""
    urgency: str = ""
    chest_pain: bool = False
    onset_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Announced:
    """What the message that carried an object said of it; for the desk, when it cannot be filed."""

    sop_instance: str
    transfer_syntax: str
    calling_ae: str
    address: str


@contextmanager
def _storing() -> Iterator[None]:
    """Turn what goes wrong in the store into the answer that the sender should try again."""
    try:
        yield
    except StorageError as error:
        log.exception("store_failed")
        raise StoreUnavailable from error


def stage(context: Context) -> Staged:
    """Begin an object in the store; raises `StoreUnavailable`."""
    with _storing():
        return context.store.stage()


def header_of(
    staged: Staged, start: int, transfer_syntax: str, *, charset: str | None = None, sop_class: str = ""
) -> InstanceHeader:
    """Read what the catalogue needs of a staged object; its data set begins at `start`.

    Raises
    ------
    Rejected
        It cannot be filed.
    """
    return read_header(staged.reader(), transfer_syntax, charset, sop_class=sop_class, start=start)


def arrival_of(
    staged: Staged,
    facts: InstanceFacts,
    start: int,
    origin: Origin,
    site_code: str,
    *,
    said: SaidAlong | None = None,
) -> Arrival:
    """Return a staged object as the catalogue enters it, under the key that `keep` is to give it.

    Parameters
    ----------
    start : int
        Where the data set begins, in bytes.
    said : SaidAlong, optional
        What its sender said beside it.
    """
    if said is not None:
        facts = replace(
            facts,
            accession=facts.accession or said.accession,
            clinical_question=said.clinical_question,
            urgency=said.urgency,
            chest_pain=said.chest_pain,
            onset_at=said.onset_at,
        )
    key = keys.instance_key(site_code, facts.study_uid, facts.sop_uid, staged.sha256)
    return Arrival(facts, StoredFile(key, staged.size, staged.sha256), start, origin)


def keep(staged: Staged, arrival: Arrival) -> None:
    """Give a staged object its key, durably; raises `StoreUnavailable`. Object first, row second."""
    with _storing():
        staged.keep(arrival.file.key, tells_content=True)


def file_upload(  # noqa: PLR0917 - what, for whom, and what was said
    context: Context,
    file: BinaryIO,
    origin: Origin,
    site_code: str,
    said: SaidAlong | None = None,
    charset: str | None = None,
) -> Outcome:
    """File a DICOM file that a person or a machine sent over HTTP, with what was said along with it.

    Parameters
    ----------
    file : seekable binary file
        Read from its beginning; never held in memory as a whole.
    charset : str, optional
        Character set that its maker is known to use, whatever it declares.

    Raises
    ------
    Rejected
        It is no DICOM file, or cannot be filed; nothing is kept, the sender is told why.
    PatientConflict
        Its study is another patient's; it is kept at the desk.
    """
    meta, start = split(file)
    parse_uid(meta.transfer_syntax)
    header = read_header(file, meta.transfer_syntax, charset, sop_class=meta.sop_class, start=start)
    with stage(context) as staged, _storing():
        if start == 0:
            made = file_header(
                sop_class=header.sop_class,
                sop_instance=header.sop_uid,
                transfer_syntax=meta.transfer_syntax,
            )
            staged.write(made)
            start = len(made)
        file.seek(0)
        shutil.copyfileobj(file, _Into(staged), 1 << 20)
        arrival = arrival_of(staged, facts_of(header), start, origin, site_code, said=said)
        keep(staged, arrival)
        [outcome] = enter(context, [arrival], now=context.clock())
    log.info("instance_received", sop_uid=header.sop_uid, outcome=str(outcome), bytes=staged.size)
    if outcome is Outcome.OTHER_PATIENT:
        raise PatientConflict
    return outcome


def keep_aside(  # noqa: PLR0917 - what a desk item consists of
    context: Context, staged: Staged, announced: Announced, origin: Origin | None, reason: str, detail: str
) -> None:
    """Keep a staged object for the desk, durable before the sender gets its answer."""
    now = context.clock()
    with _storing():
        stored = staged.keep(keys.quarantine_key(now, staged.sha256))
    with context.db.transaction() as session:
        catalogue.quarantine(
            session,
            kind="dicom",
            reason=reason,
            detail=detail,
            files=[StoredFile(stored.key, stored.size, stored.sha256)],
            origin=origin,
            now=now,
            sop_uid=announced.sop_instance,
            transfer_syntax=announced.transfer_syntax,
            calling_ae=announced.calling_ae,
            address=announced.address,
        )
    log.warning("instance_quarantined", sop_uid=announced.sop_instance, reason=reason)


def release_quarantined(  # noqa: PLR0917 - where from, where to, by whom
    context: Context,
    session: Session,
    item: Quarantined,
    site_id: str,
    site_code: str,
    actor: ActorRef,
    charset: str | None = None,
    *,
    same_patient: bool = False,
) -> None:
    """File a quarantined object under a site after all, in the caller's transaction.

    Parameters
    ----------
    charset : str, optional
        Character set that its device is known to use.
    same_patient : bool
        Two people have said that it is the patient of its study, whatever it states.

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
    with stage(context) as staged, _storing():
        with context.store.open(item.files[0]["key"]) as kept:
            shutil.copyfileobj(kept, _Into(staged), 1 << 20)
        file = staged.reader()
        meta, start = split(file)
        header = read_header(file, meta.transfer_syntax, charset, sop_class=meta.sop_class, start=start)
        stored = staged.keep(keys.instance_key(site_code, header.study_uid, header.sop_uid, staged.sha256))
    arrival = Arrival(
        facts_of(header),
        StoredFile(stored.key, stored.size, stored.sha256),
        start,
        Origin(site_id, actor, item.address, None, item.calling_ae),
        same_patient=same_patient,
    )
    outcome = enter_within(context, session, arrival, now=context.clock())
    if outcome is Outcome.CONFLICT:
        raise UidTaken
    if outcome is Outcome.OTHER_PATIENT:
        raise PatientConflict


class _Into:
    """A staged object as `shutil.copyfileobj` writes to."""

    def __init__(self, staged: Staged) -> None:
        self._staged = staged

    def write(self, piece: bytes) -> int:
        self._staged.write(piece)
        return len(piece)


def _line(text: str) -> str:
    """Return text as the index can hold it: no control characters, which PostgreSQL refuses in part."""
    if text.isprintable():  # most are, and it takes a twentieth of the time
        return text
    return "".join(character for character in text if unicodedata.category(character) not in {"Cc", "Cs"})


def whole_number(number: int | None) -> int | None:
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
        name_raw=header.patient.name_raw,
        declared_charset=_line(header.charset),
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
        series_number=whole_number(header.series_number),
        series_description=_line(header.series_description.text),
        performed_date=header.performed_date,
        performed_time=header.performed_time,
        step_id=_line(header.step_id),
        procedure_id=_line(header.procedure_id),
        instance_number=whole_number(header.instance_number),
        rows=pixels.rows if pixels else 0,
        columns=pixels.columns if pixels else 0,
        frames=pixels.frames if pixels else 0,
    )
