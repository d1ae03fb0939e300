"""Addresses of object stores."""

from pathlib import Path

import pytest

from storage.factory import open_store
from storage.filesystem import FileSystemStore
from storage.memory import MemoryStore
from storage.s3 import S3Store

S3 = {"endpoint": "localhost:9000", "access_key": "a", "secret_key": "b"}


def test_file(tmp_path: Path) -> None:
    store = open_store(f"file:{tmp_path}/a store")
    assert isinstance(store, FileSystemStore)
    assert (tmp_path / "a store").is_dir()
    assert isinstance(open_store(f"file://{tmp_path}/other"), FileSystemStore)


def test_memory() -> None:
    assert isinstance(open_store("memory:"), MemoryStore)


def test_s3_is_not_called_yet() -> None:
    assert isinstance(open_store("s3://hub-objects", **S3), S3Store)
    assert isinstance(open_store("s3://hub-objects/", region="cn-north-1", **S3), S3Store)


@pytest.mark.parametrize(
    "url",
    ["", "x", "/data", "file:", "file:data", "file:./data", "file://host/data", "s3:", "s3://", "s3://b/folder",
     "s3://b?region=x", "memory:x", "memory://x", "http://localhost", "file:/a#b", "S3X://b", "s3://u:p@b"],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"object store|bucket name"):
        open_store(url, **S3)


def test_loading_the_factory_loads_no_client() -> None:
    """The minio client takes long to load; file stores must not pay for it."""
    import subprocess
    import sys

    program = "import sys, storage.factory; sys.exit('minio' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root).returncode == 0
