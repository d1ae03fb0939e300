"""DICOM ECG reading, held against pydicom, ecgdatakit, another format of the same record and plain bytes."""

import struct
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GeneralECGWaveformStorage,
    ImplicitVRLittleEndian,
)

from hub.ecg.errors import (
    FormatFeature,
    NoLeads,
    RateMissing,
    RecordingTooLarge,
    Truncated,
    UnitsMissing,
)
from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.limits import MAX_FILE_BYTES
from hub.ecg.read import read_ecg
from hub.ecg.waveform import Waveform
from hub.errors import Malformed
from tests.ecg.oracles import by_ecgdatakit
from tests.ecg.records import DATA, load, ludb

WIDTHS = {
    "SB": (8, "i1"),
    "UB": (8, "u1"),
    "MB": (8, "u1"),
    "AB": (8, "u1"),
    "SS": (16, "<i2"),
    "US": (16, "<u2"),
    "SL": (32, "<i4"),
    "UL": (32, "<u4"),
}


def code(value: str, scheme: str, meaning: str = "") -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


def channel(lead: str = "2:1", *, scheme: str = "MDC", meaning: str = "", unit: str = "uV") -> Dataset:
    item = Dataset()
    item.ChannelSourceSequence = code(lead, scheme, meaning)
    item.ChannelSensitivity = "2.0"
    item.ChannelSensitivityUnitsSequence = code(unit, "UCUM")
    item.ChannelSensitivityCorrectionFactor = "1"
    item.ChannelBaseline = "0"
    item.WaveformBitsStored = 16
    return item


def group(raw: np.ndarray, channels: list[Dataset], *, kind: str = "SS", rate: str = "500") -> Dataset:
    """Make a multiplex group of samples of shape (n, channels), little-endian."""
    bits, dtype = WIDTHS[kind]
    item = Dataset()
    item.WaveformOriginality = "ORIGINAL"
    item.NumberOfWaveformSamples, item.NumberOfWaveformChannels = raw.shape
    item.SamplingFrequency = rate
    item.MultiplexGroupLabel = "RHYTHM"
    item.ChannelDefinitionSequence = channels
    item.WaveformBitsAllocated = bits
    item.WaveformSampleInterpretation = kind
    item.WaveformData = raw.astype(dtype).tobytes()
    item["WaveformData"].VR = "OB" if bits == 8 else "OW"
    return item


def write(
    groups: list[Dataset], *, syntax: str = ExplicitVRLittleEndian, **fields: object
) -> dict[str, bytes]:
    ds = Dataset()
    ds.SOPClassUID = GeneralECGWaveformStorage
    ds.SOPInstanceUID = "1.2.3"
    for name, value in fields.items():
        setattr(ds, name, value)
    ds.WaveformSequence = groups
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return {"ecg.dcm": out.getvalue()}


def resaved(name: str, change: Callable[[Dataset], None]) -> dict[str, bytes]:
    ds = dcmread(DATA / name)
    change(ds)
    out = BytesIO()
    ds.save_as(out)
    return {name: out.getvalue()}


RAW = np.array([[100, -3], [0, 7], [-128, 127]])
TWO = [channel("2:1"), channel("2:2")]


