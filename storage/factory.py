"""From an address in the settings to an object store."""

from pathlib import Path
from urllib.parse import urlsplit

from storage.base import ObjectStore


def open_store(
    url: str,
    *,
    endpoint: str = "",
    access_key: str = "",
    secret_key: str = "",
    secure: bool = True,
    region: str = "",
) -> ObjectStore:
    """Return the store at `url`.

    Parameters
    ----------
    url : str
        ``file:/absolute/folder``, ``s3://bucket`` or ``memory:``.
    endpoint : str
        S3 only: ``host`` or ``host:port`` of the server, without scheme.
    access_key, secret_key : str
        S3 only.
    secure : bool
        S3 only: speak TLS.
    region : str
        S3 only: empty asks the server.

    Raises
    ------
    ValueError
        The address, or what goes with it, cannot be used; says why.
    StorageError
        The folder of a file store cannot be made. S3 is not called: use `ObjectStore.check`.
    """
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise ValueError("an object store address has no '?' or '#' part")
    if parts.scheme == "memory" and not parts.netloc and not parts.path:
        from storage.memory import MemoryStore

        return MemoryStore()
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        from storage.filesystem import FileSystemStore

        return FileSystemStore(Path(parts.path))
    if parts.scheme == "s3" and parts.netloc and parts.path in ("", "/"):
        from storage.s3 import S3Store

        return S3Store(
            parts.netloc,
            endpoint=endpoint,
            access_key=access_key,
            secret_key=secret_key,
            secure=secure,
            region=region,
        )
    raise ValueError("an object store address is file:/absolute/folder, s3://bucket or memory:")
