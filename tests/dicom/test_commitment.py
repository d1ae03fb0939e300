"""Storage commitment: what counts as kept, and that every device gets its report, now or later.

Oracles: pynetdicom as the asking device, on the same and on a new association; the
standard's own tables (PS3.4 annex J, PS3.3 section C.14).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.catalogue.models import Instance, Study
from hub.cli_support import cli_actor
from hub.dicom import commitment, commitment_report, exchange_tasks
from hub.dicom.commitment import (
    SOP_CLASS,
    WELL_KNOWN_INSTANCE,
    Asked,
    CommitmentMalformed,
    Judgement,
    read_request,
    write_report,
)
from hub.dicom.commitment_report import commitment_service
from hub.dicom.identifier import encode_attributes
from hub.dicom.models import CommitmentRequest
from hub.dicom.peers import admit
from hub.dicom.wire.gate import ListenerSettings
from hub.dicom.wire.server import listen
from hub.jobs.testing import run_pending
from hub.sites import service as sites
from hub.sites.models import Device
from hub.sites.service import DeviceKnown
from tests.fixtures.ports import free_port
from tests.fixtures.world import CT, DX, SETUP, World

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
NO_SUCH_OBJECT, CONFLICT, PROCESSING_FAILURE = 0x0112, 0x0119, 0x0110
ADMIN = cli_actor()


@dataclass
class Modality:
    """A device made of pynetdicom: it asks, and takes reports wherever they come."""

    port: int = field(default_factory=free_port)
    reports: list[tuple[int, Dataset]] = field(default_factory=list)
    answer: int = 0x0000
    arrived: threading.Event = field(default_factory=threading.Event)
    callers: list[str] = field(default_factory=list)

    def _report(self, event: Any) -> tuple[int, None]:
        self.reports.append((int(event.event_type), event.event_information))
        self.callers.append(event.assoc.requestor.ae_title.strip())
        self.arrived.set()
        return self.answer, None

    @contextmanager
    def association(self, hub_port: int) -> Iterator[Any]:
        """Call the hub."""
        from pynetdicom import AE, evt

        entity = AE("DP_CT")
        entity.add_requested_context(SOP_CLASS, [EXPLICIT])
        association = entity.associate(
            "127.0.0.1", hub_port, ae_title="HUB", evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._report)]
        )
        assert association.is_established
        try:
            yield association
        finally:
            association.release()

    @contextmanager
    def listening(self, *, takes: bool = True) -> Iterator[None]:
        """Wait for calls of the hub."""
        from pynetdicom import AE, evt
        from pynetdicom.sop_class import Verification

        entity = AE("DP_CT")
        entity.add_supported_context(Verification)
        if takes:
            entity.add_supported_context(SOP_CLASS, [EXPLICIT], scu_role=False, scp_role=True)
        server = entity.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._report)],
        )
        try:
            yield
        finally:
            server.shutdown()


def asks(transaction: str, objects: list[tuple[str, str]]) -> Dataset:
    """The data set of an N-ACTION."""
    request = Dataset()
    request.TransactionUID = transaction
    request.ReferencedSOPSequence = []
    for sop_class, uid in objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        request.ReferencedSOPSequence.append(item)
    return request


def ask(association: Any, transaction: str, objects: list[tuple[str, str]]) -> int:
    """Ask and return the status."""
    status, _ = association.send_n_action(asks(transaction, objects), 1, SOP_CLASS, WELL_KNOWN_INSTANCE)
    return int(status.Status)


def listed(report: Dataset) -> tuple[list[tuple[str, str]], list[tuple[str, str, int]]]:
    """What a report says is kept, and what failed with which reason."""
    kept = [
        (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
        for item in report.get("ReferencedSOPSequence", [])
    ]
    failed = [
        (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID), int(item.FailureReason))
        for item in report.get("FailedSOPSequence", [])
    ]
    return kept, failed


def add_device(world: World, port: int | None = None, site: str = "DP", title: str = "DP_CT") -> DeviceKnown:
    with world.context.db.transaction() as session:
        device = Device(site_id=world.site_ids[site], ae_title=title, port=port, created_at=world.clock())
        session.add(device)
        session.flush()
        return DeviceKnown(device.id, device.site_id, site, None, title)


def objects_of(world: World, study_uid: str) -> list[tuple[str, str]]:
    with world.context.db.reading() as session:
        rows = session.scalars(select(Instance).order_by(Instance.number)).all()
        study = session.scalars(select(Study).where(Study.study_uid == study_uid)).first()
    assert study is not None
    return [(row.sop_class, row.sop_uid) for row in rows]


def requests(world: World) -> list[CommitmentRequest]:
    with world.context.db.reading() as session:
        return list(session.scalars(select(CommitmentRequest).order_by(CommitmentRequest.requested_at)))


def only_request(world: World) -> CommitmentRequest:
    (request,) = requests(world)
    return request


def entered(world: World, device: DeviceKnown, transaction: str, objects: list[tuple[str, str]]) -> str:
    """A request as the listener enters it; its row id."""
    with world.context.db.transaction() as session:
        return commitment.accept(
            session,
            device,
            Asked(transaction, tuple(objects)),
            calling_ae="DP_CT",
            called_ae="HUB",
            address="127.0.0.1",
            now=world.clock(),
        ).id


def run(world: World, **later: float) -> None:
    """Let time pass and run what has become due."""
    world.clock.advance(**later)
    world.clock.advance(seconds=51)
    exchange_tasks.commitment_overdue(world.context)
    run_pending(world.context, only={"dicom.report_commitment"})


def settle_reason(world: World, study_uid: str) -> str:
    with world.context.db.reading() as session:
        return session.scalars(select(Study.settle_reason).where(Study.study_uid == study_uid)).one()


@pytest.fixture
def hub(sqlite_world: World) -> Iterator[int]:
    """A listener with the service alone; its port."""
    context = sqlite_world.context
    listener = listen(
        [ListenerSettings("127.0.0.1", 0)],
        partial(admit, context),
        [commitment_service(context)],
        None,
        lambda *_: None,
    )
    yield listener.port
    listener.shutdown(1.0)


class TestWords:
    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
    def test_a_request_is_read_as_pydicom_writes_it(self, syntax: str) -> None:
        objects = [(CT, "1.2.3.4"), (DX, "1.2.3.5"), (CT, "1.2.3.4")]
        content = BytesIO()
        asks("1.2.9.1", objects).save_as(
            content, implicit_vr=syntax == IMPLICIT, little_endian=True, enforce_file_format=False
        )
        assert read_request(content.getvalue(), syntax) == Asked("1.2.9.1", tuple(objects[:2]))

    @pytest.mark.parametrize(
        "broken",
        [
            b"",
            b"\x08\x00\x95\x11UI\xff\xff1.2",
            encode_attributes([(commitment.TRANSACTION_UID, "UI", "1.2.3")], EXPLICIT, ""),
            encode_attributes(
                [(commitment.TRANSACTION_UID, "UI", "x"), (commitment.REFERENCED_SEQUENCE, "SQ", [])],
                EXPLICIT,
                "",
            ),
        ],
        ids=["empty", "cut", "no objects", "no transaction"],
    )
    def test_what_says_nothing_is_refused(self, broken: bytes) -> None:
        with pytest.raises(CommitmentMalformed) as refused:
            read_request(broken, EXPLICIT)
        assert refused.value.dimse_status == 0x0115

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
    def test_a_report_is_read_by_pydicom(self, syntax: str) -> None:
        judged = Judgement(((CT, "1.2.3.4"),), (((DX, "1.2.3.5"), NO_SUCH_OBJECT),), True, ())
        event, content = write_report("1.2.9.1", judged, "HUB", syntax)
        report = read_dataset(DicomBytesIO(content), is_implicit_VR=syntax == IMPLICIT, is_little_endian=True)
        assert (event, report.TransactionUID, report.RetrieveAETitle) == (2, "1.2.9.1", "HUB")
        assert listed(report) == ([(CT, "1.2.3.4")], [(DX, "1.2.3.5", NO_SUCH_OBJECT)])

    def test_thousands_of_objects_fit(self) -> None:
        objects = tuple((CT, f"1.2.3.{number}") for number in range(6000))
        attributes = [
            (commitment.TRANSACTION_UID, "UI", "1.2.9.1"),
            (commitment.REFERENCED_SEQUENCE, "SQ", asks("1.2.9.1", list(objects)).ReferencedSOPSequence),
        ]
        assert read_request(encode_attributes(attributes, EXPLICIT, ""), EXPLICIT).references == objects


class TestJudgement:
    def test_kept_is_what_is_catalogued_at_the_site_and_lies_in_the_store(self, world: World) -> None:
        device = add_device(world)
        own = objects_of(world, world.register("DP", instances=3))
        world.register("LP", instances=1)
        with world.context.db.reading() as session:
            rows = {row.sop_uid: row for row in session.scalars(select(Instance))}
        theirs = next((row.sop_class, uid) for uid, row in rows.items() if (row.sop_class, uid) not in own)
        gone, cut = rows[own[1][1]], rows[own[2][1]]
        world.context.store.delete(gone.storage_key)
        world.context.store.delete(cut.storage_key)
        world.context.store.put(cut.storage_key, b"x")
        asked = [*own, (CT, own[0][1]), theirs, (DX, "1.2.3.4")]
        request_id = entered(world, device, "1.2.9.1", asked)
        with world.context.db.reading() as session:
            request = session.get(CommitmentRequest, request_id)
        assert request is not None
        judged = commitment.judge(world.context, request)
        assert judged.kept == (own[0],)
        assert dict(judged.failed) == {
            own[1]: PROCESSING_FAILURE,
            own[2]: PROCESSING_FAILURE,
            (CT, own[0][1]): CONFLICT,
            theirs: NO_SUCH_OBJECT,
            (DX, "1.2.3.4"): NO_SUCH_OBJECT,
        }
        assert judged.may_come

    def test_a_full_list_completes_the_study(self, sqlite_world: World) -> None:
        world, modality = sqlite_world, Modality()
        device = add_device(world, modality.port)
        uid = world.register(instances=2)
        entered(world, device, "1.2.9.1", objects_of(world, uid))
        with modality.listening():
            run(world)
        assert settle_reason(world, uid) == "commitment"

    def test_a_list_of_a_part_completes_nothing(self, sqlite_world: World) -> None:
        world, modality = sqlite_world, Modality()
        device = add_device(world, modality.port)
        uid = world.register(instances=2)
        entered(world, device, "1.2.9.1", objects_of(world, uid)[:1])
        with modality.listening():
            run(world)
        assert modality.reports[0][0] == 1
        assert settle_reason(world, uid) == ""


class TestOnTheLine:
    def test_a_device_that_waits_is_told_on_its_association(self, sqlite_world: World, hub: int) -> None:
        world, modality = sqlite_world, Modality()
        add_device(world)
        objects = objects_of(world, world.register(instances=3))
        with modality.association(hub) as association:
            assert ask(association, "1.2.9.1", objects) == 0
            assert modality.arrived.wait(10)
            wait_until(lambda: only_request(world).state == "answered")
        event, report = modality.reports[0]
        assert (event, report.TransactionUID) == (1, "1.2.9.1")
        assert listed(report) == (objects, [])
        with world.context.db.reading() as session:
            noted = session.scalars(select(AuditEvent).where(AuditEvent.tag == Tag.COMMITMENT_REPORT)).one()
        assert noted.facts == {"kept": 3, "failed": 0}

    def test_the_row_is_there_before_the_answer(
        self, sqlite_world: World, hub: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Planted: everything after the answer is lost, as if the power went then."""
        world, modality = sqlite_world, Modality()
        add_device(world)
        monkeypatch.setattr(commitment_report, "_tell_on_the_line", lambda *_: None)
        with modality.association(hub) as association:
            assert ask(association, "1.2.9.1", [(CT, "1.2.3.4")]) == 0
            assert only_request(world).items == [[CT, "1.2.3.4"]]

    def test_two_questions_at_once_get_two_answers(self, sqlite_world: World, hub: int) -> None:
        world, modality = sqlite_world, Modality()
        add_device(world)
        objects = objects_of(world, world.register(instances=2))
        with modality.association(hub) as association:
            assert ask(association, "1.2.9.1", objects[:1]) == 0
            assert ask(association, "1.2.9.2", objects[1:]) == 0
            wait_until(lambda: len(modality.reports) == 2)
            wait_until(lambda: {one.state for one in requests(world)} == {"answered"})
        assert [str(report.TransactionUID) for _, report in modality.reports] == ["1.2.9.1", "1.2.9.2"]

    def test_the_same_question_again_is_answered_again(self, sqlite_world: World, hub: int) -> None:
        world, modality = sqlite_world, Modality()
        add_device(world)
        objects = objects_of(world, world.register(instances=1))
        for turn in (1, 2):
            with modality.association(hub) as association:
                assert ask(association, "1.2.9.1", objects) == 0
                wait_until(lambda turn=turn: len(modality.reports) == turn)
                wait_until(lambda: only_request(world).state == "answered")

    def test_a_report_is_kept_until_the_device_calls_again(self, sqlite_world: World, hub: int) -> None:
        world, modality = sqlite_world, Modality()
        device = add_device(world)
        entered(world, device, "1.2.9.1", objects_of(world, world.register(instances=1)))
        run(world)
        assert (only_request(world).state, only_request(world).last_error) == ("waiting", "no_port")
        with modality.association(hub):
            assert modality.arrived.wait(10)
            wait_until(lambda: only_request(world).state == "answered")

    @pytest.mark.parametrize(
        ("action", "instance", "status"),
        [(2, WELL_KNOWN_INSTANCE, 0x0123), (1, "1.2.3", 0x0112)],
    )
    def test_what_the_service_does_not_know_is_refused(
        self, sqlite_world: World, hub: int, action: int, instance: str, status: int
    ) -> None:
        add_device(sqlite_world)
        with Modality().association(hub) as association:
            answer, _ = association.send_n_action(
                asks("1.2.9.1", [(CT, "1.2.3.4")]), action, SOP_CLASS, instance
            )
        assert answer.Status == status
        assert requests(sqlite_world) == []

    def test_a_stranger_is_not_heard(self, hub: int) -> None:
        from pynetdicom import AE

        entity = AE("NOBODY")
        entity.add_requested_context(SOP_CLASS, [EXPLICIT])
        association = entity.associate("127.0.0.1", hub, ae_title="HUB")
        assert not association.accepted_contexts
        association.abort()