class TestSamples:
    def test_millivolts_against_the_bytes(self) -> None:
        """Oracle: first sample of lead I unpacked by hand, 80 x 1.25 uV = 0.1 mV."""
        ds = dcmread(DATA / "mortara_12lead.dcm")
        (raw,) = struct.unpack_from("<h", ds.WaveformSequence[0].WaveformData)
        wave = read_ecg(load("mortara_12lead.dcm"))
        assert raw == 80
        assert wave.samples_mv[0, 0] == pytest.approx(0.1)
        assert wave.samples_mv.shape == (10_000, 12)
        assert wave.leads == STANDARD_LEADS
        assert wave.rate_hz == 1000.0
        assert wave.warnings == ()

    @pytest.mark.parametrize(
        "name", ["mortara_12lead.dcm", "ecgtoolkit_12lead.dcm", "ludb_88_12lead_gb18030.dcm"]
    )
    def test_all_samples_against_pydicom(self, name: str) -> None:
        """Oracle: pydicom's waveform_array, whose values are in the file's uV."""
        wave = read_ecg(load(name))
        np.testing.assert_allclose(wave.samples_mv * 1000, dcmread(DATA / name).waveform_array(0), atol=1e-9)

    @pytest.mark.parametrize("name", ["mortara_12lead.dcm", "ludb_88_12lead_gb18030.dcm"])
    def test_all_samples_against_ecgdatakit(self, name: str) -> None:
        theirs = by_ecgdatakit(DATA / name)
        wave = read_ecg(load(name))
        assert len(theirs.leads) == 12
        for lead in theirs.leads:
            samples = np.asarray(lead.samples)
            scale = {"uV": 1e-3, "mV": 1.0}[lead.units]
            np.testing.assert_allclose(wave.lead(lead.label), samples * scale, atol=1e-9)

    def test_the_same_record_in_two_formats(self) -> None:
        """Oracle: LUDB 88 as WFDB; the DICOM copy is rounded to 5 uV."""
        difference = read_ecg(ludb(88)).samples_mv - read_ecg(load("ludb_88_12lead_gb18030.dcm")).samples_mv
        assert np.abs(difference).max() <= 2.5e-3 + 1e-9

    @pytest.mark.parametrize("kind", ["SB", "SS", "SL"])
    def test_signed_widths(self, kind: str) -> None:
        wave = read_ecg(write([group(RAW, TWO, kind=kind)]))
        np.testing.assert_allclose(wave.samples_mv, RAW * 2e-3)

    @pytest.mark.parametrize("kind", ["UB", "US", "UL"])
    def test_unsigned_widths(self, kind: str) -> None:
        raw = np.array([[200, 1], [0, 255]])
        np.testing.assert_allclose(read_ecg(write([group(raw, TWO, kind=kind)])).samples_mv, raw * 2e-3)

    @pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
    def test_transfer_syntaxes(self, syntax: str) -> None:
        np.testing.assert_allclose(read_ecg(write([group(RAW, TWO)], syntax=syntax)).samples_mv, RAW * 2e-3)

    @pytest.mark.parametrize(("kind", "dtype"), [("SS", ">i2"), ("SL", ">i4")])
    def test_big_endian_samples_are_swapped(self, kind: str, dtype: str) -> None:
        """Oracle: PS3.5 7.3, OW and OL follow the transfer syntax; bytes laid out here by hand."""
        item = group(RAW, TWO, kind=kind)
        item.WaveformData = RAW.astype(dtype).tobytes()
        item["WaveformData"].VR = "OW"
        item.WaveformPaddingValue = np.array([300], dtype=dtype).tobytes()
        item["WaveformPaddingValue"].VR = "OW"
        files = write([item], syntax=ExplicitVRBigEndian)
        np.testing.assert_allclose(read_ecg(files).samples_mv, RAW * 2e-3)

    def test_sensitivity_correction_and_baseline(self) -> None:
        """Oracle: by hand, 100 x 2 x 1.5 uV + 10 uV = 310 uV; the baseline is in sensitivity units."""
        item = channel()
        item.ChannelSensitivityCorrectionFactor, item.ChannelBaseline = "1.5", "10"
        wave = read_ecg(write([group(np.array([[100]]), [item])]))
        assert wave.samples_mv[0, 0] == pytest.approx(0.310)
        assert wave.lsb_mv == (pytest.approx(0.003),)

    @pytest.mark.parametrize(("unit", "mv"), [("uV", 0.2), ("mV", 200.0), ("V", 200_000.0)])
    def test_units(self, unit: str, mv: float) -> None:
        assert read_ecg(write([group(np.array([[100]]), [channel(unit=unit)])])).samples_mv[
            0, 0
        ] == pytest.approx(mv)

    @pytest.mark.parametrize(
        ("kind", "codes", "linear"),
        [
            ("MB", [0x80, 0x00, 0xFF, 0x8F, 0xEF], [8031, -8031, 0, 4191, 33]),
            ("AB", [0xAA, 0x2A, 0xD5, 0x55, 0xA5], [4032, -4032, 1, -1, 2112]),
        ],
    )
    def test_companded_samples(self, kind: str, codes: list[int], linear: list[int]) -> None:
        """Oracle: decoder output values of ITU-T G.711 tables 1 and 2, by hand."""
        wave = read_ecg(write([group(np.array(codes)[:, None], [channel()], kind=kind)]))
        np.testing.assert_allclose(wave.samples_mv[:, 0], np.array(linear) * 2e-3)
        assert "companded" in wave.warnings

    def test_eight_bits_in_big_endian_words(self) -> None:
        """Oracle: PS3.5 8.3, two 8-bit samples of an OW lie in one word of the transfer syntax."""
        item = group(RAW, TWO, kind="SB")
        item.WaveformData = RAW.astype("i1").tobytes()
        item.WaveformData = np.frombuffer(item.WaveformData, "<u2").astype(">u2").tobytes()
        item["WaveformData"].VR = "OW"
        files = write([item], syntax=ExplicitVRBigEndian)
        np.testing.assert_allclose(read_ecg(files).samples_mv, RAW * 2e-3)

    def test_twelve_bits_in_sixteen(self) -> None:
        raw = np.array([[2047], [-2048], [5]])
        item = channel()
        item.WaveformBitsStored = 12
        wave = read_ecg(write([group(raw, [item])]))
        np.testing.assert_allclose(wave.samples_mv, raw * 2e-3)
        assert "sign_not_extended" not in wave.warnings

    def test_signs_that_were_not_extended(self) -> None:
        """Oracle: by hand, 0xFFE of 12 bits is -2; steps of 4,000 units are no ECG."""
        raw = np.array([[1], [0xFFE], [2], [0xFFF], [3]])
        item = channel()
        item.WaveformBitsStored = 12
        wave = read_ecg(write([group(raw, [item])]))
        np.testing.assert_allclose(wave.samples_mv[:, 0], np.array([1, -2, 2, -1, 3]) * 2e-3)
        assert "sign_not_extended" in wave.warnings

    def test_positive_samples_beyond_the_sign_stay_positive(self) -> None:
        """An offset-binary converter: around 2048 the other reading would jump by 4,095."""
        raw = np.array([[2046], [2047], [2048], [2049], [2047]])
        item = channel()
        item.WaveformBitsStored = 12
        wave = read_ecg(write([group(raw, [item])]))
        np.testing.assert_allclose(wave.samples_mv, raw * 2e-3)
        assert "sign_not_extended" in wave.warnings

    def test_padding_is_a_gap(self) -> None:
        item = group(np.array([[1], [-32768], [5]]), [channel()])
        item.WaveformPaddingValue = struct.pack("<h", -32768)
        item["WaveformPaddingValue"].VR = "OW"
        assert np.isnan(read_ecg(write([item])).samples_mv[:, 0]).tolist() == [False, True, False]

    def test_padding_that_cannot_be_told_from_data_is_kept(self) -> None:
        wave = read_ecg(load("ecgtoolkit_12lead.dcm"))
        assert "padding_ambiguous" in wave.warnings
        assert not np.isnan(wave.samples_mv).any()


