"""The audit trail: written with the change, chained, and no fault in it stays unseen.

Faults are planted as somebody with all rights on the database would: triggers dropped first.
"""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from hub.audit import repository
from hub.audit.chain import GENESIS
from hub.audit.models import AuditEvent
from hub.audit.repository import Query
from hub.audit.service import SYSTEM, ActorRef, record
from hub.audit.tags import Tag
from hub.audit.verify import AuditVerdict, verify_chain
from hub.db.session import Database
from hub.kit.clock import utcnow

DOCTOR = ActorRef("person", "01doctor", "wang")


def write(database: Database, count: int = 1, tag: Tag = Tag.EXAM_VIEW, **facts: object) -> None:
    with database.transaction() as session:
        for number in range(count):
            record(
                session,
                tag,
                actor=DOCTOR,
                subject_kind="exam",
                subject_id=f"exam-{number}",
                patient_id="01patient",
                site_id="01site",
                address="10.0.0.7",
                number=number,
                **facts,
            )


def verdict_of(database: Database, anchor: tuple[int, str] | None = None) -> AuditVerdict:
    with database.reading() as session:
        return verify_chain(session, anchor=anchor)


def as_attacker(database: Database, *statements: str) -> None:
    """Run statements after removing what the database itself would refuse."""
    with database.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER audit_event_no_update")
            connection.exec_driver_sql("DROP TRIGGER audit_event_no_delete")
        else:
            connection.exec_driver_sql("DROP TRIGGER audit_event_no_change ON audit_event")
        for statement in statements:
            connection.exec_driver_sql(statement)


class TestRecord:
    def test_rows_follow_one_another(self, database: Database) -> None:
        write(database, 2)
        write(database)
        with database.reading() as session:
            rows = list(session.scalars(sa.select(AuditEvent).order_by(AuditEvent.seq)))
            head = repository.head_of(session)
        assert [row.seq for row in rows] == [1, 2, 3]
        assert [row.previous_hash for row in rows] == [GENESIS, rows[0].hash, rows[1].hash]
        assert head == (3, rows[2].hash)
        assert rows[0].actor_name == "wang"
        assert rows[1].facts == {"number": 1}

    def test_the_hash_is_that_of_the_written_rule(self, database: Database) -> None:
        """Computed here by hand from the columns, as an auditor with another program would."""
        write(database, reason="重复检查", ratio=0.1)
        with database.reading() as session:
            row = session.scalars(sa.select(AuditEvent)).one()
        text = json.dumps(
            {
                "actor_id": "01doctor",
                "actor_kind": "person",
                "actor_name": "wang",
                "address": "10.0.0.7",
                "at": row.at.strftime("%Y-%m-%dT%H:%M:%S.%f+00:00"),
                "facts": {"number": 0, "ratio": 0.1, "reason": "重复检查"},
                "id": row.id,
                "patient_id": "01patient",
                "previous_hash": "0" * 64,
                "seq": 1,
                "site_id": "01site",
                "subject_id": "exam-0",
                "subject_kind": "exam",
                "tag": "worklist:exam:view",
            },
            separators=(",", ":"),
            ensure_ascii=False,
        )
        assert row.hash == hashlib.sha256(text.encode()).hexdigest()

    def test_a_rolled_back_change_leaves_no_event(self, database: Database) -> None:
        with suppress(ZeroDivisionError), database.transaction() as session:
            record(session, Tag.LOGIN, actor=DOCTOR, subject_kind="user", subject_id="u")
            raise ZeroDivisionError
        assert verdict_of(database) == AuditVerdict(0, None, None)

    def test_a_rolled_back_savepoint_takes_its_events_along(self, database: Database) -> None:
        with database.transaction() as session:
            record(session, Tag.LOGIN, actor=DOCTOR, subject_kind="user", subject_id="kept")
            with suppress(ZeroDivisionError), session.begin_nested():
                record(session, Tag.LOGIN, actor=DOCTOR, subject_kind="user", subject_id="outer")
                with session.begin_nested():
                    record(session, Tag.LOGIN, actor=DOCTOR, subject_kind="user", subject_id="inner")
                raise ZeroDivisionError
            with session.begin_nested():
                record(session, Tag.LOGIN, actor=DOCTOR, subject_kind="user", subject_id="kept too")
        with database.reading() as session:
            found = repository.search(session, Query(subject_kind="user"))
        assert [row.subject_id for row in found] == ["kept too", "kept"]

    def test_a_session_that_only_reads_is_refused(self, database: Database) -> None:
        with database.reading() as session, pytest.raises(RuntimeError, match="writes"):
            record(session, Tag.EXAM_VIEW, actor=DOCTOR, subject_kind="exam", subject_id="x")

    @pytest.mark.parametrize("value", [utcnow(), float("nan"), b"x"])
    def test_facts_are_json(self, database: Database, value: object) -> None:
        with database.transaction() as session, pytest.raises((TypeError, ValueError)):
            record(session, Tag.LOGIN, actor=SYSTEM, subject_kind="x", subject_id="x", value=value)

    def test_many_writers_make_one_chain(self, database: Database) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: write(database, 3), range(20)))
        assert verdict_of(database) == AuditVerdict(60, None, None)


