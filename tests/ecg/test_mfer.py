"""MFER reading, held against ecgdatakit and against values computed by hand."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.ecg.errors import (
    FormatFeature,
    NoLeads,
    RateMissing,
    RecordingTooLarge,
    Truncated,
    UnitsMissing,
)
from hub.ecg.formats.mfer import matches
from hub.ecg.read import read_ecg
from hub.errors import HubError, Malformed
from tests.ecg.mfer_files import mfer, number, scale, tlv, wave
from tests.ecg.oracles import by_ecgdatakit
from tests.ecg.records import DATA

STORED = np.random.default_rng(5).integers(-2000, 2000, (1000, 4))


def read(data: bytes, **options):
    return read_ecg({"x": data}, **options)


class TestAgainstEcgdatakit:
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("block", [1000, 250, 1])
    def test_byte_orders_and_blocks(self, tmp_path: Path, order: str, block: int) -> None:
        """Oracle: ecgdatakit, and the samples as written."""
        data = mfer(STORED, order=order, block=block, sensitivity=scale(0, -9, 2500, order))
        (tmp_path / "a.mwf").write_bytes(data)
        theirs = by_ecgdatakit(tmp_path / "a.mwf")
        ours = read(data)
        assert ours.format == "mfer"
        assert ours.leads == ("I", "II", "V1", "V2") == tuple(lead.label for lead in theirs.leads)
        assert ours.rate_hz == theirs.leads[0].sampling_rate == 500
        factor = {"uV": 1e-3, "mV": 1.0, "V": 1e3}
        for column, lead in enumerate(theirs.leads):
            mv = np.asarray(lead.samples) * factor[lead.units]
            np.testing.assert_allclose(ours.samples_mv[:, column], mv, atol=1e-9)
        np.testing.assert_allclose(ours.samples_mv, STORED * 0.0025, atol=1e-12)
        assert ours.lsb_mv == (0.0025,) * 4


class TestValues:
    @pytest.mark.parametrize(
        ("code", "kind"),
        [(0, "i2"), (1, "u2"), (2, "i4"), (3, "u1"), (5, "i1"), (6, "u4"), (7, "f4"), (8, "f8")],
    )
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_data_types(self, code: int, kind: str, order: str) -> None:
        """Oracle: the numbers as written."""
        stored = np.array([[1, 2], [100, 127], [0, 5]])
        wave = read(mfer(stored, order=order, data_type=code, numpy_type=kind))
        np.testing.assert_allclose(wave.samples_mv, stored * 1e-3)

    def test_offset_and_no_data(self) -> None:
        """Oracle: (100 - 50) x 5 uV = 0.25 mV; -32768 stands for no data."""
        more = {0: tlv(0x0D, struct.pack("<h", -50)) + tlv(0x12, struct.pack("<h", -32768))}
        stored = np.array([[100, 100], [-32768, -32768]])
        wave = read(mfer(stored, sensitivity=scale(0, -6, 5, "<"), channel_more=more))
        np.testing.assert_allclose(wave.samples_mv, [[0.25, 0.5], [np.nan, -163.84]])

    @pytest.mark.parametrize(
        ("interval", "rate"),
        [
            ((1, -3, 2), 500.0),
            ((1, -6, 4000), 250.0),
            ((0, 0, 360), 360.0),
            ((0, 3, 1), 1000.0),
            ((1, -3, 1), 1000.0),
        ],
    )
    def test_interval_or_frequency(self, interval: tuple[int, int, int], rate: float) -> None:
        """Oracle: 2 ms is 500 Hz; 4000 us is 250 Hz."""
        assert read(mfer(STORED, interval=scale(*interval, "<"))).rate_hz == rate

    def test_a_channel_has_its_own_sensitivity(self) -> None:
        more = {1: tlv(0x0C, scale(0, -6, 10, "<"))}
        wave = read(mfer(STORED, channel_more=more))
        np.testing.assert_allclose(wave.samples_mv[:, :2], STORED[:, :2] * [0.001, 0.01], atol=1e-12)

    def test_definitions_without_a_length_end_with_their_mark(self) -> None:
        inner = tlv(0x09, number(61, "<", 2)) + tlv(0x0C, scale(0, -6, 2, "<"))
        data = mfer(STORED[:, :1], leads=()).replace(b"\x3f\x00\x00", b"\x3f\x00\x80" + inner + b"\x00\x00")
        wave = read(data)
        assert wave.leads == ("III",)
        np.testing.assert_allclose(wave.samples_mv, STORED[:, :1] * 0.002, atol=1e-12)

    def test_length_not_stated(self) -> None:
        assert read(mfer(STORED, sequences=False, block=100)).n_samples == 1000

    def test_a_lead_by_its_text(self) -> None:
        data = mfer(
            STORED[:, :2], leads=(), channel_more={0: tlv(0x09, b"\0\0ECG V3"), 1: tlv(0x09, b"\0\0mine")}
        )
        assert read(data).leads == ("V3", "mine")


class TestChannels:
    def test_status_pressure_and_respiration_are_left_out(self) -> None:
        more = {1: tlv(0x0A, b"\x04"), 2: tlv(0x0C, scale(1, 0, 1, "<")), 3: tlv(0x09, b"\0\0Resp")}
        wave = read(mfer(STORED, channel_more=more, leads=(2, 4160, 143, 160)))
        assert wave.leads == ("II",)
        np.testing.assert_allclose(wave.samples_mv, STORED[:, :1] * 0.001, atol=1e-12)
        assert "channels_not_ecg" in wave.warnings

    def test_different_rates(self) -> None:
        with pytest.raises(FormatFeature) as caught:
            read(mfer(STORED, channel_more={2: tlv(0x0B, scale(0, 0, 250, "<"))}))
        assert caught.value.facts["feature"] == "differing rates"

    def test_skew_is_said(self) -> None:
        assert "channel_skew" in read(mfer(STORED, channel_more={1: tlv(0x43, b"\x10\x00")})).warnings


class TestFrames:
    def frames(self, *pointers: int | None, form: int | None = None) -> bytes:
        out = mfer(STORED[:, :2])[:-1]
        for pointer in pointers:
            if pointer is not None:
                out += tlv(0x07, number(pointer, "<"))
            if form is not None:
                out += tlv(0x08, number(form, "<", 2))
            out += wave(STORED[:, :2], 1000, "<i2")
        return out

    def test_frames_follow_each_other(self) -> None:
        wave = read(self.frames(None, 2000))
        np.testing.assert_allclose(wave.samples_mv, np.tile(STORED[:, :2], (3, 1)) * 0.001, atol=1e-12)
        assert "gaps" not in wave.warnings

    def test_a_gap_between_frames(self) -> None:
        """Oracle: the second frame begins at sample 1250."""
        wave = read(self.frames(1250))
        assert wave.n_samples == 2250
        assert np.isnan(wave.samples_mv[1000:1250]).all()
        assert np.isfinite(wave.samples_mv[1250:]).all()
        assert "gaps" in wave.warnings

    def test_overlapping_frames(self) -> None:
        with pytest.raises(Malformed):
            read(self.frames(999))

    def test_a_huge_gap_takes_no_memory(self) -> None:
        with pytest.raises(RecordingTooLarge):
            read(self.frames(30_000_000))

    def test_a_dominant_beat_is_a_part(self) -> None:
        wave = read(self.frames(None, form=9))
        assert wave.n_samples == 1000
        assert wave.median is not None
        np.testing.assert_allclose(wave.median.samples_mv, STORED[:, :2] * 0.001, atol=1e-12)

    def test_a_frame_with_another_rate_is_a_part(self) -> None:
        data = mfer(STORED[:, :2])[:-1] + tlv(0x0B, scale(0, 0, 250, "<")) + wave(STORED[:, :2], 1000, "<i2")
        wave_ = read(data)
        assert (wave_.rate_hz, wave_.parts[0].rate_hz, wave_.parts[0].kind) == (500, 250, "rhythm")

    @pytest.mark.parametrize("form", [9, 30, 40])
    def test_no_rhythm(self, form: int) -> None:
        with pytest.raises(NoLeads):
            read(mfer(STORED, before=tlv(0x08, number(form, "<", 2))))


class TestText:
    def test_patient_device_time_and_events(self) -> None:
        """Oracle: the words as written, a name in GBK without a stated set and one in stated Shift JIS."""
        before = tlv(0x81, "张^zhang^三^san".encode("gbk")) + tlv(0x82, b"0042^x") + tlv(0x84, b"\x02")
        before += tlv(0x83, b"\x33" + number(120, "<", 2) + number(1951, "<", 2) + bytes([5, 2]))
        before += tlv(0x85, number(2024, "<", 2) + bytes([2, 29, 23, 59, 58]) + number(250, "<", 2))
        before += (
            tlv(0x17, b"Maker^M-1^2.0^123")
            + tlv(0x11, b"HPF=0.05")
            + tlv(0x11, b"LPF=150^x")
            + tlv(0x11, b"BEF=50")
        )
        before += tlv(0x16, b"note") + tlv(0x42, number(7, "<", 2) + number(0, "<") + b"72^/min")
        before += tlv(0x41, number(5, "<", 2) + number(250, "<") + number(0, "<") + b"VPC")
        wave = read(mfer(STORED, before=before), charset_override="GB18030")
        patient = wave.patient
        assert (patient.name, patient.local_id, patient.sex) == ("张 三", "0042", "F")
        assert (patient.birth_date, patient.age) == ("19510502", "51")
        assert wave.started_at.isoformat() == "2024-02-29T23:59:58.250000"
        assert wave.device == "Maker M-1"
        assert (wave.filters.high_pass_hz, wave.filters.low_pass_hz, wave.filters.notch_hz) == (0.05, 150, 50)
        assert wave.device_statements == ("note", "value 7: 72 /min", "0.5 s: VPC")
        japanese = tlv(0x03, b"JIS X 0208") + tlv(0x81, "山田".encode("iso2022_jp"))
        assert read(mfer(STORED, before=japanese)).patient.name == "山田"

    @pytest.mark.parametrize("value", [b"", b"\x07\xe8\x02\x1f\x17\x3b\x3a", b"\xff" * 11])
    def test_an_impossible_time_is_none(self, value: bytes) -> None:
        assert read(mfer(STORED, before=tlv(0x85, value))).started_at is None


class TestRefusals:
    @pytest.mark.parametrize(
        ("sensitivity", "error"),
        [
            (b"", UnitsMissing),
            (scale(1, 0, 1, "<"), NoLeads),
            (scale(0, 0, 0, "<"), UnitsMissing),
            (scale(0, 0, -5, "<"), UnitsMissing),
            (b"\0\0", Malformed),
        ],
    )
    def test_no_calibration_is_never_guessed(self, sensitivity: bytes, error: type[HubError]) -> None:
        with pytest.raises(error):
            read(mfer(STORED, sensitivity=sensitivity))

    @pytest.mark.parametrize("interval", [b"", scale(2, 0, 1, "<"), scale(0, 0, 0, "<"), scale(1, 0, 0, "<")])
    def test_no_rate(self, interval: bytes) -> None:
        with pytest.raises(RateMissing):
            read(mfer(STORED, interval=interval))

    def test_compression_by_name(self) -> None:
        with pytest.raises(FormatFeature) as caught:
            read(mfer(STORED, data_type=9))
        assert caught.value.facts["feature"] == "AHA compression"
        with pytest.raises(FormatFeature) as caught:
            read(mfer(STORED, before=tlv(0x0E, b"\x02\x00")))
        assert caught.value.facts["feature"] == "compression 2"
        with pytest.raises(FormatFeature):
            read(mfer(STORED, data_type=10))

    def test_cut(self) -> None:
        data = mfer(STORED)
        for size in (len(data) - 2, len(data) // 2):
            with pytest.raises(Truncated):
                read(data[:size])

    def test_fewer_samples_than_stated(self) -> None:
        with pytest.raises(Truncated):
            read(mfer(STORED).replace(tlv(0x06, number(1, "<")), tlv(0x06, number(2, "<"))))

    def test_nested_without_end(self) -> None:
        data = mfer(STORED)[:30] + b"\x67\x80" * 30_000
        with pytest.raises(Malformed):
            read(data)

    def test_a_channel_within_a_channel(self) -> None:
        with pytest.raises(Malformed):
            read(mfer(STORED, channel_more={0: tlv(0x3F, b"", channel=1)}))

    def test_zeros_between_definitions_cost_nothing(self) -> None:
        data = mfer(STORED)
        assert read(data[:-1] + bytes(5_000_000)).n_samples == 1000


class TestSniffing:
    def test_without_preamble(self) -> None:
        data = mfer(STORED)
        assert matches(data)
        assert matches(data[10:])
        assert read(data[10:]).n_samples == 1000

    def test_other_files_are_no_mfer(self) -> None:
        for path in DATA.iterdir():
            assert not matches(path.read_bytes()), path.name
        assert not matches(b"")
        assert not matches(bytes(1000))
        assert not matches(b"@hello MFR")


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 500)
)
@settings(max_examples=100, deadline=None)
def test_changed_bytes_are_read_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    """Anything but a waveform or a HubError fails."""
    before = tlv(0x81, b"A^B") + tlv(0x85, bytes(11)) + tlv(0x41, bytes(12)) + tlv(0x07, bytes(4))
    data = bytearray(mfer(STORED[:50], before=before))
    for place, value in changes:
        data[place % len(data)] = value
    try:
        read_ecg({"x": bytes(data[: len(data) - cut])})
    except HubError:
        return
