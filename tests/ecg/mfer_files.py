"""A small writer of MFER files from the published layout, for tests; it knows nothing of the hub."""

import struct

import numpy as np


def tlv(tag: int, value: bytes = b"", *, channel: int | None = None) -> bytes:
    """Write one definition; lengths from 128 on take more bytes."""
    head = bytes([tag]) if channel is None else bytes([tag, channel])
    if len(value) < 128:
        return head + bytes([len(value)]) + value
    size = (len(value).bit_length() + 7) // 8
    return head + bytes([0x80 | size]) + len(value).to_bytes(size, "big") + value


def number(value: int, order: str, size: int = 4) -> bytes:
    return value.to_bytes(size, "little" if order == "<" else "big", signed=value < 0)


def scale(unit: int, power: int, value: int, order: str) -> bytes:
    return struct.pack("Bb", unit, power) + number(value, order, 2)


def mfer(
    stored: np.ndarray,
    *,
    order: str = "<",
    leads: tuple[int, ...] = (1, 2, 3, 4),
    block: int | None = None,
    data_type: int = 0,
    numpy_type: str = "i2",
    interval: bytes | None = None,
    sensitivity: bytes | None = None,
    before: bytes = b"",
    channel_more: dict[int, bytes] | None = None,
    sequences: bool = True,
) -> bytes:
    """Write samples of shape (n, channels): 500 Hz and 1 uV unless said otherwise."""
    n, channels = stored.shape
    block = block or n
    out = tlv(0x40, b"MFR test") + tlv(0x01, b"\1" if order == "<" else b"\0")
    out += tlv(0x04, number(block, order)) + tlv(0x05, number(channels, order, 2))
    if sequences:
        out += tlv(0x06, number(n // block, order))
    out += tlv(0x0A, bytes([data_type]))
    out += tlv(0x0B, interval if interval is not None else scale(0, 0, 500, order))
    out += tlv(0x0C, sensitivity if sensitivity is not None else scale(0, -6, 1, order))
    out += before
    for c in range(channels):
        lead = tlv(0x09, number(leads[c], order, 2)) if leads else b""
        out += tlv(0x3F, lead + (channel_more or {}).get(c, b""), channel=c)
    return out + wave(stored, block, f"{order}{numpy_type}") + b"\x80"


def wave(stored: np.ndarray, block: int, kind: str) -> bytes:
    """Write the waveform: sequences of blocks, one block of each channel after the other."""
    sequences = stored.reshape(-1, block, stored.shape[1]).transpose(0, 2, 1)
    return tlv(0x1E, sequences.astype(kind).tobytes())
