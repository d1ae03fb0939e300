"""The statements for ECG reports. Oracle: what a person types for them."""

from itertools import chain

import pytest

from hub.reports.statements.ecg import groups
from tests.fixtures.world import World

ALL = tuple(chain.from_iterable(group.statements for group in groups()))


def test_no_two_say_the_same() -> None:
    for name in ("code", "zh", "en"):
        texts = [getattr(each, name) for each in ALL]
        assert len(texts) == len(set(texts)), name
        assert all(text.strip() == text and text for text in texts)


@pytest.mark.parametrize(
    ("typed", "code"), [("fxqqss", "pac"), ("xinfangchandong", "atrial_fibrillation"), ("sjxclcdzz", "")]
)
def test_found_by_the_sound(typed: str, code: str) -> None:
    assert {each.code for each in ALL if typed in each.keys.split()} == ({code} if code else set())


def test_a_reader_gets_them_and_a_township_does_not(sqlite_world: World) -> None:
    answer = sqlite_world.client("cardio1").get("/api/v1/ecg/statements")
    assert [group["code"] for group in answer.json()] == [group.code for group in groups()]
    assert sqlite_world.client("doctor_dp").get("/api/v1/ecg/statements").status_code == 403


def test_the_editor_of_an_ecg_offers_them(sqlite_world: World) -> None:
    exam = sqlite_world.claimed("cardio1")
    page = sqlite_world.client("cardio1").get(f"/exams/{exam.id}").text
    assert 'data-island="statement-picker"' in page