class TestRefusal:
    @pytest.mark.parametrize(
        "statement",
        ["UPDATE audit_event SET actor_id = 'x'", "DELETE FROM audit_event", "TRUNCATE audit_event"],
    )
    def test_the_database_refuses_to_change_what_is_written(self, database: Database, statement: str) -> None:
        if statement.startswith("TRUNCATE") and database.engine.dialect.name == "sqlite":
            pytest.skip("SQLite has no TRUNCATE")
        write(database)
        with pytest.raises(DBAPIError, match="append-only"), database.transaction() as session:
            session.connection().exec_driver_sql(statement)
        assert verdict_of(database) == AuditVerdict(1, None, None)


class TestPlantedFaults:
    @pytest.mark.parametrize("seq", [1, 3, 5], ids=["first", "middle", "last"])
    def test_a_deleted_row(self, database: Database, seq: int) -> None:
        write(database, 5)
        as_attacker(database, f"DELETE FROM audit_event WHERE seq = {seq}")
        assert verdict_of(database) == AuditVerdict(seq - 1, seq, "the row is missing")

    @pytest.mark.parametrize(
        "change",
        [
            "actor_id = '01other'",
            "actor_name = 'li'",
            "actor_kind = 'token'",
            "tag = 'auth:session:login'",
            "subject_id = 'exam-9'",
            "subject_kind = 'order'",
            "patient_id = NULL",
            "site_id = '01else'",
            "address = '10.0.0.8'",
            "facts = '{\"number\": 7}'",
            "at = '2020-01-01 00:00:00.000000'",
            "id = '01id'",
            "hash = 'f'",
        ],
    )
    def test_an_altered_column(self, database: Database, change: str) -> None:
        write(database, 4)
        as_attacker(database, f"UPDATE audit_event SET {change} WHERE seq = 2")
        assert verdict_of(database) == AuditVerdict(1, 2, "the row was altered")

    def test_an_altered_link(self, database: Database) -> None:
        write(database, 4)
        as_attacker(database, f"UPDATE audit_event SET previous_hash = '{'1' * 64}' WHERE seq = 2")
        assert verdict_of(database) == AuditVerdict(1, 2, "the row does not follow the one before it")

    def test_two_rows_in_each_others_place(self, database: Database) -> None:
        write(database, 5)
        as_attacker(
            database,
            "UPDATE audit_event SET seq = 99 WHERE seq = 2",
            "UPDATE audit_event SET seq = 2 WHERE seq = 4",
            "UPDATE audit_event SET seq = 4 WHERE seq = 99",
        )
        assert verdict_of(database) == AuditVerdict(1, 2, "the row does not follow the one before it")

    def test_a_row_before_the_first(self, database: Database) -> None:
        write(database, 2)
        as_attacker(database, "UPDATE audit_event SET seq = 0 WHERE seq = 1")
        assert verdict_of(database) == AuditVerdict(0, 0, "the row is out of order")

    def test_everything_deleted(self, database: Database) -> None:
        write(database, 2)
        as_attacker(database, "DELETE FROM audit_event")
        assert verdict_of(database) == AuditVerdict(0, 1, "the row is missing")

    def test_the_head_deleted(self, database: Database) -> None:
        write(database, 2)
        as_attacker(database, "DELETE FROM audit_head")
        verdict = verdict_of(database)
        assert not verdict.ok
        assert verdict.first_bad_seq == 2

    def test_the_last_rows_cut_off_and_the_head_set_back_shows_against_an_anchor(
        self, database: Database
    ) -> None:
        write(database, 5)
        with database.reading() as session:
            anchor = repository.head_of(session)
        as_attacker(
            database,
            "DELETE FROM audit_event WHERE seq > 3",
            "UPDATE audit_head SET seq = 3, hash = (SELECT hash FROM audit_event WHERE seq = 3)",
        )
        assert verdict_of(database).ok
        assert verdict_of(database, anchor) == AuditVerdict(3, 4, "the row is missing")

    def test_a_whole_new_chain_shows_against_an_anchor(self, database: Database) -> None:
        write(database, 3)
        with database.reading() as session:
            anchor = repository.head_of(session)
        as_attacker(database, "DELETE FROM audit_event", "DELETE FROM audit_head")
        write(database, 4)
        assert verdict_of(database).ok
        assert verdict_of(database, anchor) == AuditVerdict(2, 3, "the row is not the one that was anchored")


