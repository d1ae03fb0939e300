"""GE MUSE XML: held against ecgdatakit, and files made here by what public readers say of the format."""

import base64
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.errors import (
    ChecksumWrong,
    FormatFeature,
    NoLeads,
    RateMissing,
    RecordingTooLarge,
    Truncated,
    UnitsMissing,
)
from hub.ecg.formats.muse import matches, read_muse
from hub.ecg.read import read_ecg
from hub.errors import Malformed
from tests.ecg.oracles import by_ecgdatakit

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
STORED = np.random.default_rng(12).integers(-400, 400, (500, 8)).astype("<i2")


def lead(name: str, stored: np.ndarray, **other: str) -> str:
    payload = stored.astype("<i2").tobytes()
    fields = {
        "LeadSampleCountTotal": str(len(stored)),
        "LeadAmplitudeUnitsPerBit": "4.88",
        "LeadAmplitudeUnits": "MICROVOLTS",
        "LeadID": name,
        "LeadSampleSize": "2",
        "LeadOff": "FALSE",
        "LeadDataCRC32": str(zlib.crc32(payload)),
        "WaveFormData": "\n" + base64.encodebytes(payload).decode(),
    } | other
    return f"<LeadData>{''.join(f'<{k}>{v}</{k}>' for k, v in fields.items())}</LeadData>"


def waveform(
    kind: str = "Rhythm",
    stored: np.ndarray = STORED,
    names: tuple[str, ...] = EIGHT,
    *,
    base: str = "500",
    exponent: str = "<SampleExponent>0</SampleExponent>",
    more: str = "",
    **other: str,
) -> str:
    leads = "".join(lead(name, stored[:, n], **other) for n, name in enumerate(names))
    return (
        f"<Waveform><WaveformType>{kind}</WaveformType><SampleBase>{base}</SampleBase>{exponent}{more}"
        f"{leads}</Waveform>"
    )


def muse(*parts: str) -> bytes:
    head = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n'
    return f"{head}<RestingECG>{''.join(parts)}</RestingECG>".encode()


class TestSamples:
    def test_eight_stored_leads_stay_eight(self) -> None:
        wave = read_muse(muse(waveform()))
        assert wave.leads == EIGHT
        assert wave.samples_mv == pytest.approx(STORED * 0.00488)
        assert wave.lsb_mv == pytest.approx((0.00488,) * 8)
        assert len(wave.with_derived_limb_leads().leads) == 12

    def test_agrees_with_ecgdatakit(self, tmp_path: Path) -> None:
        path = tmp_path / "muse.xml"
        path.write_bytes(muse(waveform("Median", STORED[:300]), waveform()))
        ours, theirs = read_muse(path.read_bytes()), by_ecgdatakit(path)
        for each in theirs.leads:
            assert ours.lead(each.label) == pytest.approx(each.samples, abs=1e-12)
        for each in theirs.median_beats:
            column = ours.median.leads.index(each.label)
            assert ours.median.samples_mv[:, column] == pytest.approx(each.samples, abs=1e-12)

    @pytest.mark.parametrize(
        ("base", "exponent", "rate"), [("500", "0", 500), ("25", "1", 250), ("1", "3", 1000)]
    )
    def test_rate(self, base: str, exponent: str, rate: float) -> None:
        written = f"<SampleExponent>{exponent}</SampleExponent>"
        assert read_muse(muse(waveform(base=base, exponent=written))).rate_hz == rate
        assert read_muse(muse(waveform(exponent=""))).rate_hz == 500

    def test_millivolts(self) -> None:
        wave = read_muse(muse(waveform(LeadAmplitudeUnits="MILLIVOLTS", LeadAmplitudeUnitsPerBit="0.005")))
        assert wave.samples_mv == pytest.approx(STORED * 0.005)

    def test_the_longest_rhythm_leads(self) -> None:
        short = waveform("Rhythm", STORED[:100, :1], ("V7",))
        wave = read_muse(muse(short, waveform()))
        assert wave.n_samples == 500
        assert [(part.kind, part.leads) for part in wave.parts] == [("rhythm", ("V7",))]
        assert "leads_in_other_groups" in wave.warnings

    def test_a_median_without_units_is_left_out(self) -> None:
        wave = read_muse(muse(waveform("Median", LeadAmplitudeUnits=""), waveform()))
        assert wave.parts == ()


