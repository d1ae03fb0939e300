"""Boundaries of made waves, which are known to the sample, and of waves that are not there."""

import numpy as np
import pytest

from hub.ecg.analysis import delineate
from hub.ecg.analysis.atria import irregularity
from hub.ecg.analysis.delineate import quiet_after, quiet_before
from hub.ecg.analysis.measure import measure
from hub.ecg.waveform import Waveform
from tests.ecg.made_beats import LEADS, RATE, SIZES, Shape, hump, one_lead, recording, regular

TOLERANCE_MS = {"p_on": 15, "p_off": 15, "qrs_on": 22, "qrs_off": 22, "t_off": 25}
"""QRS is wide because it follows LUDB's readers: they mark the first departure in a real, softer wave."""


def places_ms(shape: Shape, beat: float) -> dict[str, float]:
    assert shape.p is not None
    names = ("p_on", "p_off", "qrs_on", "qrs_off", "t_off")
    return dict(zip(names, (beat + each for each in (*shape.p, *shape.qrs, shape.t[1])), strict=True))


class TestRunsOfQuiet:
    """Oracle: counted by hand."""

    ACTIVE = np.array([[0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 0, 1]], dtype=bool)

    def test_before(self) -> None:
        assert quiet_before(self.ACTIVE, 8, 3, 0).tolist() == [5]
        assert quiet_before(self.ACTIVE, 8, 1, 0).tolist() == [7]

    def test_before_without_any(self) -> None:
        assert quiet_before(self.ACTIVE, 8, 4, 2).tolist() == [2]

    def test_after(self) -> None:
        assert quiet_after(self.ACTIVE, 8, 3, 14).tolist() == [10]
        assert quiet_after(self.ACTIVE, 8, 1, 14).tolist() == [8]


@pytest.mark.parametrize(
    "shape",
    [
        Shape(),
        Shape(p=(-230, -120)),
        Shape(qrs=(-60, 80), t=(220, 400)),
        Shape(t_mv=-0.3),
        Shape(t=(260, 480)),
    ],
    ids=["usual", "long_pr", "wide", "t_inverted", "long_qt"],
)
def test_every_boundary_of_every_beat(shape: Shape) -> None:
    beats = regular(1000.0)
    found = measure(recording(beats, shape))
    assert [beat.sample for beat in found.beats] == pytest.approx([b * RATE / 1000 for b in beats], abs=6)
    for made, beat in zip(beats[1:-1], found.beats[1:-1], strict=True):
        for name, true in places_ms(shape, made).items():
            over_all = getattr(beat.over_all, name)
            assert over_all * 1000 / RATE == pytest.approx(true, abs=TOLERANCE_MS[name]), name
            in_lead = getattr(beat.leads["II"], name)
            assert in_lead * 1000 / RATE == pytest.approx(true, abs=TOLERANCE_MS[name]), name


@pytest.mark.parametrize("rate", [100.0, 250.0, 360.0, 1000.0])
def test_boundaries_are_in_the_recordings_own_samples(rate: float) -> None:
    beats = regular(900.0)
    found = measure(recording(beats, rate=rate))
    for made, beat in zip(beats[1:-1], found.beats[1:-1], strict=True):
        for name, true in places_ms(Shape(), made).items():
            place = getattr(beat.over_all, name) * 1000 / rate
            assert place == pytest.approx(true, abs=TOLERANCE_MS[name] + 500 / rate), name


def test_the_median_has_its_own_samples() -> None:
    median = measure(recording(regular(), rate=1000.0)).median
    assert median is not None
    assert median.rate_hz == 1000.0
    assert median.samples_mv.shape[1] == len(median.leads) == 12
    top = int(np.argmax(median.samples_mv[:, median.leads.index("II")]))
    assert top == pytest.approx(median.fiducial, abs=3)
    assert median.over_all.qrs_on is not None
    assert median.fiducial - median.over_all.qrs_on == pytest.approx(32, abs=22)