def test_verification_reads_in_batches(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    write(sqlite_database, 25)
    original: Callable[..., object] = repository.stream
    monkeypatch.setattr(repository, "stream", lambda session: original(session, batch=10))
    assert verdict_of(sqlite_database) == AuditVerdict(25, None, None)


class TestSearch:
    def test_by_patient_subject_actor_tag_and_time(self, database: Database) -> None:
        write(database, 3)
        write(database, 1, Tag.REPORT_SIGN)
        with database.transaction() as session:
            record(session, Tag.LOGIN, actor=SYSTEM, subject_kind="user", subject_id="u")
        now = utcnow()

        def seqs(**wanted: object) -> list[int]:
            with database.reading() as session:
                return [row.seq for row in repository.search(session, Query(**wanted))]  # type: ignore[arg-type]

        assert seqs() == [5, 4, 3, 2, 1]
        assert seqs(patient_id="01patient") == [4, 3, 2, 1]
        assert seqs(subject_kind="exam", subject_id="exam-0") == [4, 1]
        assert seqs(actor_kind="system") == [5]
        assert seqs(actor_id="01doctor", tag="reports:report:sign") == [4]
        assert seqs(tag="worklist:") == [3, 2, 1]
        assert seqs(tag="worklist") == []
        assert seqs(site_id="01site", since=now - timedelta(minutes=1)) == [4, 3, 2, 1]
        assert seqs(until=now - timedelta(minutes=1)) == []

    def test_paging(self, database: Database) -> None:
        write(database, 7)
        with database.reading() as session:
            first = repository.search(session, Query(), limit=3)
            second = repository.search(session, Query(), before_seq=first[-1].seq, limit=3)
            third = repository.search(session, Query(), before_seq=second[-1].seq, limit=3)
        assert [row.seq for row in (*first, *second, *third)] == [7, 6, 5, 4, 3, 2, 1]


def test_tags_are_unique_and_well_formed() -> None:
    assert len({tag.value for tag in Tag}) == len(list(Tag))
    for tag in Tag:
        assert len(tag.value.split(":")) == 3, tag
        assert len(tag.value) <= 64
