"""Wiring only: fixtures live in `tests/fixtures`, one file per subject."""

pytest_plugins = ["tests.fixtures.database", "tests.fixtures.world"]
