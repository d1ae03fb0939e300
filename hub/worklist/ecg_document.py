"""An analysis as the JSON that is stored and handed to pages; samples as 16-bit integers in base64."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub.ecg.analysis.model import Analysis, Boundaries, MedianBeat
from hub.ecg.waveform import Waveform

MISSING = -32768
"""Stands in samples where nothing was recorded."""

_INT16_MAX = 32767
_FINEST_MV = 0.001
"""A microvolt: finer steps than any electrocardiograph stores."""

_WAVES = ("p_on", "p_off", "qrs_on", "qrs_off", "t_on", "t_off")


def document_of(waveform: Waveform, found: Analysis) -> dict[str, Any]:
    """Return everything that is kept of an analysis, beside what the device itself said."""
    from hub.ecg.analysis.as_json import measurement_json
    from hub.ecg.analysis.hints_json import hints_json, quality_json

    median = found.measurement.median
    return {
        "measurement": measurement_json(waveform, found.measurement),
        "quality": quality_json(found.quality),
        "hints": hints_json(found.hints),
        "median": _median(median) if median else None,
        "device": device_of(waveform),
    }


def device_of(waveform: Waveform) -> dict[str, Any]:
    """Return what the device says, as it says it."""
    part = waveform.median
    return {
        "name": waveform.device,
        "measurements": [
            {"name": one.name, "value": one.value, "unit": one.unit, "lead": one.lead}
            for one in waveform.device_measurements
        ],
        "statements": list(waveform.device_statements),
        "median": {"rate_hz": part.rate_hz, "leads": _leads(part.leads, part.samples_mv)} if part else None,
    }


def _median(beat: MedianBeat) -> dict[str, Any]:
    return {
        "rate_hz": beat.rate_hz,
        "fiducial": beat.fiducial,
        "n_beats": beat.n_beats,
        "leads": _leads(beat.leads, beat.samples_mv),
        "over_all": _places(beat.over_all),
        "per_lead": _by_lead(beat.per_lead),
    }


def _by_lead(per_lead: Mapping[str, Boundaries]) -> dict[str, dict[str, int | None]]:
    return {lead: _places(found) for lead, found in per_lead.items()}


def _places(found: Boundaries) -> dict[str, int | None]:
    return {name: getattr(found, name) for name in _WAVES}


def _leads(names: tuple[str, ...], samples_mv: NDArray[np.float64]) -> list[dict[str, Any]]:
    return [_lead(name, samples_mv[:, column]) for column, name in enumerate(names)]


def _lead(name: str, values: NDArray[np.float64]) -> dict[str, Any]:
    present = np.isfinite(values)
    highest = float(np.abs(values[present]).max(initial=0.0))
    scale = max(_FINEST_MV, highest / _INT16_MAX)
    stored = np.full(values.shape, MISSING, dtype="<i2")
    stored[present] = np.rint(values[present] / scale).astype("<i2")
    return {
        "name": name,
        "mv_per_unit": scale,
        "samples": base64.b64encode(stored.tobytes()).decode("ascii"),
    }
