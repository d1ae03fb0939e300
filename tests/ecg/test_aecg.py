"""HL7 aECG, read: held against ecgdatakit, against the same recording in DICOM and SCP-ECG, and by hand."""

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.errors import FormatFeature, NoLeads, RateMissing, RecordingTooLarge, Truncated, UnitsMissing
from hub.ecg.formats.aecg import matches, read_aecg
from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.read import read_ecg
from hub.errors import Malformed
from tests.ecg.oracles import by_ecgdatakit
from tests.ecg.records import DATA, load

HL7 = DATA / "hl7_aecg.xml"
GLIST = '<value xsi:type="GLIST_PQ"><head value="0" unit="s"/><increment value="0.002" unit="s"/></value>'
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?><AnnotatedECG xmlns="urn:hl7-org:v3" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
)


def lead(
    code: str = "MDC_ECG_LEAD_II",
    digits: str = "1 2 3",
    *,
    scale: str = '<scale value="2.5" unit="uV"/>',
    origin: str = '<origin value="0" unit="uV"/>',
    kind: str = "SLIST_PQ",
) -> str:
    value = f'<value xsi:type="{kind}">{origin}{scale}<digits>{digits}</digits></value>'
    return f'<component><sequence><code code="{code}"/>{value}</sequence></component>'


def sequences(*leads: str, time: str = GLIST, code: str = "TIME_RELATIVE") -> str:
    clock = f'<component><sequence><code code="{code}"/>{time}</sequence></component>'
    return f"<component><sequenceSet>{clock}{''.join(leads)}</sequenceSet></component>"


def series(*parts: str, code: str = "RHYTHM", name: str = "series") -> str:
    return f'<component><{name}><code code="{code}"/>{"".join(parts)}</{name}></component>'


def aecg(*parts: str) -> bytes:
    return (HEAD + "".join(parts) + "</AnnotatedECG>").encode()


def at(head: str, increment: str = '<increment value="2" unit="ms"/>') -> str:
    return f'<value xsi:type="GLIST_TS"><head value="{head}"/>{increment}</value>'


def relative(milliseconds: str) -> str:
    return f'<value><head value="{milliseconds}" unit="ms"/><increment value="2" unit="ms"/></value>'


def annotation(code: str, value: str = "", *inner: str, roi: str = "") -> str:
    support = (
        f"<support><supportingROI><component><boundary>{roi}</boundary></component></supportingROI></support>"
    )
    nested = "".join(inner)
    return f'<component><annotation><code code="{code}"/>{value}{support}{nested}</annotation></component>'


def annotations(*found: str, author: str = "assignedDevice") -> str:
    entity = f"<assignedEntity><assignedAuthorType><{author}/></assignedAuthorType></assignedEntity>"
    who = f"<author>{entity}</author>"
    return f"<subjectOf><annotationSet>{who}{''.join(found)}</annotationSet></subjectOf>"


def quantity(value: str, unit: str) -> str:
    return f'<value xsi:type="PQ" value="{value}" unit="{unit}"/>'


class TestTheHl7Sample:
    def test_agrees_with_the_same_recording_in_dicom_to_nothing(self) -> None:
        ours = read_aecg(HL7.read_bytes())
        dicom = read_ecg(load("ecgtoolkit_12lead.dcm"))
        for name in dicom.leads:
            difference = ours.lead(name) - dicom.lead(name)
            # The DICOM file calls every zero padding; there it has no sample to compare with.
            assert np.nanmax(np.abs(difference)) * 1000 < 1e-9
            assert (ours.lead(name)[np.isnan(difference)] == 0).all()

    def test_agrees_with_ecgdatakit(self) -> None:
        ours, theirs = read_aecg(HL7.read_bytes()), by_ecgdatakit(HL7)
        assert ours.leads == tuple(each.label for each in theirs.leads)
        for each in theirs.leads:
            assert np.array_equal(ours.lead(each.label), each.samples)
        assert ours.median.leads == tuple(each.label for each in theirs.median_beats)
        for n, each in enumerate(theirs.median_beats):
            assert np.array_equal(ours.median.samples_mv[:, n], each.samples)

    def test_what_it_says(self) -> None:
        wave = read_aecg(HL7.read_bytes())
        assert wave.samples_mv.shape == (5000, 12)
        assert wave.rate_hz == 500
        assert wave.format == "aecg"
        assert str(wave.started_at) == "2002-11-22 09:10:00"
        assert wave.started_at_source == "sequence TIME_ABSOLUTE"
        assert wave.lsb_mv == (0.0025,) * 12
        assert (wave.filters.high_pass_hz, wave.filters.low_pass_hz, wave.filters.notch_hz) == (None, 150, 60)
        assert wave.device == "Mortara Instrument, Inc. ELI250 5.3"
        assert (wave.patient.local_id, wave.patient.name, wave.patient.sex) == ("SBJ-123", "Clark", "M")
        assert (wave.patient.birth_date, wave.patient.age) == ("19530508", "46Y")
        assert wave.device_statements == ("Sinus Rhythm",)
        assert wave.warnings == ()
        assert str(wave.median) == "REPRESENTATIVE_BEAT: 12 x 599 @ 500 Hz"
        assert {m.name: m.value for m in wave.device_measurements} == {
            "median_p_on_ms": 286, "median_p_off_ms": 388, "median_qrs_on_ms": 434, "median_qrs_off_ms": 554,
            "median_t_off_ms": 854, "p_ms": 102, "pr_ms": 148, "qrs_ms": 120, "qt_ms": 420, "qtc_ms": 443,
            "p_axis_deg": 44, "qrs_axis_deg": -61, "t_axis_deg": 86,
        }  # fmt: skip

    def test_is_recognised_by_content(self) -> None:
        assert matches(HL7.read_bytes())
        assert read_ecg({"scan.pdf": HL7.read_bytes()}).format == "aecg"
        assert not matches(b"<RestingECG>")