class TestPWaves:
    def test_none_is_invented(self) -> None:
        found = measure(recording(regular(), Shape(p=None)))
        assert found.atrial.p_share == 0.0
        assert all(beat.over_all.p_on is None for beat in found.beats)
        assert found.values["pr_ms"].reason == "no_p_wave"

    def test_irregular_beats_over_fine_waves_are_fibrillation(self) -> None:
        rng = np.random.default_rng(5)
        beats = list(np.cumsum(rng.uniform(450, 1000, 13)))
        wave = recording(beats, Shape(p=None))
        time = np.arange(wave.n_samples) / RATE
        phase = 2 * np.pi * np.cumsum(6.5 + 0.8 * np.sin(2 * np.pi * 0.3 * time)) / RATE
        fine = (
            0.06
            * np.sin(phase)[:, None]
            * np.array([0.4, 1, 0.6, 0.7, 0.2, 0.8, 1.2, 0.6, 0.3, 0.2, 0.1, 0.1])
        )
        found = measure(type(wave)(wave.samples_mv + fine, RATE, LEADS, "test"))
        assert found.atrial.fibrillation > 0.5
        assert found.atrial.p_share == 0.0

    def test_irregularity_by_hand(self) -> None:
        """Changes of 100, 300, 100, 600 and 400 ms about a mean of 800: their median is three eighths."""
        assert irregularity(np.array([700.0, 800.0, 1100.0, 1000.0, 400.0, 800.0])) == pytest.approx(0.375)
        assert irregularity(np.array([750.0, 850.0, 750.0, 850.0])) == pytest.approx(0.125)

    def test_extrasystoles_by_turns_are_not_irregular(self) -> None:
        """Bigeminy at 600 and 1000 ms, 20 ms about each: by hand 20 ms of a mean of 800 are left."""
        turns = np.array([580.0, 980.0, 620.0, 1020.0] * 2)
        assert irregularity(turns) == pytest.approx(20.0 / 800.0)
        assert irregularity(np.array([600.0, 1000.0] * 4)) == 0.0

    def test_any_length_is_irregular(self) -> None:
        """Oracle: the median change, worked out by numpy; lengths that fill their range are no two groups."""
        lengths = np.random.default_rng(3).permutation(np.linspace(450.0, 1050.0, 12))
        assert irregularity(lengths) == np.median(np.abs(np.diff(lengths))) / lengths.mean()

    def test_a_regular_fast_wave_is_flutter(self) -> None:
        wave = recording(regular(820.0), Shape(p=None))
        time = np.arange(wave.n_samples) / RATE
        saw = 0.15 * np.sin(2 * np.pi * 4.7 * time) + 0.05 * np.sin(2 * np.pi * 9.4 * time)
        found = measure(type(wave)(wave.samples_mv + saw[:, None], RATE, LEADS, "test"))
        assert found.atrial.flutter_hz == pytest.approx(4.7, abs=0.3)
        assert found.atrial.p_share == 0.0

    def test_sinus_rhythm_is_neither(self) -> None:
        found = measure(recording(regular()))
        assert found.atrial.p_share == 1.0
        assert found.atrial.fibrillation < 0.1
        assert found.atrial.flutter_hz is None

    def test_a_p_wave_that_no_beat_follows(self) -> None:
        """Every fifth P is not conducted, as in second degree block."""
        p_waves = regular(800.0)
        beats = [at for number, at in enumerate(p_waves) if number % 5 != 4]
        alone = [at for number, at in enumerate(p_waves) if number % 5 == 4]
        lonely = one_lead(alone, Shape(r_mv=0.0, s_mv=0.0, t_mv=0.0), 10_000.0)
        wave = recording(beats)
        found = measure(type(wave)(wave.samples_mv + lonely[:, None] * SIZES, RATE, LEADS, "test"))
        assert len(found.beats) == len(beats)
        peaks = np.array(found.atrial.p_times) / RATE * 1000
        for at in alone:
            assert np.abs(peaks - (at - 130)).min() < 30

    def test_a_row_of_p_waves_without_relation_to_the_beats(self) -> None:
        """P every 800 ms, QRS every 1650 ms, as in third degree block: P belongs to no beat."""
        wave = recording(regular(1650.0), Shape(p=None))
        p_waves = regular(800.0, first=330.0)
        row = one_lead(p_waves, Shape(r_mv=0.0, s_mv=0.0, t_mv=0.0), 10_000.0)
        found = measure(type(wave)(wave.samples_mv + row[:, None] * SIZES, RATE, LEADS, "test"))
        assert found.atrial.p_share == 0.0
        assert found.atrial.fibrillation < 0.5
        peaks = np.array(found.atrial.p_times) / RATE * 1000
        hits = sum(np.abs(peaks - (at - 130)).min() < 60 for at in p_waves)
        assert hits >= len(p_waves) - 3


