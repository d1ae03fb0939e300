"""The listener against DCMTK and pynetdicom as devices."""

import hashlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub.dicom.contexts import storage_classes, transfer_syntaxes
from hub.dicom.part10 import split
from hub.dicom.wire.association import Context, Peer
from hub.dicom.wire.dimse import Command
from hub.dicom.wire.errors import PeerRefused
from hub.dicom.wire.gate import Admission, Admitted, ListenerSettings, Refusal
from hub.dicom.wire.requestor import Target, connect, echo
from hub.dicom.wire.server import Listener, listen
from hub.dicom.wire.service import IMPLICIT_LITTLE, WIRE_SYNTAXES, Service, StorageService
from tests.dicom.samples import CT_CLASS, DATA, build, dataset_of, file_of
from tests.fixtures.peers import require_peer
from tests.fixtures.ports import free_port

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
PROPOSALS = {
    "MR_small_implicit.dcm": "-xi",
    "MR_small.dcm": "-xe",
    "MR_small_bigendian.dcm": "-xb",
    "image_dfl.dcm": "-xd",
    "SC_rgb_jpeg_dcmtk.dcm": "-xy",
    "JPGExtended.dcm": "-xx",
    "SC_rgb_jpeg_gdcm.dcm": "-xs",
    "MR_small_jpeg_ls_lossless.dcm": "-xt",
    "JPEGLSNearLossless_16.dcm": "-xu",
    "MR_small_jp2klossless.dcm": "-xv",
    "JPEG2000.dcm": "-xw",
    "MR_small_RLE.dcm": "-xr",
}
"""storescu's option that proposes each file's own transfer syntax."""


@dataclass
class Received:
    """An object as it came over the wire."""

    peer: Peer
    transfer_syntax: str
    sop_instance: str
    dataset: bytes


