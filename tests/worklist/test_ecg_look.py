"""The first look lets through whatever a list of critical values has. Oracle: strips made for each rule,

as `tests.ecg.test_hints` makes them for the rules themselves; real records without any of it.
"""

from collections.abc import Callable

import numpy as np
import pytest

from hub.ecg.analysis.analyse import profiles
from hub.ecg.analysis.hints_rules import read_table
from hub.ecg.analysis.measure import measure
from hub.ecg.read import read_ecg
from hub.ecg.scoring import st
from hub.ecg.scoring.scale import true_scale
from hub.ecg.waveform import Waveform
from hub.worklist import ecg_look
from hub.worklist.ecg_look import pressure
from tests.ecg.records import ludb
from tests.ecg.strips import SHAPE, one_beat, strip, twelve

BEATS = np.arange(0.5, 10, 0.8)
TIME = np.arange(5000) / 500.0


def beats_of(places: np.ndarray, *, wide: float = 1.0, t_share: float = 0.0) -> Waveform:
    columns = {}
    for name, (_, _, r, s, t) in SHAPE.items():
        wave = 0.004 * np.random.default_rng(1).standard_normal(5000)
        for at in places:
            wave += one_beat(TIME, at, (0, 0, r, s, 0 if t_share else t), p=False, wide=wide)
            wave += t_share * abs(r) * np.exp(-(((TIME - at - 0.34) / 0.04) ** 2) / 2)
        columns[name] = wave
    return twelve(columns)


def with_wide(places: list[float]) -> Waveform:
    """Usual beats but around `places`, where wide ones stand."""
    clear = [b for b in BEATS if min(abs(b - np.array(places))) > 0.3 and not places[0] < b < places[-1]]
    base = strip(clear)
    columns = {}
    for name, shape in SHAPE.items():
        waves = (0, 0, -2.5 * shape[2] - 0.3, 0.9, 0.4)
        columns[name] = base.lead(name) + sum(one_beat(TIME, at, waves, p=False, wide=2.4) for at in places)
    return twelve(columns)


def raised(group: str) -> Waveform:
    record = st.Record("135", true_scale(read_ecg(ludb(135))), "M", 60)
    waveform = st.raised(record, measure(record.waveform), group, 1.1)
    assert waveform is not None
    return waveform


def fibrillation() -> Waveform:
    wave = np.sin(2 * np.pi * (5 * TIME + 0.5 * np.sin(2 * np.pi * 0.7 * TIME)))
    return twelve({name: wave * (0.5 + 0.1 * i) for i, name in enumerate(SHAPE)})


EXAMPLES: dict[str, Callable[[], Waveform]] = {
    "pause": lambda: strip([b for b in BEATS if not 4 < b < 6.5]),
    "rate_low": lambda: strip(np.arange(0.6, 10, 1.75)),
    "rate_high": lambda: strip(np.arange(0.3, 10, 0.33), p=False),
    "atrial_fast": lambda: strip(np.cumsum(np.tile([0.28, 0.36, 0.31, 0.38], 8)), p=False),
    "preexcited_fibrillation": lambda: strip(
        np.cumsum(np.tile([0.246, 0.62, 0.5, 0.62, 0.55, 0.5], 4))[:18], p=False, wide=2.6
    ),
    "vt_whole_strip": lambda: strip(np.arange(0.3, 10, 0.4), p=False, wide=3),
    "vt_polymorphic": lambda: with_wide([4.3, 4.68, 5.06, 5.44, 5.82]),
    "vf_like": fibrillation,
    "av_block_3": lambda: strip(np.arange(0.4, 10, 1.05), p=False, extra_p=np.arange(0.2, 10, 0.73)),
    "mi_pattern": lambda: raised("inferior"),
    "qtc_r_on_t": lambda: with_wide([float(BEATS[5]) + 0.4]),
    "hyperkalaemia": lambda: beats_of(BEATS, wide=2.2, t_share=1.3),
}


def test_every_rule_of_every_list_has_an_example() -> None:
    listed = {rule for profile in profiles() for rule in read_table(f"profile_{profile}")["critical"]}
    assert listed == EXAMPLES.keys()


@pytest.mark.parametrize("rule", EXAMPLES)
def test_it_stands_out(rule: str) -> None:
    assert pressure(EXAMPLES[rule]())


def test_the_furthest_goes_first() -> None:
    """No beats before 30 a minute before 42; 150 a minute before 118."""
    found = [pressure(strip(np.arange(0.6, 10, 60 / rate))) for rate in (30, 42)]
    assert pressure(fibrillation()) > 1
    assert pressure(EXAMPLES["rate_low"]()) > pressure(EXAMPLES["qtc_r_on_t"]()) == 1
    assert pressure(Waveform(np.zeros((5000, 2)), 500.0, ("I", "II"), "test")) > found[0] > found[1] >= 1
    assert pressure(EXAMPLES["vt_whole_strip"]()) > pressure(strip(np.arange(0.3, 10, 60 / 118)))


@pytest.mark.parametrize("group", st.GROUPS)
def test_raised_st_of_every_wall(group: str) -> None:
    assert pressure(raised(group))


@pytest.mark.parametrize("rate", [100.0, 250.0, 500.0, 1000.0])
def test_a_plain_strip_does_not(rate: float) -> None:
    assert not pressure(strip(BEATS, rate=rate))
    assert not pressure(strip(np.arange(0.5, 10, 1.1), rate=rate))  # slow, with its P waves


@pytest.mark.parametrize("record", [88, 135])
def test_real_records_without_any_of_it_do_not(record: int) -> None:
    assert not pressure(read_ecg(ludb(record)))


def test_what_cannot_be_looked_at_is_not_made_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_waveform: Waveform) -> float:
        raise ValueError

    monkeypatch.setattr(ecg_look, "_pressure", broken)
    assert pressure(strip(BEATS))


@pytest.mark.parametrize("length", [1, 3, 50, 400])
def test_short_ones_stand_out(length: int) -> None:
    """Too short to find beats in: nobody can say that they are harmless."""
    plain = strip(BEATS)
    assert pressure(Waveform(plain.samples_mv[:length], 500.0, plain.leads, "test"))


def test_one_with_gaps_is_looked_at() -> None:
    plain = strip(BEATS)
    gaps = plain.samples_mv.copy()
    gaps[1000:1040] = np.nan
    assert not pressure(Waveform(gaps, 500.0, plain.leads, "test"))
    gaps[:, 6:] = np.nan
    gaps[:, :6][2000:3600] = gaps[2000, :6]
    assert pressure(Waveform(gaps, 500.0, plain.leads, "test"))
