"""Rules of rhythm: rates, pauses, atria, wide-complex tachycardia, conduction."""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.hints_facts import Evidence, Facts, irregularity
from hub.ecg.analysis.hints_rules import Limits, usual_limits
from hub.ecg.analysis.model import Beat
from hub.ecg.analysis.stretches import LEAST_S, recorded, segments

Floats = NDArray[np.float64]

_P_BEFORE_MOST = 0.5
_HALF = 0.5
_MINUTE_MS = 60_000.0
_SHAPE_S = 0.1


def rate_high(facts: Facts, limits: Limits) -> Evidence | None:
    """Mean ventricular rate at or above the limit."""
    bpm = facts.value("hr_bpm")
    if bpm is None or bpm < limits["bpm"]:
        return None
    return Evidence(numbers={"bpm": bpm, "limit_bpm": limits["bpm"]})


def rate_low(facts: Facts, limits: Limits) -> Evidence | None:
    """Mean ventricular rate at or below the limit."""
    bpm = facts.value("hr_bpm")
    if bpm is None or bpm > limits["bpm"] or (bpm == limits["bpm"] and "exclusive" in limits):
        return None
    if not facts.silence_counts:
        return None
    return Evidence(numbers={"bpm": bpm, "limit_bpm": limits["bpm"]})


def pause(facts: Facts, limits: Limits) -> Evidence | None:
    """A time without QRS at or above the limit, the strip's beginning and end included."""
    beats = facts.measurement.beats
    if not beats or not facts.silence_counts:
        return None
    edges = [0, *(beat.sample for beat in beats), facts.waveform.n_samples]
    longest = max(map(facts.heard_ms, edges[:-1], edges[1:]))
    if longest < limits["rr_ms"]:
        return None
    return Evidence(numbers={"rr_ms": longest, "limit_rr_ms": limits["rr_ms"]})


def atrial_fibrillation(facts: Facts, limits: Limits) -> Evidence | None:
    """The measured likelihood of fibrillation at or above the limit."""
    likelihood = facts.measurement.atrial.fibrillation
    if likelihood < limits["likelihood"]:
        return None
    return Evidence(numbers={"likelihood": likelihood, "limit_likelihood": limits["likelihood"]})


def atrial_flutter(facts: Facts, limits: Limits) -> Evidence | None:
    """A regular atrial wave faster than any P wave."""
    hz = facts.measurement.atrial.flutter_hz
    if hz is None or hz < limits["hz"] or facts.p_share >= _P_BEFORE_MOST:
        return None
    return Evidence(numbers={"atrial_bpm": hz * 60.0, "limit_atrial_bpm": limits["hz"] * 60.0})


def atrial_fast(facts: Facts, limits: Limits) -> Evidence | None:
    """Fibrillation or flutter with a ventricular rate at or above the limit."""
    atrial = facts.measurement.atrial
    if atrial.fibrillation < _HALF and (atrial.flutter_hz is None or facts.p_share >= _P_BEFORE_MOST):
        return None
    return rate_high(facts, limits)


def preexcited_fibrillation(facts: Facts, limits: Limits) -> Evidence | None:
    """Fast, irregular and wide, with a very short RR interval."""
    rr, bpm = np.array(facts.measurement.rr_ms), facts.value("hr_bpm")
    widths = [w for w in map(facts.width_ms, facts.measurement.beats) if w is not None]
    if bpm is None or bpm < limits["bpm"] or not rr.size or not widths or facts.paced:
        return None
    wide = float(np.median(widths))
    shortest = float(rr.min())
    if shortest > limits["shortest_rr_ms"] or (
        shortest == limits["shortest_rr_ms"] and "exclusive" in limits
    ):
        return None
    if wide < limits["qrs_ms"] or irregularity(rr) < limits["irregular"]:
        return None
    numbers = {"shortest_rr_ms": shortest, "limit_shortest_rr_ms": limits["shortest_rr_ms"], "qrs_ms": wide}
    return Evidence(numbers={**numbers, "limit_qrs_ms": limits["qrs_ms"], "bpm": bpm})


