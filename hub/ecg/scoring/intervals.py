"""Global intervals of each record against those that follow from the marks in its leads."""

from collections import Counter, defaultdict
from typing import Any

from hub.ecg.scoring.cases import Case
from hub.ecg.scoring.reference import intervals
from hub.ecg.scoring.stats import errors_table

NAMES = ("p_ms", "pr_ms", "qrs_ms", "qt_ms")
_WORST = 5


class IntervalTable:
    """Errors of P, PR, QRS and QT, one value a record.

    The reference of a record goes from the second-earliest beginning to the second-latest end over
    its leads, T to the median of its ends; the median over the beats.
    """

    name = "intervals"

    def __init__(self) -> None:
        self._errors: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
        self._missing: Counter[str] = Counter()

    def add(self, case: Case) -> None:
        """Score one record; one without per-lead marks adds nothing."""
        if not case.reference.leads:
            return
        rate_hz = case.waveform.rate_hz if case.waveform is not None else 1000.0
        for name, true in intervals(case.reference, rate_hz).items():
            value = case.measurement.values[name].value if case.measurement is not None else None
            if value is None:
                self._missing[name] += 1
            else:
                self._errors[name].append((value - true, case.name))

    def result(self) -> dict[str, Any]:
        """Return the errors in ms by interval, with the worst records."""
        out = {}
        for name in NAMES:
            worst = sorted(self._errors[name], key=lambda each: -abs(each[0]))[:_WORST]
            out[name] = errors_table([error for error, _ in self._errors[name]], self._missing[name]) | {
                "worst": {record: round(error, 1) for error, record in worst}
            }
        return out
