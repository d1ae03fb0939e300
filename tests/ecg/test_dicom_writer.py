"""Recordings written as DICOM, held against dciodvfy, pydicom, ecgdatakit and the reader."""

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, uid

from hub.ecg.analysis.measure import measure
from hub.ecg.errors import CannotHold
from hub.ecg.read import read_ecg
from hub.ecg.waveform import DeviceMeasurement, Filters, Part, PatientText, Waveform
from hub.ecg.writers.dicom import write_dicom
from hub.ecg.writers.dicom_samples import decimal_string
from tests.ecg.oracles import by_ecgdatakit
from tests.ecg.records import load, ludb
from tests.fixtures.peers import require_peer

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def wave(
    raw: np.ndarray | None = None,
    *,
    lsb: float | None = 0.005,
    rate: float = 500.0,
    leads: int = 12,
    **more: object,
) -> Waveform:
    """Make a recording of whole steps of `lsb` mV; a ramp of 2 s by default."""
    if raw is None:
        raw = np.arange(int(2 * rate) * leads).reshape(-1, leads) % 400 - 200
    names = (*LEADS, *(f"X{n}" for n in range(20)))[: raw.shape[1]]
    step = 1.0 if lsb is None else lsb
    return Waveform(
        raw * step,
        rate,
        names,
        "test",
        lsb_mv=(lsb,) * raw.shape[1],
        **{"patient": PatientText("P1", "王^芳"), **more},
    )


def back(data: bytes) -> Waveform:
    return read_ecg({"x.dcm": data})


def parsed(data: bytes) -> Dataset:
    return dcmread(BytesIO(data))


def complaints(data: bytes, tmp_path: Path) -> list[str]:
    """Return what dciodvfy has to say, warnings without weight for this object left out."""
    path = tmp_path / "x.dcm"
    path.write_bytes(data)
    said = subprocess.run([require_peer("dciodvfy"), str(path)], capture_output=True, text=True).stderr
    return [line for line in said.splitlines() if line.startswith("Error") or "not in standard" in line]


RECORDS = {
    "wfdb": lambda: read_ecg(ludb(88)),
    "mortara": lambda: read_ecg(load("mortara_12lead.dcm")),
    "ecgtoolkit": lambda: read_ecg(load("ecgtoolkit_12lead.dcm")),
    "gb18030": lambda: read_ecg(load("ludb_88_12lead_gb18030.dcm")),
}


def test_the_judge_finds_what_is_wrong(tmp_path: Path) -> None:
    """A device's own file breaks a condition of the Waveform module; dciodvfy must say so here, too."""
    assert complaints(load("mortara_12lead.dcm")["mortara_12lead.dcm"], tmp_path) != []


class TestRealRecords:
    @pytest.mark.parametrize("name", RECORDS)
    def test_everything_comes_back(self, name: str, tmp_path: Path) -> None:
        """Oracles: dciodvfy for the object, pydicom and the reader for the samples."""
        given = RECORDS[name]()
        data = write_dicom(given)
        read = back(data)
        assert complaints(data, tmp_path) == []
        np.testing.assert_allclose(read.samples_mv, given.samples_mv, atol=1e-12)
        np.testing.assert_allclose(parsed(data).waveform_array(0) / 1000, given.samples_mv, atol=1e-12)
        assert (read.leads, read.rate_hz, read.started_at) == (given.leads, given.rate_hz, given.started_at)
        assert read.lsb_mv == pytest.approx(given.lsb_mv)
        assert replace(read.patient, charset="") == replace(given.patient, charset="", age=read.patient.age)
        assert (read.device, read.filters) == (given.device, given.filters)
        assert read.device_measurements == given.device_measurements
        assert read.device_statements == given.device_statements
        for ours, theirs in zip(read.parts, given.parts, strict=True):
            np.testing.assert_allclose(ours.samples_mv, theirs.samples_mv, atol=1e-12)
            assert (ours.kind, ours.label, ours.leads) == (theirs.kind, theirs.label, theirs.leads)

    def test_samples_against_ecgdatakit(self, tmp_path: Path) -> None:
        given = read_ecg(ludb(88))
        path = tmp_path / "x.dcm"
        path.write_bytes(write_dicom(given))
        for lead in by_ecgdatakit(path).leads:
            scale = {"uV": 1e-3, "mV": 1.0}[lead.units]
            np.testing.assert_allclose(np.asarray(lead.samples) * scale, given.lead(lead.label), atol=1e-9)


