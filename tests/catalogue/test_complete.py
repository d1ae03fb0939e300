"""What makes a study complete before it has been quiet, and which objects a site has."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.catalogue import repository, service
from hub.catalogue.models import Instance, Study
from hub.errors import NotFound
from hub.kit.uids import new_uid
from tests.fixtures.world import World


def study_of(world: World, uid: str) -> Study:
    with world.context.db.reading() as session:
        return session.scalars(select(Study).where(Study.study_uid == uid)).one()


def complete(world: World, study_id: str, reason: str) -> bool:
    with world.context.db.transaction() as session:
        return service.complete_by(session, study_id, reason, now=world.clock())


def settled_reasons(world: World) -> list[str]:
    with world.context.db.reading() as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.STUDY_SETTLE))
        return [event.facts["reason"] for event in events]


class TestCompleteBy:
    @pytest.mark.parametrize("reason", sorted(service.REASONS))
    def test_settles_and_says_why(self, sqlite_world: World, reason: str) -> None:
        uid = sqlite_world.register(modality="CT")
        assert complete(sqlite_world, study_of(sqlite_world, uid).id, reason) is True
        study = study_of(sqlite_world, uid)
        assert (study.settled_at, study.settle_reason) == (sqlite_world.clock.now, reason)
        assert settled_reasons(sqlite_world) == [reason]

    def test_first_wins(self, sqlite_world: World) -> None:
        uid = sqlite_world.register(modality="CT")
        study_id = study_of(sqlite_world, uid).id
        assert complete(sqlite_world, study_id, "mpps") is True
        for later in ("commitment", "views", "sent"):
            assert complete(sqlite_world, study_id, later) is False
        sqlite_world.settle()  # the quiet time ends too
        assert study_of(sqlite_world, uid).settle_reason == "mpps"
        assert settled_reasons(sqlite_world) == ["mpps"]

    def test_of_four_at_once_one_wins(self, world: World) -> None:
        study_id = study_of(world, world.register(modality="CT")).id
        start = threading.Barrier(4)

        def one(reason: str) -> bool:
            start.wait()
            return complete(world, study_id, reason)

        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(one, sorted(service.REASONS)))
        assert won.count(True) == 1
        [reason] = settled_reasons(world)
        assert reason == sorted(service.REASONS)[won.index(True)]

    def test_late_object_opens_the_study_again(self, sqlite_world: World) -> None:
        uid = sqlite_world.register(modality="CT")
        study_id = study_of(sqlite_world, uid).id
        complete(sqlite_world, study_id, "mpps")
        sqlite_world.register(modality="CT", study_uid=uid, instances=1)
        assert study_of(sqlite_world, uid).settled_at is None
        assert complete(sqlite_world, study_id, "commitment") is True

    def test_of_what_is_not_there(self, sqlite_world: World) -> None:
        with pytest.raises(NotFound):
            complete(sqlite_world, "0" * 26, "mpps")
        with pytest.raises(ValueError, match="no reason"):
            complete(sqlite_world, "0" * 26, "because")


class TestStudyHolds:
    def test_names_those_that_the_site_has(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """In several queries of three each."""
        monkeypatch.setattr(repository, "UIDS_PER_QUERY", 3)
        world.register("DP", instances=4)
        world.register("DP", instances=3)
        with world.context.db.reading() as session:
            mine = set(session.scalars(select(Instance.sop_uid)))
        world.register("LP", instances=2)
        with world.context.db.reading() as session:
            both = set(session.scalars(select(Instance.sop_uid)))
            site_id = world.site_ids["DP"]
            assert service.study_holds(session, site_id, both | {new_uid()}) == mine
            assert service.study_holds(session, site_id, sorted(mine)[:2]) == set(sorted(mine)[:2])
            assert service.study_holds(session, site_id, [new_uid()]) == set()
            assert service.study_holds(session, site_id, ()) == set()
