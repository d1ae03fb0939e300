"""Numbers from made recordings whose truth is known, and formulas against values worked out by hand."""

from math import nan

import numpy as np
import pytest

from hub.ecg.analysis import values
from hub.ecg.analysis.measure import measure
from hub.ecg.analysis.model import Value
from tests.ecg.made_beats import LEADS, RATE, SIZES, Shape, hump, one_lead, recording, regular


class TestFormulas:
    def test_corrected_qt_at_75(self) -> None:
        """Oracle: by hand for QT 360 ms at RR 0.8 s."""
        found = values.corrected_qt(Value(360.0, "ms"), 800.0)
        assert found["qtc_bazett_ms"].value == pytest.approx(402.5, abs=0.1)
        assert found["qtc_fridericia_ms"].value == pytest.approx(387.8, abs=0.1)
        assert found["qtc_framingham_ms"].value == pytest.approx(390.8, abs=0.1)
        assert found["qtc_hodges_ms"].value == pytest.approx(386.25, abs=0.1)

    def test_at_60_every_formula_gives_qt(self) -> None:
        found = values.corrected_qt(Value(400.0, "ms", 390.0, 410.0), 1000.0)
        for value in found.values():
            assert (value.value, value.low, value.high) == (400.0, 390.0, 410.0)

    def test_without_qt_there_is_a_reason(self) -> None:
        found = values.corrected_qt(Value(None, "ms", reason="t_end_unclear"), 1000.0)
        assert {value.reason for value in found.values()} == {"t_end_unclear"}

    @pytest.mark.parametrize("angle", [-150, -90, -30, 0, 45, 60, 90, 180])
    def test_axis(self, angle: float) -> None:
        """Oracle: the hexaxial projections of a vector onto I (0 deg) and aVF (90 deg, unipolar)."""
        leads = {
            "I": np.cos(np.radians(angle)),
            "aVF": np.sin(np.radians(angle)) * np.sqrt(3) / 2,
        }
        assert values.axis(leads).value == pytest.approx(angle, abs=0.1)

    def test_no_axis_without_limb_leads(self) -> None:
        assert values.axis({"V1": 1.0}).reason == "lead_absent"

    def test_rhythm(self) -> None:
        """Oracle: by hand for 800, 1000, 900 ms."""
        found = values.rhythm(np.array([800.0, 1000.0, 900.0]))
        assert found["hr_bpm"].value == pytest.approx(66.667, abs=0.001)
        assert (found["rr_min_ms"].value, found["rr_max_ms"].value) == (800.0, 1000.0)
        assert found["rr_sd_ms"].value == pytest.approx(100.0)
        assert found["rmssd_ms"].value == pytest.approx(158.114, abs=0.001)


class TestMadeRecordings:
    def test_intervals(self) -> None:
        found = measure(recording(regular(1000.0))).values
        for name, true, within in (
            ("pr_ms", 140, 22),
            ("qrs_ms", 90, 40),
            ("qt_ms", 380, 30),
            ("p_ms", 100, 20),
        ):
            assert found[name].value == pytest.approx(true, abs=within), name
        assert found["hr_bpm"].value == pytest.approx(60.0, abs=0.2)

    def test_amplitudes(self) -> None:
        found = measure(recording(regular())).by_lead["II"]
        assert found["r_mv"].value == pytest.approx(1.2, abs=0.05)
        assert found["s_mv"].value == pytest.approx(-0.5, abs=0.05)
        assert found["t_mv"].value == pytest.approx(0.3, abs=0.03)
        assert found["p_mv"].value == pytest.approx(0.15, abs=0.02)
        assert found["q_mv"].value == pytest.approx(0.0, abs=0.02)

    def test_longer_pr_is_the_range_of_pr(self) -> None:
        """P comes 40 ms earlier in one beat."""
        beats = regular(1000.0)
        wave = recording(beats, Shape(p=None))
        lead = np.zeros(wave.n_samples)
        time = np.arange(wave.n_samples) * 1000 / RATE
        for number, beat in enumerate(beats):
            move = 40.0 if number == 4 else 0.0
            lead += 0.15 * hump(time - beat, -180 - move, -80 - move)
        found = measure(type(wave)(wave.samples_mv + lead[:, None] * SIZES, RATE, LEADS, "test"))
        pr = found.values["pr_ms"]
        assert pr.value == pytest.approx(140, abs=22)
        assert pr.high is not None
        assert pr.high - (pr.value or nan) == pytest.approx(40, abs=8)


class TestST:
    @pytest.mark.parametrize("raised", [-0.2, -0.1, 0.0, 0.1, 0.25])
    def test_a_known_level_in_every_lead(self, raised: float) -> None:
        """Oracle: the height that the ST segment was made at; the bar is 25 uV."""
        found = measure(recording(regular(), Shape(st_mv=raised, t_mv=0.2)))
        for lead, size in zip(LEADS, SIZES, strict=True):
            for name in ("st_j20_uv", "st_j60_uv", "st_j80_uv"):
                assert found.by_lead[lead][name].value == pytest.approx(raised * size * 1000, abs=25), (
                    lead,
                    name,
                )

    def test_wander_does_not_reach_it(self) -> None:
        """A 1 mV swing at 0.3 Hz, as the stability tests of electrocardiographs have it."""
        still = recording(regular(), Shape(st_mv=0.1))
        time = np.arange(still.n_samples) / RATE
        swing = 0.5 * np.sin(2 * np.pi * 0.3 * time)[:, None]
        found = measure(type(still)(still.samples_mv + swing, RATE, LEADS, "test"))
        for lead, size in zip(LEADS, SIZES, strict=True):
            assert found.by_lead[lead]["st_j60_uv"].value == pytest.approx(100 * size, abs=25), lead

    def test_mains_does_not_reach_it(self) -> None:
        still = recording(regular(), Shape(st_mv=0.1))
        time = np.arange(still.n_samples) / RATE
        hum = 0.2 * np.sin(2 * np.pi * 50.03 * time + 1.0)[:, None]
        found = measure(type(still)(still.samples_mv + hum, RATE, LEADS, "test"))
        for lead, size in zip(LEADS, SIZES, strict=True):
            assert found.by_lead[lead]["st_j60_uv"].value == pytest.approx(100 * size, abs=25), lead
        assert found.values["qrs_ms"].value == pytest.approx(measure(still).values["qrs_ms"].value, abs=4)


def test_one_lead_is_enough() -> None:
    lead = one_lead(regular(), Shape(), 10_000.0)
    found = measure(type(recording([500.0]))(lead[:, None], RATE, ("II",), "test"))
    assert found.values["pr_ms"].value == pytest.approx(140, abs=22)
    assert found.values["qrs_axis_deg"].reason == "lead_absent"
