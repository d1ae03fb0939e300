"""XLI, the compression of Philips ECG files: per lead LZW with 10-bit codes over second differences."""

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import Truncated
from hub.errors import Malformed

_HEADER = 8
_BITS = 10
_END = (1 << _BITS) - 1
_BIAS = 64
_SPARE_BYTES = 4096
"""How much more than the declared samples a chunk may unfold to before it is called a bomb."""


def xli_leads(data: bytes, n_leads: int, n_samples: int) -> list[NDArray[np.int64]]:
    """Unfold the leads of one recording.

    Parameters
    ----------
    data : bytes
        The chunks one after another: size (int32), two bytes unused, first difference (int16),
        compressed bytes; all little-endian.
    n_leads, n_samples : int
        What the file declares; further chunks and samples are not looked at.

    Returns
    -------
    list of numpy.ndarray
        int64 of shape ``(n_samples,)``, in stored units. In 16 bits sums would overflow.

    Raises
    ------
    Truncated
        There are fewer chunks or samples.
    Malformed
        A chunk's size or codes make no sense.
    """
    leads: list[NDArray[np.int64]] = []
    place = 0
    while len(leads) < n_leads:
        header = data[place : place + _HEADER]
        if len(header) < _HEADER:
            raise Truncated(needed_leads=n_leads, present_leads=len(leads))
        size = int.from_bytes(header[:4], "little", signed=True)
        first = int.from_bytes(header[6:8], "little", signed=True)
        chunk = data[place + _HEADER : place + _HEADER + max(size, 0)]
        if size <= 0 or len(chunk) < size:
            raise Malformed("a compressed lead states a size that cannot be", size=size)
        samples = _samples(_unfold(chunk, 2 * n_samples + _SPARE_BYTES), first)
        if len(samples) < n_samples:
            raise Truncated(needed_samples=n_samples, present_samples=len(samples))
        leads.append(samples[:n_samples])
        place += _HEADER + size
    return leads


def with_limb_leads(leads: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Rebuild III, aVR, aVL and aVF, stored as what they differ from the sum of the others.

    Halves are cut towards zero, as the encoder does: only so do the rebuilt leads of real files
    stay within half a unit of Goldberger's equations; rounded down, every third of the odd negative
    sums would be one and a half units off.
    """
    one, two, third, right, left, foot, *chest = leads
    three = two - one - third
    rebuilt = [three, -right - _half(one + two), _half(one - three) - left, _half(two + three) - foot]
    return [one, two, *rebuilt, *chest]


def _half(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return (values + (values < 0)) // 2


def _unfold(chunk: bytes, most: int) -> bytes:
    """Undo LZW; the table is filled once and then kept."""
    bits = np.unpackbits(np.frombuffer(chunk, np.uint8))
    n_codes = len(bits) // _BITS
    codes = bits[: n_codes * _BITS].reshape(n_codes, _BITS) @ (1 << np.arange(_BITS - 1, -1, -1))
    table = [bytes((n,)) for n in range(256)]
    result = bytearray()
    previous = b""
    for code in codes.tolist():
        if code == _END:
            break
        if code < len(table):
            entry = table[code]
        elif code == len(table) and previous:
            entry = previous + previous[:1]
        else:
            raise Malformed("a compressed lead holds a code before its meaning")
        if previous and len(table) < _END:
            table.append(previous + entry[:1])
        result += entry
        if len(result) > most:
            raise Malformed("a compressed lead unfolds to more than it declares")
        previous = entry
    return bytes(result)


def _samples(unfolded: bytes, first: int) -> NDArray[np.int64]:
    """Join high bytes (first half) with low bytes, and add up the second differences."""
    half = (len(unfolded) + 1) // 2
    raw = np.frombuffer(unfolded.ljust(2 * half, b"\x00"), np.uint8).astype(np.uint16)
    words = ((raw[:half] << 8) | raw[half:]).view(np.int16).astype(np.int64)
    if half < 3:  # noqa: PLR2004 - two samples are stored as they are
        return words
    bends = np.concatenate(([first], words[2:-1] - _BIAS))
    slope = words[1] - words[0]
    slopes = np.concatenate(([slope], slope - np.cumsum(bends)))
    return np.concatenate(([words[0]], words[0] + np.cumsum(slopes)))
