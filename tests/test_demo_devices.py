"""What the demo's devices send, taken in by a real hub."""

from typing import Any

import pytest
from sqlalchemy import select

from hub.demo_data import county
from hub.demo_devices import Township, Wire
from hub.worklist.models import Exam
from tests.fixtures.world import World


@pytest.fixture
def township(sqlite_world: World, monkeypatch: pytest.MonkeyPatch) -> Township:
    """A township whose village post uploads to this hub."""
    client = sqlite_world.client("tech_dp")

    def upload(self: Any, site: str, fields: dict[str, str], files: dict[str, bytes]) -> None:
        answer = client.post("/api/v1/ecg", data=fields, files=[("files", each) for each in files.items()])
        assert answer.status_code == 201, answer.text

    monkeypatch.setattr(Township, "_upload", upload)
    return Township(sqlite_world.context, Wire("127.0.0.1", 0, "HUB", "", {}), {}, {})


def test_the_ecg_of_the_man_in_pain_is_marked_and_stands_on_top(
    township: Township, sqlite_world: World
) -> None:
    for sending in township.first_day():
        if sending.label == "ECG WFDB":
            sending.send()
    sqlite_world.run_jobs()
    with sqlite_world.context.db.reading() as session:
        exams = {exam.chest_pain: exam for exam in session.scalars(select(Exam))}
        assert set(exams) == {True, False}
        pained = exams[True]
        age = sqlite_world.context.clock() - pained.onset_at
        assert (pained.urgency, exams[False].urgency) == ("critical", "routine")
        assert 7200 <= age.total_seconds() < 7320
    page = sqlite_world.client("cardio1").get("/worklist?modality=ecg").text
    assert 0 < page.index(county.PATIENTS[7].name) < page.index(county.PATIENTS[5].name)
    assert county.QUESTIONS["pain"] in page
