"""SCP-ECG records packed by hand from the format's description, apart from the product's own writer."""

import struct
from collections.abc import Mapping, Sequence

LEADS = {"I": 1, "II": 2, "V1": 3, "III": 61}


def crc(data: bytes) -> int:
    """CRC of CCITT, bit by bit, beginning with all ones."""
    value = 0xFFFF
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1) ^ (0x1021 if value & 0x8000 else 0)
            value &= 0xFFFF
    return value


def section(number: int, body: bytes, *, protocol: int = 20, reserved: bytes = bytes(6)) -> bytes:
    rest = struct.pack("<HIBB", number, 16 + len(body), protocol, protocol) + reserved + body
    return struct.pack("<H", crc(rest)) + rest


def record(bodies: Mapping[int, bytes], *, protocol: int = 20) -> bytes:
    """Put section bodies into a record with twelve pointers (thirteen from version 3 on)."""
    n_pointers = 13 if protocol >= 26 else 12
    at = 6 + 16 + 10 * n_pointers
    pointers = struct.pack("<HII", 0, 16 + 10 * n_pointers, 7)
    packed = b""
    for number in range(1, n_pointers):
        one = section(number, bodies[number], protocol=protocol) if number in bodies else b""
        pointers += struct.pack("<HII", number, len(one), at + 1 if one else 0)
        packed += one
        at += len(one)
    whole = struct.pack("<I", at) + section(0, pointers, protocol=protocol, reserved=b"SCPECG") + packed
    return struct.pack("<H", crc(whole)) + whole


def tag(number: int, value: bytes) -> bytes:
    return struct.pack("<BH", number, len(value)) + value


def device(language: int = 0, model: bytes = b"X1", maker: int = 5, strings: bytes = bytes(5)) -> bytes:
    head = struct.pack("<HHHBB6s5B", 0, 0, 0, 0, maker, model, 20, 0x90, language, 0, 0)
    return tag(14, head + bytes(16) + b"\1" + strings)


def header(*tags: bytes, language: int = 0) -> bytes:
    body = (
        b"".join(tags)
        + device(language)
        + tag(25, struct.pack("<HBB", 2024, 3, 9))
        + tag(26, b"\x08\x1e\x05")
    )
    return body + b"\xff\0\0"


def leads(*ranges: tuple[int, int, int], flags: int = 0x04) -> bytes:
    """Pack (first, last, code) of each lead."""
    return struct.pack("<BB", len(ranges), flags) + b"".join(struct.pack("<IIB", *each) for each in ranges)


def samples(
    chunks: Sequence[bytes],
    *,
    step_nv: int = 1000,
    interval_us: int = 2000,
    difference: int = 0,
    flag: int = 0,
) -> bytes:
    sizes = struct.pack(f"<{len(chunks)}H", *map(len, chunks))
    return struct.pack("<HHBB", step_nv, interval_us, difference, flag) + sizes + b"".join(chunks)


def plain(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}h", *values)


def code_of(value: int) -> str:
    """Return one number's bits in the standard's own Huffman table."""
    size = abs(value)
    if size == 0:
        return "0"
    if size <= 8:
        return "1" * size + "0" + ("1" if value < 0 else "0")
    if -128 <= value <= 127:
        return "1111111110" + f"{value & 0xFF:08b}"
    return "1111111111" + f"{value & 0xFFFF:016b}"


def packed(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[n : n + 8], 2) for n in range(0, len(bits), 8))


def huffman(values: Sequence[int]) -> bytes:
    return packed("".join(map(code_of, values)))


DEFAULT_TABLE = struct.pack("<H", 19999)


def table(*codes: tuple[str, int, int, int]) -> bytes:
    """Pack a table of (prefix bits, bits in all, mode, value); the first bit is stored lowest."""
    lines = b"".join(
        struct.pack("<BBBhI", len(prefix), total, mode, value, int(prefix[::-1], 2))
        for prefix, total, mode, value in codes
    )
    return struct.pack("<H", len(codes)) + lines


def simple(values: Sequence[int] = (1, -2, 300), **sections: bytes) -> bytes:
    """Return a record with one lead of plain samples; `s7=...` adds or replaces a section."""
    bodies = {1: header(), 3: leads((1, len(values), 1)), 6: samples([plain(values)])}
    bodies |= {int(name[1:]): body for name, body in sections.items()}
    return record(bodies)


def beats(
    length_ms: int,
    fiducial: int,
    zones: Sequence[tuple[int, int, int, int]] = (),
    protected: Sequence[tuple[int, int]] = (),
) -> bytes:
    """Pack section 4: (type, first, fiducial, last) of each beat, then the protected stretches."""
    body = struct.pack("<HHH", length_ms, fiducial, len(zones))
    body += b"".join(struct.pack("<HIII", *zone) for zone in zones)
    return body + b"".join(struct.pack("<II", *each) for each in protected)


def measured(
    bounds: Sequence[int] = (100, 200, 250, 340, 600),
    axes: Sequence[int] = (45, -30, 60),
    spikes: Sequence[tuple[int, int]] = (),
    *,
    rr: int = 800,
    rates: tuple[int, int, int, int] = (75, 29999, 410, 1),
) -> bytes:
    """Pack section 7 with one beat type."""
    body = struct.pack("<BBHH", 1, len(spikes), rr, 29999) + struct.pack("<5H3h", *bounds, *axes)
    body += b"".join(struct.pack("<Hh", *spike) for spike in spikes) + bytes(6 * len(spikes))
    return body + struct.pack("<HHHHB", 0, *rates)


def long_term(
    values: Sequence[Sequence[int]], *, width: int = 2, steps: Sequence[int] = (1000, 5000)
) -> bytes:
    """Return the body of section 12 of version 3; `values` has a row for each sample."""
    n_leads = len(values[0])
    body = struct.pack("<IBIB", 500, n_leads, len(values), width).ljust(70, b"\0")
    body += b"".join(struct.pack("<BHB", 1 + n, steps[n], 0) for n in range(n_leads))
    body += b"".join(v.to_bytes(width, "little", signed=True) for row in values for v in row)
    return body + bytes(len(body) % 2)


def version_3(**sections: bytes) -> bytes:
    """Return a record of version 3 with a header; `s12=...` adds a section."""
    return record({1: header()} | {int(name[1:]): body for name, body in sections.items()}, protocol=30)
