"""Storage commitment: which of a device's objects are kept for good (PS3.4 annex J).

A question is a row before it is answered 0x0000, so that no restart forgets it. What is
told the device is found out anew at each try: an object counts as kept when it is
catalogued at the device's site and its bytes lie in the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.service import SYSTEM
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.auth.roles import Permission
from hub.catalogue import service as catalogue
from hub.catalogue.models import Instance
from hub.context import Context
from hub.db.repository import insert_or_get
from hub.dicom.elements import BrokenDataset, items, walk
from hub.dicom.exchange_repository import CommitmentRepository
from hub.dicom.identifier import Attribute, encode_attributes
from hub.dicom.models import CommitmentRequest
from hub.dicom.nodes import wait_after
from hub.dicom.part10 import layout
from hub.dicom.source import Source
from hub.dicom.stored import is_kept
from hub.errors import Conflict, Malformed, NotFound
from hub.jobs.queue import enqueue
from hub.kit.uids import BadUid, parse_uid
from hub.sites.service import DeviceKnown

SOP_CLASS = "1.2.840.10008.1.20.1"
WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_ACTION = 1
ALL_KEPT, SOME_FAILED = 1, 2
"""Event types of the report (PS3.4 section J.3.3)."""

NO_SUCH_OBJECT, CLASS_INSTANCE_CONFLICT, PROCESSING_FAILURE = 0x0112, 0x0119, 0x0110
"""Failure reasons (PS3.3 section C.14.1.1)."""

TRANSACTION_UID, FAILED_SEQUENCE, REFERENCED_SEQUENCE = 0x00081195, 0x00081198, 0x00081199
REFERENCED_CLASS, REFERENCED_INSTANCE = 0x00081150, 0x00081155
RETRIEVE_AE, FAILURE_REASON = 0x00080054, 0x00081197

OBJECTS_WITHIN = timedelta(minutes=10)
"""Objects that are still under way when their device asks are waited for this long."""
LOOK_AGAIN = timedelta(seconds=20)
"""How often is looked whether they have come."""
SAME_ASSOCIATION = timedelta(seconds=5)
"""The association on which a device asked has this long before a new one is opened to it."""
UNDER_WAY = timedelta(minutes=1)
"""A report that is being delivered is left alone for this long."""
GIVE_UP_AFTER = timedelta(days=3)

Reference = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


class CommitmentMalformed(Malformed):
    """The commitment request names no transaction or no objects."""

    dimse_status = 0x0115  # invalid argument value (PS3.7 section C.5.10)


class NotOpen(Conflict):
    """The device has had its answer."""


@dataclass(frozen=True)
class Asked:
    """What a device asks."""

    transaction_uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True)
class Judgement:
    """What of a request is kept.

    Attributes
    ----------
    kept : tuple of Reference
    failed : tuple of (Reference, reason)
    may_come : bool
        Whether some of `failed` may be there later.
    studies : tuple of str
        Row ids of the studies to which what is kept belongs.
    """

    kept: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]
    may_come: bool
    studies: tuple[str, ...]


# On the wire


def read_request(dataset: bytes, transfer_syntax: str) -> Asked:
    """Read the data set of an N-ACTION (PS3.4 Table J.3-1).

    Raises
    ------
    CommitmentMalformed
        It cannot be read, or names no transaction or no object.
    """
    source = Source(memoryview(dataset))
    transaction, references = "", []
    try:
        for element in walk(source, 0, len(dataset), layout(transfer_syntax, dataset[:12])):
            if element.tag == TRANSACTION_UID:
                transaction = _text(source, element.offset, element.length)
            elif element.tag == REFERENCED_SEQUENCE:
                for item in items(source, element, len(dataset)):
                    found = {
                        inner.tag: _text(source, inner.offset, inner.length)
                        for inner in walk(source, item.start, item.end, item.encoding)
                        if inner.tag in {REFERENCED_CLASS, REFERENCED_INSTANCE}
                    }
                    references.append((found.get(REFERENCED_CLASS, ""), found.get(REFERENCED_INSTANCE, "")))
    except BrokenDataset as error:
        raise CommitmentMalformed from error
    if not references:
        raise CommitmentMalformed
    try:
        wanted = dict.fromkeys((parse_uid(sop_class), parse_uid(uid)) for sop_class, uid in references)
        return Asked(parse_uid(transaction), tuple(wanted))
    except BadUid as error:
        raise CommitmentMalformed from error


def write_report(
    transaction_uid: str, judged: Judgement, retrieve_ae: str, transfer_syntax: str
) -> tuple[int, bytes]:
    """Return event type and data set of the report (PS3.4 Table J.3-2)."""
    attributes: list[Attribute] = [(TRANSACTION_UID, "UI", transaction_uid)]
    if judged.kept:
        attributes.append((RETRIEVE_AE, "AE", retrieve_ae))
        attributes.append((REFERENCED_SEQUENCE, "SQ", [_item(one) for one in judged.kept]))
    if judged.failed:
        failed = [_item(one, reason) for one, reason in judged.failed]
        attributes.append((FAILED_SEQUENCE, "SQ", failed))
    event = SOME_FAILED if judged.failed else ALL_KEPT
    return event, encode_attributes(attributes, transfer_syntax, "")


def _text(source: Source, offset: int, length: int) -> str:
    return source.read(offset, min(length, 80)).decode("ascii", errors="replace").strip("\0 ")


def _item(reference: Reference, reason: int | None = None) -> object:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference
    if reason is not None:
        item.FailureReason = reason
    return item


# Rows


def accept(
    session: Session,
    device: DeviceKnown,
    asked: Asked,
    *,
    calling_ae: str,
    called_ae: str,
    address: str,
    now: datetime,
) -> CommitmentRequest:
    """Keep a device's question; the same transaction again is a new question, and the newest list counts.

    The report only speaks of the objects it lists, so a list that was replaced promises nothing.
    """
    request, new = insert_or_get(
        session,
        CommitmentRequest,
        {"device_id": device.id, "transaction_uid": asked.transaction_uid},
        {
            "site_id": device.site_id,
            "items": [list(one) for one in asked.references],
            "failed": [],
            "requested_at": now,
            "state": "waiting",
            "next_at": now + SAME_ASSOCIATION,
        },
    )
    request.calling_ae, request.called_ae, request.address = calling_ae[:64], called_ae[:64], address[:64]
    if not new:
        request.items, request.failed = [list(one) for one in asked.references], []
        request.requested_at, request.next_at = now, now + SAME_ASSOCIATION
        request.state, request.attempts, request.answered_at, request.last_error = "waiting", 0, None, ""
    wake(session, device.id, SAME_ASSOCIATION.total_seconds())
    return request


def take_due(
    session: Session, device_id: str, now: datetime, *, all_waiting: bool
) -> list[CommitmentRequest]:
    """Take on requests of a device for a delivery, so that no other run reports them meanwhile.

    Parameters
    ----------
    all_waiting : bool
        Also those that wait for their next try: the device is on the line.
    """
    repository = CommitmentRepository(session)
    taken = []
    for seen in repository.waiting_of(device_id, None if all_waiting else now):
        request = repository.lock(seen.id)
        if request is not None and request.state == "waiting":
            request.next_at = now + UNDER_WAY
            taken.append(request)
    return taken


def judge(context: Context, request: CommitmentRequest) -> Judgement:
    """Find out which objects of a request are kept: in the catalogue, and their bytes in the store."""
    references = [(str(sop_class), str(sop_uid)) for sop_class, sop_uid in request.items]
    with context.db.reading() as session:
        held = CommitmentRepository(session).held(request.site_id, [uid for _, uid in references])
    by_uid: dict[str, list[tuple[Instance, str]]] = {}
    for instance, study_id in held:
        by_uid.setdefault(instance.sop_uid, []).append((instance, study_id))
    kept, failed, studies, may_come = [], [], set(), False
    for reference in references:
        found = by_uid.get(reference[1], [])
        fitting = [(one, study_id) for one, study_id in found if one.sop_class == reference[0]]
        whole = [study_id for one, study_id in fitting if is_kept(context, one)]
        if whole:
            kept.append(reference)
            studies.update(whole)
        elif fitting:
            failed.append((reference, PROCESSING_FAILURE))
            may_come = True
        else:
            failed.append((reference, CLASS_INSTANCE_CONFLICT if found else NO_SUCH_OBJECT))
            may_come = may_come or not found
    return Judgement(tuple(kept), tuple(failed), may_come, tuple(sorted(studies)))


def is_ripe(request: CommitmentRequest, judged: Judgement, now: datetime) -> bool:
    """Tell whether the device is told now, or its objects are waited for."""
    return not judged.may_come or now - request.requested_at >= OBJECTS_WITHIN


def complete_studies(session: Session, judged: Judgement, *, now: datetime) -> None:
    """Let studies count as complete of which a device has listed every object, and all are here."""
    if judged.failed:
        return
    listed = {uid for _, uid in judged.kept}
    for study_id in judged.studies:
        if listed >= CommitmentRepository(session).sop_uids(study_id):
            catalogue.complete_by(session, study_id, "commitment", now=now)


# What came of a try


def answered(session: Session, request_id: str, judged: Judgement, *, now: datetime) -> None:
    """Write down that the device has its report."""
    request = CommitmentRepository(session).lock(request_id)
    if request is None or request.state != "waiting":
        return
    request.state, request.answered_at, request.next_at, request.last_error = "answered", now, None, ""
    request.failed = [[*reference, reason] for reference, reason in judged.failed]
    audit.record(
        session,
        Tag.COMMITMENT_REPORT,
        actor=SYSTEM,
        subject_kind="commitment",
        subject_id=request.id,
        site_id=request.site_id,
        kept=len(judged.kept),
        failed=len(judged.failed),
    )


def wait_for_objects(session: Session, request_ids: Sequence[str], *, now: datetime) -> None:
    """Look again in a moment whether the objects have come."""
    for request_id in request_ids:
        request = CommitmentRepository(session).lock(request_id)
        if request is not None and request.state == "waiting":
            request.next_at = now + LOOK_AGAIN


def not_delivered(session: Session, request_ids: Sequence[str], trouble: str, *, now: datetime) -> None:
    """Write down that a device could not be told; after days it is given up, visibly."""
    for request_id in request_ids:
        request = CommitmentRepository(session).lock(request_id)
        if request is None or request.state != "waiting":
            continue
        request.attempts += 1
        request.last_error = trouble
        if now - request.requested_at >= GIVE_UP_AFTER:
            request.state, request.next_at = "undeliverable", None
        else:
            request.next_at = now + wait_after(request.attempts)


def retry(session: Session, actor: Actor, request_id: str, *, now: datetime) -> CommitmentRequest:
    """Tell a device now, also one that was given up.

    Raises
    ------
    NotFound
        There is no such request at a site that this actor administers.
    NotOpen
        It was answered.
    """
    request = CommitmentRepository(session).lock(request_id)
    if request is None or not actor.may(Permission.ADMINISTER, request.site_id):
        raise NotFound("no such request")
    if request.state == "answered":
        raise NotOpen
    request.state, request.next_at = "waiting", now
    wake(session, request.device_id)
    return request


def wake(session: Session, device_id: str, delay_seconds: float = 0.0) -> None:
    """Let a run tell a device what it asked."""
    enqueue(
        session,
        "dicom.report_commitment",
        delay_seconds=delay_seconds,
        once_key=device_id,
        device_id=device_id,
    )
