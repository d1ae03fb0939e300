"""Interchanged limb electrodes, each with its likelihood, and the pattern of dextrocardia.

The algebra (potentials R, L, F of right arm, left arm and left foot; N of the right leg is F, for
between the legs there is next to no voltage): a swap among R, L and F exchanges and inverts limb
leads and leaves Wilson's terminal (R + L + F) / 3, and so V1-V6, alone. A swap with the right leg
puts F where R or L belongs: one limb lead is flat and V1-V6 move by a third of a limb lead.
Sources: Sensors 2019, 19, 2920 (exact algebra of all swaps); J Electrocardiol 2014, 47, 794.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import atan2, cos, exp, log1p, radians, sin, sqrt

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.hints_rules import read_table
from hub.ecg.analysis.model import Finding, Measurement, MedianBeat

Floats = NDArray[np.float64]

PRECORDIAL = ("V1", "V2", "V3", "V4", "V5", "V6")
_LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
NEEDED = ("I", "II", *PRECORDIAL)
"""Leads that must have been recorded, and at one time, to judge where the electrodes lie."""

_WITHOUT_RIGHT_ARM = ("", "swap_la_ll")

SEEN_BY_CABLE: Mapping[str, tuple[int, int, int]] = {
    "": (0, 1, 2),
    "swap_ra_la": (1, 0, 2),
    "swap_ra_ll": (2, 1, 0),
    "swap_la_ll": (0, 2, 1),
    "swap_cw": (2, 0, 1),
    "swap_ccw": (1, 2, 0),
}
"""Which electrode place (0 right arm, 1 left arm, 2 left leg) the cables RA, LA and LL lie on."""

LEG_SWAPS: Mapping[str, tuple[int, int, int]] = {"swap_ra_rl": (2, 1, 2), "swap_la_rl": (0, 2, 2)}
"""The same with the right leg, whose potential is that of the left leg."""

_FLAT_LEAD = {"swap_ra_rl": "II", "swap_la_rl": "III"}
WINDOWS_MS: Mapping[str, tuple[float, float]] = {
    "qrs": (-60.0, 70.0),
    "t": (120.0, 400.0),
    "p": (-240.0, -80.0),
}
"""Parts of the median beat, from its fiducial point."""

_BASE_MS = -60.0
_LEAST_MV = 1e-3
_P_MV = 0.06
_P_AXIS_DEG = 55.0


def limb_matrix(seen: tuple[int, int, int]) -> Floats:
    """Return the matrix that turns true leads I and II into the recorded ones, shape (2, 2).

    Parameters
    ----------
    seen : tuple of int
        A value of `SEEN_BY_CABLE` or `LEG_SWAPS`.
    """
    # With R as zero, L is lead I and F is lead II.
    potentials = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    right, left, foot = (potentials[place] for place in seen)
    return np.array([left - right, foot - right])


def precordial_shift(seen: tuple[int, int, int]) -> Floats:
    """Return what every V lead gains, as weights of true leads I and II, shape (2,)."""
    potentials = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    return np.asarray(
        potentials.mean(axis=0) - np.mean([potentials[place] for place in seen], axis=0), dtype=np.float64
    )


@dataclass(frozen=True, eq=False)
class Coefficients:
    """What was learned on the odd-numbered records, see ``rules/swaps.toml``.

    Attributes
    ----------
    limb_from_v : mapping of str to numpy.ndarray
        By window: weights of V1-V6 that give I and II, shape (6, 2).
    precision : mapping of str to numpy.ndarray
        By window: inverse covariance of what they leave over, shape (2, 2).
    weights : numpy.ndarray
        Of the features of `features`, in their order.
    """

    limb_from_v: Mapping[str, Floats]
    precision: Mapping[str, Floats]
    weights: Floats


@cache
def coefficients() -> Coefficients:
    """Return the learned coefficients."""
    table = read_table("swaps")
    return Coefficients(
        {name: np.array(table["limb_from_v"][name]) for name in WINDOWS_MS},
        {name: np.array(table["precision"][name]) for name in WINDOWS_MS},
        np.array(table["weights"]["values"]),
    )


@dataclass(frozen=True, eq=False)
class Window:
    """One part of the median beat as far as the model needs it; leads I, II, V1-V6 in this order.

    Attributes
    ----------
    moments : numpy.ndarray
        Mean products of the leads with each other, shape (8, 8), in mV².
    sums : numpy.ndarray
        Sums over the samples, shape (8,).
    heights : numpy.ndarray
        Peak to peak, shape (9,), in mV; the ninth is lead III.
    """

    moments: Floats
    sums: Floats
    heights: Floats

    @property
    def size(self) -> float:
        """Root mean square over I, II, III and V1-V6: the same whatever limb electrodes are interchanged."""
        total = float(np.trace(self.moments)) + self.third
        return float(np.sqrt(total / (len(NEEDED) + 1))) + _LEAST_MV

    @property
    def third(self) -> float:
        """Mean square of lead III."""
        m = self.moments
        return max(0.0, float(m[0, 0] + m[1, 1] - 2 * m[0, 1]))


def swaps(measurement: Measurement, *, doubtful: frozenset[str] = frozenset()) -> tuple[Finding, ...]:
    """Say which limb electrodes may be interchanged.

    Parameters
    ----------
    measurement : Measurement
        With a median beat; without one nothing is found.
    doubtful : frozenset of str
        Leads that carry no signal or no true scale: nothing is concluded from them.

    Returns
    -------
    tuple of Finding
        The likeliest first; the first asks for a repetition. Likelihoods are those of the
        model among all permutations of the three limb electrodes, all equally likely beforehand.
        Empty when the usual arrangement explains the recording.
    """
    limits = read_table("swaps")["limits"]
    median = measurement.median
    # A flat II or III is what a swap with the right leg leaves; any other doubtful lead forbids a conclusion.
    if median is None or median.n_beats < limits["least_beats"] or doubtful - set(_FLAT_LEAD.values()):
        return ()
    bpm, windows = measurement.values["hr_bpm"].value, windows_of(median)
    if windows is None or bpm is None or bpm > limits["most_bpm"]:
        return ()
    legs = _leg_swaps(windows, limits)
    return legs if legs or doubtful else _arm_swaps(windows, measurement, limits)


def _arm_swaps(
    windows: Mapping[str, Window], measurement: Measurement, limits: Mapping[str, float]
) -> tuple[Finding, ...]:
    has_p = _has_p(measurement)
    likely = likelihoods(windows, has_p=has_p)
    qrs_ms = measurement.values["qrs_ms"].value
    narrow = qrs_ms is not None and qrs_ms < limits["narrow_ms"]
    mirrored = _dextrocardia(windows, limits, has_p=has_p) if narrow else ()
    arm = sum(each for code, each in likely.items() if code not in _WITHOUT_RIGHT_ARM)
    if arm < limits["arm_likelihood"] and (mirrored or likely["swap_la_ll"] < limits["la_ll_likelihood"]):
        return mirrored
    ranked = sorted((code for code in likely if code), key=lambda code: -likely[code])
    numbers = {"usual_likelihood": round(likely[""], 4)}
    named = tuple(
        Finding(code, _LIMB, round(likely[code], 3), repeat=i == 0, numbers=numbers)
        for i, code in enumerate(ranked)
        if i == 0 or likely[code] >= limits["worth_naming"]
    )
    return (*named, *mirrored)


def _has_p(measurement: Measurement) -> bool:
    share = measurement.atrial.p_share
    return share is not None and share >= read_table("swaps")["limits"]["p_share"]


def windows_of(median: MedianBeat) -> Mapping[str, Window] | None:
    """Cut the median beat into its windows, each against its own baseline.

    None where a lead is absent or the beat too short for that.
    """
    if not set(NEEDED) <= set(median.leads):
        return None
    beat = median.samples_mv[:, [median.leads.index(name) for name in NEEDED]]

    def at(ms: float) -> int:
        return median.fiducial + round(ms * median.rate_hz / 1000.0)

    windows = {}
    for name, (start, stop) in WINDOWS_MS.items():
        if at(start) < 0 or at(stop) > len(beat) or at(stop) - at(start) < len(NEEDED):
            return None
        cut = beat[at(start) : at(stop)]
        base = np.linspace(cut[0], cut[-1], len(cut)) if name == "p" else beat[at(_BASE_MS)]
        cut = cut - base
        if not np.isfinite(cut).all():
            return None
        windows[name] = Window(
            cut.T @ cut / len(cut),
            cut.sum(axis=0),
            np.ptp(np.column_stack([cut, cut[:, 1] - cut[:, 0]]), axis=0),
        )
    return windows


def likelihoods(windows: Mapping[str, Window], *, has_p: bool) -> dict[str, float]:
    """Return the likelihood of each arrangement of the limb electrodes; "" is the usual one.

    Parameters
    ----------
    windows : mapping of str to Window
        From `windows_of`.
    has_p : bool
        Whether there are P waves to be looked at.
    """
    known = coefficients()
    scores = {
        code: float(features(windows, limb_matrix(seen), known, has_p=has_p) @ known.weights)
        for code, seen in SEEN_BY_CABLE.items()
    }
    best = max(scores.values())
    odds = {code: exp(score - best) for code, score in scores.items()}
    total = sum(odds.values())
    return {code: each / total for code, each in odds.items()}


def features(windows: Mapping[str, Window], matrix: Floats, known: Coefficients, *, has_p: bool) -> Floats:
    """Return how usual the recording looks once a supposed swap is undone, shape (n_features,).

    For QRS, T and P: how far leads I and II are from what V1-V6 let expect, and where the axis points.
    """
    values: list[float] = []
    undo = np.linalg.inv(matrix)
    for name in WINDOWS_MS:
        window = windows[name]
        if name == "p" and not has_p:
            values += [0.0] * 3
            continue
        # What is left of I and II is a weighted sum of all eight leads.
        rest = np.hstack([undo, -known.limb_from_v[name].T])
        distance = float(np.trace(known.precision[name] @ rest @ window.moments @ rest.T)) / window.size**2
        values.append(-log1p(max(0.0, distance)))
        one, two = undo @ window.sums[:2]
        axis = atan2((two - one / 2) * 2 / sqrt(3), one)
        if name == "p":
            clear = min(1.0, float(window.heights[[0, 1, 8]].max()) / _P_MV)
            off = axis - radians(_P_AXIS_DEG)
            values += [clear * cos(off), clear * cos(2 * off)]
        else:
            values += [cos(axis), sin(axis), cos(2 * axis), sin(2 * axis)]
    return np.array(values)


def _leg_swaps(windows: Mapping[str, Window], limits: Mapping[str, float]) -> tuple[Finding, ...]:
    """Find the one flat limb lead that a swap with the right leg leaves."""
    every = list(windows.values())
    squares = {
        "I": sum(float(each.moments[0, 0]) for each in every),
        "II": sum(float(each.moments[1, 1]) for each in every),
        "III": sum(each.third for each in every),
    }
    sizes = {name: sqrt(each / len(every)) for name, each in squares.items()}
    found = []
    for code, flat in _FLAT_LEAD.items():
        others = min(size for name, size in sizes.items() if name != flat)
        if others < limits["leg_other_leads_mv"]:
            continue
        share = sizes[flat] / others
        likelihood = 1.0 / (1.0 + (share / limits[f"flat_share_{flat.lower()}"]) ** limits["flat_steepness"])
        if likelihood >= limits["leg_likelihood"]:
            numbers = {"flat_share": round(share, 3)}
            leads = (*_LIMB, *PRECORDIAL)
            found.append(Finding(code, leads, round(likelihood, 3), repeat=True, numbers=numbers))
    return tuple(found)


def _dextrocardia(
    windows: Mapping[str, Window], limits: Mapping[str, float], *, has_p: bool
) -> tuple[Finding, ...]:
    """Find P and QRS upside down in lead I while QRS is upside down in V6 too.

    Interchanged arms leave V6 upright; a mirrored heart, or arms and chest electrodes both wrong, do not.
    """
    qrs = windows["qrs"]
    if qrs.sums[0] >= 0 or qrs.sums[7] >= 0:
        return ()
    fading = float(qrs.heights[7] / max(_LEAST_MV, *qrs.heights[2:5].tolist()))
    if windows["p"].sums[0] >= 0 if has_p else fading > limits["fading_share"]:
        return ()
    likelihood = limits["dextrocardia_likelihood"]
    return (
        Finding("dextrocardia", ("I", *PRECORDIAL), likelihood, repeat=True, numbers={"v6_share": fading}),
    )