def _wide_runs(facts: Facts, limits: Limits) -> list[list[Beat]]:
    """Return runs of wide, fast beats that neither a pacemaker nor a P wave explains.

    Dominant beats with P waves before most of them do not count, for a bundle branch block in sinus
    tachycardia is wide and fast too. From a rate on, T waves are taken for P waves and explain nothing.
    """
    bpm = facts.value("hr_bpm")
    sinus = facts.p_share >= _P_BEFORE_MOST and bpm is not None and bpm < limits["p_trusted_bpm"]
    fastest_ms = _MINUTE_MS / limits["bpm"]
    runs: list[list[Beat]] = []
    last: Beat | None = None
    for beat in facts.measurement.beats:
        width = facts.width_ms(beat)
        explained = beat.kind == "paced" or (beat.kind == "dominant" and sinus)
        if width is None or width < limits["qrs_ms"] or explained:
            last = None
            continue
        near = last is not None and facts.seconds(beat.sample - last.sample) * 1000.0 <= fastest_ms
        if near:
            runs[-1].append(beat)
        else:
            runs.append([beat])
        last = beat
    return runs


def _run_numbers(facts: Facts, run: list[Beat], limits: Limits) -> dict[str, float]:
    rr_ms = np.diff([beat.sample for beat in run]) / facts.waveform.rate_hz * 1000.0
    length_s = facts.seconds(run[-1].sample - run[0].sample)
    return {
        "beats": float(len(run)),
        "bpm": float(_MINUTE_MS / rr_ms.mean()),
        "limit_bpm": limits["bpm"],
        "run_s": length_s,
        "strip_s": facts.waveform.duration_s,
    }


def vt_in_strip(facts: Facts, limits: Limits) -> Evidence | None:
    """Three or more wide beats in a row, fast and regular."""
    runs = [run for run in _wide_runs(facts, limits) if len(run) >= limits["beats"]]
    steady = [run for run in runs if _steady(run) <= limits["irregular"]]
    if not steady:
        return None
    longest = max(steady, key=len)
    return Evidence(numbers={**_run_numbers(facts, longest, limits), "limit_beats": limits["beats"]})


def _steady(run: list[Beat]) -> float:
    return irregularity(np.diff([beat.sample for beat in run]).astype(np.float64))


def vt_whole_strip(facts: Facts, limits: Limits) -> Evidence | None:
    """The same over the whole strip, which is all that a strip can show of a sustained tachycardia."""
    for run in _wide_runs(facts, limits):
        length_s = facts.seconds(run[-1].sample - run[0].sample)
        whole = length_s >= min(limits["strip_share"] * facts.waveform.duration_s, limits["sustained_s"])
        if len(run) > 1 and whole and _steady(run) <= limits["irregular"]:
            return Evidence(
                numbers={**_run_numbers(facts, run, limits), "limit_sustained_s": limits["sustained_s"]}
            )
    return None


def vt_polymorphic(facts: Facts, limits: Limits) -> Evidence | None:
    """Fast wide beats in a row, each of another shape."""
    for run in _wide_runs(facts, limits):
        if len(run) < limits["beats"]:
            continue
        likeness = _likeness(facts, run)
        if likeness is not None and likeness < limits["similarity"]:
            numbers = _run_numbers(facts, run, limits)
            return Evidence(
                numbers={**numbers, "similarity": likeness, "limit_similarity": limits["similarity"]}
            )
    return None


def _likeness(facts: Facts, run: list[Beat]) -> float | None:
    """Return the median correlation of neighbouring beats over all good leads."""
    reach = round(_SHAPE_S * facts.waveform.rate_hz)
    good = [i for i, name in enumerate(facts.waveform.leads) if facts.quality.per_lead.get(name) != "bad"]
    samples = facts.waveform.samples_mv
    cuts = [
        samples[b.sample - reach : b.sample + reach, good]
        for b in run
        if b.sample >= reach and b.sample + reach <= len(samples)
    ]
    pairs = [found for a, b in pairwise(cuts) if (found := _correlation(a, b)) is not None]
    return float(np.median(pairs)) if pairs else None


def _correlation(one: Floats, other: Floats) -> float | None:
    """Return the correlation of two beats over the leads that both were recorded in; None without any."""
    common = np.isfinite(one).all(axis=0) & np.isfinite(other).all(axis=0)
    one, other = one[:, common].ravel(), other[:, common].ravel()
    if not one.size or one.std() == 0 or other.std() == 0:
        return None
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def r_on_t(facts: Facts, limits: Limits) -> Evidence | None:
    """A premature wide beat that begins before the usual end of the T wave."""
    qt, usual = facts.value("qt_ms"), np.array(facts.measurement.rr_ms)
    if qt is None or not usual.size:
        return None
    typical = float(np.median(usual))
    beats = facts.measurement.beats
    for before, beat in pairwise(beats):
        width, start, onset = facts.width_ms(beat), before.over_all.qrs_on, beat.over_all.qrs_on
        if beat.kind != "ectopic" or before.kind != "dominant" or start is None or onset is None:
            continue
        coupling = facts.seconds(onset - start) * 1000.0
        early = coupling < limits["premature"] * typical and coupling < qt - limits["margin_ms"]
        if width is not None and limits["qrs_ms"] <= width <= limits["qrs_most_ms"] and early:
            return Evidence(numbers={"coupling_ms": coupling, "qt_ms": qt, "qrs_ms": width})
    return None


