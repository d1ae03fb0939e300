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
from math import exp

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.hints_rules import read_table
from hub.ecg.analysis.model import Finding, Measurement, MedianBeat

Floats = NDArray[np.float64]

PRECORDIAL = ("V1", "V2", "V3", "V4", "V5", "V6")
_LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
_NEEDED = ("I", "II", *PRECORDIAL)
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
    parts = parts_of(median)
    if parts is None:
        return ()
    legs = _leg_swaps(parts, limits)
    return legs if legs or doubtful else _arm_swaps(parts, measurement, limits)


def _arm_swaps(
    parts: Mapping[str, Floats], measurement: Measurement, limits: Mapping[str, float]
) -> tuple[Finding, ...]:
    likely = likelihoods(parts, has_p=_has_p(measurement))
    arm = sum(each for code, each in likely.items() if code not in _WITHOUT_RIGHT_ARM)
    if arm < limits["arm_likelihood"]:
        if likely["swap_la_ll"] < limits["la_ll_likelihood"]:
            return ()
    elif _mirrored(parts):
        return (Finding("dextrocardia", ("I", *PRECORDIAL), limits["dextrocardia_likelihood"], repeat=True),)
    ranked = sorted((code for code in likely if code), key=lambda code: -likely[code])
    numbers = {"usual_likelihood": round(likely[""], 4)}
    return tuple(
        Finding(code, _LIMB, round(likely[code], 3), repeat=i == 0, numbers=numbers)
        for i, code in enumerate(ranked)
        if i == 0 or likely[code] >= limits["worth_naming"]
    )


def _has_p(measurement: Measurement) -> bool:
    share = measurement.atrial.p_share
    return share is not None and share >= read_table("swaps")["limits"]["p_share"]


def parts_of(median: MedianBeat) -> Mapping[str, Floats] | None:
    """Cut the median beat into its windows: leads I, II, V1-V6 as columns, each against its baseline.

    None where a lead is absent or the beat too short for that.
    """
    if not set(_NEEDED) <= set(median.leads):
        return None
    columns = [median.leads.index(name) for name in _NEEDED]
    beat = median.samples_mv[:, columns]

    def at(ms: float) -> int:
        return median.fiducial + round(ms * median.rate_hz / 1000.0)

    parts = {}
    for name, (start, stop) in WINDOWS_MS.items():
        if at(start) < 0 or at(stop) > len(beat) or at(stop) - at(start) < len(_NEEDED):
            return None
        cut = beat[at(start) : at(stop)]
        base = np.linspace(cut[0], cut[-1], len(cut)) if name == "p" else beat[at(_BASE_MS)]
        parts[name] = cut - base
    return parts if all(np.isfinite(part).all() for part in parts.values()) else None


def likelihoods(parts: Mapping[str, Floats], *, has_p: bool) -> dict[str, float]:
    """Return the likelihood of each arrangement of the limb electrodes; "" is the usual one.

    Parameters
    ----------
    parts : mapping of str to numpy.ndarray
        From `parts_of`.
    has_p : bool
        Whether there are P waves to be looked at.
    """
    known = coefficients()
    scores = {
        code: float(features(parts, limb_matrix(seen), known, has_p=has_p) @ known.weights)
        for code, seen in SEEN_BY_CABLE.items()
    }
    best = max(scores.values())
    odds = {code: exp(score - best) for code, score in scores.items()}
    total = sum(odds.values())
    return {code: each / total for code, each in odds.items()}


def features(parts: Mapping[str, Floats], matrix: Floats, known: Coefficients, *, has_p: bool) -> Floats:
    """Return how usual the recording looks once a supposed swap is undone, shape (n_features,).

    For QRS, T and P: how far leads I and II are from what V1-V6 let expect, and where the axis points.
    """
    values: list[float] = []
    undo = np.linalg.inv(matrix).T
    for name in WINDOWS_MS:
        part = parts[name]
        limb = part[:, :2] @ undo
        if name == "p" and not has_p:
            values += [0.0, 0.0, 0.0]
            continue
        # I, II and III together and V1-V6 keep their size whatever swap there is or is supposed.
        three = np.column_stack([part, part[:, 1] - part[:, 0]])
        size = float(np.sqrt((three**2).mean())) + _LEAST_MV
        rest = (limb - part[:, 2:] @ known.limb_from_v[name]) / size
        distance = float(((rest @ known.precision[name]) * rest).sum(axis=1).mean())
        values.append(-float(np.log1p(distance)))
        axis = _axis(limb)
        if name == "p":
            clear = min(1.0, float(np.abs(limb).max()) / _P_MV)
            off = axis - np.radians(_P_AXIS_DEG)
            values += [clear * float(np.cos(off)), clear * float(np.cos(2 * off))]
        else:
            values += [
                float(np.cos(axis)),
                float(np.sin(axis)),
                float(np.cos(2 * axis)),
                float(np.sin(2 * axis)),
            ]
    return np.array(values)


def _axis(limb: Floats) -> float:
    """Return the direction of the area in the frontal plane in radians, from leads I and aVF."""
    one, two = limb.sum(axis=0)
    return float(np.arctan2((two - one / 2) * 2 / np.sqrt(3), one))


def _leg_swaps(parts: Mapping[str, Floats], limits: Mapping[str, float]) -> tuple[Finding, ...]:
    """Find the one flat limb lead that a swap with the right leg leaves."""
    beat = np.concatenate([parts["p"], parts["qrs"], parts["t"]])
    one, two = beat[:, 0], beat[:, 1]
    sizes = {"I": _rms(one), "II": _rms(two), "III": _rms(two - one)}
    found = []
    for code, flat in _FLAT_LEAD.items():
        others = min(size for name, size in sizes.items() if name != flat)
        if others < limits["leg_other_leads_mv"]:
            continue
        share = sizes[flat] / others
        likelihood = 1.0 / (1.0 + (share / limits[f"flat_share_{flat.lower()}"]) ** limits["flat_steepness"])
        if likelihood >= limits["leg_likelihood"]:
            numbers = {"flat_share": round(share, 3)}
            found.append(
                Finding(code, (*_LIMB, *PRECORDIAL), round(likelihood, 3), repeat=True, numbers=numbers)
            )
    return tuple(found)


def _rms(values: Floats) -> float:
    return float(np.sqrt((values**2).mean()))


def _mirrored(parts: Mapping[str, Floats]) -> bool:
    """Say whether lead I is upside down and the QRS fades from V1 to V6 instead of growing."""
    qrs = parts["qrs"]
    heights = np.ptp(qrs[:, 2:], axis=0)
    net = qrs.sum(axis=0)
    fades = heights[5] < heights[4] < heights[2] and 2 * heights[5] < max(heights[0], heights[1])
    return bool(net[0] < 0 and net[7] < 0 and fades)
