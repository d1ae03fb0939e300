"""EDF, EDF+ and BDF reading, held against ecgdatakit, wfdb-python and values computed by hand."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.ecg.errors import FormatFeature, NoLeads, RateMissing, RecordingTooLarge, Truncated, UnitsMissing
from hub.ecg.formats.channels import is_ecg_label, is_other_signal, lead_of_label
from hub.ecg.formats.edf import matches
from hub.ecg.read import read_ecg
from hub.errors import HubError, Malformed
from tests.ecg.edf_files import Channel, EdfFile, ramp
from tests.ecg.oracles import by_ecgdatakit

TWO = [
    Channel("ECG I", ramp(4, 500)),
    Channel("ECG V1", ramp(4, 500, 2), unit="mV", physical=("-10", "12.5")),
]


def in_mv(lead) -> np.ndarray:
    """Return what ecgdatakit reads, in mV; it states the unit of its numbers."""
    return np.asarray(lead.samples) * {"uV": 1e-3, "mV": 1.0, "V": 1e3}[lead.units]


def read(file: EdfFile, **options):
    return read_ecg({"x": file.build()}, **options)


class TestAgainstOtherReaders:
    @pytest.mark.parametrize("unit", ["uV", "mV", "V"])
    def test_samples(self, tmp_path: Path, unit: str) -> None:
        """Oracle: ecgdatakit, on channels of differing ranges."""
        channels = [
            Channel("ECG II", ramp(3, 250, 3), unit, ("-1234.5", "2345.67"), ("-32768", "32767")),
            Channel("ECG V6", ramp(3, 250, 4), unit, ("5", "-5.5"), ("-2048", "2047")),
        ]
        data = EdfFile(channels, seconds="0.5").build()
        (tmp_path / "a.edf").write_bytes(data)
        theirs = by_ecgdatakit(tmp_path / "a.edf")
        ours = read_ecg({"a": data})
        assert ours.leads == ("II", "V6")
        assert ours.rate_hz == theirs.leads[0].sampling_rate == 500
        for column, lead in enumerate(theirs.leads):
            np.testing.assert_allclose(ours.samples_mv[:, column], in_mv(lead), rtol=1e-12, atol=1e-9)

    def test_plain_edf_by_wfdb(self, tmp_path: Path) -> None:
        """Oracle: wfdb.io.convert.edf.read_edf; it rounds offsets to whole units: the range has none."""
        from wfdb.io.convert.edf import read_edf

        channels = [Channel("I", ramp(5, 100), "mV", ("-32.768", "32.767"))]
        data = EdfFile(channels, seconds="0.2").build()
        (tmp_path / "a.edf").write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = read_edf(str(tmp_path / "a.edf"), rdedfann_flag=False)
        ours = read_ecg({"a": data})
        assert ours.rate_hz == theirs.fs
        np.testing.assert_allclose(ours.samples_mv, theirs.p_signal, atol=1e-9)


class TestCalibration:
    def test_by_hand(self) -> None:
        """Oracle: the standard's rule: -2048..2047 is -4.096..4.094 mV, so 2 uV a unit; 100 is 0.2 mV."""
        stored = np.array([[100, -2048, 2047, 0]])
        wave = read(EdfFile([Channel("II", stored, "mV", ("-4.096", "4.094"), ("-2048", "2047"))]))
        np.testing.assert_allclose(wave.samples_mv[:, 0], [0.2, -4.096, 4.094, 0.0], atol=1e-12)
        assert wave.lsb_mv[0] == pytest.approx(0.002)

    def test_bdf(self) -> None:
        """Oracle: 24-bit values as packed: one BioSemi unit is 31.25 nV."""
        stored = np.array([[-8388608, 8388607, -1, 1, 32000]])
        file = EdfFile(
            [Channel("ECG II", stored, "uV", ("-262144", "262143.96875"[:8]), ("-8388608", "8388607"))],
            bdf=True,
        )
        wave = read(file)
        lsb = (262143.9 + 262144) / 16777215
        np.testing.assert_allclose(
            wave.samples_mv[:, 0], ((stored[0] + 8388608) * lsb - 262144) / 1000, atol=1e-9
        )

    def test_reversed_physical_range_turns_the_signal(self) -> None:
        wave = read(EdfFile([Channel("I", np.array([[1000, -1000]]), "mV", ("32.768", "-32.767"))]))
        np.testing.assert_allclose(wave.samples_mv[:, 0], [-1.0, 1.0], atol=1e-12)
        assert wave.lsb_mv[0] > 0

    def test_rate_of_a_broken_duration_is_exact(self) -> None:
        """Oracle: 2 / 0.0025 s."""
        assert read(EdfFile([Channel("I", ramp(40, 2))], seconds="0.0025")).rate_hz == 800.0

    @pytest.mark.parametrize(
        "wrong",
        [
            {"unit": ""},
            {"unit": "mmHg"},
            {"physical": ("1", "1")},
            {"digital": ("5", "5")},
            {"digital": ("10", "-10")},
        ],
    )
    def test_no_calibration_is_never_guessed(self, wrong: dict) -> None:
        with pytest.raises((UnitsMissing, NoLeads)):
            read(EdfFile([Channel("ECG", ramp(1, 100), **wrong)]))


