"""What the hub measures on an ECG, as values. Hints for a reader, never a diagnosis.

Times are sample numbers of the recording (0 is its first sample) or milliseconds, amplitudes
millivolts or, where the name says so, microvolts. What cannot be given is None with a reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BeatClass = Literal["dominant", "ectopic", "paced", "unclassified"]
QTC_FORMULAS = ("bazett", "fridericia", "framingham", "hodges")


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Where the waves of one beat begin and end, in samples of the recording; None where there is none.

    `t_on` is given for single leads only: over all leads the beginning of T has no agreed meaning.
    """

    p_on: int | None = None
    p_off: int | None = None
    qrs_on: int | None = None
    qrs_off: int | None = None
    t_on: int | None = None
    t_off: int | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """One QRS complex and the waves that belong to it.

    Attributes
    ----------
    sample : int
        The fiducial point: the largest deflection over all leads.
    kind : str
        ``dominant`` for the leading shape, ``ectopic``, ``paced``, or ``unclassified``.
    over_all : Boundaries
        Earliest believed beginning and latest believed end over the leads.
    leads : mapping of str to Boundaries
        By lead name; empty in recordings that are measured block by block.
    """

    sample: int
    kind: BeatClass
    over_all: Boundaries
    leads: Mapping[str, Boundaries] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Value:
    """One measured number.

    Attributes
    ----------
    value : float or None
        None where it cannot be given; then `reason` says why.
    unit : str
        ``"bpm"``, ``"ms"``, ``"deg"``, ``"mV"`` or ``"uV"``.
    low, high : float or None
        Smallest and largest over the beats that it was taken from; None when there was one only.
    reason : str
        A code (texts stand in the catalogue as ``ecg.reason.<code>``): ``too_short``, ``flat``,
        ``noise``, ``too_few_beats``, ``rate_too_low``, ``no_p_wave``, ``t_end_unclear``,
        ``no_dominant_beat``, ``lead_absent``, ``paced``. Empty when there is a value.
    """

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class MedianBeat:
    """The median of the dominant beats, aligned on the fiducial point.

    Attributes
    ----------
    samples_mv : numpy.ndarray
        Shape ``(n_samples, n_leads)``, baseline at the PR segment.
    rate_hz : float
        As the recording.
    leads : tuple of str
        One name per column, derived limb leads included.
    fiducial : int
        Sample of the beat that the recording's fiducial points were laid on.
    over_all : Boundaries
        In samples of this beat.
    per_lead : mapping of str to Boundaries
        In samples of this beat.
    n_beats : int
        How many beats it was made of.
    """

    samples_mv: NDArray[np.float64]
    rate_hz: float
    leads: tuple[str, ...]
    fiducial: int
    over_all: Boundaries
    per_lead: Mapping[str, Boundaries]
    n_beats: int


@dataclass(frozen=True, eq=False)
class Measurement:
    """Everything measured on one recording.

    Attributes
    ----------
    beats : tuple of Beat
        In order of time.
    rr_ms : tuple of float
        Intervals between neighbouring fiducial points.
    values : mapping of str to Value
        Global values by name: ``hr_bpm``, ``rr_mean_ms``, ``rr_sd_ms``, ``rr_min_ms``,
        ``rr_max_ms``, ``rmssd_ms``, ``p_ms``, ``pr_ms``, ``qrs_ms``, ``qt_ms``, ``qtc_bazett_ms``,
        ``qtc_fridericia_ms``, ``qtc_framingham_ms``, ``qtc_hodges_ms``, ``p_axis_deg``,
        ``qrs_axis_deg``, ``t_axis_deg``. Every name is always there.
    by_lead : mapping of str to mapping of str to Value
        By lead, then by name: ``p_mv``, ``q_mv``, ``r_mv``, ``s_mv``, ``t_mv`` (signed, against the
        baseline before QRS), ``st_j_uv``, ``st_j20_uv``, ``st_j60_uv``, ``st_j80_uv``.
    median : MedianBeat or None
        None without a dominant beat.
    atrial : Atrial
        What the atria do, as far as it shows.
    reason : str
        Why nothing could be measured; empty otherwise. Codes of `Value.reason`.
    """

    beats: tuple[Beat, ...]
    rr_ms: tuple[float, ...]
    values: Mapping[str, Value]
    by_lead: Mapping[str, Mapping[str, Value]]
    median: MedianBeat | None
    atrial: "Atrial"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Atrial:
    """Evidence on the atria; numbers, no verdict.

    Attributes
    ----------
    p_share : float or None
        Share of the beats that a P wave was found before; None when there is no beat.
    p_times : tuple of int
        Samples of the peaks of all P waves found, conducted or not; also those of a regular row that
        keeps no step with the beats, which belong to none of them.
    flutter_hz : float or None
        Rate of a regular atrial wave between 3 and 6 Hz when one stands out of the rest.
    fibrillation : float
        Likelihood between 0 and 1 from irregular RR, missing P and f waves.
    """

    p_share: float | None = None
    p_times: tuple[int, ...] = ()
    flutter_hz: float | None = None
    fibrillation: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or may be wrong, with how a recording was taken.

    Attributes
    ----------
    code : str
        ``lead_off``, ``flat``, ``clipped``, ``mains``, ``muscle``, ``wander``, ``too_short``,
        ``rate_too_low``, ``units_doubtful``, ``leads_missing``, ``part_only``, ``swap_ra_la``,
        ``swap_ra_ll``, ``swap_la_ll``, ``swap_cw``, ``swap_ccw``, ``swap_ra_rl``, ``swap_la_rl``,
        ``dextrocardia``. Texts: ``ecg.quality.<code>``.
    leads : tuple of str
        Where; empty when it concerns the whole.
    likelihood : float
        Between 0 and 1; 1 for what is measured and not inferred.
    repeat : bool
        Whether the recording should be repeated before the patient leaves.
    numbers : mapping of str to float
        What was measured, with the unit in the name: ``{"mains_uv": 84.0}``.
    """

    code: str
    leads: tuple[str, ...] = ()
    likelihood: float = 1.0
    repeat: bool = False
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a recording was taken.

    Attributes
    ----------
    verdict : str
        ``good``, ``usable`` or ``repeat``.
    findings : tuple of Finding
        The most serious first.
    per_lead : mapping of str to str
        ``good``, ``usable`` or ``bad`` by lead.
    """

    verdict: Literal["good", "usable", "repeat"]
    findings: tuple[Finding, ...] = ()
    per_lead: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hint:
    """One rule that a recording meets. It orders the queue and warns; it is no diagnosis.

    Attributes
    ----------
    rule : str
        Id of the rule in the data file; texts stand in the catalogue as ``ecg.hint.<rule>``.
    level : str
        ``critical`` (in the profile's critical list), ``urgent`` (a reader should see it soon)
        or ``note``.
    source : str
        Where the rule comes from, as its data file names it.
    leads : tuple of str
        Leads in which it shows; empty when it concerns the rhythm.
    numbers : mapping of str to float
        The measured numbers and the limits they were held against, units in the names.
    """

    rule: str
    level: Literal["critical", "urgent", "note"]
    source: str
    leads: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Analysis:
    """Everything the machine says of one recording."""

    measurement: Measurement
    quality: Quality
    hints: tuple[Hint, ...]
    engine: str
    """Version of the rules and algorithms, so that a stored result can be told from a newer one."""
