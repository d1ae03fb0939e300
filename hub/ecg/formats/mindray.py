"""Mindray BeneHeart R12 recordings: recognised and refused, since what a unit is is not public."""

from hub.ecg.errors import UnitsMissing
from hub.ecg.waveform import Waveform

_START = bytes.fromhex("ebec123420")


def matches(data: bytes) -> bool:
    """Say whether bytes begin as the recordings of a BeneHeart R12 do (``12lead_data_v1``, ``.PAT``)."""
    return data.startswith(_START)


def read_mindray(data: bytes, *, charset_override: str | None = None) -> Waveform:  # noqa: ARG001 - as all readers
    """Refuse a BeneHeart R12 recording.

    Raises
    ------
    UnitsMissing
        Always. Where samples lie is known from a public converter; what they mean is not: it takes
        only the numbers from -512 to 255, and a unit for 1 uV, with which no QRS complex would fit.
    """
    raise UnitsMissing("the calibration of BeneHeart R12 files is not public", format="Mindray BeneHeart R12")
