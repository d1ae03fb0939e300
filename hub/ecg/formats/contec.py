"""Contec ECG90A recordings: recognised and refused, since they do not state what a unit is.

Derived from one recording and its conversions by a third party: 43 bytes of header (case number,
time, name, sex, age, weight), then 800 times a second eight 16-bit numbers (II and III above 2048,
V1 to V6), then 37 bytes. The conversions contradict each other on the size of a unit (5 uV in one,
30.5 uV in the other), and the maker publishes none.
"""

import re

from hub.ecg.errors import UnitsMissing
from hub.ecg.waveform import Waveform

_HEADER_BYTES, _SAMPLE_BYTES, _FOOTER_BYTES = 43, 16, 37
_START = re.compile(rb"[0-9A-Za-z]{1,8}\x00{0,7}\x00{2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\x00")


def matches(data: bytes) -> bool:
    """Say whether bytes are a Contec recording: a case number, a time, and whole samples."""
    samples = len(data) - _HEADER_BYTES - _FOOTER_BYTES
    return samples > 0 and samples % _SAMPLE_BYTES == 0 and _START.match(data) is not None


def read_contec(data: bytes, *, charset_override: str | None = None) -> Waveform:  # noqa: ARG001 - as all readers
    """Refuse a Contec recording.

    Raises
    ------
    UnitsMissing
        Always: no public source says reliably how many microvolts a unit is.
    """
    raise UnitsMissing("Contec ECG90A files do not state their calibration", format="Contec ECG90A")
