"""The whole opinion on one recording: it always comes, whatever the recording is."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.ecg.analysis.analyse import ENGINE, analyse
from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.waveform import Waveform

KINDS = ("zero", "constant", "noise", "mains", "huge", "tiny", "beats", "steps", "gaps", "nothing")


def column(kind: str, n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(n) / rate
    made = {
        "zero": np.zeros(n),
        "constant": np.full(n, 3.3),
        "noise": rng.standard_normal(n),
        "mains": np.sin(2 * np.pi * 50 * time),
        "huge": rng.standard_normal(n) * 1e8,
        "tiny": rng.standard_normal(n) * 1e-9,
        "beats": np.maximum(0, 1 - np.abs((time % 0.8) - 0.4) / 0.04),
        "steps": np.sign(np.sin(2 * np.pi * 3 * time)) * 5,
        "gaps": np.where(rng.random(n) < 0.3, np.nan, np.sin(time)),
        "nothing": np.full(n, np.nan),
    }
    return made[kind]


@settings(max_examples=25, deadline=None)
@given(
    n=st.sampled_from([1, 2, 3, 10, 100, 700, 1500, 5000]),
    rate=st.sampled_from([0.5, 50.0, 79.9, 125.0, 250.0, 257.13, 500.0, 1000.0]),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=12),
    standard=st.booleans(),
    seed=st.integers(0, 5),
)
def test_an_opinion_on_anything(n: int, rate: float, kinds: list[str], standard: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = np.column_stack([column(kind, n, rate, rng) for kind in kinds])
    names = STANDARD_LEADS[: len(kinds)] if standard else tuple(f"L{i}" for i in range(len(kinds)))
    found = analyse(Waveform(samples, rate, names, "test"), sex="F", age_years=50)
    assert found.engine == ENGINE
    assert set(found.quality.per_lead) == set(names)
    assert all(np.isfinite(v) for each in found.hints for v in each.numbers.values())
    assert all(np.isfinite(v) for each in found.quality.findings for v in each.numbers.values())
    assert all(value.reason for value in found.measurement.values.values() if value.value is None)
