import pytest

from hub.errors import Malformed
from hub.kit.uids import new_uid, parse_uid


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ("1.2.840.10008.1.1", "1.2.840.10008.1.1"),
        ("1.2.3\0", "1.2.3"),
        ("1.2.003 ", "1.2.003"),
        ("9" * 64, "9" * 64),
    ],
)
def test_uids_are_taken_as_sent_without_padding(text: str, uid: str) -> None:
    assert parse_uid(text) == uid


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".1", "1..2", "1.2/../3", "1.2 3", "1.2.a", "９.1", "1" * 65, "1.2\n.3"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_uid(text)


def test_new_uids_are_valid_and_differ() -> None:
    """Oracle: PS3.5 B.2, root 2.25 and an integer below 2**128."""
    first, second = new_uid(), new_uid()
    assert parse_uid(first) == first != second
    assert first.startswith("2.25.")
    assert int(first.removeprefix("2.25.")) < 1 << 128