def qtc_r_on_t(facts: Facts, limits: Limits) -> Evidence | None:
    """A long QTc and a premature beat on T in one strip."""
    qtc = facts.value("qtc_fridericia_ms")
    early = r_on_t(facts, usual_limits("r_on_t"))
    if qtc is None or qtc < limits["qtc_fridericia_ms"] or early is None:
        return None
    limit = {"qtc_fridericia_ms": qtc, "limit_qtc_fridericia_ms": limits["qtc_fridericia_ms"]}
    return Evidence(numbers={**limit, **early.numbers})


def av_block_3(facts: Facts, limits: Limits) -> Evidence | None:
    """P waves and slow QRS complexes, each regular, without relation."""
    rr, bpm = np.array(facts.measurement.rr_ms), facts.value("hr_bpm")
    p_times = np.array(facts.measurement.atrial.p_times, dtype=np.float64)
    beats = [beat for beat in facts.measurement.beats if beat.kind != "ectopic"]
    if bpm is None or bpm >= limits["bpm"] or len(beats) < limits["beats"] or _atria_chaotic(facts):
        return None
    inside = p_times[(p_times > beats[0].sample) & (p_times < beats[-1].sample)]
    ratio = len(inside) / max(1, len(beats) - 1)
    if len(inside) < limits["beats"] or ratio < limits["p_per_qrs"]:
        return None
    delays = _delays_ms(facts, beats, p_times)
    spread = float(np.ptp(delays)) if len(delays) else 0.0
    pp = irregularity(np.diff(inside))
    if (
        irregularity(rr) > limits["rr_irregular"]
        or pp > limits["pp_irregular"]
        or spread < limits["pr_spread_ms"]
    ):
        return None
    return Evidence(
        numbers={"bpm": bpm, "limit_bpm": limits["bpm"], "p_per_qrs": ratio, "pr_spread_ms": spread}
    )


def _atria_chaotic(facts: Facts) -> bool:
    atrial = facts.measurement.atrial
    return atrial.fibrillation >= _HALF or atrial.flutter_hz is not None


def _delays_ms(facts: Facts, beats: list[Beat], p_times: Floats) -> Floats:
    """Return the time from the last P wave before each beat."""
    delays = []
    for beat in beats:
        before = p_times[p_times < beat.sample]
        if before.size:
            delays.append(facts.seconds(beat.sample - float(before[-1])) * 1000.0)
    return np.array(delays)


def av_block_2(facts: Facts, limits: Limits) -> Evidence | None:
    """A regular row of P waves of which single ones are followed by no QRS."""
    p_times = np.array(facts.measurement.atrial.p_times, dtype=np.float64)
    beats = list(facts.measurement.beats)
    if len(beats) < 3 or _atria_chaotic(facts) or facts.p_share < limits["p_share"]:  # noqa: PLR2004
        return None
    inside = p_times[(p_times > beats[0].sample - facts.waveform.rate_hz) & (p_times < beats[-1].sample)]
    if len(inside) <= len(beats) or irregularity(np.diff(inside)) > limits["pp_irregular"]:
        return None
    delays = _delays_ms(facts, beats, p_times)
    dropped = sum(int(((inside > a.sample) & (inside < b.sample)).sum() > 1) for a, b in pairwise(beats))
    spread = float(np.ptp(delays)) if len(delays) else 0.0
    if dropped < limits["dropped"] or spread > limits["pr_spread_ms"]:
        return None
    return Evidence(numbers={"dropped": float(dropped), "pr_spread_ms": spread})


def slow_without_p(facts: Facts, limits: Limits) -> Evidence | None:
    """A slow regular rhythm before which no P wave was found, as an escape rhythm has."""
    rr, bpm = np.array(facts.measurement.rr_ms), facts.value("hr_bpm")
    if bpm is None or bpm > limits["bpm"] or len(rr) < limits["intervals"] or facts.paced:
        return None
    if facts.p_share > limits["p_share"] or irregularity(rr) > limits["rr_irregular"]:
        return None
    return Evidence(numbers={"bpm": bpm, "limit_bpm": limits["bpm"], "p_share": facts.p_share})


