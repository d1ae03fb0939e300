"""Entropy coding of SCP-ECG samples: the default table, tables of the device, switching between them.

Source: EN 1064 section 2 and its annex on compression, as public descriptions and readers give them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hub.ecg.errors import FormatFeature, Truncated
from hub.errors import Malformed

DEFAULT_TABLE_MARK = 19999
"""Stands in place of the number of tables and means the table of the standard."""

_MOST_TABLES = 8
_LONGEST_PREFIX = 16
_LONGEST_CODE = 48
_BYTES_PER_CODE = 9
_WINDOW_BITS = 64
_STRIDE_POWER = 4
_STRIDE = 1 << _STRIDE_POWER
"""The chain of codes is followed in steps of this many codes, which are then filled in at once."""


@dataclass(frozen=True, slots=True)
class Code:
    """One line of a table.

    Attributes
    ----------
    prefix_bits, total_bits : int
        Length of the prefix and of the whole code; the bits between are a signed number.
    switches : bool
        Whether the code selects table number `value` (from 1) instead of giving a sample.
    value : int
        The sample, or what is added to the number after the prefix.
    prefix : int
        The bits of the prefix, the first one sent is the highest.
    """

    prefix_bits: int
    total_bits: int
    switches: bool
    value: int
    prefix: int


def _default_codes() -> tuple[Code, ...]:
    small = [
        Code(size + 2, size + 2, False, sign * size, (((1 << size) - 1) << 2) | (sign < 0))
        for size in range(1, 9)
        for sign in (1, -1)
    ]
    return (
        Code(1, 1, False, 0, 0),
        *small,
        Code(10, 18, False, 0, 0b1111111110),
        Code(10, 26, False, 0, 0b1111111111),
    )


DEFAULT_TABLES: tuple[tuple[Code, ...], ...] = (_default_codes(),)


def read_tables(body: bytes) -> tuple[tuple[Code, ...], ...]:
    """Read section 2.

    Raises
    ------
    FormatFeature
        More tables or longer codes than are read.
    Malformed
        The tables do not fit the section or contradict themselves.
    """
    count = int.from_bytes(body[:2], "little")
    if count == DEFAULT_TABLE_MARK:
        return DEFAULT_TABLES
    if not 1 <= count <= _MOST_TABLES:
        raise FormatFeature(feature="number of Huffman tables", declared=count)
    tables, at = [], 2
    for _ in range(count):
        size = int.from_bytes(body[at : at + 2], "little")
        lines = body[at + 2 : at + 2 + _BYTES_PER_CODE * size]
        if size == 0 or len(lines) < _BYTES_PER_CODE * size:
            raise Malformed("a Huffman table does not fit its section")
        codes = (lines[n : n + _BYTES_PER_CODE] for n in range(0, len(lines), _BYTES_PER_CODE))
        tables.append(tuple(_code(line, count) for line in codes))
        at += 2 + _BYTES_PER_CODE * size
    return tuple(tables)


def _code(line: bytes, n_tables: int) -> Code:
    prefix_bits, total_bits, mode = line[0], line[1], line[2]
    value = int.from_bytes(line[3:5], "little", signed=True)
    stored = int.from_bytes(line[5:9], "little")
    if prefix_bits > _LONGEST_PREFIX or total_bits > _LONGEST_CODE:
        raise FormatFeature(feature="long Huffman codes", bits=max(prefix_bits, total_bits))
    if not 1 <= prefix_bits <= total_bits or (mode == 0 and not 1 <= value <= n_tables):
        raise Malformed("a Huffman code contradicts itself")
    # The first bit sent is stored as the lowest one.
    prefix = sum(((stored >> n) & 1) << (prefix_bits - 1 - n) for n in range(prefix_bits))
    return Code(prefix_bits, total_bits, mode == 0, value, prefix)


def decode(data: bytes, count: int, tables: Sequence[Sequence[Code]]) -> NDArray[np.int64]:
    """Decode the first `count` samples of one lead.

    Parameters
    ----------
    data : bytes
        The lead's bits, the highest bit of each byte first.
    count : int
        Samples wanted; every code takes at least one bit, so more than there are bits are refused.
    tables : sequence of sequence of Code
        As `read_tables` returns them; a lead begins with the first.

    Raises
    ------
    Truncated
        The bits end before, or no code of the table begins with them.
    """
    n_bits = len(data) * 8
    if count > n_bits:
        raise Truncated(samples=n_bits, declared=count)
    if count == 0:
        return np.empty(0, dtype=np.int64)
    windows = _windows(data)
    parts = [_codes_at_every_bit(windows, table, n, n_bits) for n, table in enumerate(tables)]
    following = np.concatenate([part[0] for part in parts])
    gives = np.concatenate([part[1] for part in parts])
    values = np.concatenate([part[2] for part in parts])
    states = _chain(following, n_bits)
    samples: NDArray[np.int64] = values[states[gives[states]]]
    if len(samples) < count:
        raise Truncated(samples=len(samples), declared=count)
    return samples[:count]


def _windows(data: bytes) -> NDArray[np.uint64]:
    """Return, for every bit, the 56 bits or more that follow it, in the high end of 64."""
    padded = np.frombuffer(data + bytes(8), dtype=np.uint8)
    words = np.zeros(len(data), dtype=np.uint64)
    for n in range(8):
        words |= padded[n : n + len(data)].astype(np.uint64) << np.uint64(56 - 8 * n)
    shifts = np.arange(8, dtype=np.uint64)
    return (words[:, None] << shifts[None, :]).reshape(-1)


def _codes_at_every_bit(
    windows: NDArray[np.uint64], table: Sequence[Code], number: int, n_bits: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Return what a code beginning at each bit would be: the state after it, whether it is a sample, which.

    A state is a bit and a table: table n has the states from n * (n_bits + 1) on. The last of
    each table is the end of the data, where the chain stays.
    """
    longest = max(code.prefix_bits for code in table)
    lookup = np.full(1 << longest, len(table), dtype=np.int64)
    for n, code in enumerate(table):
        free = longest - code.prefix_bits
        lookup[code.prefix << free : (code.prefix + 1) << free] = n
    which = lookup[(windows >> np.uint64(_WINDOW_BITS - longest)).astype(np.int64)]
    total = np.array([code.total_bits for code in table] + [0])[which]
    extra = np.array([code.total_bits - code.prefix_bits for code in table] + [0])[which]
    prefix = total - extra
    values = np.array([code.value for code in table] + [0])[which]
    numbered = extra > 0
    moved = windows[numbered] << prefix[numbered].astype(np.uint64)
    signed = moved.view(np.int64) >> (_WINDOW_BITS - extra[numbered])
    values[numbered] += signed
    gives = np.array([not code.switches for code in table] + [False])[which]
    target = np.array([code.value - 1 if code.switches else number for code in table] + [number])[which]
    bits = np.arange(n_bits)
    end = (number + 1) * (n_bits + 1) - 1
    fits = (which < len(table)) & (bits + total <= n_bits)
    following = np.where(fits, target * (n_bits + 1) + bits + total, end)
    stop = np.array([end])
    none = np.zeros(1, dtype=np.int64)
    return (
        np.concatenate([following, stop]),
        np.concatenate([gives & fits, none.astype(np.bool_)]),
        np.concatenate([values, none]),
    )


