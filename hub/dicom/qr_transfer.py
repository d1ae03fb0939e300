"""What C-MOVE and C-GET share: which objects go out, sending them one by one, and the answers meanwhile."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain

import structlog
from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.catalogue.models import Instance
from hub.catalogue.qr_search import RetrieveRepository, Wanted
from hub.context import Context
from hub.dicom.identifier import decode_identifier, encode_attributes
from hub.dicom.qr_find import actor_of
from hub.dicom.qr_keys import TOP_LEVEL, read_retrieval
from hub.dicom.sending import accepted_context, object_pieces
from hub.dicom.wire import status
from hub.dicom.wire.association import Association
from hub.dicom.wire.errors import Aborted
from hub.dicom.wire.service import Request
from hub.errors import Conflict, HubError, TooLarge
from hub.patients.repository import PatientRepository
from hub.sites.service import DeviceKnown
from storage.errors import StorageError

log = structlog.get_logger()

MOST_OBJECTS = 65_535
"""The number of sub-operations is an unsigned short (PS3.7 Table 9.1-4)."""
CHUNK = 200
"""Rows that are read from the index at a time."""
FAILED_SOP_INSTANCE_UIDS = 0x00080058
MOST_LISTED_BYTES = 65_534
"""A value of UI in explicit form is no longer; UIDs beyond it are counted and not listed."""


class TooManyObjects(TooLarge):
    """More than 65,535 objects at once: retrieve series by series."""


class SeveralFit(Conflict):
    """Several sites' patients or studies have this identifier; what is meant has to be named more exactly."""

    dimse_status = status.IDENTIFIER_MISMATCH


class Sent(Enum):
    """What became of one sub-operation."""

    COMPLETED = "completed"
    WARNING = "warning"
    FAILED = "failed"


@dataclass
class Progress:
    """Counts of sub-operations (PS3.4 section C.4.2.1.6)."""

    remaining: int
    completed: int = 0
    warnings: int = 0
    failed: list[str] = field(default_factory=list)
    """SOP Instance UIDs."""

    def note(self, sop_uid: str, outcome: Sent) -> None:
        """Count one sub-operation."""
        self.remaining -= 1
        if outcome is Sent.COMPLETED:
            self.completed += 1
        elif outcome is Sent.WARNING:
            self.warnings += 1
        else:
            self.failed.append(sop_uid)

    def pending(self, request: Request) -> None:
        """Tell the peer how far it is."""
        if self.remaining:
            request.respond(
                status.PENDING, None, NumberOfRemainingSuboperations=self.remaining, **self._done()
            )

    def finish(self, request: Request, *, cancelled: bool = False) -> None:
        """Give the final answer, with the objects that were not taken."""
        remaining = {"NumberOfRemainingSuboperations": self.remaining} if cancelled else {}
        identifier = None
        if self.failed:
            identifier = encode_attributes(
                [(FAILED_SOP_INSTANCE_UIDS, "UI", _listed(self.failed))],
                request.context.transfer_syntax,
                "",
            )
        outcome = status.CANCELLED if cancelled else self._outcome()
        request.respond(outcome, identifier, **remaining, **self._done())
        log.info(
            "dicom_retrieved",
            association=request.peer.association_id,
            status=f"{outcome:04X}",
            completed=self.completed,
            warnings=self.warnings,
            failed=len(self.failed),
        )

    def _outcome(self) -> int:
        if not self.failed and not self.warnings:
            return status.SUCCESS
        if not self.completed and not self.warnings:
            return status.UNABLE_TO_PERFORM_SUBOPERATIONS
        return status.WARNING_SUBOPERATIONS

    def _done(self) -> dict[str, int]:
        return {
            "NumberOfCompletedSuboperations": self.completed,
            "NumberOfFailedSuboperations": len(self.failed),
            "NumberOfWarningSuboperations": self.warnings,
        }


