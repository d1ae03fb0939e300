"""Every interchange of limb electrodes put into real recordings: how often it is found and rightly named."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.analyse import analyse
from hub.ecg.analysis.swaps import LEG_SWAPS, PRECORDIAL, SEEN_BY_CABLE, limb_matrix, precordial_shift
from hub.ecg.scoring.cases import Case
from hub.ecg.scoring.scale import true_scale
from hub.ecg.scoring.stats import share
from hub.ecg.waveform import Waveform

Floats = NDArray[np.float64]

SWAPS = {**SEEN_BY_CABLE, **LEG_SWAPS}
"""Every arrangement that is tried, the usual one as ""."""

_NOISE_MV = 0.005
_LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")

# E. Frank's leads from eight of the twelve and back: Dower's matrix, as Edenbrandt and Pahlm
# (J Electrocardiol 1988;21:361) print it. X points to the left, so that -X is a mirrored heart.
_DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
_EIGHT = ("I", "II", *PRECORDIAL)


@dataclass(frozen=True, slots=True)
class SwapCount:
    """What is said of recordings with one arrangement of the electrodes.

    Attributes
    ----------
    flagged : int
        Some interchange, or dextrocardia, is named and a new recording asked for.
    named : int
        The right one is named first; dextrocardia: named at all, for it may stand behind RA-LA.
    of : int
        Recordings.
    """

    flagged: int
    named: int
    of: int


def rearranged(waveform: Waveform, code: str, seed: int = 0) -> Waveform:
    """Return the recording as it would be with electrodes interchanged.

    Parameters
    ----------
    waveform : Waveform
        Twelve leads with the electrodes where they belong.
    code : str
        A key of `SWAPS`, or ``"dextrocardia"`` for the mirrored heart with usual electrodes, as far
        as three orthogonal leads describe it.
    seed : int
        Of the 5 uV of noise that stand for what a flat lead records.
    """
    columns = {name: waveform.samples_mv[:, i] for i, name in enumerate(waveform.leads)}
    if code == "dextrocardia":
        eight = np.column_stack([columns[name] for name in _EIGHT])
        mirrored = eight @ np.linalg.pinv(_DOWER).T @ np.diag([-1.0, 1.0, 1.0]) @ _DOWER.T
        columns |= {name: mirrored[:, i] for i, name in enumerate(_EIGHT)}
        one, two = columns["I"], columns["II"]
    else:
        true = np.column_stack([columns["I"], columns["II"]])
        shift = true @ precordial_shift(SWAPS[code])
        columns |= {name: columns[name] + shift for name in PRECORDIAL}
        one, two = (true @ limb_matrix(SWAPS[code]).T).T
        if code in LEG_SWAPS:
            rng = np.random.default_rng(seed)
            one = one + _NOISE_MV * rng.standard_normal(one.size)
            two = two + _NOISE_MV * rng.standard_normal(two.size)
    limb = (one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2)
    columns |= dict(zip(_LIMB, limb, strict=True))
    return replace(waveform, samples_mv=np.column_stack([columns[name] for name in waveform.leads]))


def table(recordings: Sequence[Waveform]) -> dict[str, SwapCount]:
    """Try every arrangement on every recording.

    Parameters
    ----------
    recordings : sequence of Waveform
        Twelve leads in their true scale.

    Returns
    -------
    dict of str to SwapCount
        By arrangement; "" counts the false alarms of untouched recordings in ``flagged``.
    """
    counts = {}
    for code in (*SWAPS, "dextrocardia"):
        flagged = named = 0
        for waveform in recordings:
            found = [
                each.code
                for each in analyse(rearranged(waveform, code)).quality.findings
                if each.code.startswith(("swap_", "dextro")) and each.repeat
            ]
            flagged += bool(found)
            named += found[:1] == [code] or (code == "dextrocardia" and code in found)
        counts[code] = SwapCount(flagged, named, len(recordings))
    return counts


class Swaps:
    """Every arrangement on every record; "usual" counts false alarms. Coefficients are from the odd half."""

    name = "swaps"

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._left_out = 0

    def add(self, case: Case) -> None:
        """Score one record; one without the twelve leads is counted as left out."""
        if case.waveform is None or not set(_LIMB) | set(PRECORDIAL) <= set(case.waveform.leads):
            self._left_out += 1
            return
        for code, count in table([true_scale(case.waveform)]).items():
            self._counts[code, "of"] += 1
            self._counts[code, "flagged"] += count.flagged
            self._counts[code, "named"] += count.named

    def result(self) -> dict[str, Any]:
        """Return, by arrangement, the shares of records flagged and rightly named."""
        out: dict[str, Any] = {"left_out": self._left_out}
        for code in (*SWAPS, "dextrocardia"):
            of = self._counts[code, "of"]
            out[code or "usual"] = {
                "flagged": share(self._counts[code, "flagged"], of),
                **({"named": share(self._counts[code, "named"], of)} if code else {}),
            }
        return out
