"""What the rules look at: one recording's measurement, quality and patient, asked in the rules' words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.hints_rules import Limits
from hub.ecg.analysis.model import Beat, Measurement, Quality
from hub.ecg.analysis.stretches import longest_run
from hub.ecg.waveform import Waveform

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a rule is met: the leads and the numbers, measured and limits."""

    leads: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Facts:
    """One recording as the rules see it.

    Attributes
    ----------
    waveform, measurement, quality
        What was recorded, measured and found wrong with it.
    sex : str
        ``"M"``, ``"F"`` or empty when unknown.
    age_years : float or None
        None when unknown.
    """

    waveform: Waveform
    measurement: Measurement
    quality: Quality
    sex: str
    age_years: float | None

    def value(self, name: str) -> float | None:
        """Return a global value by its name in `Measurement.values`, None where there is none."""
        found = self.measurement.values.get(name)
        return found.value if found is not None else None

    def of_lead(self, lead: str, name: str) -> float | None:
        """Return one value of a lead, None where there is none or the lead is bad."""
        if self.is_bad(lead):
            return None
        found = self.measurement.by_lead.get(lead, {}).get(name)
        return found.value if found is not None else None

    def is_bad(self, lead: str) -> bool:
        """Say whether a lead, or one that it was computed from, carries nothing to be judged."""
        grades = self.quality.per_lead
        return any(grades.get(each) == "bad" for each in ((lead,) if lead in grades else ("I", "II", lead)))

    @property
    def silence_counts(self) -> bool:
        """Whether a stretch without QRS is the heart's: some lead has neither gaps nor a dead stretch."""
        off = {lead for each in self.quality.findings if each.code == "lead_off" for lead in each.leads}
        return bool(set(self.waveform.leads) - off)

    @property
    def amplitudes_hold(self) -> bool:
        """Whether the scale of the leads can be believed."""
        return not any(each.code == "units_doubtful" for each in self.quality.findings)

    @property
    def leads_hold(self) -> bool:
        """Whether the electrodes seem to lie where they belong."""
        return not any(each.code.startswith(("swap_", "dextro")) for each in self.quality.findings)

    @property
    def paced(self) -> int:
        """Number of paced beats."""
        return sum(beat.kind == "paced" for beat in self.measurement.beats)

    @property
    def p_share(self) -> float:
        """Share of the beats with a P wave before them, 0 when unknown."""
        return self.measurement.atrial.p_share or 0.0

    def width_ms(self, beat: Beat) -> float | None:
        """Return the duration of one QRS complex."""
        on, off = beat.over_all.qrs_on, beat.over_all.qrs_off
        return None if on is None or off is None else (off - on) / self.waveform.rate_hz * 1000.0

    def seconds(self, sample: float) -> float:
        """Return the time of a sample."""
        return sample / self.waveform.rate_hz

    def heard_ms(self, begin: int, end: int) -> float:
        """Return how long of a stretch any lead was recorded at one go, at most: nobody knows the rest."""
        heard = np.asarray(np.isfinite(self.waveform.samples_mv[begin:end]).any(axis=1))
        low, high = (0, end - begin) if heard.all() else longest_run(heard)
        return (high - low) / self.waveform.rate_hz * 1000.0

    def beat(self, lead: str) -> Floats | None:
        """Return the median beat of a lead in mV against its level at the beginning of QRS.

        None without a median beat, without its QRS onset, or for a bad or absent lead.
        """
        median = self.measurement.median
        if median is None or lead not in median.leads or self.is_bad(lead):
            return None
        on = median.over_all.qrs_on
        column = median.samples_mv[:, median.leads.index(lead)]
        if on is None or not 0 <= on < len(column) or not np.isfinite(column).all():
            return None
        return np.asarray(column - column[on], dtype=np.float64)

    def qrs(self, lead: str) -> Floats | None:
        """Return the QRS of the median beat of a lead in mV, from its beginning to its end."""
        column, median = self.beat(lead), self.measurement.median
        if column is None or median is None or median.over_all.qrs_on is None:
            return None
        off = median.over_all.qrs_off
        cut = column[median.over_all.qrs_on : off + 1] if off is not None else column[:0]
        return cut if cut.size > _LEAST_QRS_SAMPLES else None


_LEAST_QRS_SAMPLES = 6

Check = Callable[[Facts, Limits], Evidence | None]


def irregularity(intervals: Floats) -> float:
    """Return the standard deviation of intervals as a share of their mean; 0 below two."""
    if len(intervals) < 2 or not intervals.mean():  # noqa: PLR2004 - one interval has no spread
        return 0.0
    return float(intervals.std() / intervals.mean())
