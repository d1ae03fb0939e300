"""Keys of received objects: nothing that a sender writes leads out of its place."""

from datetime import UTC, datetime

import pytest

from hub.catalogue import keys
from hub.kit.uids import BadUid
from storage.base import check_key

DIGEST = "0123456789abcdef" * 4
HOSTILE = [
    "",
    ".",
    "..",
    "../../etc/passwd",
    "1.2/../3",
    "1.2\\3",
    "1.2%2f3",
    "1.2\n3",
    "1.2\0.3",
    "1..2",
    "1.2.",
    ".1.2",
    "1.2.x",
    "１.２",
    "1." * 40 + "1",
]


@pytest.mark.parametrize("uid", HOSTILE)
def test_hostile_uids_are_refused(uid: str) -> None:
    with pytest.raises(BadUid):
        keys.instance_key("DP", uid, "1.2.3", DIGEST)
    with pytest.raises(BadUid):
        keys.instance_key("DP", "1.2.3", uid, DIGEST)


@pytest.mark.parametrize(
    "key",
    [
        keys.instance_key("DP", "1.2.3", "1.2.3.4", DIGEST),
        keys.instance_key("A" * 16, "1." * 31 + "10", "1." * 31 + "10", DIGEST),
        keys.recording_key("DP", DIGEST, 7, DIGEST),
        keys.quarantine_key(datetime(2026, 3, 2, tzinfo=UTC), DIGEST),
        keys.report_key("DP20260302-0001", 12, DIGEST),
    ],
)
def test_every_key_is_one_that_each_store_takes(key: str) -> None:
    check_key(key)


def test_two_contents_never_share_a_key() -> None:
    other = "f" + DIGEST[1:]
    assert keys.instance_key("DP", "1.2", "1.3", DIGEST) != keys.instance_key("DP", "1.2", "1.3", other)
    assert keys.report_key("X", 1, DIGEST) != keys.report_key("X", 1, other)
