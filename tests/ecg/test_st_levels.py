"""ST raised by known amounts in the test's own hands: the engine comes near it, and a blind one is caught."""

from dataclasses import replace
from typing import Any

import pytest

from hub.ecg.analysis.measure import measure
from hub.ecg.read import read_ecg
from hub.ecg.scoring import st_levels
from hub.ecg.scoring.cases import Case, cases
from tests.ecg.records import DATA, ludb


@pytest.fixture
def case() -> Case:
    found = next(each for each in cases(DATA, "all") if "64" in each.name)
    return replace(found, waveform=read_ecg(ludb(64)))


def test_a_known_rise_is_measured(case: Case) -> None:
    table = st_levels.StLevels()
    table.add(case)
    result = table.result()
    for point in st_levels.POINTS:
        assert result[point]["within"]["n"] == 24
        assert result[point]["within"]["percent"] > 90, point


def test_an_engine_that_sees_no_st_is_caught(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measure(case.waveform)

    def blind(_waveform: Any) -> Any:
        return first

    monkeypatch.setattr(st_levels, "measure", blind)
    table = st_levels.StLevels()
    table.add(case)
    assert table.result()["st_j_uv"]["within"]["percent"] < 50
