"""From the files of an ECG to a catalogue row: read first, keep second, enter third."""

import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.orm import Session

from hub.catalogue import service as catalogue
from hub.catalogue.keys import recording_key
from hub.catalogue.models import Study
from hub.catalogue.service import NewRecording, Origin, Outcome, StoredFile
from hub.context import Context
from hub.ecg.errors import SentDifferently, UnknownFormat
from hub.ecg.grouping import bare_name
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Waveform
from hub.errors import StoreUnavailable
from hub.patients import service as patients
from hub.patients.service import Person
from storage.errors import StorageError

log = structlog.get_logger()

CLOCK_AHEAD = timedelta(minutes=10)
CLOCK_BEHIND = timedelta(days=30)
"""A start further off than this points at a device whose clock is wrong."""

_WHOLE_DATE = re.compile(r"\d{8}")
_SEX_WORDS = {"m": "M", "male": "M", "男": "M", "f": "F", "female": "F", "女": "F", "o": "O"}
_UNCOMPARED = {"name_script"}
_TEXTS = (
    *("patient_name", "local_id", "sex", "birth_date"),
    *("accession", "clinical_question", "urgency"),
)


@dataclass(frozen=True)
class EcgDetails:
    """What the sender said of a recording; it goes before what the file says, which fills the gaps.

    Attributes
    ----------
    patient_name, local_id, sex, birth_date : str
        As in `hub.patients.service.Person`.
    accession : str
        Number of the order that this recording answers.
    clinical_question : str
        As typed, the onset of chest pain included.
    urgency : str
        ``routine``, ``urgent``, ``critical`` or empty.
    chest_pain : bool
        Whether the patient has pain in the chest.
    onset_at : datetime or None
        When it began.
    """

    patient_name: str = ""
    local_id: str = ""
    sex: str = ""
    birth_date: str = ""
    accession: str = ""
    clinical_question: str = ""
    urgency: str = ""
    chest_pain: bool = False
    onset_at: datetime | None = None

    @property
    def person(self) -> Person:
        """The patient as the sender states it."""
        return Person(self.local_id, self.patient_name, self.sex, self.birth_date)


@dataclass(frozen=True)
class EcgReceipt:
    """What was received, for the sender to compare with what it meant to send.

    Attributes
    ----------
    study : Study
        The study that it belongs to, as it was entered.
    outcome : Outcome
        ``RESENT`` when these bytes were here already: the first receipt, again.
    waveform : Waveform
        As it was read.
    source_id : str
        Row id of the recording, or of the DICOM instance.
    warnings : tuple of str
        Codes; texts stand in the catalogue as ``ecg.warning.<code>``.
    """

    study: Study
    source_id: str
    outcome: Outcome
    waveform: Waveform
    warnings: tuple[str, ...]

    @property
    def study_id(self) -> str:
        """Row id of the study."""
        return self.study.id

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return self.study.study_uid


Opens = Callable[[Session, Study, Outcome], None]
"""Opens the exam of a recording, in the transaction that enters it."""

StudyOf = Callable[[Session, NewRecording], str]
"""Names the study that a recording joins, in the transaction that enters it; empty for its own."""

Entered = tuple[str, Study, Outcome]
"""Row id of the recording, its study, and what became of it."""

Enter = Callable[[Callable[[Session], Entered]], Entered]
"""Runs what enters a recording in a transaction, and returns its result once that is committed."""


def receive(
    context: Context,
    files: Mapping[str, bytes],
    origin: Origin,
    site_code: str,
    *,
    details: EcgDetails | None = None,
    study_of: StudyOf | None = None,
    opens: Opens | None = None,
    waveform: Waveform | None = None,
    enter: Enter | None = None,
) -> EcgReceipt:
    """Keep one recording that did not come as DICOM. Returns only when bytes and row are durable.

    Parameters
    ----------
    files : mapping of str to bytes
        The recording's files by name.
    details : EcgDetails, optional
        What the sender said along with them.
    study_of : callable, optional
        Whether it belongs into a study that is here already.
    opens : callable, optional
        Opens the exam; without it a job does.
    waveform : Waveform, optional
        What reading the files gave, if somebody has done it.
    enter : callable, optional
        Runs the transaction; without it, it is one of its own.

    Raises
    ------
    Rejected
        The files cannot be read as an ECG, or the details cannot be what they claim; nothing is kept.
    SentDifferently
        The very same files came before, for another patient, order or urgency; nothing is changed.
    StoreUnavailable
        The object store does not answer; the sender should try again.
    """
    details = checked(details or EcgDetails())
    now = context.clock()
    waveform = waveform or read_ecg(files)
    if waveform.format == "dicom":
        raise UnknownFormat("a DICOM object is filed as such", seen="DICOM")
    named = {bare_name(name): data for name, data in files.items()}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in named.items()}
    digest = digest_of(hashes)
    new = NewRecording(
        study_uid=study_uid_of(origin.site_id, digest),
        digest=digest,
        files=_put(context, site_code, digest, named, hashes),
        started_at=_zoned(waveform.started_at, context),
        warnings=(*waveform.warnings, *_notes(waveform, details, context, now)),
        **_facts(waveform, details),
    )

    def entered(session: Session) -> Entered:
        joined = study_of(session, new) if study_of else ""
        joining = replace(new, study_uid=joined) if joined else new
        recording, study, outcome = catalogue.register_recording(
            session, joining, origin, settings=context.settings, now=now, opens=opens is not None
        )
        if outcome is Outcome.RESENT and _differs(details, study):
            raise SentDifferently(study_uid=study.study_uid)
        if opens is not None:
            opens(session, study, outcome)
        return recording.id, study, outcome

    recording_id, study, outcome = (enter or _alone(context))(entered)
    log.info("recording_received", study_uid=study.study_uid, outcome=str(outcome), files=len(files))
    return EcgReceipt(study, recording_id, outcome, waveform, new.warnings)


