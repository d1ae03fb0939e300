"""WFDB reading, held against wfdb-python and against bytes packed by hand from the format's text."""

import struct

import numpy as np
import pytest

from hub.ecg.errors import (
    ChecksumWrong,
    CompanionMissing,
    FormatFeature,
    NoLeads,
    RateMissing,
    RecordingTooLarge,
    Truncated,
    UnitsMissing,
)
from hub.ecg.formats.wfdb_samples import bytes_needed, unpack, values_within
from hub.ecg.read import read_ecg
from hub.errors import Malformed
from tests.ecg.oracles import by_wfdb
from tests.ecg.records import DATA, load, ludb, wfdb_record

FORMATS = [8, 16, 61, 80, 160, 212, 310, 311, 24, 32]


def edited(files: dict[str, bytes], old: str, new: str) -> dict[str, bytes]:
    name = next(n for n in files if n.endswith(".hea"))
    text = files[name].decode()
    assert old in text
    return files | {name: text.replace(old, new, 1).encode()}


class TestAgainstWfdbPython:
    @pytest.mark.parametrize("column", range(10), ids=[f"format {f}" for f in FORMATS])
    def test_every_storage_format(self, column: int) -> None:
        """Oracle: wfdb.rdrecord on wfdb-python's own record of all formats."""
        files = load("binformats.hea", *(f"binformats.d{n}" for n in range(10)))
        ours = read_ecg(files)
        theirs = by_wfdb(DATA / "binformats").p_signal
        assert ours.samples_mv.shape == theirs.shape == (499, 10)
        difference = np.abs(ours.samples_mv[:, column] - theirs[:, column])
        assert np.nanmax(difference) < 1e-9 * max(1.0, np.nanmax(np.abs(theirs[:, column])))
        assert (np.isnan(ours.samples_mv[:, column]) == np.isnan(theirs[:, column])).all()

    def test_a_12_lead_record_is_identical(self, tmp_path) -> None:
        """Oracle: wfdb.rdrecord on LUDB record 88, gains and baselines differing by lead."""
        for name, data in ludb(88).items():
            (tmp_path / name.replace("ludb_", "")).write_bytes(data)
        theirs = by_wfdb(tmp_path / "88")
        ours = read_ecg(ludb(88))
        np.testing.assert_allclose(ours.samples_mv, theirs.p_signal, atol=1e-12)
        assert ours.rate_hz == theirs.fs
        assert ours.leads == ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
        assert ours.lsb_mv[0] == pytest.approx(1 / theirs.adc_gain[0])

    def test_samples_in_a_matlab_file(self) -> None:
        """Oracle: wfdb.rdrecord on a CinC 2021 record (format 16x1+24)."""
        ours = read_ecg(load("JS20008.hea", "JS20008.mat"))
        np.testing.assert_allclose(ours.samples_mv, by_wfdb(DATA / "JS20008").p_signal, atol=1e-12)
        assert ours.patient.age == "5"
        assert ours.patient.sex == "Male"
        assert any(s.startswith("Dx:") for s in ours.device_statements)


