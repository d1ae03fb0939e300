"""Which registered device is calling: by address first, by title next, never by guessing."""

import pytest

from hub.sites import service
from hub.sites.repository import SiteRepository
from hub.sites.service import DeviceKnown, DeviceUnknown
from tests.fixtures.world import SETUP, World


def register(world: World, site: str, ae_title: str, address: str | None = None) -> str:
    with world.context.db.transaction() as session:
        row = SiteRepository(session).site(world.site_ids[site])
        assert row is not None
        return service.add_device(session, row, ae_title, address=address, now=world.clock(), actor=SETUP).id


def recognise(world: World, ae_title: str, address: str) -> DeviceKnown | DeviceUnknown:
    with world.context.db.reading() as session:
        return service.recognise(session, ae_title, address)


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
        assert recognise(world, "XX", "10.0.0.1") == DeviceUnknown("wrong_address")

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
