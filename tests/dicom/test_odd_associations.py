"""Devices as the field has them, byte by byte over a raw socket, and what the IT page says of each.

The cases are those of the requirements, section 4.4; bytes are made from PS3.8 section 9.3
by hand here, so that no library's own idea of an AE title stands between.
"""

import contextlib
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from hub.catalogue.models import Instance, Quarantined
from hub.context import Context
from hub.dicom.listening import start_listening
from hub.dicom.wire.server import Listener
from hub.sites import service as sites
from hub.sites.models import AssociationRefusal
from tests.dicom.samples import CT_CLASS, EXPLICIT, build
from tests.dicom.test_listener import eventually
from tests.fixtures.world import SETUP, World

VERIFICATION = "1.2.840.10008.1.1"
ACCEPTED, REJECTED, ABORTED = 2, 3, 7
BLANK, NULS = b" " * 16, b"US1" + b"\0" * 13
CHINESE = "彩超室".encode("gb18030").ljust(16)


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def request(
    calling: bytes = b"CT1".ljust(16),
    called: bytes = b"HUB".ljust(16),
    *,
    abstract: str = VERIFICATION,
    application: bytes = b"1.2.840.10008.3.1.1.1",
    version: int = 1,
) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 Table 9-11)."""
    context = item(0x20, b"\1\0\0\0" + item(0x30, abstract.encode()) + item(0x40, EXPLICIT.encode()))
    user = item(0x50, item(0x51, struct.pack(">I", 16384)))
    body = struct.pack(">HH", version, 0) + called + calling + bytes(32) + item(0x10, application)
    body += context + user
    return struct.pack(">BxI", 1, len(body)) + body


def c_store(dataset: bytes, sop: str = "1.2.3.4") -> bytes:
    """A C-STORE-RQ in one P-DATA-TF (PS3.7 section 9.3.1.1)."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHI", 0, number, len(value)) + value

    command = b"".join(
        (
            element(0x0002, CT_CLASS.encode()),
            element(0x0100, b"\1\0"),
            element(0x0110, b"\7\0"),
            element(0x0700, b"\0\0"),
            element(0x0800, b"\0\0"),
            element(0x1000, sop.encode()),
        )
    )
    command = element(0x0000, struct.pack("<I", len(command))) + command
    parts = (
        struct.pack(">IBB", len(command) + 2, 1, 3) + command,
        struct.pack(">IBB", len(dataset) + 2, 1, 2),
    )
    body = parts[0] + parts[1] + dataset
    return struct.pack(">BxI", 4, len(body)) + body


