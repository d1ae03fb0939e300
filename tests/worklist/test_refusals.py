"""The list of refused associations: every reason in words, titles to be seen, and the way to mend it."""

from urllib.parse import parse_qs, urlsplit

import pytest

from hub.dicom.peers import note_refusal
from hub.dicom.wire.association import Peer
from hub.sites import service as sites
from hub.sites.repository import SiteRepository
from hub.web import i18n
from hub.worklist import refusals
from tests.fixtures.world import SETUP, World


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("CT1", "CT1"),
        ("", ""),
        ("    ", ""),
        ("\0\0", ""),
        (" CT1  ", "␣CT1␣␣"),
        ("CT\0X", "CT␀X"),
        ("\x7fA\t", "␡A␉"),
        ("\xb3\xac", "\\xB3\\xAC"),
        ("超声", "\\u8D85\\u58F0"),
        ("СТ1", "\\u0421\\u04221"),  # Cyrillic letters that look like CT
    ],
)
def test_titles_are_made_visible(title: str, shown: str) -> None:
    assert refusals.visible_title(title) == shown


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("reason", refusals.REASONS)
def test_every_reason_has_words_and_advice(reason: str, language: str) -> None:
    words = i18n.catalogue(language)
    assert f"desk.reason.{reason}" in words
    assert f"desk.advice.{reason}" in words


class TestOffers:
    def offer(
        self, world: World, reason: str, calling: str, address: str
    ) -> tuple[str, str, dict[str, list[str]]]:
        note_refusal(world.context, Peer(calling, "HUB", address, "a1"), reason)
        with world.context.db.reading() as session:
            [row] = refusals.listed(session)
        parts = urlsplit(row.href)
        return row.action, parts.path, parse_qs(parts.query)

    def device(self, world: World) -> str:
        with world.context.db.transaction() as session:
            site = SiteRepository(session).site(world.site_ids["DP"])
            assert site is not None
            return sites.add_device(
                session, site, "DR1", address="10.0.0.1", now=world.clock(), actor=SETUP
            ).id

    def test_a_stranger_is_registered(self, sqlite_world: World) -> None:
        assert self.offer(sqlite_world, "unknown_device", "XR 9&x=1", "10.9.9.9") == (
            "register",
            "/admin/devices/new",
            {"ae_title": ["XR 9&x=1"], "address": ["10.9.9.9"]},
        )

    def test_a_device_at_a_new_address_is_changed(self, sqlite_world: World) -> None:
        device = self.device(sqlite_world)
        assert self.offer(sqlite_world, "wrong_address", "dr1", "10.0.0.2") == (
            "change",
            f"/admin/devices/{device}/edit",
            {"address": ["10.0.0.2"]},
        )

    @pytest.mark.parametrize("reason", ["blocked_device", "certificate_missing", "wrong_called"])
    def test_a_known_device_is_changed(self, sqlite_world: World, reason: str) -> None:
        device = self.device(sqlite_world)
        found = self.offer(sqlite_world, reason, "", "10.0.0.1")
        assert found == ("change", f"/admin/devices/{device}/edit", {})

    @pytest.mark.parametrize("reason", ["tls_failed", "not_dicom", "too_many_associations", "blocked_device"])
    def test_what_registering_does_not_mend(self, sqlite_world: World, reason: str) -> None:
        assert self.offer(sqlite_world, reason, "", "10.9.9.9") == ("", "", {})

    def test_the_page_counts_and_names(self, sqlite_world: World) -> None:
        for _ in range(3):
            note_refusal(
                sqlite_world.context, Peer("", "HUB", "10.9.9.9", "a1"), "not_dicom", "GET / HTTP/1.1"
            )
            sqlite_world.clock.advance(seconds=10)
        page = sqlite_world.client("admin1").get("/desk?show=refused").text
        for text in ("「空」", "不是 DICOM 连接", "检查端口号", "GET / HTTP/1.1", "自 "):
            assert text in page
        assert sqlite_world.client("tech_dp").get("/desk?show=refused").status_code == 403