def _facts(waveform: Waveform, details: EcgDetails) -> dict[str, Any]:
    """Return what the recording and its sender say of it, as `NewRecording` names it."""
    return {
        "format": waveform.format,
        "rate_hz": waveform.rate_hz,
        "n_samples": waveform.n_samples,
        "leads": waveform.leads,
        "accession": details.accession,
        "clinical_question": details.clinical_question,
        "urgency": details.urgency,
        "chest_pain": details.chest_pain,
        "onset_at": details.onset_at,
        **_identity(details.person, waveform),
    }


def _alone(context: Context) -> Enter:
    """Return what enters one recording in a transaction of its own."""

    def enter(work: Callable[[Session], Entered]) -> Entered:
        with context.db.transaction() as session:
            return work(session)

    return enter


def checked(details: EcgDetails) -> EcgDetails:
    """Return details without control characters, once they can be what they claim.

    A name may be missing, as in an emergency; sex and birth date must be possible all the same.

    Raises
    ------
    Rejected
        By the names of `hub.patients.service`.
    """
    texts = {name: clean(getattr(details, name)) for name in _TEXTS}
    person = patients.checked(
        Person(texts["local_id"], texts["patient_name"] or "-", texts["sex"].upper(), texts["birth_date"])
    )
    texts |= {"sex": person.sex, "birth_date": person.birth_date}
    return EcgDetails(**texts, chest_pain=details.chest_pain, onset_at=details.onset_at)


def clean(text: str) -> str:
    """Return text without what cannot be printed or stored; lines stay apart."""
    return "".join(c for c in text if c.isprintable() or c == "\n").strip()


def digest_of(hashes: Mapping[str, str]) -> str:
    """Return SHA-256 over names and SHA-256s of a recording's files, whatever order they came in.

    The name of a single file does not count: nothing in it refers to it, and a cart that sends
    the same recording again may call it something else.
    """
    if len(hashes) == 1:
        hashes = {"": next(iter(hashes.values()))}
    lines = "".join(f"{name}\0{sha256}\n" for name, sha256 in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def study_uid_of(site_id: str, digest: str) -> str:
    """Return the Study Instance UID of a recording: the same for the same bytes of the same site.

    A UUID made of a name, below 2.25 (PS3.5 section B.2). Two uploads of the same bytes at once
    therefore meet in one study.
    """
    name = hashlib.sha256(f"{site_id}/{digest}".encode()).digest()
    return f"2.25.{uuid.UUID(bytes=name[:16], version=5).int}"


def _put(
    context: Context, site_code: str, digest: str, files: Mapping[str, bytes], hashes: Mapping[str, str]
) -> tuple[StoredFile, ...]:
    kept = []
    for number, name in enumerate(sorted(files)):
        key = recording_key(site_code, digest, number, hashes[name])
        try:
            stored = context.store.put(key, files[name])
        except StorageError as error:
            log.exception("store_failed", key_prefix="ecg")
            raise StoreUnavailable from error
        kept.append(StoredFile(stored.key, stored.size, stored.sha256, name))
    return tuple(kept)


def _differs(details: EcgDetails, study: Study) -> bool:
    """Tell whether a sender who repeats a recording says something else of it than the first time."""
    known = Person(study.local_id, study.patient_name, study.sex, study.birth_date)
    if set(patients.disagreements(known, details.person)) - _UNCOMPARED:
        return True
    # A mark that is less urgent takes nothing away; the more urgent one holds.
    other_order = bool(details.accession) and details.accession != study.accession
    return other_order or catalogue.more_urgent(details.urgency, study.urgency)


def _identity(said: Person, waveform: Waveform) -> dict[str, str]:
    """Return the patient as the sender states it, gaps filled from the file."""
    file = waveform.patient
    birth_date = file.birth_date if _WHOLE_DATE.fullmatch(file.birth_date) else ""
    return {
        "local_id": said.local_id or clean(file.local_id),
        "patient_name": said.name or clean(file.name),
        "sex": said.sex or sex_of(file.sex),
        "birth_date": said.birth_date or birth_date,
    }


def sex_of(text: str) -> str:
    """Return M, F, O or empty for a file's own word."""
    return _SEX_WORDS.get(text.strip().casefold(), "")


def _notes(waveform: Waveform, details: EcgDetails, context: Context, now: datetime) -> list[str]:
    """Return what should be looked at before this recording is believed to be this patient's."""
    notes = []
    if {details.sex, sex_of(waveform.patient.sex)} == {"M", "F"}:
        notes.append("sex_differs")
    started = _zoned(waveform.started_at, context)
    if started and not -CLOCK_BEHIND < started - now < CLOCK_AHEAD:
        notes.append("clock_doubtful")
    named = _identity(details.person, waveform)
    if not (named["patient_name"] or named["local_id"] or details.accession):
        notes.append("patient_unnamed")
    return notes


def _zoned(moment: datetime | None, context: Context) -> datetime | None:
    """Take a device's own clock to run in the hub's zone, where the file states none."""
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=context.settings.zone)
