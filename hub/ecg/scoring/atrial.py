"""P waves found and invented, and atrial fibrillation called."""

from collections import Counter, defaultdict
from typing import Any

from hub.ecg.scoring.cases import Case
from hub.ecg.scoring.reference import global_beats
from hub.ecg.scoring.stats import share

FIBRILLATION = 0.5
"""A record is called fibrillation or flutter from this likelihood on, or when a flutter wave is found."""

_SAME_BEAT_S = 0.15


class PWaves:
    """Beats with a P wave over all leads, by rhythm.

    In fibrillation and flutter every P is invented. Elsewhere a beat has one when at least three leads
    have it marked; beats without are given apart, for readers leave P out for other reasons too.
    """

    name = "p_waves"

    def __init__(self) -> None:
        self._beats: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._rhythms: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, case: Case) -> None:
        """Score one record; one without per-lead marks adds nothing."""
        if not case.reference.leads:
            return
        rate_hz = case.waveform.rate_hz if case.waveform is not None else 1000.0
        found = case.measurement.beats if case.measurement is not None else ()
        for marked in global_beats(case.reference, rate_hz):
            near = [beat for beat in found if abs(beat.sample - marked.sample) <= _SAME_BEAT_S * rate_hz]
            has_p = any(beat.over_all.p_on is not None for beat in near)
            group = "fibrillation_or_flutter" if case.is_fibrillating else "marked"
            if not case.is_fibrillating and marked.p_on is None:
                group = "elsewhere_unmarked"
            for counter in (self._beats[group], self._rhythms[case.rhythm or "not stated"]):
                counter["beats"] += 1
                counter["found"] += has_p
                counter["marked"] += marked.p_on is not None

    def result(self) -> dict[str, Any]:
        """Return the shares of beats with P, and the counts by rhythm."""
        return {
            "invented_in_fibrillation_or_flutter": self._share("fibrillation_or_flutter"),
            "found_where_marked": self._share("marked"),
            "found_elsewhere_unmarked": self._share("elsewhere_unmarked"),
            "by_rhythm": {rhythm: dict(counter) for rhythm, counter in sorted(self._rhythms.items())},
        }

    def _share(self, group: str) -> dict[str, Any]:
        return share(self._beats[group]["found"], self._beats[group]["beats"])


class Fibrillation:
    """Records called fibrillation or flutter, against the rhythm that the header states."""

    name = "fibrillation"

    def __init__(self) -> None:
        self._called: dict[bool, Counter[bool]] = {True: Counter(), False: Counter()}
        self._wrong: dict[str, float] = {}

    def add(self, case: Case) -> None:
        """Score one record; one whose rhythm is not stated adds nothing."""
        if not case.rhythm:
            return
        atrial = case.measurement.atrial if case.measurement is not None else None
        called = atrial is not None and (atrial.fibrillation >= FIBRILLATION or atrial.flutter_hz is not None)
        self._called[case.is_fibrillating][called] += 1
        if called != case.is_fibrillating:
            self._wrong[case.name] = round(atrial.fibrillation, 3) if atrial is not None else 0.0

    def result(self) -> dict[str, Any]:
        """Return sensitivity and specificity, and the records called wrong with their likelihood."""
        ill, well = self._called[True], self._called[False]
        return {
            "at": FIBRILLATION,
            "sensitivity": share(ill[True], ill.total()),
            "specificity": share(well[False], well.total()),
            "wrong": self._wrong,
        }
