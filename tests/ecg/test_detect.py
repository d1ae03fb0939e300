"""QRS detection and heart rate, held against cardiologists' marks (LUDB) and made signals."""

import os
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.measure import HeartRate, measure_heart_rate
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Waveform
from tests.ecg.oracles import qrs_marks
from tests.ecg.records import DATA, ludb

RATE = 500.0
TOLERANCE_S = 0.150
"""The match window of ANSI/AAMI EC57."""


def beats_at(
    seconds: list[float], *, length_s: float = 10.0, rate: float = RATE, leads: int = 2
) -> np.ndarray:
    """Make triangular QRS complexes 80 ms wide and 1 mV high, with low T waves, at given times."""
    time = np.arange(round(length_s * rate)) / rate
    signal = np.zeros_like(time)
    for beat in seconds:
        signal += np.maximum(0, 1 - np.abs(time - beat) / 0.04)
        signal += 0.25 * np.exp(-(((time - beat - 0.3) / 0.06) ** 2))
    return np.column_stack([signal * 0.5, signal * 1.5])


def rate_of(samples: np.ndarray, rate: float = RATE) -> HeartRate:
    leads = tuple(f"L{n}" for n in range(samples.shape[1]))
    return measure_heart_rate(Waveform(samples, rate, leads, "test"))


def compare(found: np.ndarray, marks: np.ndarray, rate_hz: float) -> tuple[int, int, int]:
    """Count true, false and missed beats inside the marked window."""
    tolerance = TOLERANCE_S * rate_hz
    inside = found[(found >= marks[0] - tolerance) & (found <= marks[-1] + tolerance)]
    hits = sum(bool((np.abs(inside - mark) <= tolerance).any()) for mark in marks)
    return hits, len(inside) - hits, len(marks) - hits


class TestAgainstCardiologists:
    @pytest.mark.parametrize("record", [45, 64, 88, 135])
    def test_every_marked_beat_and_no_other(self, record: int) -> None:
        """Oracle: QRS marks of lead II in LUDB: pacing, STEMI, atrial fibrillation, normal."""
        marks = qrs_marks(DATA / f"ludb_{record}")
        rate = measure_heart_rate(read_ecg(ludb(record)))
        found = np.array(rate.qrs_samples)
        assert compare(found, marks, RATE) == (len(marks), 0, 0)
        inside = found[(found >= marks[0] - 75) & (found <= marks[-1] + 75)]
        assert 30_000 / np.diff(inside).mean() == pytest.approx(30_000 / np.diff(marks).mean(), abs=1.0)

    @pytest.mark.skipif(not os.environ.get("HUB_TEST_DATA"), reason="HUB_TEST_DATA is not set")
    def test_all_ludb_records_at_hand(self) -> None:
        """Oracle: QRS marks of lead II of every LUDB record; the bar is F1 >= 99.8 % and 1 bpm."""
        folder = Path(os.environ["HUB_TEST_DATA"]) / "ecg" / "wfdb_ludb"
        total = np.zeros(3, dtype=int)
        errors = []
        for header in sorted(folder.glob("*.hea")):
            data = header.with_suffix(".dat")
            wave = read_ecg({header.name: header.read_bytes(), data.name: data.read_bytes()})
            marks = qrs_marks(header.with_suffix(""))
            found = np.array(measure_heart_rate(wave).qrs_samples)
            total += compare(found, marks, wave.rate_hz)
            inside = found[(found >= marks[0] - 75) & (found <= marks[-1] + 75)]
            if len(marks) > 2:
                errors.append(abs(30_000 / np.diff(inside).mean() - 30_000 / np.diff(marks).mean()))
        hits, false, missed = total
        f1 = 2 * hits / (2 * hits + false + missed)
        print(f"LUDB: {hits} hits, {false} false, {missed} missed, F1 {f1:.4%}, worst rate {max(errors):.2f}")
        assert f1 >= 0.998
        assert max(errors) <= 1.0


