"""How the numbers in ``hub/ecg/analysis/rules/swaps.toml`` were made, so that they can be made again."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.swaps import SEEN_BY_CABLE, WINDOWS_MS, Coefficients, Window, features, limb_matrix

Floats = NDArray[np.float64]
Windows = Mapping[str, Window]

_RIDGE = 0.02
_WEIGHT_PENALTY = 0.05


def fit(records: Sequence[tuple[Windows, bool]]) -> Coefficients:
    """Learn the coefficients from recordings whose electrodes lie where they belong.

    Parameters
    ----------
    records : sequence of (windows, has_p)
        `hub.ecg.analysis.swaps.windows_of` a recording, and whether it has P waves.

    Returns
    -------
    Coefficients
        Ridge regression of I and II on V1-V6 in each window, every recording weighing the same;
        then the weights of a conditional logit in which the usual arrangement must win against
        the five others, with a quadratic penalty.
    """
    limb_from_v, precision = {}, {}
    for name in WINDOWS_MS:
        used = [windows[name] for windows, has_p in records if has_p or name != "p"]
        moments = np.mean([window.moments / window.size**2 for window in used], axis=0)
        chest, both = moments[2:, 2:], moments[2:, :2]
        ridge = _RIDGE * np.trace(chest) / len(chest) * np.eye(len(chest))
        weights = np.linalg.solve(chest + ridge, both)
        rest = np.hstack([np.eye(2), -weights.T])
        limb_from_v[name], precision[name] = weights, np.linalg.inv(rest @ moments @ rest.T)
    known = Coefficients(limb_from_v, precision, np.zeros(0))
    design = np.array(
        [
            [features(windows, limb_matrix(seen), known, has_p=has_p) for seen in SEEN_BY_CABLE.values()]
            for windows, has_p in records
        ]
    )
    return Coefficients(limb_from_v, precision, _logit(design))


def _logit(design: Floats) -> Floats:
    """Return the weights with which the first alternative of each record is likeliest."""
    from scipy.optimize import minimize

    def loss(weights: Floats) -> float:
        scores = design @ weights
        scores = scores - scores.max(axis=1, keepdims=True)
        fit_of_first = scores[:, 0] - np.log(np.exp(scores).sum(axis=1))
        return float(_WEIGHT_PENALTY * weights @ weights - fit_of_first.sum())

    return np.asarray(minimize(loss, np.zeros(design.shape[2])).x, dtype=np.float64)


def as_toml(known: Coefficients) -> str:
    """Return the learned part of ``rules/swaps.toml``."""
    lines = []
    for title, table in (("limb_from_v", known.limb_from_v), ("precision", known.precision)):
        lines.append(f"[{title}]")
        for name, matrix in table.items():
            rows = ", ".join("[" + ", ".join(f"{v:.6g}" for v in row) + "]" for row in matrix)
            lines.append(f"{name} = [{rows}]")
        lines.append("")
    values = ", ".join(f"{v:.6g}" for v in known.weights)
    return "\n".join([*lines, "[weights]", f"values = [{values}]", ""])
