"""The exam's state machine, as one table.

States and transitions are those of the requirements (§3.1, §3.2). A transition that is
`built=False` is declared, so that the table is whole, and refused: what it needs
(consulting partners, duty roster, corrections) is not there yet, and the hub says so.
"""

from dataclasses import dataclass
from enum import StrEnum

from hub.auth.roles import Role
from hub.errors import Conflict


class State(StrEnum):
    """Where an exam is."""

    ORDERED = "ordered"
    """已开单: the order is accepted."""
    ARRIVED = "arrived"
    """已到检: the patient has checked in."""
    PERFORMED = "performed"
    """已检查: technician or MPPS says done."""
    RECEIVING = "receiving"
    """接收中: the first object is in, more may come."""
    UNMATCHED = "unmatched"
    """待匹配: the objects contradict the order they name."""
    COMPLETE = "complete"
    """待诊断: everything is in; the clock to the report runs."""
    REJECTED = "rejected"
    """退回重拍: not good enough to read; waits for new objects or cancellation."""
    CLAIMED = "claimed"
    """已领取: locked to one reader."""
    DRAFT = "draft"
    """书写中: text saved, invisible to the site."""
    CONSULTING = "consulting"
    """会诊中: an upstream opinion is asked."""
    SUBMITTED = "submitted"
    """待审核: the writer is done."""
    RETURNED = "returned"
    """审核退回: back with the writer, with a comment."""
    PRELIM = "prelim"
    """临时报告: issued by one duty doctor, to be reviewed."""
    SIGNED = "signed"
    """已签发: signed; content frozen."""
    DELIVERED = "delivered"
    """已送达: the site's inbox or system has it."""
    ACKED = "acked"
    """已阅: a named person at the site has confirmed."""
    ADDENDED = "addended"
    """补充: a signed addition."""
    CORRECTED = "corrected"
    """更正: a signed new version replaces the old."""
    WITHDRAWN = "withdrawn"
    """撤回: content no longer valid."""
    CANCELLED = "cancelled"
    """取消: before any signature."""


class Event(StrEnum):
    """What moves an exam."""

    ORDER = "order"
    ARRIVE = "arrive"
    PERFORM = "perform"
    RECEIVE = "receive"
    """The first object of a study, or a new one after it seemed complete."""
    CONFLICT = "conflict"
    """Objects that contradict their order."""
    MATCH = "match"
    """A person decided what unmatched objects belong to."""
    COMPLETE = "complete"
    REJECT = "reject"
    CLAIM = "claim"
    RELEASE = "release"
    """Owner or director gives it back."""
    EXPIRE = "expire"
    """The lease ran out: the page was closed."""
    WRITE = "write"
    CONSULT = "consult"
    OPINION = "opinion"
    SUBMIT = "submit"
    RETURN = "return"
    ISSUE_PRELIM = "issue_prelim"
    SIGN = "sign"
    DELIVER = "deliver"
    ACKNOWLEDGE = "acknowledge"
    ADDEND = "addend"
    CORRECT = "correct"
    WITHDRAW = "withdraw"
    CANCEL = "cancel"


@dataclass(frozen=True)
class Transition:
    """Where an event leads, and who may cause it; no roles means the hub itself."""

    to: State
    roles: frozenset[Role] = frozenset()
    built: bool = True


class IllegalTransition(Conflict):
    """Not possible in the exam's present state."""


class NotBuilt(Conflict):
    """The step belongs to a later release of the hub."""


def _to(state: State, *roles: Role) -> Transition:
    return Transition(state, frozenset(roles))


def _later(state: State, *roles: Role) -> Transition:
    return Transition(state, frozenset(roles), built=False)


_TECH, _DOCTOR, _WRITER = Role.TECHNICIAN, Role.DOCTOR, Role.WRITER
_REVIEWER, _CARDIO, _DIRECTOR = Role.REVIEWER, Role.CARDIOLOGIST, Role.DIRECTOR
S, E = State, Event

