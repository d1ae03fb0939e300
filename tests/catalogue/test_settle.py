"""When a study counts as complete: the quiet timer, the technician's word, late objects."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.catalogue import service
from hub.catalogue.models import Study
from hub.catalogue.tasks import settle_overdue_studies
from hub.errors import NotFound
from hub.jobs.models import workflow_status
from hub.kit.uids import new_uid
from tests.fixtures.world import World

WAITING = ("ENQUEUED", "DELAYED")


def study_of(world: World, uid: str) -> Study:
    with world.context.db.reading() as session:
        return session.scalars(select(Study).where(Study.study_uid == uid)).one()


def jobs(world: World, name: str) -> int:
    column = workflow_status.c
    with world.context.db.transaction() as session:
        from hub.jobs import repository

        repository._bind(session)
        return session.scalar(
            select(func.count())
            .select_from(workflow_status)
            .where(column.name == name, column.status.in_(WAITING))
        )


def settled_reasons(world: World) -> list[str]:
    with world.context.db.reading() as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.STUDY_SETTLE))
        return [event.facts["reason"] for event in events]


def test_two_hundred_slices_make_one_waiting_job(sqlite_world: World) -> None:
    uid = sqlite_world.register(modality="CT", instances=200)
    assert study_of(sqlite_world, uid).n_instances == 200
    assert jobs(sqlite_world, "catalogue.settle") == 1
    assert jobs(sqlite_world, "worklist.receive") == 1


def test_it_settles_after_the_quiet_time_and_not_before(world: World) -> None:
    """CT is quiet for 300 s: hub.config.SETTLE_SECONDS."""
    uid = world.register(modality="CT", instances=1)
    world.clock.advance(seconds=200)
    world.register(modality="CT", study_uid=uid, instances=1)
    study = study_of(world, uid)
    assert study.settle_due_at == world.clock.now + timedelta(seconds=300)
    world.clock.advance(seconds=299)
    settle_overdue_studies(world.context)
    assert study_of(world, uid).settled_at is None
    world.clock.advance(seconds=1)
    world.settle()
    study = study_of(world, uid)
    assert (study.settle_reason, study.n_instances) == ("quiet", 2)
    assert settled_reasons(world) == ["quiet"]
    assert world.exam_of(uid).state == "complete"
    assert jobs(world, "catalogue.settle") == 0


def test_an_ecg_settles_at_once(world: World) -> None:
    uid = world.register_ecg()
    world.run_jobs()
    assert study_of(world, uid).settled_at is not None
    assert world.exam_of(uid).state == "complete"


def test_the_technician_says_that_all_was_sent(world: World) -> None:
    uid = world.register(modality="CT")
    study = study_of(world, uid)
    for _ in range(2):
        with world.context.db.transaction() as session:
            service.settle_now(session, study.id, now=world.clock())
    world.run_jobs()
    assert settled_reasons(world) == ["sent"]
    assert world.exam_of(uid).state == "complete"
    world.settle()
    assert settled_reasons(world) == ["sent"], "the timer that was still running changes nothing"


def test_a_late_object_opens_the_study_again(world: World) -> None:
    uid = world.register(modality="DX")
    world.settle()
    assert study_of(world, uid).settled_at is not None
    world.register(modality="DX", study_uid=uid, instances=1)
    study = study_of(world, uid)
    assert (study.settled_at, study.settle_reason, study.n_instances) == (None, "", 3)
    world.settle()
    assert settled_reasons(world) == ["quiet", "quiet"]


def test_a_lost_timer_is_made_good(sqlite_world: World) -> None:
    uid = sqlite_world.register(modality="DX")
    sqlite_world.clock.advance(seconds=90)
    settle_overdue_studies(sqlite_world.context)
    assert study_of(sqlite_world, uid).settle_reason == "quiet"


def test_settling_what_is_not_there(sqlite_world: World) -> None:
    with pytest.raises(NotFound), sqlite_world.context.db.transaction() as session:
        service.settle_now(session, "0" * 26, now=sqlite_world.clock())


def test_one_uid_at_two_sites_settles_apart(sqlite_world: World) -> None:
    uid = new_uid()
    sqlite_world.register("DP", study_uid=uid)
    sqlite_world.register("LP", study_uid=uid)
    assert jobs(sqlite_world, "catalogue.settle") == 2
