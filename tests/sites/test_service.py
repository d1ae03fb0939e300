"""Which registered device is calling: by address first, by title next, never by guessing."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.audit.tags import Tag
from hub.errors import HubError
from hub.sites import service
from hub.sites.repository import SiteRepository
from hub.sites.rules import (
    AddressInvalid,
    AeTitleInvalid,
    CertificateUnreadable,
    CharsetUnknown,
    PortInvalid,
    QueryScopeInvalid,
    fingerprint,
)
from hub.sites.service import DeviceKnown, DeviceUnknown
from tests.fixtures.world import SETUP, World


def register(world: World, site: str, ae_title: str, address: str | None = None, **rules: Any) -> str:
    with world.context.db.transaction() as session:
        row = SiteRepository(session).site(world.site_ids[site])
        assert row is not None
        return service.add_device(
            session, row, ae_title, address=address, now=world.clock(), actor=SETUP, **rules
        ).id


def recognise(
    world: World, ae_title: str, address: str, certificate: str = ""
) -> DeviceKnown | DeviceUnknown:
    with world.context.db.reading() as session:
        return service.recognise(session, ae_title, address, certificate)


def known(world: World, ae_title: str, address: str, certificate: str = "") -> str:
    found = recognise(world, ae_title, address, certificate)
    assert isinstance(found, DeviceKnown), found
    return found.id


def reason(world: World, ae_title: str, address: str, certificate: str = "") -> str:
    found = recognise(world, ae_title, address, certificate)
    assert isinstance(found, DeviceUnknown), found
    return found.reason


def audited(world: World, tag: Tag) -> list[dict[str, Any]]:
    with world.context.db.reading() as session:
        rows = session.scalars(select(AuditEvent).where(AuditEvent.tag == tag).order_by(AuditEvent.id))
        return [row.facts for row in rows]


class TestRecognise:
    def test_by_address_whatever_the_title(self, world: World) -> None:
        device = register(world, "DP", "DR1", "10.0.0.1")
        found = recognise(world, "RENAMED", "10.0.0.1")
        assert isinstance(found, DeviceKnown)
        assert found.id == device

    def test_the_title_decides_between_two_behind_one_address(self, world: World) -> None:
        register(world, "DP", "DR1", "10.0.0.1")
        second = register(world, "LP", "US1", "10.0.0.1")
        found = recognise(world, "US1", "10.0.0.1")
        assert isinstance(found, DeviceKnown)
        assert (found.id, found.site_code) == (second, "LP")
        assert recognise(world, "XX", "10.0.0.1") == DeviceUnknown("ambiguous_device")

    def test_by_title_when_registered_without_address(self, world: World) -> None:
        device = register(world, "DP", "DR1")
        found = recognise(world, " DR1 ", "192.168.7.7")
        assert isinstance(found, DeviceKnown)
        assert found.id == device

    def test_one_title_at_two_sites_is_not_guessed(self, world: World) -> None:
        register(world, "DP", "US1")
        other = SiteRepository
        with world.context.db.transaction() as session:
            row = other(session).site(world.site_ids["LP"])
            assert row is not None
            with pytest.raises(service.DeviceTaken):
                service.add_device(session, row, "US1", now=world.clock(), actor=SETUP)

    @pytest.mark.parametrize(
        ("ae_title", "address", "reason"),
        [("NOBODY", "10.9.9.9", "unknown_device"), ("DR1", "10.9.9.9", "wrong_address")],
    )
    def test_strangers_are_named(self, world: World, ae_title: str, address: str, reason: str) -> None:
        register(world, "DP", "DR1", "10.0.0.1")
        assert recognise(world, ae_title, address) == DeviceUnknown(reason)

    @pytest.mark.parametrize(
        "sent", ["DR1", "dr1", "  DR1", "DR1\0\0\0", "\0DR1", "DR1\0RUBBISH", "Dr1 \0 "], ids=repr
    )
    def test_padding_and_case_of_a_title_do_not_matter(self, sqlite_world: World, sent: str) -> None:
        device = register(sqlite_world, "DP", "DR1")
        assert known(sqlite_world, sent, "192.168.7.7") == device

    def test_case_decides_where_two_titles_differ_by_it(self, sqlite_world: World) -> None:
        upper, lower = register(sqlite_world, "DP", "US1"), register(sqlite_world, "LP", "us1")
        assert known(sqlite_world, "US1", "10.0.0.9") == upper
        assert known(sqlite_world, "us1", "10.0.0.9") == lower
        assert reason(sqlite_world, "Us1", "10.0.0.9") == "wrong_address"

    @pytest.mark.parametrize(
        "sent", ["", "   ", "\0\0", "超声一", "\xb3\xac\xc9\xf9", "\ufffd\ufffd"], ids=repr
    )
    def test_a_title_that_says_nothing_is_known_by_address_only(self, sqlite_world: World, sent: str) -> None:
        device = register(sqlite_world, "DP", "US1", "10.0.0.1")
        register(sqlite_world, "LP", "US2")
        assert known(sqlite_world, sent, "10.0.0.1") == device
        assert reason(sqlite_world, sent, "10.0.0.2") == "unknown_device"

    def test_an_ipv4_device_on_a_dual_stack_socket(self, sqlite_world: World) -> None:
        device = register(sqlite_world, "DP", "US1", "10.0.0.1")
        assert known(sqlite_world, "X", "::ffff:10.0.0.1") == device

    def test_everything_registered_is_handed_on(self, sqlite_world: World) -> None:
        device = register(
            sqlite_world, "DP", "CT1", "10.0.0.1", port=4006, tls=True, strict_called=True, query_scope="all",
            charset="GBK",
        )  # fmt: skip
        assert recognise(sqlite_world, "CT1", "10.0.0.1") == DeviceKnown(
            device, sqlite_world.site_ids["DP"], "DP", "GBK", "CT1", "10.0.0.1", 4006, True, True, "all"
        )


class TestSharedAddress:
    """Several devices behind one address of a township's router."""

    def test_of_one_site_a_blank_title_is_that_site_with_what_all_may_do(self, world: World) -> None:
        first = register(world, "DP", "DR1", "10.0.0.1", charset="GBK", query_scope="all", port=104)
        register(world, "DP", "US1", "10.0.0.1", charset="GBK", query_scope="none", strict_called=True)
        found = recognise(world, "", "10.0.0.1")
        assert isinstance(found, DeviceKnown)
        assert (found.id, found.site_code, found.charset) == (first, "DP", "GBK")
        assert (found.query_scope, found.strict_called, found.port, found.ae_title) == (
            "none",
            True,
            None,
            "",
        )

    def test_charsets_that_differ_are_not_guessed(self, sqlite_world: World) -> None:
        register(sqlite_world, "DP", "DR1", "10.0.0.1", charset="GBK")
        register(sqlite_world, "DP", "US1", "10.0.0.1")
        found = recognise(sqlite_world, "RENAMED", "10.0.0.1")
        assert isinstance(found, DeviceKnown)
        assert found.charset is None

    def test_of_two_sites_a_blank_title_is_nobody(self, sqlite_world: World) -> None:
        register(sqlite_world, "DP", "DR1", "10.0.0.1")
        register(sqlite_world, "LP", "US1", "10.0.0.1")
        assert reason(sqlite_world, "", "10.0.0.1") == "ambiguous_device"

    def test_a_blocked_device_does_not_hide_behind_its_neighbours(self, sqlite_world: World) -> None:
        device = register(sqlite_world, "DP", "DR1", "10.0.0.1")
        register(sqlite_world, "DP", "US1", "10.0.0.1")
        with sqlite_world.context.db.transaction() as session:
            service.set_device_active(session, device, active=False, actor=SETUP)
        assert reason(sqlite_world, "DR1", "10.0.0.1") == "blocked_device"
        assert reason(sqlite_world, "", "10.0.0.1") == "blocked_device"
        assert isinstance(recognise(sqlite_world, "US1", "10.0.0.1"), DeviceKnown)


