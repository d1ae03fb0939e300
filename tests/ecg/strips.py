"""Twelve-lead strips made in code."""

from collections.abc import Sequence

import numpy as np

from hub.ecg.leads import STANDARD_LEADS
from hub.ecg.waveform import Waveform

RATE = 500.0

# Amplitudes in mV of P, Q, R, S and T in leads I, II, V1-V6 of a plain adult ECG.
SHAPE = {
    "I": (0.08, -0.03, 0.7, -0.12, 0.2),
    "II": (0.14, -0.04, 1.0, -0.15, 0.3),
    "V1": (0.05, 0.0, 0.2, -0.9, -0.05),
    "V2": (0.06, 0.0, 0.4, -1.3, 0.45),
    "V3": (0.06, 0.0, 0.8, -0.9, 0.5),
    "V4": (0.07, -0.03, 1.4, -0.5, 0.45),
    "V5": (0.07, -0.06, 1.4, -0.25, 0.35),
    "V6": (0.06, -0.07, 1.1, -0.1, 0.25),
}


def bump(time: np.ndarray, centre: float, sigma: float) -> np.ndarray:
    return np.exp(-(((time - centre) / sigma) ** 2) / 2)


def one_beat(
    time: np.ndarray,
    at: float,
    shape: Sequence[float],
    *,
    p: bool = True,
    wide: float = 1.0,
    pr: float = 0.16,
) -> np.ndarray:
    """Return one beat of Gaussian waves, R at `at` seconds; `wide` stretches the QRS."""
    p_mv, q_mv, r_mv, s_mv, t_mv = shape
    wave = q_mv * bump(time, at - 0.024 * wide, 0.008 * wide)
    wave += r_mv * bump(time, at, 0.011 * wide)
    wave += s_mv * bump(time, at + 0.026 * wide, 0.010 * wide)
    wave += t_mv * bump(time, at + 0.27, 0.045)
    return wave + (p_mv * bump(time, at - pr, 0.02) if p else 0.0)


def twelve(columns: dict[str, np.ndarray], rate: float = RATE) -> Waveform:
    """Return the twelve leads from I, II and V1-V6."""
    one, two = columns["I"], columns["II"]
    columns = {
        **columns,
        "III": two - one,
        "aVR": -(one + two) / 2,
        "aVL": one - two / 2,
        "aVF": two - one / 2,
    }
    samples = np.column_stack([columns[name] for name in STANDARD_LEADS])
    return Waveform(np.round(samples * 200) / 200, rate, STANDARD_LEADS, "test", lsb_mv=(0.005,) * 12)


def strip(
    beats: Sequence[float],
    *,
    seconds: float = 10.0,
    p: bool = True,
    wide: float = 1.0,
    rate: float = RATE,
    noise_mv: float = 0.004,
    extra_p: Sequence[float] = (),
    scale: dict[str, float] | None = None,
) -> Waveform:
    """Return a 12-lead strip with a beat at each of the given seconds.

    `scale` multiplies single leads' QRS-T; `extra_p` are P waves without a QRS.
    """
    time = np.arange(round(seconds * rate)) / rate
    rng = np.random.default_rng(1)
    columns = {}
    for name, shape in SHAPE.items():
        signal = noise_mv * rng.standard_normal(len(time))
        for at in beats:
            signal += one_beat(time, at, shape, p=p, wide=wide)
        for at in extra_p:
            signal += shape[0] * bump(time, at, 0.02)
        columns[name] = signal * (scale or {}).get(name, 1.0)
    return twelve(columns, rate)
