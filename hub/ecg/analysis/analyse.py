"""The whole machine opinion on one recording: measured, assessed, held against the rules."""

from dataclasses import replace

from hub.ecg.analysis.hints import DEFAULT_PROFILE, hints, profiles
from hub.ecg.analysis.measure import measure
from hub.ecg.analysis.model import Analysis, Finding, Quality
from hub.ecg.analysis.quality import assess
from hub.ecg.waveform import Waveform

__all__ = ["DEFAULT_PROFILE", "ENGINE", "LONGEST_S", "analyse", "profiles"]

ENGINE = "1.2"
"""Version of algorithms and rules together; raised with every change that can change a result."""

LONGEST_S = 300.0
"""A longer recording is analysed in its first part only, and a finding ``part_only`` says so."""


def analyse(
    waveform: Waveform,
    *,
    profile: str = DEFAULT_PROFILE,
    sex: str = "",
    age_years: float | None = None,
) -> Analysis:
    """Measure a recording, judge how it was taken, and hold it against the rules.

    Parameters
    ----------
    waveform : Waveform
        Any shape. Of more than `LONGEST_S` seconds the first part is analysed.
    profile : str
        Which list of critical values applies: a name of `profiles`.
    sex : str
        ``"M"``, ``"F"``; anything else counts as unknown.
    age_years : float, optional
        None when unknown.

    Returns
    -------
    Analysis
        Hints for a reader. What cannot be measured has a reason; nothing in a recording makes
        this raise.

    Raises
    ------
    ValueError
        There is no such list.
    """
    part = _first_part(waveform)
    measurement = measure(part)
    quality = assess(part, measurement)
    if part is not waveform:
        numbers = {"analysed_s": part.duration_s, "recorded_s": round(waveform.duration_s, 3)}
        quality = _with(quality, Finding("part_only", numbers=numbers))
    met = hints(part, measurement, quality, profile=profile, sex=sex, age_years=age_years)
    return Analysis(measurement, quality, met, ENGINE)


def _first_part(waveform: Waveform) -> Waveform:
    longest = round(LONGEST_S * waveform.rate_hz)
    if waveform.n_samples <= max(1, longest):
        return waveform
    return replace(waveform, samples_mv=waveform.samples_mv[:longest])


def _with(quality: Quality, finding: Finding) -> Quality:
    verdict = "usable" if quality.verdict == "good" else quality.verdict
    return replace(quality, verdict=verdict, findings=(*quality.findings, finding))
