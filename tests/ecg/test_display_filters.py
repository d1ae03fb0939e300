"""The numbers that the page's display filters are held against. Oracle: scipy.signal."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import signal

GOLDEN = Path(__file__).parents[2] / "hub/web/islands/ecg-viewer/filters.golden.json"
RATE_HZ = 500.0
NOTCH_QUALITY = 30.0


def trace() -> np.ndarray:
    """Two seconds: spikes like QRS on a drifting baseline, with mains and an offset, to the microvolt."""
    time = np.arange(1000) / RATE_HZ
    beats = sum(np.exp(-(((time - at) / 0.012) ** 2)) for at in (0.3, 1.1, 1.85))
    drift = 0.4 * np.sin(2 * np.pi * 0.3 * time) + 0.2
    return np.round(beats + drift + 0.05 * np.sin(2 * np.pi * 50.0 * time + 0.7), 3)


def by_scipy() -> list[dict[str, Any]]:
    """Filter forwards and backwards with scipy, continued at the ends as the page does it."""
    cases = [
        ("high", hz, *signal.butter(2, hz, "highpass", fs=RATE_HZ), 3 * RATE_HZ / hz) for hz in (0.05, 0.5)
    ]
    cases += [("low", hz, *signal.butter(2, hz, fs=RATE_HZ), RATE_HZ) for hz in (40.0, 100.0, 150.0)]
    cases += [("notch", hz, *signal.iirnotch(hz, NOTCH_QUALITY, fs=RATE_HZ), RATE_HZ) for hz in (50.0, 60.0)]
    samples = trace()
    return [
        {
            "kind": kind,
            "hz": hz,
            "b": [float(f"{v:.14g}") for v in b],
            "a": [float(f"{v:.14g}") for v in a],
            "filtered": np.round(
                signal.filtfilt(b, a, samples, padlen=min(len(samples) - 1, round(padding))), 6
            ).tolist(),
        }
        for kind, hz, b, a, padding in cases
    ]


def test_the_file_holds_what_scipy_says() -> None:
    """`filters.test.ts` compares with the same file. To write it anew: ``write_golden()``."""
    golden = json.loads(GOLDEN.read_text())
    np.testing.assert_array_equal(golden["samples"], trace())
    for kept, now in zip(golden["cases"], by_scipy(), strict=True):
        assert (kept["kind"], kept["hz"]) == (now["kind"], now["hz"])
        np.testing.assert_allclose(kept["b"] + kept["a"], now["b"] + now["a"], rtol=1e-9)
        np.testing.assert_allclose(kept["filtered"], now["filtered"], atol=2e-6)


def write_golden() -> None:
    """Write the file that this test and the script's test compare with."""
    cases = ",\n".join(json.dumps(case) for case in by_scipy())
    samples = json.dumps(trace().tolist())
    GOLDEN.write_text(f'{{"rate_hz": {RATE_HZ}, "samples": {samples},\n"cases": [\n{cases}\n]}}\n')
