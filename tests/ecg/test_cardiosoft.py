"""GE CardioSoft XML: files made here after a real export, and the real one read by a second way."""

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.errors import NoLeads, RateMissing, RecordingTooLarge, Truncated, UnitsMissing
from hub.ecg.formats.cardiosoft import matches, read_cardiosoft
from hub.ecg.read import read_ecg
from hub.errors import Malformed

STORED = np.random.default_rng(5).integers(-300, 300, (200, 3))
NAMES = ("I", "aVR", "V6")


def strip(
    kind: str = "StripData",
    stored: np.ndarray = STORED,
    names: tuple[str, ...] = NAMES,
    *,
    rate: str = "500",
    resolution: str = '<Resolution units="uVperLsb">5</Resolution>',
    count: str = "",
) -> str:
    data = "".join(
        f'<WaveformData lead="{name}">\t{",".join(map(str, stored[:, n].tolist()))}</WaveformData>'
        for n, name in enumerate(names)
    )
    return (
        f'<{kind}><NumberOfLeads>{len(names)}</NumberOfLeads><SampleRate units="Hz">{rate}</SampleRate>'
        f"<ChannelSampleCountTotal>{count or len(stored)}</ChannelSampleCountTotal>"
        f"{resolution}{data}</{kind}>"
    )


def cardiosoft(*parts: str) -> bytes:
    head = '<?xml version="1.0" encoding="ISO-8859-1" ?>\n'
    return f"{head}<CardiologyXML>{''.join(parts)}</CardiologyXML>".encode()


class TestSamples:
    def test_strip_and_median(self) -> None:
        median = f"<RestingECGMeasurements>{strip('MedianSamples', STORED[:50])}</RestingECGMeasurements>"
        wave = read_cardiosoft(cardiosoft(median, strip()))
        assert wave.leads == NAMES
        assert wave.rate_hz == 500
        assert wave.samples_mv == pytest.approx(STORED * 0.005)
        assert wave.lsb_mv == (0.005,) * 3
        assert wave.median.samples_mv == pytest.approx(STORED[:50] * 0.005)

    def test_several_strips(self) -> None:
        short = strip("ArrhythmiaData", STORED[:20, :1], ("V1",))
        wave = read_cardiosoft(cardiosoft(strip(), short))
        assert wave.leads == NAMES
        assert [(part.kind, part.leads) for part in wave.parts] == [("rhythm", ("V1",))]
        assert "leads_in_other_groups" in wave.warnings

    def test_a_median_without_units_is_left_out(self) -> None:
        median = f"<RestingECGMeasurements>{strip('MedianSamples', resolution='')}</RestingECGMeasurements>"
        assert read_cardiosoft(cardiosoft(median, strip())).parts == ()

    def test_millivolts(self) -> None:
        data = cardiosoft(strip(resolution='<Resolution units="mVperLsb">0.01</Resolution>'))
        assert read_cardiosoft(data).samples_mv == pytest.approx(STORED * 0.01)


