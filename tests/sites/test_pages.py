"""Administration of sites and devices through the pages."""

from sqlalchemy import select

from hub.audit.models import AuditEvent
from hub.sites import service
from hub.sites.models import Device, Site
from tests.fixtures.world import World


def rows(world: World, model: type) -> list:
    with world.context.db.reading() as session:
        return list(session.scalars(select(model)))


class TestSites:
    def test_a_site_is_added_with_its_audit_row(self, world: World) -> None:
        answer = world.client("admin1").post("/admin/sites", data={"code": "XJ", "name": "西江镇分院"})
        assert answer.status_code == 303
        (made,) = [site for site in rows(world, Site) if site.code == "XJ"]
        assert made.number == 3
        audited = [e for e in rows(world, AuditEvent) if e.tag == "sites:site:create"]
        assert audited[-1].actor_id == world.user_ids["admin1"]
        assert "西江镇分院" in world.client("admin1").get("/admin/sites").text

    def test_a_taken_code_comes_back_with_the_form(self, sqlite_world: World) -> None:
        answer = sqlite_world.client("admin1").post("/admin/sites", data={"code": "dp", "name": "别处"})
        assert answer.status_code == 409
        assert "该机构代码已被使用" in answer.text
        assert 'value="别处"' in answer.text
        assert len(rows(sqlite_world, Site)) == 2

    def test_the_address_to_type_into_a_modality(self, sqlite_world: World) -> None:
        page = sqlite_world.client("admin1").get("/admin/sites").text
        assert "11112" in page
        assert ">HUB<" in page
        assert "0.0.0.0" not in page  # listening everywhere is no address to dial


class TestDevices:
    def add(self, world: World, **form: str) -> int:
        data = {"ae_title": "DR1", "site": world.site_ids["DP"], **form}
        return world.client("admin1").post("/admin/devices", data=data).status_code

    def test_a_device_is_registered_and_recognised(self, sqlite_world: World) -> None:
        world = sqlite_world
        assert self.add(world, address="10.1.2.3", charset="GBK", label="DR 机房") == 303
        with world.context.db.reading() as session:
            known = service.recognise(session, "DR1", "10.1.2.3")
        assert isinstance(known, service.DeviceKnown)
        assert (known.site_code, known.charset) == ("DP", "GBK")

    def test_wrong_entries_come_back(self, sqlite_world: World) -> None:
        assert self.add(sqlite_world, address="300.1.2.3") == 422
        assert self.add(sqlite_world, charset="KLINGON") == 422
        assert self.add(sqlite_world, ae_title="ELEVEN_ELEVEN_ELEVEN") == 422
        assert self.add(sqlite_world) == 303
        assert self.add(sqlite_world) == 409
        assert len(rows(sqlite_world, Device)) == 1

    def test_a_blocked_device_is_not_let_in(self, sqlite_world: World) -> None:
        world = sqlite_world
        self.add(world)
        (device,) = rows(world, Device)
        client = world.client("admin1")
        client.post(f"/admin/devices/{device.id}/active", data={"active": "0"})
        with world.context.db.reading() as session:
            assert service.recognise(session, "DR1", "10.1.1.1") == service.DeviceUnknown("blocked_device")
        client.post(f"/admin/devices/{device.id}/active", data={"active": "1"})
        with world.context.db.reading() as session:
            assert isinstance(service.recognise(session, "DR1", "10.1.1.1"), service.DeviceKnown)

    def test_every_offered_charset_can_be_decoded(self) -> None:
        from hub.kit.text import known_charset
        from hub.sites.pages import CHARSETS

        assert all(known_charset(name) for name in CHARSETS)
