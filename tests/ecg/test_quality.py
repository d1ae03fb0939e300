"""Recording technique: faults of known size are put in and must be seen, clean leads left alone."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.analysis.model import Quality
from hub.ecg.analysis.quality import assess
from hub.ecg.analysis.quality_lead import measure_leads
from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.read import read_ecg
from hub.ecg.scoring import quality as score
from hub.ecg.scoring.scale import true_scale
from hub.ecg.waveform import Waveform
from tests.ecg.records import load, ludb
from tests.ecg.strips import strip

BEATS = np.arange(0.5, 10, 0.8)
TIME = np.arange(5000) / 500.0


def codes(quality: Quality) -> dict[str, tuple[str, ...]]:
    return {each.code: each.leads for each in quality.findings}


def changed(waveform: Waveform, lead: str, values: np.ndarray) -> Waveform:
    samples = waveform.samples_mv.copy()
    samples[:, waveform.leads.index(lead)] = values
    return replace(waveform, samples_mv=samples)


class TestCleanRecordings:
    def test_a_made_strip(self) -> None:
        quality = assess(strip(BEATS))
        assert (quality.verdict, quality.findings) == ("good", ())
        assert set(quality.per_lead.values()) == {"good"}

    @pytest.mark.parametrize("record", [45, 64, 88, 135])
    def test_real_ones(self, record: int) -> None:
        assert assess(true_scale(read_ecg(ludb(record)))).verdict == "good"

    def test_a_real_one_with_three_dead_leads(self) -> None:
        """Oracle: JS20008 stores nothing but zeros in V2, V4 and V6."""
        waveform = read_ecg(load("JS20008.hea", "JS20008.mat"))
        dead = tuple(name for i, name in enumerate(waveform.leads) if np.ptp(waveform.samples_mv[:, i]) == 0)
        quality = assess(waveform)
        assert dead == ("V2", "V4", "V6")
        assert (quality.verdict, codes(quality)["lead_off"]) == ("repeat", dead)


class TestPlantedFaults:
    def test_a_lead_that_rests_on_one_value(self) -> None:
        clean = strip(BEATS)
        lead = np.where(TIME > 7, 1.7, clean.lead("V3"))
        quality = assess(changed(clean, "V3", lead))
        assert (quality.verdict, codes(quality)) == ("repeat", {"lead_off": ("V3",)})
        assert (quality.per_lead["V3"], quality.per_lead["V4"]) == ("bad", "good")
        assert quality.findings[0].numbers["stuck_s"] == pytest.approx(3.0, abs=0.01)

    def test_missing_samples(self) -> None:
        lead = np.where((TIME > 2) & (TIME < 3.5), np.nan, strip(BEATS).lead("II"))
        assert codes(assess(changed(strip(BEATS), "II", lead)))["lead_off"] == ("II",)

    def test_a_flat_lead(self) -> None:
        lead = 0.003 * np.random.default_rng(0).standard_normal(5000)
        assert codes(assess(changed(strip(BEATS), "V1", lead)))["flat"] == ("V1",)

    def test_a_lead_on_its_rails(self) -> None:
        clean = strip(BEATS)
        lead = np.clip(clean.lead("V4"), -0.4, 0.6)
        quality = assess(changed(clean, "V4", lead))
        assert (quality.verdict, codes(quality)) == ("repeat", {"clipped": ("V4",)})

    def test_the_end_of_the_stored_range_counts_as_a_rail(self) -> None:
        """16 bits end at 32767: at 5 uV a unit that is 163.835 mV."""
        clean = strip(BEATS)
        lead = np.where((TIME > 5) & (TIME < 5.1), 32767 * 0.005, clean.lead("V4"))
        assert codes(assess(changed(clean, "V4", lead)))["clipped"] == ("V4",)

    @pytest.mark.parametrize("hz", [49.8, 50.0, 60.2])
    @pytest.mark.parametrize(("uv", "verdict"), [(10.0, "good"), (60.0, "usable"), (150.0, "repeat")])
    def test_mains_is_measured_and_graded(self, hz: float, uv: float, verdict: str) -> None:
        clean = strip(BEATS)
        lead = clean.lead("V2") + uv / 1000 * np.sin(2 * np.pi * hz * TIME)
        quality = assess(changed(clean, "V2", lead))
        assert quality.verdict == verdict
        measured = measure_leads(changed(clean, "V2", lead)).mains_uv[7]
        assert measured == pytest.approx(uv, rel=0.2)

    def test_muscle_noise(self) -> None:
        clean = strip(BEATS)
        lead = clean.lead("I") + 0.08 * np.random.default_rng(0).standard_normal(5000)
        assert codes(assess(changed(clean, "I", lead)))["muscle"] == ("I",)

    def test_wander_is_no_reason_to_distrust_the_lead(self) -> None:
        clean = strip(BEATS)
        quality = assess(changed(clean, "V5", clean.lead("V5") + np.sin(2 * np.pi * 0.2 * TIME)))
        assert (codes(quality), quality.per_lead["V5"]) == ({"wander": ("V5",)}, "usable")

    @pytest.mark.parametrize(("seconds", "verdict"), [(4.0, "repeat"), (8.0, "usable"), (10.0, "good")])
    def test_length(self, seconds: float, verdict: str) -> None:
        assert assess(strip(BEATS, seconds=seconds)).verdict == verdict

    def test_a_low_rate_and_missing_leads_do_not_ask_for_a_repetition(self) -> None:
        quality = assess(Waveform(strip(BEATS).samples_mv[::4, :1], 125.0, ("I",), "test"))
        assert set(codes(quality)) == {"rate_too_low", "leads_missing"}
        assert quality.verdict == "usable"
        assert codes(quality)["leads_missing"] == STANDARD_LEADS[1:]

    def test_leads_in_several_scales(self) -> None:
        """Oracle: LUDB's headers make every lead span 1 mV, so II is no longer I + III."""
        as_written = read_ecg(ludb(45))
        one, two, three = (as_written.lead(name) for name in ("I", "II", "III"))
        assert np.ptp(two - one - three) > 0.3
        assert "units_doubtful" in codes(assess(as_written))
        assert "units_doubtful" not in codes(assess(true_scale(as_written)))

    @pytest.mark.parametrize("factor", [0.001, 1000.0])
    def test_a_recording_in_the_wrong_unit(self, factor: float) -> None:
        clean = strip(BEATS)
        assert "units_doubtful" in codes(assess(replace(clean, samples_mv=clean.samples_mv * factor)))


