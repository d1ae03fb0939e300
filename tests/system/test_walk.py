"""The whole way of an exam, as people walk it: a real device, real pages, a real browser."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from hub.auth.roles import Role
from hub.worklist.models import Exam
from tests.fixtures.browser import faults_of, log_in
from tests.fixtures.hub_process import RunningHub, running_hub
from tests.fixtures.peers import require_peer
from tests.system.storescu import make_study, push

DATA = Path(__file__).parents[1] / "data"
ECG = Path(__file__).parents[2] / "hub" / "demo_data" / "ecg" / "af_12lead.dcm"
PASSWORD = "Lianzhou-2026"
FINDINGS = "双肺纹理清晰，未见实变影；心影不大，双膈光整。"
IMPRESSION = "心、肺、膈未见明显异常。"
PEOPLE = (
    ("doctor", "谢医生", Role.DOCTOR, "DP"),
    ("writer", "林书写", Role.WRITER, None),
    ("reviewer", "沈审核", Role.REVIEWER, None),
    ("cardio", "罗心电", Role.CARDIOLOGIST, None),
)

expect.set_options(timeout=20_000)
pytestmark = [pytest.mark.system, pytest.mark.browser, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A county with one site, one X-ray, one ECG cart and the people of the way."""
    with running_hub(tmp_path_factory.mktemp("walk"), start=False) as running:
        running.register(
            sites=[("DP", "东陂镇分院")],
            devices=[("DP", "DP_DR"), ("DP", "DP_ECG")],
            people=PEOPLE,
            password=PASSWORD,
        )
        running.start()
        yield running


def exam_by(hub: RunningHub, field: str, value: str) -> Exam:
    """Return the one exam that has this value."""
    (found,) = [exam for exam in hub.exams() if getattr(exam, field) == value]
    return found


def wait_delivered(hub: RunningHub, exam_id: str) -> None:
    """Wait until the signed report has reached its site."""
    deadline = time.monotonic() + 10
    while exam_by(hub, "id", exam_id).state != "delivered":
        assert time.monotonic() < deadline, exam_by(hub, "id", exam_id).state
        time.sleep(0.2)


def write_report(page: Page) -> None:
    """Type a report and wait until the page says that it is saved."""
    page.fill("[name=findings]", FINDINGS)
    page.fill("[name=impression]", IMPRESSION)
    expect(page.locator("[data-autosave-status]")).to_contain_text("已保存", timeout=10_000)


def confirm_as_doctor(page: Page, hub: RunningHub, name: str) -> None:
    """Open the newest report of a patient in the inbox, with its pictures, and confirm it."""
    page.goto(f"{hub.url}/inbox")
    page.locator("tbody tr", has_text=name).locator("a").first.click()
    expect(page.locator("iframe.document")).to_be_visible()
    page.locator("form[action$='/acknowledge'] button").click()
    expect(page.locator(".patient-header")).to_contain_text("谢医生")


def test_a_chest_film_walks_from_order_to_confirmation(
    hub: RunningHub, browser: Browser, tmp_path: Path
) -> None:
    """Oracles: storescu's answers; poppler's pdftotext and pdfsig on the signed report."""
    doctor = log_in(browser, hub.url, "doctor", PASSWORD)
    doctor.fill("#order-form [name=name]", "郑伟")
    doctor.select_option("#order-form [name=sex]", "M")
    doctor.fill("#order-form [name=birth_date]", "1988-09-24")
    doctor.select_option("#order-form [name=modality]", "DX")
    doctor.fill("#order-form [name=body_part]", "胸部正侧位")
    doctor.fill("#order-form [name=clinical_question]", "咳嗽两周")
    doctor.check("#order-form [name=urgency][value=urgent]")
    doctor.click("#order-form .form-actions button[type=submit]")
    number = doctor.locator(".order-done .mono.strong").first.inner_text().strip()
    order = exam_by(hub, "number", number)
    assert order.state == "ordered"
    local_id = doctor.locator(".order-done .mono.strong").nth(1).inner_text().strip()

    writer = log_in(browser, hub.url, "writer", PASSWORD)
    expect(writer.locator(f"#exam-{order.id}")).to_have_count(0)
    views = make_study(
        DATA / "dicom" / "dx_image.dcm",
        tmp_path / "views",
        2,
        patient_id=local_id,
        name="郑^伟",
        PatientSex="M",
        PatientBirthDate="19880924",
        AccessionNumber=number,
    )
    pushed = push(hub.dicom_port, views, calling="DP_DR")
    assert pushed.succeeded == frozenset(views), pushed.output
    row = writer.locator(f"#exam-{order.id}")
    expect(row).to_contain_text("待诊断", timeout=15_000)  # appears by itself, no reload
    row.locator("a").click()
    writer.locator("form[action$='/claim'] button").click()
    expect(writer.locator("[data-island=image-viewer] canvas").first).to_be_visible(timeout=20_000)
    write_report(writer)
    writer.keyboard.press("Control+Enter")
    writer.wait_for_url(lambda address: "/exams/" not in address or "/worklist" in address, timeout=10_000)

    reviewer = log_in(browser, hub.url, "reviewer", PASSWORD)
    reviewer.goto(f"{hub.url}/reviews")
    reviewer.locator("tbody tr", has_text="郑伟").locator("a").first.click()
    expect(reviewer.locator("[data-island=image-viewer] canvas").first).to_be_visible(timeout=20_000)
    expect(reviewer.locator("main")).to_contain_text(FINDINGS)
    reviewer.fill("#sign-form [name=password]", "not-the-password")
    reviewer.click("#sign-form button[type=submit]")
    expect(reviewer.locator("#sign-form")).to_contain_text("密码不正确")
    reviewer.fill("#sign-form [name=password]", PASSWORD)
    reviewer.click("#sign-form button[type=submit]")
    reviewer.wait_for_url("**/reports/**")

    wait_delivered(hub, order.id)
    confirm_as_doctor(doctor, hub, "郑伟")
    way = [
        "ordered",
        "receiving",
        "complete",
        "claimed",
        "draft",
        "submitted",
        "signed",
        "delivered",
        "acked",
    ]
    assert hub.timeline(order.id) == way
    doctor.goto(f"{hub.url}/site/exams/{order.id}")
    for state in ("已开单", "接收中", "待诊断", "已领取", "书写中", "待审核", "已签发", "已送达", "已阅"):
        expect(doctor.locator(".timeline")).to_contain_text(state)
    assert json.loads(hub.cli("verify", "report", number, "--json"))["ok"]
    check_document(hub, number, "郑伟", tmp_path)
    assert [faults_of(page) for page in (doctor, writer, reviewer)] == [[], [], []]


