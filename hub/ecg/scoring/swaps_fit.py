"""How the numbers in ``hub/ecg/analysis/rules/swaps.toml`` were made, so that they can be made again."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.swaps import SEEN_BY_CABLE, WINDOWS_MS, Coefficients, features, limb_matrix

Floats = NDArray[np.float64]
Parts = Mapping[str, Floats]

_RIDGE = 0.02
_WEIGHT_PENALTY = 0.05
_LEAST_MV = 1e-3


def fit(records: Sequence[tuple[Parts, bool]]) -> Coefficients:
    """Learn the coefficients from recordings whose electrodes lie where they belong.

    Parameters
    ----------
    records : sequence of (parts, has_p)
        `hub.ecg.analysis.swaps.parts_of` a recording, and whether it has P waves.

    Returns
    -------
    Coefficients
        Ridge regression of I and II on V1-V6 in each window, every recording weighing the same;
        then the weights of a conditional logit in which the usual arrangement must win against
        the five others, with a quadratic penalty.
    """
    limb_from_v, precision = {}, {}
    for name in WINDOWS_MS:
        used = [parts[name] for parts, has_p in records if has_p or name != "p"]
        scaled = [part / (np.sqrt((part**2).mean()) + _LEAST_MV) for part in used]
        limb = np.vstack([part[:, :2] for part in scaled])
        chest = np.vstack([part[:, 2:] for part in scaled])
        square = chest.T @ chest
        square += _RIDGE * np.trace(square) / len(square) * np.eye(len(square))
        limb_from_v[name] = np.linalg.solve(square, chest.T @ limb)
        rest = limb - chest @ limb_from_v[name]
        precision[name] = np.linalg.inv(rest.T @ rest / len(rest))
    known = Coefficients(limb_from_v, precision, np.zeros(0))
    design = np.array(
        [
            [features(parts, limb_matrix(seen), known, has_p=has_p) for seen in SEEN_BY_CABLE.values()]
            for parts, has_p in records
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
