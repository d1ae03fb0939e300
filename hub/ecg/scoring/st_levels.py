"""ST raised by known amounts on real beats: how near the measured levels come to them, in every lead."""

from typing import Any

import numpy as np

from hub.ecg.analysis.measure import measure
from hub.ecg.scoring.cases import Case
from hub.ecg.scoring.scale import true_scale
from hub.ecg.scoring.st import deformation, in_all_limb_leads, with_st
from hub.ecg.scoring.stats import share

AMOUNTS_MV = (0.1, 0.3)
"""By which II, III, aVF and V2-V4 are raised; the other limb leads follow, I and V1, V5, V6 stay."""

TOLERANCE_UV = 25.0
POINTS = ("st_j_uv", "st_j20_uv", "st_j60_uv", "st_j80_uv")
_CHEST = ("V2", "V3", "V4")


class StLevels:
    """The change of each measured level against the amount that was added."""

    name = "st_levels"

    def __init__(self) -> None:
        self._errors: dict[str, list[float]] = {point: [] for point in POINTS}
        self._missing = 0

    def add(self, case: Case) -> None:
        """Score one record."""
        if case.waveform is None:
            return
        waveform = true_scale(case.waveform)
        before = measure(waveform)
        shape = deformation(waveform, before)
        for amount in AMOUNTS_MV:
            added = in_all_limb_leads(0.0, amount) | dict.fromkeys(_CHEST, amount)
            after = measure(with_st(waveform, shape, added))
            for lead in waveform.leads:
                for point in POINTS:
                    levels = [each.by_lead[lead][point].value for each in (before, after)]
                    if levels[0] is None or levels[1] is None:
                        self._missing += 1
                    else:
                        expected = added.get(lead, 0.0) * 1000
                        self._errors[point].append(levels[1] - levels[0] - expected)

    def result(self) -> dict[str, Any]:
        """Return, by point, the share of leads within 25 uV, and the largest errors."""
        table: dict[str, Any] = {"tolerance_uv": TOLERANCE_UV, "missing": self._missing}
        for point, errors in self._errors.items():
            found = np.abs(np.array(errors))
            table[point] = {
                "within": share(int((found <= TOLERANCE_UV).sum()), found.size),
                "sd_uv": round(float(np.std(errors)), 1) if errors else None,
                "p99_uv": round(float(np.percentile(found, 99)), 1) if errors else None,
                "largest_uv": round(float(found.max(initial=0.0)), 1),
            }
        return table
