"""Other people's detectors and delineators, where they are installed, on the same lead."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Detector = Callable[[Floats, float], Sequence[int]]
Boundaries = Mapping[str, Sequence[float]]
BOUNDARY_NAMES = ("p_on", "p_off", "qrs_on", "qrs_off", "t_on", "t_off")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def _sleepecg(lead: Floats, rate_hz: float) -> Sequence[int]:
    return [int(place) for place in import_module("sleepecg").detect_heartbeats(lead, rate_hz)]


def _neurokit(lead: Floats, rate_hz: float) -> Sequence[int]:
    kit = import_module("neurokit2")
    clean = kit.ecg_clean(lead, sampling_rate=int(rate_hz))
    found = kit.ecg_peaks(clean, sampling_rate=int(rate_hz))[1]["ECG_R_Peaks"]
    return [int(place) for place in found]


def _xqrs(lead: Floats, rate_hz: float) -> Sequence[int]:
    found = import_module("wfdb.processing").xqrs_detect(lead, rate_hz, verbose=False)
    return [int(place) for place in found]


def _gqrs(lead: Floats, rate_hz: float) -> Sequence[int]:
    found = import_module("wfdb.processing").gqrs_detect(lead, rate_hz, adc_gain=1000, adc_zero=0)
    return [int(place) for place in found]


_DETECTORS: Mapping[str, tuple[str, Detector]] = {
    "sleepecg": ("sleepecg", _sleepecg),
    "neurokit2": ("neurokit2", _neurokit),
    "wfdb_xqrs": ("wfdb", _xqrs),
    "wfdb_gqrs": ("wfdb", _gqrs),
}


def absent() -> list[str]:
    """Return the names of the programs that are not installed."""
    return [name for name, (package, _) in _DETECTORS.items() if find_spec(package) is None]


def detections(lead: Floats, rate_hz: float) -> dict[str, Sequence[int]]:
    """Return the beats that each installed program finds in a lead; none where it fails.

    Parameters
    ----------
    lead : numpy.ndarray
        mV, shape ``(n_samples,)``.
    rate_hz : float
    """
    missing = absent()
    out: dict[str, Sequence[int]] = {}
    for name, (_, detect) in _DETECTORS.items():
        if name in missing:
            continue
        try:
            with _quietly():
                out[name] = detect(np.nan_to_num(lead), rate_hz)
        except Exception:  # noqa: BLE001 - whatever their failure is, it counts as nothing found
            out[name] = []
    return out


def neurokit_boundaries(lead: Floats, rate_hz: float) -> Boundaries | None:
    """Return the boundaries that NeuroKit2's ``dwt`` finds in a lead; None without NeuroKit2."""
    if find_spec("neurokit2") is None:
        return None
    out: dict[str, Sequence[float]] = {name: [] for name in BOUNDARY_NAMES}
    try:
        with _quietly():
            kit = import_module("neurokit2")
            clean = kit.ecg_clean(np.nan_to_num(lead), sampling_rate=int(rate_hz))
            peaks = kit.ecg_peaks(clean, sampling_rate=int(rate_hz))[1]["ECG_R_Peaks"]
            found = kit.ecg_delineate(clean, peaks, sampling_rate=int(rate_hz), method="dwt")[1]
    except Exception:  # noqa: BLE001 - whatever their failure is, it counts as nothing found
        return out
    keys = {
        "p_on": "ECG_P_Onsets",
        "p_off": "ECG_P_Offsets",
        "qrs_on": "ECG_R_Onsets",
        "qrs_off": "ECG_R_Offsets",
        "t_on": "ECG_T_Onsets",
        "t_off": "ECG_T_Offsets",
    }
    for name, key in keys.items():
        out[name] = [float(place) for place in found.get(key, []) if place is not None and np.isfinite(place)]
    return out