class Wire:
    """A socket to the hub."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)

    def ask(self, *units: bytes) -> bytes:
        """Send, and return what comes back up to the end of one unit; empty when the hub hangs up."""
        try:
            for unit in units:
                self.socket.sendall(unit)
            head = self.read(6)
            return head + self.read(struct.unpack(">I", head[2:])[0]) if len(head) == 6 else b""
        except ConnectionError:
            return b""

    def read(self, wanted: int) -> bytes:
        got = b""
        while len(got) < wanted and (piece := self.socket.recv(wanted - len(got))):
            got += piece
        return got

    def close(self) -> None:
        self.socket.close()


class Ward:
    """A hub with one door, and its IT page."""

    def __init__(self, world: World, **settings: object) -> None:
        self.world = world
        base = world.context
        changed = base.settings.model_copy(update={"dicom_bind": "127.0.0.1:0", **settings})
        self.context = Context(changed, base.db, base.store, base.clock)
        self.listener: Listener = start_listening(self.context, [])

    def device(self, ae: str = "CT1", **fields: object) -> str:
        with self.context.db.transaction() as session:
            site = sites.require_site(session, "DP")
            return sites.add_device(session, site, ae, now=self.world.clock(), actor=SETUP, **fields).id  # type: ignore[arg-type]

    def change(self, device_id: str, **fields: object) -> None:
        with self.context.db.transaction() as session:
            device = session.get(sites.Device, device_id)
            assert device is not None
            for name, value in fields.items():
                setattr(device, name, value)

    def ask(self, *units: bytes) -> bytes:
        with closing(Wire(self.listener.port)) as wire:
            return wire.ask(*units)

    def send(self, calling: bytes) -> int | None:
        """Associate, store one object, and return its status."""
        with closing(Wire(self.listener.port)) as wire:
            answer = wire.ask(request(calling, abstract=CT_CLASS))
            if answer[:1] != bytes([ACCEPTED]):
                return None
            stored = wire.ask(c_store(build()))
            found = re.search(rb"\0\0\0\x09\x02\0\0\0(..)", stored, re.DOTALL)
            assert found is not None
            return int.from_bytes(found[1], "little")

    def rows(self) -> list[AssociationRefusal]:
        with self.context.db.reading() as session:
            return list(session.scalars(select(AssociationRefusal)))

    def refused_for(self, reason: str) -> AssociationRefusal:
        """Wait for the one row that tells of a refusal, and see it on the IT page."""
        assert eventually(lambda: len(self.rows()) > 0)
        (row,) = self.rows()
        assert (row.reason, row.address) == (reason, "127.0.0.1")
        page = self.world.client("admin1").get("/desk?show=refused")
        assert page.status_code == 200
        assert "127.0.0.1" in page.text
        assert f"refused.{reason}" not in page.text  # a text for people, not its key
        return row


@pytest.fixture
def ward(sqlite_world: World) -> Iterator[Ward]:
    running = Ward(sqlite_world)
    yield running
    running.listener.shutdown()


class TestTitles:
    @pytest.mark.parametrize("calling", [BLANK, NULS, CHINESE, b"us1".ljust(16), b"\xff" * 16])
    def test_any_title_from_a_registered_address(self, ward: Ward, calling: bytes) -> None:
        """pynetdicom aborts the blank, NUL-padded and Chinese ones before any handler."""
        device = ward.device("US1", address="127.0.0.1")
        assert ward.send(calling) == 0
        with ward.context.db.reading() as session:
            (instance,) = session.scalars(select(Instance)).all()
        assert instance.device_id == device
        assert ward.rows() == []

    @pytest.mark.parametrize("calling", [NULS, b"us1".ljust(16), b"US1 \0".ljust(16)])
    def test_padding_and_case_do_not_hide_a_device_without_address(self, ward: Ward, calling: bytes) -> None:
        ward.device("US1")
        assert ward.send(calling) == 0
        with ward.context.db.reading() as session:
            assert len(session.scalars(select(Instance)).all()) == 1

    @pytest.mark.parametrize("calling", [BLANK, CHINESE])
    def test_from_an_unknown_address_they_wait_at_the_desk(self, ward: Ward, calling: bytes) -> None:
        ward.device("US1", address="10.1.2.3")
        assert ward.send(calling) == 0
        with ward.context.db.reading() as session:
            (item,) = session.scalars(select(Quarantined)).all()
        assert item.reason == "unknown_device"
        assert item.calling_ae == calling.decode("gb18030").strip()

    @pytest.mark.parametrize("calling", [BLANK, NULS, CHINESE])
    def test_or_are_rejected_and_listed(self, sqlite_world: World, calling: bytes) -> None:
        ward = Ward(sqlite_world, unknown_devices="reject")
        answer = ward.ask(request(calling))
        assert (answer[0], answer[7:10]) == (REJECTED, b"\1\1\3")  # permanent, user, calling not recognised
        row = ward.refused_for("unknown_device")
        assert row.calling_ae == calling.decode("gb18030").strip("\0 ")
        ward.listener.shutdown()


class TestCalledTitle:
    @pytest.mark.parametrize("called", [b"OLDPACS".ljust(16), BLANK, CHINESE])
    def test_a_wrong_one_is_common_and_accepted(self, ward: Ward, called: bytes) -> None:
        ward.device("CT1")
        answer = ward.ask(request(called=called))
        assert answer[0] == ACCEPTED
        assert answer[10:26] == called  # echoed byte for byte (PS3.8 Table 9-17)

    def test_unless_the_device_is_registered_as_strict(self, ward: Ward) -> None:
        ward.change(ward.device("CT1"), strict_called=True)
        assert ward.ask(request())[0] == ACCEPTED
        answer = ward.ask(request(called=b"OLDPACS".ljust(16)))
        assert (answer[0], answer[7:10]) == (REJECTED, b"\1\1\7")  # called AE title not recognised
        assert ward.refused_for("wrong_called").called_ae == "OLDPACS"


class TestNotDicom:
    @pytest.mark.parametrize(
        ("sent", "detail"),
        [
            (b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n", "HTTP"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
            (b"\0" * 64, "no DICOM"),
        ],
    )
    def test_other_protocols(self, ward: Ward, sent: bytes, detail: str) -> None:
        ward.ask(sent)
        assert detail in ward.refused_for("not_dicom").detail

    @pytest.mark.parametrize(
        "sent",
        [
            request()[:6] + b"\0" * (len(request()) - 6),  # lengths right, content nothing
            struct.pack(">BxI", 1, 8) + bytes(8),  # too short
            struct.pack(">BxI", 1, 0xFFFFFFFF),  # 4 GB announced
            struct.pack(">BxI", 4, 12) + bytes(12),  # data before any association
            request(application=b"1.2.3"),
            request()[:80] + b"\x10\x00\xff\xff" + request()[84:],  # an item longer than its surroundings
        ],
    )
    def test_requests_that_make_no_sense(self, ward: Ward, sent: bytes) -> None:
        ward.device("CT1")
        answer = ward.ask(sent)
        assert answer[:1] in (b"", bytes([REJECTED]), bytes([ABORTED]))
        ward.refused_for("unreadable_request")
        assert ward.ask(request())[0] == ACCEPTED  # the next one is served as ever

    def test_a_service_that_is_not_offered(self, ward: Ward) -> None:
        ward.device("CT1")
        answer = ward.ask(request(abstract="1.2.840.10008.5.1.1.9"))  # basic greyscale print
        assert answer[0] == ACCEPTED
        assert b"\x21\x00\x00\x19\x01\x00\x03" in answer or b"\x01\x00\x03\x00" in answer
        assert "1.2.840.10008.5.1.1.9" in ward.refused_for("no_common_service").detail

    def test_silence_is_ended(self, sqlite_world: World) -> None:
        ward = Ward(sqlite_world, dicom_idle_seconds=0.3)
        ward.device("CT1")
        with closing(Wire(ward.listener.port)) as wire:
            assert wire.ask(request(abstract=CT_CLASS))[0] == ACCEPTED
            began = time.monotonic()
            assert wire.ask(c_store(build())[:200])[:1] == bytes([ABORTED])
            assert time.monotonic() - began < 8
        ward.refused_for("timed_out")
        ward.listener.shutdown()

    def test_the_same_refusal_again_is_counted(self, ward: Ward) -> None:
        for _ in range(3):
            ward.ask(b"GET / HTTP/1.1\r\n\r\n")
        assert eventually(lambda: [row.count for row in ward.rows()] == [3])


class TestBrokenMessages:
    @pytest.mark.parametrize(
        ("unit", "reason"),
        [
            (
                struct.pack(">BxI", 4, 6) + struct.pack(">IBB", 2, 9, 3),
                "protocol_error",
            ),  # context never agreed
            (struct.pack(">BxI", 4, 6) + struct.pack(">IBB", 99, 1, 3), "protocol_error"),
            (struct.pack(">BxI", 4, 14) + struct.pack(">IBB", 10, 1, 3) + b"\1" * 8, "protocol_error"),
            (request(), "protocol_error"),  # a second request
            (struct.pack(">BxI", 4, 1 << 30), "object_too_large"),
            (b"\x55" * 6, "protocol_error"),
        ],
    )
    def test_on_an_association_that_stands(self, ward: Ward, unit: bytes, reason: str) -> None:
        ward.device("CT1")
        with closing(Wire(ward.listener.port)) as wire:
            assert wire.ask(request(abstract=CT_CLASS))[0] == ACCEPTED
            assert wire.ask(unit)[:1] in (b"", bytes([ABORTED]))
        ward.refused_for(reason)

    def test_a_line_that_is_cut_within_an_object(self, ward: Ward) -> None:
        ward.device("CT1")
        with closing(Wire(ward.listener.port)) as wire:
            assert wire.ask(request(abstract=CT_CLASS))[0] == ACCEPTED
            wire.socket.sendall(c_store(build())[:200])
        ward.refused_for("aborted_by_peer")
        with ward.context.db.reading() as session:
            assert session.scalars(select(Instance)).all() == []
        assert list(ward.context.store.list()) == []


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Self-signed certificates of a hub, of a device, and of a stranger."""
    import subprocess

    folder = tmp_path_factory.mktemp("tls")
    for name in ("hub", "device", "stranger"):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")),
            ],
            check=True,
            capture_output=True,
        )
    return folder