class TestObjects:
    """Limits: PS3.3 A.34.3.4, A.34.4.4, A.34.5.4."""

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (wave(), uid.TwelveLeadECGWaveformStorage),
            (wave(leads=13), uid.TwelveLeadECGWaveformStorage),
            (wave(leads=14), uid.GeneralECGWaveformStorage),
            (wave(np.zeros((16_384, 3))), uid.TwelveLeadECGWaveformStorage),
            (wave(np.zeros((16_385, 3))), uid.GeneralECGWaveformStorage),
            (wave(rate=199.0), uid.AmbulatoryECGWaveformStorage),
            (wave(np.zeros((120_100, 3)), rate=200.0), uid.AmbulatoryECGWaveformStorage),
        ],
    )
    def test_the_narrowest_that_fits(self, given: Waveform, expected: str, tmp_path: Path) -> None:
        """Oracle: dciodvfy knows these three objects and their limits."""
        data = write_dicom(given)
        assert parsed(data).SOPClassUID == expected
        assert complaints(data, tmp_path) == []
        np.testing.assert_allclose(back(data).samples_mv, given.samples_mv, atol=1e-12)

    def test_a_median_beat_makes_it_general(self, tmp_path: Path) -> None:
        beat = Part("median", "MEDIAN", np.zeros((300, 12)), 500.0, LEADS)
        data = write_dicom(wave(parts=(beat,)))
        assert parsed(data).SOPClassUID == uid.GeneralECGWaveformStorage
        assert complaints(data, tmp_path) == []

    def test_samples_beyond_sixteen_bits(self) -> None:
        raw = np.array([[0, 5], [70_000, 6], [-70_000, 7]])
        data = write_dicom(wave(raw))
        ds = parsed(data)
        assert ds.SOPClassUID == uid.General32bitECGWaveformStorage
        assert ds.WaveformSequence[0].WaveformSampleInterpretation == "SL"
        np.testing.assert_array_equal(back(data).samples_mv, raw * 0.005)

    def test_a_fast_recording(self) -> None:
        assert parsed(write_dicom(wave(rate=2000.0))).SOPClassUID == uid.General32bitECGWaveformStorage

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            (wave(rate=49.0), "rate"),
            (wave(rate=150.0, leads=13), "rate"),
            (wave(leads=25), "leads"),
            (
                wave(parts=tuple(Part("rhythm", "r", np.zeros((9, 1)), 500.0, ("II",)) for _ in range(4))),
                "parts",
            ),
            (wave(parts=(Part("rhythm", "r", np.zeros((9, 1)), 100.0, ("II",)),)), "parts"),
            (wave(patient=PatientText(name="n" * 65)), "text"),
            (wave(patient=PatientText(local_id="n" * 65)), "text"),
            (wave(np.array([[0.0], [0.3]])), "step"),
            (wave(np.array([[0], [2**40]]), lsb=1e-6), "range"),
        ],
    )
    def test_what_fits_none_is_refused_by_name(self, given: Waveform, reason: str) -> None:
        with pytest.raises(CannotHold) as caught:
            write_dicom(given)
        assert caught.value.facts["reason"] == reason


