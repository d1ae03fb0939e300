"""The ECG page in a browser. Oracles: ruler arithmetic, poppler's picture of the printed page."""

import io
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from hub.ecg.ingest import EcgDetails, receive
from hub.ecg.leads import STANDARD_LEADS
from hub.worklist.models import Exam
from tests.ecg.records import ludb, wfdb_record
from tests.fixtures.browser import browser, faults_of, log_in
from tests.fixtures.peers import require_peer
from tests.fixtures.ports import free_port
from tests.fixtures.world import PASSWORD, World

__all__ = ["browser"]

pytestmark = [pytest.mark.system, pytest.mark.browser, pytest.mark.timeout(120)]

HER = EcgDetails("王秀英", "P1001", "F", "19580412")
DOTS_PER_MM = 10
DARK = 140
"""Darker than any line of the grid."""

SHEET_WIDTH_MM = 265.0
STRIP_MM = 125.0
"""Baseline of the strip below three rows, from the upper edge of the grid."""


@contextmanager
def serving(world: World) -> Iterator[str]:
    """Serve the county's pages on a port of the loopback address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(world.app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def sent(world: World, files: dict[str, bytes]) -> Exam:
    receipt = receive(world.context, files, world.origin("DP"), "DP", details=HER)
    world.run_jobs()
    return world.exam_of(receipt.study_uid, "DP")


def step() -> dict[str, bytes]:
    """Ten seconds of nothing with 1 mV from second 6 to second 7 in every lead, 1 uV a unit."""
    samples = np.zeros((5000, 12), dtype="int16")
    samples[3000:3500] = 1000
    return wfdb_record(samples, gain="1000/mV", names=STANDARD_LEADS)


def open_live(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator(".ecg-view.live")).to_be_visible(timeout=20_000)
    expect(page.locator(".ecg-summary")).to_be_visible(timeout=20_000)


def drag(page: Page, from_mm: tuple[float, float], to_mm: tuple[float, float]) -> None:
    """Drag over the paper without snapping."""
    box = page.locator(".ecg-canvas").first.bounding_box()
    assert box
    scale = box["width"] / SHEET_WIDTH_MM
    page.keyboard.down("Alt")
    page.mouse.move(box["x"] + from_mm[0] * scale, box["y"] + from_mm[1] * scale)
    page.mouse.down()
    page.mouse.move(box["x"] + to_mm[0] * scale, box["y"] + to_mm[1] * scale, steps=3)
    page.mouse.up()
    page.keyboard.up("Alt")


def number_in(text: str | None, unit: str) -> float:
    words = (text or "").split()
    return float(words[words.index(unit) - 1])


def test_a_cardiologist_reads_measures_and_puts_right(sqlite_world: World, browser: Browser) -> None:
    exam = sent(sqlite_world, ludb(135))
    sqlite_world.client("cardio1").post(f"/exams/{exam.id}/claim")
    with serving(sqlite_world) as url:
        page = log_in(browser, url, "cardio1", PASSWORD)
        open_live(page, f"{url}/exams/{exam.id}")
        expect(page.locator(".ecg-static")).to_be_hidden()
        expect(page.locator(".ecg-words").first).to_contain_text("原始记录，未加滤波")
        keys = page.eval_on_selector_all("[data-key]", "all => all.map(each => each.dataset.key)")
        assert len(keys) == len(set(keys)), keys

        status = page.locator(".ecg-status .strong")
        page.keyboard.press("t")
        drag(page, (35.0, STRIP_MM), (60.0, STRIP_MM))  # 25 mm
        assert number_in(status.text_content(), "ms") == pytest.approx(1000, abs=20)
        page.keyboard.press("Escape")
        page.keyboard.press("Enter")
        analysis = page.evaluate(f"fetch('/api/v1/exams/{exam.id}/ecg/analysis').then(a => a.json())")
        first, second = (beat["sample"] for beat in analysis["measurement"]["beats"][:2])
        placed = number_in(status.text_content(), "ms")
        assert placed == round((second - first) / 500 * 1000)
        page.keyboard.press("ArrowRight")  # one sample of 500 Hz
        assert number_in(status.text_content(), "ms") == placed + 2
        page.keyboard.press("a")
        drag(page, (100.0, STRIP_MM), (100.0, STRIP_MM - 10.0))  # 10 mm up
        assert number_in(status.text_content(), "mV") == pytest.approx(1.0, abs=0.03)

        page.keyboard.press("l")
        expect(page.locator(".ecg-words").first).to_contain_text("低通 150 Hz")
        page.keyboard.press("4")
        expect(page.locator(".ecg-words").first).to_contain_text("12×1")
        page.keyboard.press("?")
        expect(page.locator("dialog[data-shortcuts]")).to_contain_text("移动卡尺一端一个采样点")
        page.keyboard.press("Escape")

        if not page.locator(".ecg-panel").is_visible():
            page.keyboard.press("p")
        qt = page.locator(".ecg-table tr", has_text="QT 间期")
        qt.locator(".ecg-edit").click()
        page.fill(".ecg-form input[type=number]", "412")
        page.locator(".ecg-form input").nth(1).fill("U 波未计入")
        page.keyboard.press("Enter")
        expect(page.locator(".ecg-history")).to_contain_text("U 波未计入")
        expect(page.locator(".ecg-history")).to_contain_text("罗心电")
        expect(page.locator(".ecg-follows")).to_have_count(4)  # each QTc follows the reader's QT
        assert faults_of(page) == []


def test_paper_shows_what_the_screen_shows_in_true_millimetres(
    sqlite_world: World, browser: Browser, tmp_path: Path
) -> None:
    """Oracle: poppler at 10 dots/mm; 1 mV for 1 s must be 10 mm high and 25 mm long."""
    exam = sent(sqlite_world, step())
    poppler = require_peer("pdftoppm")
    with serving(sqlite_world) as url:
        page = log_in(browser, url, "cardio1", PASSWORD)
        open_live(page, f"{url}/exams/{exam.id}/ecg")
        picture = Image.open(io.BytesIO(page.locator(".ecg-canvas").first.screenshot())).convert("L")
        scale = picture.width / SHEET_WIDTH_MM
        check_step(np.asarray(picture), scale, left_mm=0.0, top_mm=0.0, tolerance_mm=0.3)
        file = tmp_path / "sheet.pdf"
        file.write_bytes(page.pdf(prefer_css_page_size=True))
        assert faults_of(page) == []
        check_without_script(browser, page, f"{url}/exams/{exam.id}/ecg")
    subprocess.run([poppler, "-r", "254", "-png", "-singlefile", file, tmp_path / "sheet"], check=True)
    printed = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    assert printed.shape == pytest.approx((2100, 2970), abs=2)
    words = subprocess.run(["pdftotext", file, "-"], check=True, capture_output=True, text=True).stdout
    assert "王秀英" in words
    assert "25 mm/s · 10 mm/mV" in words
    # A4 less margins of 10 mm: the sheet stands in the middle of 277 mm; its strip is the lowest long line
    long = np.flatnonzero((printed[:, 270:1500] < DARK).mean(axis=1) > 0.9)
    top_mm = long[long > long.max() - 5].mean() / DOTS_PER_MM - STRIP_MM
    check_step(printed, DOTS_PER_MM, left_mm=16.0, top_mm=top_mm, tolerance_mm=0.2)


def check_without_script(browser: Browser, page: Page, address: str) -> None:
    """The sheet drawn by the server is there, and its arrangements are links."""
    plain = browser.new_context(java_script_enabled=False)
    plain.add_cookies(page.context.cookies())  # type: ignore[arg-type]  # what one context gives another takes
    bare = plain.new_page()
    bare.goto(address)
    expect(bare.locator(".ecg-sheet svg")).to_be_visible()
    bare.get_by_text("6×2").click()
    expect(bare.locator(".ecg-sheet")).to_contain_text("6×2")


def check_step(grey: np.ndarray, scale: float, *, left_mm: float, top_mm: float, tolerance_mm: float) -> None:
    """Find the step in the strip: two upright edges 25 mm apart, and a top 10 mm above the baseline."""
    edges = np.flatnonzero(grey[round((top_mm + STRIP_MM - 5.0) * scale)] < DARK) / scale - left_mm
    first, second = (edges[abs(edges - wanted) < 3].mean() for wanted in (160.0, 185.0))
    assert first == pytest.approx(10.0 + 6 * 25.0, abs=2 * tolerance_mm)
    assert second - first == pytest.approx(25.0, abs=tolerance_mm)
    upper = height_of_line(grey, scale, left_mm + 172.5, top_mm + STRIP_MM - 10.0)
    lower = height_of_line(grey, scale, left_mm + 147.5, top_mm + STRIP_MM)
    assert lower - upper == pytest.approx(10.0, abs=tolerance_mm)


def height_of_line(grey: np.ndarray, scale: float, x_mm: float, about_mm: float) -> float:
    """Return the height in mm of a level line that is expected there within 2 mm."""
    first, last = (round((about_mm + off) * scale) for off in (-2.0, 2.0))
    column = round(x_mm * scale)
    darkness = (200.0 - grey[first:last, column : column + 5].mean(axis=1)).clip(0.0)
    return float((np.arange(first, last) * darkness).sum() / darkness.sum() / scale)
