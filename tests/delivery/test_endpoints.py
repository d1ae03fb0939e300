"""The interface for a site's own system. Listing and receipts on both databases."""

from datetime import timedelta

from hub.auth.roles import Role
from hub.delivery.models import DeliveryAttempt
from hub.delivery.repository import DeliveryRepository
from hub.reports.models import SignedReport
from tests.delivery.conftest import PDF, delivery_of, sign
from tests.fixtures.world import World


def machine(world: World, site: str = "DP", role: Role = Role.SITE_SYSTEM) -> dict[str, str]:
    return {"Authorization": f"Bearer {world.token(role, site)}"}


def test_pages_cover_everything_once_in_a_stable_order(world: World) -> None:
    signed = []
    for number in range(5):
        world.clock.advance(minutes=1)
        signed.append(sign(world, local_id=f"P{number}", patient_name=f"甲{number}").id)
    client, headers = world.client(), machine(world)
    seen = []
    for offset in (0, 2, 4):
        answer = client.get("/api/v1/reports", params={"limit": 2, "offset": offset}, headers=headers).json()
        assert answer["total"] == 5
        seen += [item["id"] for item in answer["items"]]
    assert seen == signed


def test_a_report_goes_from_unread_over_fetched_to_acknowledged(world: World, signed: SignedReport) -> None:
    client, headers = world.client(), machine(world)

    def listed(status: str) -> list[str]:
        answer = client.get("/api/v1/reports", params={"status": status}, headers=headers)
        assert answer.status_code == 200, answer.text
        assert all(item["status"] == status for item in answer.json()["items"])
        return [item["id"] for item in answer.json()["items"]]

    assert (listed("unread"), listed("fetched"), listed("acknowledged")) == ([signed.id], [], [])
    pdf = client.get(f"/api/v1/reports/{signed.id}/pdf", headers=headers)
    assert pdf.content == PDF + signed.exam_id.encode()
    assert pdf.headers["content-type"] == "application/pdf"
    assert (listed("unread"), listed("fetched"), listed("acknowledged")) == ([], [signed.id], [])
    person = world.client("doctor_dp")
    assert person.post(f"/api/v1/reports/{signed.id}/acknowledge").json()["status"] == "acknowledged"
    assert (listed("unread"), listed("fetched"), listed("acknowledged")) == ([], [], [signed.id])
    delivery = delivery_of(world, signed)
    with world.context.db.reading() as session:
        repository = DeliveryRepository(session)
        assert [row.kind for row in repository.receipts(delivery.id)] == ["fetched", "acknowledged"]
        assert [row.channel for row in repository.attempts(delivery.id)] == ["inbox", "api"]


def test_the_text_is_what_was_signed_and_nothing_later(
    sqlite_world: World, sqlite_signed: SignedReport
) -> None:
    from hub.reports.models import Report

    with sqlite_world.context.db.transaction() as session:
        report = session.get(Report, sqlite_signed.report_id)
        assert report is not None
        report.impression = "后来改的文字"
    said = (
        sqlite_world.client().get(f"/api/v1/reports/{sqlite_signed.id}", headers=machine(sqlite_world)).json()
    )
    assert (said["findings"], said["impression"]) == ("双肺纹理清晰。", "未见异常。")
    assert (said["writer"], said["signer"]) == ("林书一", "沈审核")
    assert said["pdf_sha256"] == sqlite_signed.pdf_sha256
    assert [receipt["kind"] for receipt in said["receipts"]] == ["fetched"]
    assert said["status"] == "fetched"


def test_since_compares_with_the_time_of_delivery(sqlite_world: World) -> None:
    world = sqlite_world
    first = sign(world, local_id="P1", patient_name="甲")
    world.clock.advance(minutes=5)
    second = sign(world, local_id="P2", patient_name="乙")
    client, headers = world.client(), machine(world)

    def since(moment: object) -> list[str]:
        answer = client.get("/api/v1/reports", params={"since": str(moment)}, headers=headers)
        return [item["id"] for item in answer.json()["items"]]

    assert since(first.signed_at.isoformat()) == [first.id, second.id]
    assert since((first.signed_at + timedelta(seconds=1)).isoformat()) == [second.id]
    naive = client.get("/api/v1/reports", params={"since": "2026-03-02T08:00:00"}, headers=headers)
    assert naive.status_code == 422


def test_a_token_of_another_site_sees_nothing(world: World, signed: SignedReport) -> None:
    client, headers = world.client(), machine(world, "LP")
    assert client.get("/api/v1/reports", headers=headers).json()["total"] == 0
    for path in (f"/api/v1/reports/{signed.id}", f"/api/v1/reports/{signed.id}/pdf"):
        assert client.get(path, headers=headers).status_code == 404
    assert client.post(f"/api/v1/reports/{signed.id}/acknowledge", headers=headers).status_code == 404


def test_a_machine_cannot_confirm(sqlite_world: World, sqlite_signed: SignedReport) -> None:
    answer = sqlite_world.client().post(
        f"/api/v1/reports/{sqlite_signed.id}/acknowledge", headers=machine(sqlite_world)
    )
    assert answer.status_code == 403
    assert delivery_of(sqlite_world, sqlite_signed).acknowledged_at is None


def test_altered_bytes_never_leave_and_the_attempt_is_kept(world: World, signed: SignedReport) -> None:
    world.context.store.put(signed.pdf_key, b"%PDF-1.7 forged")
    client, headers = world.client(), machine(world)
    answer = client.get(f"/api/v1/reports/{signed.id}/pdf", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (500, "DocumentDamaged")
    assert b"forged" not in answer.content
    world.context.store.delete(signed.pdf_key)
    assert client.get(f"/api/v1/reports/{signed.id}/pdf", headers=headers).status_code == 500
    delivery = delivery_of(world, signed)
    with world.context.db.reading() as session:
        repository = DeliveryRepository(session)
        attempts: list[DeliveryAttempt] = list(repository.attempts(delivery.id))
        assert [(row.channel, row.succeeded) for row in attempts] == [
            ("inbox", True),
            ("api", False),
            ("api", False),
        ]
        assert repository.receipts(delivery.id) == []


def test_what_is_not_delivered_is_not_there(sqlite_world: World) -> None:
    signed = sign(sqlite_world, deliver=False)
    client, headers = sqlite_world.client(), machine(sqlite_world)
    assert client.get("/api/v1/reports", headers=headers).json()["total"] == 0
    assert client.get(f"/api/v1/reports/{signed.id}/pdf", headers=headers).status_code == 404


def test_who_may_not_read(sqlite_world: World, sqlite_signed: SignedReport) -> None:
    assert sqlite_world.client().get("/api/v1/reports").status_code == 401
    assert sqlite_world.client("admin1").get("/api/v1/reports").status_code == 403
    sender = machine(sqlite_world, role=Role.SENDER)
    assert sqlite_world.client().get("/api/v1/reports", headers=sender).status_code == 403
    bad = {"Authorization": "Bearer hub_nonsense"}
    assert sqlite_world.client().get(f"/api/v1/reports/{sqlite_signed.id}", headers=bad).status_code == 401
