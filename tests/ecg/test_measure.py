"""The engine on real recordings: against cardiologists, against a cart, and on what recordings may be."""

import json

import numpy as np
import pytest

from hub.ecg.analysis.as_json import measurement_json
from hub.ecg.analysis.measure import find_beats, measure
from hub.ecg.analysis.model import QTC_FORMULAS
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Waveform
from tests.ecg.oracles import lead_marks
from tests.ecg.records import DATA, load, ludb

RECORDS = (45, 64, 88, 135)


def boundaries(marks: list[tuple[int, str]], symbol: str, side: int) -> list[int]:
    """Return the beginnings (-1) or ends (1) of the waves with a symbol."""
    return [
        marks[at + side][0]
        for at, (_, each) in enumerate(marks)
        if each == symbol and marks[at + side][1] in "()"
    ]


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize(
    ("name", "symbol", "side", "within_ms"),
    [("qrs_on", "N", -1, 40), ("qrs_off", "N", 1, 40), ("t_off", "t", 1, 100)],
)
def test_boundaries_of_lead_ii(record: int, name: str, symbol: str, side: int, within_ms: float) -> None:
    """Oracle: the marks of LUDB's cardiologists, read by wfdb; nine of ten within the usual window."""
    true = boundaries(lead_marks(DATA / f"ludb_{record}", "ii"), symbol, side)
    found = [getattr(beat.leads["II"], name) for beat in measure(read_ecg(ludb(record))).beats]
    known = np.array([place for place in found if place is not None])
    near = [np.abs(known - place).min() * 2.0 <= within_ms for place in true]
    assert np.mean(near) >= 0.9


def test_p_waves_are_where_the_cardiologists_have_them() -> None:
    """Oracle: LUDB: sinus rhythm has a P before every beat, fibrillation none."""
    assert measure(read_ecg(ludb(135))).atrial.p_share == 1.0
    fibrillating = measure(read_ecg(ludb(88)))
    assert fibrillating.atrial.p_share == 0.0
    assert fibrillating.atrial.fibrillation > 0.5


def test_a_paced_rhythm() -> None:
    """Oracle: LUDB record 45 is labelled unipolar ventricular pacing."""
    kinds = [beat.kind for beat in measure(read_ecg(ludb(45))).beats]
    assert kinds.count("paced") >= 7


def test_a_cart_agrees() -> None:
    """Oracle: what the Mortara cart itself measured. Carts end QRS earlier than LUDB's readers do."""
    wave = read_ecg(load("mortara_12lead.dcm"))
    cart = {each.name: each.value for each in wave.device_measurements if not each.lead}
    ours = measure(wave).values
    for name, within in (("rr_mean_ms", 5), ("pr_ms", 15), ("qrs_ms", 25), ("qt_ms", 20)):
        assert ours[name].value == pytest.approx(cart[name], abs=within), name
    for name in ("p_axis_deg", "qrs_axis_deg", "t_axis_deg"):
        assert ours[name].value == pytest.approx(cart[name], abs=10), name


def test_the_json() -> None:
    wave = read_ecg(ludb(135))
    found = json.loads(json.dumps(measurement_json(wave, measure(wave)), allow_nan=False))
    assert found["hr_bpm"] > 40
    assert set(found["qtc_ms"]) == set(QTC_FORMULAS)
    assert set(found["axes_deg"]) == {"p", "qrs", "t"}
    assert set(found["st_uv"]) == set(wave.leads)
    assert set(found["st_uv"]["V2"]) == {"j", "j20", "j60", "j80"}
    beat = found["beats"][3]
    assert set(beat) == {"sample", "class", "global", "leads"}
    assert beat["class"] == "dominant"
    assert set(beat["global"]) == {"p_on", "p_off", "qrs_on", "qrs_off", "t_off"}
    assert set(beat["leads"]["II"]) == {"p_on", "p_off", "qrs_on", "qrs_off", "t_on", "t_off"}
    assert [each["sample"] for each in found["beats"]] == found["qrs_samples"]
    low, high = found["ranges"]["qt_ms"]
    assert low <= found["qt_ms"] <= high


def odd_recordings() -> dict[str, np.ndarray]:
    samples = np.array(read_ecg(ludb(64)).samples_mv)
    rng = np.random.default_rng(3)
    dead, gap, sieve = samples.copy(), samples.copy(), samples.copy()
    dead[:, 3] = np.nan
    gap[1000:1400] = np.nan
    sieve[rng.random(len(samples)) < 0.2] = np.nan
    step = np.zeros_like(samples)
    step[2500:] = 1.0
    return {
        "dead_lead": dead,
        "gap": gap,
        "sieve": sieve,
        "upside_down": -samples,
        "two_seconds": samples[:1000],
        "step": step,
        "spikes": np.ones_like(samples) * (np.arange(len(samples)) % 500 == 0)[:, None],
        "square": np.ones_like(samples) * np.sign(np.sin(np.arange(len(samples)) / 40))[:, None],
        "fast_sine": np.ones_like(samples) * np.sin(np.arange(len(samples)) / 16)[:, None],
        "clipped": np.clip(samples, -0.2, 0.2),
        "tiny": samples * 0.03,
        "huge": samples * 500,
    }


@pytest.mark.parametrize("name", odd_recordings())
def test_whatever_a_recording_holds_there_is_an_answer(name: str) -> None:
    """Every value is a finite number or has a reason; beats and boundaries lie inside the recording."""
    wave = Waveform(odd_recordings()[name], 500.0, read_ecg(ludb(64)).leads, "test")
    found = measure(wave)
    for value in (
        *found.values.values(),
        *(each for lead in found.by_lead.values() for each in lead.values()),
    ):
        assert (value.value is None) == bool(value.reason)
        assert value.value is None or np.isfinite(value.value)
    for beat in found.beats:
        assert 0 <= beat.sample < wave.n_samples
        for name_ in ("p_on", "p_off", "qrs_on", "qrs_off", "t_off"):
            place = getattr(beat.over_all, name_)
            assert place is None or 0 <= place < wave.n_samples
    assert [beat.sample for beat in found.beats] == find_beats(wave)[0]


def test_a_long_recording_measures_like_a_short_one() -> None:
    """Oracle: the ten seconds that it repeats."""
    short = read_ecg(ludb(135))
    whole = measure(short)
    beats = [beat.sample for beat in whole.beats]
    # Whole beats only, so that the rhythm goes on over the seam.
    piece = np.array(short.samples_mv[beats[1] - 150 : beats[-2] - 150])
    piece -= np.linspace(0, 1, len(piece))[:, None] * (piece[-1] - piece[0])
    long = measure(Waveform(np.vstack([piece] * 14), 500.0, short.leads, "test"))
    assert len(long.beats) == pytest.approx(14 * (len(beats) - 3), abs=1)
    for name, within in (("hr_bpm", 1.5), ("pr_ms", 8), ("qrs_ms", 6), ("qt_ms", 12)):
        assert long.values[name].value == pytest.approx(whole.values[name].value, abs=within), name
    assert {beat.kind for beat in long.beats} == {"dominant"}
    assert all(not beat.leads for beat in long.beats)
