"""Forwarding: what is queued for whom, how it goes on after trouble, and that nothing changes on the way.

Oracles: DCMTK's storescp writes what it is sent bit by bit; pynetdicom as a node that
answers, refuses and breaks off as it is told.
"""

import dataclasses
import hashlib
import threading
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.auth.actor import Actor
from hub.catalogue.models import Instance, Study
from hub.cli_support import cli_actor
from hub.dicom import exchange_tasks, forward, forward_send, ingest, nodes, sending
from hub.dicom.exchange_repository import NodeRepository
from hub.dicom.models import DicomNode, ForwardedObject, ForwardTask
from hub.dicom.nodes import NodeFacts, NodeHostInvalid, NodeNameTaken, wait_after
from hub.errors import NotFound
from hub.jobs.registry import load_tasks
from hub.jobs.testing import run_pending
from hub.kit.ids import new_id
from hub.sites import service as sites
from hub.sites.rules import AeTitleInvalid, PortInvalid
from tests.dicom.samples import DATA, dataset_of
from tests.fixtures.ports import free_port
from tests.fixtures.storage_nodes import StorageNode, storescp
from tests.fixtures.world import SETUP, World

ADMIN = cli_actor()
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


def add_node(world: World, name: str = "county", **facts: Any) -> str:
    """Register a node and return its row id."""
    base: dict[str, Any] = {"ae_title": "PACS", "host": "127.0.0.1", "port": free_port(), "forward": True}
    with world.context.db.transaction() as session:
        return nodes.add_node(
            session, NodeFacts(name, **{**base, **facts}), now=world.clock(), actor=SETUP
        ).id


def change(world: World, node_id: str, **facts: Any) -> None:
    """Change some of a node's facts."""
    with world.context.db.transaction() as session:
        node = session.get(DicomNode, node_id)
        assert node is not None
        known = {f.name: getattr(node, f.name) for f in dataclasses.fields(NodeFacts)}
        nodes.change_node(session, node_id, NodeFacts(**{**known, **facts}), actor=SETUP)


def plan(world: World, study_uid: str) -> None:
    """Run the job of a settled study."""
    with world.context.db.reading() as session:
        study = session.scalars(select(Study).where(Study.study_uid == study_uid)).first()
    assert study is not None
    addresses = nodes.addresses_of(["127.0.0.1"])
    with world.context.db.transaction() as session:
        forward.plan(session, study.id, addresses, now=world.clock())


def send_by_hand(
    world: World,
    study: str,
    node_id: str,
    addresses: dict[str, frozenset[str]] | None = None,
    actor: Actor = ADMIN,
) -> ForwardTask:
    with world.context.db.transaction() as session:
        node = session.get(DicomNode, node_id)
        assert node is not None
        return forward.send_study(session, actor, study, node, addresses or {}, now=world.clock())


def run(world: World) -> int:
    """Run what is due of the exchange, as a worker does; return how many runs there were."""
    return len(run_pending(world.context, only={"dicom.forward_to_node"}))


def tasks(world: World, **states: Any) -> list[ForwardTask]:
    with world.context.db.reading() as session:
        return list(session.scalars(select(ForwardTask).order_by(ForwardTask.created_at, ForwardTask.id)))


def only_task(world: World) -> ForwardTask:
    (task,) = tasks(world)
    return task


def node_row(world: World, node_id: str) -> DicomNode:
    with world.context.db.reading() as session:
        node = session.get(DicomNode, node_id)
        assert node is not None
        return node


def later(world: World, **units: float) -> None:
    """Let time pass and run what has become due."""
    world.clock.advance(**units)
    exchange_tasks.forward_overdue(world.context)
    run(world)


def file(world: World, *names: str, site: str = "DP") -> list[str]:
    """File real objects; return their SOP Instance UIDs."""
    uids = []
    for name in names:
        before = set(uids_of(world))
        ingest.file_upload(world.context, BytesIO((DATA / name).read_bytes()), world.origin(site), "DEV")
        uids += [uid for uid in uids_of(world) if uid not in before]
    return uids