def test_the_true_scale_is_taken_only_where_the_header_cannot_be_right() -> None:
    """Oracle: LUDB 135 stores 710 units of lead I in the 1 mV of its header; CinC obeys Einthoven."""
    ludb_record, other = read_ecg(ludb(135)), read_ecg(load("JS20008.hea", "JS20008.mat"))
    assert np.ptp(ludb_record.lead("I")) == pytest.approx(1.0, abs=0.01)
    assert np.ptp(true_scale(ludb_record).lead("I")) == pytest.approx(0.71, abs=0.002)
    assert true_scale(other) is other


def test_faults_in_real_leads_are_found() -> None:
    """The whole table is printed by ``hub ecg score``; here on two records."""
    recordings = [true_scale(read_ecg(ludb(n))) for n in (64, 135)]
    assert {name: each.found for name, each in score.injected(recordings).items()} == dict.fromkeys(
        score.FAULTS, 24
    )
    assert sum(each.found for each in score.accused(recordings).values()) == 0


@pytest.mark.skipif(not os.environ.get("HUB_TEST_DATA"), reason="HUB_TEST_DATA is not set")
def test_faults_in_all_ludb_leads() -> None:
    folder = Path(os.environ["HUB_TEST_DATA"]) / "ecg" / "wfdb_ludb"
    recordings = [
        true_scale(read_ecg({p.name: p.read_bytes(), f"{p.stem}.dat": p.with_suffix(".dat").read_bytes()}))
        for p in sorted(folder.glob("*.hea"))
        if int(p.stem) % 2 == 0
    ]
    found = score.injected(recordings)
    print({name: f"{each.found}/{each.of}" for name, each in found.items()})
    assert all(each.found >= 0.99 * each.of for each in found.values())
    assert all(each.found <= 0.01 * each.of for each in score.accused(recordings).values())