class TestChannels:
    def test_other_signals_are_left_out(self) -> None:
        """Oracle: the columns as written."""
        file = EdfFile(
            [
                Channel("Resp chest", ramp(4, 25), "mV"),
                *TWO,
                Channel("EEG Fpz-Cz", ramp(4, 500)),
                Channel("SaO2", ramp(4, 2), "%"),
            ]
        )
        wave = read(file)
        assert wave.leads == ("I", "V1")
        np.testing.assert_allclose(wave.samples_mv[:, 0], TWO[0].stored.reshape(-1) * 1e-4, atol=1e-9)
        assert "channels_not_ecg" in wave.warnings

    def test_unnamed_channels_in_volts(self) -> None:
        wave = read(
            EdfFile(
                [Channel("Ch1", ramp(1, 300)), Channel("Ch2", ramp(1, 300)), Channel("Status", ramp(1, 300))]
            )
        )
        assert wave.leads == ("Ch1", "Ch2")

    def test_different_rates(self) -> None:
        with pytest.raises(FormatFeature) as caught:
            read(EdfFile([Channel("ECG I", ramp(2, 500)), Channel("ECG II", ramp(2, 250))]))
        assert caught.value.facts["feature"] == "differing rates"

    def test_no_ecg(self) -> None:
        with pytest.raises(NoLeads):
            read(EdfFile([Channel("EEG C3", ramp(1, 100)), Channel("SpO2", ramp(1, 100), "%")]))

    def test_a_repeated_label(self) -> None:
        assert read(EdfFile([Channel("ECG", ramp(1, 300)), Channel("ECG", ramp(1, 300))])).leads == (
            "ECG",
            "ECG#2",
        )

    @pytest.mark.parametrize(
        ("label", "lead"),
        [
            ("ECG I", "I"),
            ("EKG-V2", "V2"),
            ("Lead aVR", "aVR"),
            ("avf", "aVF"),
            ("ecg lead V6", "V6"),
            ("ECG", None),
        ],
    )
    def test_labels_of_leads(self, label: str, lead: str | None) -> None:
        assert lead_of_label(label) == lead
        assert is_ecg_label(label)
        assert not is_other_signal(label)

    @pytest.mark.parametrize(
        "label", ["ECG HR", "Resp", "EEG F3-A2", "RESP_thorax", "ABP", "Trigger Event", "EMG chin"]
    )
    def test_labels_of_other_signals(self, label: str) -> None:
        assert is_other_signal(label)
        assert not is_ecg_label(label)