class TestMadeSignals:
    @pytest.mark.parametrize("bpm", [30, 45, 60, 90, 120, 150, 180, 200])
    def test_regular_rates(self, bpm: int) -> None:
        """Oracle: the interval that the signal was made with."""
        rate = rate_of(beats_at(list(np.arange(0.5, 9.8, 60 / bpm))))
        assert rate.bpm == pytest.approx(bpm, abs=1.0)
        assert rate.reason == ""

    @pytest.mark.parametrize("rate_hz", [100.0, 250.0, 360.0, 1000.0])
    def test_sampling_rates(self, rate_hz: float) -> None:
        samples = beats_at(list(np.arange(0.5, 9.8, 0.8)), rate=rate_hz)
        assert rate_of(samples, rate_hz).bpm == pytest.approx(75, abs=1.0)

    def test_a_pause_is_not_filled(self) -> None:
        times = [0.5, 1.3, 2.1, 2.9, 6.1, 6.9, 7.7, 8.5]
        rate = rate_of(beats_at(times))
        assert len(rate.qrs_samples) == len(times)
        assert max(rate.rr_ms) == pytest.approx(3200, abs=10)

    def test_a_small_premature_beat_is_found(self) -> None:
        times = [0.5, 1.3, 2.1, 2.5, 3.7, 4.5, 5.3, 6.1]
        samples = beats_at([t for t in times if t != 2.5]) + 0.6 * beats_at([2.5])
        assert len(rate_of(samples).qrs_samples) == len(times)

    def test_pacing_spikes_are_no_beats(self) -> None:
        times = list(np.arange(0.6, 9.6, 0.9))
        samples = beats_at(times)
        for t in times:
            spike = round((t - 0.2) * RATE)
            samples[spike : spike + 2] += 3.0
        rate = rate_of(samples)
        assert len(rate.qrs_samples) == len(times)
        assert rate.bpm == pytest.approx(60 / 0.9, abs=0.5)

    def test_one_dead_and_one_loose_lead_do_no_harm(self) -> None:
        """Two leads are good, one is flat, one is missing for half the time."""
        samples = np.column_stack([beats_at(list(np.arange(0.5, 9.8, 0.8))), np.zeros(5000), np.zeros(5000)])
        samples[:, 3] = samples[:, 0]
        samples[1000:3600, 3] = np.nan
        assert rate_of(samples).bpm == pytest.approx(75, abs=1.0)

    def test_baseline_wander_and_mains(self) -> None:
        time = np.arange(5000) / RATE
        disturbed = beats_at(list(np.arange(0.5, 9.8, 0.8)))
        disturbed += (np.sin(2 * np.pi * 0.3 * time) + 0.1 * np.sin(2 * np.pi * 50 * time))[:, None]
        assert rate_of(disturbed).bpm == pytest.approx(75, abs=1.0)


class TestLongRecordings:
    def test_blocks_join_without_a_seam(self) -> None:
        """Oracle: the times that the beats were made at, over several blocks of the engine."""
        times = list(np.cumsum(np.random.default_rng(4).uniform(0.6, 1.1, 230)))
        samples = beats_at(times, length_s=times[-1] + 1.0)
        found = np.array(rate_of(samples).qrs_samples) / RATE
        assert len(found) == len(times)
        assert np.abs(found - times).max() < 0.03


class TestNoRate:
    def test_flat(self) -> None:
        assert rate_of(np.zeros((5000, 12))) == HeartRate(None, (), (), "flat")

    def test_all_missing(self) -> None:
        assert rate_of(np.full((5000, 2), np.nan)).reason == "flat"

    @pytest.mark.parametrize("seed", range(5))
    def test_noise(self, seed: int) -> None:
        noise = np.random.default_rng(seed).normal(0, 0.1, (5000, 12))
        assert rate_of(noise).reason == "noise"

    def test_mains_hum(self) -> None:
        hum = 0.2 * np.sin(2 * np.pi * 50 * np.arange(5000) / RATE)[:, None] * np.ones(8)
        assert rate_of(hum).bpm is None

    def test_one_beat(self) -> None:
        rate = rate_of(beats_at([2.0], length_s=4.0))
        assert (rate.bpm, rate.reason, len(rate.qrs_samples)) == (None, "too_few_beats", 1)

    def test_too_short(self) -> None:
        assert rate_of(np.zeros((100, 2))).reason == "too_short"

    def test_rate_too_low(self) -> None:
        assert rate_of(np.zeros((100, 2)), 50.0).reason == "rate_too_low"
