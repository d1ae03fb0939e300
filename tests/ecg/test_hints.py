"""Rules: each is met by a strip made for it, and not by its neighbour just short of the limit."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hub.ecg.analysis.analyse import analyse, profiles
from hub.ecg.analysis.hints import CHECKS, hints
from hub.ecg.analysis.hints_rules import DEFAULT_PROFILE, read_table, rules_of, usual_limits
from hub.ecg.analysis.measure import measure
from hub.ecg.analysis.model import Atrial, Finding, Hint, Measurement, Quality, Value
from hub.ecg.analysis.quality import assess
from hub.ecg.analysis.st_rules import udmi_limit_mv
from hub.ecg.read import read_ecg
from hub.ecg.scoring import st as score
from hub.ecg.scoring.scale import true_scale
from hub.ecg.waveform import Waveform
from tests.ecg.records import ludb
from tests.ecg.strips import SHAPE, one_beat, strip, twelve

BEATS = np.arange(0.5, 10, 0.8)
TIME = np.arange(5000) / 500.0


def levels(waveform: Waveform, **known: object) -> dict[str, str]:
    return {each.rule: each.level for each in analyse(waveform, **known).hints}  # type: ignore[arg-type]


def judged(waveform: Waveform, measurement: Measurement, **known: object) -> dict[str, Hint]:
    quality = assess(waveform)
    return {each.rule: each for each in hints(waveform, measurement, quality, **known)}  # type: ignore[arg-type]


def with_values(measurement: Measurement, **numbers: float) -> Measurement:
    units = {name: measurement.values[name].unit for name in numbers}
    new = {name: Value(value, units[name]) for name, value in numbers.items()}
    return replace(measurement, values={**measurement.values, **new})


@pytest.fixture(scope="module")
def plain() -> Waveform:
    return strip(BEATS)


@pytest.fixture(scope="module")
def measured(plain: Waveform) -> Measurement:
    return measure(plain)


class TestTheFiles:
    def test_every_rule_has_a_check_and_every_check_a_rule(self) -> None:
        assert set(CHECKS) == set(read_table("common")["rules"])

    def test_critical_is_what_a_list_says_and_nothing_else(self) -> None:
        assert {rule["level"] for rule in read_table("common")["rules"].values()} == {"urgent", "note"}
        for profile in profiles():
            rules = rules_of(profile).rules
            assert {name for name, each in rules.items() if each[0].level == "critical"} == set(
                read_table(f"profile_{profile}")["critical"]
            )

    def test_every_rule_names_its_source_and_every_limit_its_unit(self) -> None:
        plain_counts = {"beats", "leads", "dropped", "intervals", "likelihood", "similarity", "leakage"}
        plain_counts |= {"exclusive", "v1v3_exclusive", "irregular", "premature", "t_to_r", "share"}
        plain_counts |= {"p_per_qrs", "rr_irregular", "pp_irregular"}
        units = ("_mv", "_ms", "_s", "_hz", "_bpm", "_share", "_years", "mv", "ms", "bpm", "hz")
        for profile in profiles():
            for versions in rules_of(profile).rules.values():
                for rule in versions:
                    assert len(rule.source) > 20
                    assert all(name in plain_counts or name.endswith(units) for name in rule.limits)

    def test_every_limit_is_used(self) -> None:
        """A limit that no code reads would be a promise that nothing keeps."""
        folder = Path(__file__).parents[2] / "hub" / "ecg" / "analysis"
        code = "".join(p.read_text() for p in folder.glob("*.py"))
        for name, rule in read_table("common")["rules"].items():
            for limit in rule.get("limits", {}):
                assert f'"{limit}"' in code, f"{name}: {limit}"

    def test_an_unknown_list_is_refused(self, plain: Waveform) -> None:
        with pytest.raises(ValueError, match="national_2017"):
            analyse(plain, profile="atlantis")


class TestPlainStrips:
    def test_nothing_is_said_of_a_plain_one(self, plain: Waveform) -> None:
        assert analyse(plain, sex="F", age_years=50).hints == ()

    @pytest.mark.parametrize("record", [88, 135])
    def test_nothing_critical_of_real_ones_without_infarction(self, record: int) -> None:
        found = levels(true_scale(read_ecg(ludb(record))))
        assert "critical" not in found.values()


class TestRates:
    def test_slow(self) -> None:
        found = {each.rule: each for each in analyse(strip(np.arange(0.5, 10, 1.9))).hints}
        assert found["rate_low"].level == "critical"
        assert found["rate_low"].numbers == {"bpm": pytest.approx(31.58, abs=0.1), "limit_bpm": 35.0}

    def test_slow_short_of_the_list_is_urgent(self) -> None:
        assert levels(strip(np.arange(0.5, 10, 1.55)))["rate_low"] == "urgent"

    def test_fast(self) -> None:
        fast = strip(np.arange(0.3, 10, 0.28))
        assert levels(fast)["rate_high"] == "critical"
        assert levels(fast, profile="zhejiang")["rate_high"] == "urgent"

    def test_the_limit_itself(self, plain: Waveform, measured: Measurement) -> None:
        """Zhejiang writes "below 35", the others "35 and below"."""
        at_limit = with_values(measured, hr_bpm=35.0)
        assert judged(plain, at_limit)["rate_low"].level == "critical"
        assert judged(plain, at_limit, profile="zhejiang")["rate_low"].level == "urgent"

    def test_a_pause(self) -> None:
        beats = [0.5, 1.3, 2.1, 5.2, 6.0, 6.8, 7.6, 8.4, 9.2]
        assert levels(strip(beats))["pause"] == "critical"
        assert "pause" not in levels(strip([0.5, 1.3, 2.1, 4.9, 5.7, 6.5, 7.3, 8.1, 8.9, 9.6]))

    def test_a_pause_that_the_strip_ends_in(self) -> None:
        assert levels(strip([0.5, 1.3, 2.1, 2.9, 3.7, 4.5, 5.3, 6.1]))["pause"] == "critical"

    def test_a_cable_that_came_off_is_no_pause(self) -> None:
        """All leads rest on one value from the fifth second: no rule takes that for the heart."""
        clean = strip(BEATS)
        samples = np.where(TIME[:, None] > 5, 0.0, clean.samples_mv)
        found = analyse(replace(clean, samples_mv=samples))
        assert found.quality.verdict == "repeat"
        assert not {"pause", "rate_low"} & {each.rule for each in found.hints}
        one_left = np.where((TIME[:, None] > 5) & (np.arange(12) != 1), 0.0, strip(BEATS[:6]).samples_mv)
        assert "pause" in levels(replace(clean, samples_mv=one_left))


class TestAtria:
    def test_fibrillation(self) -> None:
        beats = np.cumsum(np.random.default_rng(2).uniform(0.4, 1.1, 14))
        assert levels(strip(beats, p=False))["atrial_fibrillation"] == "note"

    def test_fast_fibrillation_by_list(self, plain: Waveform, measured: Measurement) -> None:
        fast = with_values(replace(measured, atrial=Atrial(p_share=0.0, fibrillation=0.9)), hr_bpm=190.0)
        found = {name: judged(plain, fast, profile=name)["atrial_fast"].level for name in profiles()}
        assert found == {
            "national_2017": "critical",
            "zhejiang": "critical",
            "shanxi": "critical",
            "provincial_third": "urgent",
        }

    def test_flutter(self, plain: Waveform, measured: Measurement) -> None:
        flutter = replace(measured, atrial=Atrial(p_share=0.0, flutter_hz=5.0))
        assert judged(plain, flutter)["atrial_flutter"].numbers["atrial_bpm"] == 300.0
        sinus = replace(measured, atrial=Atrial(p_share=1.0, flutter_hz=5.0))
        assert "atrial_flutter" not in judged(plain, sinus)

    def test_preexcited_fibrillation(self) -> None:
        beats = np.cumsum(np.tile([0.246, 0.36, 0.3, 0.42, 0.27, 0.39], 5))
        assert levels(strip(beats, p=False, wide=2.6))["preexcited_fibrillation"] == "critical"
        regular = strip(np.arange(0.3, 10, 0.36), p=False, wide=2.6)
        assert "preexcited_fibrillation" not in levels(regular)


class TestWideTachycardia:
    def test_over_the_whole_strip(self) -> None:
        """10 s cannot show the 30 s of the lists: the hint says how long the strip is."""
        found = {each.rule: each for each in analyse(strip(np.arange(0.3, 10, 0.36), p=False, wide=3)).hints}
        assert found["vt_whole_strip"].level == "critical"
        numbers = found["vt_whole_strip"].numbers
        assert (numbers["strip_s"], numbers["limit_sustained_s"]) == (10.0, 30.0)
        assert numbers["bpm"] == pytest.approx(166.7, abs=1)

    def test_a_short_run_is_urgent(self) -> None:
        waveform = _with_wide_beats([4.3, 4.7, 5.1, 5.5])
        found = levels(waveform)
        assert (found.get("vt_in_strip"), "vt_whole_strip" in found) == ("urgent", False)

    def test_a_pair_is_no_run(self) -> None:
        assert "vt_in_strip" not in levels(_with_wide_beats([4.3, 4.7]))

    def test_fibrillation_of_the_ventricles(self) -> None:
        rng = np.random.default_rng(3)
        wave = np.sin(2 * np.pi * (5 * TIME + 0.5 * np.sin(2 * np.pi * 0.7 * TIME)))
        wave *= 0.6 + 0.3 * np.sin(2 * np.pi * 0.4 * TIME)
        columns = {
            name: wave * (0.5 + 0.1 * i) + 0.003 * rng.standard_normal(5000) for i, name in enumerate(SHAPE)
        }
        assert levels(twelve(columns))["vf_like"] == "critical"

    def test_a_clean_strip_in_which_nothing_is_found(self, plain: Waveform, measured: Measurement) -> None:
        lost = replace(measured, beats=(), rr_ms=(), median=None, atrial=Atrial(), reason="noise")
        assert judged(plain, lost)["rhythm_unclear"].level == "urgent"
        noisy = replace(
            plain, samples_mv=plain.samples_mv + 0.2 * np.random.default_rng(0).standard_normal((5000, 12))
        )
        assert "rhythm_unclear" not in judged(noisy, lost)


def _with_wide_beats(places: list[float]) -> Waveform:
    clear = [b for b in BEATS if min(abs(b - np.array(places))) > 0.45 and not places[0] < b < places[-1]]
    base = strip(clear)
    extra = {
        name: one_beat(TIME, places[0], (0, 0.0, 0, 0, 0))
        + sum(one_beat(TIME, at, (0, 0, -2.5 * shape[2] - 0.3, 0.9, 0.4), p=False, wide=2.4) for at in places)
        for name, shape in SHAPE.items()
    }
    return twelve({name: base.lead(name) + extra[name] for name in SHAPE})


class TestConduction:
    def test_dropped_beats(self) -> None:
        atria = np.arange(0.3, 10, 0.8)
        beats = [p + 0.16 for i, p in enumerate(atria) if i % 3 != 2]
        found = {each.rule: each for each in analyse(strip(beats, p=False, extra_p=atria)).hints}
        assert (found["av_block_2"].level, found["av_block_2"].numbers["dropped"]) == ("urgent", 3.0)

    def test_p_and_qrs_without_relation(self) -> None:
        """The rule by itself: P times as a measurement that finds them would give them."""
        beats = np.arange(0.9, 10, 1.6)
        slow = strip(beats, p=False, extra_p=np.arange(0.2, 10, 0.73))
        p_times = tuple(int(t * 500) for t in np.arange(0.2, 10, 0.73))
        measurement = replace(measure(slow), atrial=Atrial(p_share=0.1, p_times=p_times))
        assert judged(slow, measurement)["av_block_3"].level == "critical"
        related = tuple(int((t - 0.16) * 500) for t in beats)
        conducted = replace(measurement, atrial=Atrial(p_share=1.0, p_times=related))
        assert "av_block_3" not in judged(slow, conducted)

    def test_slow_without_p(self) -> None:
        assert levels(strip(np.arange(0.6, 10, 1.4), p=False))["slow_without_p"] == "urgent"


class TestRepolarisation:
    def test_long_qtc_names_its_formula(self, plain: Waveform, measured: Measurement) -> None:
        found = judged(plain, with_values(measured, qtc_fridericia_ms=505.0))["qtc_long"]
        assert found.numbers["qtc_fridericia_ms"] == 505.0
        assert "Fridericia" in found.source
        assert "qtc_long" not in judged(plain, with_values(measured, qtc_fridericia_ms=499.0))

    def test_r_on_t_and_a_long_qtc(self, plain: Waveform, measured: Measurement) -> None:
        before, beat = measured.beats[4], measured.beats[5]
        start = before.over_all.qrs_on + 150
        places = replace(beat.over_all, qrs_on=start, qrs_off=start + 80)
        early = replace(beat, sample=start + 40, kind="ectopic", over_all=places)
        found = with_values(
            replace(measured, beats=(*measured.beats[:5], early, *measured.beats[6:])),
            qt_ms=400.0,
            qtc_fridericia_ms=520.0,
        )
        rules = judged(plain, found)
        assert rules["r_on_t"].numbers["coupling_ms"] == 300.0
        assert rules["qtc_r_on_t"].level == "critical"
        assert judged(plain, found, profile="provincial_third").get("qtc_r_on_t").level == "urgent"

    def test_hyperkalaemia(self) -> None:
        """T narrow, taller than R, with a QRS of more than twice the usual width."""
        columns = {}
        for name, (_, _, r, s, _) in SHAPE.items():
            wave = np.zeros(5000)
            for at in BEATS:
                wave += one_beat(TIME, at, (0, 0, r, s, 0), p=False, wide=2.2)
                wave += 1.3 * abs(r) * np.exp(-(((TIME - at - 0.34) / 0.04) ** 2) / 2)
            columns[name] = wave + 0.004 * np.random.default_rng(1).standard_normal(5000)
        assert levels(twelve(columns))["hyperkalaemia"] == "critical"
        assert levels(twelve(columns), profile="zhejiang")["hyperkalaemia"] == "urgent"
        assert "hyperkalaemia" not in levels(strip(BEATS, wide=2.2))


class TestStElevation:
    @pytest.mark.parametrize(
        ("lead", "sex", "age", "limit"),
        [
            ("V2", "M", 40, 0.2),
            ("V3", "M", 39, 0.25),
            ("V3", "F", 39, 0.15),
            ("V2", "", None, 0.15),
            ("V2", "M", None, 0.2),
            ("V1", "M", 39, 0.1),
            ("aVL", "F", 80, 0.1),
            ("V8", "M", 39, 0.1),
            ("V8", "M", 40, 0.05),
            ("V4R", "F", 30, 0.05),
        ],
    )
    def test_limits_of_the_definition(self, lead: str, sex: str, age: float | None, limit: float) -> None:
        """Oracle: table 2 of the Fourth Universal Definition; unknown sex or age takes the lower limit."""
        assert udmi_limit_mv(lead, usual_limits("st_elevation"), sex, age) == limit

    @pytest.mark.parametrize("group", score.GROUPS)
    def test_known_levels_on_real_beats(self, group: str) -> None:
        """LUDB 135 with J set to 0.75 and 1.25 of each lead's limit."""
        record = score.Record("135", true_scale(read_ecg(ludb(135))), "M", 60)
        measurement = measure(record.waveform)
        low, high = (score.raised(record, measurement, group, share) for share in score.SHARES)
        assert "st_elevation" not in levels(low, sex="M", age_years=60)
        assert "st_elevation" in levels(high, sex="M", age_years=60)

    def test_reciprocal_change_is_named(self) -> None:
        record = score.Record("135", true_scale(read_ecg(ludb(135))), "M", 60)
        raised = score.raised(record, measure(record.waveform), "lateral", 2.5)
        (hint,) = (
            each for each in analyse(raised, sex="M", age_years=60).hints if each.rule == "st_elevation"
        )
        assert {"I", "aVL"} <= set(hint.leads)
        assert hint.numbers["reciprocal_III_mv"] < -0.05
        assert hint.numbers["limit_I_mv"] == 0.1

    def test_the_lists_own_limit_makes_it_critical(self) -> None:
        record = score.Record("135", true_scale(read_ecg(ludb(135))), "M", 60)
        raised = score.raised(record, measure(record.waveform), "inferior", 1.5)
        assert levels(raised, sex="M", age_years=60)["mi_pattern"] == "critical"

    def test_one_lead_is_not_enough(self, plain: Waveform, measured: Measurement) -> None:
        """Two contiguous leads are asked for; V1 and V3 are not."""
        assert "st_elevation" not in judged(
            plain, _with_st(measured, V1=150.0, V3=300.0), sex="M", age_years=60
        )
        assert "st_elevation" in judged(plain, _with_st(measured, V1=150.0, V2=300.0), sex="M", age_years=60)

    def test_the_end_of_qrs_is_no_st(self, plain: Waveform, measured: Measurement) -> None:
        gone = _with_st(measured, later=20.0, V1=150.0, V2=300.0)
        assert "st_elevation" not in judged(plain, gone, sex="M", age_years=60)

    def test_an_unknown_patient_is_said(self, plain: Waveform, measured: Measurement) -> None:
        raised = _with_st(measured, V2=170.0, V3=170.0)
        assert judged(plain, raised)["st_elevation"].numbers["limit_assumed"] == 1.0
        assert "st_elevation" not in judged(plain, raised, sex="M", age_years=60)

    def test_under_pacing_it_is_only_marked(self, plain: Waveform, measured: Measurement) -> None:
        paced = replace(measured, beats=tuple(replace(b, kind="paced") for b in measured.beats))
        found = judged(plain, _with_st(paced, V3=400.0, V4=400.0))
        assert "st_elevation" not in found
        assert found["st_elevation_doubtful"].numbers["paced_beats"] == len(measured.beats)

    def test_under_high_voltage_only_v1_to_v3_are_marked(self) -> None:
        tall = strip(BEATS, scale={"V1": 2.4, "V5": 1.8})
        measurement = measure(tall)
        right = judged(tall, _with_st(measurement, V1=250.0, V2=300.0), sex="M", age_years=60)
        assert ("st_elevation" in right, "st_elevation_doubtful" in right) == (False, True)
        low = judged(tall, _with_st(measurement, II=200.0, aVF=200.0), sex="M", age_years=60)
        assert "st_elevation" in low

    def test_amplitudes_of_doubtful_scale_are_not_judged(
        self, plain: Waveform, measured: Measurement
    ) -> None:
        raised = _with_st(measured, II=400.0, aVF=400.0)
        doubtful = Quality("usable", (Finding("units_doubtful"),))
        assert not [each for each in hints(plain, raised, doubtful) if each.rule.startswith(("st_", "mi_"))]
        assert [each for each in hints(plain, raised, Quality("good")) if each.rule == "st_elevation"]

    def test_a_bad_lead_is_not_judged(self, plain: Waveform, measured: Measurement) -> None:
        raised = _with_st(measured, II=400.0, aVF=400.0)
        bad = Quality("repeat", (), {"II": "bad", "aVF": "good"})
        assert "st_elevation" not in {each.rule for each in hints(plain, raised, bad)}

    def test_a_lead_that_only_noise_makes_bad_is_doubtful(
        self, plain: Waveform, measured: Measurement
    ) -> None:
        raised = _with_st(measured, II=400.0, aVF=400.0)
        grades = {"II": "bad", "aVF": "bad"}
        mains = Finding("mains", ("II", "aVF"), repeat=True, numbers={"mains_uv": 250.0})
        found = {each.rule: each for each in hints(plain, raised, Quality("repeat", (mains,), grades))}
        assert "st_elevation" not in found
        assert found["st_elevation_doubtful"].leads == ("II", "aVF")
        assert found["st_elevation_doubtful"].numbers["mains_uv"] == 250.0
        off = Finding("lead_off", ("II",), repeat=True)
        dead = hints(plain, raised, Quality("repeat", (mains, off), grades))
        assert "st_elevation_doubtful" not in {each.rule for each in dead}