class TestWhatItSays:
    def test_filters(self) -> None:
        more = "<HighPassFilter>5</HighPassFilter><LowPassFilter>150</LowPassFilter><ACFilter>NONE</ACFilter>"
        filters = read_muse(muse(waveform(more=more))).filters
        assert (filters.high_pass_hz, filters.low_pass_hz, filters.notch_hz) == (0.05, 150, None)
        filters = read_muse(muse(waveform(more="<ACFilter>50</ACFilter>"))).filters
        assert (filters.high_pass_hz, filters.low_pass_hz, filters.notch_hz) == (None, None, 50)

    def test_warnings(self) -> None:
        assert read_muse(muse(waveform())).warnings == ()
        odd = {"LeadOff": "TRUE", "FirstSampleBaseline": "12", "LeadTimeOffset": "3"}
        assert read_muse(muse(waveform(**odd))).warnings == (
            "lead_off_by_device",
            "offset_not_applied",
            "channel_skew",
        )

    def test_patient_device_and_time(self) -> None:
        patient = (
            "<PatientDemographics><PatientID>P-1</PatientID><PatientAge>46</PatientAge><AgeUnits>YEARS</AgeUnits>"
            "<DateofBirth>05-08-1953</DateofBirth><Gender>FEMALE</Gender><PatientLastName>王</PatientLastName>"
            "<PatientFirstName>小明</PatientFirstName></PatientDemographics>"
        )
        test = (
            "<TestDemographics><AcquisitionDevice>MAC55</AcquisitionDevice>"
            "<AcquisitionSoftwareVersion>009A</AcquisitionSoftwareVersion>"
            "<AcquisitionDate>11-12-2018</AcquisitionDate><AcquisitionTime>15:21:27</AcquisitionTime>"
            "</TestDemographics>"
        )
        data = muse(patient, test, waveform())
        for actual in ("utf-8", "gbk"):  # the declaration says ISO-8859-1
            wave = read_muse(data.decode().encode(actual))
            assert wave.patient.name == "王^小明"
        assert (wave.patient.local_id, wave.patient.sex, wave.patient.age) == ("P-1", "FEMALE", "46Y")
        assert (wave.patient.birth_date, wave.patient.charset) == ("19530508", "ISO-8859-1")
        assert str(wave.started_at) == "2018-11-12 15:21:27"
        assert wave.started_at_source == "AcquisitionDate AcquisitionTime"
        assert wave.device == "MAC55 009A"
        assert read_muse(muse(waveform())).started_at is None

    def test_the_device_s_own_numbers_come_before_edited_ones(self) -> None:
        values = (
            "<VentricularRate>{}</VentricularRate><QTCorrected>403</QTCorrected><RAxis>20</RAxis>"
            "<PRInterval/><POnset>147</POnset><QOffset>264</QOffset>"
            "<ECGSampleBase>500</ECGSampleBase><ECGSampleExponent>0</ECGSampleExponent>"
        )
        edited = f"<RestingECGMeasurements>{values.format(99)}</RestingECGMeasurements>"
        own = f"<OriginalRestingECGMeasurements>{values.format(48)}</OriginalRestingECGMeasurements>"
        beats = "<QRSTimesTypes><GlobalRR>1242</GlobalRR></QRSTimesTypes>"
        wave = read_muse(muse(edited, own, beats, waveform()))
        assert [(m.name, m.value, m.unit) for m in wave.device_measurements] == [
            ("hr_bpm", 48, "bpm"),
            ("qtc_ms", 403, "ms"),
            ("qrs_axis_deg", 20, "deg"),
            ("median_p_on_ms", 294, "ms"),
            ("median_qrs_off_ms", 528, "ms"),
            ("rr_mean_ms", 1242, "ms"),
        ]
        assert read_muse(muse(edited, waveform())).device_measurements[0].value == 99

    def test_statements(self) -> None:
        def statement(text: str, flag: str = "") -> str:
            end = f"<StmtFlag>{flag}</StmtFlag>" if flag else ""
            return f"<DiagnosisStatement>{end}<StmtText>{text}</StmtText></DiagnosisStatement>"

        lines = "".join(
            (statement("Sinus rhythm", "ENDSLINE"), statement("with"), statement("ectopics", "ENDSLINE"))
        )
        wave = read_muse(muse(f"<Diagnosis>{lines}</Diagnosis>", waveform()))
        assert wave.device_statements == ("Sinus rhythm", "with ectopics")
        own = f"<OriginalDiagnosis>{statement('one')}{statement('two')}</OriginalDiagnosis>"
        wave = read_muse(muse(f"<Diagnosis>{lines}</Diagnosis>", own, waveform()))
        assert wave.device_statements == ("one", "two")


