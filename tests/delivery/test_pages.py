"""The inbox in a browser's hands: who sees, opens and confirms what."""

from hub.reports.models import SignedReport
from tests.delivery.conftest import PDF
from tests.fixtures.world import World


def test_unread_then_opened_then_confirmed(sqlite_world: World, sqlite_signed: SignedReport) -> None:
    client = sqlite_world.client("doctor_dp")
    inbox = client.get("/inbox")
    assert inbox.status_code == 200
    assert f'id="report-{sqlite_signed.id}"' in inbox.text
    opened = client.get(f"/inbox/{sqlite_signed.id}")
    assert f"/inbox/{sqlite_signed.id}/acknowledge" in opened.text
    assert f"/reports/{sqlite_signed.id}/pdf" in opened.text
    answer = client.post(f"/inbox/{sqlite_signed.id}/acknowledge")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/inbox/{sqlite_signed.id}")
    confirmed = client.get(f"/inbox/{sqlite_signed.id}").text
    assert "谢医生 已阅" in confirmed
    assert f"/inbox/{sqlite_signed.id}/acknowledge" not in confirmed
    assert client.post(f"/inbox/{sqlite_signed.id}/acknowledge").status_code == 409
    assert f'id="report-{sqlite_signed.id}"' not in client.get("/inbox").text
    assert f'id="report-{sqlite_signed.id}"' in client.get("/inbox/rows?show=all").text


def test_the_document_is_shown_within_the_page(sqlite_world: World, sqlite_signed: SignedReport) -> None:
    answer = sqlite_world.client("doctor_dp").get(f"/reports/{sqlite_signed.id}/pdf")
    assert answer.content == PDF + sqlite_signed.exam_id.encode()
    assert answer.headers["content-disposition"].startswith("inline")
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["cache-control"] == "private, no-store"


def test_another_site_finds_nothing(sqlite_world: World, sqlite_signed: SignedReport) -> None:
    client = sqlite_world.client("doctor_lp")
    assert sqlite_signed.id not in client.get("/inbox?show=all").text
    for path in (f"/inbox/{sqlite_signed.id}", f"/reports/{sqlite_signed.id}/pdf", "/inbox?site=DP"):
        assert client.get(path).status_code == 404
    assert client.post(f"/inbox/{sqlite_signed.id}/acknowledge").status_code == 404


def test_the_technician_reads_but_does_not_confirm(sqlite_world: World, sqlite_signed: SignedReport) -> None:
    client = sqlite_world.client("tech_dp")
    page = client.get(f"/inbox/{sqlite_signed.id}")
    assert page.status_code == 200
    assert "/acknowledge" not in page.text
    assert client.post(f"/inbox/{sqlite_signed.id}/acknowledge").status_code == 403


def test_the_centre_has_no_inbox_but_may_see_the_document(
    sqlite_world: World, sqlite_signed: SignedReport
) -> None:
    client = sqlite_world.client("reviewer1")
    assert client.get("/inbox").status_code == 403
    assert client.get(f"/reports/{sqlite_signed.id}/pdf").status_code == 200
    assert sqlite_world.client("admin1").get(f"/reports/{sqlite_signed.id}/pdf").status_code == 403


def test_without_login_or_with_a_forged_click(sqlite_world: World, sqlite_signed: SignedReport) -> None:
    assert sqlite_world.client().get("/inbox").status_code == 303
    forged = sqlite_world.client("doctor_dp")
    forged.headers["X-CSRF-Token"] = "guess"
    assert forged.post(f"/inbox/{sqlite_signed.id}/acknowledge").status_code == 403
    assert sqlite_world.exam(sqlite_signed.exam_id).state == "delivered"
