"""The one waveform type: what it refuses, and the limb leads by Einthoven and Goldberger."""

import numpy as np
import pytest

from hub.ecg.errors import NoLeads, NotAWaveform, RateMissing
from hub.ecg.leads import STANDARD_LEADS, lead_from_code, lead_from_text, unique_names
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Waveform
from tests.ecg.records import load


def wave(samples: np.ndarray, leads: tuple[str, ...] = ("I", "II"), rate: float = 500.0) -> Waveform:
    return Waveform(samples, rate, leads, "test")


class TestConstruction:
    @pytest.mark.parametrize(
        ("samples", "leads", "rate", "error"),
        [
            (np.zeros((10, 2)), ("I", "I"), 500.0, NotAWaveform),
            (np.zeros((10, 2)), ("I",), 500.0, NotAWaveform),
            (np.zeros(10), ("I",), 500.0, NotAWaveform),
            (np.zeros((0, 2)), ("I", "II"), 500.0, NoLeads),
            (np.zeros((5, 0)), (), 500.0, NoLeads),
            (np.zeros((10, 2)), ("I", "II"), 0.0, RateMissing),
            (np.zeros((10, 2)), ("I", "II"), float("nan"), RateMissing),
            (np.full((10, 2), np.inf), ("I", "II"), 500.0, NotAWaveform),
            (np.full((10, 2), -1e300), ("I", "II"), 500.0, NotAWaveform),
        ],
    )
    def test_inconsistent_ones_cannot_exist(self, samples, leads, rate, error) -> None:
        with pytest.raises(error):
            wave(samples, leads, rate)

    def test_a_wrong_unit_shows(self) -> None:
        """A 1 mV complex read as volts swings by 1000 mV; a large offset alone is no such thing."""
        assert wave(np.array([[0.0, 0.0], [1000.0, 0.0]])).warnings == ("amplitude_implausible",)
        assert wave(np.array([[300.0, 0.0], [301.0, np.nan]])).warnings == ()

    def test_samples_cannot_be_changed(self) -> None:
        with pytest.raises(ValueError, match="read-only"):
            wave(np.zeros((10, 2))).samples_mv[0, 0] = 1.0

    @pytest.mark.parametrize(
        ("rate", "expected"),
        [
            (1000.0, ()),
            (500.0, ()),
            (499.0, ("rate_low",)),
            (200.0, ("rate_low",)),
            (199.0, ("rate_too_low",)),
        ],
    )
    def test_low_rates_are_warned_of(self, rate: float, expected: tuple[str, ...]) -> None:
        assert wave(np.zeros((10, 2)), rate=rate).warnings == expected


class TestDerivedLimbLeads:
    def test_numbers(self) -> None:
        """Oracle: I = 1.0, II = 0.4 mV by hand: III -0.6, aVR -0.7, aVL 0.8, aVF -0.1."""
        full = wave(np.array([[1.0, 0.4]])).with_derived_limb_leads()
        assert full.leads == ("I", "II", "III", "aVR", "aVL", "aVF")
        np.testing.assert_allclose(full.samples_mv[0], [1.0, 0.4, -0.6, -0.7, 0.8, -0.1])
        assert "limb_leads_derived" in full.warnings
        assert full.lsb_mv == (None,) * 6

    def test_against_a_cart_that_stores_all_twelve(self) -> None:
        """Oracle: the Mortara cart's own III, aVR, aVL and aVF, to its resolution."""
        whole = read_ecg(load("mortara_12lead.dcm"))
        eight = [0, 1, 6, 7, 8, 9, 10, 11]
        part = wave(whole.samples_mv[:, eight], tuple(whole.leads[i] for i in eight), whole.rate_hz)
        derived = part.with_derived_limb_leads()
        assert derived.leads == STANDARD_LEADS
        assert np.abs(derived.samples_mv - whole.samples_mv).max() <= 2 * 1.25e-3

    def test_recorded_leads_are_kept(self) -> None:
        full = read_ecg(load("mortara_12lead.dcm"))
        assert full.with_derived_limb_leads() is full

    def test_one_limb_lead_is_not_enough(self) -> None:
        alone = wave(np.zeros((5, 1)), ("II",))
        assert alone.with_derived_limb_leads() is alone

    def test_gaps_stay_gaps(self) -> None:
        full = wave(np.array([[np.nan, 0.4]])).with_derived_limb_leads()
        assert np.isnan(full.lead("III")[0])


class TestLeadNames:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("i", "I"),
            ("avr", "aVR"),
            ("AVF", "aVF"),
            ("v6", "V6"),
            ("Lead I (Einthoven)", "I"),
            ("Lead V1", "V1"),
            ("MDC_ECG_LEAD_AVL", "aVL"),
            ("ECG Lead II", "II"),
            ("vz", "Z"),
            ("V4R", "V4R"),
            ("MLII", None),
            ("", None),
            ("Resp", None),
        ],
    )
    def test_texts(self, text: str, name: str | None) -> None:
        assert lead_from_text(text) == name

    def test_codes(self) -> None:
        """Oracle: PS3.16 CID 3001 / SCP-ECG table: 1 I, 2 II, 3-8 V1-V6, 61-64 III, aVR, aVL, aVF."""
        numbers = [1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8]
        assert tuple(lead_from_code(n) for n in numbers) == STANDARD_LEADS
        assert lead_from_code(200) is None

    def test_repeats_become_unique(self) -> None:
        assert unique_names(["a", "a", "a#2", "b"])[0] == ("a", "a#3", "a#2", "b")
        assert unique_names(["a", "b"]) == (("a", "b"), False)