class TestTls:
    @pytest.fixture
    def secure(self, sqlite_world: World, certificates: Path) -> Iterator[Ward]:
        ward = Ward(
            sqlite_world,
            dicom_tls_bind="127.0.0.1:0",
            dicom_tls_certificate=str(certificates / "hub.pem"),
            dicom_tls_key=str(certificates / "hub.key"),
            dicom_tls_ca=str(certificates / "device.pem"),
        )
        yield ward
        ward.listener.shutdown()

    def wrap(self, ward: Ward, folder: Path, name: str | None, **options: object) -> ssl.SSLSocket:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.load_verify_locations(folder / "hub.pem")
        for option, value in options.items():
            setattr(client, option, value)
        if name is not None:
            client.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        return client.wrap_socket(socket.create_connection(("127.0.0.1", ward.listener.ports[1]), timeout=10))

    def fingerprint(self, folder: Path, name: str) -> str:
        import hashlib

        return hashlib.sha256(ssl.PEM_cert_to_DER_cert((folder / f"{name}.pem").read_text())).hexdigest()

    def test_a_certificate_names_the_device_whatever_its_title(
        self, secure: Ward, certificates: Path
    ) -> None:
        secure.change(secure.device("CT1"), certificate_sha256=self.fingerprint(certificates, "device"))
        with closing(Wire.__new__(Wire)) as wire:
            wire.socket = self.wrap(secure, certificates, "device")
            assert wire.ask(request(BLANK, abstract=CT_CLASS))[0] == ACCEPTED
            assert b"\0\0\0\x09\x02\0\0\0\0\0" in wire.ask(c_store(build()))
        with secure.context.db.reading() as session:
            assert len(session.scalars(select(Instance)).all()) == 1
        # the plain port stays open beside it, but not for that device's title
        answer = secure.ask(request())
        assert (answer[0], answer[7:10]) == (REJECTED, b"\1\1\3")
        secure.refused_for("certificate_missing")

    def test_a_certificate_nobody_believes_ends_the_handshake(self, secure: Ward, certificates: Path) -> None:
        def speak() -> bytes:
            """TLS 1.3 tells the client on its first read."""
            with closing(self.wrap(secure, certificates, "stranger")) as wrapped:
                wrapped.sendall(request())
                return wrapped.recv(1)

        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert speak() == b""
        secure.refused_for("tls_failed")

    def test_old_tls_is_refused(self, secure: Ward, certificates: Path) -> None:
        old = {"minimum_version": ssl.TLSVersion.TLSv1, "maximum_version": ssl.TLSVersion.TLSv1_1}
        with pytest.warns(DeprecationWarning, match="TLSv1"), pytest.raises((ssl.SSLError, ConnectionError)):
            self.wrap(secure, certificates, None, **old)
        secure.refused_for("tls_failed")

    def test_plain_dicom_on_the_tls_port(self, secure: Ward) -> None:
        with closing(Wire(secure.listener.ports[1])) as wire:
            wire.ask(request())
        secure.refused_for("tls_failed")
