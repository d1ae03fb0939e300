"""One recording as calibrated millivolts, whatever file it came from."""

from dataclasses import dataclass, replace
from datetime import datetime
from math import isfinite
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import NoLeads, NotAWaveform, RateMissing
from hub.ecg.leads import STANDARD_LEADS

LOW_RATE_HZ = 500.0
"""Below this a diagnostic ECG loses detail of the QRS (AHA/ACCF/HRS 2007, part I, sampling rate)."""

TOO_LOW_RATE_HZ = 200.0
"""Below this DICOM's ECG objects do not go (PS3.3 A.34.3.4.4), and no diagnosis should be read."""

IMPLAUSIBLE_MV = 100.0
"""A lead that swings further than this is hardly an ECG in the stated unit."""

_IMPOSSIBLE_MV = 1e9


@dataclass(frozen=True, slots=True)
class PatientText:
    """What the file says about the patient, as written; nothing is parsed or believed here.

    Attributes
    ----------
    local_id, name, sex, birth_date, age : str
        Text as decoded with `charset`; empty where the file is silent.
    charset : str
        The character set that the file declares; empty if none.
    unsure : bool
        Whether a text could not be decoded with confidence and wants a person's eye.
    """

    local_id: str = ""
    name: str = ""
    sex: str = ""
    birth_date: str = ""
    age: str = ""
    charset: str = ""
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters that the device states to have applied, in Hz; None where it states none."""

    high_pass_hz: float | None = None
    low_pass_hz: float | None = None
    notch_hz: float | None = None


@dataclass(frozen=True, eq=False)
class Part:
    """A further waveform of the same file: a median beat, or another stretch of rhythm.

    Attributes
    ----------
    kind : str
        ``"median"`` for a representative beat that the device computed, ``"rhythm"`` else.
    label : str
        As the file names it.
    samples_mv : numpy.ndarray
        float64 of shape ``(n_samples, n_leads)`` in millivolts, read-only; NaN where nothing is stored.
    rate_hz : float
        Samples per second and lead.
    leads : tuple of str
        One name per column.
    """

    kind: Literal["median", "rhythm"]
    label: str
    samples_mv: NDArray[np.float64]
    rate_hz: float
    leads: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.samples_mv.shape[1:] != (len(self.leads),):
            raise NotAWaveform("lead names and columns disagree", columns=len(self.leads))
        if not isfinite(self.rate_hz) or self.rate_hz <= 0:
            raise RateMissing
        samples = np.array(self.samples_mv, dtype=np.float64, copy=None).view()
        samples.flags.writeable = False
        object.__setattr__(self, "samples_mv", samples)

    def __str__(self) -> str:
        rows, columns = self.samples_mv.shape
        return f"{self.label}: {columns} x {rows} @ {self.rate_hz:g} Hz"


@dataclass(frozen=True, slots=True)
class DeviceMeasurement:
    """One number that the device or its program measured; kept apart from what the hub measures.

    Attributes
    ----------
    name : str
        The key that `hub.ecg.analysis.model` uses for the same thing (``hr_bpm``, ``pr_ms``,
        ``qrs_ms``, ``qt_ms``, ``qtc_ms``, ``p_axis_deg`` ...), else the file's own label.
    value : float
        As stated, converted to `unit`.
    unit : str
        ``"ms"``, ``"bpm"``, ``"deg"``, ``"mV"`` ...; empty when the file states none.
    lead : str
        For a measurement of one lead; empty for a global one.
    """

    name: str
    value: float
    unit: str
    lead: str = ""


@dataclass(frozen=True, eq=False)
class Waveform:
    """A calibrated multi-lead recording.

    Attributes
    ----------
    samples_mv : numpy.ndarray
        float64 of shape ``(n_samples, n_leads)`` in millivolts, read-only; NaN where the
        device recorded nothing. Never infinite.
    rate_hz : float
        Samples per second and lead.
    leads : tuple of str
        One unique name per column: the standard spelling (I … V6) where known.
    format : str
        A key of `hub.ecg.formats.table`, or ``"wfdb"``.
    started_at : datetime.datetime or None
        First sample. Naive when the file gives no zone: the device's own clock.
    started_at_source : str
        The field that `started_at` was read from; empty when there is none.
    lsb_mv : tuple
        Millivolts per stored unit for each lead; None for computed leads.
    filters : Filters
        As stated by the device; nothing was filtered on reading.
    patient : PatientText
        As stated in the file.
    device : str
        Maker and model as stated; empty when the file is silent.
    device_measurements : tuple of DeviceMeasurement
        Numbers that the device measured. Hints, shown as the machine's.
    device_statements : tuple of str
        Interpretation text printed by the device, as written. A hint, no diagnosis.
    parts : tuple of Part
        Further waveforms in the file that are not in `samples_mv`: median beats, other stretches.
    warnings : tuple of str
        Codes of what a reader of this ECG should know: ``rate_low``, ``rate_too_low`` and
        ``amplitude_implausible`` are added here, the others by the format readers.

    Raises
    ------
    NoLeads
        There is no column or no sample.
    RateMissing
        The rate is not a positive number.
    NotAWaveform
        Shapes disagree, a lead name is repeated, or a sample is infinite or beyond all sense.
    """

    samples_mv: NDArray[np.float64]
    rate_hz: float
    leads: tuple[str, ...]
    format: str
    started_at: datetime | None = None
    started_at_source: str = ""
    lsb_mv: tuple[float | None, ...] = ()
    filters: Filters = Filters()
    patient: PatientText = PatientText()
    device: str = ""
    device_measurements: tuple[DeviceMeasurement, ...] = ()
    device_statements: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        samples = np.array(self.samples_mv, dtype=np.float64, copy=None)
        if samples.ndim != 2:  # noqa: PLR2004 - rows are time, columns are leads
            raise NotAWaveform(dimensions=samples.ndim)
        if 0 in samples.shape or not self.leads:
            raise NoLeads
        if samples.shape[1] != len(self.leads) or len(set(self.leads)) != len(self.leads):
            raise NotAWaveform("lead names and columns disagree", columns=samples.shape[1])
        if self.lsb_mv and len(self.lsb_mv) != len(self.leads):
            raise NotAWaveform("resolutions and columns disagree", columns=samples.shape[1])
        if not isfinite(self.rate_hz) or self.rate_hz <= 0:
            raise RateMissing
        low, high = np.fmin.reduce(samples), np.fmax.reduce(samples)
        if (low < -_IMPOSSIBLE_MV).any() or (high > _IMPOSSIBLE_MV).any():
            raise NotAWaveform("a sample is no voltage of a body")
        notes = _notes(self.rate_hz, bool((high - low > IMPLAUSIBLE_MV).any()))
        samples = samples.view()
        samples.flags.writeable = False
        object.__setattr__(self, "samples_mv", samples)
        object.__setattr__(self, "lsb_mv", self.lsb_mv or (None,) * len(self.leads))
        object.__setattr__(self, "warnings", tuple(dict.fromkeys((*self.warnings, *notes))))

    @property
    def n_samples(self) -> int:
        """Samples per lead."""
        return len(self.samples_mv)

    @property
    def median(self) -> Part | None:
        """The device's own representative beat, when the file holds one."""
        return next((part for part in self.parts if part.kind == "median"), None)

    @property
    def duration_s(self) -> float:
        """Length of the recording in seconds."""
        return self.n_samples / self.rate_hz

    def lead(self, name: str) -> NDArray[np.float64] | None:
        """Return the samples of one lead in mV, shape ``(n_samples,)``, or None if it is absent."""
        return self.samples_mv[:, self.leads.index(name)] if name in self.leads else None

    def with_derived_limb_leads(self) -> "Waveform":
        """Return the recording with III, aVR, aVL and aVF computed where they were not recorded.

        Einthoven and Goldberger: III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2,
        aVF = II - I / 2. Recorded leads are never replaced. Without both I and II, or with
        nothing absent, the same object comes back. The twelve standard leads come first, in
        their order; the warning ``limb_leads_derived`` is added.
        """
        one, two = self.lead("I"), self.lead("II")
        if one is None or two is None:
            return self
        derived = {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
        absent = {name: column for name, column in derived.items() if name not in self.leads}
        if not absent:
            return self
        columns = {name: (self.samples_mv[:, i], self.lsb_mv[i]) for i, name in enumerate(self.leads)}
        columns |= {name: (column, None) for name, column in absent.items()}
        order = [name for name in STANDARD_LEADS if name in columns]
        order += [name for name in self.leads if name not in STANDARD_LEADS]
        return replace(
            self,
            samples_mv=np.column_stack([columns[name][0] for name in order]),
            leads=tuple(order),
            lsb_mv=tuple(columns[name][1] for name in order),
            warnings=(*self.warnings, "limb_leads_derived"),
        )


def _notes(rate_hz: float, implausible: bool) -> tuple[str, ...]:
    rate = "rate_too_low" if rate_hz < TOO_LOW_RATE_HZ else "rate_low" if rate_hz < LOW_RATE_HZ else ""
    return tuple(note for note in (rate, "amplitude_implausible" if implausible else "") if note)