class TestCalibration:
    def test_origin_and_scale_of_each_lead(self) -> None:
        wave = read_aecg(aecg(series(sequences(
            lead("MDC_ECG_LEAD_V2", "10 -10", scale='<scale value="0.5" unit="mV"/>'),
            lead("MDC_ECG_LEAD_I", "10 -10", origin='<origin value="-3" unit="mV"/>'),
            lead("MDC_ECG_LEAD_AVRNEG", "1 2", scale='<scale value="500" unit="nV"/>', origin=""),
        ))))  # fmt: skip
        assert wave.leads == ("V2", "I", "-aVR")
        assert np.allclose(
            wave.samples_mv.T, [[5, -5], [-2.975, -3.025], [0.0005, 0.001]], rtol=0, atol=1e-12
        )
        assert wave.lsb_mv == pytest.approx((0.5, 0.0025, 0.0005))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"scale": ""},
            {"scale": '<scale value="2.5"/>'},
            {"scale": '<scale value="2.5" unit="mm"/>'},
            {"scale": '<scale value="2.5" unit="MV"/>'},
            {"scale": '<scale value="0" unit="uV"/>'},
            {"scale": '<scale value="1e999" unit="uV"/>'},
            {"scale": '<scale value="2"/>', "origin": '<origin value="0"/>', "kind": "SLIST_INT"},
            {"origin": '<origin value="5"/>'},
            {"origin": '<origin value="x" unit="uV"/>'},
        ],
    )
    def test_no_unit_is_guessed(self, wrong: dict[str, str]) -> None:
        with pytest.raises(UnitsMissing):
            read_aecg(aecg(series(sequences(lead(**wrong)))))


class TestTime:
    @pytest.mark.parametrize(
        ("value", "unit", "rate"),
        [("0.002", "s", 500), ("1", "ms", 1000), ("2000", "us", 500), ("0.00277777777777778", "s", 360)],
    )
    def test_units_of_the_increment(self, value: str, unit: str, rate: float) -> None:
        time = f'<value xsi:type="GLIST_PQ"><increment value="{value}" unit="{unit}"/></value>'
        assert read_aecg(aecg(series(sequences(lead(), time=time)))).rate_hz == rate

    @pytest.mark.parametrize(
        "time",
        [
            "",
            "<value/>",
            '<value><increment value="2"/></value>',
            '<value><increment value="2" unit="h"/></value>',
            '<value><increment value="0" unit="s"/></value>',
            '<value><increment value="-1" unit="s"/></value>',
        ],
    )
    def test_no_rate_is_guessed(self, time: str) -> None:
        with pytest.raises(RateMissing):
            read_aecg(aecg(series(sequences(lead(), time=time))))

    def test_moments_one_by_one(self) -> None:
        listed = '<value xsi:type="SLIST_PQ"><scale value="2" unit="ms"/><digits>{}</digits></value>'
        even = series(sequences(lead(), time=listed.format("0 1 2")))
        assert read_aecg(aecg(even)).rate_hz == 500
        with pytest.raises(FormatFeature):
            read_aecg(aecg(series(sequences(lead(), time=listed.format("0 1 3")))))

    def test_where_the_start_is_from(self) -> None:
        absolute = series(sequences(lead(), time=at("20200101080000.25+0800"), code="TIME_ABSOLUTE"))
        wave = read_aecg(aecg(absolute))
        zone = timezone(timedelta(hours=8))
        assert wave.started_at == datetime(2020, 1, 1, 8, microsecond=250_000, tzinfo=zone)
        low = '<effectiveTime><low value="20200101080000Z"/></effectiveTime>'
        assert read_aecg(aecg(low, series(sequences(lead())))).started_at is None
        for written, source in (
            ('<effectiveTime><low value="202001010800+0000"/></effectiveTime>', "effectiveTime low"),
            ('<effectiveTime><center value="20200101080000+0000"/></effectiveTime>', "effectiveTime center"),
            ('<effectiveTime value="20200101080000+0000"/>', "effectiveTime"),
        ):
            wave = read_aecg(aecg(written, series(sequences(lead()))))
            assert (wave.started_at, wave.started_at_source) == (datetime(2020, 1, 1, 8, tzinfo=UTC), source)
        within = '<effectiveTime><low value="20200101090000"/></effectiveTime>'
        wave = read_aecg(aecg(low, series(within, sequences(lead()))))
        assert str(wave.started_at) == "2020-01-01 09:00:00"
        assert wave.started_at_source == "series effectiveTime low"