class Desk:
    """A storage service and a gate that remember what came to them."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.refusals: list[tuple[Peer, str, str]] = []
        self.prepared = self.closed = 0
        self.status = 0
        self.admission: Callable[[Peer], Admitted | Refusal] = lambda _peer: Admitted()

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason, _ in self.refusals]

    def admit(self, peer: Peer) -> Admitted | Refusal:
        return self.admission(peer)

    def receiver(self, peer: Peer) -> "Arrivals":
        return Arrivals(self, peer)

    def refused(self, peer: Peer, reason: str, detail: str) -> None:
        self.refusals.append((peer, reason, detail))

    @property
    def storage(self) -> StorageService:
        return StorageService(frozenset(storage_classes()), frozenset(transfer_syntaxes()), self.receiver)


@dataclass
class Arrivals:
    """An association that brings objects."""

    desk: Desk
    peer: Peer

    def begin(self, context: Context, command: Command) -> "Incoming":
        return Incoming(self.desk, self.peer, context, command)

    def prepare(self) -> None:
        self.desk.prepared += 1

    def close(self) -> None:
        self.desk.closed += 1


class Incoming:
    """One object on its way to the desk."""

    def __init__(self, desk: Desk, peer: Peer, context: Context, command: Command) -> None:
        self.desk, self.peer, self.context, self.command = desk, peer, context, command
        self.content = bytearray()

    def write(self, piece: memoryview) -> None:
        self.content += piece

    def finish(self) -> int:
        syntax, uid = self.context.transfer_syntax, self.command.sop_instance
        self.desk.received.append(Received(self.peer, syntax, uid, bytes(self.content)))
        return self.desk.status

    def end(self) -> None:
        self.content.clear()


def serve(desk: Desk, **settings: Any) -> Listener:
    """A listener on a free port of the loopback."""
    doors = [ListenerSettings(**{"host": "127.0.0.1", "port": 0, **settings})]
    return listen(doors, desk.admit, [], desk.storage, desk.refused)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Desk, Listener]]:
    desk = Desk()
    running = serve(desk, maximum_object_bytes=4 * 1024 * 1024)
    yield desk, running
    running.shutdown()


@pytest.fixture
def desk(shared: tuple[Desk, Listener]) -> Desk:
    shared[0].__init__()  # type: ignore[misc]
    return shared[0]


@pytest.fixture
def listener(shared: tuple[Desk, Listener]) -> Listener:
    return shared[1]


@pytest.fixture(scope="module")
def storescp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """DCMTK's own listener, told to write what it receives bit by bit."""
    folder = tmp_path_factory.mktemp("storescp")
    port = free_port()
    command = [require_peer("storescp"), "--bit-preserving", "+xa", "-od", str(folder), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert eventually(lambda: run("echoscu", "127.0.0.1", str(port)).returncode == 0)
        yield port, folder
        process.terminate()


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([require_peer(program), *arguments], capture_output=True, text=True, timeout=60)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


class TestStore:
    def test_echo(self, listener: Listener) -> None:
        assert run("echoscu", "127.0.0.1", str(listener.port)).returncode == 0

    @pytest.mark.parametrize(("name", "proposal"), PROPOSALS.items())
    def test_bytes_arrive_as_dcmtk_sends_them(
        self, listener: Listener, desk: Desk, storescp: tuple[int, Path], name: str, proposal: str
    ) -> None:
        """Oracle: the same storescu sends to DCMTK's bit-preserving storescp.

        Its dataset may differ from the file's: storescu leaves out trailing padding.
        """
        port, folder = storescp
        for target in (listener.port, port):
            sent = run("storescu", "-R", proposal, "127.0.0.1", str(target), str(DATA / name))
            assert sent.returncode == 0, sent.stderr
        (received,) = desk.received
        meta, _ = split(DATA / name)
        assert received.transfer_syntax == meta.transfer_syntax
        assert received.sop_instance == meta.sop_instance
        assert received.peer.calling_ae == "STORESCU"
        (written,) = folder.glob(f"*{meta.sop_instance}*")
        digest = hashlib.sha256(dataset_of(written)).hexdigest()
        written.unlink()
        assert hashlib.sha256(received.dataset).hexdigest() == digest

    @pytest.mark.parametrize("name", PROPOSALS)
    def test_bytes_arrive_as_they_stand_in_the_file(
        self, listener: Listener, desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Oracle: SHA-256 of what follows the header; pynetdicom streams the file undecoded."""
        from pynetdicom import AE, _config

        monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
        meta, _ = split(DATA / name)
        device = AE("DEVICE")
        device.add_requested_context(meta.sop_class, meta.transfer_syntax)
        association = device.associate("127.0.0.1", listener.port)
        assert association.send_c_store(DATA / name).Status == 0
        association.release()
        (received,) = desk.received
        assert hashlib.sha256(received.dataset).digest() == hashlib.sha256(dataset_of(DATA / name)).digest()

    def test_an_association_is_opened_and_ended_once(self) -> None:
        """Two objects of DCMTK, then none: what the next one needs is made after each, and let go of."""
        desk = Desk()
        listener = serve(desk)
        try:
            file = str(DATA / "CT_small.dcm")
            sent = run("storescu", "127.0.0.1", str(listener.port), file, file)
            assert sent.returncode == 0, sent.stderr
            assert eventually(lambda: desk.closed == 1)
            assert (len(desk.received), desk.prepared) == (2, 2)
            assert run("echoscu", "127.0.0.1", str(listener.port)).returncode == 0
            assert eventually(lambda: desk.closed == 2)
            assert desk.prepared == 2
        finally:
            listener.shutdown()

    @pytest.mark.parametrize("syntax", transfer_syntaxes())
    def test_bytes_arrive_in_every_transfer_syntax(
        self, listener: Listener, desk: Desk, syntax: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Oracle: pynetdicom streams the file's bytes undecoded, so they may be of any syntax."""
        from pynetdicom import AE, _config

        monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
        target = tmp_path / "object.dcm"
        target.write_bytes(file_of(build(), syntax))
        device = AE("DEVICE")
        device.add_requested_context(CT_CLASS, syntax)
        association = device.associate("127.0.0.1", listener.port, ae_title="HUB")
        assert association.is_established
        assert association.send_c_store(target).Status == 0
        association.release()
        assert [(one.transfer_syntax, one.dataset) for one in desk.received] == [(syntax, build())]

    def test_every_storage_class_is_accepted(self, listener: Listener) -> None:
        from pynetdicom import AE

        classes = sorted(storage_classes())
        accepted: list[str] = []
        for start in range(0, len(classes), 100):
            device = AE("DEVICE")
            for uid in classes[start : start + 100]:
                device.add_requested_context(uid)
            association = device.associate("127.0.0.1", listener.port)
            accepted += [str(context.abstract_syntax) for context in association.accepted_contexts]
            association.release()
        assert sorted(accepted) == classes
        assert "1.2.840.10008.5.1.4.1.1.9.1.1" in classes  # 12-lead ECG
        assert "1.2.840.10008.5.1.4.1.1.6" in classes  # retired ultrasound

    def test_the_senders_first_syntax_is_chosen(self, listener: Listener) -> None:
        from pynetdicom import AE

        device = AE("DEVICE")
        device.add_requested_context(
            CT_CLASS, ["1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
        )
        association = device.associate("127.0.0.1", listener.port)
        (context,) = association.accepted_contexts
        association.release()
        assert context.transfer_syntax == ["1.2.840.10008.1.2.4.70"]

    def test_many_devices_at_once(self, listener: Listener, desk: Desk) -> None:
        def push() -> None:
            run("storescu", "127.0.0.1", str(listener.port), "--repeat", "5", str(DATA / "MR_small.dcm"))

        threads = [threading.Thread(target=push) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(desk.received) == 30
        assert len({one.peer.association_id for one in desk.received}) == 6


class TestGate:
    def test_an_unknown_caller_is_rejected_as_the_standard_says(self, listener: Listener, desk: Desk) -> None:
        """Oracle: DCMTK prints the reason of PS3.8 Table 9-21."""
        desk.admission = lambda _peer: Refusal(Admission.UNKNOWN_CALLER, "unknown_device")
        asked = run("echoscu", "-aet", "STRANGER", "-aec", "HUB", "127.0.0.1", str(listener.port))
        assert asked.returncode != 0
        assert "Calling AE Title Not Recognized" in asked.stderr
        ((peer, reason, _),) = desk.refusals
        assert (peer.calling_ae, peer.called_ae, peer.address) == ("STRANGER", "HUB", "127.0.0.1")
        assert reason == "unknown_device"

    def test_a_gate_that_fails_lets_nobody_in(self, listener: Listener, desk: Desk) -> None:
        def broken(_peer: Peer) -> Admitted:
            raise RuntimeError

        desk.admission = broken
        assert "Rejected Transient" in run("echoscu", "127.0.0.1", str(listener.port)).stderr
        assert desk.reasons == ["gate_failed"]

    def test_one_too_many_waits_for_a_place(self, desk: Desk) -> None:
        """Oracle: DCMTK's echoscu succeeds as soon as the first association is released."""
        running = serve(desk, maximum_associations=1)
        first = device(running, CT_CLASS)
        with subprocess.Popen([require_peer("echoscu"), "127.0.0.1", str(running.port)]) as second:
            time.sleep(0.3)
            assert second.poll() is None
            first.release()
            assert second.wait(10) == 0
        assert desk.refusals == []
        running.shutdown()

    def test_who_waits_too_long_is_told_to_come_again(self, desk: Desk) -> None:
        running = serve(desk, maximum_associations=1, queue_seconds=0.2)
        first = device(running, CT_CLASS)
        assert "Local Limit Exceeded" in run("echoscu", "127.0.0.1", str(running.port)).stderr
        assert desk.reasons == ["too_many_associations"]
        first.release()
        running.shutdown()

    def test_strangers_may_not_use_services_for_the_registered(self, desk: Desk) -> None:
        private = Service("find", (STUDY_ROOT,), WIRE_SYNTAXES, lambda request: request.respond(0))
        doors = [ListenerSettings(host="127.0.0.1", port=0)]
        running = listen(doors, desk.admit, [private], desk.storage, desk.refused)
        for stranger in (True, False):
            desk.admission = lambda _peer, stranger=stranger: Admitted(stranger=stranger)  # type: ignore[misc]
            association = device(running, CT_CLASS, STUDY_ROOT)
            accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
            assert (STUDY_ROOT in accepted) is not stranger
            assert CT_CLASS in accepted
            association.release()
        running.shutdown()

    def test_an_endless_object_is_cut_off(
        self, listener: Listener, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pynetdicom import _config

        monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
        target = tmp_path / "large.dcm"
        target.write_bytes(file_of(build(t7FE00010=bytes(16 * 1024 * 1024))))
        association = device(listener, CT_CLASS)
        connection = association.dul.socket.socket
        association.send_c_store(target)
        assert eventually(lambda: not association.is_established)
        connection.close()  # pynetdicom's requestor forgets it when the peer hangs up
        assert desk.received == []
        assert desk.reasons == ["object_too_large"]
        assert run("echoscu", "127.0.0.1", str(listener.port)).returncode == 0


def device(listener: Listener, *classes: str) -> Any:
    """A pynetdicom device with an association that stands."""
    from pynetdicom import AE

    entity = AE("DEVICE")
    for uid in classes:
        entity.add_requested_context(uid, "1.2.840.10008.1.2.1")
    association = entity.associate("127.0.0.1", listener.port)
    assert association.is_established
    return association


def test_four_hundred_devices_at_once(desk: Desk) -> None:
    """Each is held open until all stand; the last ones wait for places of the first."""
    running = serve(desk, maximum_associations=300)
    target = Target("127.0.0.1", running.port, "HUB", "MANY")
    answered: list[int] = []

    def call() -> None:
        association = connect(target, [(CT_CLASS, [IMPLICIT_LITTLE])])
        context = association.context_for(CT_CLASS)
        assert context is not None
        answered.append(
            association.store(context, sop_class=CT_CLASS, sop_instance="1.2.3", pieces=[build(), b""])
        )
        time.sleep(0.5)
        association.release()

    threads = [threading.Thread(target=call) for _ in range(400)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answered == [0] * 400
    assert desk.refusals == []
    running.shutdown()


def test_two_listeners_share_a_port(desk: Desk) -> None:
    """As several processes do; the kernel spreads connections, so both get some of sixty."""
    other = Desk()
    first = serve(desk, shared_port=True)
    second = serve(other, shared_port=True, port=first.port)
    for _ in range(60):
        assert echo(Target("127.0.0.1", first.port, "HUB", "MANY")) == 0
    desk.admission = other.admission = lambda _peer: Refusal(Admission.UNKNOWN_CALLER, "counted")
    for _ in range(60):
        with pytest.raises(PeerRefused):
            echo(Target("127.0.0.1", first.port, "HUB", "MANY"))
    assert len(desk.refusals) + len(other.refusals) == 60
    assert desk.refusals
    assert other.refusals
    first.shutdown()
    second.shutdown()


def test_shutdown_lets_an_object_arrive(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = threading.Event()
    finish = Incoming.finish

    def slow(incoming: Incoming) -> int:
        entered.set()
        time.sleep(0.5)
        return finish(incoming)

    monkeypatch.setattr(Incoming, "finish", slow)
    running = serve(desk)
    storescu = require_peer("storescu")
    with subprocess.Popen([storescu, "127.0.0.1", str(running.port), str(DATA / "MR_small.dcm")]) as sender:
        assert entered.wait(10)
        running.shutdown()
        assert sender.wait(10) == 0
    assert len(desk.received) == 1
