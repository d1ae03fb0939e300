"""Edan Holter recordings: recognised and refused, since they do not state what a unit is.

Facts: paulbourke.net/dataformats/edan (a header ``patient.hea`` of 3672 bytes beside unsigned
16-bit samples around 16384 in ``ecgraw.dat``), and archives that name themselves.
"""

import struct

from hub.ecg.errors import UnitsMissing
from hub.ecg.waveform import Waveform

_ARCHIVE = b"##NEUTRAL HOLTER RECORDING##"
_ARCHIVE_AT = 4
_HEADER_BYTES = 3672
_RATES_HZ = frozenset({100, 128, 200, 250, 256, 500, 1000})
_EARLIEST, _LATEST = 631_152_000, 3_155_760_000
"""Unix time of 1990 and 2070."""
_MOST_SECONDS = 14 * 86_400
_MOST_CHANNELS = 12


def matches(data: bytes) -> bool:
    """Say whether bytes are an Edan Holter archive or the header of an Edan Holter recording."""
    if data[_ARCHIVE_AT : _ARCHIVE_AT + len(_ARCHIVE)] == _ARCHIVE:
        return True
    if len(data) != _HEADER_BYTES:
        return False
    began, ended, channels = struct.unpack_from("<IIB", data, 4)
    (rate_hz,) = struct.unpack_from("<h", data, 32)
    plausible = _EARLIEST <= began < ended <= _LATEST and ended - began <= _MOST_SECONDS
    return plausible and 0 < channels <= _MOST_CHANNELS and rate_hz in _RATES_HZ


def read_edan(data: bytes, *, charset_override: str | None = None) -> Waveform:  # noqa: ARG001 - as all readers
    """Refuse an Edan Holter recording.

    Raises
    ------
    UnitsMissing
        Always: neither the files nor a public source say how many microvolts a unit is.
    """
    raise UnitsMissing("Edan Holter files do not state their calibration", format="Edan Holter")
