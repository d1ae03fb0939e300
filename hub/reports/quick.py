"""Reading normal ECGs one after the other, and signing what was read together.

Each ECG is opened by itself and judged by one key. "Normal" writes the fixed words of the
catalogue, never a word of the machine's; anything else leads to the ECG's own page. What was
judged waits as the reader's drafts until one password signs them, each as its own document.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from hub.auth.actor import Actor
from hub.auth.certificates import WrongPassword
from hub.config import Settings
from hub.context import Context
from hub.errors import Conflict, HubError
from hub.reports import service, signing
from hub.reports.models import Report
from hub.reports.repository import ReportRepository
from hub.reports.service import Draft
from hub.web import i18n
from hub.worklist import campaign
from hub.worklist import service as worklist
from hub.worklist.campaign import NotForCampaign, may_be_quick
from hub.worklist.repository import ExamRow, Filter, WorklistRepository
from hub.worklist.states import State

MOST_UNSIGNED = 20
"""So many are signed together at most: nobody remembers more of them."""


class SignFirst(Conflict):
    """So many ECGs wait for your signature that they have to be signed first."""


@dataclass(frozen=True)
class Judged:
    """An ECG that the reader has called normal and not signed yet."""

    row: ExamRow
    report: Report


@dataclass(frozen=True)
class Signed:
    """What became of one ECG of a batch; `refused` says why it was not signed."""

    number: str
    exam_id: str
    refused: HubError | None = None


def normal_words(settings: Settings) -> Draft:
    """Return the fixed words for a normal ECG, in the language of the reports."""
    t = i18n.translator(settings.language)
    return Draft(t("quick.normal_findings"), t("quick.normal_impression"), positive=False)


def current(session: Session, actor: Actor, exam_id: str) -> ExamRow:
    """Return the ECG that the actor holds and may judge here.

    Raises
    ------
    LeaseLost
        The actor does not hold it.
    NotForCampaign
        It has become pressing since, or never was routine.
    """
    exam = worklist.require_held(session, actor, exam_id)
    if not may_be_quick(exam):
        raise NotForCampaign
    return WorklistRepository(session).row_of(exam)


def judged(session: Session, actor: Actor, settings: Settings) -> list[Judged]:
    """Return the actor's drafts that say "normal" and nothing else, oldest first."""
    words = normal_words(settings)
    mine = Filter(modality="ECG", states=frozenset({State.DRAFT}), owner_id=actor.id)
    found = []
    for row in WorklistRepository(session).rows(actor, mine):
        report = ReportRepository(session).peek(row.exam.id)
        if report and (report.findings, report.impression) == (words.findings, words.impression):
            found.append(Judged(row, report))
    return sorted(found, key=lambda each: each.report.saved_at)


def call_normal(session: Session, actor: Actor, exam_id: str, *, settings: Settings, now: datetime) -> int:
    """Write the words for a normal ECG into the report of the ECG that the actor holds.

    Returns
    -------
    int
        How many wait for the actor's signature now.

    Raises
    ------
    SignFirst
        As many as may wait for a signature do.
    NotForCampaign, LeaseLost
        As `current`.
    """
    waiting = judged(session, actor, settings)
    if len(waiting) >= MOST_UNSIGNED:
        raise SignFirst
    current(session, actor, exam_id)
    service.save(session, actor, exam_id, normal_words(settings), revision=None, now=now)
    for each in waiting:  # a reader at work does not lose what was judged a while ago
        worklist.renew(session, actor, each.row.exam.id, settings=settings, now=now)
    return len({each.row.exam.id for each in waiting} | {exam_id})


def sign_all(context: Context, actor: Actor, password: str) -> Sequence[Signed]:
    """Sign what was judged, each by itself; one that cannot be signed does not stop the others.

    Raises
    ------
    WrongPassword
        Before anything is signed.
    """
    with context.db.reading() as session:
        waiting = judged(session, actor, context.settings)
    done = []
    for each in waiting:
        exam = each.row.exam
        try:
            if not may_be_quick(exam):
                raise NotForCampaign
            signing.sign(context, actor, exam.id, password, each.report.revision)
        except WrongPassword:
            raise
        except HubError as refused:
            done.append(Signed(exam.number, exam.id, refused))
        else:
            done.append(Signed(exam.number, exam.id))
    return done


def waiting_count(session: Session, actor: Actor) -> int:
    """Return how many ECGs the quick list has."""
    return WorklistRepository(session).total(actor, campaign.WAITING)