def _chain(following: NDArray[np.int64], n_bits: int) -> NDArray[np.int64]:
    """Return the states that are passed from the first on, up to the end of the data."""
    jump = following
    for _ in range(_STRIDE_POWER):
        jump = jump[jump]
    steps: list[int] = []
    state = 0
    while (state + 1) % (n_bits + 1):
        steps.append(state)
        state = int(jump[state])
    states = np.empty((len(steps), _STRIDE), dtype=np.int64)
    states[:, 0] = steps
    for n in range(1, _STRIDE):
        states[:, n] = following[states[:, n - 1]]
    return states.reshape(-1)


def encode(values: NDArray[np.int64]) -> bytes:
    """Write 16-bit numbers with the default table, filled with zero bits to whole bytes."""
    size = np.abs(values)
    small, short = size <= 8, (values >= -128) & (values <= 127)  # noqa: PLR2004 - the table's three ranges
    length = np.where(small, np.where(size == 0, 1, size + 2), np.where(short, 18, 26))
    unary = (((1 << np.minimum(size, 8)) - 1) << 2) | (values < 0)
    code = np.where(
        small,
        np.where(size == 0, 0, unary),
        np.where(short, (0b1111111110 << 8) | (values & 0xFF), (0b1111111111 << 16) | (values & 0xFFFF)),
    )
    left = (code << (32 - length)).astype(">u4")
    bits = np.unpackbits(left.view(np.uint8).reshape(-1, 4), axis=1)
    return np.packbits(bits[np.arange(32) < length[:, None]]).tobytes()