class TestSeveralSets:
    def test_side_by_side(self) -> None:
        same = {"time": at("20200101080000"), "code": "TIME_ABSOLUTE"}
        one, two = lead("MDC_ECG_LEAD_I"), lead("MDC_ECG_LEAD_II", "4 5 6")
        wave = read_aecg(aecg(series(sequences(one, **same), sequences(two, **same))))
        assert wave.leads == ("I", "II")
        assert wave.parts == ()

    @pytest.mark.parametrize("absolute", [True, False])
    def test_one_after_another(self, absolute: bool) -> None:
        """Four groups of three leads, 2.5 s each, as carts with three channels record them."""

        def group(n: int) -> str:
            leads = [
                lead(f"MDC_ECG_LEAD_{name}", f"{n} " * 1250) for name in STANDARD_LEADS[3 * n : 3 * n + 3]
            ]
            if absolute:
                return sequences(
                    *leads, time=at(f"2020010108000{2 * n + n // 2}.{n % 2 * 5}"), code="TIME_ABSOLUTE"
                )
            return sequences(*leads, time=relative(f"{n * 2500}"))

        wave = read_aecg(aecg(series(*map(group, range(4)))))
        assert wave.leads == STANDARD_LEADS
        assert wave.n_samples == 5000
        assert wave.warnings == ("leads_sequential",)
        for n, name in enumerate(STANDARD_LEADS):
            recorded = np.flatnonzero(~np.isnan(wave.lead(name)))
            assert (recorded[0], recorded[-1]) == (n // 3 * 1250, n // 3 * 1250 + 1249)
            assert wave.lead(name)[recorded] == pytest.approx(n // 3 * 0.0025)
        assert wave.started_at == (
            datetime(2020, 1, 1, 8, tzinfo=UTC).replace(tzinfo=None) if absolute else None
        )

    def test_a_lead_that_goes_on(self) -> None:
        sets = [
            sequences(lead(digits=digits), time=relative(ms)) for digits, ms in (("1 2 3", "0"), ("4 5", "6"))
        ]
        wave = read_aecg(aecg(series(*sets)))
        assert wave.samples_mv[:, 0] == pytest.approx(np.arange(1, 6) * 0.0025)

    @pytest.mark.parametrize(
        "other",
        [
            sequences(lead("MDC_ECG_LEAD_I"), time=relative("2000")),
            sequences(lead("MDC_ECG_LEAD_II"), time=relative("2")),
            sequences(lead("MDC_ECG_LEAD_I"), time=GLIST.replace("0.002", "0.001")),
            sequences(lead("MDC_ECG_LEAD_I"), time=at("", '<increment value="2" unit="ms"/>')),
            sequences(lead("MDC_ECG_LEAD_I"), time=at("20200101080000"), code="TIME_ABSOLUTE"),
            sequences(lead("MDC_ECG_LEAD_I"), time=relative("1e300")),
        ],
        ids=["far apart", "same lead twice", "other rate", "no time", "other scale", "beyond all time"],
    )
    def test_not_joined(self, other: str) -> None:
        wave = read_aecg(aecg(series(sequences(lead(digits="1 2 3 4")), other)))
        assert wave.leads == ("II",)
        assert len(wave.parts) == 1

    def test_relative_times_of_two_series_have_nothing_in_common(self) -> None:
        one, two = series(sequences(lead())), series(sequences(lead("MDC_ECG_LEAD_I")))
        wave = read_aecg(aecg(one, two))
        assert wave.leads == ("II",)
        assert wave.warnings[0] == "leads_in_other_groups"

    def test_two_series_and_a_representative_beat(self) -> None:
        long = series(sequences(lead(digits="1 2 3 4")))
        beat = series(sequences(lead(digits="9 8 7 6 5 4 3")), code="REPRESENTATIVE_BEAT")
        wave = read_aecg(aecg(series(sequences(lead())), long, beat))
        assert wave.n_samples == 4
        assert [part.kind for part in wave.parts] == ["rhythm", "median"]
        assert wave.median.samples_mv[0, 0] == pytest.approx(0.0225)

    @pytest.mark.parametrize("faulty", [lead(scale=""), lead(digits=""), lead() + lead(digits="1")])
    def test_a_derived_beat_that_does_not_fit_is_left_out(self, faulty: str) -> None:
        derived = f"<derivation><derivedSeries>{sequences(faulty)}</derivedSeries></derivation>"
        wave = read_aecg(aecg(series(sequences(lead()), derived)))
        assert wave.parts == ()

    def test_other_sequences_are_left_out(self) -> None:
        wave = read_aecg(aecg(series(sequences(lead(), lead("MDC_PRESS_BLD", "1 2")))))
        assert wave.leads == ("II",)


class TestAnnotations:
    def test_of_a_device_not_of_a_person_nor_of_a_beat(self) -> None:
        found = (
            annotations(annotation("MDC_ECG_TIME_PD_QT", quantity("1", "ms")), author="assignedPerson"),
            annotations(
                annotation("MDC_ECG_BEAT", "", annotation("MDC_ECG_TIME_PD_PR", quantity("2", "ms"))),
                annotation("MDC_ECG_HEART_RATE", quantity("61", "bpm")),
                annotation("MDC_ECG_TIME_PD_QRS_GL", quantity("0.09", "s")),
                annotation("MDC_ECG_TIME_PD_QTcB", quantity("410", "ms")),
                annotation("MDC_ECG_TIME_PD_P", quantity("7", "furlong")),
                annotation("VENDOR_THING", quantity("3", "uV"), roi='<code code="MDC_ECG_LEAD_V3"/>'),
                annotation(
                    "MDC_ECG_INTERPRETATION",
                    "",
                    annotation("MDC_ECG_INTERPRETATION_STATEMENT", "<value>窦性心律</value>"),
                    annotation("MDC_ECG_INTERPRETATION_COMMENT", '<value displayName="comment"/>'),
                ),
            ),
        )
        wave = read_aecg(aecg(series(sequences(lead()), *found)))
        assert [(m.name, m.value, m.unit, m.lead) for m in wave.device_measurements] == [
            ("hr_bpm", 61, "bpm", ""),
            ("qrs_ms", 90, "ms", ""),
            ("qtc_bazett_ms", 410, "ms", ""),
            ("MDC_ECG_TIME_PD_P", 7, "furlong", ""),
            ("VENDOR_THING", 3, "uV", "V3"),
        ]
        assert wave.device_statements == ("窦性心律", "comment")


class TestRefusals:
    def test_without_leads(self) -> None:
        for data in (
            aecg(),
            aecg(series()),
            aecg(series(sequences())),
            aecg(series(sequences(lead(digits="")))),
        ):
            with pytest.raises(NoLeads):
                read_aecg(data)

    def test_leads_of_different_length(self) -> None:
        with pytest.raises(Truncated):
            read_aecg(aecg(series(sequences(lead(), lead("MDC_ECG_LEAD_I", "1 2")))))

    def test_digits_that_are_none(self) -> None:
        with pytest.raises(Malformed):
            read_aecg(aecg(series(sequences(lead(digits="1 two 3")))))

    def test_many_leads(self) -> None:
        with pytest.raises(RecordingTooLarge):
            read_aecg(aecg(series(sequences(*[lead()] * 65))))
        with pytest.raises(RecordingTooLarge):
            read_aecg(aecg(series(*[sequences(lead())] * 257)))

    def test_cut_off(self) -> None:
        with pytest.raises(Malformed):
            read_aecg(HL7.read_bytes()[:300_000])


@pytest.mark.skipif(not os.environ.get("HUB_TEST_DATA"), reason="HUB_TEST_DATA is not set")
class TestEverythingAtHand:
    def test_agrees_with_ecgdatakit(self) -> None:
        paths = sorted((Path(os.environ["HUB_TEST_DATA"]) / "ecg" / "aecg").glob("*.xml"))
        assert paths
        for path in paths:
            ours, theirs = read_aecg(path.read_bytes()), by_ecgdatakit(path)
            assert ours.leads == tuple(each.label for each in theirs.leads)
            for each in theirs.leads:
                assert np.array_equal(ours.lead(each.label), each.samples)

    def test_agrees_with_the_same_recording_in_scp_to_nothing(self) -> None:
        scp = by_ecgdatakit(Path(os.environ["HUB_TEST_DATA"]) / "ecg" / "scp" / "ecgtoolkit_Example.scp")
        ours = read_aecg(HL7.read_bytes())
        assert len(scp.leads) == 12
        for each in scp.leads:
            assert np.abs(each.samples - ours.lead(each.label)).max() * 1000 < 1e-9
