"""Zoncare ZQECG XML: named and refused, because it states no unit."""

import base64

import pytest

from hub.ecg.errors import NoLeads, UnitsMissing
from hub.ecg.formats.zoncare import matches
from hub.ecg.read import read_ecg
from hub.errors import Malformed

HEAD = "<zqecg><lead>12</lead><sample>1000</sample><second>10</second>"


def test_no_unit_is_guessed() -> None:
    data = f"{HEAD}<data>{base64.b64encode(bytes(26)).decode()}</data></zqecg>".encode()
    assert matches(data)
    with pytest.raises(UnitsMissing):
        read_ecg({"x": data})


def test_without_samples() -> None:
    with pytest.raises(NoLeads):
        read_ecg({"x": f"{HEAD}</zqecg>".encode()})


def test_cut_off() -> None:
    with pytest.raises(Malformed):
        read_ecg({"x": HEAD.encode()})