class TestAgainstBytes:
    def test_212(self) -> None:
        """Oracle: signal(5): E8 7F F1 is 12-bit 0xFE8 = -24 and 0x7F1 = 2033."""
        assert unpack(212, bytes([0xE8, 0x7F, 0xF1]), 2).tolist() == [-24, 2033]

    def test_212_odd_number_of_samples(self) -> None:
        assert unpack(212, bytes([0xE8, 0x0F]), 1).tolist() == [-24]
        assert bytes_needed(212, 1) == 2

    def test_310(self) -> None:
        """Oracle: 10-bit values 5, -7 and -512 packed by hand: the third is split over both words."""
        low = (5 << 1) | ((-512 & 0x1F) << 11)
        high = ((-7 & 0x3FF) << 1) | ((-512 >> 5 & 0x1F) << 11)
        assert unpack(310, struct.pack("<HH", low, high), 3).tolist() == [5, -7, -512]

    def test_311(self) -> None:
        """Oracle: 10-bit values 5, -7 and -512 packed by hand from the lowest bits up."""
        word = 5 | (-7 & 0x3FF) << 10 | (-512 & 0x3FF) << 20
        assert unpack(311, struct.pack("<I", word), 3).tolist() == [5, -7, -512]

    def test_24(self) -> None:
        assert unpack(24, b"\x01\x00\x80\xff\xff\x7f", 2).tolist() == [-(2**23) + 1, 2**23 - 1]

    @pytest.mark.parametrize("storage_format", FORMATS)
    def test_as_many_values_as_fit(self, storage_format: int) -> None:
        for n_values in range(40):
            size = bytes_needed(storage_format, n_values)
            fit = values_within(storage_format, size)
            assert bytes_needed(storage_format, fit) <= size < bytes_needed(storage_format, fit + 1)

    def test_calibration_by_hand(self) -> None:
        """Oracle: (1200 - 200) / 2000 per mV = 0.5 mV."""
        wave = read_ecg(wfdb_record(np.array([[1200], [200]]), gain="2000(200)/mV"))
        assert wave.samples_mv[:, 0].tolist() == [0.5, 0.0]

    @pytest.mark.parametrize(("unit", "mv"), [("uV", 0.001), ("V", 1000.0), ("mV", 1.0), ("mv", 1.0)])
    def test_units(self, unit: str, mv: float) -> None:
        assert read_ecg(wfdb_record(np.array([[10], [20]]), gain=f"10/{unit}")).samples_mv[
            0, 0
        ] == pytest.approx(mv)

    def test_the_value_for_no_sample_is_a_gap(self) -> None:
        wave = read_ecg(wfdb_record(np.array([[1], [-32768], [3]])))
        assert np.isnan(wave.samples_mv[:, 0]).tolist() == [False, True, False]

    def test_base_time(self) -> None:
        wave = read_ecg(wfdb_record(np.array([[1], [2]]), rate="500", gain="200"))
        assert wave.started_at is None
        files = edited(wfdb_record(np.array([[1], [2]])), "500 2", "500 2 8:26:04 26/10/1994")
        assert read_ecg(files).started_at.isoformat() == "1994-10-26T08:26:04"

    def test_skewed_signal_is_moved(self) -> None:
        """Oracle: wfdb-python's rule, the first `skew` samples fall away and the end is empty."""
        files = edited(wfdb_record(np.array([[1], [200], [400]])), "r.dat 16 ", "r.dat 16:1 ")
        np.testing.assert_array_equal(read_ecg(files).samples_mv[:, 0], [1.0, 2.0, np.nan])

    def test_several_samples_per_frame_are_kept(self) -> None:
        """Oracle: signal(5): a frame holds all samples of its first signal, then those of the second."""
        header = b"r 2 250 2\nr.dat 16x2 1/mV 16 0 1 14 0 I\nr.dat 16x2 1/mV 16 0 3 22 0 II\n"
        data = struct.pack("<8h", 1, 2, 3, 4, 5, 6, 7, 8)
        wave = read_ecg({"r.hea": header, "r.dat": data})
        assert wave.rate_hz == 500
        assert wave.samples_mv.T.tolist() == [[1, 2, 5, 6], [3, 4, 7, 8]]

    def test_signals_that_are_no_ecg_are_left_out(self) -> None:
        """Oracle: the columns as written; mmHg is no voltage and RESP no lead."""
        samples = np.array([[200, 5, 6, 400], [0, 7, 8, 200]])
        files = wfdb_record(samples, names=("II", "ABP", "RESP", "V1"))
        files = edited(files, "200/mV 16 0 5", "20/mmHg 16 0 5")
        wave = read_ecg(files)
        assert wave.leads == ("II", "V1")
        assert wave.samples_mv.tolist() == [[1, 2], [0, 1]]
        assert "channels_not_ecg" in wave.warnings

    def test_length_left_out(self) -> None:
        files = edited(wfdb_record(np.array([[1], [2], [3]])), "500 3", "500")
        assert read_ecg(files).n_samples == 3


