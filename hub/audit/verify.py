"""Finding out whether the audit trail is whole."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from hub.audit import repository
from hub.audit.chain import GENESIS, hash_of

MISSING = "the row is missing"


@dataclass(frozen=True)
class AuditVerdict:
    """What `verify_chain` found.

    Attributes
    ----------
    rows : int
        Rows read, up to the first bad one.
    first_bad_seq : int or None
        Number of the first row that is missing or wrong; None when the chain is whole.
    problem : str or None
        What is wrong with it.
    """

    rows: int
    first_bad_seq: int | None
    problem: str | None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None


def verify_chain(session: Session, *, anchor: tuple[int, str] | None = None) -> AuditVerdict:
    """Read the whole trail and check every link, in constant memory.

    Parameters
    ----------
    session : Session
        One that sees a single state of the database (`Database.reading`).
    anchor : (int, str), optional
        Number and hash of a row that were written down outside the database earlier. The
        chain has no secret: who can write to the database and knows the rule can compute
        a new one. Only an anchor shows that.
    """
    head = repository.head_of(session) or (0, GENESIS)
    rows, last_hash = 0, GENESIS
    for row in repository.stream(session):
        problem = _problem_of(row, rows + 1, last_hash)
        if problem is None and anchor is not None and row["seq"] == anchor[0] and row["hash"] != anchor[1]:
            problem = "the row is not the one that was anchored"
        if problem is not None:
            return AuditVerdict(rows, min(rows + 1, row["seq"]), problem)
        rows, last_hash = rows + 1, row["hash"]
    if rows < max(head[0], anchor[0] if anchor else 0):
        return AuditVerdict(rows, rows + 1, MISSING)
    if head != (rows, last_hash):
        return AuditVerdict(rows, rows, "the row is not the one that the head of the chain names")
    return AuditVerdict(rows, None, None)


def _problem_of(row: dict[str, Any], expected_seq: int, previous_hash: str) -> str | None:
    """Return what is wrong with a row that should be number `expected_seq` after `previous_hash`."""
    if row["seq"] != expected_seq:
        return MISSING if row["seq"] > expected_seq else "the row is out of order"
    if row["previous_hash"] != previous_hash:
        return "the row does not follow the one before it"
    if hash_of(row) != row["hash"]:
        return "the row was altered"
    return None