def _with_st(measurement: Measurement, later: float | None = None, **levels_uv: float) -> Measurement:
    by_lead = {
        lead: {
            **found,
            **dict.fromkeys(("st_j_uv", "st_j20_uv", "st_j60_uv", "st_j80_uv"), Value(0.0, "uV")),
        }
        for lead, found in measurement.by_lead.items()
    }
    for lead, level in levels_uv.items():
        by_lead[lead] |= {
            "st_j_uv": Value(level, "uV"),
            "st_j60_uv": Value(level if later is None else later, "uV"),
        }
    return replace(measurement, by_lead=by_lead)


@pytest.mark.skipif(not os.environ.get("HUB_TEST_DATA"), reason="HUB_TEST_DATA is not set")
def test_real_recordings_without_infarction_are_left_alone() -> None:
    """LUDB, all at hand; "STEMI" also stands inside "supp.NSTEMI", which is another label."""
    folder = Path(os.environ["HUB_TEST_DATA"]) / "ecg" / "wfdb_ludb"
    records = []
    for header in sorted(folder.glob("*.hea")):
        data = header.with_suffix(".dat")
        text = header.read_text().lower()
        infarction = "stemi" in text.replace("supp.nstemi", "")
        sex = "F" if "<sex>: f" in text else "M" if "<sex>: m" in text else ""
        age = re.search(r"<age>: (\d+)", text)
        waveform = true_scale(read_ecg({header.name: header.read_bytes(), data.name: data.read_bytes()}))
        records.append(
            score.Record(header.stem, waveform, sex, float(age.group(1)) if age else None, infarction)
        )
    found = score.false_flags(records)
    print({rule: len(names) for rule, names in found.items()}, "of", len(records))
    assert len(found["st_elevation"]) <= 0.015 * len(records)
    assert profiles()[0] == DEFAULT_PROFILE