def wanted_by(context: Context, request: Request, device: DeviceKnown) -> list[Wanted]:
    """Return the objects that a C-MOVE or C-GET names, as far as the device may see them.

    What it may not see is not there for it, like what does not exist.

    Raises
    ------
    BadIdentifier, IdentifierMismatch
        The identifier names nothing.
    SeveralFit
        It names a patient or a study of two sites: those are two, and one of them is not meant.
    TooManyObjects
        More than can be counted.
    """
    identifier = decode_identifier(request.dataset, request.context.transfer_syntax, device.charset)
    matches = read_retrieval(identifier, TOP_LEVEL[request.context.abstract_syntax])
    with context.db.reading() as session:
        found = RetrieveRepository(session).wanted(device, matches, MOST_OBJECTS + 1)
    if len(found) > MOST_OBJECTS:
        raise TooManyObjects
    by_patient = any(match.keyword == "PatientID" for match in matches)
    owners: dict[str, set[str]] = {}
    for one in found:
        owners.setdefault(one.study_uid, set()).add(one.site_id)
        if by_patient:
            owners.setdefault(f"patient {one.local_id}", set()).add(one.site_id)
    if any(len(sites) > 1 for sites in owners.values()):
        raise SeveralFit
    return found


def note_retrieval(
    context: Context, request: Request, device: DeviceKnown, wanted: Sequence[Wanted], destination: str
) -> None:
    """Put on record, study by study, what leaves the hub for whom; before the first byte does."""
    studies: dict[str, list[Wanted]] = {}
    for one in wanted:
        studies.setdefault(one.study_id, []).append(one)
    if not studies:
        return
    with context.db.transaction() as session:
        for study_id, objects in studies.items():
            audit.record(
                session,
                Tag.STUDY_DOWNLOAD,
                actor=actor_of(request, device),
                subject_kind="study",
                subject_id=study_id,
                site_id=objects[0].site_id,
                patient_id=_patient(session, objects[0]),
                address=request.peer.address,
                instances=len(objects),
                destination=destination,
            )


def with_rows(context: Context, wanted: Sequence[Wanted]) -> Iterator[tuple[Wanted, Instance | None]]:
    """Yield objects with their rows, read a few at a time; None for a row that is gone since."""
    for start in range(0, len(wanted), CHUNK):
        part = wanted[start : start + CHUNK]
        with context.db.reading() as session:
            rows = RetrieveRepository(session).instances_by_id([one.instance_id for one in part])
        for one in part:
            yield one, rows.get(one.instance_id)


def send_object(
    context: Context,
    association: Association,
    instance: Instance,
    move_originator: tuple[str, int] | None = None,
) -> Sent:
    """Send one object, as it is stored or in plain little endian where the peer takes nothing else.

    Raises
    ------
    AssociationEnded, ProtocolError
        The association is over: the peer has gone, or the store failed in the middle of the
        object.
    """
    accepted = accepted_context(association, instance)
    if accepted is None:
        return _not_sent(instance, "not_accepted")
    try:
        pieces = object_pieces(context, instance, accepted.transfer_syntax)
        first = next(pieces, b"")
    except HubError as error:
        return _not_sent(instance, error.code)
    except StorageError:
        return _not_sent(instance, "store_away")
    try:
        answer = association.store(
            accepted,
            sop_class=instance.sop_class,
            sop_instance=instance.sop_uid,
            pieces=chain((first,), pieces),
            move_originator=move_originator,
        )
    except StorageError as error:
        # Half an object cannot be taken back.
        association.abort()
        raise Aborted from error
    if answer == status.SUCCESS:
        return Sent.COMPLETED
    if status.is_warning(answer):
        return Sent.WARNING
    return _not_sent(instance, f"status_{answer:04X}")


def _not_sent(instance: Instance, reason: str) -> Sent:
    log.warning(
        "dicom_suboperation_failed",
        sop_uid=instance.sop_uid,
        transfer_syntax=instance.transfer_syntax,
        reason=reason,
    )
    return Sent.FAILED


def _patient(session: Session, one: Wanted) -> str | None:
    patient = PatientRepository(session).by_local_id(one.site_id, one.local_id)
    return patient.id if patient else None


def _listed(uids: Sequence[str]) -> list[str]:
    listed, length = [], 0
    for uid in uids:
        length += len(uid) + 1
        if length > MOST_LISTED_BYTES:
            break
        listed.append(uid)
    return listed
