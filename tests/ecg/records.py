"""Where the ECG test files are, and small recordings made in code."""

from pathlib import Path

import numpy as np

DATA = Path(__file__).parent.parent / "data" / "ecg"


def load(*names: str) -> dict[str, bytes]:
    return {name: (DATA / name).read_bytes() for name in names}


def ludb(record: int) -> dict[str, bytes]:
    return load(f"ludb_{record}.hea", f"{record}.dat")


def wfdb_record(
    samples: np.ndarray, *, rate: str = "500", gain: str = "200/mV", names: tuple[str, ...] = ()
) -> dict:
    """Write int16 samples of shape (n, leads) as a WFDB record of format 16 without checksums."""
    names = names or tuple(f"L{n}" for n in range(samples.shape[1]))
    lines = [f"r {len(names)} {rate} {len(samples)}"]
    lines += [
        f"r.dat 16 {gain} 16 0 {samples[0, n]} {int(samples[:, n].sum()) % 65536} 0 {name}"
        for n, name in enumerate(names)
    ]
    return {"r.hea": "\n".join(lines).encode(), "r.dat": samples.astype("<i2").tobytes()}