class TestRefusals:
    def test_missing_units(self) -> None:
        def change(ds: Dataset) -> None:
            del ds.WaveformSequence[0].ChannelDefinitionSequence[3].ChannelSensitivityUnitsSequence

        with pytest.raises(UnitsMissing) as caught:
            read_ecg(resaved("mortara_12lead.dcm", change))
        assert caught.value.facts["column"] == 3

    def test_missing_sensitivity(self) -> None:
        def change(ds: Dataset) -> None:
            del ds.WaveformSequence[0].ChannelDefinitionSequence[5].ChannelSensitivity

        with pytest.raises(UnitsMissing) as caught:
            read_ecg(resaved("mortara_12lead.dcm", change))
        assert caught.value.facts["column"] == 5

    @pytest.mark.parametrize("unit", ["MV", "UV", "mm[Hg]", "1", ""])
    def test_units_that_are_no_small_voltage(self, unit: str) -> None:
        with pytest.raises(UnitsMissing):
            read_ecg(write([group(RAW[:, :1], [channel(unit=unit)])]))

    @pytest.mark.parametrize("sensitivity", ["0", "none", "inf"])
    def test_useless_sensitivity(self, sensitivity: str) -> None:
        item = channel()
        files = write([group(RAW[:, :1], [item])])
        data = files["ecg.dcm"].replace(b"DS\x04\x002.0 ", b"DS\x04\x00" + sensitivity.encode().ljust(4))
        assert data != files["ecg.dcm"]
        with pytest.raises((UnitsMissing, Malformed)):
            read_ecg({"ecg.dcm": data})

    @pytest.mark.parametrize(("kind", "bits"), [("SV", 64), ("SS", 8), ("", 16)])
    def test_sample_encodings_that_are_not_read(self, kind: str, bits: int) -> None:
        item = group(RAW, TWO)
        item.WaveformSampleInterpretation, item.WaveformBitsAllocated = kind, bits
        with pytest.raises(FormatFeature) as caught:
            read_ecg(write([item]))
        assert caught.value.facts["feature"] == f"{kind} {bits}"

    def test_too_few_bytes(self) -> None:
        item = group(RAW, TWO)
        item.NumberOfWaveformSamples = 4
        with pytest.raises(Truncated):
            read_ecg(write([item]))

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
    def test_a_file_cut_short(self, share: float) -> None:
        whole = load("mortara_12lead.dcm")["mortara_12lead.dcm"]
        with pytest.raises((Truncated, NoLeads, Malformed)):
            read_ecg({"x": whole[: int(len(whole) * share)]})

    def test_no_rate(self) -> None:
        with pytest.raises(RateMissing):
            read_ecg(write([group(RAW, TWO, rate="0")]))

    def test_size_is_checked_before_anything_is_decoded(self) -> None:
        item = group(RAW, TWO)
        item.NumberOfWaveformSamples = 4_000_000_000
        with pytest.raises(RecordingTooLarge):
            read_ecg(write([item]))

    def test_channels_without_definitions(self) -> None:
        with pytest.raises(Malformed):
            read_ecg(write([group(RAW, TWO[:1])]))

    def test_an_object_without_waveform(self) -> None:
        with pytest.raises(NoLeads):
            read_ecg(write([]))

    def test_a_deflated_bomb(self) -> None:
        files = write([group(RAW, TWO)], syntax=DeflatedExplicitVRLittleEndian)
        data = files["ecg.dcm"]
        start = 144 + struct.unpack_from("<I", data, 140)[0]
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        chunk = bytes(1024 * 1024)
        bomb = (
            b"".join(packer.compress(chunk) for _ in range(MAX_FILE_BYTES // len(chunk) + 2)) + packer.flush()
        )
        with pytest.raises(RecordingTooLarge):
            read_ecg({"ecg.dcm": data[:start] + bomb})


class TestLeads:
    def one(self, item: Dataset) -> Waveform:
        return read_ecg(write([group(RAW[:, :1], [item])]))

    @pytest.mark.parametrize(
        ("value", "scheme"), [("2:62", "MDC"), ("5.6.3-9-62", "SCPECG"), ("MDC_ECG_LEAD_AVR", "MDC")]
    )
    def test_codes(self, value: str, scheme: str) -> None:
        wave = self.one(channel(value, scheme=scheme))
        assert wave.leads == ("aVR",)
        assert "lead_by_text" not in wave.warnings

    def test_text_is_the_last_source(self) -> None:
        wave = self.one(channel("7", scheme="99VENDOR", meaning="Lead aVR"))
        assert wave.leads == ("aVR",)
        assert "lead_by_text" in wave.warnings

    def test_code_and_text_disagree(self) -> None:
        wave = self.one(channel("2:1", meaning="Lead II"))
        assert wave.leads == ("I",)
        assert "lead_label_differs" in wave.warnings

    def test_no_name_at_all(self) -> None:
        item = channel()
        del item.ChannelSourceSequence
        wave = self.one(item)
        assert wave.leads == ("channel 1",)
        assert "lead_unnamed" in wave.warnings


class TestGroups:
    def test_the_rhythm_is_picked_and_the_median_named(self) -> None:
        median = read_ecg(load("mortara_12lead.dcm")).median
        assert str(median) == "MEDIAN BEAT: 12 x 1200 @ 1000 Hz"

    def test_a_long_derived_group_is_not_the_rhythm(self) -> None:
        long = group(np.zeros((50, 1)), [channel("2:2")])
        long.WaveformOriginality = "DERIVED"
        wave = read_ecg(write([long, group(RAW[:, :1], [channel("2:1")])]))
        assert wave.leads == ("I",)
        assert "leads_in_other_groups" not in wave.warnings

    def test_leads_left_behind_are_warned_of(self) -> None:
        wave = read_ecg(
            write([group(np.zeros((9, 1)), [channel("2:1")]), group(RAW[:, :1], [channel("2:3")])])
        )
        assert wave.leads == ("I",)
        assert "leads_in_other_groups" in wave.warnings


class TestSkew:
    def two(self, **skew: str) -> Waveform:
        late = channel("2:2")
        for name, value in skew.items():
            setattr(late, name, value)
        return read_ecg(write([group(RAW, [channel("2:1"), late])]))

    @pytest.mark.parametrize(
        "skew",
        [
            {"ChannelSampleSkew": "1"},
            {"ChannelTimeSkew": "0.002"},
            {"ChannelSampleSkew": "1", "ChannelTimeSkew": "0.002"},
            {"ChannelSampleSkew": "0", "ChannelOffset": "0.002"},
        ],
    )
    def test_whole_samples_are_applied(self, skew: dict[str, str]) -> None:
        """Oracle: by hand, at 500 Hz 2 ms are one sample, by which lead II starts later."""
        wave = self.two(**skew)
        nan = np.nan
        np.testing.assert_allclose(wave.samples_mv[:, 0], [0.2, 0.0, -0.256, nan])
        np.testing.assert_allclose(wave.samples_mv[:, 1], [nan, -0.006, 0.014, 0.254])
        assert "channel_skew" not in wave.warnings

    def test_a_channel_that_starts_earlier(self) -> None:
        wave = self.two(ChannelSampleSkew="-1")
        np.testing.assert_allclose(wave.samples_mv[:, 0], [np.nan, 0.2, 0.0, -0.256])

    @pytest.mark.parametrize(
        "skew",
        [
            {"ChannelSampleSkew": "0.5"},
            {"ChannelTimeSkew": "0.0001"},
            {"ChannelSampleSkew": "1e300"},
            {"ChannelSampleSkew": "1", "ChannelTimeSkew": "0.004"},
        ],
    )
    def test_what_cannot_be_applied_is_said(self, skew: dict[str, str]) -> None:
        wave = self.two(**skew)
        np.testing.assert_allclose(wave.samples_mv, RAW * 2e-3)
        assert "channel_skew" in wave.warnings


class TestSequentialGroups:
    LEADS = (("2:1", "2:2"), ("2:3", "2:4"), ("2:5", "2:6"))

    def groups(self, offsets: tuple[str, ...] = ("0", "6", "12")) -> list[Dataset]:
        made = []
        for n, (leads, offset) in enumerate(zip(self.LEADS, offsets, strict=True)):
            item = group(RAW + 10 * n, [channel(lead) for lead in leads])
            item.MultiplexGroupTimeOffset = offset
            made.append(item)
        return made

    def test_groups_after_each_other_are_one_recording(self) -> None:
        """Oracle: by hand, 3 samples at 500 Hz are 6 ms: each group begins where the last ended."""
        wave = read_ecg(write(self.groups()))
        assert wave.leads == ("I", "II", "V1", "V2", "V3", "V4")
        expected = np.full((9, 6), np.nan)
        for n in range(3):
            expected[3 * n : 3 * n + 3, 2 * n : 2 * n + 2] = (RAW + 10 * n) * 2e-3
        np.testing.assert_allclose(wave.samples_mv, expected)
        assert wave.warnings == ("leads_sequential",)
        assert wave.parts == ()

    def test_groups_of_one_time_are_side_by_side(self) -> None:
        wave = read_ecg(write(self.groups(("0", "0", "0"))))
        assert wave.samples_mv.shape == (3, 6)
        assert not np.isnan(wave.samples_mv).any()
        assert wave.warnings == ()

    def test_a_rhythm_strip_goes_on_where_it_ended(self) -> None:
        first, second, _ = self.groups()
        second.ChannelDefinitionSequence = first.ChannelDefinitionSequence
        wave = read_ecg(write([first, second]))
        assert wave.leads == ("I", "II")
        np.testing.assert_allclose(wave.samples_mv, np.concatenate([RAW, RAW + 10]) * 2e-3)

    def test_the_start_is_that_of_the_first_group(self) -> None:
        """Oracle: PS3.3 C.10.9.1.1, offsets count from Acquisition DateTime."""
        files = write(self.groups(("1500", "1506", "1512")), AcquisitionDateTime="20240102030405")
        assert read_ecg(files).started_at.isoformat() == "2024-01-02T03:04:06.500000"

    def test_overlapping_groups_of_one_lead_stay_apart(self) -> None:
        first, second, _ = self.groups(("0", "2", "4"))
        second.ChannelDefinitionSequence = first.ChannelDefinitionSequence
        wave = read_ecg(write([first, second]))
        assert wave.samples_mv.shape == (3, 2)
        assert [part.kind for part in wave.parts] == ["rhythm"]

    @pytest.mark.parametrize("offset", ["1e9", "80000000"])
    def test_a_far_group_takes_no_memory(self, offset: str) -> None:
        wave = read_ecg(write(self.groups(("0", "6", offset))))
        assert wave.samples_mv.shape == (6, 4)
        assert "leads_in_other_groups" in wave.warnings

    def test_another_rate_stays_apart(self) -> None:
        first, second, _ = self.groups()
        second.SamplingFrequency = "250"
        wave = read_ecg(write([first, second]))
        assert wave.leads == ("V1", "V2")
        assert "leads_in_other_groups" in wave.warnings


def annotation(
    value: str, scheme: str, number: str, unit: str, channels: list[int], *, meaning: str = "Something"
) -> Dataset:
    item = Dataset()
    item.ConceptNameCodeSequence = code(value, scheme, meaning)
    item.NumericValue = number
    item.MeasurementUnitsCodeSequence = code(unit, "UCUM")
    item.ReferencedWaveformChannels = channels
    return item


class TestAnnotations:
    def test_measurements_against_the_file(self) -> None:
        """Oracle: the annotation sequence as dcmdump prints it."""
        wave = read_ecg(load("mortara_12lead.dcm"))
        assert [(m.name, m.value, m.unit, m.lead) for m in wave.device_measurements] == [
            ("rr_mean_ms", 982.0, "ms", ""),
            ("PP Interval", 0.0, "ms", ""),
            ("pr_ms", 161.0, "ms", ""),
            ("qrs_ms", 75.0, "ms", ""),
            ("qt_ms", 368.0, "ms", ""),
            ("qtc_ms", 370.0, "ms", ""),
            ("p_axis_deg", 74.0, "deg", ""),
            ("qrs_axis_deg", 52.0, "deg", ""),
            ("t_axis_deg", 57.0, "deg", ""),
        ]
        assert wave.device_statements == ("RITMO SINUSALE", "ECG NORMALE")

    def test_an_axis_in_milliseconds_is_no_axis(self) -> None:
        """This real file states the unit of its axes as ms."""
        found = {
            m.name: (m.value, m.unit) for m in read_ecg(load("ecgtoolkit_12lead.dcm")).device_measurements
        }
        assert found["P Axis"] == (44.0, "ms")
        assert "p_axis_deg" not in found

    @pytest.mark.parametrize(
        ("annotated", "expected"),
        [
            (annotation("2:16016", "MDC", "72", "/min", [1, 0]), ("hr_bpm", 72.0, "bpm", "")),
            (annotation("2:16156", "MDC", "0.092", "s", [1, 0]), ("qrs_ms", 92.0, "ms", "")),
            (annotation("2:2048", "MDC", "900", "uV", [1, 2]), ("r_mv", 0.9, "mV", "II")),
            (annotation("2:1024", "MDC", "-0.1", "mV", [1, 1]), ("st_j_uv", -100.0, "uV", "I")),
            (annotation("2:7936", "MDC", "90", "ms", [1, 1, 1, 2]), ("qrs_ms", 90.0, "ms", "")),
            (annotation("2:7936", "MDC", "90", "ms", [9, 9]), ("qrs_ms", 90.0, "ms", "")),
            (annotation("X1", "99OWN", "3", "mm", [1, 0], meaning="Width"), ("Width", 3.0, "mm", "")),
        ],
    )
    def test_names_and_units(self, annotated: Dataset, expected: tuple[str, float, str, str]) -> None:
        wave = read_ecg(write([group(RAW, TWO)], WaveformAnnotationSequence=[annotated]))
        (found,) = wave.device_measurements
        assert (found.name, found.unit, found.lead) == (expected[0], expected[2], expected[3])
        assert found.value == pytest.approx(expected[1])
        assert wave.device_statements == ()

    def test_coded_findings_are_statements_and_points_are_not(self) -> None:
        finding, point = Dataset(), Dataset()
        finding.ConceptNameCodeSequence = code("18810-2", "LN", "Interpretation")
        finding.ConceptCodeSequence = code("102593009", "SCT", "Normal ECG")
        point.ConceptNameCodeSequence = code("10:256", "MDC", "P wave")
        point.TemporalRangeType, point.ReferencedSamplePositions = "POINT", 1
        wave = read_ecg(write([group(RAW, TWO)], WaveformAnnotationSequence=[finding, point]))
        assert wave.device_statements == ("Interpretation: Normal ECG",)

    def test_the_device(self) -> None:
        assert read_ecg(load("mortara_12lead.dcm")).device == "Mortara Instrument, Inc. el250"


class TestText:
    def test_chinese_name_in_gb18030(self) -> None:
        patient = read_ecg(load("ludb_88_12lead_gb18030.dcm")).patient
        assert (patient.name, patient.local_id, patient.sex, patient.age) == (
            "Zhang^San=张^三",
            "LUDB-88",
            "F",
            "059Y",
        )
        assert patient.charset == "GB18030"

    @pytest.mark.filterwarnings("ignore:Unknown encoding")
    def test_an_unknown_character_set_hides_nothing_else(self) -> None:
        whole = load("ludb_88_12lead_gb18030.dcm")["ludb_88_12lead_gb18030.dcm"]
        wave = read_ecg({"x": whole.replace(b"GB18030 ", b"NONSENSE")})
        assert wave.patient.local_id == "LUDB-88"
        assert wave.patient.name.startswith("Zhang^San=")

    def test_gbk_bytes_without_any_declaration(self) -> None:
        """Oracle: the bytes of 王芳 in GBK, as carts send them with no Specific Character Set."""
        data = write([group(RAW, TWO)], PatientName="AAAA", PatientID="7")["ecg.dcm"]
        wave = read_ecg({"x": data.replace(b"AAAA", "王芳".encode("gbk"))})
        assert wave.patient.name == "王芳"
        assert wave.patient.charset == ""

    def test_the_override_of_a_device_wins(self) -> None:
        data = write([group(RAW, TWO)], SpecificCharacterSet="ISO_IR 100", PatientName="AAAA")["ecg.dcm"]
        files = {"x": data.replace(b"AAAA", "王芳".encode("gbk"))}
        assert read_ecg(files, charset_override="GBK").patient.name == "王芳"

    def test_filters(self) -> None:
        filters = read_ecg(load("mortara_12lead.dcm")).filters
        assert (filters.high_pass_hz, filters.low_pass_hz, filters.notch_hz) == (0.05, 300.0, None)

    def test_time_is_the_device_clock(self) -> None:
        wave = read_ecg(load("mortara_12lead.dcm"))
        assert wave.started_at == datetime(2013, 1, 25, 10, 59, 19)  # noqa: DTZ001 - the file gives no zone
        assert wave.started_at_source == "AcquisitionDateTime"

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"AcquisitionDateTime": "20240102030405.25+0800"}, "2024-01-02T03:04:05.250000+08:00"),
            (
                {"AcquisitionDateTime": "20240102030405", "TimezoneOffsetFromUTC": "+0800"},
                "2024-01-02T03:04:05+08:00",
            ),
            ({"AcquisitionDateTime": "20240102030405-0000"}, "2024-01-02T03:04:05+00:00"),
            ({"ContentDate": "20240102", "ContentTime": "0304"}, "2024-01-02T03:04:00"),
            ({"StudyDate": "20240102", "StudyTime": "030405.1"}, "2024-01-02T03:04:05.100000"),
            ({"ContentDate": "20240102"}, None),
        ],
    )
    def test_times(self, fields: dict[str, str], expected: str | None) -> None:
        started = read_ecg(write([group(RAW, TWO)], **fields)).started_at
        assert (started.isoformat() if started else None) == expected

    def test_zones_are_real(self) -> None:
        wave = read_ecg(write([group(RAW, TWO)], AcquisitionDateTime="20240102030405+0800"))
        assert wave.started_at.astimezone(UTC).hour == 19
        assert wave.started_at.utcoffset() == timedelta(hours=8)