def uids_of(world: World) -> list[str]:
    with world.context.db.reading() as session:
        return list(session.scalars(select(Instance.sop_uid).order_by(Instance.received_at, Instance.id)))


def settle(world: World) -> None:
    """Let studies settle and plan their forwarding."""
    load_tasks()
    world.clock.advance(hours=1)
    run_pending(world.context, only={"catalogue.settle", "dicom.forward_study"}, skip_delays=True)


def even(dataset: bytes) -> bytes:
    """A data set as it may go over the wire: a deflated one of odd length is padded (PS3.5 section A.5)."""
    return dataset + b"\0" * (len(dataset) % 2)


class TestRegistry:
    def test_a_node_is_kept_as_typed_and_noted(self, sqlite_world: World) -> None:
        node_id = add_node(
            sqlite_world, " 县医院 PACS ", ae_title=" PACS ", forward_modalities=("ct", "", "DX")
        )
        node = node_row(sqlite_world, node_id)
        assert (node.name, node.ae_title, node.forward_modalities) == ("县医院 PACS", "PACS", ["CT", "DX"])
        with sqlite_world.context.db.reading() as session:
            events = session.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.NODE_CREATE)).all()
        assert [event.subject_id for event in events] == [node_id]

    @pytest.mark.parametrize(
        ("facts", "refused"),
        [
            ({"ae_title": "SEVENTEEN_LETTERS"}, AeTitleInvalid),
            ({"ae_title": "县医院"}, AeTitleInvalid),
            ({"host": "a b"}, NodeHostInvalid),
            ({"host": ""}, NodeHostInvalid),
            ({"port": 0}, PortInvalid),
            ({"port": 65536}, PortInvalid),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, sqlite_world: World, facts: dict[str, Any], refused: type[Exception]
    ) -> None:
        with pytest.raises(refused):
            add_node(sqlite_world, **facts)

    def test_two_nodes_do_not_share_a_name(self, sqlite_world: World) -> None:
        node_id = add_node(sqlite_world, "County")
        with pytest.raises(NodeNameTaken):
            add_node(sqlite_world, "county")
        change(sqlite_world, node_id, port=4242)
        assert node_row(sqlite_world, node_id).port == 4242


class TestPlan:
    def test_a_settled_study_is_queued_for_the_nodes_that_want_it(self, world: World) -> None:
        wanted = add_node(world, "all")
        by_site = add_node(world, "site", forward_sites=(world.site_ids["DP"],))
        by_modality = add_node(world, "dx", forward_modalities=("DX", "CR"))
        add_node(world, "other site", forward_sites=(world.site_ids["LP"],))
        add_node(world, "other modality", forward_modalities=("CT",))
        add_node(world, "by hand only", forward=False)
        world.register("DP", modality="DX", instances=3)
        settle(world)
        queued = tasks(world)
        assert {task.node_id for task in queued} == {wanted, by_site, by_modality}
        assert {(task.state, task.objects_total) for task in queued} == {("waiting", 3)}

    def test_planning_twice_makes_one_task(self, sqlite_world: World) -> None:
        add_node(sqlite_world)
        uid = sqlite_world.register()
        plan(sqlite_world, uid)
        plan(sqlite_world, uid)
        assert len(tasks(sqlite_world)) == 1

    def test_an_ecg_without_a_dicom_object_is_not_queued(self, sqlite_world: World) -> None:
        add_node(sqlite_world)
        plan(sqlite_world, sqlite_world.register_ecg())
        assert tasks(sqlite_world) == []

    def test_nothing_goes_back_to_where_it_came_from(self, sqlite_world: World) -> None:
        world = sqlite_world
        same = add_node(world, "same", ae_title="UPSTREAM")
        other_title = add_node(world, "other title", ae_title="PACS2")
        other_address = add_node(world, "other address", ae_title="UPSTREAM", host="127.0.0.9")
        uid = world.register(instances=2)
        with world.context.db.transaction() as session:
            for instance in session.scalars(select(Instance)):
                instance.calling_ae, instance.address = "UPSTREAM", "127.0.0.1"
        with world.context.db.reading() as session:
            study = session.scalars(select(Study).where(Study.study_uid == uid)).one()
        with world.context.db.transaction() as session:
            addresses = nodes.addresses_of(["127.0.0.1", "127.0.0.9"])
            forward.plan(session, study.id, addresses, now=world.clock())
        assert {task.node_id for task in tasks(world)} == {other_title, other_address}
        with pytest.raises(forward.NothingToSend):
            send_by_hand(world, uid, same, addresses)


class TestByHand:
    def test_a_study_is_named_by_uid_accession_or_id(self, sqlite_world: World) -> None:
        world = sqlite_world
        node_id = add_node(world, forward=False)
        uid = world.register(accession="A77")
        with world.context.db.reading() as session:
            study_id = session.scalars(select(Study.id)).one()
        found = {send_by_hand(world, name, node_id).study_id for name in (uid, "A77", study_id)}
        assert found == {study_id}
        with pytest.raises(forward.StudyUnknown):
            send_by_hand(world, "1.2.3", node_id)

    def test_a_study_uid_of_two_sites_is_not_guessed(self, sqlite_world: World) -> None:
        world = sqlite_world
        node_id = add_node(world, forward=False)
        world.register("DP", study_uid="1.2.3.4")
        world.register("LP", study_uid="1.2.3.4")
        with pytest.raises(forward.StudyAmbiguous):
            send_by_hand(world, "1.2.3.4", node_id)

    def test_somebody_without_the_right_finds_nothing(self, sqlite_world: World) -> None:
        world = sqlite_world
        node_id = add_node(world)
        uid = world.register()
        plan(world, uid)
        stranger: Actor = world.actor("doctor_dp")
        with pytest.raises(NotFound):
            send_by_hand(world, uid, node_id, actor=stranger)
        with world.context.db.transaction() as session:
            with pytest.raises(NotFound):
                forward.retry(session, stranger, only_task(world).id, now=world.clock())
            with pytest.raises(NotFound):
                forward.cancel(session, stranger, only_task(world).id, now=world.clock())


class TestSending:
    def test_dcmtk_gets_every_object_bit_by_bit(self, world: World, tmp_path: Path) -> None:
        """Oracle: storescp --bit-preserving writes the data sets it was sent; all kinds of syntaxes."""
        names = (
            "CT_small.dcm",
            "MR_small_implicit.dcm",
            "MR_small_bigendian.dcm",
            "MR_small_RLE.dcm",
            "MR_small_jp2klossless.dcm",
            "MR_small_jpeg_ls_lossless.dcm",
            "SC_rgb_jpeg_dcmtk.dcm",
            "image_dfl.dcm",
            "test-SR.dcm",
        )
        for number, name in enumerate(names):
            code = f"B{number}"
            with world.context.db.transaction() as session:
                world.site_ids[code] = sites.add_site(session, code, code, now=world.clock(), actor=SETUP).id
            file(world, name, site=code)
        with storescp(tmp_path / "node", "+xa") as port:
            node_id = add_node(world, port=port)
            world.clock.advance(hours=1)
            settle(world)
            run(world)
        assert {task.state for task in tasks(world)} == {"done"}
        sent = {hashlib.sha256(even(dataset_of(DATA / name))).hexdigest() for name in names}
        got = {hashlib.sha256(dataset_of(path)).hexdigest() for path in (tmp_path / "node").iterdir()}
        assert got == sent
        assert node_row(world, node_id).last_sent_at is not None

    @pytest.mark.parametrize("plain", [EXPLICIT, IMPLICIT])
    def test_a_node_that_takes_plain_forms_only_gets_the_same_pixels(
        self, sqlite_world: World, plain: str
    ) -> None:
        """Oracle: pydicom decodes what was filed and what arrived."""
        world = sqlite_world
        name = "MR_small_jp2klossless.dcm"
        file(world, name)
        with StorageNode(syntaxes=(plain,)).running() as node:
            add_node(world, port=node.port)
            settle(world)
            run(world)
        assert only_task(world).state == "done"
        ((_, syntax, content),) = node.received
        got = pydicom.dcmread(BytesIO(content), force=True)
        got.file_meta = pydicom.dataset.FileMetaDataset()
        got.file_meta.TransferSyntaxUID = syntax
        sent = pydicom.dcmread(DATA / name)
        assert syntax == plain
        assert got.SOPInstanceUID == sent.SOPInstanceUID
        assert (got.pixel_array == sent.pixel_array).all()

    def test_what_cannot_be_brought_into_a_form_that_the_node_takes_is_said_so(
        self, sqlite_world: World
    ) -> None:
        world = sqlite_world
        with StorageNode().running() as node:
            add_node(world, port=node.port)
            plan(world, world.register(instances=1, transfer_syntax=JPEG_BASELINE))
            run(world)
        task = only_task(world)
        assert (task.state, task.last_error) == ("failed", f"syntax_refused:{JPEG_BASELINE}")

    def test_a_completed_forward_is_on_the_trail(self, sqlite_world: World) -> None:
        world = sqlite_world
        with StorageNode().running() as node:
            node_id = add_node(world, port=node.port)
            plan(world, world.register(instances=3))
            run(world)
        with world.context.db.reading() as session:
            event = session.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.STUDY_FORWARD)).one()
        assert event.subject_id == only_task(world).study_id
        assert (event.facts["node_id"], event.facts["objects"]) == (node_id, 3)

    def test_the_hub_calls_by_its_title_or_the_nodes_own(self, sqlite_world: World) -> None:
        world = sqlite_world
        with StorageNode().running() as node:
            node_id = add_node(world, port=node.port)
            plan(world, world.register(instances=1))
            run(world)
            change(world, node_id, calling_ae="COUNTY_HUB")
            plan(world, world.register(instances=1))
            run(world)
        assert node.callers == ["HUB", "COUNTY_HUB"]

    def test_new_objects_are_sent_alone(self, world: World) -> None:
        with StorageNode().running() as node:
            add_node(world, port=node.port)
            facts = {"study_uid": "1.2.3.9", "series_uid": "1.2.3.9.1"}
            world.register(instances=2, **facts)
            settle(world)
            run(world)
            assert (only_task(world).state, node.stores) == ("done", 2)
            world.register(instances=1, **facts)
            settle(world)
            assert only_task(world).state == "waiting"
            run(world)
        task = only_task(world)
        assert (task.state, task.objects_sent, task.objects_total, node.stores) == ("done", 3, 3, 3)

    def test_sending_a_complete_study_by_hand_sends_it_all_again(self, sqlite_world: World) -> None:
        world = sqlite_world
        with StorageNode().running() as node:
            node_id = add_node(world, port=node.port)
            uid = world.register(instances=2)
            plan(world, uid)
            run(world)
            send_by_hand(world, uid, node_id)
            run(world)
        assert (node.stores, only_task(world).state) == (4, "done")

    def test_more_kinds_than_one_association_can_negotiate(
        self, sqlite_world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = sqlite_world
        monkeypatch.setattr(sending, "MOST_PAIRS", 1)
        with StorageNode().running() as node:
            add_node(world, port=node.port)
            for sop_class in (CT, MR, CT):
                uid = world.register(instances=1, study_uid="1.2.3.9", sop_class=sop_class)
            plan(world, uid)
            run(world)
        assert (len(node.received), len(node.callers), only_task(world).state) == (3, 2, "done")


class TestTrouble:
    def test_a_node_that_is_away_is_tried_again_later_and_later(self, world: World) -> None:
        node = StorageNode()
        node_id = add_node(world, port=node.port)
        plan(world, world.register(instances=2))
        plan(world, world.register(instances=1, study_uid="1.2.3.8"))
        run(world)
        row = node_row(world, node_id)
        assert (row.failures, row.last_error) == (1, "port_closed")
        assert row.retry_at == world.clock() + timedelta(minutes=1)
        later(world, minutes=1)
        row = node_row(world, node_id)
        assert (row.failures, row.retry_at) == (2, world.clock() + timedelta(minutes=2))
        assert {task.state for task in tasks(world)} == {"waiting"}
        assert not any(forward.is_stuck(task, world.clock()) for task in tasks(world))
        world.clock.advance(hours=2)
        assert all(forward.is_stuck(task, world.clock()) for task in tasks(world))
        with node.running():
            later(world)
        row = node_row(world, node_id)
        assert {task.state for task in tasks(world)} == {"done"}
        assert (len(node.received), row.failures, row.last_error, row.failing_since) == (3, 0, "", None)

    def test_waits_grow_to_an_hour_and_no_further(self) -> None:
        waits = [wait_after(n).total_seconds() / 60 for n in (1, 2, 3, 6, 7, 50)]
        assert waits == [1, 2, 4, 32, 60, 60]

    def test_a_dead_node_holds_up_no_other(self, sqlite_world: World) -> None:
        world = sqlite_world
        add_node(world, "dead")
        with StorageNode().running() as alive:
            add_node(world, "alive", port=alive.port)
            for number in range(3):
                plan(world, world.register(instances=1, study_uid=f"1.2.3.{number}"))
            assert run(world) == 2
        assert len(alive.received) == 3

    def test_a_broken_transfer_goes_on_where_it_stopped(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(forward_send, "NOTE_OBJECTS", 2)
        node = StorageNode(answer=lambda number: None if number == 6 else 0)
        with node.running():
            add_node(world, port=node.port)
            plan(world, world.register(instances=9))
            run(world)
            task = only_task(world)
            assert (task.state, task.last_error, task.objects_sent) == ("waiting", "broken", 5)
            later(world, minutes=1)
        task = only_task(world)
        assert (task.state, task.objects_sent, task.last_error) == ("done", 9, "")
        assert sorted(uid for uid, _, _ in node.received) == sorted(uids_of(world))

    def test_a_full_node_is_tried_again(self, sqlite_world: World) -> None:
        world = sqlite_world
        node = StorageNode(answer=lambda number: 0xA700 if number == 2 else 0)
        with node.running():
            add_node(world, port=node.port)
            plan(world, world.register(instances=4))
            run(world)
            task = only_task(world)
            assert (task.state, task.last_error, task.objects_sent) == ("waiting", "full:A700", 1)
            assert node.stores == 2
            later(world, minutes=1)
        assert (only_task(world).state, node.stores, len(node.received)) == ("done", 5, 4)

    def test_one_object_that_is_not_understood_holds_up_no_other(self, sqlite_world: World) -> None:
        world = sqlite_world
        node = StorageNode(answer=lambda number: 0xC000 if number == 2 else 0)
        with node.running():
            add_node(world, port=node.port)
            plan(world, world.register(instances=4))
            run(world)
            task = only_task(world)
            assert (task.state, task.last_error, task.objects_sent) == ("waiting", "not_understood:C000", 3)
            later(world, minutes=1)
        assert (only_task(world).state, len(node.received)) == ("done", 4)

    def test_an_object_that_does_not_fit_needs_a_person(self, sqlite_world: World) -> None:
        world = sqlite_world
        node = StorageNode(answer=lambda number: 0xA900 if number == 1 else 0)
        with node.running():
            add_node(world, port=node.port)
            plan(world, world.register(instances=3))
            run(world)
            task = only_task(world)
            assert (task.state, task.last_error, task.objects_sent) == ("failed", "mismatch:A900", 2)
            assert forward.is_stuck(task, world.clock())
            later(world, hours=3)
            assert node.stores == 3
            with world.context.db.transaction() as session:
                forward.retry(session, ADMIN, task.id, now=world.clock())
            run(world)
        assert (only_task(world).state, node.stores) == ("done", 4)

    def test_a_node_that_refuses_the_class_is_said_so(self, sqlite_world: World) -> None:
        world = sqlite_world
        with StorageNode(classes=(MR,)).running() as node:
            add_node(world, port=node.port)
            plan(world, world.register(instances=1, sop_class=CT))
            run(world)
        assert (only_task(world).state, only_task(world).last_error) == ("failed", f"class_refused:{CT}")

    def test_warnings_and_objects_that_are_there_count_as_sent(self, sqlite_world: World) -> None:
        world = sqlite_world
        answers = {1: 0xB000, 2: 0x0111, 3: 0xB007}
        with StorageNode(answer=lambda number: answers[number]).running() as node:
            add_node(world, port=node.port)
            plan(world, world.register(instances=3))
            run(world)
        assert (only_task(world).state, only_task(world).objects_sent) == ("done", 3)

    def test_a_damaged_object_is_never_sent(self, sqlite_world: World) -> None:
        world = sqlite_world
        with StorageNode().running() as node:
            add_node(world, port=node.port)
            plan(world, world.register(instances=2))
            with world.context.db.reading() as session:
                victim = session.scalars(select(Instance).order_by(Instance.number)).first()
            assert victim is not None
            world.context.store.delete(victim.storage_key)
            world.context.store.put(victim.storage_key, b"something else")
            run(world)
        task = only_task(world)
        assert (task.state, task.last_error) == ("failed", f"damaged:{victim.sop_uid}")
        assert victim.sop_uid not in [uid for uid, _, _ in node.received]
        assert len(node.received) == 1

    @pytest.mark.parametrize(
        ("settings", "trouble"),
        [
            ({"calls_only": "OTHER"}, "called_unknown"),
            ({"known_callers": ("NOBODY",)}, "calling_unknown"),
        ],
    )
    def test_a_refused_association_is_put_into_words(
        self, sqlite_world: World, settings: dict[str, Any], trouble: str
    ) -> None:
        world = sqlite_world
        with StorageNode(**settings).running() as node:
            node_id = add_node(world, port=node.port)
            plan(world, world.register(instances=1))
            run(world)
            assert node_row(world, node_id).last_error == trouble
            assert nodes.echo_node(world.context, node_id).outcome == trouble
        assert node_row(world, node_id).echo_outcome == trouble

    def test_a_changed_address_is_used_at_once(self, sqlite_world: World) -> None:
        world = sqlite_world
        node_id = add_node(world)
        plan(world, world.register(instances=1))
        run(world)
        assert node_row(world, node_id).last_error == "port_closed"
        with StorageNode().running() as node:
            change(world, node_id, port=node.port)
            run(world)
        assert only_task(world).state == "done"


class TestLevers:
    def test_a_cancelled_task_is_not_sent(self, sqlite_world: World) -> None:
        world = sqlite_world
        with StorageNode().running() as node:
            add_node(world, port=node.port)
            plan(world, world.register(instances=2))
            with world.context.db.transaction() as session:
                forward.cancel(session, ADMIN, only_task(world).id, now=world.clock())
            run(world)
            plan(world, world.register(instances=1, study_uid="1.2.3.8"))
            run(world)
        assert [task.state for task in tasks(world)] == ["cancelled", "done"]
        assert len(node.received) == 1

    def test_cancelling_stops_a_run_under_way(
        self, sqlite_world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = sqlite_world
        monkeypatch.setattr(forward_send, "NOTE_OBJECTS", 1)

        def answer(number: int) -> int:
            if number == 3:
                with world.context.db.transaction() as session:
                    forward.cancel(session, ADMIN, only_task(world).id, now=world.clock())
            return 0

        with StorageNode(answer=answer).running() as node:
            add_node(world, port=node.port)
            plan(world, world.register(instances=9))
            run(world)
        task = only_task(world)
        assert (task.state, task.objects_sent, node.stores) == ("cancelled", 3, 3)

    def test_a_node_that_is_held_back_gets_nothing_until_let_go(self, sqlite_world: World) -> None:
        world = sqlite_world
        with StorageNode().running() as node:
            node_id = add_node(world, port=node.port)
            with world.context.db.transaction() as session:
                nodes.set_node_active(session, node_id, active=False, actor=SETUP)
            plan(world, world.register(instances=2))
            run(world)
            assert (only_task(world).state, node.stores) == ("waiting", 0)
            with world.context.db.transaction() as session:
                nodes.set_node_active(session, node_id, active=True, actor=SETUP)
            run(world)
        assert only_task(world).state == "done"

    def test_a_removed_node_takes_its_queue_with_it(self, world: World) -> None:
        with StorageNode().running() as node:
            node_id = add_node(world, port=node.port)
            plan(world, world.register(instances=2))
            run(world)
            plan(world, world.register(instances=2, study_uid="1.2.3.8"))
            with world.context.db.transaction() as session:
                nodes.remove_node(session, node_id, actor=SETUP)
            run(world)
        assert tasks(world) == []
        with world.context.db.reading() as session:
            assert session.scalars(select(ForwardedObject)).all() == []

    def test_an_echo_that_works_lets_everything_go(self, sqlite_world: World) -> None:
        world = sqlite_world
        node = StorageNode()
        node_id = add_node(world, port=node.port)
        plan(world, world.register(instances=1))
        run(world)
        with node.running():
            result = nodes.echo_node(world.context, node_id)
            assert result.works
            run(world)
        assert only_task(world).state == "done"


class TestRuns:
    def test_one_run_at_a_time_looks_after_a_node(self, world: World) -> None:
        node_id = add_node(world)
        first, second = new_id(), new_id()

        def take(run_id: str) -> bool:
            with world.context.db.transaction() as session:
                return forward.take_node(session, node_id, run_id, now=world.clock())

        assert take(first)
        assert not take(second)
        assert take(first), "the same run, started over after a crash, goes on"
        world.clock.advance(seconds=forward.LEASE.total_seconds() + 1)
        assert take(second), "a dead run is not waited for"

    def test_a_run_that_died_in_the_middle_is_taken_over(self, world: World) -> None:
        """Planted: the process is gone after two objects were written down; nothing is sent twice."""
        with StorageNode().running() as node:
            node_id = add_node(world, port=node.port)
            plan(world, world.register(instances=5))
            dead = new_id()
            with world.context.db.transaction() as session:
                assert forward.take_node(session, node_id, dead, now=world.clock())
            with world.context.db.transaction() as session:
                step = forward.next_step(session, node_id, dead, {}, now=world.clock())
            assert step is not None
            with world.context.db.transaction() as session:
                forward.note_sent(session, step, [one.id for one in step.objects[:2]], now=world.clock())
            run(world)
            assert (only_task(world).state, node.stores) == ("sending", 0)
            world.clock.advance(minutes=3)
            with world.context.db.transaction() as session:
                assert NodeRepository(session).due(world.clock()) == [node_id]
            later(world)
        assert (only_task(world).state, node.stores) == ("done", 3)

    def test_a_task_queued_while_a_run_ends_is_not_lost(self, world: World) -> None:
        """Many studies are queued while runs come and go: whatever the order, all are sent."""
        with StorageNode().running() as node:
            add_node(world, port=node.port)
            uids = [world.register(instances=1, study_uid=f"1.2.9.{n}") for n in range(6)]
            stop = threading.Event()

            def worker() -> None:
                while not stop.is_set():
                    run(world)

            threads = [threading.Thread(target=worker) for _ in range(2)]
            for thread in threads:
                thread.start()
            for uid in uids:
                plan(world, uid)
            for _ in range(200):
                if all(task.state == "done" for task in tasks(world)):
                    break
                stop.wait(0.05)
            stop.set()
            for thread in threads:
                thread.join()
        assert [task.state for task in tasks(world)] == ["done"] * 6
        assert len(node.received) == 6