class TestSamples:
    def test_gaps_come_back_as_gaps(self, tmp_path: Path) -> None:
        given = wave(np.array([[1.0, np.nan], [np.nan, 2.0], [3.0, 4.0]]))
        data = write_dicom(given)
        np.testing.assert_array_equal(back(data).samples_mv, given.samples_mv)
        assert complaints(data, tmp_path) == []

    def test_the_lowest_number_beside_a_gap_needs_more_bits(self) -> None:
        given = wave(np.array([[-32768.0], [np.nan], [32767.0]]))
        data = write_dicom(given)
        np.testing.assert_allclose(back(data).samples_mv, given.samples_mv)

    def test_an_offset_stays(self) -> None:
        """A converter around 2048 with steps that do not meet 0 mV."""
        given = replace(wave(), samples_mv=wave().samples_mv + 0.0012)
        np.testing.assert_allclose(back(write_dicom(given)).samples_mv, given.samples_mv, atol=1e-12)

    def test_a_large_offset_needs_no_more_bits(self) -> None:
        given = wave(np.array([[1_000_000], [1_000_100]]))
        data = write_dicom(given)
        assert parsed(data).WaveformSequence[0].WaveformBitsAllocated == 16
        np.testing.assert_allclose(back(data).samples_mv, given.samples_mv)

    def test_a_gain_longer_than_a_decimal_string(self) -> None:
        """Oracle: the DS of 16 characters gives back every raw number by rounding."""
        step = 0.43159257660768235e-3
        raw = np.array([[-32767], [1], [32767]])
        data = write_dicom(wave(raw, lsb=step))
        sensitivity = parsed(data).WaveformSequence[0].ChannelDefinitionSequence[0].ChannelSensitivity
        assert len(str(sensitivity)) <= 16
        assert (np.rint(back(data).samples_mv / step) == raw).all()

    def test_computed_leads_keep_their_half_steps(self) -> None:
        two = wave(leads=2).with_derived_limb_leads()
        assert None in two.lsb_mv
        np.testing.assert_allclose(back(write_dicom(two)).samples_mv, two.samples_mv, atol=1e-12)

    def test_a_median_beat_has_half_steps(self) -> None:
        beat = Part("median", "MEDIAN", np.array([[0.0025], [-81.9175]]), 500.0, ("I",))
        data = write_dicom(wave(leads=2, parts=(beat,)))
        assert parsed(data).WaveformSequence[1].WaveformBitsAllocated == 16
        np.testing.assert_allclose(back(data).median.samples_mv, beat.samples_mv, atol=1e-12)

    def test_rounding_only_on_request(self) -> None:
        given = wave(np.random.default_rng(1).normal(size=(500, 2)), lsb=None)
        with pytest.raises(CannotHold):
            write_dicom(given)
        np.testing.assert_allclose(
            back(write_dicom(given, exact=False)).samples_mv, given.samples_mv, atol=0.0005 + 1e-9
        )

    @pytest.mark.parametrize(
        "value", [1 / 3, -1 / 3e9, 1e-12, 123456789.123456789, -0.0001234567891234567, 500.0]
    )
    def test_decimal_strings(self, value: float) -> None:
        assert len(decimal_string(value)) <= 16
        assert float(decimal_string(value)) == pytest.approx(value, rel=1e-9)


class TestText:
    def test_who_and_when(self, tmp_path: Path) -> None:
        zone = timezone(timedelta(hours=8))
        given = wave(
            patient=PatientText("编号7", "Wang^Fang=王^芳", "female", "1971-02-03", "53岁"),
            started_at=datetime(2024, 1, 2, 3, 4, 5, 250_000, zone),
            device="某厂 ECG-12",
            filters=Filters(0.05, 150.0, 50.0),
        )
        data = write_dicom(given, accession="A1", patient={"local_id": "新8"})
        ds, read = parsed(data), back(data)
        assert (ds.PatientID, ds.PatientSex, ds.PatientBirthDate, ds.PatientAge) == (
            "新8",
            "F",
            "19710203",
            "053Y",
        )
        assert read.patient.name == "Wang^Fang=王^芳"
        assert (ds.StudyDate, ds.StudyTime, ds.AccessionNumber) == ("20240102", "030405.250000", "A1")
        assert read.started_at == given.started_at
        assert read.started_at.astimezone(UTC).hour == 19
        assert (read.device, read.filters) == (given.device, given.filters)
        assert complaints(data, tmp_path) == []

    def test_what_is_no_date_sex_or_age_is_left_out(self) -> None:
        ds = parsed(write_dicom(wave(patient=PatientText("1", "a\\b", "?", "19710231", "old"))))
        assert (ds.PatientSex, ds.PatientBirthDate, "PatientAge" in ds) == ("", "", False)
        assert str(ds.PatientName) == "a/b"

    def test_an_unknown_start_stays_unknown(self) -> None:
        assert back(write_dicom(wave())).started_at is None

    def test_identifiers_come_from_the_content(self) -> None:
        first, again = write_dicom(wave()), write_dicom(wave())
        assert first == again
        beat = Part("median", "MEDIAN", np.zeros((3, 1)), 500.0, ("I",))
        for other in (wave(patient=PatientText("P2")), wave(parts=(beat,)), wave(device="X")):
            assert parsed(first).SOPInstanceUID != parsed(write_dicom(other)).SOPInstanceUID
        assert (
            len(
                {
                    parsed(first).StudyInstanceUID,
                    parsed(first).SeriesInstanceUID,
                    parsed(first).SOPInstanceUID,
                }
            )
            == 3
        )
        given = parsed(write_dicom(wave(), study_uid="1.2.3", series_uid="1.2.4", sop_uid="1.2.5"))
        assert (given.StudyInstanceUID, given.SeriesInstanceUID, given.SOPInstanceUID) == (
            "1.2.3",
            "1.2.4",
            "1.2.5",
        )

    def test_a_lead_without_a_code_keeps_its_name(self) -> None:
        read = back(write_dicom(wave(leads=13)))
        assert read.leads[12] == "X0"


