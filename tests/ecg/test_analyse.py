"""The whole opinion on one recording: it always comes, whatever the recording is."""

from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.ecg.analysis.analyse import ENGINE, LONGEST_S, analyse, profiles
from hub.ecg.analysis.hints import CHECKS
from hub.ecg.analysis.hints_json import hints_json, quality_json
from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.read import read_ecg
from hub.ecg.scoring.scale import true_scale
from hub.ecg.waveform import Waveform
from hub.web import i18n
from tests.ecg.records import ludb
from tests.ecg.strips import strip

CODES = (
    *("lead_off", "flat", "clipped", "mains", "muscle", "wander", "too_short", "rate_too_low"),
    *("units_doubtful", "leads_missing", "part_only", "dextrocardia"),
    *("swap_ra_la", "swap_ra_ll", "swap_la_ll", "swap_cw", "swap_ccw", "swap_ra_rl", "swap_la_rl"),
)
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


@settings(max_examples=15, deadline=None)
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


@pytest.mark.parametrize("kind", KINDS)
def test_an_opinion_on_twelve_leads_of_one_kind(kind: str) -> None:
    """Every fault in all leads at once; nothing dead is called good."""
    lead = column(kind, 5000, 500.0, np.random.default_rng(0))
    samples = np.column_stack([lead] * 12)
    found = analyse(Waveform(samples, 500.0, STANDARD_LEADS, "test"))
    # Even equal beats in all leads are wrong: II would have to be I + III.
    assert found.quality.verdict != "good"


def test_a_long_recording_is_analysed_in_its_first_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is lowered here so that the test is quick; what is beyond it must not be looked at."""
    assert LONGEST_S == 300.0
    monkeypatch.setattr("hub.ecg.analysis.analyse.LONGEST_S", 10.0)
    long = strip(np.arange(0.5, 20, 0.8), seconds=20.0)
    broken = replace(long, samples_mv=np.where(np.arange(10_000)[:, None] < 5000, long.samples_mv, 99.0))
    found = analyse(broken)
    assert max(beat.sample for beat in found.measurement.beats) < 5000
    (part,) = (each for each in found.quality.findings if each.code == "part_only")
    assert part.numbers == {"analysed_s": 10.0, "recorded_s": 20.0}
    assert [each.code for each in found.quality.findings] == ["part_only"]


def test_a_repeated_analysis_is_the_same() -> None:
    waveform = true_scale(read_ecg(ludb(64)))
    first, second = analyse(waveform, sex="M", age_years=60), analyse(waveform, sex="M", age_years=60)
    assert first.hints == second.hints
    assert first.quality == second.quality


def test_as_json() -> None:
    found = analyse(true_scale(read_ecg(ludb(45))))
    quality, hints = quality_json(found.quality), hints_json(found.hints)
    assert set(quality) == {"verdict", "per_lead", "findings"}
    assert hints
    assert {"rule", "level", "source", "leads", "numbers"} == set(hints[0])
    assert [each["rule"] for each in hints] == [each.rule for each in found.hints]


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_everything_that_can_be_said_has_words(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_STRICT_TEXTS", "1")
    t = i18n.translator(language)
    keys = [f"ecg.quality.{code}" for code in CODES]
    keys += [f"ecg.hint.{rule}" for rule in CHECKS]
    keys += [f"ecg.profile.{profile}" for profile in profiles()]
    texts = [t(key) for key in keys]
    assert len(set(texts)) == len(keys)


def test_the_rules_travel_with_the_package() -> None:
    names = {each.name for each in files("hub.ecg.analysis").joinpath("rules").iterdir()}
    assert {"common.toml", "quality.toml", "swaps.toml"} <= names
    assert {f"profile_{name}.toml" for name in profiles()} <= names