TRANSITIONS: dict[tuple[State | None, Event], Transition] = {
    # 1, 2: order, arrival
    (None, E.ORDER): _to(S.ORDERED, _DOCTOR, _TECH),
    (S.ORDERED, E.ARRIVE): _to(S.ARRIVED, _TECH),
    (S.ARRIVED, E.PERFORM): _to(S.PERFORMED, _TECH),
    # 3, 4, 5: objects
    (None, E.RECEIVE): _to(S.RECEIVING),
    (S.ORDERED, E.RECEIVE): _to(S.RECEIVING),
    (S.ARRIVED, E.RECEIVE): _to(S.RECEIVING),
    (S.PERFORMED, E.RECEIVE): _to(S.RECEIVING),
    (None, E.CONFLICT): _to(S.UNMATCHED),
    (S.UNMATCHED, E.MATCH): _to(S.RECEIVING, _TECH),
    # 6, 7: completeness
    (S.RECEIVING, E.COMPLETE): _to(S.COMPLETE, _TECH),
    (S.COMPLETE, E.RECEIVE): _to(S.RECEIVING),
    # 8, 9: quality
    (S.COMPLETE, E.REJECT): _to(S.REJECTED, _WRITER, _REVIEWER, _CARDIO),
    (S.CLAIMED, E.REJECT): _to(S.REJECTED, _WRITER, _REVIEWER, _CARDIO),
    (S.DRAFT, E.REJECT): _to(S.REJECTED, _WRITER, _REVIEWER, _CARDIO),
    (S.REJECTED, E.RECEIVE): _to(S.RECEIVING),
    # 10, 11: claims
    (S.COMPLETE, E.CLAIM): _to(S.CLAIMED, _WRITER, _CARDIO),
    (S.RETURNED, E.CLAIM): _to(S.DRAFT, _WRITER, _CARDIO),
    (S.CLAIMED, E.RELEASE): _to(S.COMPLETE, _WRITER, _CARDIO, _DIRECTOR),
    (S.DRAFT, E.RELEASE): _to(S.COMPLETE, _WRITER, _CARDIO, _DIRECTOR),
    (S.RETURNED, E.RELEASE): _to(S.COMPLETE, _DIRECTOR),
    (S.CLAIMED, E.EXPIRE): _to(S.COMPLETE),
    (S.DRAFT, E.EXPIRE): _to(S.COMPLETE),
    # 12: writing
    (S.CLAIMED, E.WRITE): _to(S.DRAFT, _WRITER, _CARDIO),
    (S.DRAFT, E.SUBMIT): _to(S.SUBMITTED, _WRITER, _CARDIO),
    # 13: consultation
    (S.DRAFT, E.CONSULT): _later(S.CONSULTING, _WRITER, _REVIEWER),
    (S.CONSULTING, E.OPINION): _later(S.DRAFT, _WRITER, _REVIEWER),
    # 14, 15: review
    (S.SUBMITTED, E.RETURN): _to(S.RETURNED, _REVIEWER, _CARDIO),
    (S.SUBMITTED, E.SIGN): _to(S.SIGNED, _REVIEWER, _CARDIO),
    # 16, 17, 18: preliminary report, single signature
    (S.DRAFT, E.ISSUE_PRELIM): _later(S.PRELIM, _WRITER),
    (S.PRELIM, E.SIGN): _later(S.SIGNED, _REVIEWER),
    (S.DRAFT, E.SIGN): _to(S.SIGNED, _CARDIO),
    # 19, 20: delivery
    (S.SIGNED, E.DELIVER): _to(S.DELIVERED),
    (S.DELIVERED, E.ACKNOWLEDGE): _to(S.ACKED, _DOCTOR),
    # 21, 22, 23: after signature
    **{
        (state, E.ADDEND): _later(S.ADDENDED, _WRITER, _REVIEWER)
        for state in (S.SIGNED, S.DELIVERED, S.ACKED)
    },
    **{(state, E.CORRECT): _later(S.CORRECTED, _REVIEWER) for state in (S.SIGNED, S.DELIVERED, S.ACKED)},
    **{
        (state, E.WITHDRAW): _later(S.WITHDRAWN, _REVIEWER, _DIRECTOR)
        for state in (S.SIGNED, S.DELIVERED, S.ACKED)
    },
    # 25: cancellation
    **{
        (state, E.CANCEL): _to(S.CANCELLED, _DOCTOR, _TECH, _DIRECTOR)
        for state in (S.ORDERED, S.ARRIVED, S.PERFORMED, S.RECEIVING, S.UNMATCHED, S.COMPLETE, S.REJECTED)
    },
}
"""(state, event) to transition. A pair that is not here cannot happen."""

READING_STATES = frozenset({S.RECEIVING, S.COMPLETE, S.CLAIMED, S.DRAFT, S.SUBMITTED, S.RETURNED, S.REJECTED})
"""What the worklist shows unless asked for more."""

SIGNED_STATES = frozenset({S.SIGNED, S.DELIVERED, S.ACKED, S.ADDENDED, S.CORRECTED, S.WITHDRAWN})
"""States with a signed report."""

LEASED_STATES = frozenset({S.CLAIMED, S.DRAFT})
"""States in which one reader holds the exam and must show signs of life."""

NEEDS_ONE_PATIENT = frozenset({Event.CLAIM, Event.SUBMIT, Event.SIGN, Event.ISSUE_PRELIM})
"""Steps that nobody takes while it is open whose images a study holds."""


def step(state: State | None, event: Event) -> Transition:
    """Return where `event` leads from `state`.

    Raises
    ------
    IllegalTransition
        The event is not possible in this state.
    NotBuilt
        The transition is declared but what it needs is not built.
    """
    transition = TRANSITIONS.get((state, event))
    if transition is None:
        raise IllegalTransition(state=str(state), event=str(event))
    if not transition.built:
        raise NotBuilt(state=str(state), event=str(event))
    return transition
