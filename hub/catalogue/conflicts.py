"""Decisions about objects that contradict what is filed; a move between patients takes two people."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.catalogue.conflict_repository import OTHER_BYTES, OTHER_PATIENT, ConflictRepository
from hub.catalogue.models import Quarantined
from hub.catalogue.repository import CatalogueRepository
from hub.catalogue.service import resolve_quarantined
from hub.errors import Conflict, NotFound, Rejected

CONFLICTS = frozenset({OTHER_PATIENT, OTHER_BYTES})
"""Reasons for being at the desk that the site decides, not IT."""

SAME_PATIENT, DISCARDED = "same_patient", "discarded"
KEPT_FIRST, KEPT_BOTH = "kept_first", "kept_both"
"""How a conflict ends. Bytes are kept in each case."""


class StudyContested(Conflict):
    """Objects of another patient came under this study: its site must sort them out first."""


class ConflictReasonMissing(Rejected):
    """Say how you know."""


class AlreadyProposed(Conflict):
    """A decision is proposed already: confirm it or take it back."""


class NothingProposed(Conflict):
    """Nothing is proposed that could be confirmed."""


class SecondPersonNeeded(Conflict):
    """Another person must confirm this: who proposes a move between patients cannot confirm it."""


def refuse_contested(session: Session, study_id: str | None) -> None:
    """Stop whatever needs to know whose images a study holds.

    Raises
    ------
    StudyContested
        Objects of another patient came under it, and nobody has decided yet.
    """
    if study_id is not None and ConflictRepository(session).is_contested(study_id):
        raise StudyContested(study_id=study_id)


def propose_same_patient(
    session: Session, actor: Actor, item_ids: Sequence[str], reason: str, *, now: datetime
) -> None:
    """Propose that objects are the study's own patient after all; a second person confirms.

    Raises
    ------
    ConflictReasonMissing, AlreadyProposed, NotFound, Conflict
        Without reason, or not open any more.
    """
    if not reason.strip():
        raise ConflictReasonMissing
    for item_id in item_ids:
        item = _open(session, item_id)
        if item.proposed_at is not None:
            raise AlreadyProposed
        item.proposed_at, item.proposed_by = now, actor.id
        item.resolution, item.resolution_reason = SAME_PATIENT, reason.strip()[:500]
        _audit(session, Tag.CONFLICT_PROPOSE, actor, item)


def dismiss(session: Session, actor: Actor, item_ids: Sequence[str]) -> None:
    """Take a proposal back; the objects stay at the desk."""
    for item_id in item_ids:
        item = _open(session, item_id)
        if item.proposed_at is None:
            raise NothingProposed
        item.proposed_at = item.proposed_by = None
        item.resolution = item.resolution_reason = ""
        _audit(session, Tag.CONFLICT_DISMISS, actor, item)


def confirm(session: Session, actor: Actor, item_id: str, *, now: datetime) -> Quarantined:
    """Close an item as another person proposed; the caller files its object.

    Raises
    ------
    NothingProposed, SecondPersonNeeded
        Nobody has proposed anything, or this person has.
    """
    item = _open(session, item_id)
    if item.proposed_at is None:
        raise NothingProposed
    if item.proposed_by == actor.id:
        raise SecondPersonNeeded
    return resolve_quarantined(
        session,
        item_id,
        resolution=item.resolution,
        reason=item.resolution_reason,
        now=now,
        actor=actor.ref,
    )


def close(
    session: Session, actor: Actor, item_id: str, resolution: str, reason: str, *, now: datetime
) -> Quarantined:
    """End a conflict by keeping what is filed as it is.

    Raises
    ------
    ConflictReasonMissing
        No reason is given.
    Conflict
        The item is no conflict, or decided already.
    """
    if not reason.strip():
        raise ConflictReasonMissing
    _open(session, item_id)
    return resolve_quarantined(
        session, item_id, resolution=resolution, reason=reason.strip(), now=now, actor=actor.ref
    )


def _open(session: Session, item_id: str) -> Quarantined:
    item = CatalogueRepository(session).quarantined(item_id)
    if item is None:
        raise NotFound("no such item at the desk")
    if item.resolved_at is not None or item.reason not in CONFLICTS:
        raise Conflict("somebody has decided this already")
    return item


def _audit(session: Session, tag: Tag, actor: Actor, item: Quarantined) -> None:
    audit.record(
        session,
        tag,
        actor=actor.ref,
        subject_kind="quarantined",
        subject_id=item.id,
        site_id=item.site_id,
        address=actor.address,
        resolution=SAME_PATIENT,
    )
