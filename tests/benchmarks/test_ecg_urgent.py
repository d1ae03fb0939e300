"""How soon urgent ECGs stand above all routine ones of an open worklist while 20 of these a second arrive.

From the moment its sender begins to send until the row stands there in a real browser, for several
marked with chest pain and several with a critical hint. Beside it: how many ECGs a second the hub
really took, how long every sender waited for its answer, and how long after the last one it took
until the machine had looked at all of them. Figures are printed, never judged: machines differ.
"""

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from hub.auth.roles import Role
from tests.fixtures.browser import browser, log_in
from tests.fixtures.hub_process import RunningHub, running_hub
from tests.system.ecg_load import Cart, Sent, fresh, routine, summary

__all__ = ["browser"]

PASSWORD = "Lianzhou-2026"
PER_SECOND = float(os.environ.get("HUB_BENCH_PER_SECOND", "20"))
ROUNDS = int(os.environ.get("HUB_BENCH_ROUNDS", "5"))
LONGEST_SECONDS = 60.0
ANALYSED_SECONDS = 600.0

NOTE_AHEAD = """
() => {
  const seen = (window.ahead = {});
  const body = document.querySelector("#worklist-rows");
  const note = () => {
    for (const row of body.querySelectorAll("tr")) {
      const name = row.querySelector("a .strong")?.textContent?.trim() ?? "";
      if (name.startsWith("常规")) break;
      if (!(name in seen)) seen[name] = Date.now() / 1000;
    }
  };
  new MutationObserver(note).observe(body, { childList: true, subtree: true });
}
"""
"""Notes when each name first stands above every routine one, whatever else is above it."""

pytestmark = [pytest.mark.benchmark, pytest.mark.browser, pytest.mark.timeout(1800)]


def test_urgent_among_routine(browser: Browser, tmp_path: Path) -> None:
    with ExitStack() as closing, running_hub(tmp_path, start=False) as hub:
        hub.register(
            sites=[("DP", "东陂镇分院")],
            people=[("cardio", "罗心电", Role.CARDIOLOGIST, None)],
            password=PASSWORD,
        )
        hub.start()
        cart = Cart("127.0.0.1", hub.web_port, hub.token(Role.SENDER, "DP"))
        closing.callback(cart.close)
        page = log_in(browser, hub.url, "cardio", PASSWORD)
        page.goto(f"{hub.url}/worklist")
        while b'"not_analysed":"later"' in cart.send(fresh(88), patient_name="常规", local_id="W1").body:
            time.sleep(1)  # what analyses takes a few seconds to load after a start
        page.wait_for_selector("#worklist-rows tr[id]")
        cart.answers.clear()
        urgent: dict[str, Sent] = {}
        begun = time.monotonic()
        with routine(cart, PER_SECOND):
            time.sleep(3)
            page.evaluate(NOTE_AHEAD)
            for number in range(ROUNDS):
                name = f"慢{number}"
                slow = fresh(64, rate=200)
                urgent[name] = cart.send(slow, patient_name=name, local_id=f"H{number}", sex="M")
                name = f"痛{number}"
                urgent[name] = cart.send(
                    fresh(88), patient_name=name, local_id=f"C{number}", chest_pain="1", sex="F"
                )
                time.sleep(2)
            seconds, taken = time.monotonic() - begun, len(cart.answers)
            ahead = _ahead(page, urgent)
        ended = time.monotonic()
        left = _not_analysed(hub)
        answers = [answer.seconds for answer in cart.answers]
        print(f"\noffered {PER_SECOND:g}/s, taken in {taken / seconds:.1f}/s, load {os.getloadavg()[0]:.1f}")
        print(f"answer to a sender: {summary(answers)}")
        print(f"answer to an urgent sender: {summary([sent.seconds for sent in urgent.values()])}")
        for mark, kind in (("慢", "critical hint"), ("痛", "chest pain")):
            waits = [ahead[name] - sent.at for name, sent in urgent.items() if name.startswith(mark)]
            print(f"{kind} above all routine ones: {summary(waits)}")
        print(f"not analysed when the last was answered: {left} of {len(cart.answers)}")
        while (still := _not_analysed(hub)) and time.monotonic() - ended < ANALYSED_SECONDS:
            time.sleep(1)
        print(f"all analysed after {time.monotonic() - ended:.0f} s more; left: {still}")
        assert {answer.status for answer in cart.answers} == {201}
        assert still == 0


def _ahead(page: Page, urgent: dict[str, Sent]) -> dict[str, float]:
    """Return when each urgent one stood above all that are routine."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        ahead: dict[str, float] = page.evaluate("window.ahead")
        if urgent.keys() <= ahead.keys():
            return ahead
        page.wait_for_timeout(200)
    raise AssertionError(f"never above the routine ones: {urgent.keys() - ahead.keys()}")


def _not_analysed(hub: RunningHub) -> int:
    return sum(not exam.ecg_verdict for exam in hub.exams())