class TestPlus:
    def plus(self, onsets: list[str], kind: str = "EDF+D", **more) -> EdfFile:
        tals = [f"+{onset}\x14\x14\0".encode() for onset in onsets]
        return EdfFile([Channel("ECG II", ramp(len(onsets), 500))], reserved=kind, tals=tals, **more)

    def test_a_gap(self) -> None:
        """Oracle: the record that begins at 3.5 s instead of 2 leaves 1.5 s of 500 Hz empty."""
        file = self.plus(["0", "1", "3.5", "4.5"])
        wave = read(file)
        assert wave.n_samples == 2000 + 750
        assert np.isnan(wave.samples_mv[1000:1750, 0]).all()
        stored = file.channels[0].stored.reshape(-1) * 1e-4
        np.testing.assert_allclose(np.delete(wave.samples_mv[:, 0], slice(1000, 1750)), stored, atol=1e-9)
        assert "gaps" in wave.warnings

    def test_no_gap(self) -> None:
        for kind in ("EDF+C", "EDF+D"):
            wave = read(self.plus(["0", "1", "2"], kind))
            assert wave.n_samples == 1500
            assert "gaps" not in wave.warnings

    def test_a_gap_in_a_file_that_claims_to_have_none(self) -> None:
        assert "gaps" in read(self.plus(["0", "1", "7"], "EDF+C")).warnings

    def test_rounded_onsets_are_no_gaps(self) -> None:
        """Oracle: thirds of a second in four digits; 2000 records accumulate no gap."""
        onsets = [f"{n / 3:.4f}" for n in range(300)]
        channel = [Channel("ECG II", ramp(300, 100))]
        tals = [f"+{onset}\x14\x14\0".encode() for onset in onsets]
        wave = read(EdfFile(channel, seconds="0.333333", reserved="EDF+D", tals=tals, tal_values=20))
        assert wave.n_samples == 30_000

    def test_overlapping_records(self) -> None:
        with pytest.raises(Malformed):
            read(self.plus(["0", "1", "1.5"]))

    def test_a_huge_gap_takes_no_memory(self) -> None:
        with pytest.raises(RecordingTooLarge):
            read(self.plus(["0", "90000"]))
        with pytest.raises(RecordingTooLarge):
            read(self.plus(["0", "999999999999"]))

    def test_discontinuous_without_times(self) -> None:
        with pytest.raises(Malformed):
            read(EdfFile(TWO, reserved="EDF+D"))

    def test_the_start_has_a_fraction(self) -> None:
        wave = read(self.plus(["0.25", "1.25"], "EDF+C"))
        assert wave.started_at.isoformat() == "2021-03-02T14:15:16.250000"

    def test_annotations(self) -> None:
        """Oracle: the texts as written, of the first and of a later record, one in GBK against the rule."""
        tals = [
            b"+0\x14\x14\0+0.5\x152\x14PVC\x14couplet\x14\0",
            b"+1\x14\x14Start\x14\0+1.75\x14" + "早搏".encode() + b"\x14\0",
            b"+2\x14\x14\0+2\x14" + "窦性心律".encode("gbk") + b"\x14\0",
        ]
        wave = read(EdfFile([Channel("ECG II", ramp(3, 500))], reserved="EDF+C", tals=tals))
        assert wave.device_statements == (
            "0.5 s: PVC", "0.5 s: couplet", "1 s: Start", "1.75 s: 早搏", "2 s: 窦性心律",
        )  # fmt: skip
        assert wave.leads == ("II",)

    def test_same_as_ecgdatakit(self, tmp_path: Path) -> None:
        """Oracle: ecgdatakit on an EDF+C file with annotations."""
        data = self.plus(["0", "1", "2"], "EDF+C").build()
        (tmp_path / "a.edf").write_bytes(data)
        (lead,) = by_ecgdatakit(tmp_path / "a.edf").leads
        np.testing.assert_allclose(read_ecg({"a": data}).samples_mv[:, 0], in_mv(lead), atol=1e-9)


