"""EDF+ writing, read back by ecgdatakit, by wfdb-python and by the numbers of the file itself."""

import warnings
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.errors import CannotHold
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Filters, PatientText, Waveform
from hub.ecg.writers.edf import write_edf
from tests.ecg.oracles import by_ecgdatakit
from tests.ecg.records import load, ludb


def made(stored: np.ndarray, lsb_mv: float | None = 0.005, rate_hz: float = 500.0, **more) -> Waveform:
    names = ("I", "II", "V1", "V2")[: stored.shape[1]]
    return Waveform(
        stored * (lsb_mv or 0.005), rate_hz, names, "scp", lsb_mv=(lsb_mv,) * stored.shape[1], **more
    )


def by_others(folder: Path, data: bytes) -> np.ndarray:
    """Return what ecgdatakit reads, in mV."""
    (folder / "a.edf").write_bytes(data)
    leads = by_ecgdatakit(folder / "a.edf").leads
    return np.stack(
        [np.asarray(x.samples) * {"uV": 1e-3, "mV": 1.0, "V": 1e3, "nV": 1e-6}[x.units] for x in leads], 1
    )


class TestReadBack:
    @pytest.mark.parametrize("record", [45, 88])
    def test_a_12_lead_record(self, tmp_path: Path, record: int) -> None:
        """Oracle: ecgdatakit finds the samples of the record that was read."""
        wave = read_ecg(ludb(record))
        data = write_edf(wave)
        np.testing.assert_allclose(by_others(tmp_path, data), wave.samples_mv, atol=1e-9)
        again = read_ecg({"x": data})
        np.testing.assert_allclose(again.samples_mv, wave.samples_mv, atol=1e-9)
        assert again.leads == wave.leads
        assert again.lsb_mv == pytest.approx(wave.lsb_mv)
        assert again.rate_hz == 500
        assert "gaps" not in again.warnings

    @pytest.mark.parametrize("name", ["mortara_12lead.dcm", "ecgtoolkit_12lead.dcm"])
    def test_from_dicom(self, tmp_path: Path, name: str) -> None:
        """Oracle: ecgdatakit."""
        wave = read_ecg(load(name))
        np.testing.assert_allclose(by_others(tmp_path, write_edf(wave)), wave.samples_mv, atol=1e-9)

    def test_by_wfdb(self, tmp_path: Path) -> None:
        """Oracle: the stored numbers that wfdb.io.convert.edf.read_edf finds.

        Its millivolts are one unit low for any EDF file whose zero is stored as 0: it lays the physical
        maximum on the digital maximum plus one.
        """
        from wfdb.io.convert.edf import read_edf

        stored = np.random.default_rng(1).integers(-32767, 32767, (5000, 2))
        (tmp_path / "a.edf").write_bytes(write_edf(made(stored)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = read_edf(str(tmp_path / "a.edf"), rdedfann_flag=False)
        assert theirs.fs == 500
        found = theirs.p_signal[:, :2] * theirs.adc_gain[:2] + theirs.baseline[:2]
        np.testing.assert_allclose(found, stored, atol=1e-6)

    @pytest.mark.parametrize(
        "lsb_mv", [0.005, 0.00488, 0.00125, 0.001, 1 / 409.6, 0.0025, 1e-4, 3.05e-5, 1 / 3]
    )
    def test_the_device_units_are_the_stored_values(self, lsb_mv: float) -> None:
        """Oracle: the 16-bit words of the file are the numbers that the device stored."""
        stored = np.array([[0], [1], [-1], [32000], [-32000], [7]])
        data = write_edf(made(stored, lsb_mv))
        words = np.frombuffer(data[768:], "<i2")[:6]
        assert words.tolist() == stored[:, 0].tolist()
        np.testing.assert_allclose(
            read_ecg({"x": data}).samples_mv[:, 0], stored[:, 0] * lsb_mv, rtol=1e-12, atol=1e-12
        )

    @pytest.mark.parametrize("n_samples", [1, 7, 4999, 5000, 5003, 12_345])
    def test_every_length(self, tmp_path: Path, n_samples: int) -> None:
        """Oracle: ecgdatakit finds as many samples; primes have no whole seconds."""
        wave = made(np.arange(n_samples)[:, None] % 4000)
        np.testing.assert_allclose(by_others(tmp_path, write_edf(wave)), wave.samples_mv, atol=1e-9)

    def test_start_device_and_filters(self) -> None:
        moment = datetime(1999, 12, 31, 23, 59, 59, 123_456)  # noqa: DTZ001 - EDF knows no zone
        filters = Filters(0.05, 150.0, 50.0)
        wave = made(np.zeros((1000, 1), int) + 3, started_at=moment, filters=filters, device="SE-301 cart")
        again = read_ecg({"x": write_edf(wave)})
        assert again.started_at == moment
        assert again.filters == filters
        assert again.device == "SE-301 cart"
        assert read_ecg({"x": write_edf(made(np.zeros((1000, 1), int)))}).started_at is None

    def test_a_year_that_two_digits_cannot_say(self) -> None:
        moment = datetime(1950, 1, 2, 3, 4, 5)  # noqa: DTZ001
        assert (
            read_ecg({"x": write_edf(made(np.zeros((500, 1), int), started_at=moment))}).started_at == moment
        )

    def test_no_patient_text_unless_given(self) -> None:
        secret = PatientText("17", "ZZSECRET", "M")
        wave = made(np.zeros((500, 1), int), patient=secret, device_statements=("ZZSECRET",))
        assert b"ZZSECRET" not in write_edf(wave)
        given = PatientText("MCH 17", "Haagse Harry", "F", "19510502")
        patient = read_ecg({"x": write_edf(wave, patient=given)}).patient
        assert (patient.local_id, patient.name, patient.sex, patient.birth_date) == (
            "MCH 17", "Haagse Harry", "F", "19510502",
        )  # fmt: skip
        assert (
            read_ecg({"x": write_edf(wave, patient=PatientText("1", "张三", "男", "1951"))}).patient.name
            == ""
        )


class TestWhatDoesNotFit:
    def refused(self, wave: Waveform) -> str:
        with pytest.raises(CannotHold) as caught:
            write_edf(wave)
        return str(caught.value.facts["reason"])

    def test_missing_samples(self) -> None:
        """Oracle: the stretches as made, with their leads."""
        stored = np.ones((1000, 2))
        stored[100:150] = np.nan
        stored[900:, 1] = np.nan
        wave = made(stored)
        assert self.refused(wave) == "gap"
        again = read_ecg({"x": write_edf(wave, exact=False)})
        assert again.device_statements == ("0.2 s: no data: I, II", "1.8 s: no data: II")
        np.testing.assert_allclose(again.samples_mv, np.nan_to_num(wave.samples_mv), atol=1e-12)

    def test_more_than_16_bits(self) -> None:
        wave = made(np.array([[100_000], [1], [-5]]))
        assert self.refused(wave) == "range"
        again = read_ecg({"x": write_edf(wave, exact=False)})
        assert again.lsb_mv[0] == pytest.approx(0.016)
        np.testing.assert_allclose(again.samples_mv, wave.samples_mv, atol=0.008)

    def test_samples_between_the_units(self) -> None:
        wave = Waveform(np.array([[0.0017], [0.1001], [-0.3]]), 500.0, ("I",), "edf", lsb_mv=(0.01,))
        assert self.refused(wave) == "step"
        np.testing.assert_allclose(
            read_ecg({"x": write_edf(wave, exact=False)}).samples_mv, wave.samples_mv, atol=1e-5
        )

    def test_a_step_that_the_header_cannot_write(self) -> None:
        wave = made(np.array([[30_000], [29_989]]), lsb_mv=np.pi / 1000)
        assert self.refused(wave) == "step"
        np.testing.assert_allclose(
            read_ecg({"x": write_edf(wave, exact=False)}).samples_mv, wave.samples_mv, atol=0.002
        )

    def test_a_length_without_whole_records(self) -> None:
        """Oracle: 360 Hz needs records of a multiple of 9 samples; 1001 is none."""
        wave = made(np.ones((1001, 1), int), rate_hz=360.0)
        assert self.refused(wave) == "length"
        again = read_ecg({"x": write_edf(wave, exact=False)})
        assert again.rate_hz == 360
        np.testing.assert_allclose(again.samples_mv[:1001], wave.samples_mv, atol=1e-12)
        assert not again.samples_mv[1001:].any()
        assert again.n_samples == 1080
        assert again.device_statements == ("2.78056 s: no data: I",)

    def test_a_rate_that_the_header_cannot_write(self) -> None:
        for exact in (True, False):
            with pytest.raises(CannotHold) as caught:
                write_edf(made(np.ones((1000, 1), int), rate_hz=np.pi * 100), exact=exact)
            assert caught.value.facts["reason"] == "rate"
