"""Row ids: unique, sorted by time, unguessable, recognisable."""

import threading
import time

import pytest

from hub.kit import ids
from hub.kit.ids import ID_LENGTH, is_id, new_id


def test_ids_made_later_sort_later(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 1.0, 1_700_000_000.0, 1_700_000_000.001, 2_000_000_000.0, 281_474_976_710.0])
    monkeypatch.setattr(time, "time", lambda: next(moments))
    made = [new_id() for _ in range(6)]
    assert made == sorted(made)
    assert len(set(made)) == 6


def test_the_time_can_be_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the ULID layout, 48 bits of milliseconds before 80 random bits, in base 32."""
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.123)
    value = 0
    for character in new_id():
        value = value * 32 + ids._ALPHABET.index(character)
    assert value >> 80 == 1_700_000_000_123


def test_many_at_once_are_different() -> None:
    made: list[str] = []

    def work() -> None:
        made.extend([new_id() for _ in range(2000)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8000
    assert all(is_id(one) for one in made)


@pytest.mark.parametrize(
    "text",
    ["", "0" * (ID_LENGTH - 1), "0" * (ID_LENGTH + 1), "I" * ID_LENGTH, "../" + "0" * 23, "i" * ID_LENGTH],
)
def test_other_texts_are_no_ids(text: str) -> None:
    assert not is_id(text)