class TestRefusals:
    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ({"LeadAmplitudeUnits": ""}, UnitsMissing),
            ({"LeadAmplitudeUnits": "COUNTS"}, UnitsMissing),
            ({"LeadAmplitudeUnitsPerBit": ""}, UnitsMissing),
            ({"LeadAmplitudeUnitsPerBit": "0"}, UnitsMissing),
            ({"LeadSampleSize": "4"}, FormatFeature),
            ({"LeadDataCRC32": "1"}, ChecksumWrong),
            ({"LeadSampleCountTotal": "501"}, Truncated),
            ({"WaveFormData": "rubbish!", "LeadDataCRC32": ""}, Malformed),
            ({"WaveFormData": "", "LeadDataCRC32": "", "LeadSampleCountTotal": ""}, NoLeads),
            ({"LeadSampleCountTotal": "1e300"}, Truncated),
        ],
    )
    def test_of_a_lead(self, fault: dict[str, str], error: type[Exception]) -> None:
        with pytest.raises(error):
            read_muse(muse(waveform(**fault)))

    @pytest.mark.parametrize(
        ("base", "exponent"), [("", "0"), ("0", "0"), ("500", "x"), ("500", "999999999"), ("1e308", "6")]
    )
    def test_of_the_rate(self, base: str, exponent: str) -> None:
        with pytest.raises(RateMissing):
            read_muse(muse(waveform(base=base, exponent=f"<SampleExponent>{exponent}</SampleExponent>")))

    def test_without_a_rhythm(self) -> None:
        for data in (muse(), muse(waveform("Median")), muse(waveform(names=()))):
            with pytest.raises(NoLeads):
                read_muse(data)

    def test_many_leads(self) -> None:
        with pytest.raises(RecordingTooLarge):
            read_muse(muse(waveform(stored=np.zeros((2, 65)), names=("I",) * 65)))


def test_is_recognised_by_content() -> None:
    assert matches(muse(waveform()))
    assert not matches(b"<restingecgdata>")
    assert read_ecg({"x": muse(waveform())}).format == "muse"


@pytest.mark.skipif(not os.environ.get("HUB_TEST_DATA"), reason="HUB_TEST_DATA is not set")
def test_real_files_agree_with_ecgdatakit() -> None:
    paths = sorted((Path(os.environ["HUB_TEST_DATA"]) / "ecg" / "muse_xml").glob("*.xml"))
    assert paths
    for path in paths:
        ours, theirs = read_muse(path.read_bytes()), by_ecgdatakit(path)
        assert ours.leads == tuple(each.label for each in theirs.leads) == EIGHT
        for each in theirs.leads:
            assert np.array_equal(ours.lead(each.label), each.samples)
        for each in theirs.median_beats:
            assert np.array_equal(
                ours.median.samples_mv[:, ours.median.leads.index(each.label)], each.samples
            )
        values = {m.name: m.value for m in ours.device_measurements}
        # The wave boundaries are samples of the median beat: so they give the stated intervals.
        assert values["median_qrs_on_ms"] - values["median_p_on_ms"] == values["pr_ms"]
        assert values["median_qrs_off_ms"] - values["median_qrs_on_ms"] == values["qrs_ms"]
        assert values["median_t_off_ms"] - values["median_qrs_on_ms"] == values["qt_ms"]
