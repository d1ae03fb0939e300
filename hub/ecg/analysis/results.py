"""From the boundaries of a stretch to its measurement: beats in the recording's own samples, and numbers."""

from typing import Any

import numpy as np

from hub.ecg.analysis import values
from hub.ecg.analysis.model import Atrial, Beat, Boundaries, Measurement, MedianBeat, Value
from hub.ecg.analysis.signal import Floats
from hub.ecg.analysis.strip import Strip
from hub.ecg.waveform import Waveform

FLUTTER_MOST_HZ = 6.0
_ST_MS = 82.0

_LEAD_WAVES = ("p_on", "p_off", "qrs_on", "qrs_off", "t_on", "t_off")


def measurement_of(waveform: Waveform, strip: Strip) -> Measurement:
    """Return the measurement of one stretch.

    Parameters
    ----------
    waveform : Waveform
        What the strip was cut from, derived limb leads included.
    strip : Strip
    """
    signal = strip.signal
    rr_ms = np.diff(strip.centres) / signal.rate_hz * 1000.0
    heard_ms = signal.intervals(strip.centres) / signal.rate_hz * 1000.0
    has_p = bool(np.isfinite(strip.p_lag[strip.shape_of == 0]).any())
    numbers = values.rhythm(heard_ms)
    numbers |= _intervals(strip, has_p)
    numbers |= values.corrected_qt(numbers["qt_ms"], numbers["rr_mean_ms"].value)
    numbers |= _axes(strip, has_p)
    beats = _beats(waveform, strip)
    return Measurement(
        beats=beats,
        rr_ms=tuple(rr_ms.tolist()),
        values=numbers,
        by_lead=_by_lead(strip, has_p),
        median=_median_beat(waveform, strip, has_p),
        atrial=_atrial(strip, beats, waveform.n_samples),
    )


def _atrial(strip: Strip, beats: tuple[Beat, ...], n_samples: int) -> Atrial:
    signal, rest = strip.signal, strip.rest
    peaks = strip.waves[0].p_peak
    peak = float(np.median(peaks[np.isfinite(peaks)])) if np.isfinite(peaks).any() else float("nan")
    places = [
        signal.original(centre - strip.pre + peak + lag, n_samples)
        for centre, lag in zip(strip.centres.tolist(), strip.p_lag.tolist(), strict=True)
        if np.isfinite(peak + lag)
    ]
    between = [signal.original(place, n_samples) for place in strip.p_between.tolist()]
    return Atrial(
        p_share=sum(beat.over_all.p_on is not None for beat in beats) / max(1, int(strip.p_shown.sum())),
        p_times=tuple(sorted({*places, *between})),
        flutter_hz=rest.peak_hz if rest.is_wave and rest.peak_hz <= FLUTTER_MOST_HZ else None,
        fibrillation=strip.fibrillation,
    )


def _intervals(strip: Strip, has_p: bool) -> dict[str, Value]:
    """Return P, PR, QRS and QT of the dominant median, with their range over its beats."""
    per_ms, at = strip.signal.per_ms, strip.waves[0].over_all
    own = strip.shape_of == 0
    p_lag = strip.p_lag[own]
    p_lag = p_lag[np.isfinite(p_lag)]

    def between(begin: str, end: str, reason: str, spread: Floats) -> Value:
        length = (at[end] - at[begin]) / per_ms
        if not np.isfinite(length):
            return Value(None, values.MS, reason=reason)
        if spread.size < 2:  # noqa: PLR2004 - one beat has no range
            return Value(length, values.MS)
        each = spread / per_ms
        return Value(length, values.MS, min(length, float(each.min())), max(length, float(each.max())))

    qt, pr = at["t_off"] - at["qrs_on"], at["qrs_on"] - at["p_on"]
    out = {
        "qrs_ms": between("qrs_on", "qrs_off", "noise", strip.qrs_widths),
        "qt_ms": between("qrs_on", "t_off", "t_end_unclear", qt + strip.t_lag[own]),
    }
    if not has_p:
        return out | {name: Value(None, values.MS, reason="no_p_wave") for name in ("p_ms", "pr_ms")}
    return out | {
        "p_ms": between("p_on", "p_off", "no_p_wave", np.zeros(0)),
        "pr_ms": between("p_on", "qrs_on", "no_p_wave", pr - p_lag),
    }


def _by_lead(strip: Strip, has_p: bool) -> dict[str, dict[str, Value]]:
    """Return the values of each lead, of leads recorded by turns as far as they have a whole QRS and ST."""
    signal, waves, median = strip.signal, strip.waves[0], strip.medians[0]
    usable = signal.usable
    if strip.seen:
        on, off = round(waves.over_all["qrs_on"]), round(waves.over_all["qrs_off"])
        first, last = max(0, on - signal.ms(10.0)), off + signal.ms(_ST_MS)
        usable = usable & strip.seen[0][:, first : last + 1].all(axis=1)
    found = values.lead_values(median, signal.leads, usable, waves, per_ms=signal.per_ms, has_p=has_p)
    for row in np.flatnonzero(signal.usable & ~usable):
        found |= values.nothing_by_lead([signal.leads[row]], "too_few_beats")
    return found


