"""WFDB writing, read back by wfdb-python."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.analysis.model import Atrial, Beat, Boundaries, Measurement
from hub.ecg.errors import CannotHold
from hub.ecg.read import read_ecg
from hub.ecg.waveform import PatientText, Waveform
from hub.ecg.writers.wfdb import write_wfdb
from tests.ecg.oracles import annotations, by_wfdb, wfdb
from tests.ecg.records import load, ludb


def made(stored: np.ndarray, lsb_mv: float | None = 0.005, **more) -> Waveform:
    samples = np.where(stored == -(2**40), np.nan, stored * (lsb_mv or 0.005))
    names = ("I", "II", "V1", "V2")[: stored.shape[1]]
    return Waveform(samples, 500.0, names, "scp", lsb_mv=(lsb_mv,) * stored.shape[1], **more)


def written(folder: Path, files: dict[str, bytes]):
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return by_wfdb(folder / next(iter(files)).removesuffix(".hea"))


class TestReadBack:
    def test_a_12_lead_record(self, tmp_path: Path) -> None:
        """Oracle: wfdb.rdrecord finds the samples of the record that was read, gains and all."""
        wave = read_ecg(ludb(88))
        files = write_wfdb(wave, "copy of 88")
        theirs = written(tmp_path, files)
        assert sorted(files) == ["copy_of_88.dat", "copy_of_88.hea"]
        np.testing.assert_allclose(theirs.p_signal, wave.samples_mv, atol=1e-9)
        assert tuple(theirs.sig_name) == wave.leads
        assert theirs.fs == 500
        assert theirs.fmt == ["16"] * 12
        again = read_ecg(files)
        np.testing.assert_allclose(again.samples_mv, wave.samples_mv, atol=1e-12)
        assert again.lsb_mv == pytest.approx(wave.lsb_mv)

    @pytest.mark.parametrize("name", ["mortara_12lead.dcm", "ecgtoolkit_12lead.dcm"])
    def test_from_another_format(self, name: str, tmp_path: Path) -> None:
        """Oracle: wfdb.rdrecord."""
        wave = read_ecg(load(name))
        theirs = written(tmp_path, write_wfdb(wave))
        np.testing.assert_allclose(theirs.p_signal, wave.samples_mv, atol=1e-9)

    @pytest.mark.parametrize(
        ("largest", "storage"), [(32767, "16"), (32768, "24"), (2**23 - 1, "24"), (2**23, "32")]
    )
    def test_the_format_that_holds_the_range(self, tmp_path: Path, largest: int, storage: str) -> None:
        """Oracle: wfdb.rdrecord's digital samples are those given, gaps included."""
        gap = -(2**40)
        stored = np.array([[largest, 0], [-largest, gap], [5, 7], [gap, -3]])
        files = write_wfdb(made(stored))
        assert written(tmp_path, files).fmt == [storage] * 2
        digital = wfdb.rdrecord(str(tmp_path / "record"), physical=False).d_signal
        code = {"16": -32768, "24": -(2**23), "32": -(2**31)}[storage]
        assert digital.tolist() == np.where(stored == gap, code, stored).tolist()
        again = read_ecg(files).samples_mv
        assert (np.isnan(again) == (stored == gap)).all()

    def test_derived_leads_lie_on_half_units(self, tmp_path: Path) -> None:
        wave = made(np.array([[3, 4], [10, -7]])).with_derived_limb_leads()
        theirs = written(tmp_path, write_wfdb(wave))
        np.testing.assert_allclose(theirs.p_signal, wave.samples_mv, atol=1e-12)

    def test_start_with_a_fraction(self, tmp_path: Path) -> None:
        moment = datetime(2024, 2, 29, 23, 59, 58, 250_000)  # noqa: DTZ001 - WFDB knows no zone
        files = write_wfdb(made(np.array([[1], [2]]), started_at=moment))
        theirs = written(tmp_path, files)
        assert datetime.combine(theirs.base_date, theirs.base_time) == moment
        assert read_ecg(files).started_at == moment

    def test_beats(self, tmp_path: Path) -> None:
        """Oracle: wfdb.rdann; the last interval is longer than 16 bits of samples hold."""
        kinds = ("dominant", "ectopic", "paced", "unclassified", "dominant", "dominant")
        places = (0, 1023, 2047, 2048, 60_000, 200_000)
        beats = tuple(Beat(place, kind, Boundaries()) for place, kind in zip(places, kinds, strict=True))
        found = Measurement(beats, (), {}, {}, None, Atrial())
        wave = made(np.zeros((200_001, 1), int))
        files = write_wfdb(wave, "b", measurement=found)
        written(tmp_path, files)
        marks = annotations(tmp_path / "b", "qrs")
        assert marks.sample.tolist() == list(places)
        assert marks.symbol == ["N", "V", "/", "Q", "N", "N"]

    def test_no_patient_text_unless_given(self) -> None:
        wave = made(
            np.array([[1], [2]]), patient=PatientText("17", "ZZSECRET", "M"), device_statements=("ZZSECRET",)
        )
        assert b"ZZSECRET" not in b"".join(write_wfdb(wave).values())
        given = write_wfdb(wave, patient=PatientText(age="51", sex="F"), comments=["one\ntwo 窦性"])
        again = read_ecg(given)
        assert (again.patient.age, again.patient.sex) == ("51", "F")
        assert "one two 窦性" in again.device_statements


class TestWhatDoesNotFit:
    def test_samples_between_the_units(self, tmp_path: Path) -> None:
        wave = Waveform(np.array([[0.0017], [0.1001], [-0.3]]), 500.0, ("I",), "edf", lsb_mv=(0.01,))
        with pytest.raises(CannotHold) as caught:
            write_wfdb(wave)
        assert caught.value.facts["reason"] == "step"
        theirs = written(tmp_path, write_wfdb(wave, exact=False))
        np.testing.assert_allclose(theirs.p_signal, wave.samples_mv, atol=0.01 / 512)

    def test_no_known_resolution(self, tmp_path: Path) -> None:
        wave = made(np.array([[1], [2]]), lsb_mv=None)
        with pytest.raises(CannotHold):
            write_wfdb(wave)
        theirs = written(tmp_path, write_wfdb(wave, exact=False))
        np.testing.assert_allclose(theirs.p_signal, wave.samples_mv, atol=1e-5)

    def test_a_range_beyond_32_bits(self, tmp_path: Path) -> None:
        wave = Waveform(np.array([[1e4], [1e-3]]), 500.0, ("I",), "edf", lsb_mv=(1e-6,))
        with pytest.raises(CannotHold) as caught:
            write_wfdb(wave)
        assert caught.value.facts["reason"] == "range"
        theirs = written(tmp_path, write_wfdb(wave, exact=False))
        np.testing.assert_allclose(theirs.p_signal, wave.samples_mv, atol=5e-6)
