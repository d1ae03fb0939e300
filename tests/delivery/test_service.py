"""Delivery and confirmation on both databases. Oracle: requirements §3.1, DELIVERED and ACKED."""

import pytest

from hub.auth.actor import Actor, PostHeld
from hub.auth.roles import Role
from hub.delivery import service
from hub.delivery.repository import DeliveryRepository
from hub.delivery.service import ConfirmedAlready, NotDelivered, NotOwnSite
from hub.errors import Forbidden
from hub.reports.models import SignedReport
from hub.worklist.repository import WorklistRepository
from tests.delivery.conftest import delivery_of, sign
from tests.fixtures.world import World


def receipts(world: World, signed: SignedReport) -> list[tuple[str, str]]:
    delivery = delivery_of(world, signed)
    with world.context.db.reading() as session:
        return [(row.kind, row.actor_name) for row in DeliveryRepository(session).receipts(delivery.id)]


def acknowledge(world: World, actor: Actor, signed: SignedReport) -> None:
    with world.context.db.transaction() as session:
        service.acknowledge(session, actor, signed, now=world.clock())


def machine(world: World, role: Role = Role.SITE_SYSTEM) -> Actor:
    post = PostHeld(role, world.site_ids["DP"], world.clock().date())
    return Actor("token", "TOKEN", "HIS", "", (post,), "10.0.0.9")


def test_delivering_twice_is_delivering_once(world: World, signed: SignedReport) -> None:
    world.clock.advance(minutes=1)
    with world.context.db.transaction() as session:
        service.deliver(session, signed.id, now=world.clock())
    exam = world.exam(signed.exam_id)
    assert exam.state == "delivered"
    delivery = delivery_of(world, signed)
    with world.context.db.reading() as session:
        repository = DeliveryRepository(session)
        assert [row.channel for row in repository.attempts(delivery.id)] == ["inbox"]
        reached = [step.to_state for step in WorklistRepository(session).steps(exam.id)]
        assert delivery.delivered_at == signed.signed_at
    assert reached.count("delivered") == 1


def test_a_named_person_of_the_site_confirms_once(world: World, signed: SignedReport) -> None:
    doctor = world.actor("doctor_dp")
    world.clock.advance(minutes=3)
    acknowledge(world, doctor, signed)
    exam = world.exam(signed.exam_id)
    assert (exam.state, exam.acked_by, exam.acked_at) == ("acked", "谢医生", world.clock())
    assert receipts(world, signed) == [("acknowledged", "谢医生")]
    with pytest.raises(ConfirmedAlready):
        acknowledge(world, doctor, signed)


@pytest.mark.parametrize("login", ["doctor_lp", "writer1", "reviewer1", "director1"])
def test_nobody_else_confirms(world: World, signed: SignedReport, login: str) -> None:
    with pytest.raises(NotOwnSite):
        acknowledge(world, world.actor(login), signed)
    assert world.exam(signed.exam_id).state == "delivered"


def test_the_technician_of_the_site_does_not_confirm(world: World, signed: SignedReport) -> None:
    with pytest.raises(Forbidden):
        acknowledge(world, world.actor("tech_dp"), signed)
    assert receipts(world, signed) == []


@pytest.mark.parametrize("role", [Role.SITE_SYSTEM, Role.DOCTOR])
def test_a_machine_never_confirms(world: World, signed: SignedReport, role: Role) -> None:
    with pytest.raises(Forbidden):
        acknowledge(world, machine(world, role), signed)
    assert delivery_of(world, signed).acknowledged_at is None


def test_what_was_not_delivered_cannot_be_confirmed(world: World) -> None:
    signed = sign(world, deliver=False)
    with pytest.raises(NotDelivered):
        acknowledge(world, world.actor("doctor_dp"), signed)


def test_openings_leave_one_receipt_for_each_person_and_one_for_each_fetch(
    world: World, signed: SignedReport
) -> None:
    actors = [world.actor(login) for login in ("tech_dp", "doctor_dp", "doctor_dp", "writer1")]
    for actor in [*actors, machine(world), machine(world)]:
        world.clock.advance(seconds=1)
        with world.context.db.transaction() as session:
            service.opened(session, actor, signed, now=world.clock())
    assert receipts(world, signed) == [
        ("opened", "何技师"),
        ("opened", "谢医生"),
        ("fetched", "HIS"),
        ("fetched", "HIS"),
    ]


def test_a_machine_s_fetch_is_no_person_s_opening(world: World, signed: SignedReport) -> None:
    with world.context.db.transaction() as session:
        service.opened(session, machine(world), signed, now=world.clock())
    assert delivery_of(world, signed).opened_at is None


def test_the_inbox_holds_the_own_sites_unread_first_then_by_urgency(world: World) -> None:
    routine = sign(
        world, accession=world.order(local_id="P1", name="甲某").number, local_id="P1", patient_name="甲某"
    )
    world.clock.advance(minutes=1)
    urgent_order = world.order(local_id="P2", name="乙某", urgency="critical")
    urgent = sign(world, accession=urgent_order.number, local_id="P2", patient_name="乙某")
    world.clock.advance(minutes=1)
    newest = sign(world, local_id="P3", patient_name="丙某")
    elsewhere = sign(world, "LP", local_id="P4", patient_name="丁某")
    acknowledge(world, world.actor("doctor_dp"), newest)
    with world.context.db.reading() as session:
        repository, actor = DeliveryRepository(session), world.actor("doctor_dp")
        listed = [row.signed.id for row in repository.inbox(actor, None)]
        unread = [row.signed.id for row in repository.inbox(actor, None, unread_only=True)]
        assert repository.counts(actor, None) == (2, 3)
        centre = {row.signed.id for row in repository.inbox(world.actor("director1"), None)}
    assert listed == [urgent.id, routine.id, newest.id]
    assert unread == [urgent.id, routine.id]
    assert centre == {routine.id, urgent.id, newest.id, elsewhere.id}
