"""A measurement as the JSON that ``hub ecg measure --json`` and the pages use."""

from typing import Any

from hub.ecg.analysis.model import QTC_FORMULAS, Boundaries, Measurement, Value
from hub.ecg.analysis.values import AMPLITUDES, GLOBAL_UNITS, ST_AFTER_MS
from hub.ecg.waveform import Waveform

_AXES = ("p", "qrs", "t")
_OVER_ALL = ("p_on", "p_off", "qrs_on", "qrs_off", "t_off")
_PER_LEAD = ("p_on", "p_off", "qrs_on", "qrs_off", "t_on", "t_off")


def measurement_json(waveform: Waveform, measurement: Measurement) -> dict[str, Any]:
    """Return a measurement as JSON-ready values.

    Parameters
    ----------
    waveform : Waveform
        The recording that was measured.
    measurement : Measurement

    Returns
    -------
    dict
        ``rate_hz``, ``n_samples``, ``leads``; the global numbers (``hr_bpm``, ``rr_ms`` as the mean
        RR interval, ``p_ms``, ``pr_ms``, ``qrs_ms``, ``qt_ms``), null where there is none;
        ``rr_intervals_ms``; ``qtc_ms`` by formula; ``axes_deg`` of P, QRS and T; ``st_uv`` by lead
        with the keys ``j``, ``j20``, ``j60``, ``j80``; ``amplitudes_mv`` by lead; ``qrs_samples``
        and ``beats`` in samples of the recording; ``atrial``; ``ranges`` ``[low, high]`` over the
        beats and ``reasons`` for what is null, both by name; ``reason`` when nothing was measured.
    """
    numbers = measurement.values
    return {
        "rate_hz": waveform.rate_hz,
        "n_samples": waveform.n_samples,
        "leads": list(waveform.leads),
        "hr_bpm": _number(numbers["hr_bpm"]),
        "rr_ms": _number(numbers["rr_mean_ms"]),
        "rr_sd_ms": _number(numbers["rr_sd_ms"]),
        "rr_min_ms": _number(numbers["rr_min_ms"]),
        "rr_max_ms": _number(numbers["rr_max_ms"]),
        "rmssd_ms": _number(numbers["rmssd_ms"]),
        "rr_intervals_ms": [round(rr, 1) for rr in measurement.rr_ms],
        **{name: _number(numbers[name]) for name in ("p_ms", "pr_ms", "qrs_ms", "qt_ms")},
        "qtc_ms": {formula: _number(numbers[f"qtc_{formula}_ms"]) for formula in QTC_FORMULAS},
        "axes_deg": {wave: _number(numbers[f"{wave}_axis_deg"]) for wave in _AXES},
        "st_uv": {
            lead: {name.removeprefix("st_").removesuffix("_uv"): _number(found[name]) for name in ST_AFTER_MS}
            for lead, found in measurement.by_lead.items()
        },
        "amplitudes_mv": {
            lead: {name.removesuffix("_mv"): _number(found[name], 3) for name in AMPLITUDES}
            for lead, found in measurement.by_lead.items()
        },
        "qrs_samples": [beat.sample for beat in measurement.beats],
        "beats": [
            {
                "sample": beat.sample,
                "class": beat.kind,
                "global": _places(beat.over_all, _OVER_ALL),
                "leads": {lead: _places(found, _PER_LEAD) for lead, found in beat.leads.items()},
            }
            for beat in measurement.beats
        ],
        "atrial": {
            "p_share": measurement.atrial.p_share,
            "p_samples": list(measurement.atrial.p_times),
            "flutter_hz": measurement.atrial.flutter_hz,
            "fibrillation": round(measurement.atrial.fibrillation, 3),
        },
        "ranges": {
            name: [round(found.low, 1), round(found.high, 1)]
            for name, found in numbers.items()
            if found.low is not None and found.high is not None
        },
        "reasons": {name: numbers[name].reason for name in GLOBAL_UNITS if numbers[name].reason},
        "reason": measurement.reason,
    }


def _number(found: Value, digits: int = 1) -> float | None:
    return None if found.value is None else round(found.value, digits)


def _places(found: Boundaries, names: tuple[str, ...]) -> dict[str, int | None]:
    return {name: getattr(found, name) for name in names}
