"""The sheet in millimetres, held against ruler arithmetic and DICOM's worked scale."""

import numpy as np
import pytest

from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.paper import LAYOUTS, TRACE_LEFT_MM, lay_out
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Waveform
from tests.ecg.records import load


def wave(samples: np.ndarray, rate: float = 500.0, leads: tuple[str, ...] = STANDARD_LEADS) -> Waveform:
    return Waveform(np.repeat(samples[:, None], len(leads), axis=1), rate, leads, "test")


def segment(paper, lead: str, place: int = 0):
    return [s for s in paper.segments if s.lead == lead][place]


class TestScale:
    def test_worked_case_of_dicom(self) -> None:
        """Oracle: PS3.3 C.10.9.1.8, 25 mm/s at 400 Hz on 4.1 px/mm is 0.25625 px per sample."""
        line = segment(lay_out(wave(np.zeros(4000), rate=400.0)), "I").lines[0]
        assert np.diff(line[:, 0]) * 4.1 == pytest.approx(0.25625)

    def test_one_millivolt_is_ten_millimetres_up(self) -> None:
        paper = lay_out(wave(np.array([0.0, 1.0, -0.5])))
        part = segment(paper, "I")
        assert part.lines[0][:, 1] - part.baseline_mm == pytest.approx([0.0, -10.0, 5.0])

    def test_one_second_is_twenty_five_millimetres(self) -> None:
        line = segment(lay_out(wave(np.zeros(5001))), "II", place=1).lines[0]
        assert line[0, 0] == TRACE_LEFT_MM
        assert line[500, 0] - line[0, 0] == pytest.approx(25.0)
        assert line[-1, 0] - line[0, 0] == pytest.approx(250.0)

    def test_calibration_pulse(self) -> None:
        """Oracle: 1 mV for 0.2 s, that is 10 mm high and 5 mm wide, left of the trace."""
        paper = lay_out(wave(np.zeros(5000)))
        assert len(paper.pulses) == 4
        for pulse in paper.pulses:
            assert np.ptp(pulse[:, 1]) == 10.0
            top = pulse[pulse[:, 1] == pulse[:, 1].min()]
            assert np.ptp(top[:, 0]) == 5.0
            assert pulse[:, 0].max() <= TRACE_LEFT_MM
            assert pulse[0, 1] == pulse[-1, 1]

    def test_other_speeds_and_gains(self) -> None:
        part = segment(lay_out(wave(np.array([0.0, 1.0])), mm_per_s=50.0, mm_per_mv=5.0), "I")
        assert np.diff(part.lines[0], axis=0)[0] == pytest.approx([0.1, -5.0])


class TestArrangement:
    def test_three_by_four_and_a_strip(self) -> None:
        paper = lay_out(wave(np.zeros(5000)))
        assert [s.lead for s in paper.segments] == [
            *("I", "aVR", "V1", "V4"), *("II", "aVL", "V2", "V5"), *("III", "aVF", "V3", "V6"), "II",
        ]  # fmt: skip
        assert [s.width_mm for s in paper.segments] == [62.5] * 12 + [250.0]

    def test_columns_go_on_in_time(self) -> None:
        """Oracle: a ramp of 0.1 mV per second: each column starts where the last one ended."""
        ramp = np.arange(5000) / 500.0 * 0.1
        paper = lay_out(wave(ramp))
        strip = segment(paper, "II", place=1).lines[0]
        for lead, column in (("I", 0), ("aVR", 1), ("V1", 2), ("V4", 3)):
            part = segment(paper, lead)
            first = part.lines[0][0]
            assert first[0] == pytest.approx(TRACE_LEFT_MM + 62.5 * column)
            assert part.baseline_mm - first[1] == pytest.approx(2.5 * column)
            shared = strip[np.abs(strip[:, 0] - first[0]).argmin()]
            assert shared[0] == pytest.approx(first[0])

    @pytest.mark.parametrize("name", list(LAYOUTS))
    def test_every_layout_fits_and_sits_on_the_grid(self, name: str) -> None:
        layout = LAYOUTS[name]
        paper = lay_out(wave(np.zeros(5000)), layout)
        assert paper.width_mm <= 277
        assert paper.height_mm <= 160
        assert paper.width_mm % 5 == paper.height_mm % 5 == 0
        assert all(s.baseline_mm % 5 == 0 for s in paper.segments)
        assert {s.lead for s in paper.segments} == set(STANDARD_LEADS)
        assert max(s.x_mm + s.width_mm for s in paper.segments) <= paper.width_mm

    def test_a_later_start(self) -> None:
        ramp = np.arange(10_000) / 500.0
        part = segment(lay_out(wave(ramp), start_s=4.0), "I")
        assert part.lines[0][0] == pytest.approx([TRACE_LEFT_MM, part.baseline_mm - 40.0])

    def test_a_short_recording_leaves_the_rest_empty(self) -> None:
        paper = lay_out(wave(np.zeros(1000)))
        assert segment(paper, "I").lines[0][-1, 0] == pytest.approx(TRACE_LEFT_MM + 49.95)
        assert segment(paper, "V6").lines == ()
        assert segment(paper, "V6").recorded

    def test_an_absent_lead_is_said_to_be_absent(self) -> None:
        paper = lay_out(wave(np.zeros(5000), leads=("II", "V1")))
        assert not segment(paper, "V2").recorded
        assert segment(paper, "V2").lines == ()

    def test_limb_leads_are_computed(self) -> None:
        assert segment(lay_out(wave(np.zeros(5000), leads=("I", "II"))), "aVF").recorded


class TestGaps:
    def test_missing_samples_break_the_line(self) -> None:
        samples = np.zeros(1000)
        samples[100:200] = np.nan
        samples[300] = samples[302] = np.nan
        lines = segment(lay_out(wave(samples)), "I").lines
        assert [len(line) for line in lines] == [100, 100, 1, 697]
        assert all(np.isfinite(line).all() for line in lines)

    def test_no_sample_at_all(self) -> None:
        assert segment(lay_out(wave(np.full(100, np.nan))), "I").lines == ()


def test_a_real_record_stands_where_its_millivolts_say() -> None:
    """Oracle: the samples themselves, by the plain formula."""
    recording = read_ecg(load("mortara_12lead.dcm"))
    part = segment(lay_out(recording), "V2")
    v2 = recording.lead("V2")[5000:7501]
    assert part.lines[0][:, 1] == pytest.approx(part.baseline_mm - 10.0 * v2)