class TestClasses:
    def test_a_wide_early_beat_is_ectopic(self) -> None:
        beats = [at for at in regular(800.0) if at != 4500.0]
        wide = Shape(p=None, qrs=(-70, 90), r_mv=-1.5, s_mv=0.6, t_mv=-0.4, t=(240, 420))
        wave = recording(beats)
        extra = one_lead([4250.0], wide, 10_000.0)
        found = measure(type(wave)(wave.samples_mv + extra[:, None] * SIZES[::-1], RATE, LEADS, "test"))
        kinds = {round(beat.sample / RATE * 1000, -2): beat.kind for beat in found.beats}
        assert [at for at, kind in kinds.items() if kind == "ectopic"] == [pytest.approx(4250, abs=60)]
        assert sum(kind == "dominant" for kind in kinds.values()) == len(beats)
        assert found.values["qrs_ms"].value == pytest.approx(90, abs=40)

    def test_a_spike_before_qrs_makes_it_paced(self) -> None:
        beats = regular(900.0)
        wave = recording(beats, Shape(p=None, qrs=(-70, 90)))
        samples = wave.samples_mv.copy()
        for beat in beats:
            spike = round((beat - 78) * RATE / 1000)
            samples[spike : spike + 2] += 2.0
        found = measure(type(wave)(samples, RATE, LEADS, "test"))
        assert {beat.kind for beat in found.beats} == {"paced"}
        assert len(found.beats) == len(beats)

    @pytest.mark.parametrize("constant_ms", [4.0, 7.0, 12.0])
    def test_the_discharge_behind_a_spike_is_no_qrs(self, constant_ms: float) -> None:
        """QRS begins 24 ms after the spike, as it was made, also where an electrode discharges."""
        beats = regular(1000.0)
        samples = recording(beats, Shape(p=None)).samples_mv.copy()
        time = np.arange(len(samples)) * 1000 / RATE
        alone, tailed = samples.copy(), samples.copy()
        for beat in beats:
            spike = round((beat - 64) * RATE / 1000)
            alone[spike : spike + 2] += 2.0
            since = time - time[spike]
            tailed += (
                np.where(since >= 0, np.exp(-np.maximum(since, 0.0) / constant_ms), 0.0)[:, None] * SIZES
            )
        truth = measure(Waveform(alone, RATE, LEADS, "test")).values["qrs_ms"].value
        found = measure(Waveform(tailed, RATE, LEADS, "test"))
        assert {beat.kind for beat in found.beats} == {"paced"}
        assert found.values["qrs_ms"].value == pytest.approx(truth, abs=4.0)


class TestCalm:
    def test_the_quiet_quarter(self) -> None:
        """By hand at 1 kHz: of 500 samples around the beat 200 hold 1.0 and the rest 3.0."""
        activity = np.full(1001, 3.0)
        activity[300:500] = 1.0
        assert delineate.quiet_level(activity, 500, 1.0) == 1.0
        activity[300:400] = 3.0
        assert delineate.quiet_level(activity, 500, 1.0) == 3.0

    def test_what_the_edge_of_a_recording_holds_level_is_no_calm(self) -> None:
        activity = np.zeros(1001)
        activity[:560] = 2.0
        assert delineate.quiet_level(activity, 500, 1.0) == 2.0

    def test_nothing_moves(self) -> None:
        assert delineate.quiet_level(np.zeros(100), 50, 1.0) == 0.0


class TestQrsOverAllLeads:
    @pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
    @pytest.mark.parametrize("length", [80.0, 120.0, 160.0])
    def test_widths_that_were_made(self, gain: float, length: float) -> None:
        """Readers, whom it follows, mark outside of a wave's soft feet: the same at any width and gain."""
        made = recording(regular(1000.0), Shape(p=None, qrs=(-length / 2, length / 2), t=(200.0, 360.0)))
        found = measure(Waveform(made.samples_mv * gain, RATE, LEADS, "test")).values["qrs_ms"]
        assert found.value == pytest.approx(length + 18.0, abs=8.0)

    def test_small_quick_deflections_at_the_end_belong_to_it(self) -> None:
        """Notches of 60 uV follow the made QRS for 16 ms: more than half of that must be counted."""
        beats = regular(1000.0)
        plain = recording(beats, Shape(p=None))
        time = np.arange(plain.n_samples) * 1000 / RATE
        notches = np.zeros(plain.n_samples)
        for beat in beats:
            inside = (time > beat + 50) & (time <= beat + 66)
            notches += np.where(inside, 0.06 * np.cos(np.pi * (time - beat) / 4), 0.0)
        longer = Waveform(plain.samples_mv + notches[:, None], RATE, LEADS, "test")
        before, after = (measure(each).values["qrs_ms"].value or 0.0 for each in (plain, longer))
        assert 8.0 <= after - before <= 20.0

    def test_equal_beats_have_the_width_of_their_median(self) -> None:
        made = np.stack([0.8 * hump(np.arange(600.0), 200, 260) - 0.5 * hump(np.arange(600.0), 240, 290)] * 3)
        on, _, off = delineate.qrs_extent(made, 235, 0.5)
        widths = delineate.qrs_widths(np.stack([made] * 4), made, on, off, 0.5)
        assert widths.tolist() == [off - on] * 4
