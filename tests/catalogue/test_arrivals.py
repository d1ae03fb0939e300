"""Entering batches of objects: the same rows as one by one, once each, whoever sends at the same time.

Oracles: entering the same arrivals one by one; a count in plain Python of what a sequence
of objects must leave; the databases' own unique constraints.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.audit.verify import verify_chain
from hub.catalogue.arrivals import Arrival, Twin, register_many
from hub.catalogue.models import Instance, Quarantined, Series, Study
from hub.catalogue.service import InstanceFacts, Outcome, StoredFile
from hub.catalogue.twins import enter, enter_within
from hub.errors import StoreUnavailable
from hub.jobs import repository as jobs
from hub.kit.uids import new_uid
from tests.fixtures.world import World

JOBS = {"worklist.receive", "catalogue.settle", "worklist.open_exam"}
HEADER = b"header of %d bytes"


@dataclass(frozen=True)
class Sent:
    """One object as a device sends it, in terms that a sequence of them can be drawn from."""

    study: int = 0
    series: int = 0
    sop: int = 0
    dataset: int = 0
    header: int = 0
    patient: int = 0


PATIENTS = (
    ("P1", "王秀英", 1.0),
    ("P1", "", 1.0),
    ("P2", "李四", 1.0),
    ("P1", "张伟", 1.0),
    ("P1", "张伟", 0.1),
)


class Senders:
    """Turns `Sent` into arrivals of one site whose files lie in the store."""

    def __init__(self, world: World, site: str = "DP", modality: str = "CT") -> None:
        self.world, self.site, self.modality = world, site, modality
        self.studies = [new_uid() for _ in range(6)]

    def arrival(self, sent: Sent) -> Arrival:
        study = self.studies[sent.study]
        local_id, name, confidence = PATIENTS[sent.patient]
        facts = InstanceFacts(
            study_uid=study,
            series_uid=f"{study}.{sent.series}",
            sop_uid=f"{study}.9.{sent.sop}",
            sop_class="1.2.840.10008.5.1.4.1.1.2",
            transfer_syntax="1.2.840.10008.1.2.1",
            local_id=local_id,
            patient_name=name,
            name_charset="GB18030",
            name_confidence=confidence,
            sex="F",
            birth_date="19580412",
            accession="",
            study_date="20260101",
            study_time="101500",
            study_description="",
            modality=self.modality,
            body_part="CHEST",
            series_number=sent.series,
            series_description="",
            instance_number=sent.sop,
            rows=4,
            columns=4,
            frames=1,
            declared_charset="GB18030",
            name_raw=name.encode("gb18030"),
        )
        header = HEADER % sent.header + b"." * sent.header
        content = header + f"{self.site} {facts.sop_uid} {sent.dataset}".encode()
        stored = self.world.context.store.put(f"t/{self.site}/{hashlib.sha256(content).hexdigest()}", content)
        file = StoredFile(stored.key, stored.size, stored.sha256)
        return Arrival(facts, file, len(header), self.world.origin(self.site))

    def enter(self, *sent: Sent) -> list[Outcome]:
        return enter(self.world.context, [self.arrival(one) for one in sent], now=self.world.clock())

    def left(self) -> dict[str, Any]:
        """What the sequence left in the database, without row ids and UIDs."""
        with self.world.context.db.reading() as session:
            studies = session.scalars(select(Study).where(Study.study_uid.in_(self.studies))).all()
            found: dict[str, Any] = {"studies": set(), "series": set(), "instances": Counter()}
            names: dict[str, str] = {}
            for study in studies:
                number = self.studies.index(study.study_uid)
                names[study.id] = f"study {number}"
                found["studies"].add(
                    (number, study.local_id, study.patient_name, study.name_raw, study.declared_charset,
                     study.n_instances, study.n_series, study.settled_at is None, study.settle_reason)
                )  # fmt: skip
                for series in session.scalars(select(Series).where(Series.study_id == study.id)):
                    found["series"].add((number, series.number, series.n_instances))
                    for row in session.scalars(select(Instance).where(Instance.series_id == series.id)):
                        names[row.id] = f"instance {number} {series.number} {row.number}"
                        content = self.world.context.store.get(row.storage_key)
                        assert row.sha256 == hashlib.sha256(content).hexdigest()
                        found["instances"][names[row.id], content[-1:], row.dataset_offset, row.resends] += 1
            site_id = self.world.site_ids[self.site]
            kept = session.scalars(select(Quarantined).where(Quarantined.site_id == site_id))
            mine = [item for item in kept if item.study_uid in self.studies]
            names |= {item.id: "quarantined" for item in mine}
            found["quarantined"] = Counter(
                (item.reason, item.sop_uid[-1:], self.world.context.store.get(item.files[0]["key"])[-1:])
                for item in mine
            )
            found["audit"] = Counter(
                (event.tag, names[event.subject_id])
                for event in session.scalars(select(AuditEvent))
                if event.subject_id in names
            )
            waiting = jobs.newest(session, ("ENQUEUED", "DELAYED"), 10_000)
            found["jobs"] = Counter(
                (job.name, names[job.ids["study_id"]])
                for job in waiting
                if job.name in JOBS and job.ids["study_id"] in names
            )
        return found


SENT = st.builds(
    Sent,
    study=st.integers(0, 1),
    series=st.integers(0, 1),
    sop=st.integers(0, 2),
    dataset=st.integers(0, 1),
    header=st.integers(0, 1),
    patient=st.sampled_from((0, 0, 0, 0, 1, 2, 3, 4)),
)
BATCHES = st.lists(st.lists(SENT, min_size=1, max_size=8), min_size=1, max_size=4)


class TestBatch:
    @given(batches=BATCHES)
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_leaves_what_one_by_one_leaves(self, sqlite_world: World, batches: list[list[Sent]]) -> None:
        """Outcome by outcome and row by row, at two sites that cannot see each other."""
        together, single = Senders(sqlite_world, "DP"), Senders(sqlite_world, "LP")
        for batch in batches:
            assert together.enter(*batch) == [single.enter(one)[0] for one in batch]
        assert together.left() == single.left()

    def test_of_everything_on_both_databases(self, world: World) -> None:
        """Counted by hand."""
        sender = Senders(world)
        outcomes = sender.enter(
            Sent(sop=1), Sent(sop=2), Sent(sop=1), Sent(sop=1, header=1), Sent(sop=2, dataset=1),
            Sent(series=1, sop=3), Sent(study=1, patient=2), Sent(study=1, sop=4), Sent(sop=5, patient=2),
        )  # fmt: skip
        assert outcomes == ["stored", "stored", "resent", "resent", "conflict",
                            "stored", "stored", "other_patient", "other_patient"]  # fmt: skip
        left = sender.left()
        assert left["studies"] == {
            (0, "P1", "王秀英", "王秀英".encode("gb18030"), "GB18030", 3, 2, True, ""),
            (1, "P2", "李四", "李四".encode("gb18030"), "GB18030", 1, 1, True, ""),
        }
        assert left["series"] == {(0, 0, 2), (0, 1, 1), (1, 0, 1)}
        offset = len(HEADER % 0)
        assert left["instances"] == {
            ("instance 0 0 1", b"0", offset, 2): 1,
            ("instance 0 0 2", b"0", offset, 0): 1,
            ("instance 0 1 3", b"0", offset, 0): 1,
            ("instance 1 0 0", b"0", offset, 0): 1,
        }
        assert left["quarantined"] == {
            ("uid_conflict", "2", b"1"): 1,
            ("patient_conflict", "4", b"0"): 1,
            ("patient_conflict", "5", b"0"): 1,
        }
        assert left["jobs"] == {
            (name, f"study {number}"): 1
            for name in ("worklist.receive", "catalogue.settle")
            for number in (0, 1)
        }
        with world.context.db.reading() as session:
            assert verify_chain(session).ok

    def test_of_nothing(self, sqlite_world: World) -> None:
        assert Senders(sqlite_world).enter() == []

    def test_restarts_the_quiet_time(self, sqlite_world: World) -> None:
        """CT is quiet for 300 s: hub.config.SETTLE_SECONDS."""
        sender = Senders(sqlite_world)
        sender.enter(Sent(sop=1))
        sqlite_world.clock.advance(seconds=100)
        sender.enter(Sent(sop=2), Sent(sop=3))
        with sqlite_world.context.db.reading() as session:
            study = session.scalars(select(Study)).one()
        now = sqlite_world.clock.now
        assert (study.first_received_at, study.last_received_at) == (now - timedelta(seconds=100), now)
        assert study.settle_due_at == now + timedelta(seconds=300)

    def test_resend_leaves_a_settled_study_alone(self, sqlite_world: World) -> None:
        sender = Senders(sqlite_world)
        sender.enter(Sent())
        sqlite_world.settle()
        assert sender.enter(Sent()) == [Outcome.RESENT]
        [(*_, open_again, reason)] = sender.left()["studies"]
        assert (open_again, reason) == (False, "quiet")

    def test_late_objects_open_a_settled_study_once(self, sqlite_world: World) -> None:
        sender = Senders(sqlite_world)
        sender.enter(Sent())
        sqlite_world.settle()
        sender.enter(Sent(sop=1), Sent(sop=2))
        left = sender.left()
        assert left["jobs"] == {("worklist.receive", "study 0"): 1, ("catalogue.settle", "study 0"): 1}
        assert [row[5:] for row in left["studies"]] == [(3, 1, True, "")]

    def test_of_an_ecg_is_complete_at_once(self, world: World) -> None:
        sender = Senders(world, modality="ECG")
        sender.enter(Sent(sop=1), Sent(sop=2))
        left = sender.left()
        assert [row[5:] for row in left["studies"]] == [(2, 1, False, "quiet")]
        assert left["audit"][Tag.STUDY_SETTLE, "study 0"] == 1
        assert left["jobs"] == {("worklist.open_exam", "study 0"): 1}
        with world.context.db.reading() as session:
            event = session.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.STUDY_SETTLE)).one()
        assert event.facts == {"reason": "quiet", "instances": 2}

    def test_shows_in_rows_that_the_session_holds(self, sqlite_world: World) -> None:
        """And what the session had changed but not yet written is not lost."""
        sender, context = Senders(sqlite_world), sqlite_world.context
        sender.enter(Sent(sop=1))
        with context.db.transaction() as session:
            study, series = session.scalars(select(Study)).one(), session.scalars(select(Series)).one()
            instance = session.scalars(select(Instance)).one()
            study.description = "changed"
            register_many(
                session,
                [sender.arrival(Sent(sop=1)), sender.arrival(Sent(sop=2))],
                settings=context.settings,
                now=sqlite_world.clock(),
            )
            assert (study.n_instances, series.n_instances, instance.resends) == (2, 2, 1)
        with context.db.reading() as session:
            assert session.scalars(select(Study.description)).one() == "changed"

    def test_that_is_rolled_back_leaves_nothing(self, world: World) -> None:
        sender = Senders(world)
        with pytest.raises(ZeroDivisionError), world.context.db.transaction() as session:
            self.roll_back(session, sender)
        left = sender.left()
        assert not any(left.values())
        assert sender.enter(Sent(), Sent(sop=1)) == [Outcome.STORED] * 2

    @staticmethod
    def roll_back(session: Any, sender: Senders) -> None:
        world = sender.world
        arrivals = [sender.arrival(Sent()), sender.arrival(Sent(sop=1))]
        register_many(session, arrivals, settings=world.context.settings, now=world.clock())
        raise ZeroDivisionError


def at_once(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run all at the same moment, each in a thread of its own."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> Any:
        start.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


class TestAtOnce:
    def test_five_send_the_same_object(self, world: World) -> None:
        sender = Senders(world)
        outcomes = at_once([lambda: sender.enter(Sent())] * 5)
        assert Counter(one for [one] in outcomes) == {Outcome.STORED: 1, Outcome.RESENT: 4}
        left = sender.left()
        assert [row[5:7] for row in left["studies"]] == [(1, 1)]
        assert [key[3] for key in left["instances"]] == [4]

    def test_five_send_it_under_five_headers(self, world: World) -> None:
        """Each through another application entity, so that no two files are the same."""
        sender = Senders(world)
        works = [lambda n=n: sender.enter(Sent(header=n)) for n in range(5)]
        outcomes = at_once(works)
        assert Counter(one for [one] in outcomes) == {Outcome.STORED: 1, Outcome.RESENT: 4}
        assert [key[3] for key in sender.left()["instances"]] == [4]

    def test_batches_of_the_same_new_studies_in_any_order(self, world: World) -> None:
        """Nobody waits in a circle: PostgreSQL would end one of them with a deadlock."""
        sender = Senders(world)
        sent = [Sent(study=study, series=sop % 2, sop=sop) for sop in range(4) for study in range(6)]
        orders = [sent, sent[::-1], sent[12:] + sent[:12], sent[::2] + sent[1::2], sent[1::2] + sent[::2]]
        outcomes = at_once([lambda order=order: sender.enter(*order) for order in orders])
        assert Counter(one for batch in outcomes for one in batch) == {
            Outcome.STORED: 24,
            Outcome.RESENT: 4 * 24,
        }
        left = sender.left()
        assert {row[5:7] for row in left["studies"]} == {(4, 2)}
        assert {row[2] for row in left["series"]} == {2}
        assert {key[3] for key in left["instances"]} == {4}
        assert set(left["jobs"].values()) == {1}


class Watched:
    """The store, telling of each read."""

    def __init__(self, store: Any, before_read: Callable[[], None]) -> None:
        self._store, self._before_read = store, before_read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        self._before_read()
        return self._store.get_range(key, start, length)


class TestTwins:
    def test_nothing_is_written_before_they_were_compared(self, sqlite_world: World) -> None:
        sender, context = Senders(sqlite_world), sqlite_world.context
        sender.enter(Sent())
        before = sender.left()
        other = sender.arrival(Sent(header=1))
        with context.db.transaction() as session:
            [outcome] = register_many(session, [other], settings=context.settings, now=sqlite_world.clock())
        assert outcome is Outcome.DIFFERENT
        assert sender.left() == before

    def test_comparison_with_another_file_does_not_count(self, sqlite_world: World) -> None:
        """The object here may have been replaced after it was compared."""
        sender, context = Senders(sqlite_world), sqlite_world.context
        sender.enter(Sent())
        stale = [replace(sender.arrival(Sent(header=1)), twin=Twin("0" * 64, same)) for same in (True, False)]
        with context.db.transaction() as session:
            outcomes = register_many(session, stale, settings=context.settings, now=sqlite_world.clock())
        assert outcomes == [Outcome.DIFFERENT] * 2

    def test_are_read_while_nobody_waits(self, sqlite_world: World) -> None:
        """SQLite has one writer: writing during the read shows that its lock is free."""
        world, reads = sqlite_world, []

        def write() -> None:
            with world.context.db.transaction() as session:
                session.execute(select(1))
            reads.append(1)

        world.context = replace(world.context, store=Watched(world.context.store, write))
        sender = Senders(world)
        sender.enter(Sent(), Sent(sop=1))
        assert not reads
        assert sender.enter(Sent(header=1), Sent(sop=1, dataset=1)) == [Outcome.RESENT, Outcome.CONFLICT]
        assert reads

    def test_larger_than_one_read(self, sqlite_world: World) -> None:
        """3 MiB; the last byte differs, or nothing does."""
        sender = Senders(sqlite_world)
        plain = sender.arrival(Sent())
        store = sqlite_world.context.store

        def arrival(header: bytes, last: bytes) -> Arrival:
            content = header + bytes(3 << 20) + last
            stored = store.put(f"t/{hashlib.sha256(content).hexdigest()}", content)
            return replace(
                plain, file=StoredFile(stored.key, stored.size, stored.sha256), dataset_offset=len(header)
            )

        now, context = sqlite_world.clock(), sqlite_world.context
        assert enter(context, [arrival(b"one", b"a")], now=now) == [Outcome.STORED]
        assert enter(context, [arrival(b"other", b"a")], now=now) == [Outcome.RESENT]
        assert enter(context, [arrival(b"other", b"b")], now=now) == [Outcome.CONFLICT]
        assert enter(context, [arrival(b"other", b"aa")], now=now) == [Outcome.CONFLICT]

    def test_within_a_callers_transaction(self, sqlite_world: World) -> None:
        sender, context = Senders(sqlite_world), sqlite_world.context
        sender.enter(Sent())
        for sent, expected in (
            (Sent(header=1), Outcome.RESENT),
            (Sent(dataset=1), Outcome.CONFLICT),
            (Sent(sop=1), Outcome.STORED),
        ):
            with context.db.transaction() as session:
                outcome = enter_within(context, session, sender.arrival(sent), now=sqlite_world.clock())
            assert outcome is expected

    def test_that_cannot_be_read_do_not_hold_up_the_others(self, sqlite_world: World) -> None:
        sender, context = Senders(sqlite_world), sqlite_world.context
        sender.enter(Sent())
        with context.db.reading() as session:
            context.store.delete(session.scalars(select(Instance.storage_key)).one())
        with pytest.raises(StoreUnavailable):
            sender.enter(Sent(sop=1), Sent(header=1), Sent(sop=2))
        with context.db.reading() as session:
            assert session.scalars(select(Study.n_instances)).one() == 3