PRINT, OTHER_PRINT = "ab" * 32, "cd" * 32
BEGIN = "-----BEGIN CERTIFICATE-----"


class TestCertificates:
    def test_the_certificate_comes_before_address_and_title(self, world: World) -> None:
        register(world, "LP", "DR1", "10.0.0.1")
        pinned = register(world, "DP", "DR1", certificate=PRINT)
        assert known(world, "DR1", "10.0.0.1", PRINT) == pinned
        assert known(world, "", "172.16.0.9", PRINT.upper()) == pinned

    @pytest.mark.parametrize("address", [None, "10.0.0.1"])
    def test_a_pinned_device_must_show_it(self, sqlite_world: World, address: str | None) -> None:
        register(sqlite_world, "DP", "DR1", address, certificate=PRINT)
        assert reason(sqlite_world, "DR1", "10.0.0.1") == "certificate_missing"
        assert reason(sqlite_world, "DR1", "10.0.0.1", OTHER_PRINT) == "certificate_unknown"

    def test_a_neighbour_without_certificate_is_no_way_round(self, sqlite_world: World) -> None:
        register(sqlite_world, "DP", "DR1", "10.0.0.1", certificate=PRINT)
        plain = register(sqlite_world, "DP", "US1", "10.0.0.1")
        assert reason(sqlite_world, "DR1", "10.0.0.1") == "certificate_missing"
        assert known(sqlite_world, "US1", "10.0.0.1") == plain

    def test_a_gateway_with_one_certificate_for_several_devices(self, sqlite_world: World) -> None:
        register(sqlite_world, "DP", "DR1", certificate=PRINT)
        second = register(sqlite_world, "DP", "US1", certificate=PRINT)
        assert known(sqlite_world, "US1", "10.3.3.3", PRINT) == second

    def test_a_certificate_belongs_to_one_site(self, sqlite_world: World) -> None:
        register(sqlite_world, "DP", "DR1", certificate=PRINT)
        with pytest.raises(service.CertificateTaken):
            register(sqlite_world, "LP", "DR2", certificate=PRINT)

    def test_fingerprint_against_openssl(self, tmp_path: Path) -> None:
        """Oracle: what ``openssl x509 -fingerprint -sha256`` prints."""
        pem, der = tmp_path / "c.pem", tmp_path / "c.der"
        make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=DR1 -days 9"
        subprocess.run([*make.split(), "-keyout", "/dev/null", "-out", pem], check=True, capture_output=True)
        subprocess.run(["openssl", "x509", "-in", pem, "-outform", "DER", "-out", der], check=True)
        told = subprocess.run(
            ["openssl", "x509", "-in", pem, "-noout", "-fingerprint", "-sha256"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        digits = told.partition("=")[2].replace(":", "").lower()
        assert fingerprint(pem.read_text()) == digits
        assert fingerprint("some text before\n" + pem.read_text()) == digits
        assert fingerprint(der.read_bytes()) == digits
        assert fingerprint(told) == digits == hashlib.sha256(der.read_bytes()).hexdigest()

    @pytest.mark.parametrize(
        "text", ["nonsense", "ab:cd", BEGIN, f"{BEGIN}\nAAAA\n{BEGIN.replace('BEGIN', 'END')}"]
    )
    def test_what_is_no_certificate(self, text: str) -> None:
        with pytest.raises(CertificateUnreadable):
            fingerprint(text)


class TestChangeDevice:
    def change(self, world: World, device: str, **rules: Any) -> None:
        with world.context.db.transaction() as session:
            service.change_device(session, device, actor=SETUP, **rules)

    def test_a_new_address_after_the_vendors_visit(self, world: World) -> None:
        device = register(world, "DP", "DR1", "10.0.0.1", label="DR")
        assert reason(world, "DR1", "10.0.0.2") == "wrong_address"
        self.change(world, device, address="10.0.0.2", ae_title="DR_NEW")
        assert known(world, "DR_NEW", "10.0.0.2") == device
        assert reason(world, "X", "10.0.0.1") == "unknown_device"
        assert audited(world, Tag.DEVICE_CHANGE) == [
            {
                "address_before": "10.0.0.1",
                "address_after": "10.0.0.2",
                "ae_title_before": "DR1",
                "ae_title_after": "DR_NEW",
            }
        ]

    def test_what_stays_the_same_leaves_no_trace(self, sqlite_world: World) -> None:
        device = register(sqlite_world, "DP", "DR1", "10.0.0.1")
        self.change(sqlite_world, device, address=" 10.0.0.1 ", label="")
        assert audited(sqlite_world, Tag.DEVICE_CHANGE) == []

    def test_a_refused_change_changes_nothing(self, sqlite_world: World) -> None:
        register(sqlite_world, "DP", "DR1", "10.0.0.1")
        device = register(sqlite_world, "DP", "DR2", "10.0.0.1")
        with pytest.raises(service.DeviceTaken):
            self.change(sqlite_world, device, ae_title="DR1", label="new")
        found = recognise(sqlite_world, "DR2", "10.0.0.1")
        assert isinstance(found, DeviceKnown)
        assert found.id == device

    @pytest.mark.parametrize(
        ("rules", "error"),
        [
            ({"address": "300.1.1.1"}, AddressInvalid),
            ({"port": 70000}, PortInvalid),
            ({"port": -1}, PortInvalid),
            ({"certificate": "zz"}, CertificateUnreadable),
            ({"charset": "KLINGON"}, CharsetUnknown),
            ({"query_scope": "some"}, QueryScopeInvalid),
            ({"ae_title": ""}, AeTitleInvalid),
            ({"ae_title": "A\\B"}, AeTitleInvalid),
        ],
    )
    def test_what_cannot_be(self, sqlite_world: World, rules: dict[str, Any], error: type[HubError]) -> None:
        device = register(sqlite_world, "DP", "DR1", "10.0.0.1")
        with pytest.raises(error):
            self.change(sqlite_world, device, **rules)
        assert audited(sqlite_world, Tag.DEVICE_CHANGE) == []


class TestRefusals:
    def note(self, world: World, address: str = "10.6.6.6", reason: str = "unknown_device") -> None:
        with world.context.db.transaction() as session:
            service.record_refusal(
                session, calling_ae="EVIL", called_ae="HUB", address=address, reason=reason,
                now=world.clock(), detail="seen",
            )  # fmt: skip

    def test_the_same_within_a_minute_is_counted(self, world: World) -> None:
        for _ in range(3):
            self.note(world)
            world.clock.advance(seconds=30)
        self.note(world, address="10.6.6.7")
        world.clock.advance(seconds=61)
        self.note(world)
        with world.context.db.reading() as session:
            rows = SiteRepository(session).refusals()
        assert [(row.address, row.count) for row in rows] == [
            ("10.6.6.6", 1),
            ("10.6.6.7", 1),
            ("10.6.6.6", 3),
        ]
        assert (rows[2].last_at - rows[2].at).total_seconds() == 60
