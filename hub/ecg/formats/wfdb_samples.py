"""WFDB storage formats: bytes to integers (WFDB signal(5))."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import FormatFeature, Truncated

Integers = NDArray[np.signedinteger[Any]]

INVALID = {
    16: -(2**15),
    24: -(2**23),
    32: -(2**31),
    61: -(2**15),
    80: -128,
    160: -(2**15),
    212: -(2**11),
    310: -(2**9),
    311: -(2**9),
}
"""The stored value that means "no sample" for each format; format 8 has none."""


def bytes_needed(storage_format: int, n_values: int) -> int:
    """Return how many bytes `n_values` samples take in a storage format.

    Raises
    ------
    FormatFeature
        The format is not one that is read.
    """
    whole, rest = divmod(n_values, 3)
    sizes = {
        8: n_values,
        16: 2 * n_values,
        24: 3 * n_values,
        32: 4 * n_values,
        61: 2 * n_values,
        80: n_values,
        160: 2 * n_values,
        212: (3 * n_values + 1) // 2,
        310: 4 * whole + (0, 2, 4)[rest],
        311: 4 * whole + (0, 2, 3)[rest],
    }
    if storage_format not in sizes:
        raise FormatFeature("WFDB storage format is not read", feature=f"format {storage_format}")
    return sizes[storage_format]


def values_within(storage_format: int, n_bytes: int) -> int:
    """Return how many whole samples `n_bytes` hold in a storage format."""
    guess = {212: n_bytes * 2 // 3, 310: n_bytes * 3 // 4, 311: n_bytes * 3 // 4}.get(
        storage_format, n_bytes // max(1, bytes_needed(storage_format, 1))
    )
    while guess > 0 and bytes_needed(storage_format, guess) > n_bytes:
        guess -= 1
    return guess


def unpack(storage_format: int, data: bytes, n_values: int) -> Integers:
    """Decode the first samples of a data file, interleaved as stored.

    Parameters
    ----------
    storage_format : int
        8, 16, 24, 32, 61, 80, 160, 212, 310 or 311. For 8 the values are differences.
    data : bytes
        From the first sample on.
    n_values : int
        How many to decode.

    Returns
    -------
    numpy.ndarray
        Integers of shape ``(n_values,)``, as wide as the format needs, before gain and baseline.

    Raises
    ------
    FormatFeature
        Another format.
    Truncated
        The bytes end too early.
    """
    needed = bytes_needed(storage_format, n_values)
    if len(data) < needed:
        raise Truncated(needed_bytes=needed, present_bytes=len(data))
    return _DECODERS[storage_format](data[:needed], n_values)


def _simple(kind: str) -> Callable[[bytes, int], Integers]:
    def decode(data: bytes, _n: int) -> Integers:
        return np.frombuffer(data, dtype=kind)

    return decode


def _offset_binary(kind: str, offset: int) -> Callable[[bytes, int], Integers]:
    def decode(data: bytes, _n: int) -> Integers:
        return np.frombuffer(data, dtype=kind).astype(np.int32) - offset

    return decode


def _signed(values: Integers, bits: int) -> Integers:
    return np.where(values >= 1 << (bits - 1), values - (1 << bits), values)


def _padded(data: bytes, group: int) -> NDArray[np.uint8]:
    return np.frombuffer(data + bytes(-len(data) % group), dtype=np.uint8).reshape(-1, group)


def _format_24(data: bytes, _n: int) -> Integers:
    low, middle, high = _padded(data, 3).astype(np.int32).T
    return _signed(low | middle << 8 | high << 16, 24)


def _format_212(data: bytes, n: int) -> Integers:
    first, shared, second = _padded(data, 3).astype(np.int32).T
    pairs = np.stack([first | (shared & 0x0F) << 8, second | (shared & 0xF0) << 4], axis=1)
    return _signed(pairs.reshape(-1)[:n], 12)


def _format_310(data: bytes, n: int) -> Integers:
    words = np.frombuffer(data + bytes(-len(data) % 4), dtype="<u2").reshape(-1, 2).astype(np.int32)
    low, high = words.T
    third = (low >> 11 & 0x1F) | (high >> 11 & 0x1F) << 5
    return _signed(np.stack([low >> 1 & 0x3FF, high >> 1 & 0x3FF, third], axis=1).reshape(-1)[:n], 10)


def _format_311(data: bytes, n: int) -> Integers:
    words = np.frombuffer(data + bytes(-len(data) % 4), dtype="<u4").astype(np.int64)
    triples = np.stack([words >> shift & 0x3FF for shift in (0, 10, 20)], axis=1)
    return _signed(triples.reshape(-1)[:n], 10)


_DECODERS: dict[int, Callable[[bytes, int], Integers]] = {
    8: _simple("i1"),
    16: _simple("<i2"),
    24: _format_24,
    32: _simple("<i4"),
    61: _simple(">i2"),
    80: _offset_binary("u1", 128),
    160: _offset_binary("<u2", 32768),
    212: _format_212,
    310: _format_310,
    311: _format_311,
}