class TestIdentification:
    def test_plus_patient(self) -> None:
        """Oracle: the example of the EDF+ text."""
        wave = read(EdfFile(TWO, reserved="EDF+C", patient=b"MCH-0234567 F 02-MAY-1951 Haagse_Harry"))
        assert wave.patient.local_id == "MCH-0234567"
        assert wave.patient.sex == "F"
        assert wave.patient.birth_date == "19510502"
        assert wave.patient.name == "Haagse Harry"

    def test_unknown_is_empty(self) -> None:
        wave = read(EdfFile(TWO, reserved="EDF+C", patient=b"X X X X"))
        assert (wave.patient.local_id, wave.patient.name, wave.patient.sex, wave.patient.birth_date) == (
            "",
            "",
            "",
            "",
        )

    def test_free_text_of_plain_edf_is_never_an_identifier(self) -> None:
        wave = read(EdfFile(TWO, patient=b"dd-MMM-yyyy"))
        assert wave.patient.local_id == ""
        assert wave.patient.unsure
        assert read(EdfFile(TWO, patient=b"0000050")).patient.local_id == "0000050"

    def test_a_name_in_gbk(self) -> None:
        wave = read(
            EdfFile(TWO, reserved="EDF+C", patient=b"17 M X " + "张三".encode("gbk")),
            charset_override="GB18030",
        )
        assert wave.patient.name == "张三"

    @pytest.mark.parametrize(
        ("date", "recording", "expected"),
        [
            ("02.03.21", b"", "2021-03-02T14:15:16"),
            ("02.03.85", b"", "1985-03-02T14:15:16"),
            ("02.03.84", b"Startdate X X X X", "2084-03-02T14:15:16"),
            ("02.03.30", b"Startdate 02-MAR-1930 X X X", "1930-03-02T14:15:16"),
            ("02.03.yy", b"Startdate 02-MAR-2130 X X X", "2130-03-02T14:15:16"),
            ("02.03.21", b"Startdate 05-MAR-2021 X X X", "2021-03-02T14:15:16"),
            ("01.01.85", b"Startdate X X X X", None),
            ("31.02.21", b"", None),
            ("", b"", None),
        ],
    )
    def test_start(self, date: str, recording: bytes, expected: str | None) -> None:
        wave = read(EdfFile(TWO, reserved="EDF+C", date=date, recording=recording))
        assert (wave.started_at.isoformat() if wave.started_at else None) == expected

    def test_equipment_and_filters(self) -> None:
        channel = Channel("ECG II", ramp(1, 500), prefilter="HP:0.05Hz LP:150Hz N:50Hz")
        wave = read(EdfFile([channel], reserved="EDF+C", recording=b"Startdate X X X SE-301_cart"))
        assert wave.device == "SE-301 cart"
        assert (wave.filters.high_pass_hz, wave.filters.low_pass_hz, wave.filters.notch_hz) == (
            0.05,
            150.0,
            50.0,
        )


class TestSizes:
    def test_fewer_records_than_stated(self) -> None:
        with pytest.raises(Truncated) as caught:
            read(EdfFile(TWO, n_records=5))
        assert caught.value.facts == {"needed_records": 5, "present_records": 4}

    def test_recording_in_progress(self) -> None:
        data = EdfFile(TWO, n_records=-1).build()[:-3]
        wave = read_ecg({"x": data})
        assert wave.n_samples == 1500
        assert {"length_unstated", "data_beyond_length"} <= set(wave.warnings)

    def test_bytes_beyond(self) -> None:
        assert "data_beyond_length" in read(EdfFile(TWO, n_records=3)).warnings

    def test_no_record(self) -> None:
        with pytest.raises(Truncated):
            read(EdfFile(TWO, n_records=0))

    def test_no_signal(self) -> None:
        data = bytearray(EdfFile(TWO).build())
        data[252:256] = b"0   "
        with pytest.raises(NoLeads):
            read_ecg({"x": bytes(data)})

    @pytest.mark.parametrize("seconds", ["0", "-1", "", "nan", "1e-400"])
    def test_no_duration(self, seconds: str) -> None:
        with pytest.raises(RateMissing):
            read(EdfFile(TWO, seconds=seconds))

    def test_more_signals_than_bytes(self) -> None:
        data = bytearray(EdfFile(TWO).build())
        data[252:256] = b"9999"
        with pytest.raises(Truncated):
            read_ecg({"x": bytes(data)})

    def test_a_text_that_begins_alike_is_no_edf(self) -> None:
        assert not matches(b"0       X X X")


@given(
    st.lists(st.tuples(st.integers(0, 2200), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 400),
)
@settings(max_examples=100, deadline=None)
def test_changed_bytes_are_read_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    """Anything but a waveform or a HubError fails."""
    tals = [b"+0\x14\x14\0+0.1\x14x\x14\0", b"+3\x14\x14\0"]
    data = bytearray(
        EdfFile(
            [Channel("ECG II", ramp(2, 100)), Channel("V1", ramp(2, 100))], reserved="EDF+D", tals=tals
        ).build()
    )
    for place, value in changes:
        data[place % len(data)] = value
    try:
        read_ecg({"x": bytes(data[: len(data) - cut])})
    except HubError:
        return
