"""Beats found against beats marked, and the heart rate from them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from hub.ecg.scoring import rivals
from hub.ecg.scoring.cases import Case
from hub.ecg.scoring.stats import Counts, errors_table, match

TOLERANCE_S = 0.150
"""The match window of ANSI/AAMI EC57."""

_RATE_BEATS = 3


class Detection:
    """QRS detection of the hub and of other programs on the same records.

    Beats count between 150 ms before the first marked one and 150 ms after the last. The others are
    given lead II, or the first lead.
    """

    name = "qrs_detection"

    def __init__(self) -> None:
        self._counts: defaultdict[str, Counts] = defaultdict(Counts)
        self._rate_errors: list[float] = []
        self._rate_missing = 0
        self._wrong: dict[str, list[int]] = {}

    def add(self, case: Case) -> None:
        """Score one record."""
        found: dict[str, Sequence[int]] = {"hub": [beat.sample for beat in _beats(case)]}
        if case.waveform is not None:
            lead = case.waveform.lead("II")
            lead = case.waveform.samples_mv[:, 0] if lead is None else lead
            found |= rivals.detections(lead, case.waveform.rate_hz)
        rate_hz = case.waveform.rate_hz if case.waveform is not None else 1.0
        tolerance = TOLERANCE_S * rate_hz
        low, high = case.reference.first - tolerance, case.reference.last + tolerance
        for program, places in found.items():
            inside = [place for place in places if low <= place <= high]
            counts, _ = match(inside, case.reference.beats, tolerance)
            self._counts[program].add(counts.hits, counts.false, counts.missed)
            if program == "hub":
                self._rate(inside, case.reference.beats, rate_hz)
                if counts.false or counts.missed:
                    self._wrong[case.name] = [counts.false, counts.missed]

    def _rate(self, found: Sequence[int], marked: Sequence[int], rate_hz: float) -> None:
        if len(marked) < _RATE_BEATS:
            return
        if len(found) < 2:  # noqa: PLR2004 - a rate needs an interval
            self._rate_missing += 1
            return
        ours, theirs = (60.0 * rate_hz / float(np.diff(places).mean()) for places in (found, marked))
        self._rate_errors.append(ours - theirs)

    def result(self) -> dict[str, Any]:
        """Return the table by program, the error of the rate, and the records with an error."""
        over = sum(abs(error) > 1.0 for error in self._rate_errors) + self._rate_missing
        return {
            "tolerance_ms": TOLERANCE_S * 1000,
            "programs": {program: counts.table() for program, counts in self._counts.items()},
            "absent": rivals.absent(),
            "heart_rate_bpm": errors_table(self._rate_errors, self._rate_missing) | {"over_1_bpm": over},
            "records_with_errors": self._wrong,
        }


def _beats(case: Case) -> Sequence[Any]:
    return case.measurement.beats if case.measurement is not None else ()