class TestWhatItSays:
    def test_everything(self) -> None:
        wave = read_cardiosoft(cardiosoft(
            "<ObservationDateTime><Hour>14</Hour><Minute>9</Minute><Second>39</Second>"
            "<Day>19</Day><Month>7</Month><Year>2018</Year></ObservationDateTime>",
            "<ClinicalInfo><DeviceInfo><Desc>CardioSoft</Desc><SoftwareVer>V6.73</SoftwareVer></DeviceInfo>"
            "</ClinicalInfo>",
            "<PatientInfo><PID>77</PID><Name><FamilyName>王</FamilyName><GivenName>小明</GivenName></Name>"
            '<Age units="MONTHS">5</Age><BirthDateTime><Day>1</Day><Month>2</Month><Year>2018</Year>'
            "</BirthDateTime><Gender>MALE</Gender></PatientInfo>",
            "<FilterSetting><Filter50Hz>No</Filter50Hz><Filter60Hz>Yes</Filter60Hz>"
            '<LowPass units="Hz">100</LowPass><HighPass units="Hz">0.01</HighPass></FilterSetting>',
            "<Interpretation><Diagnosis><DiagnosisText>Sinus bradycardia</DiagnosisText>"
            "<DiagnosisText>---</DiagnosisText></Diagnosis><Conclusion><ConclusionText>by a doctor"
            "</ConclusionText></Conclusion></Interpretation>",
            '<RestingECGMeasurements><VentricularRate units="BPM">50</VentricularRate>'
            '<PQInterval units="ms">174</PQInterval><PAxis units="degrees">56</PAxis>'
            '<QTInterval units="s">1</QTInterval><QTDispersion units="ms"/><QOnset units="ms">432</QOnset>'
            "</RestingECGMeasurements>",
            strip(),
        ))  # fmt: skip
        assert str(wave.started_at) == "2018-07-19 14:09:39"
        assert wave.started_at_source == "ObservationDateTime"
        assert wave.device == "CardioSoft V6.73"
        assert (wave.patient.local_id, wave.patient.name, wave.patient.sex) == ("77", "王^小明", "MALE")
        assert (wave.patient.birth_date, wave.patient.age) == ("20180201", "5M")
        assert (wave.filters.high_pass_hz, wave.filters.low_pass_hz, wave.filters.notch_hz) == (0.01, 100, 60)
        assert wave.device_statements == ("Sinus bradycardia",)
        assert [(m.name, m.value, m.unit) for m in wave.device_measurements] == [
            ("hr_bpm", 50, "bpm"),
            ("pr_ms", 174, "ms"),
            ("p_axis_deg", 56, "deg"),
            ("median_qrs_on_ms", 432, "ms"),
        ]

    def test_nothing(self) -> None:
        wave = read_cardiosoft(cardiosoft(strip()))
        assert (wave.started_at, wave.device, wave.patient.name, wave.patient.birth_date) == (
            None,
            "",
            "",
            "",
        )


class TestRefusals:
    @pytest.mark.parametrize(
        ("part", "error"),
        [
            ("", NoLeads),
            ("<StripData/>", NoLeads),
            (strip(resolution=""), UnitsMissing),
            (strip(resolution="<Resolution>5</Resolution>"), UnitsMissing),
            (strip(resolution='<Resolution units="mm">5</Resolution>'), UnitsMissing),
            (strip(rate=""), RateMissing),
            (strip(count="201"), Truncated),
            (strip().replace(",", ",,", 1), Malformed),
            (strip(stored=np.zeros((1, 65), int), names=("I",) * 65), RecordingTooLarge),
        ],
    )
    def test_by_name(self, part: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            read_cardiosoft(cardiosoft(part))


def test_is_recognised_by_content() -> None:
    assert matches(cardiosoft())
    assert not matches(b"<RestingECG>")
    assert read_ecg({"x": cardiosoft(strip())}).format == "cardiosoft"


@pytest.mark.skipif(not os.environ.get("HUB_TEST_DATA"), reason="HUB_TEST_DATA is not set")
def test_a_real_file_read_by_a_second_way() -> None:
    data = (Path(os.environ["HUB_TEST_DATA"]) / "ecg/cardiosoft_xml/ecgprocess_example-XML1.xml").read_bytes()
    wave, tree = read_cardiosoft(data), ET.fromstring(data)
    assert wave.samples_mv.shape == (5000, 12)
    for path, lead in (("StripData", wave.lead), ("RestingECGMeasurements/MedianSamples", median_lead(wave))):
        for one in tree.findall(f"{path}/WaveformData"):
            stored = [int(word) for word in one.text.split(",")]
            assert np.rint(lead(one.get("lead")) / 0.005).tolist() == stored
    values = {m.name: m.value for m in wave.device_measurements}
    assert values["median_qrs_on_ms"] - values["median_p_on_ms"] == values["pr_ms"]


def median_lead(wave):
    return lambda name: wave.median.samples_mv[:, wave.median.leads.index(name)]
