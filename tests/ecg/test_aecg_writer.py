"""aECG, written: read back by our reader, by ecgdatakit and by ElementTree; built after the HL7 sample."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.analysis.model import Atrial, Beat, Boundaries, Measurement, Value
from hub.ecg.errors import CannotHold
from hub.ecg.formats.aecg import read_aecg
from hub.ecg.read import read_ecg
from hub.ecg.waveform import DeviceMeasurement, Filters, Part, PatientText, Waveform
from hub.ecg.writers.aecg import write_aecg
from tests.ecg.oracles import by_ecgdatakit
from tests.ecg.records import DATA, load, ludb

NS = {"h": "urn:hl7-org:v3"}
STORED = np.random.default_rng(3).integers(-3000, 3000, (400, 3))


def wave(**other: object) -> Waveform:
    facts = {"samples_mv": STORED * 0.0025, "rate_hz": 500.0, "leads": ("I", "aVR", "V4R"), "format": "test"}
    return Waveform(**(facts | {"lsb_mv": (0.0025,) * 3} | other))


RECORDS = {
    "hl7": lambda: read_ecg(load("hl7_aecg.xml")),
    "philips": lambda: read_ecg(load("philips_1_04_utf16.xml")),
    "mortara": lambda: read_ecg(load("mortara_12lead.dcm")),
    "gb18030": lambda: read_ecg(load("ludb_88_12lead_gb18030.dcm")),
    "ludb 135": lambda: read_ecg(ludb(135)),
    "ludb 45": lambda: read_ecg(ludb(45)),
}


def measurement() -> Measurement:
    found = {
        "hr_bpm": Value(61.5, "bpm"),
        "qrs_ms": Value(96, "ms"),
        "pr_ms": Value(None, "ms", reason="no_p_wave"),
        "qtc_bazett_ms": Value(410, "ms"),
        "qtc_hodges_ms": Value(405, "ms"),
        "qrs_axis_deg": Value(-30, "deg"),
    }
    beats = (
        Beat(100, "dominant", Boundaries(p_on=60, p_off=80, qrs_on=95, qrs_off=140, t_off=250)),
        Beat(300, "ectopic", Boundaries(qrs_on=290, qrs_off=360)),
    )
    return Measurement(beats, (400.0,), found, {}, None, Atrial())


class TestRoundTrip:
    @pytest.mark.parametrize("name", RECORDS)
    def test_not_one_unit_is_lost(self, name: str) -> None:
        given = RECORDS[name]()
        back = read_aecg(write_aecg(given))
        assert back.leads == given.leads
        assert back.rate_hz == given.rate_hz
        assert np.abs(back.samples_mv - given.samples_mv).max() < 1e-9
        assert back.started_at == given.started_at
        assert back.filters == given.filters
        assert len(back.parts) == len(given.parts)
        for one, other in zip(given.parts, back.parts, strict=True):
            assert (one.kind, one.rate_hz, one.leads) == (other.kind, other.rate_hz, other.leads)
            assert np.abs(one.samples_mv - other.samples_mv).max() <= 0.5e-6 + 1e-12

    def test_words_and_numbers(self) -> None:
        given = wave(
            device="Maker <Model> & 1",
            started_at=datetime(2020, 2, 3, 4, 5, 6, 789_000, tzinfo=timezone(timedelta(hours=8))),
            filters=Filters(0.05, 150.0, 50.0),
            patient=PatientText("P/1", "王^小明", "M", "19530508", "66Y"),
            device_measurements=(
                DeviceMeasurement("hr_bpm", 61.0, "bpm"),
                DeviceMeasurement("qtc_ms", 443.0, "ms"),
                DeviceMeasurement("MDC_ECG_AMPL_R", 912.0, "uV", "I"),
                DeviceMeasurement("median_qrs_on_ms", 434.0, "ms"),
                DeviceMeasurement("median_t_off_ms", 854.0, "ms"),
            ),
            device_statements=("窦性心律 <60", "]]> & \x0b end"),
            parts=(Part("median", "beat", STORED[:50] * 0.001, 1000.0, ("I", "aVR", "V4R")),),
        )
        back = read_aecg(write_aecg(given))
        assert back.device == given.device
        assert back.started_at == given.started_at
        assert back.started_at.utcoffset() == timedelta(hours=8)
        assert back.filters == given.filters
        assert replace(back.patient, charset="") == given.patient
        assert {(m.name, m.value, m.unit, m.lead) for m in back.device_measurements} == {
            (m.name, m.value, m.unit, m.lead) for m in given.device_measurements
        }
        assert back.device_statements == ("窦性心律 <60", "]]> &  end")
        assert back.median.rate_hz == 1000

    def test_without_a_start_times_are_relative(self) -> None:
        data = write_aecg(wave(), measurement=measurement())
        assert b"TIME_ABSOLUTE" not in data
        assert read_aecg(data).started_at is None

    def test_the_same_recording_gives_the_same_bytes(self) -> None:
        assert write_aecg(wave()) == write_aecg(wave())
        assert write_aecg(wave()) != write_aecg(wave(rate_hz=250.0))

    @pytest.mark.parametrize(
        ("rate", "started"), [(360.0, None), (257.3, datetime(1999, 12, 31, tzinfo=UTC))]
    )
    def test_odd_rates(self, rate: float, started: datetime | None) -> None:
        back = read_aecg(write_aecg(wave(rate_hz=rate, started_at=started)))
        assert back.rate_hz == pytest.approx(rate, rel=1e-12)


class TestScales:
    def test_each_lead_has_its_own(self) -> None:
        steps = np.array([0.0025, 0.00488, 0.43159257660768235])
        back = read_aecg(write_aecg(wave(samples_mv=STORED * steps, lsb_mv=tuple(steps))))
        assert back.lsb_mv == pytest.approx(steps, rel=1e-14)
        assert np.array_equal(np.rint(back.samples_mv / steps), STORED)

    def test_a_zero_between_the_units_becomes_an_origin(self) -> None:
        given = wave(samples_mv=STORED * 0.0025 + 0.0011)
        back = read_aecg(write_aecg(given))
        assert np.abs(back.samples_mv - given.samples_mv).max() < 1e-12
        assert back.lsb_mv == pytest.approx((0.0025,) * 3)

    def test_computed_leads_lie_on_half_units(self) -> None:
        given = wave(leads=("I", "II", "V1")).with_derived_limb_leads()
        assert given.lsb_mv.count(None) == 4
        back = read_aecg(write_aecg(given))
        assert np.abs(back.samples_mv - given.samples_mv).max() < 1e-12

    def test_computed_leads_of_differing_units_keep_half_a_nanovolt(self) -> None:
        steps = (0.0025, 0.00488, 0.001)
        given = wave(
            samples_mv=STORED * steps, lsb_mv=steps, leads=("I", "II", "V1")
        ).with_derived_limb_leads()
        back = read_aecg(write_aecg(given))
        assert np.abs(back.samples_mv - given.samples_mv).max() <= 0.5e-6 + 1e-12


class TestOthersReadIt:
    @pytest.mark.parametrize("name", ["hl7", "mortara", "ludb 45"])
    def test_ecgdatakit(self, name: str, tmp_path: Path) -> None:
        given = RECORDS[name]()
        path = tmp_path / "x.xml"
        path.write_bytes(write_aecg(given, measurement=measurement()))
        theirs = by_ecgdatakit(path)
        assert tuple(each.label for each in theirs.leads) == given.leads
        for each in theirs.leads:
            assert each.sampling_rate == given.rate_hz
            assert np.abs(each.samples - given.lead(each.label)).max() < 1e-9
        assert theirs.measurements.heart_rate is not None

    def test_built_like_the_hl7_sample(self) -> None:
        """Every element stands where the sample has such an element, and among its siblings in that order."""
        sample = ET.parse(DATA / "hl7_aecg.xml").getroot()
        known = {(p.tag, c.tag) for p in sample.iter() for c in p}
        h = "{urn:hl7-org:v3}"
        more = {(f"{h}name", f"{h}family"), (f"{h}name", f"{h}given")}
        given = replace(
            RECORDS["hl7"](),
            patient=PatientText("1", "A^B", "M", "19530508", "46Y"),
            device_statements=("x",),
        )
        ours = ET.fromstring(write_aecg(given, measurement=measurement()))
        assert {(p.tag, c.tag) for p in ours.iter() for c in p} <= known | more
        order = {path: [c.tag for c in sample.find(path, NS)] for path in (".", "h:component/h:series")}
        for path, tags in order.items():
            places = [tags.index(c.tag) for c in ours.find(path, NS)]
            assert places == sorted(places)


class TestAnnotations:
    def test_the_hub_s_own_set(self) -> None:
        given = wave(started_at=datetime(2020, 1, 1, 8, tzinfo=UTC), device="Cart")
        root = ET.fromstring(write_aecg(given, measurement=measurement()))
        sets = root.findall(".//h:series/h:subjectOf/h:annotationSet", NS)
        assert [s.findtext(".//h:manufacturerModelName", namespaces=NS) for s in sets] == ["township ECG hub"]
        found = sets[0].findall("h:component/h:annotation", NS)
        values = {a.find("h:code", NS).get("code"): a.find("h:value", NS).attrib for a in found}
        assert values["MDC_ECG_HEART_RATE"]["value"] == "61.5"
        assert values["MDC_ECG_HEART_RATE"]["unit"] == "/min"
        assert set(values) == {
            "MDC_ECG_HEART_RATE",
            "MDC_ECG_TIME_PD_QRS",
            "MDC_ECG_TIME_PD_QTcB",
            "MDC_ECG_ANGLE_QRS_FRONT",
            "MDC_ECG_BEAT",
        }
        beats = [a for a in found if a.find("h:code", NS).get("code") == "MDC_ECG_BEAT"]
        assert [b.find("h:value", NS).get("code") for b in beats] == [
            "MDC_ECG_BEAT_DOMINANT",
            "MDC_ECG_BEAT_ABNORMAL",
        ]
        waves = [
            (
                w.find("h:value", NS).get("code"),
                [e.get("value") for e in w.findall(".//h:boundary/h:value/*", NS)],
            )
            for w in beats[0].findall("h:component/h:annotation", NS)
        ]
        assert waves == [
            ("MDC_ECG_WAVC_PWAVE", ["20200101080000.120+0000", "20200101080000.160+0000"]),
            ("MDC_ECG_WAVC_QRSWAVE", ["20200101080000.190+0000", "20200101080000.280+0000"]),
            ("MDC_ECG_WAVC_TWAVE", ["20200101080000.500+0000"]),
        ]
        assert len(beats[1].findall("h:component/h:annotation", NS)) == 1

    def test_the_device_s_numbers_come_back_first(self) -> None:
        given = wave(device_measurements=(DeviceMeasurement("hr_bpm", 60.0, "bpm"),))
        back = read_aecg(write_aecg(given, measurement=measurement()))
        assert {m.name: m.value for m in back.device_measurements}["hr_bpm"] == 60


class TestCannotHold:
    def test_missing_samples(self) -> None:
        samples = STORED * 0.0025
        samples[7, 1] = np.nan
        for exact in (True, False):
            with pytest.raises(CannotHold) as caught:
                write_aecg(wave(samples_mv=samples), exact=exact)
            assert caught.value.facts["reason"] == "gap"

    def test_unknown_channels(self) -> None:
        with pytest.raises(CannotHold):
            write_aecg(wave(leads=("I", "II", "channel 3")))

    def test_samples_between_the_units(self) -> None:
        given = wave(samples_mv=STORED * 0.0025 + np.random.default_rng(1).normal(0, 0.001, STORED.shape))
        with pytest.raises(CannotHold):
            write_aecg(given)
        back = read_aecg(write_aecg(given, exact=False))
        assert np.abs(back.samples_mv - given.samples_mv).max() <= 0.0025 / 512 * 1.01

    def test_a_start_beyond_the_calendar(self) -> None:
        with pytest.raises(CannotHold):
            write_aecg(wave(started_at=datetime.max.replace(tzinfo=UTC)))
