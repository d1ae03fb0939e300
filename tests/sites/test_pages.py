"""Administration of sites and devices through the pages."""

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
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

    def test_the_form_is_filled_in_from_a_refused_association(self, sqlite_world: World) -> None:
        client = sqlite_world.client("admin1")
        page = client.get("/admin/devices/new?ae_title=%20XR9%00&address=10.9.8.7").text
        assert 'value="XR9"' in page
        assert 'value="10.9.8.7"' in page

    def test_an_entry_is_changed_and_the_trail_says_from_what_to_what(self, world: World) -> None:
        """The vendor was there: another address, another title."""
        self.add(world, address="10.1.2.3", label="DR")
        (device,) = rows(world, Device)
        client = world.client("admin1")
        assert 'value="10.1.2.3"' in client.get(f"/admin/devices/{device.id}/edit").text
        form = {
            "ae_title": "DR_NEW",
            "address": "10.1.2.9",
            "label": "DR",
            "port": "104",
            "query_scope": "all",
        }
        assert client.post(f"/admin/devices/{device.id}", data=form).status_code == 303
        with world.context.db.reading() as session:
            assert isinstance(service.recognise(session, "DR_NEW", "10.1.2.9"), service.DeviceKnown)
        (change,) = [e for e in rows(world, AuditEvent) if e.tag == "sites:device:change"]
        assert change.facts["address_before"] == "10.1.2.3"
        assert change.facts["address_after"] == "10.1.2.9"
        assert change.facts["query_scope_before"] == "site"
        assert "label_before" not in change.facts

    def test_a_refused_change_comes_back_with_the_form(self, sqlite_world: World) -> None:
        world = sqlite_world
        self.add(world, address="10.1.2.3")
        (device,) = rows(world, Device)
        client = world.client("admin1")
        for wrong in ({"port": "many"}, {"port": "70000"}, {"certificate": "zz"}, {"query_scope": "x"}):
            answer = client.post(f"/admin/devices/{device.id}", data={"ae_title": "DR2", **wrong})
            assert answer.status_code == 422, wrong
            assert 'value="DR2"' in answer.text
        assert client.post("/admin/devices/none", data={"ae_title": "X"}).status_code == 404
        (still,) = rows(world, Device)
        assert still.ae_title == "DR1"

    def test_a_certificate_is_uploaded_or_pasted_and_taken_away(self, sqlite_world: World) -> None:
        world = sqlite_world
        self.add(world)
        (device,) = rows(world, Device)
        client, path = world.client("admin1"), f"/admin/devices/{device.id}"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "DR1")])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), 7)
            .not_valid_before(world.clock())
            .not_valid_after(world.clock() + timedelta(days=9))
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        print_of = certificate.fingerprint(hashes.SHA256()).hex()
        form = {"ae_title": "DR1"}
        client.post(path, data=form, files={"certificate_file": ("dr1.pem", pem)})
        assert [row.certificate_sha256 for row in rows(world, Device)] == [print_of]
        assert print_of in client.get(f"{path}/edit").text
        client.post(path, data={**form, "certificate": ""}, files={"certificate_file": ("", b"")})
        assert [row.certificate_sha256 for row in rows(world, Device)] == [None]
        client.post(path, data={**form, "certificate": pem.decode()})
        assert [row.certificate_sha256 for row in rows(world, Device)] == [print_of]

    def test_every_offered_charset_can_be_decoded(self) -> None:
        from hub.kit.text import known_charset
        from hub.sites.pages import CHARSETS

        assert all(known_charset(name) for name in CHARSETS)
