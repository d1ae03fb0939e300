"""How a patient's name is read, decided by a person; reversible, and the received bytes stay as they are."""

import unicodedata
from datetime import datetime

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.catalogue.corrections_repository import CorrectionRepository
from hub.catalogue.models import NameCorrection, Study
from hub.catalogue.repository import CatalogueRepository
from hub.errors import Conflict, NotFound, Rejected
from hub.kit.people import searchable_name
from hub.kit.text import PersonName, name_readings, person_name

TYPED = "typed"
"""Stands for the character set where a person typed the name."""

LONGEST_NAME = 200


class ReadingUnknown(Rejected):
    """The name cannot be read in that character set."""


class CorrectedNameMissing(Rejected):
    """Choose a reading, or type the name."""


class TwoNames(Rejected):
    """Choose a reading or type the name, not both."""


class CorrectionReasonMissing(Rejected):
    """Say how the name is known."""


class NothingToUndo(Conflict):
    """The name is as the device sent it: there is nothing to undo."""


def readings(study: Study) -> tuple[PersonName, ...]:
    """Return every way in which a study's name can be read; none when its bytes were not kept."""
    return name_readings(study.name_raw, study.declared_charset) if study.name_raw else ()


def reading_in(study: Study, charset: str) -> PersonName | None:
    """Return the name as one character set reads it, None when it does not."""
    offered = next((one for one in readings(study) if one.used == charset), None)
    if offered is not None or not study.name_raw:
        return offered
    read = person_name(study.name_raw, study.declared_charset, charset)
    return read if read.used == charset else None


def correct(
    session: Session, actor: Actor, study_id: str, *, charset: str, name: str, reason: str, now: datetime
) -> NameCorrection:
    """Give a study's patient the name that a person knows to be right.

    Parameters
    ----------
    charset : str
        Character set in which the kept bytes are to be read; empty when `name` is typed.
    name : str
        The name as typed; empty when a character set is chosen.
    reason : str
        How it is known.

    Raises
    ------
    NotFound
        There is no such study.
    Rejected
        No name, two names, no reason, or no such reading.
    """
    if not reason.strip():
        raise CorrectionReasonMissing
    if charset and name.strip():
        raise TwoNames
    study = CatalogueRepository(session).lock_study(study_id)
    if study is None:
        raise NotFound("no such study")
    read = reading_in(study, charset) if charset else None
    if charset and read is None:
        raise ReadingUnknown
    after = _line(read.display if read else name)[:LONGEST_NAME]
    if not after:
        raise CorrectedNameMissing
    correction = NameCorrection(
        study_id=study.id,
        at=now,
        actor_id=actor.id,
        actor_name=actor.name[:64],
        charset=charset[:32],
        before=study.patient_name,
        before_charset=study.name_charset,
        before_confidence=study.name_confidence,
        after=after,
        reason=reason.strip()[:500],
        undone_at=None,
        patient_id=None,
    )
    session.add(correction)
    _set_name(study, after, charset or TYPED, 1.0)
    session.flush()
    _audit(session, Tag.NAME_CORRECT, actor, study, correction)
    return correction


def undo(session: Session, actor: Actor, study_id: str, *, now: datetime) -> NameCorrection:
    """Take back the latest correction of a study: name, character set and confidence are as before it.

    Raises
    ------
    NotFound
        There is no such study.
    NothingToUndo
        No correction stands.
    """
    study = CatalogueRepository(session).lock_study(study_id)
    if study is None:
        raise NotFound("no such study")
    correction = CorrectionRepository(session).standing(study_id)
    if correction is None:
        raise NothingToUndo
    correction.undone_at, correction.undone_by = now, actor.name[:64]
    _set_name(study, correction.before, correction.before_charset, correction.before_confidence)
    session.flush()
    _audit(session, Tag.NAME_UNDO, actor, study, correction)
    return correction


def _set_name(study: Study, name: str, charset: str, confidence: float) -> None:
    study.patient_name, study.name_charset, study.name_confidence = name, charset, confidence
    study.name_alias = _alias(study)


def _alias(study: Study) -> str:
    """Return the searched alphabetic form of a name that is shown in ideographs, as at reception."""
    if b"=" not in study.name_raw:
        return ""
    read = person_name(study.name_raw, study.declared_charset, study.name_charset or None)
    shown = read.ideographic and read.display == study.patient_name
    return searchable_name(read.alphabetic) if shown else ""


def _line(text: str) -> str:
    return "".join(each for each in text if unicodedata.category(each) not in {"Cc", "Cs"}).strip()


def _audit(session: Session, tag: Tag, actor: Actor, study: Study, correction: NameCorrection) -> None:
    audit.record(
        session,
        tag,
        actor=actor.ref,
        subject_kind="study",
        subject_id=study.id,
        site_id=study.site_id,
        address=actor.address,
        correction_id=correction.id,
        charset=correction.charset,
    )