class TestCallingBack:
    def test_a_device_that_has_left_is_called(self, sqlite_world: World, hub: int) -> None:
        world, modality = sqlite_world, Modality()
        add_device(world, modality.port)
        objects = objects_of(world, world.register(instances=2))
        with modality.association(hub) as association:
            assert ask(association, "1.2.9.1", objects) == 0
        assert modality.reports == []
        with modality.listening():
            run(world)
        event, report = modality.reports[0]
        assert (event, listed(report)) == (1, (objects, []))
        assert modality.callers == ["HUB"]
        assert only_request(world).state == "answered"

    def test_objects_under_way_are_waited_for(self, world: World) -> None:
        modality = Modality()
        device = add_device(world, modality.port)
        uid = "1.2.3.9"
        entered(world, device, "1.2.9.1", [(DX, "1.2.3.9.1")])
        with modality.listening():
            run(world)
            assert modality.reports == []
            world.register(study_uid=uid, instances=1, sop_uid="1.2.3.9.1")
            run(world)
        assert modality.reports[0][0] == 1
        assert only_request(world).failed == []

    def test_what_never_comes_fails_after_ten_minutes(self, world: World) -> None:
        modality = Modality()
        device = add_device(world, modality.port)
        objects = objects_of(world, world.register(instances=1))
        entered(world, device, "1.2.9.1", [*objects, (CT, "1.2.3.4")])
        with modality.listening():
            run(world, minutes=5)
            assert modality.reports == []
            run(world, minutes=5)
        event, report = modality.reports[0]
        assert event == 2
        assert listed(report) == (objects, [(CT, "1.2.3.4", NO_SUCH_OBJECT)])
        assert only_request(world).failed == [[CT, "1.2.3.4", NO_SUCH_OBJECT]]

    def test_a_device_that_is_away_is_called_again_and_given_up_after_days(self, world: World) -> None:
        modality = Modality()
        device = add_device(world, modality.port)
        entered(world, device, "1.2.9.1", objects_of(world, world.register(instances=1)))
        run(world)
        request = only_request(world)
        assert (request.state, request.attempts, request.last_error) == ("waiting", 1, "port_closed")
        assert request.next_at == world.clock() + timedelta(minutes=1)
        run(world, minutes=1)
        assert only_request(world).attempts == 2
        run(world, days=3)
        assert only_request(world).state == "undeliverable"
        with modality.listening():
            with world.context.db.transaction() as session:
                commitment.retry(session, ADMIN, request.id, now=world.clock())
            run(world)
        assert only_request(world).state == "answered"

    @pytest.mark.parametrize(
        ("takes", "answer", "trouble"),
        [(False, 0, f"class_refused:{SOP_CLASS}"), (True, 0x0110, "status:0110")],
    )
    def test_a_device_that_does_not_take_its_report_is_tried_again(
        self, sqlite_world: World, takes: bool, answer: int, trouble: str
    ) -> None:
        world, modality = sqlite_world, Modality(answer=answer)
        device = add_device(world, modality.port)
        entered(world, device, "1.2.9.1", objects_of(world, world.register(instances=1)))
        with modality.listening(takes=takes):
            run(world)
        assert (only_request(world).state, only_request(world).last_error) == ("waiting", trouble)

    def test_several_reports_go_over_one_association(self, sqlite_world: World) -> None:
        world, modality = sqlite_world, Modality()
        device = add_device(world, modality.port)
        objects = objects_of(world, world.register(instances=3))
        for number, one in enumerate(objects):
            entered(world, device, f"1.2.9.{number}", [one])
        with modality.listening():
            run(world)
        assert len(modality.reports) == 3
        assert {request.state for request in requests(world)} == {"answered"}

    def test_a_blocked_device_is_not_called(self, sqlite_world: World) -> None:
        world, modality = sqlite_world, Modality()
        device = add_device(world, modality.port)
        entered(world, device, "1.2.9.1", objects_of(world, world.register(instances=1)))
        with world.context.db.transaction() as session:
            sites.set_device_active(session, device.id, active=False, actor=SETUP)
        with modality.listening():
            run(world)
        assert (modality.reports, only_request(world).last_error) == ([], "device_blocked")


def wait_until(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
