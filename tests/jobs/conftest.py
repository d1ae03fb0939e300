from collections.abc import Iterator

import pytest

from hub.db.session import Database
from tests.jobs import handlers


@pytest.fixture
def jobs_database(database: Database) -> Iterator[Database]:
    """A fresh database with the tables of the test handlers, which alone are registered."""
    handlers.metadata.create_all(database.engine)
    with handlers.registered():
        yield database
