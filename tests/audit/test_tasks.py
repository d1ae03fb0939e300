"""The anchor of the audit chain in the logs."""

from structlog.testing import capture_logs

from hub.audit.service import SYSTEM, record
from hub.audit.tags import Tag
from hub.audit.tasks import anchor
from hub.audit.verify import verify_chain
from hub.context import Context


def test_the_end_of_the_chain_is_logged_and_verifies(sqlite_context: Context) -> None:
    with capture_logs() as logs:
        anchor(sqlite_context)
    assert logs == []
    with sqlite_context.db.transaction() as session:
        record(session, Tag.LOGIN, actor=SYSTEM, subject_kind="user", subject_id="u")
    with capture_logs() as logs:
        anchor(sqlite_context)
    with sqlite_context.db.reading() as session:
        assert verify_chain(session, anchor=(logs[0]["seq"], logs[0]["hash"])).ok
