"""ST raised by known amounts in the test's own hands: the engine comes near it, and a blind one is caught."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hub.ecg.analysis.measure import measure
from hub.ecg.analysis.model import Beat, Boundaries
from hub.ecg.read import read_ecg
from hub.ecg.scoring import st_levels
from hub.ecg.scoring.cases import Case, cases
from hub.ecg.scoring.st import deformation
from hub.ecg.waveform import Waveform
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


def test_the_shape_rises_as_qrs_does() -> None:
    """By hand: QRS from sample 100 to 110 goes three equal steps, at 102, 104 and 108; ST lasts 240 ms."""
    mv = np.zeros((500, 2))
    for step in (102, 104, 108):
        mv[step:, 0] += 0.3
        mv[step:, 1] -= 0.4
    waveform = Waveform(mv, 500.0, ("I", "II"), "test")
    beat = Beat(104, "dominant", Boundaries(qrs_on=100, qrs_off=110))
    measurement = replace(measure(waveform), beats=(beat,))
    shape = deformation(waveform, measurement)
    assert shape[:102].tolist() == [0.0] * 102
    assert shape[[102, 104, 107, 108, 110]] == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1.0, 1.0])
    assert shape[110:231].tolist() == [1.0] * 121
    assert shape[110 + 120 + 20] == pytest.approx(0.5)
    assert shape[110 + 120 + 41 :].tolist() == [0.0] * (500 - 271)
