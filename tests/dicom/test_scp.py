"""The listener against DCMTK and pynetdicom as devices."""

import hashlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hub.dicom.contexts import storage_classes, transfer_syntaxes
from hub.dicom.part10 import split
from hub.dicom.scp import Admission, Caller, Listener, ListenerSettings, Received, serve
from hub.errors import Conflict, Rejected, StoreUnavailable
from tests.dicom.samples import CT_CLASS, DATA, build, dataset_of, file_of
from tests.fixtures.peers import require_peer

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


class Desk:
    """A sink and a gate that remember what came to them."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.refusals: list[tuple[Caller, str]] = []
        self.fault: Exception | None = None
        self.admission: Callable[[Caller], Admission] = lambda _caller: Admission.ADMITTED

    def admit(self, caller: Caller) -> Admission:
        return self.admission(caller)

    def sink(self, received: Received) -> None:
        if self.fault is not None:
            raise self.fault
        self.received.append(received)

    def refused(self, caller: Caller, reason: str) -> None:
        self.refusals.append((caller, reason))


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Desk, Listener]]:
    desk = Desk()
    settings = ListenerSettings(host="127.0.0.1", port=0, maximum_object_bytes=4 * 1024 * 1024)
    running = serve(settings, desk.admit, desk.sink, desk.refused)
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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
        assert received.calling_ae == "STORESCU"
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
        assert len({one.association_id for one in desk.received}) == 6


class TestAnswers:
    @pytest.mark.parametrize(
        ("fault", "status"),
        [
            (StoreUnavailable(), "a700"),
            (Rejected(), "a900"),
            (Conflict(), "0110"),
            (OSError(28, "No space left on device"), "a700"),
            (MemoryError(), "a700"),
            (RuntimeError("anything else"), "c211"),
        ],
    )
    def test_a_fault_of_the_sink_is_never_success(
        self, listener: Listener, desk: Desk, fault: Exception, status: str
    ) -> None:
        """Oracle: the status that DCMTK's storescu prints."""
        desk.fault = fault
        sent = run("storescu", "-d", "127.0.0.1", str(listener.port), str(DATA / "MR_small.dcm"))
        assert f"0x{status}" in sent.stderr
        assert "0x0000: Success" not in sent.stderr

    def test_logs_hold_no_patient_data(
        self, listener: Listener, desk: Desk, capsys: pytest.CaptureFixture[str]
    ) -> None:
        desk.fault = ValueError("ZZSECRET^NAME")
        run("storescu", "127.0.0.1", str(listener.port), str(DATA / "MR_small.dcm"))
        logged = "".join(capsys.readouterr())
        assert "ZZSECRET" not in logged
        assert "dicom_store_failed" in logged


class TestGate:
    def test_an_unknown_caller_is_rejected_as_the_standard_says(self, listener: Listener, desk: Desk) -> None:
        """Oracle: DCMTK prints the reason of PS3.8 Table 9-21."""
        desk.admission = lambda _caller: Admission.UNKNOWN_CALLER
        asked = run("echoscu", "-aet", "STRANGER", "-aec", "HUB", "127.0.0.1", str(listener.port))
        assert asked.returncode != 0
        assert "Calling AE Title Not Recognized" in asked.stderr
        ((caller, reason),) = desk.refusals
        assert (caller.calling_ae, caller.called_ae, caller.address) == ("STRANGER", "HUB", "127.0.0.1")
        assert reason == "unknown_caller"

    def test_a_gate_that_fails_lets_nobody_in(self, listener: Listener, desk: Desk) -> None:
        def broken(_caller: Caller) -> Admission:
            raise RuntimeError

        desk.admission = broken
        assert "Rejected Transient" in run("echoscu", "127.0.0.1", str(listener.port)).stderr
        assert desk.refusals[0][1] == "busy"

    def test_too_many_associations(self, desk: Desk) -> None:
        from pynetdicom import AE

        settings = ListenerSettings(host="127.0.0.1", port=0, maximum_associations=1)
        running = serve(settings, lambda _caller: Admission.ADMITTED, desk.sink, desk.refused)
        device = AE("FIRST")
        device.add_requested_context(CT_CLASS)
        first = device.associate("127.0.0.1", running.port)
        assert "Local Limit Exceeded" in run("echoscu", "127.0.0.1", str(running.port)).stderr
        assert eventually(lambda: [reason for _, reason in desk.refusals] == ["too_many_associations"])
        first.release()
        running.shutdown()

    def test_an_endless_object_is_cut_off(
        self, listener: Listener, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pynetdicom import AE, _config

        monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
        target = tmp_path / "large.dcm"
        target.write_bytes(file_of(build(t7FE00010=bytes(16 * 1024 * 1024))))
        device = AE("DEVICE")
        device.add_requested_context(CT_CLASS, "1.2.840.10008.1.2.1")
        association = device.associate("127.0.0.1", listener.port)
        connection = association.dul.socket.socket
        association.send_c_store(target)
        assert eventually(lambda: not association.is_established)
        connection.close()  # pynetdicom's requestor forgets it when the peer hangs up
        assert desk.received == []
        assert run("echoscu", "127.0.0.1", str(listener.port)).returncode == 0


def test_shutdown_lets_an_object_arrive(desk: Desk) -> None:
    entered = threading.Event()

    def slow(received: Received) -> None:
        entered.set()
        time.sleep(0.5)
        desk.sink(received)

    running = serve(
        ListenerSettings(host="127.0.0.1", port=0), lambda _c: Admission.ADMITTED, slow, desk.refused
    )
    storescu = require_peer("storescu")
    with subprocess.Popen([storescu, "127.0.0.1", str(running.port), str(DATA / "MR_small.dcm")]) as device:
        assert entered.wait(10)
        running.shutdown()
        assert device.wait(10) == 0
    assert len(desk.received) == 1
