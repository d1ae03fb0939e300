"""The sheet in millimetres, held against ruler arithmetic and DICOM's worked scale."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.paper import LAYOUTS, TRACE_LEFT_MM, in_cabrera_order, lay_out
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

    def test_a_short_recording_gives_every_lead_its_share(self) -> None:
        """Oracle: 5 s are 125 mm, a quarter of it for each column; the last column has samples too."""
        paper = lay_out(wave(np.zeros(2500)))
        assert [s.x_mm for s in paper.segments[:4]] == [10.0, 41.25, 72.5, 103.75]
        assert len(segment(paper, "V6").lines[0]) == 625
        assert segment(paper, "II", place=1).width_mm == 125.0

    def test_nearly_full_is_laid_out_as_full(self) -> None:
        paper = lay_out(wave(np.zeros(4600)))
        assert segment(paper, "V6").x_mm == TRACE_LEFT_MM + 187.5
        assert segment(paper, "V6").lines[0][-1, 0] == pytest.approx(TRACE_LEFT_MM + 229.95)

    @pytest.mark.parametrize(("speed", "seconds"), [(12.5, 20.0), (25.0, 10.0), (50.0, 5.0)])
    def test_speed_decides_how_long_a_sheet_is(self, speed: float, seconds: float) -> None:
        paper = lay_out(wave(np.zeros(30_000)), mm_per_s=speed)
        assert paper.segments[-1].width_mm == 250.0
        assert len(paper.segments[-1].lines[0]) == seconds * 500 + 1

    def test_cabrera_order(self) -> None:
        """Oracle: aVL, I, -aVR, II, aVF, III; -aVR is aVR turned over."""
        millivolts = np.arange(12) / 10.0
        full = Waveform(np.tile(millivolts, (5000, 1)), 500.0, STANDARD_LEADS, "test")
        paper = lay_out(full, in_cabrera_order(LAYOUTS["12x1"]))
        assert [s.lead for s in paper.segments[:6]] == ["aVL", "I", "-aVR", "II", "aVF", "III"]
        mirrored = segment(paper, "-aVR")
        assert mirrored.baseline_mm - mirrored.lines[0][0, 1] == pytest.approx(-3.0)
        columns = [s.lead for s in lay_out(full, in_cabrera_order(LAYOUTS["3x4+1"])).segments]
        assert columns[::4][:3] == ["aVL", "I", "-aVR"]
        assert columns[1::4][:3] == ["II", "aVF", "III"]

    def test_an_absent_lead_is_said_to_be_absent(self) -> None:
        paper = lay_out(wave(np.zeros(5000), leads=("II", "V1")))
        assert not segment(paper, "V2").recorded
        assert segment(paper, "V2").lines == ()

    def test_limb_leads_are_computed(self) -> None:
        assert segment(lay_out(wave(np.zeros(5000), leads=("I", "II"))), "aVF").recorded


class TestRoomForTallWaves:
    """Oracle: ruler arithmetic; 2 mm stay clear, and the grid keeps to whole strong squares."""

    @staticmethod
    def edges(layout: str, mm_per_mv: float = 10.0, **peaks: float) -> tuple[float, float]:
        samples = np.zeros((5000, 12))
        for lead, millivolts in peaks.items():
            samples[700, STANDARD_LEADS.index(lead)] = millivolts
        tall = Waveform(samples, 500.0, STANDARD_LEADS, "test")
        paper = lay_out(tall, LAYOUTS[layout], mm_per_mv=mm_per_mv)
        assert paper.height_mm <= 150
        return paper.segments[0].baseline_mm, paper.height_mm - paper.segments[-1].baseline_mm

    def test_what_fits_changes_nothing(self) -> None:
        assert self.edges("3x4+1", V4=1.8, II=-1.8) == (20, 20)

    def test_an_r_wave_of_3_1_mv_in_the_first_row(self) -> None:
        """The row below the last one gives room first: 2.7 mV change no height."""
        assert self.edges("3x4+1", V4=3.1) == (35, 10)
        assert self.edges("3x4+1", V4=2.7) == (30, 10)

    def test_in_a_lower_row_it_needs_none(self) -> None:
        assert self.edges("3x4+1", V5=3.1, V6=3.1) == (20, 20)

    def test_a_deep_wave_in_the_last_row(self) -> None:
        assert self.edges("6x2", V6=-2.2) == (20, 25)

    def test_the_pulse_of_20_mm_per_mv_keeps_off_the_edge(self) -> None:
        assert self.edges("6x2", 20.0) == (25, 15)

    def test_no_higher_than_a4_holds(self) -> None:
        assert self.edges("12x1", I=9.0) == (30, 10)

    def test_nothing_of_it_is_cut_in_the_drawing(self) -> None:
        samples = np.zeros((5000, 12))
        samples[4000, STANDARD_LEADS.index("V4")] = 3.1
        paper = lay_out(Waveform(samples, 500.0, STANDARD_LEADS, "test"))
        assert min(line[:, 1].min() for s in paper.segments for line in s.lines) == pytest.approx(4.0)


class TestGaps:
    def test_missing_samples_break_the_line(self) -> None:
        samples = np.zeros(5000)
        samples[100:200] = np.nan
        samples[300] = samples[302] = np.nan
        lines = segment(lay_out(wave(samples)), "I").lines
        assert [len(line) for line in lines] == [100, 100, 1, 948]
        assert all(np.isfinite(line).all() for line in lines)

    def test_no_sample_at_all(self) -> None:
        assert segment(lay_out(wave(np.full(100, np.nan))), "I").lines == ()


def test_a_real_record_stands_where_its_millivolts_say() -> None:
    """Oracle: the samples themselves, by the plain formula."""
    recording = read_ecg(load("mortara_12lead.dcm"))
    part = segment(lay_out(recording), "V2")
    v2 = recording.lead("V2")[5000:7501]
    assert part.lines[0][:, 1] == pytest.approx(part.baseline_mm - 10.0 * v2)


GOLDEN = Path(__file__).parents[2] / "hub/web/islands/ecg-viewer/paper.golden.json"
CASES = [
    *product(LAYOUTS, (False, True), [(500.0, 5000, 0.0)], [(25.0, 10.0)]),
    *product(
        ["3x4+1", "12x1"],
        [False],
        [(400.0, 4000, 0.0), (1000.0, 25_000, 7.3), (500.0, 2500, 0.0)],
        [(12.5, 5.0), (25.0, 20.0), (50.0, 10.0)],
    ),
]


def numbers(layout: str, cabrera: bool, extent: tuple[float, int, float], scale: tuple[float, float]) -> Any:
    """Lay a ramp of 1 uV a sample out and note where everything stands, to the micrometre."""
    rate, n_samples, start = extent
    arranged = in_cabrera_order(LAYOUTS[layout]) if cabrera else LAYOUTS[layout]
    ramp = wave(np.arange(n_samples) / 1000.0, rate=rate)
    paper = lay_out(ramp, arranged, start_s=start, mm_per_s=scale[0], mm_per_mv=scale[1])
    return {
        "layout": layout,
        "cabrera": cabrera,
        "rate_hz": rate,
        "n_samples": n_samples,
        "start_s": start,
        "mm_per_s": scale[0],
        "mm_per_mv": scale[1],
        "width_mm": paper.width_mm,
        "height_mm": paper.height_mm,
        "pulses": [np.round(pulse, 3).tolist() for pulse in paper.pulses],
        "cells": [
            {
                "lead": s.lead,
                "x_mm": round(s.x_mm, 3),
                "baseline_mm": s.baseline_mm,
                "width_mm": round(s.width_mm, 3),
                "label_mm": round(s.label_mm, 3),
                "points": sum(map(len, s.lines)),
                "first": [round(v, 3) for v in s.lines[0][0].tolist()] if s.lines else None,
                "last": [round(v, 3) for v in s.lines[-1][-1].tolist()] if s.lines else None,
            }
            for s in paper.segments
        ],
    }


def test_the_pages_script_is_held_against_the_same_numbers() -> None:
    """`layout.test.ts` lays out the same cases and compares with this file, so screen and paper agree.

    To write it anew: ``python -c "from tests.ecg.test_paper import *; write_golden()"``.
    """
    assert json.loads(GOLDEN.read_text()) == [numbers(*case) for case in CASES]


def write_golden() -> None:
    """Write the file that this test and the script's test compare with."""
    lines = ",\n".join(json.dumps(numbers(*case)) for case in CASES)
    GOLDEN.write_text(f"[\n{lines}\n]\n")
