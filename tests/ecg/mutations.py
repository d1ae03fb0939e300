"""Damaged and hostile recordings of every format, each made from a number that is its name.

``mutated(seed)`` gives the same files for the same seed, so that a failure can be looked at again.
"""

import base64
import random
import re
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from hub.ecg.formats.table import formats
from tests.ecg.records import DATA, load, wfdb_record

Files = Mapping[str, bytes]

NOWHERE = "hub-mutation-entity"
"""Part of every address that an external entity names; nothing may ever open it."""

_HEAD = 600
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_WORDS = (
    b"0",
    b"-1",
    b"1e308",
    b"-1e-320",
    b"nan",
    b"inf",
    b"9" * 30,
    b"9" * 400,
    b"65535",
    b"4294967295",
    b"",
)
_NUMBER = re.compile(rb"\d+(?:\.\d+)?")
_ELEMENT = re.compile(rb"<[A-Za-z][^<>]{0,200}>")


@cache
def samples() -> dict[str, tuple[Files, ...]]:
    """Return whole recordings by format; every format of the table and WFDB must be among them."""
    stored = np.random.default_rng(3).integers(-2000, 2000, (400, 4))
    found = {
        "wfdb": (wfdb_record(stored), load("binformats.hea", *(f"binformats.d{n}" for n in range(10)))),
        "dicom": one("ecgtoolkit_12lead.dcm", "ludb_88_12lead_gb18030.dcm"),
        "scp": (*one("ecgtoolkit_Example.scp"), *_scp()),
        "aecg": one("hl7_aecg.xml"),
        "philips": one("philips_1_03.xml", "philips_1_04_utf16.xml"),
    } | _made(stored)
    assert set(found) == {"wfdb", *(each.key for each in formats())}
    return found


def one(*names: str) -> tuple[Files, ...]:
    return tuple({"f": (DATA / name).read_bytes()} for name in names)


def _scp() -> tuple[Files, ...]:
    from tests.ecg import scp_files as scp

    protected = scp.beats(40, 5, [(0, 3, 9, 14)], [(5, 12)])
    packed = scp.record(
        {
            1: scp.header(scp.tag(0, b"A\0"), scp.tag(4, b"\x30\0\1")),
            2: scp.DEFAULT_TABLE,
            3: scp.leads((1, 60, 1), (1, 60, 2), flags=0x05),
            4: protected,
            5: scp.samples([scp.huffman(range(20)), scp.huffman(range(20))]),
            6: scp.samples([scp.huffman([1] * 22)] * 2, interval_us=8000, difference=1, flag=1),
            7: scp.measured(),
        }
    )
    return {"f": packed}, {"f": scp.version_3(s12=scp.long_term([[1, 2], [3, 4]]))}


def _made(stored: np.ndarray) -> dict[str, tuple[Files, ...]]:
    """Build the formats that no small free file exists of, with the writers of their own tests."""
    from tests.ecg import test_cardiosoft as cardiosoft
    from tests.ecg import test_contec as contec
    from tests.ecg import test_edan as edan
    from tests.ecg import test_ishne as ishne
    from tests.ecg import test_mortara as mortara
    from tests.ecg import test_muse as muse
    from tests.ecg import test_schiller as schiller
    from tests.ecg import test_zoncare as zoncare
    from tests.ecg.edf_files import Channel, EdfFile
    from tests.ecg.mfer_files import mfer

    channels = [Channel(name, stored[:, n].reshape(4, 100)) for n, name in enumerate(("I", "II", "V1", "V2"))]
    edf = [
        EdfFile(channels),
        EdfFile(channels, bdf=True),
        EdfFile(channels, reserved="EDF+C", tals=[b"+%d\x14\x14\0" % n for n in range(4)]),
    ]
    raw = base64.b64encode(stored.astype("<i2").tobytes()).decode()
    found = {
        "edf": [each.build() for each in edf],
        "mfer": [mfer(stored), mfer(stored, order=">", block=100)],
        "muse": [muse.muse(muse.waveform())],
        "cardiosoft": [cardiosoft.cardiosoft(cardiosoft.strip())],
        "mortara": [mortara.eli(mortara.rhythm(), mortara.cycle())],
        "schiller": [schiller.sema(schiller.wave())],
        "zoncare": [f"{zoncare.HEAD}<data>{raw}</data></zqecg>".encode()],
        "ishne": [ishne.ishne()],
        "contec": [contec.FILE],
        "mindray": [bytes.fromhex("ebec123420") + bytes(2000)],
        "edan": [edan.header() + bytes(2000)],
    }
    return {key: tuple({"f": data} for data in each) for key, each in found.items()}


def mutated(seed: int) -> tuple[str, dict[str, bytes]]:
    """Return a format and a recording of it with one to three things wrong."""
    chance = random.Random(seed)
    key = sorted(samples())[seed % len(samples())]
    files = dict(chance.choice(samples()[key]))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        name = chance.choice(sorted(files))
        kinds = (
            [*_BYTES, *_BYTES, *_TEXT]
            if b"\0" not in files[name][:200]
            else [*_BYTES, *_BYTES, *_BYTES, *_TEXT]
        )
        files[name] = chance.choice(kinds)(files[name] or b"\0", chance)
    return key, files


