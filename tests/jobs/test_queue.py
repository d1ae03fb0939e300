"""What enqueueing promises, without a worker, on both databases."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest

from hub.context import Context
from hub.db.session import Database
from hub.errors import Conflict, NotFound
from hub.jobs import board, repository
from hub.jobs.queue import enqueue
from hub.jobs.testing import run_pending
from hub.kit.clock import utcnow
from tests.jobs.handlers import effect_keys, start_times


@pytest.fixture
def jobs_context(jobs_database: Database, context: Context) -> Context:
    return context


class TestEnqueue:
    def test_a_rolled_back_transaction_leaves_no_job(self, jobs_context: Context) -> None:
        with suppress(ZeroDivisionError), jobs_context.db.transaction() as session:
            enqueue(session, "test.effect", key="a")
            raise ZeroDivisionError
        assert run_pending(jobs_context) == []
        with jobs_context.db.reading() as session:
            assert board.list_jobs(session) == []

    def test_a_committed_job_runs_with_its_ids(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            job_id = enqueue(session, "test.effect", key="a")
        assert [(ran.id, ran.outcome) for ran in run_pending(jobs_context)] == [(job_id, "done")]
        assert effect_keys(jobs_context.db) == ["a"]

    def test_a_job_enqueued_by_a_job_runs_too(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            enqueue(session, "test.chain", key="a")
        assert [ran.name for ran in run_pending(jobs_context)] == ["test.chain", "test.effect"]

    def test_only_the_named_jobs_run(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            enqueue(session, "test.chain", key="a")
            enqueue(session, "test.nobody_s", key="b")
        assert [ran.name for ran in run_pending(jobs_context, only=["test.chain"])] == ["test.chain"]
        with jobs_context.db.reading() as session:
            assert len(board.list_jobs(session, status="waiting")) == 2

    @pytest.mark.parametrize("value", [utcnow(), b"x", ("a",), {1: 2}, object()])
    def test_only_plain_json_is_taken(self, jobs_context: Context, value: object) -> None:
        with pytest.raises(TypeError, match="key"), jobs_context.db.transaction() as session:
            enqueue(session, "test.effect", key=value)

    def test_a_job_nobody_here_knows_can_be_enqueued(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            job_id = enqueue(session, "test.unheard_of", key="a")
        with jobs_context.db.reading() as session:
            assert board.get_job(session, job_id).status == "waiting"

    def test_a_delayed_job_waits(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            job_id = enqueue(session, "test.effect", delay_seconds=60, key="a")
        assert run_pending(jobs_context) == []
        with jobs_context.db.reading() as session:
            row = board.get_job(session, job_id)
        assert row.status == "delayed"
        assert row.due_at is not None
        assert abs(row.due_at - utcnow() - timedelta(seconds=60)) < timedelta(seconds=10)
        assert [ran.id for ran in run_pending(jobs_context, skip_delays=True)] == [job_id]


class TestOnceKey:
    def test_a_second_one_joins_the_first(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            first = enqueue(session, "test.effect", once_key="k", delay_seconds=60, key="a")
            assert enqueue(session, "test.effect", once_key="k", delay_seconds=60, key="b") == first
        with jobs_context.db.transaction() as session:
            assert enqueue(session, "test.effect", once_key="k", delay_seconds=60, key="c") == first
            assert enqueue(session, "test.effect", once_key="other", delay_seconds=60, key="d") != first
        ran = run_pending(jobs_context, skip_delays=True)
        assert sorted(job.ids["key"] for job in ran) == ["a", "d"]

    def test_keys_of_other_jobs_are_others(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            first = enqueue(session, "test.effect", once_key="k", key="a")
            assert enqueue(session, "test.chain", once_key="k", key="a") != first

    def test_the_earlier_time_counts(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            first = enqueue(session, "test.effect", once_key="k", delay_seconds=300, key="a")
            assert enqueue(session, "test.effect", once_key="k", delay_seconds=600, key="a") == first
            assert enqueue(session, "test.effect", once_key="k", key="a") == first
        assert [ran.id for ran in run_pending(jobs_context)] == [first]

    def test_a_running_job_is_not_joined(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            first = enqueue(session, "test.effect", once_key="k", key="a")
        with jobs_context.db.transaction() as session:
            assert repository.claim_next(session, skip_delays=False) is not None
        with jobs_context.db.transaction() as session:
            second = enqueue(session, "test.effect", once_key="k", key="b")
            assert second != first
            assert enqueue(session, "test.effect", once_key="k", key="c") == second

    def test_a_finished_job_frees_its_key(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            first = enqueue(session, "test.effect", once_key="k", key="a")
        run_pending(jobs_context)
        with jobs_context.db.transaction() as session:
            assert enqueue(session, "test.effect", once_key="k", key="b") != first

    def test_many_at_once_make_one(self, jobs_context: Context) -> None:
        start = threading.Barrier(8)

        def one(number: int) -> str:
            start.wait()
            with jobs_context.db.transaction() as session:
                return enqueue(session, "test.effect", once_key="k", key=f"{number}")

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(one, range(8)))) == 1
        assert len(run_pending(jobs_context)) == 1

    def test_a_joined_job_cannot_start_before_the_joining_transaction_ends(
        self, jobs_context: Context
    ) -> None:
        """Else it could read the data before the change that it was asked to see."""
        if jobs_context.db.engine.dialect.name == "sqlite":
            pytest.skip("SQLite has one writer at a time")
        with jobs_context.db.transaction() as session:
            enqueue(session, "test.effect", once_key="k", key="a")
        with jobs_context.db.transaction() as session:
            enqueue(session, "test.effect", once_key="k", key="a")
            assert run_pending(jobs_context) == []
        assert len(run_pending(jobs_context)) == 1


class TestFailure:
    def test_an_error_of_the_policy_is_tried_again(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            job_id = enqueue(session, "test.flaky", key="a", failures=2)
        outcomes = [
            run_pending(jobs_context, skip_delays=number > 0, raise_errors=False) for number in range(2)
        ]
        assert [ran.outcome for ran in outcomes[0]] == ["postponed"]
        assert [ran.outcome for ran in outcomes[1]] == ["postponed", "done"]
        with jobs_context.db.reading() as session:
            row = board.get_job(session, job_id)
        assert (row.status, row.attempts) == ("done", 3)
        assert row.error == "Retriable: the other side does not answer"

    def test_the_waits_grow(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            job_id = enqueue(session, "test.flaky", key="a", failures=2)
        run_pending(jobs_context, raise_errors=False)
        with jobs_context.db.reading() as session:
            row = board.get_job(session, job_id)
        assert row.status == "delayed"
        assert row.due_at is not None
        assert timedelta(0) < row.due_at - utcnow() <= timedelta(seconds=1)

    def test_attempts_end(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            job_id = enqueue(session, "test.flaky", key="a", failures=99)
        ran = run_pending(jobs_context, skip_delays=True, raise_errors=False)
        assert [job.outcome for job in ran] == ["postponed", "postponed", "failed"]
        with jobs_context.db.reading() as session:
            assert [row.id for row in board.stuck_jobs(session)] == [job_id]

    def test_another_error_fails_at_once_and_its_words_are_not_kept(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            enqueue(session, "test.hopeless", key="a")
        run_pending(jobs_context, skip_delays=True, raise_errors=False)
        assert len(start_times(jobs_context.db, "a")) == 1
        with jobs_context.db.reading() as session:
            stuck = board.stuck_jobs(session)
        assert [(row.name, row.status, row.error) for row in stuck] == [
            ("test.hopeless", "failed", "ValueError")
        ]

    def test_tests_see_the_error_itself(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            enqueue(session, "test.hopeless", key="a")
        with pytest.raises(ValueError, match="ZZSECRET"):
            run_pending(jobs_context)


class TestBoard:
    def test_retry_starts_over_with_all_attempts(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            job_id = enqueue(session, "test.flaky", key="a", failures=4)
        run_pending(jobs_context, skip_delays=True, raise_errors=False)
        with jobs_context.db.transaction() as session:
            board.retry(session, job_id)
        ran = run_pending(jobs_context, skip_delays=True, raise_errors=False)
        assert [job.outcome for job in ran] == ["postponed", "done"]
        with jobs_context.db.reading() as session:
            assert board.stuck_jobs(session) == []

    def test_only_what_has_failed_can_be_retried(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            job_id = enqueue(session, "test.effect", key="a")
            with pytest.raises(Conflict):
                board.retry(session, job_id)
            with pytest.raises(NotFound):
                board.retry(session, "nothing")

    def test_cancel_takes_a_waiting_job_out(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            job_id = enqueue(session, "test.effect", key="a")
            board.cancel(session, job_id)
        assert run_pending(jobs_context) == []
        with jobs_context.db.transaction() as session:
            assert [row.id for row in board.list_jobs(session, status="cancelled")] == [job_id]
            with pytest.raises(Conflict):
                board.cancel(session, job_id)

    def test_what_waits_too_long_is_stuck(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            late = enqueue(session, "test.effect", key="a")
            enqueue(session, "test.effect", delay_seconds=3600, key="b")
        with jobs_context.db.reading() as session:
            assert board.stuck_jobs(session, timedelta(minutes=1)) == []
            soon = board.stuck_jobs(session, timedelta(seconds=-1))
            assert [row.id for row in soon] == [late]

    def test_listing_and_counting(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            ids = [enqueue(session, "test.effect", key=f"{number}") for number in range(3)]
        run_pending(jobs_context)
        with jobs_context.db.transaction() as session:
            enqueue(session, "test.effect", key="last")
        with jobs_context.db.reading() as session:
            assert {row.id for row in board.list_jobs(session, status="done")} == set(ids)
            assert len(board.list_jobs(session, limit=2)) == 2
            assert board.count_jobs(session) == {
                ("test.effect", "done"): 3,
                ("test.effect", "waiting"): 1,
            }

    def test_purge_keeps_what_failed(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            enqueue(session, "test.effect", key="a")
            failed = enqueue(session, "test.hopeless", key="b")
            waiting = enqueue(session, "test.effect", delay_seconds=60, key="c")
        run_pending(jobs_context, raise_errors=False)
        with jobs_context.db.transaction() as session:
            assert repository.purge(session, utcnow() - timedelta(days=7), 100) == 0
            assert repository.purge(session, utcnow() + timedelta(seconds=5), 100) == 1
        with jobs_context.db.reading() as session:
            assert {row.id for row in board.list_jobs(session)} == {failed, waiting}


class TestWorkersAmongEachOther:
    def test_one_of_many_gets_the_tick(self, jobs_database: Database) -> None:
        def ask(_: int) -> bool:
            with jobs_database.transaction() as session:
                return repository.take_tick(session, "test.tick", 60)[0]

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(ask, range(16))) == 1

    def test_the_next_tick_comes_after_the_period(self, jobs_database: Database) -> None:
        with jobs_database.transaction() as session:
            assert repository.take_tick(session, "test.tick", 0.0) == (True, 0.0)
        with jobs_database.transaction() as session:
            taken, wait_seconds = repository.take_tick(session, "test.tick", 60)
            assert (taken, wait_seconds) == (True, 60)
        with jobs_database.transaction() as session:
            taken, wait_seconds = repository.take_tick(session, "test.tick", 60)
            assert not taken
            assert 0 < wait_seconds <= 60

    def test_an_executor_that_is_silent_is_dead(self, jobs_context: Context) -> None:
        with jobs_context.db.transaction() as session:
            enqueue(session, "test.effect", key="a")
            repository.claim_next(session, skip_delays=False)
        with jobs_context.db.transaction() as session:
            assert repository.dead_executors(session, 30) == [repository.IN_PROCESS]
            repository.beat(session, repository.IN_PROCESS, utcnow())
            assert repository.dead_executors(session, 30) == []
            assert repository.dead_executors(session, -1) == [repository.IN_PROCESS]