def _axes(strip: Strip, has_p: bool) -> dict[str, Value]:
    median, leads, waves = strip.medians[0], strip.signal.leads, strip.waves[0]
    at = waves.over_all

    def over(begin: float, end: float, reason: str) -> Value:
        if not (np.isfinite(begin) and np.isfinite(end) and end - begin > 1):
            return Value(None, values.DEG, reason=reason)
        area = values.net_area(median, leads, begin, end)
        if strip.seen:
            whole = np.all(strip.seen[0][:, round(begin) : round(end) + 1], axis=1)
            area = {leads[row]: area[leads[row]] for row in np.flatnonzero(whole).tolist()}
        return values.axis(area)

    t_on = waves.t_on[np.isfinite(waves.t_on)]
    return {
        "qrs_axis_deg": over(at["qrs_on"], at["qrs_off"], "noise"),
        "t_axis_deg": over(float(np.median(t_on)) if t_on.size else np.nan, at["t_off"], "t_end_unclear"),
        "p_axis_deg": over(at["p_on"], at["p_off"], "no_p_wave") if has_p else over(np.nan, 0, "no_p_wave"),
    }


def _beats(waveform: Waveform, strip: Strip) -> tuple[Beat, ...]:
    """Return every beat with its boundaries in samples of the recording; outside it there are none."""
    signal, n_samples = strip.signal, waveform.n_samples
    starts = strip.centres.astype(np.float64) - strip.pre
    moved = {"p": starts + strip.p_lag, "t": starts + strip.t_lag, "q": starts}
    # P is the same whatever the ventricles make of it: it always comes from the dominant beat.
    shapes = {"p": np.zeros_like(strip.shape_of), "t": strip.shape_of, "q": strip.shape_of}

    def placed(name: str, on_medians: Floats) -> list[Any]:
        places = on_medians[shapes[name[0]]]
        shift = moved[name[0]]
        places = places + (shift if places.ndim == 1 else shift[:, None])
        inside = np.isfinite(places)
        if signal.recorded is not None:
            at = np.clip(np.round(np.nan_to_num(places)), 0, signal.mv.shape[1] - 1).astype(np.intp)
            rows = np.arange(len(signal.recorded)) if places.ndim > 1 else None
            inside &= (
                np.asarray(signal.recorded.any(axis=0))[at] if rows is None else signal.recorded[rows, at]
            )
        samples = np.round(np.where(inside, places, -1.0) * signal.scale).astype(np.int64)
        found = samples.astype(object)
        found[~(inside & (samples >= 0) & (samples < n_samples))] = None
        return list(found.tolist())

    by_lead = [placed(name, np.stack([getattr(each, name) for each in strip.waves])) for name in _LEAD_WAVES]
    names = tuple(strip.waves[0].over_all)
    over_all = [placed(name, np.array([each.over_all[name] for each in strip.waves])) for name in names]
    used = np.flatnonzero(signal.usable).tolist()
    out = []
    for number, centre in enumerate(strip.centres.tolist()):
        rows = [found[number] for found in by_lead]
        leads = {
            signal.leads[row]: Boundaries(**{name: rows[i][row] for i, name in enumerate(_LEAD_WAVES)})
            for row in used
            if signal.recorded is None or signal.recorded[row, centre]
        }
        boundaries = Boundaries(**{name: over_all[i][number] for i, name in enumerate(names)})
        out.append(Beat(signal.original(centre, n_samples), strip.kinds[number], boundaries, leads))
    return tuple(out)


def _median_beat(waveform: Waveform, strip: Strip, has_p: bool) -> MedianBeat:
    """Return the dominant median beat at the recording's own rate."""
    signal, median, waves = strip.signal, strip.medians[0], strip.waves[0]
    scale = signal.scale
    if scale != 1.0:
        width = median.shape[1]
        places = np.arange(int((width - 1) * scale) + 1) / scale
        median = np.stack([np.interp(places, np.arange(width), row) for row in median])

    def into(name: str, place: float) -> int | None:
        if not np.isfinite(place) or (name[0] == "p" and not has_p):
            return None
        return round(place * scale)

    per_lead = {
        lead: Boundaries(**{name: into(name, getattr(waves, name)[row]) for name in _LEAD_WAVES})
        for row, lead in enumerate(signal.leads)
    }
    return MedianBeat(
        samples_mv=median.T,
        rate_hz=waveform.rate_hz,
        leads=signal.leads,
        fiducial=round(strip.pre * scale),
        over_all=Boundaries(**{name: into(name, place) for name, place in waves.over_all.items()}),
        per_lead=per_lead,
        n_beats=strip.n_dominant,
    )
