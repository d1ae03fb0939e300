"""The accuracy tables: their arithmetic by hand, annotations by wfdb, and faults that they must show."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub.ecg.analysis.measure import measure as measure_well
from hub.ecg.errors import Truncated
from hub.ecg.formats.wfdb_annotations import read_annotations
from hub.ecg.scoring import cases, rivals, tables
from hub.ecg.scoring.reference import Reference, Wave, from_leads, global_beats, intervals, lead_marks
from hub.ecg.scoring.stats import Counts, errors_table, match, wilson
from hub.ecg.waveform import Waveform
from tests.ecg.oracles import annotate
from tests.ecg.oracles import lead_marks as marks_by_wfdb
from tests.ecg.records import DATA


class TestAnnotations:
    @pytest.mark.parametrize("record", [45, 64, 88, 135])
    def test_like_wfdb(self, record: int) -> None:
        ours = read_annotations((DATA / f"ludb_{record}.ii").read_bytes())
        assert [(mark.sample, mark.symbol) for mark in ours] == marks_by_wfdb(DATA / f"ludb_{record}", "ii")

    def test_long_gaps_texts_and_channels(self, tmp_path: Path) -> None:
        """Oracle: written by wfdb: skips, aux texts, sub-types, channels, numbers."""
        import numpy as np

        annotate(
            "r",
            "atr",
            np.array([10, 900, 90_000, 90_001, 3_000_000]),
            symbol=["N", "V", "+", "~", "N"],
            subtype=np.array([0, 1, 0, 2, 0]),
            chan=np.array([0, 1, 0, 0, 1]),
            num=np.array([0, 0, 3, 0, 0]),
            aux_note=["", "", "(AFIB", "odd", ""],
            write_dir=str(tmp_path),
        )
        marks = read_annotations((tmp_path / "r.atr").read_bytes())
        assert [(mark.sample, mark.symbol) for mark in marks] == [
            (10, "N"),
            (900, "V"),
            (90_000, "+"),
            (90_001, "~"),
            (3_000_000, "N"),
        ]
        assert [mark.aux for mark in marks] == ["", "", "(AFIB", "odd", ""]

    def test_cut_short(self) -> None:
        with pytest.raises(Truncated):
            read_annotations(bytes([0, 59 << 2]))


class TestStatistics:
    def test_wilson(self) -> None:
        """Oracle: Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611."""
        assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
        assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)

    def test_match_takes_each_once(self) -> None:
        counts, errors = match([98, 101, 205, 400], [100, 200, 300], 10)
        assert (counts.hits, counts.false, counts.missed) == (2, 2, 1)
        assert errors == [1, 5]

    def test_f1(self) -> None:
        assert Counts(8, 2, 2).f1 == pytest.approx(0.8)
        assert Counts().f1 is None

    def test_errors(self) -> None:
        """Oracle: by hand."""
        table = errors_table([-2.0, 0.0, 5.0], missing=1)
        assert (table["n"], table["missing"], table["mean"], table["sd"]) == (3, 1, 1.0, 3.61)
        assert table["median_abs"] == 2.0


def test_reference_by_hand() -> None:
    """Second-earliest beginning, second-latest end, median end of T; half the beats must have a P."""
    from hub.ecg.formats.wfdb_annotations import Mark

    def lead(shift: int, *, with_p: bool) -> Any:
        marks = []
        for beat in (1000, 1500):
            if with_p:
                marks += [(beat - 100 + shift, "("), (beat - 80, "p"), (beat - 60 + shift, ")")]
            marks += [(beat - 20 + shift, "("), (beat, "N"), (beat + 25 + shift, ")")]
            marks += [(beat + 100, "("), (beat + 150, "t"), (beat + 180 + shift, ")")]
        return lead_marks([Mark(*mark) for mark in marks])

    leads = {
        name: lead(shift, with_p=True)
        for name, shift in zip(("I", "II", "V1", "V2"), (-6, -2, 0, 4), strict=True)
    }
    reference = from_leads(leads)
    beat = global_beats(reference, 500.0)[0]
    assert (beat.qrs_on, beat.qrs_off, beat.t_off, beat.p_on, beat.p_off) == (978, 1025, 1179, 898, 940)
    assert intervals(reference, 500.0) == {"p_ms": 84.0, "pr_ms": 160.0, "qrs_ms": 94.0, "qt_ms": 402.0}
    bare = from_leads({name: lead(0, with_p=False) for name in ("I", "II", "V1")})
    assert set(intervals(bare, 500.0)) == {"qrs_ms", "qt_ms"}
    assert leads["II"].qrs[0] == Wave(978, 1000, 1023)


def test_beyond_the_marks_of_a_lead_only_hits_count() -> None:
    """By hand at 500 Hz: marks from 1000 to 1200. P before them is passed over, its invented copy is not."""
    from hub.ecg.analysis.model import Beat, Boundaries
    from hub.ecg.scoring.boundaries import BoundaryTable
    from hub.ecg.scoring.reference import LeadMarks

    qrs = (Wave(1000, 1010, 1030), Wave(1160, 1170, 1200))
    reference = Reference((1010, 1170), 1010, 1170, {"I": LeadMarks((), qrs, (), 1000, 1200)})
    beats = (
        Beat(
            1010, "dominant", Boundaries(), {"I": Boundaries(p_on=940, p_off=985, qrs_on=996, qrs_off=1030)}
        ),
        Beat(1170, "dominant", Boundaries(), {"I": Boundaries(p_on=1100, p_off=1140, qrs_off=1204)}),
    )
    waveform = Waveform(measure_input()[:, None], 500.0, ("I",), "test")
    measurement = replace(measure_well(waveform), beats=beats)
    table = BoundaryTable()
    table.add(cases.Case("made", waveform, reference, "", measurement))
    found = table.result()["all_leads"]
    assert [found["p_off"][each] for each in ("n", "false", "missed")] == [0, 1, 0]
    assert [found["p_on"][each] for each in ("n", "false", "missed")] == [0, 1, 0]
    assert [found["qrs_on"][each] for each in ("n", "false", "missed")] == [2, 0, 1]
    assert [found["qrs_off"][each] for each in ("n", "false", "missed")] == [2, 0, 0]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs take seconds to start; here they are not wanted."""
    monkeypatch.setattr(rivals, "detections", lambda _lead, _rate: {})
    monkeypatch.setattr(rivals, "neurokit_boundaries", lambda _lead, _rate: None)