class TestAnnotations:
    def test_measurements_and_waves(self, tmp_path: Path) -> None:
        """Oracles: the codes of PS3.16 CID 3227 to 3229 as pydicom has them; the values measured."""
        given = read_ecg(ludb(45))
        measured = measure(given)
        data = write_dicom(given, measurement=measured)
        assert complaints(data, tmp_path) == []
        items = parsed(data).WaveformAnnotationSequence
        by_code = {
            i.ConceptNameCodeSequence[0].CodeValue: i
            for i in items
            if "NumericValue" in i and i.ReferencedWaveformChannels[1] == 0
        }
        for name, code, unit in (
            ("hr_bpm", "2:16016", "/min"),
            ("qrs_ms", "2:16156", "ms"),
            ("qt_ms", "2:16160", "ms"),
        ):
            assert float(by_code[code].NumericValue) == pytest.approx(measured.values[name].value)
            assert by_code[code].MeasurementUnitsCodeSequence[0].CodeValue == unit
        extents = [
            tuple(i.ReferencedSamplePositions)
            for i in items
            if "TemporalRangeType" in i and i.ConceptNameCodeSequence[0].CodeValue == "10:1600"
        ]
        expected = [
            (b.over_all.qrs_on + 1, b.over_all.qrs_off + 1)
            for b in measured.beats
            if b.over_all.qrs_on is not None and b.over_all.qrs_off is not None
        ]
        assert extents == expected
        st = next(m for m in back(data).device_measurements if (m.name, m.lead) == ("st_j_uv", "V2"))
        assert st.value == pytest.approx(measured.by_lead["V2"]["st_j_uv"].value)

    def test_the_devices_numbers_give_way_to_measured_ones(self) -> None:
        given = wave(
            device_measurements=(DeviceMeasurement("qrs_ms", 1.0, "ms"),), device_statements=("Says",)
        )
        items = parsed(write_dicom(given, measurement=measure(given))).WaveformAnnotationSequence
        assert [i.UnformattedTextValue for i in items if "UnformattedTextValue" in i] == ["Says"]
        assert 1.0 not in [float(i.NumericValue) for i in items if "NumericValue" in i]

    def test_the_devices_own_labels(self, tmp_path: Path) -> None:
        numbers = (
            DeviceMeasurement("宽度", 3.5, "mm"),
            DeviceMeasurement("R peak", 2.0, ""),
            DeviceMeasurement("r_mv", 1.25, "mV", "V5"),
            DeviceMeasurement("qtc_ms", 431.0, "ms"),
        )
        data = write_dicom(wave(device_measurements=(*numbers, DeviceMeasurement("r_mv", 0.5, "mV", "V9"))))
        *same, absent = back(data).device_measurements
        assert tuple(same) == numbers
        assert (absent.name, absent.value, absent.unit, absent.lead) == ("r_mv V9", 0.5, "mV", "")
        assert complaints(data, tmp_path) == []
