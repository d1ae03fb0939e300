"""Beats made of raised cosines, so that every boundary is known to the sample."""

from dataclasses import dataclass

import numpy as np

from hub.ecg.waveform import Waveform

RATE = 500.0
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
SIZES = np.array([0.6, 1.0, 0.4, -0.8, 0.1, 0.7, -0.5, 0.9, 1.2, 1.4, 1.1, 0.8])


@dataclass(frozen=True)
class Shape:
    """Boundaries in ms from about the R peak, and heights in mV."""

    p: tuple[float, float] | None = (-180.0, -80.0)
    qrs: tuple[float, float] = (-40.0, 50.0)
    t: tuple[float, float] = (180.0, 340.0)
    p_mv: float = 0.15
    r_mv: float = 1.2
    s_mv: float = -0.5
    t_mv: float = 0.3
    st_mv: float = 0.0


def hump(time: np.ndarray, begin: float, end: float) -> np.ndarray:
    """A raised cosine between two times, 1 high."""
    inside = (time >= begin) & (time <= end)
    return np.where(inside, 0.5 - 0.5 * np.cos(2 * np.pi * (time - begin) / (end - begin)), 0.0)


def one_lead(beats_ms: list[float], shape: Shape, length_ms: float, rate: float = RATE) -> np.ndarray:
    time = np.arange(round(length_ms * rate / 1000)) * 1000 / rate
    out = np.zeros_like(time)
    on, off = shape.qrs
    for beat in beats_ms:
        around = time - beat
        out += shape.r_mv * hump(around, on, on + 0.72 * (off - on))
        out += shape.s_mv * hump(around, on + 0.55 * (off - on), off)
        corners = [0.0, off, shape.t[1] - 60.0, shape.t[1]]
        out += np.interp(around, corners, [0.0, shape.st_mv, shape.st_mv, 0.0], left=0.0, right=0.0)
        out += shape.t_mv * hump(around, *shape.t)
        if shape.p is not None:
            out += shape.p_mv * hump(around, *shape.p)
    return out


def recording(
    beats_ms: list[float], shape: Shape = Shape(), *, length_ms: float = 10_000.0, rate: float = RATE
) -> Waveform:
    """Twelve leads of one shape in different sizes, with a little noise."""
    lead = one_lead(beats_ms, shape, length_ms, rate)
    noise = np.random.default_rng(1).normal(0, 0.004, (lead.size, len(LEADS)))
    return Waveform(lead[:, None] * SIZES + noise, rate, LEADS, "test")


def regular(rr_ms: float = 800.0, *, first: float = 500.0, length_ms: float = 10_000.0) -> list[float]:
    return list(np.arange(first, length_ms - 400.0, rr_ms))