def vf_like(facts: Facts, limits: Limits) -> Evidence | None:
    """One wave between 2.5 and 9 Hz in place of separate complexes, however many QRS were counted."""
    for leak, hz in _waves(facts, limits):
        if leak < limits["leakage"] and limits["low_hz"] <= hz <= limits["high_hz"]:
            return Evidence(numbers={"leakage": leak, "limit_leakage": limits["leakage"], "wave_hz": hz})
    return None


def rhythm_unclear(facts: Facts, limits: Limits) -> Evidence | None:
    """No complexes could be told apart although the recording is clean and full of voltage."""
    if facts.measurement.reason != "noise" or facts.quality.verdict == "repeat":
        return None
    if any(each.code in {"muscle", "mains"} for each in facts.quality.findings):
        return None
    waves = _waves(facts, limits)
    if not waves:
        return None
    leak, hz = min(waves)
    return Evidence(numbers={"leakage": leak, "wave_hz": hz})


def _waves(facts: Facts, limits: Limits) -> list[tuple[float, float]]:
    """Return leakage and mean frequency of each stretch of the strip, from up to three good leads."""
    rate, waveform = facts.waveform.rate_hz, facts.waveform
    size = round(limits["window_s"] * rate)
    if rate < _LEAST_RATE_HZ:
        return []
    good = [name for name in waveform.leads if facts.quality.per_lead.get(name) != "bad"]
    when = recorded(waveform.samples_mv.T, rate)
    if when is None:
        chosen = ([name for name in _RHYTHM_LEADS if name in good] or good)[: len(_RHYTHM_LEADS)]
        return _windows(
            waveform.samples_mv[:, [waveform.leads.index(name) for name in chosen]], rate, size, limits
        )
    found = []
    for begin, end, present in segments(when):
        here = [name for name, there in zip(waveform.leads, present, strict=True) if there and name in good]
        chosen = ([name for name in _RHYTHM_LEADS if name in here] or here)[: len(_RHYTHM_LEADS)]
        samples = waveform.samples_mv[begin:end, [waveform.leads.index(name) for name in chosen]]
        if len(samples) >= LEAST_S * rate:
            found += _windows(samples, rate, min(size, len(samples)), limits)
    return found


def _windows(samples: Floats, rate: float, size: int, limits: Limits) -> list[tuple[float, float]]:
    if len(samples) < size or not samples.shape[1] or not np.isfinite(samples).all():
        return []
    from scipy.signal import sosfilt

    rows = np.ascontiguousarray(samples.T)
    waves = sosfilt(_vf_band(rate), rows - rows[:, :1], axis=1)
    starts = range(0, len(samples) - size + 1, size // 2)
    return [_leakage(waves[:, start : start + size], rate, limits["swing_mv"]) for start in starts]


_RHYTHM_LEADS = ("II", "V1", "V5")
_LEAST_RATE_HZ = 80.0


@lru_cache(maxsize=16)
def _vf_band(rate: float) -> Floats:
    from scipy.signal import butter

    return np.asarray(butter(2, (1.0, 30.0), btype="bandpass", fs=rate, output="sos"))


def _leakage(rows: Floats, rate: float, swing_mv: float) -> tuple[float, float]:
    """Return how much of the signal a filter at its own mean frequency leaves, and that frequency.

    The median over leads that swing enough. A single wave shifted by half its period cancels
    itself: near 0 for a sinus, near 1 for separate complexes.
    """
    rows = rows[np.ptp(rows, axis=1) >= swing_mv]
    if not len(rows):
        return 1.0, 0.0
    slope = np.abs(np.diff(rows, axis=1)).sum(axis=1)
    half = np.pi * np.abs(rows[:, 1:]).sum(axis=1) / np.maximum(slope, 1e-12)
    leaks = []
    for row, shift in zip(rows, np.round(half).astype(int), strict=True):
        if not 0 < shift < len(row) // 2:
            leaks.append(1.0)
            continue
        now, then = row[shift:], row[:-shift]
        leaks.append(float(np.abs(now + then).sum() / np.maximum((np.abs(now) + np.abs(then)).sum(), 1e-12)))
    return float(np.median(leaks)), float(rate / (2 * np.median(np.maximum(half, 1e-6))))
