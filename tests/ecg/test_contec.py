"""Contec recordings are recognised by their content and refused by name."""

import os
from pathlib import Path

import pytest

from hub.ecg.errors import UnitsMissing, UnknownFormat
from hub.ecg.formats.contec import matches
from hub.ecg.read import read_ecg

HEADER = b"0000011\0" + bytes(2) + b"2020-11-12 18:09:05\0" + bytes(2) + b"NAME\0\0\0\0" + b"\xff\0\0"
FILE = HEADER + bytes(16 * 100) + bytes(37)


def test_refused_by_name() -> None:
    with pytest.raises(UnitsMissing) as caught:
        read_ecg({"x": FILE})
    assert caught.value.facts == {"format": "Contec ECG90A"}


@pytest.mark.parametrize(
    "data", [FILE[:-1], FILE[:80], FILE.replace(b"2020-11", b"2020 11"), b"\1" + FILE[1:], b"", HEADER]
)
def test_other_bytes_are_none(data: bytes) -> None:
    assert not matches(data)
    with pytest.raises(UnknownFormat):
        read_ecg({"x": data})


@pytest.mark.skipif(not os.environ.get("HUB_TEST_DATA"), reason="HUB_TEST_DATA is not set")
def test_a_real_file() -> None:
    data = (Path(os.environ["HUB_TEST_DATA"]) / "ecg/contec/contec_0000050.ECG").read_bytes()
    with pytest.raises(UnitsMissing):
        read_ecg({"0000050.ECG": data})