def _place(data: bytes, chance: random.Random) -> int:
    """Return a position, every other time near the beginning where headers are."""
    return chance.randrange(min(len(data), _HEAD) if chance.random() < 0.5 else len(data))


def flip_bits(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        changed[_place(data, chance)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def truncate(data: bytes, chance: random.Random) -> bytes:
    return data[: _place(data, chance)]


def extreme_field(data: bytes, chance: random.Random) -> bytes:
    """Put a number at the end of its range where a length or a count may stand."""
    size = chance.choice((1, 2, 4, 4, 8))
    value = chance.choice(_EXTREMES) & (256**size - 1)
    at = _place(data, chance)
    return data[:at] + value.to_bytes(size, chance.choice(("little", "big"))) + data[at + size :]


def duplicate_chunk(data: bytes, chance: random.Random) -> bytes:
    at, size = _place(data, chance), chance.choice((1, 4, 16, 200, 5000))
    return data[: at + size] + data[at : at + size] * chance.choice((1, 1, 30)) + data[at + size :]


def delete_chunk(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + data[at + chance.choice((1, 2, 4, 16, 200, 5000)) :]


def random_chunk(data: bytes, chance: random.Random) -> bytes:
    at, size = _place(data, chance), chance.choice((2, 8, 100))
    return data[:at] + chance.randbytes(size) + data[at + size * chance.randrange(2) :]


def splice(data: bytes, chance: random.Random) -> bytes:
    """Put the end of another recording, perhaps of another format, behind the beginning of this one."""
    other = chance.choice(samples()[chance.choice(sorted(samples()))])
    tail = other[chance.choice(sorted(other))]
    return data[: _place(data, chance)] + tail[chance.randrange(len(tail)) :]


def odd_number(data: bytes, chance: random.Random) -> bytes:
    """Replace a number in text."""
    found = list(_NUMBER.finditer(data, 0, 20_000))
    if not found:
        return flip_bits(data, chance)
    span = chance.choice(found).span()
    return data[: span[0]] + chance.choice(_WORDS) + data[span[1] :]


def entities(data: bytes, chance: random.Random) -> bytes:
    """Declare entities that grow without end or that name something outside, and use them."""
    lines = ['<!ENTITY a0 "aaaaaaaaaa">']
    lines += [f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)]
    lines += [f'<!ENTITY x SYSTEM "file:///{NOWHERE}">', f'<!ENTITY y SYSTEM "http://127.0.0.1:9/{NOWHERE}">']
    lines += [f'<!ENTITY % p SYSTEM "file:///{NOWHERE}.dtd"> %p;'] * chance.randrange(2)
    kind = f'<!DOCTYPE r SYSTEM "file:///{NOWHERE}.dtd" [{"".join(lines)}]>'.encode()
    use = chance.choice((b"&a11;", b"&x;", b"&y;", b"&a1;", b"&undeclared;"))
    tag = _ELEMENT.search(data)
    if tag is None:
        return kind + data
    body = re.sub(rb"<!DOCTYPE[^>]*>", b"", data[tag.start() :], count=1)
    places = list(_ELEMENT.finditer(body))
    at = chance.choice(places).end()
    return data[: tag.start()] + kind + body[:at] + use + body[at:]


def deep_nesting(data: bytes, chance: random.Random) -> bytes:
    found = list(_ELEMENT.finditer(data, 0, 20_000))
    at = chance.choice(found).end() if found else 0
    depth = chance.choice((300, 5000, 100_000))
    return data[:at] + b"<a>" * depth + b"</a>" * (depth * chance.randrange(2)) + data[at:]


def many_elements(data: bytes, chance: random.Random) -> bytes:
    """Repeat one element with all that follows up to its end, or its start alone."""
    found = list(_ELEMENT.finditer(data))
    if not found:
        return duplicate_chunk(data, chance)
    tag = chance.choice(found)
    name = re.split(rb"[\s/>]", tag[0][1:])[0]
    end = data.find(b"</" + name + b">", tag.end())
    whole = data[tag.start() : end + len(name) + 3] if end > 0 else tag[0]
    times = chance.choice((0, 1, 100)) if len(whole) < 2000 else chance.choice((0, 1))
    return data[: tag.start()] + whole * times + data[tag.start() + len(whole) * chance.randrange(2) :]


def other_encoding(data: bytes, chance: random.Random) -> bytes:
    if chance.randrange(2):
        return data.decode("latin-1").encode(chance.choice(("utf-16", "utf-16-be", "utf-8", "utf-32")))
    return re.sub(
        rb'encoding="[^"]*"', b'encoding="' + chance.choice((b"utf-7", b"x", b"UTF-16")) + b'"', data
    )


Mutation = Callable[[bytes, random.Random], bytes]
_BYTES: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits,
    truncate,
    extreme_field,
    extreme_field,
    duplicate_chunk,
    delete_chunk,
    random_chunk,
    splice,
)
_TEXT: tuple[Mutation, ...] = (
    odd_number,
    odd_number,
    odd_number,
    entities,
    deep_nesting,
    many_elements,
    other_encoding,
)