@pytest.mark.usefixtures("alone")
class TestTables:
    def test_four_records(self) -> None:
        result = tables.score(DATA)
        assert (result["records"], result["failed"]) == (4, {})
        ours = result["qrs_detection"]["programs"]["hub"]
        assert (ours["missed"], ours["false"]) == (0, 0)
        assert result["boundaries"]["II"]["qrs_on"]["f1"]["percent"] > 90
        assert result["fibrillation"]["sensitivity"]["n"] == 1
        assert result["p_waves"]["invented_in_fibrillation_or_flutter"]["hits"] == 0

    def test_halves(self) -> None:
        assert tables.score(DATA, "odd")["records"] == 2
        assert tables.score(DATA, "even")["records"] == 2

    def test_a_record_that_fails_counts_as_missed(self, tmp_path: Path) -> None:
        for name in ("ludb_45.hea", "ludb_45.ii"):
            (tmp_path / name).write_bytes((DATA / name).read_bytes())
        result = tables.score(tmp_path)
        assert result["failed"]
        ours = result["qrs_detection"]["programs"]["hub"]
        assert ours["missed"] == ours["n"] > 0
        assert result["boundaries"]["II"]["qrs_on"]["missed"] > 0

    def test_a_planted_fault_shows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An engine that loses every other beat and is 60 ms late is called so."""

        def badly(waveform: Any) -> Any:
            found = measure_well(waveform)
            beats = [
                replace(
                    beat, leads={k: replace(v, qrs_on=(v.qrs_on or 0) + 30) for k, v in beat.leads.items()}
                )
                for beat in found.beats[::2]
            ]
            return replace(found, beats=tuple(beats))

        monkeypatch.setattr(cases, "measure", badly)
        result = tables.score(DATA)
        assert result["qrs_detection"]["programs"]["hub"]["se"]["percent"] < 65
        assert result["boundaries"]["II"]["qrs_on"]["f1"]["percent"] < 10

    def test_beat_annotations_alone_are_scored(self, tmp_path: Path) -> None:
        """Oracle: beats written by wfdb, of which the hub cannot find the one that was made up."""
        import numpy as np

        from tests.ecg.oracles import qrs_marks
        from tests.ecg.records import ludb

        for name, data in ludb(64).items():
            (tmp_path / name).write_bytes(data)
        true = qrs_marks(DATA / "ludb_64")
        made_up = (true[3] + true[4]) // 2
        samples = np.sort(np.append(true, made_up))
        annotate("ludb_64", "atr", samples, symbol=["N"] * len(samples), write_dir=str(tmp_path))
        ours = tables.score(tmp_path)["qrs_detection"]["programs"]["hub"]
        assert ours["missed"] == 1


def test_programs_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "find_spec", lambda _name: None)
    assert rivals.absent() == ["sleepecg", "neurokit2", "wfdb_xqrs", "wfdb_gqrs"]
    assert rivals.detections(measure_input(), 500.0) == {}
    assert rivals.neurokit_boundaries(measure_input(), 500.0) is None


def measure_input() -> Any:
    import numpy as np

    return np.zeros(5000)


def test_which_half() -> None:
    assert cases.is_in_half("45", "odd")
    assert not cases.is_in_half("ludb_88", "odd")
    assert cases.is_in_half("100", "even")
    assert cases.is_in_half("x", "even")
    assert isinstance(Reference((1,), 0, 2).beats, tuple)
