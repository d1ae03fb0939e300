"""Mindray BeneHeart R12 recordings are recognised by their first bytes and refused by name."""

import pytest

from hub.ecg.errors import UnitsMissing
from hub.ecg.read import read_ecg


def test_refused_by_name() -> None:
    with pytest.raises(UnitsMissing) as caught:
        read_ecg({"12lead_data_v1": bytes.fromhex("ebec123420") + bytes(50_000)})
    assert caught.value.facts == {"format": "Mindray BeneHeart R12"}
