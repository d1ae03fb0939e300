"""Registering handlers, and the waits of a policy."""

import pytest

from hub.context import Context
from hub.jobs.registry import REGISTRY, RetryPolicy, job, load_tasks, queue_of, scheduled
from tests.jobs.handlers import registered


def test_waits_grow_up_to_the_longest() -> None:
    policy = RetryPolicy(first_wait_seconds=30, factor=2, longest_wait_seconds=200)
    assert [policy.wait_after(attempt) for attempt in range(1, 6)] == [30, 60, 120, 200, 200]


def test_two_handlers_cannot_share_a_name() -> None:
    with registered():

        @job("test.mine")
        def one(context: Context) -> None: ...

        with pytest.raises(ValueError, match=r"test\.mine"):

            @job("test.mine")
            def two(context: Context) -> None: ...

        assert REGISTRY.jobs["test.mine"].handler is one


def test_a_queue_that_does_not_exist_is_refused() -> None:
    with registered(), pytest.raises(ValueError, match="quick"):
        job("test.mine", queue="quick")


def test_a_job_knows_its_queue_and_an_unknown_one_goes_to_the_default() -> None:
    with registered():
        assert queue_of("test.heavy") == "heavy"
        assert queue_of("test.nobody_s") == "default"


def test_a_schedule_is_also_a_job_that_is_not_tried_again() -> None:
    with registered():

        @scheduled("test.hourly", every_seconds=3600)
        def hourly(context: Context) -> None: ...

        assert REGISTRY.schedules["test.hourly"].every_seconds == 3600
        assert REGISTRY.jobs["test.hourly"].retry.max_attempts == 1


def test_the_handlers_of_every_room_load() -> None:
    load_tasks()
    assert {"jobs.purge", "web.purge_news", "audit.anchor"} <= REGISTRY.jobs.keys()
