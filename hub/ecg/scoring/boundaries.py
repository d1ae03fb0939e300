"""Boundaries of the waves in single leads, against the marks in the same lead."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hub.ecg.scoring import rivals
from hub.ecg.scoring.cases import Case
from hub.ecg.scoring.reference import LeadMarks
from hub.ecg.scoring.stats import Counts, errors_table, match

TOLERANCE_MS = {"p_on": 50.0, "p_off": 50.0, "qrs_on": 40.0, "qrs_off": 40.0, "t_on": 50.0, "t_off": 100.0}
"""Windows under the name Martínez, as openecg's published figures use them."""

ALL_LEADS = "all_leads"
_WAVE = {"p": "p", "q": "qrs", "t": "t"}


class BoundaryTable:
    """Sensitivity, predictive value and F1 of each boundary, in lead II and over all leads.

    Readers begin and end their marks in the middle of a recording, often with a QRS whose P they leave
    out. What is found before a lead's first mark or after its last counts when it meets a mark and is
    passed over otherwise: nobody said that there is no wave.
    """

    name = "boundaries"

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, str], Counts] = defaultdict(Counts)
        self._errors: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, case: Case) -> None:
        """Score one record; one without per-lead marks adds nothing."""
        rate_hz = case.waveform.rate_hz if case.waveform is not None else 1000.0
        for lead, marks in case.reference.leads.items():
            found = _found(case, lead)
            self._score(ALL_LEADS, found, marks, rate_hz)
            if lead != "II":
                continue
            self._score("II", found, marks, rate_hz)
            samples = case.waveform.lead("II") if case.waveform is not None else None
            other = None if samples is None else rivals.neurokit_boundaries(samples, rate_hz)
            if other is not None:
                self._score("II neurokit2 dwt", other, marks, rate_hz)

    def _score(self, where: str, found: rivals.Boundaries, marks: LeadMarks, rate_hz: float) -> None:
        for boundary, tolerance in TOLERANCE_MS.items():
            side = boundary.rpartition("_")[2]
            waves = getattr(marks, _WAVE[boundary[0]])
            true = [place for wave in waves if (place := getattr(wave, side)) is not None]
            near = tolerance * rate_hz / 1000.0
            counted = [
                place
                for place in found[boundary]
                if marks.first <= place <= marks.last or any(abs(place - each) <= near for each in true)
            ]
            counts, errors = match(counted, true, near)
            self._counts[where, boundary].add(counts.hits, counts.false, counts.missed)
            self._errors[where, boundary] += [error * 1000.0 / rate_hz for error in errors]

    def result(self) -> dict[str, Any]:
        """Return a table for each lead group: by boundary, and the mean of the six F1."""
        places = dict.fromkeys(where for where, _ in self._counts)
        return {
            "tolerance_ms": TOLERANCE_MS,
            **{where: self._table(where) for where in places},
        }

    def _table(self, where: str) -> dict[str, Any]:
        f1 = [self._counts[where, boundary].f1 for boundary in TOLERANCE_MS]
        known = [each for each in f1 if each is not None]
        return {
            "macro_f1": round(float(np.mean(known)), 4) if known else None,
            **{
                boundary: self._counts[where, boundary].table()
                | {"error_ms": errors_table(self._errors[where, boundary])}
                for boundary in TOLERANCE_MS
            },
        }


def _found(case: Case, lead: str) -> Mapping[str, Sequence[float]]:
    beats = case.measurement.beats if case.measurement is not None else ()
    known = [beat.leads[lead] for beat in beats if lead in beat.leads]
    return {
        boundary: [place for each in known if (place := getattr(each, boundary)) is not None]
        for boundary in TOLERANCE_MS
    }
