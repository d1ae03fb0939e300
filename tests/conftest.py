"""Wiring only: fixtures live in `tests/fixtures`, one file per subject."""

import os

# a text that no catalogue holds fails the test, also in processes that tests start
os.environ.setdefault("HUB_STRICT_TEXTS", "1")

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.costs",
    "tests.fixtures.database",
    "tests.fixtures.s3",
    "tests.fixtures.world",
]


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: many tests wait for another program or for a clock."""
    return (os.cpu_count() or 1) + 1
