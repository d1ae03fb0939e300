"""BioSig's programs as a second opinion on samples; nothing of BioSig runs inside the tests."""

import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.fixtures.peers import require_peer

_MV = {4256: 1e3, 4274: 1.0, 4275: 1e-3, 4276: 1e-6}
"""Millivolts per V, mV, uV and nV: codes of ISO/IEEE 11073-10101, as GDF stores them."""

_KINDS = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 16: "<f4", 17: "<f8"}
_FIXED = 256
"""Bytes of the fixed header, and of the header of each channel."""

_SECONDS = 20


@dataclass(frozen=True)
class Gdf:
    """What BioSig made of a file: `samples_mv` has a column for each label."""

    samples_mv: np.ndarray
    labels: tuple[str, ...]
    rate_hz: float


class Refused(Exception):
    """BioSig does not read the file, or broke down over it."""


def by_biosig(path: Path, folder: Path) -> Gdf:
    """Let ``biosig2gdf`` read a file.

    Raises
    ------
    Refused
        It ended with an error or by a signal, took too long, or found no samples.
    """
    out = folder / "biosig.gdf"
    out.unlink(missing_ok=True)
    _run(["biosig2gdf", str(path), str(out)])
    read = read_gdf(out.read_bytes())
    if not read.samples_mv.size:
        raise Refused("no samples found")
    return read


def from_biosig(path: Path, kind: str, folder: Path) -> Path:
    """Let ``save2gdf`` write a file as `kind` (``EDF``, ``BDF``, ``HL7aECG``, ``SCP3``)."""
    out = folder / f"biosig.{kind}"
    out.unlink(missing_ok=True)
    _run(["save2gdf", f"-f={kind}", str(path), str(out)])
    return out


def header_by_biosig(path: Path) -> str:
    """Return what ``save2gdf -JSON`` says of a file's header."""
    return _run(["save2gdf", "-JSON", str(path)])


def _run(command: list[str]) -> str:
    command[0] = require_peer(command[0])
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Refused("took too long") from None
    if done.returncode:
        raise Refused(f"{done.returncode}: {done.stderr[-200:]!r}")
    return done.stdout.decode("utf-8", "replace")


def read_gdf(data: bytes) -> Gdf:
    """Read GDF 2.21 or later, as biosig2gdf writes it: one type and one rate for all channels."""
    assert data[:3] == b"GDF"
    assert float(data[3:8]) >= 2.21
    (blocks,) = struct.unpack_from("<H", data, 184)
    n_records, seconds = struct.unpack_from("<qd", data, 236)
    (n,) = struct.unpack_from("<H", data, 252)
    head = data[_FIXED : _FIXED * (n + 1)]

    def column(at: int, code: str) -> list:
        return list(struct.unpack_from(f"<{n}{code}", head, at * n))

    labels = [head[16 * k : 16 * k + 16].split(b"\0")[0].decode("latin-1").strip() for k in range(n)]
    units = column(102, "H")
    physical_least, physical_most, least, most = (np.array(column(at, "d")) for at in (104, 112, 120, 128))
    if not n:
        return Gdf(np.empty((0, 0)), (), 0.0)
    (per_record,), (kind,) = set(column(216, "I")), set(column(220, "I"))
    stored = np.frombuffer(data, _KINDS[kind], n_records * n * per_record, blocks * 256)
    stored = stored.reshape(n_records, n, per_record).transpose(0, 2, 1).reshape(-1, n)
    values = (stored - least) * ((physical_most - physical_least) / (most - least)) + physical_least
    return Gdf(values * [_MV.get(unit, np.nan) for unit in units], tuple(labels), per_record / seconds)
