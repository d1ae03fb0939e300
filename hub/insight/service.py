"""What the boards let people do: start a job over, search the trail. Each act leaves its audit row."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from hub.audit import repository as trail
from hub.audit import service as audit
from hub.audit.models import AuditEvent
from hub.audit.repository import Query
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.errors import Malformed
from hub.insight.repository import InsightRepository
from hub.jobs import board
from hub.patients.models import Patient

PAGE_ROWS = 100
EXPORT_ROWS = 100_000
"""Most rows of one exported file; a longer stretch is exported in parts, by time."""
VIEWS = "views"
"""Stands for every way of looking at a patient."""
VIEW_TAGS = (Tag.STUDY_VIEW, Tag.EXAM_VIEW, Tag.REPORT_VIEW, Tag.REPORT_DOWNLOAD)
LISTED_PATIENTS = 50
CSV_COLUMNS = (
    "seq",
    "id",
    "at",
    "tag",
    "actor_kind",
    "actor_id",
    "actor_name",
    "site_id",
    "subject_kind",
    "subject_id",
    "patient_id",
    "address",
    "facts",
    "previous_hash",
    "hash",
)


def retry_job(session: Session, actor: Actor, job_id: str) -> None:
    """Start a job over that gave up or was cancelled."""
    board.retry(session, job_id)
    audit.record(
        session,
        Tag.JOB_RETRY,
        actor=actor.ref,
        subject_kind="job",
        subject_id=job_id,
        address=actor.address,
    )


def cancel_job(session: Session, actor: Actor, job_id: str) -> None:
    """Take a job out of the queue that has not started."""
    board.cancel(session, job_id)
    audit.record(
        session,
        Tag.JOB_CANCEL,
        actor=actor.ref,
        subject_kind="job",
        subject_id=job_id,
        address=actor.address,
    )


@dataclass(frozen=True)
class TrailSearch:
    """What an auditor typed; an empty field narrows nothing."""

    patient: str = ""
    """A site's number of a patient, or part of a name."""
    person: str = ""
    """A login or part of a name."""
    tag: str = ""
    """A tag, or `VIEWS`."""
    exam: str = ""
    since: str = ""
    until: str = ""

    @property
    def fields(self) -> list[str]:
        """Names of the fields that were filled in."""
        return [name for name, value in vars(self).items() if value]


@dataclass(frozen=True)
class Found:
    """A query ready to run, and whom it concerns."""

    query: Query
    patients: tuple[Patient, ...]


def understand(session: Session, typed: TrailSearch, zone: ZoneInfo) -> Found:
    """Turn what was typed into a query over row ids.

    Raises
    ------
    Malformed
        A time is no time.
    """
    repository = InsightRepository(session)
    patients = tuple(repository.patients_like(typed.patient.strip())) if typed.patient.strip() else ()
    until = _moment(typed.until, zone)
    query = Query(
        patient_ids=tuple(patient.id for patient in patients) if typed.patient.strip() else None,
        actor_ids=tuple(repository.users_like(typed.person.strip())) if typed.person.strip() else None,
        subject_ids=repository.subjects_of_exam(typed.exam.strip()) if typed.exam.strip() else None,
        tags=VIEW_TAGS if typed.tag == VIEWS else None,
        tag=typed.tag if typed.tag and typed.tag != VIEWS else None,
        since=_moment(typed.since, zone),
        # The form gives whole minutes: the minute named last is looked through as well.
        until=until + timedelta(minutes=1) if until else None,
    )
    return Found(query, patients)


def note_search(session: Session, actor: Actor, typed: TrailSearch, found: Found, *, export: bool) -> None:
    """Note that somebody searched the trail: which fields, and which patients, never what was typed."""
    ids = [patient.id for patient in found.patients]
    audit.record(
        session,
        Tag.AUDIT_EXPORT if export else Tag.AUDIT_SEARCH,
        actor=actor.ref,
        subject_kind="trail",
        subject_id="audit",
        patient_id=ids[0] if len(ids) == 1 else None,
        address=actor.address,
        fields=typed.fields,
        patients=ids[:LISTED_PATIENTS],
    )


def _moment(text: str, zone: ZoneInfo) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed from error
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def as_csv(session: Session, query: Query) -> tuple[bytes, str]:
    """Return matching rows as CSV (RFC 4180, UTF-8), oldest first, and the SHA-256 of the file.

    Hashes are in it, so a row can be held against the chain later. An apostrophe before a
    leading =, +, - or @ is put there for spreadsheets and is not part of the value.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for event in reversed(list(_newest(session, query, EXPORT_ROWS))):
        writer.writerow([_cell(event, name) for name in CSV_COLUMNS])
    content = text.getvalue().encode("utf-8")
    return content, hashlib.sha256(content).hexdigest()


def _newest(session: Session, query: Query, most: int) -> Iterator[AuditEvent]:
    before: int | None = None
    while most > 0:
        rows = trail.search(session, query, before_seq=before, limit=min(1000, most))
        yield from rows
        if not rows:
            return
        most, before = most - len(rows), rows[-1].seq


def _cell(event: AuditEvent, name: str) -> str:
    value = getattr(event, name)
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    text = "" if value is None else str(value)
    # A spreadsheet would run a cell that begins so, and an AE title is anybody's to choose.
    return "'" + text if text.startswith(("=", "+", "-", "@")) else text
