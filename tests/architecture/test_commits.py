"""Transactions begin and end at the edges; a service that commits would tear its caller's apart."""

import ast
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.architecture.sources import name_of, product_files, tree_of

ENDS = {"commit", "rollback"}
EDGES = (
    "*/tasks.py",
    "*/*_tasks.py",
    "hub/catalogue/packing.py",  # a study's packs are written one by one, each entered when it is durable
    "hub/dicom/series_metadata.py",  # object first, row second, as for packs
    "hub/dicom/peers.py",  # a refusal is noted beside the association that it ends
    "hub/dicom/commitment_report.py",  # a message of a device, and calls to devices between transactions
    "hub/dicom/forward_send.py",  # what a node has taken is noted while the transfer goes on
    "hub/dicom/nodes.py",  # the outcome of a connection test, after the connection
    "hub/rebuild.py",  # one object after the other, so that a run can be taken up again
    "hub/worklist/conflicts.py",  # items filed together, each for itself
    "hub/worklist/names.py",  # studies corrected together, each for itself
    "hub/worklist/ecg_analysis.py",  # a recording is analysed between what it asks and what it stores
    "hub/worklist/ecg_intake.py",  # durable first, then on the worklist, then analysed: each by itself
    "hub/worklist/ecg_writes.py",  # several ECGs' rows together; each of those who wait ends there
    "hub/worklist/ecg_watch.py",  # one look into a folder
    "*pages.py",
    "*endpoints.py",
    "*/deps.py",
    "*/ingest.py",
    "hub/cli*.py",
    "hub/demo*.py",
    "hub/jobs/*",
    "hub/reports/signing.py",  # bytes first, row second: the signed file must be durable in between
    "hub/delivery/documents.py",  # the attempt stays on record although the delivery fails
    "hub/dicom/qr_*.py",  # one message of a device; its answers wait for the device, not the database
    "hub/dicom/access.py",  # a look is noted beside a long read that must not hold up writers
    "hub/catalogue/twins.py",  # a batch; the store is read between its transactions, not within one
    "hub/worklist/mwl.py",  # one question of a device
    "hub/worklist/mpps.py",  # one report of a device
    "hub/worklist/desk.py",  # items filed together, each for itself
)
"""Where a transaction may begin: one request, one association message, one job, one command."""


def calls(tree: ast.AST) -> set[str]:
    return {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }


def wrong_calls(name: str, tree: ast.AST) -> set[str]:
    """Calls that this file may not make."""
    wrong = set() if name.startswith("hub/db/") else calls(tree) & ENDS
    if not name.startswith("hub/db/") and not any(fnmatch(name, edge) for edge in EDGES):
        wrong |= calls(tree) & {"transaction"}
    return wrong


@pytest.mark.parametrize("path", product_files(), ids=name_of)
def test_only_the_edges_begin_and_nobody_ends(path: Path) -> None:
    assert wrong_calls(name_of(path), tree_of(path)) == set()


@pytest.mark.parametrize(
    ("name", "source", "caught"),
    [
        ("hub/reports/service.py", "session.commit()", {"commit"}),
        ("hub/reports/pages.py", "self.session.rollback()", {"rollback"}),
        ("hub/reports/service.py", "with context.db.transaction() as session:\n    pass", {"transaction"}),
        ("hub/reports/pages.py", "with context.db.transaction() as session:\n    pass", set()),
        ("hub/db/session.py", "session.commit()", set()),
    ],
)
def test_planted_calls_are_caught(name: str, source: str, caught: set[str]) -> None:
    assert wrong_calls(name, ast.parse(source)) == caught
