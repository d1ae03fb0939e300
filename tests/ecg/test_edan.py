"""Edan Holter recordings are recognised by their content and refused by name."""

import struct

import pytest

from hub.ecg.errors import UnitsMissing
from hub.ecg.formats.edan import matches
from hub.ecg.read import read_ecg


def header(
    began: int = 1_700_000_000, ended: int = 1_700_086_400, channels: int = 12, rate_hz: int = 250
) -> bytes:
    data = bytearray(3672)
    struct.pack_into("<IIB", data, 4, began, ended, channels)
    struct.pack_into("<h", data, 32, rate_hz)
    return bytes(data)


@pytest.mark.parametrize(
    "data", [header(), header(channels=3), b"\3\0\0\0##NEUTRAL HOLTER RECORDING##" + bytes(5000)]
)
def test_refused_by_name(data: bytes) -> None:
    with pytest.raises(UnitsMissing) as caught:
        read_ecg({"patient.hea": data})
    assert caught.value.facts == {"format": "Edan Holter"}


@pytest.mark.parametrize(
    "data",
    [
        b"", bytes(3672), header()[:-1], header(channels=0), header(channels=13), header(rate_hz=251),
        header(began=1_700_086_401), header(ended=1_800_000_000),
    ],
)  # fmt: skip
def test_other_bytes_are_none(data: bytes) -> None:
    assert not matches(data)