def check_document(hub: RunningHub, number: str, name: str, tmp_path: Path) -> None:
    """Hold the stored PDF against poppler."""
    shown = json.loads(hub.cli("report", "show", number, "--json"))
    pdf = hub.folder / "data" / "objects" / shown["signed"]["pdf_key"]
    text = subprocess.run(
        [require_peer("pdftotext"), pdf, "-"], capture_output=True, text=True, check=True
    ).stdout
    assert name in text
    assert IMPRESSION in text.replace("\n", "")
    signature = subprocess.run([require_peer("pdfsig"), pdf], capture_output=True, text=True).stdout
    assert "Signature is Valid." in signature
    altered = tmp_path / "altered.pdf"
    content = bytearray(pdf.read_bytes())
    content[len(content) // 3] ^= 1
    altered.write_bytes(content)
    broken = subprocess.run([require_peer("pdfsig"), altered], capture_output=True, text=True)
    assert "Signature is Valid." not in broken.stdout


def test_an_ecg_is_on_an_open_worklist_at_once_and_walks_to_confirmation(
    hub: RunningHub, browser: Browser, tmp_path: Path
) -> None:
    """Oracle: the wall clock between storescu's answer and the row on the page."""
    cardio = log_in(browser, hub.url, "cardio", PASSWORD)
    cardio.wait_for_timeout(1000)  # the page's event stream is open
    (file,) = make_study(ECG, tmp_path / "ecg", 1, patient_id="E1", name="昞^刘", PatientSex="F")
    pushed = push(hub.dicom_port, [file], calling="DP_ECG")
    assert pushed.succeeded == {file}, pushed.output
    answered = time.monotonic()
    row = cardio.locator("tbody tr", has_text="刘")
    expect(row).to_contain_text("待诊断", timeout=5_000)
    waited = time.monotonic() - answered
    row.locator("a").first.click()
    cardio.locator("form[action$='/claim'] button").click()
    expect(cardio.locator(".ecg-view.live canvas").first).to_be_visible(timeout=10_000)
    write_report(cardio)
    cardio.keyboard.press("Control+Enter")
    cardio.fill("#sign-form [name=password]", PASSWORD)
    cardio.click("#sign-form button[type=submit]")
    cardio.wait_for_url("**/reports/**")
    exam = exam_by(hub, "modality", "ECG")
    wait_delivered(hub, exam.id)
    doctor = log_in(browser, hub.url, "doctor", PASSWORD)
    confirm_as_doctor(doctor, hub, "刘")
    assert hub.timeline(exam.id) == [
        "receiving",
        "complete",
        "claimed",
        "draft",
        "signed",
        "delivered",
        "acked",
    ]
    assert json.loads(hub.cli("verify", "report", exam.number, "--json"))["ok"]
    assert [faults_of(page) for page in (cardio, doctor)] == [[], []]
    # Two seconds are the aim, which tests/benchmarks/test_ecg_urgent.py measures on a machine of its own;
    # here other tests run beside it, and what is caught is a row that waits for a timer.
    assert waited < 5.0