class TestRefusals:
    @pytest.mark.parametrize("gain", ["0", "0/mV", "-5/mV", "200/mmHg", "200/MV", "nan/mV", "1e-400/mV"])
    def test_no_calibration_is_never_guessed(self, gain: str) -> None:
        with pytest.raises((UnitsMissing, Malformed)):
            read_ecg(wfdb_record(np.array([[1], [2]]), gain=gain))

    def test_a_signal_line_without_gain(self) -> None:
        with pytest.raises(UnitsMissing) as caught:
            read_ecg({"r.hea": b"r 1 500 2\nr.dat 16", "r.dat": bytes(4)})
        assert caught.value.facts == {"column": 0}

    def test_no_rate(self) -> None:
        with pytest.raises(RateMissing):
            read_ecg({"r.hea": b"r 1\nr.dat 16 200", "r.dat": bytes(4)})

    def test_rate_zero(self) -> None:
        with pytest.raises(RateMissing):
            read_ecg(wfdb_record(np.array([[1], [2]]), rate="0"))

    def test_too_few_bytes(self) -> None:
        files = ludb(88)
        with pytest.raises(Truncated):
            read_ecg(files | {"88.dat": files["88.dat"][:-1]})

    def test_a_changed_sample(self) -> None:
        files = ludb(88)
        data = bytearray(files["88.dat"])
        data[1000] ^= 1
        with pytest.raises(ChecksumWrong):
            read_ecg(files | {"88.dat": bytes(data)})

    def test_data_file_not_sent(self) -> None:
        with pytest.raises(CompanionMissing):
            read_ecg({"ludb_88.hea": ludb(88)["ludb_88.hea"]})

    def test_data_beyond_the_stated_length_is_warned_of(self) -> None:
        files = ludb(88)
        assert "data_beyond_length" in read_ecg(files | {"88.dat": files["88.dat"] + b"\0\0"}).warnings

    @pytest.mark.parametrize("per_frame", ["0", "1025"])
    def test_impossible_samples_per_frame(self, per_frame: str) -> None:
        with pytest.raises(Malformed):
            read_ecg(edited(wfdb_record(np.array([[1], [2]])), "r.dat 16 ", f"r.dat 16x{per_frame} "))

    def test_ecg_signals_of_different_rates(self) -> None:
        header = b"r 2 100 2\nr.dat 16x2 200/mV 16 0 0 0 0 I\nr.dat 16 200/mV 16 0 0 0 0 II\n"
        with pytest.raises(FormatFeature) as caught:
            read_ecg({"r.hea": header, "r.dat": bytes(12)})
        assert caught.value.facts["feature"] == "differing rates"

    @pytest.mark.parametrize("storage_format", [0, 508, 516, 524, 7])
    def test_other_storage_formats(self, storage_format: int) -> None:
        with pytest.raises(FormatFeature):
            read_ecg(edited(wfdb_record(np.array([[1], [2]])), "r.dat 16 ", f"r.dat {storage_format} "))

    def test_no_signal(self) -> None:
        with pytest.raises(NoLeads):
            read_ecg({"r.hea": b"r 0 500 100\n"})

    def test_declared_size_is_checked_before_decoding(self) -> None:
        with pytest.raises(RecordingTooLarge):
            read_ecg(edited(wfdb_record(np.array([[1], [2]])), "500 2", "500 99999999999"))

    def test_a_path_in_the_header_stays_a_name(self) -> None:
        with pytest.raises(CompanionMissing):
            read_ecg({"r.hea": b"r 1 500 2\n../../etc/passwd 16 200/mV"})


def test_text_marks_of_the_header_become_device_statements() -> None:
    wave = read_ecg(ludb(88))
    assert "Rhythm: Atrial fibrillation." in wave.device_statements
    assert wave.patient.age == "59"


def test_comments_in_gbk() -> None:
    files = wfdb_record(np.array([[1], [2]]))
    wave = read_ecg(files | {"r.hea": files["r.hea"] + "\n# 窦性心律".encode("gbk")})
    assert wave.device_statements == ("窦性心律",)


def test_repeated_lead_names_are_numbered() -> None:
    wave = read_ecg(wfdb_record(np.array([[1, 2, 3], [4, 5, 6]]), names=("II", "ii", "ECG")))
    assert wave.leads == ("II", "II#2", "ECG")
    assert "lead_repeated" in wave.warnings
