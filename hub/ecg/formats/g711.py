"""The two companding laws of ITU-T G.711, by which DICOM may store 8-bit samples (PS3.3 C.10.9)."""

import numpy as np
from numpy.typing import NDArray


def _mu_law(code: int) -> int:
    """Return the decoder output value of one mu-law character (G.711 table 2)."""
    inverted = ~code & 0xFF
    exponent, mantissa = (inverted >> 4) & 7, inverted & 0xF
    magnitude = ((2 * mantissa + 33) << exponent) - 33
    return -magnitude if inverted & 0x80 else magnitude


def _a_law(code: int) -> int:
    """Return the decoder output value of one A-law character (G.711 table 1); even bits are inverted."""
    toggled = code ^ 0x55
    exponent, mantissa = (toggled >> 4) & 7, toggled & 0xF
    magnitude = 2 * mantissa + 1 if exponent == 0 else (2 * mantissa + 33) << (exponent - 1)
    return magnitude if toggled & 0x80 else -magnitude


MU_LAW: NDArray[np.int16] = np.array([_mu_law(code) for code in range(256)], dtype=np.int16)
"""Linear value by character, from -8031 to 8031."""

A_LAW: NDArray[np.int16] = np.array([_a_law(code) for code in range(256)], dtype=np.int16)
"""Linear value by character, from -4032 to 4032."""
