"""Wires the stores under test; every one of them must keep the same promises."""

from pathlib import Path

import pytest

from storage.base import ObjectStore
from storage.factory import open_store
from storage.s3 import S3Store
from tests.fixtures.s3 import S3Server

BACKENDS = ["filesystem", "memory", "juicefs", "ministack"]


def s3_store(server: S3Server, **changed) -> S3Store:
    """The store in the bucket of `server`; `changed` replaces single settings."""
    settings = {
        "endpoint": server.endpoint,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
        "secure": False,
        **changed,
    }
    return S3Store(settings.pop("bucket", server.bucket), **settings)


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """One empty store of each kind."""
    if request.param == "filesystem":
        return open_store(f"file:{tmp_path}/store")
    if request.param == "memory":
        return open_store("memory:")
    server = request.getfixturevalue(f"{request.param}_s3")
    return s3_store(server.fresh_bucket())
