"""SCP-ECG writing: what ecgdatakit and the hub's own reader read is what was written, to the last bit."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.errors import CannotHold
from hub.ecg.formats.scp import read_scp
from hub.ecg.read import read_ecg
from hub.ecg.waveform import DeviceMeasurement, Filters, Part, PatientText, Waveform
from hub.ecg.writers.scp import write_scp
from tests.ecg import scp_files as scp
from tests.ecg.oracles import by_ecgdatakit
from tests.ecg.records import load, ludb

WAYS = [(difference, huffman) for difference in (0, 1, 2) for huffman in (False, True)]


def recording(columns: list[list[float]], lsb_mv: float | None = 0.005, **facts) -> Waveform:
    """Make a recording from whole steps of `lsb_mv` (of 0.005 mV where that is None)."""
    names = ("I", "II", "V1", "V9")[: len(columns)]
    samples = np.array(columns, dtype=float).T * (lsb_mv or 0.005)
    return Waveform(samples, 500.0, names, "test", lsb_mv=(lsb_mv,) * len(names), **facts)


class TestExact:
    @pytest.mark.parametrize(("difference", "huffman"), WAYS)
    def test_the_example_comes_back(self, difference: int, huffman: bool, tmp_path: Path) -> None:
        """Oracle: ecgdatakit reads what was written; its checksums hold."""
        wave = read_scp(load("ecgtoolkit_Example.scp")["ecgtoolkit_Example.scp"])
        data = write_scp(wave, difference=difference, huffman=huffman)
        back = read_scp(data)
        np.testing.assert_array_equal(back.samples_mv, wave.samples_mv)
        np.testing.assert_array_equal(back.median.samples_mv, wave.median.samples_mv)
        assert (back.leads, back.lsb_mv, back.rate_hz) == (wave.leads, wave.lsb_mv, wave.rate_hz)
        assert (back.patient, back.started_at, back.device) == (wave.patient, wave.started_at, wave.device)
        assert back.device_measurements == wave.device_measurements
        assert back.warnings == ()
        (tmp_path / "x.scp").write_bytes(data)
        theirs = by_ecgdatakit(tmp_path / "x.scp")
        assert theirs.raw_metadata["checksum_valid"]
        for lead in theirs.leads:
            np.testing.assert_allclose(wave.lead(lead.label), np.asarray(lead.samples), atol=1e-12)

    @pytest.mark.parametrize(("difference", "huffman"), WAYS)
    def test_extremes_and_noise(self, difference: int, huffman: bool) -> None:
        steps = np.random.default_rng(4).integers(-32767, 32768, (2, 500))
        steps[:, :4] = [[32767, -32767, 32767, 0], [0, 0, 0, 0]]
        wave = recording(steps.tolist())
        back = read_scp(write_scp(wave, difference=difference, huffman=huffman))
        np.testing.assert_allclose(back.samples_mv, wave.samples_mv, atol=1e-12)

    @pytest.mark.parametrize("size", [1, 2, 3])
    @pytest.mark.parametrize(("difference", "huffman"), WAYS)
    def test_very_short(self, size: int, difference: int, huffman: bool) -> None:
        wave = recording([[5, -7, 9][:size]])
        back = read_scp(write_scp(wave, difference=difference, huffman=huffman))
        np.testing.assert_allclose(back.samples_mv, wave.samples_mv, atol=1e-12)

    def test_second_differences_with_huffman_code_are_small(self) -> None:
        """3.5 times smaller than 16 bits a sample on the example, reference beat and header included."""
        wave = read_scp(load("ecgtoolkit_Example.scp")["ecgtoolkit_Example.scp"])
        assert 2 * wave.samples_mv.size / len(write_scp(wave)) > 3.5

    def test_what_is_absent_at_the_ends_shortens_a_lead(self) -> None:
        wave = recording([[np.nan, 1, 2, 3], [4, 5, np.nan, np.nan], [1, 2, 3, 4]])
        np.testing.assert_allclose(read_scp(write_scp(wave)).samples_mv, wave.samples_mv, atol=1e-12)

    def test_resolutions_that_differ_share_a_divisor(self) -> None:
        wave = replace(recording([[100, 200, 305], [10, 25, 40]], 0.001), lsb_mv=(0.005, 0.0025))
        wave = replace(wave, samples_mv=np.array([[5, 2.5], [10, 7.5], [-5, 0]]) / 1000)
        back = read_scp(write_scp(wave))
        np.testing.assert_allclose(back.samples_mv, wave.samples_mv, atol=1e-12)
        assert back.lsb_mv == (0.0025, 0.0025)

    def test_derived_leads_lie_on_half_steps(self) -> None:
        wave = recording([[1, 2, 4], [2, 7, 1]]).with_derived_limb_leads()
        np.testing.assert_allclose(read_scp(write_scp(wave)).samples_mv, wave.samples_mv, atol=1e-12)

    def test_patient_time_and_filters(self) -> None:
        wave = recording(
            [[1, 2]],
            patient=PatientText("0042", "王^小明", "F", "19800229", "044Y", "GB18030"),
            started_at=datetime(2024, 3, 9, 8, 30, 5, tzinfo=timezone(timedelta(hours=8))),
            filters=Filters(0.05, 150.0, 50.0),
            device="某厂 12",
        )
        back = read_scp(write_scp(wave))
        assert replace(back.patient, charset="") == replace(wave.patient, charset="")
        assert (back.started_at, back.filters, back.device) == (wave.started_at, wave.filters, wave.device)

    def test_measurements(self) -> None:
        given = {"hr_bpm": 72, "rr_mean_ms": 833, "pr_ms": 160, "p_ms": 98, "qrs_ms": 90, "qt_ms": 400}
        given |= {"qrs_axis_deg": -30, "qtc_bazett_ms": 438}
        wave = recording(
            [[1, 2]], device_measurements=tuple(DeviceMeasurement(n, v, "") for n, v in given.items())
        )
        back = {each.name: each.value for each in read_scp(write_scp(wave)).device_measurements}
        assert back == given

    def test_what_is_no_number_of_the_field_is_left_out(self) -> None:
        wave = recording([[1, 2]], device_measurements=(DeviceMeasurement("rr_mean_ms", 70000, "ms"),))
        assert read_scp(write_scp(wave)).device_measurements == ()

    def test_a_beat_in_finer_steps_is_left_out(self) -> None:
        part = Part("median", "m", np.array([[0.0001], [0.0002]]), 500.0, ("I",))
        assert read_scp(write_scp(recording([[1, 2]], parts=(part,)))).parts == ()

    def test_the_checksum_is_that_of_another_program(self) -> None:
        data = write_scp(recording([[1, 2, 3]]))
        assert scp.crc(data[2:]) == int.from_bytes(data[:2], "little")


class TestCannotHold:
    def reason(self, wave: Waveform, **options) -> str:
        with pytest.raises(CannotHold) as caught:
            write_scp(wave, **options)
        return str(caught.value.facts["reason"])

    def test_steps_that_are_no_nanovolts(self) -> None:
        wave = recording([[1, 2, 3]], 1 / 206.3)
        assert self.reason(wave) == "step"
        back = read_scp(write_scp(wave, exact=False))
        assert back.lsb_mv == (0.001,)
        assert np.abs(back.samples_mv - wave.samples_mv).max() <= 0.0005

    def test_a_recording_of_ludb_rounded(self) -> None:
        wave = read_ecg(ludb(88))
        assert self.reason(wave) == "step"
        back = read_scp(write_scp(wave, exact=False))
        assert np.nanmax(np.abs(back.samples_mv - wave.samples_mv)) <= 0.0005 + 1e-9

    def test_no_resolution_is_known(self) -> None:
        assert self.reason(recording([[1, 2, 3]], None)) == "step"

    def test_more_than_16_bits(self) -> None:
        wave = recording([[0, 40000]], 0.001)
        assert self.reason(wave) == "range"
        back = read_scp(write_scp(wave, exact=False))
        assert np.abs(back.samples_mv - wave.samples_mv).max() <= back.lsb_mv[0] / 2

    def test_samples_between_the_steps(self) -> None:
        wave = recording([[1, 2, 3]])
        assert self.reason(replace(wave, samples_mv=wave.samples_mv + 0.0012)) == "step"

    @pytest.mark.parametrize("column", [[1, np.nan, 2], [np.nan, np.nan, np.nan]])
    def test_absent_samples_within(self, column: list[float]) -> None:
        assert self.reason(recording([[1, 2, 3], column])) == "gap"
        assert self.reason(recording([[1, 2, 3], column]), exact=False) == "gap"

    def test_rate(self) -> None:
        wave = replace(recording([[1, 2]]), rate_hz=360.0)
        assert self.reason(wave) == "rate"
        assert read_scp(write_scp(wave, exact=False)).rate_hz == pytest.approx(360, rel=1e-3)
        assert self.reason(replace(wave, rate_hz=10.0), exact=False) == "rate"

    def test_a_lead_without_a_code(self) -> None:
        assert self.reason(replace(recording([[1, 2]]), leads=("ECG",))) == "lead"

    def test_a_lead_longer_than_its_field(self) -> None:
        wave = recording([[0] * 40000])
        assert self.reason(wave, huffman=False) == "length"
        assert read_scp(write_scp(wave)).n_samples == 40000
