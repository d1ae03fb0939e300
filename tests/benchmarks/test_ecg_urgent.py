"""How soon an urgent ECG is on top of an open worklist while 20 routine ones a second arrive.

From the moment its sender begins to send until the row stands first in a real browser. Beside it:
how long every sender waited for its answer, and how many ECGs a second the hub really took. Figures
are printed, never judged: machines differ.
"""

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from hub.auth.roles import Role
from tests.fixtures.browser import browser, log_in
from tests.fixtures.hub_process import running_hub
from tests.system.ecg_load import NOTE_TOPS, Cart, fresh, on_top, routine, summary

__all__ = ["browser"]

PASSWORD = "Lianzhou-2026"
PER_SECOND = float(os.environ.get("HUB_BENCH_PER_SECOND", "20"))
ROUNDS = int(os.environ.get("HUB_BENCH_ROUNDS", "5"))

pytestmark = [pytest.mark.benchmark, pytest.mark.browser, pytest.mark.timeout(900)]


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
        page.evaluate(NOTE_TOPS)
        while b'"not_analysed":"later"' in cart.send(fresh(88), local_id="W1").body:
            time.sleep(1)  # what analyses takes a few seconds to load after a start
        cart.answers.clear()
        hinted, pained, urgent = [], [], []
        begun = time.monotonic()
        with routine(cart, PER_SECOND):
            time.sleep(3)
            for number in range(ROUNDS):
                name = f"慢{number}"
                sent = cart.send(fresh(64, rate=200), patient_name=name, local_id=f"H{number}", sex="M")
                urgent.append(sent.seconds)
                if number == 0:  # once chest pain is there, a hint never stands before it
                    hinted.append(on_top(page, name, 60) - sent.at)
                name = f"痛{number}"
                sent = cart.send(fresh(88), patient_name=name, local_id=f"C{number}", chest_pain="1", sex="F")
                urgent.append(sent.seconds)
                if number == 0:
                    pained.append(on_top(page, name, 60) - sent.at)
                time.sleep(2)
            seconds = time.monotonic() - begun
        routine_seconds = [answer.seconds for answer in cart.answers]
        print(f"\nroutine: {PER_SECOND:g}/s offered, {len(cart.answers) / seconds:.1f}/s answered")
        print(f"answer to a sender: {summary(routine_seconds)}")
        print(f"answer to an urgent sender: {summary(urgent)}")
        print(f"critical hint on top: {summary(hinted)}")
        print(f"chest pain on top: {summary(pained)}")
        assert {answer.status for answer in cart.answers} == {201}
