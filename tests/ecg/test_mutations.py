"""Damaged recordings of every format: always a reading or a named refusal, and nothing is fetched."""

import sys
from pathlib import Path

import pytest

from hub.ecg.read import read_ecg
from hub.errors import HubError
from tests.ecg.mutations import NOWHERE, mutated, samples

FILES = 340
REFUSED = {"contec", "mindray", "edan", "zoncare"}
"""Formats that are recognised and refused by name: nothing states their calibration."""


def test_the_whole_samples_are_read() -> None:
    for key, each in samples().items():
        for files in each if key not in REFUSED else ():
            assert read_ecg(files).format == key


def test_damaged_files(opened: list[str]) -> None:
    for seed in range(FILES):
        key, files = mutated(seed)
        try:
            read_ecg(files)
        except HubError:
            continue
        except Exception as error:
            pytest.fail(f"seed {seed}, made from {key}: {type(error).__name__}: {error}")
    assert opened == []


def test_the_watch_notices(opened: list[str]) -> None:
    with pytest.raises(FileNotFoundError):
        Path(f"/{NOWHERE}.dtd").read_bytes()
    assert opened == [f"/{NOWHERE}.dtd"]


@pytest.fixture(scope="module")
def watched() -> list[str]:
    """Everything that a hostile file could make a reader open, in this process, from now on."""
    seen: list[str] = []

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.connect" or (event == "open" and NOWHERE in str(arguments[0])):
            seen.append(str(arguments[1] if event == "socket.connect" else arguments[0]))

    sys.addaudithook(note)
    return seen


@pytest.fixture
def opened(watched: list[str]) -> list[str]:
    watched.clear()
    return watched
