"""The state table against an independent list, written out by hand from the requirements' transition rows."""

import pytest

from hub.auth.roles import Role
from hub.worklist.states import TRANSITIONS, Event, IllegalTransition, NotBuilt, State, step

REQUIRED = [
    # row, from, event, to, who may (empty: the hub itself), built
    (1, None, "order", "ordered", {"doctor", "technician"}, True),
    (2, "ordered", "arrive", "arrived", {"technician"}, True),
    (2, "arrived", "perform", "performed", {"technician"}, True),
    (3, None, "receive", "receiving", set(), True),
    (3, "ordered", "receive", "receiving", set(), True),
    (3, "arrived", "receive", "receiving", set(), True),
    (3, "performed", "receive", "receiving", set(), True),
    (4, None, "conflict", "unmatched", set(), True),
    (5, "unmatched", "match", "receiving", {"technician"}, True),
    (6, "receiving", "complete", "complete", {"technician"}, True),
    (7, "complete", "receive", "receiving", set(), True),
    (8, "complete", "reject", "rejected", {"writer", "reviewer", "cardiologist"}, True),
    (9, "rejected", "receive", "receiving", set(), True),
    (10, "complete", "claim", "claimed", {"writer", "cardiologist"}, True),
    (11, "claimed", "release", "complete", {"writer", "cardiologist", "director"}, True),
    (11, "draft", "release", "complete", {"writer", "cardiologist", "director"}, True),
    (11, "claimed", "expire", "complete", set(), True),
    (11, "draft", "expire", "complete", set(), True),
    (12, "claimed", "write", "draft", {"writer", "cardiologist"}, True),
    (12, "draft", "submit", "submitted", {"writer", "cardiologist"}, True),
    (13, "draft", "consult", "consulting", {"writer", "reviewer"}, False),
    (13, "consulting", "opinion", "draft", {"writer", "reviewer"}, False),
    (14, "submitted", "return", "returned", {"reviewer", "cardiologist"}, True),
    (14, "returned", "claim", "draft", {"writer", "cardiologist"}, True),
    (15, "submitted", "sign", "signed", {"reviewer", "cardiologist"}, True),
    (16, "draft", "issue_prelim", "prelim", {"writer"}, False),
    (17, "prelim", "sign", "signed", {"reviewer"}, False),
    (18, "draft", "sign", "signed", {"cardiologist"}, True),
    (19, "signed", "deliver", "delivered", set(), True),
    (20, "delivered", "acknowledge", "acked", {"doctor"}, True),
    *(
        (21, state, "addend", "addended", {"writer", "reviewer"}, False)
        for state in ("signed", "delivered", "acked")
    ),
    *((22, state, "correct", "corrected", {"reviewer"}, False) for state in ("signed", "delivered", "acked")),
    *(
        (23, state, "withdraw", "withdrawn", {"reviewer", "director"}, False)
        for state in ("signed", "delivered", "acked")
    ),
    *(
        (25, state, "cancel", "cancelled", {"doctor", "technician", "director"}, True)
        for state in ("ordered", "arrived", "performed", "receiving", "unmatched", "complete")
    ),
    # beyond the rows: a reader who has claimed may still find the pictures unreadable, a
    # rejected exam may be given up, a director takes a returned report from an absent writer
    (8, "claimed", "reject", "rejected", {"writer", "reviewer", "cardiologist"}, True),
    (8, "draft", "reject", "rejected", {"writer", "reviewer", "cardiologist"}, True),
    (9, "rejected", "cancel", "cancelled", {"doctor", "technician", "director"}, True),
    (11, "returned", "release", "complete", {"director"}, True),
]
BY_PAIR = {(before, event): (after, who, built) for _, before, event, after, who, built in REQUIRED}


def pairs():
    return [(state, event) for state in (None, *State) for event in Event]


@pytest.mark.parametrize(("row", "before", "event", "after", "who", "built"), REQUIRED)
def test_each_required_row_is_in_the_table(row, before, event, after, who, built):  # noqa: PLR0917
    transition = TRANSITIONS[State(before) if before else None, Event(event)]
    assert (transition.to, transition.roles, transition.built) == (after, {Role(role) for role in who}, built)


@pytest.mark.parametrize(("state", "event"), pairs())
def test_every_pair_moves_as_required_or_is_refused(state, event):
    required = BY_PAIR.get((str(state) if state else None, str(event)))
    if required is None:
        with pytest.raises(IllegalTransition):
            step(state, event)
    elif not required[2]:
        with pytest.raises(NotBuilt):
            step(state, event)
    else:
        assert step(state, event).to == required[0]


def test_nothing_is_delivered_unsigned():
    assert {state for state, event in TRANSITIONS if event is Event.DELIVER} == {State.SIGNED}


def test_no_single_writer_signs_an_image_report():
    signers = {role for (_, event), move in TRANSITIONS.items() if event is Event.SIGN for role in move.roles}
    assert Role.WRITER not in signers


def test_the_administrator_moves_nothing():
    assert not any(Role.ADMIN in move.roles for move in TRANSITIONS.values())
