"""Objects in a bucket of any S3 server, through the `minio` client.

A stream is read once into a spool (memory up to 8 MiB, then a temporary file), a file is
hashed where it lies; then it is sent with its SHA-256 as metadata
``x-amz-meta-sha256``: one request up to 8 MiB, parts of 8 MiB beyond. The server makes
an object visible only when it is complete. After each put the object is asked for again
and its size compared. Requests are tried again, with growing pauses, on lost connections
and on 500, 502, 503, 504.
"""

import hashlib
import io
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast
from xml.etree.ElementTree import ParseError

import certifi
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

from storage.base import (
    Source,
    Stat,
    Stored,
    check_key,
    check_prefix,
    check_range,
    chunks,
    open_source,
    pieces,
    probe,
)
from storage.errors import (
    BucketMissing,
    InvalidKey,
    ObjectNotFound,
    SourceChanged,
    StorageError,
    StoreCorrupt,
    StoreDenied,
    StoreFull,
    StoreUnreachable,
)
from storage.staged import Piece, Staged

PART_BYTES: Final = 8 << 20  # S3 wants 5 MiB at least; 10,000 parts of 8 MiB reach 78 GiB
PAUSE_SECONDS: Final = 0.2
SHA256_METADATA: Final = "sha256"

# S3 API reference, "Error responses"; those that begin with XMinio are MinIO's own
_CAUSES: Final[tuple[tuple[frozenset[str], type[StorageError], str], ...]] = (
    (
        frozenset({"RequestTimeTooSkewed"}),
        StoreDenied,
        "the clocks of this machine and of {server} differ; set them right",
    ),
    (
        frozenset(
            {
                "AccessDenied",
                "AccountProblem",
                "AllAccessDisabled",
                "AuthorizationHeaderMalformed",
                "ExpiredToken",
                "InvalidAccessKeyId",
                "InvalidToken",
                "SignatureDoesNotMatch",
            }
        ),
        StoreDenied,
        "{server} refuses the access key for its bucket {bucket!r}; check key, secret and rights",
    ),
    (
        frozenset({"NoSuchBucket"}),
        BucketMissing,
        "there is no bucket {bucket!r} on {server}; make it, or correct its name",
    ),
    (
        frozenset(
            {"InsufficientCapacity", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"}
        ),
        StoreFull,
        "{server} has no space left; make room there",
    ),
    (
        frozenset(
            {
                "KeyTooLongError",
                "XMinioInvalidObjectName",
                "XMinioObjectExistsAsDirectory",
                "XMinioParentIsObject",
            }
        ),
        InvalidKey,
        "the key is refused by {server}, or lies beneath or above another object",
    ),
    (
        frozenset({"InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown"}),
        StoreUnreachable,
        "{server} cannot serve just now",
    ),
)
_BUCKET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_INSUFFICIENT_STORAGE: Final = 507
_SERVER_FAULT: Final = 500


class S3Store:
    """An `ObjectStore` in one bucket, which must exist.

    Parameters
    ----------
    bucket : str
    endpoint : str
        ``host`` or ``host:port``, without scheme.
    access_key, secret_key : str
    secure : bool
        Speak TLS. Certificates are checked against certifi's list, or against the file
        named by the environment variable SSL_CERT_FILE.
    region : str
        Empty asks the server.
    attempts : int
        How often one request is sent at most.
    timeout_s : float
        Seconds without a byte after which a connection counts as lost.

    Raises
    ------
    ValueError
        One of these cannot be right. The server is not called.
    """

    def __init__(
        self,
        bucket: str,
        *,
        endpoint: str,
        access_key: str,
        secret_key: str,
        secure: bool = True,
        region: str = "",
        attempts: int = 4,
        timeout_s: float = 30.0,
    ) -> None:
        if not endpoint or "//" in endpoint:
            raise ValueError("an S3 store needs the endpoint of its server as host:port, without scheme")
        if not access_key or not secret_key:
            raise ValueError("an S3 store needs an access key and a secret key")
        if not _BUCKET_NAME.fullmatch(bucket):
            raise ValueError(
                "a bucket name has 3 to 63 characters of a-z 0-9 . - and begins and ends with a-z 0-9"
            )
        self._bucket = bucket
        self._server = f"the S3 server {endpoint}"
        self._attempts = attempts
        retries = urllib3.Retry(
            total=attempts - 1,
            backoff_factor=PAUSE_SECONDS,
            status_forcelist=[500, 502, 503, 504],
            raise_on_status=False,  # the last answer names its cause, so we want to read it
        )
        pool = urllib3.PoolManager(
            maxsize=32,
            timeout=urllib3.Timeout(connect=min(5.0, timeout_s), read=timeout_s),
            retries=retries,
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        self._client = Minio(
            endpoint,
            access_key=access_key,
            secret_key=secret_key,
            secure=secure,
            region=region or None,
            http_client=pool,
        )

    def put(self, key: str, source: Source) -> Stored:
        """Spool, send and compare; see `ObjectStore.put`.

        Raises
        ------
        SourceChanged
            `source` is a file, and it changed between hashing and sending.
        StoreCorrupt
            The server keeps another number of bytes than it was sent, or nothing.
        """
        check_key(key)
        if isinstance(source, Path):
            return self._put_file(key, source)
        with self.stage() as staged:
            for piece in pieces(source):
                staged.write(piece)
            return staged.keep(key)

    def stage(self) -> Staged:
        """Begin an object in memory, from 8 MiB on in a temporary file; see `ObjectStore.stage`."""
        return _Spool(self)

    def send(self, key: str, body: IO[bytes], size: int, sha256: str) -> None:
        """Send `body` from where it stands, and look at what the server then has."""
        with self._translated(key):
            result = self._client.put_object(
                self._bucket,
                key,
                cast("BinaryIO", _CheckedReader(body, size, sha256)),
                size,
                metadata={SHA256_METADATA: sha256},
                part_size=PART_BYTES,
                num_parallel_uploads=1,
            )
        if not result.etag:  # an error inside a 200 answer (S3 API, CompleteMultipartUpload)
            raise StoreUnreachable(f"{self._server} did not finish the object; try again")
        self._verify(key, size, sha256)

    def _put_file(self, key: str, path: Path) -> Stored:
        """Send a file from where it lies; a copy of it might not fit beside it."""
        digest = hashlib.sha256()
        size = 0
        with open_source(path) as stream:
            for chunk in chunks(stream):
                digest.update(chunk)
                size += len(chunk)
            stream.seek(0)
            self.send(key, stream, size, digest.hexdigest())
        return Stored(key, size, digest.hexdigest())

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        check_key(key)
        return self._read(key, lambda: self._client.get_object(self._bucket, key))

    def open(self, key: str) -> BinaryIO:
        """Open the object as a stream from the server; cannot seek."""
        check_key(key)
        with self._translated(key):
            response = self._client.get_object(self._bucket, key)
        return io.BufferedReader(_Body(response, lambda: self._translated(key)), 1 << 16)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return part of the object; see `ObjectStore.get_range`."""
        check_key(key)
        check_range(start, length)
        if length == 0:
            self.stat(key)  # an absent object is an error here too
            return b""
        try:
            return self._read(
                key, lambda: self._client.get_object(self._bucket, key, offset=start, length=length)
            )
        except StorageError as error:
            if isinstance(error.__cause__, S3Error) and error.__cause__.code == "InvalidRange":
                return b""  # starts beyond the end
            raise

    def stat(self, key: str) -> Stat:
        """Return size and time of the object."""
        check_key(key)
        found = self._head(key)
        return Stat(key, found.size, found.last_modified)

    def delete(self, key: str) -> None:
        """Remove the object; no error when it is absent."""
        check_key(key)
        try:
            with self._translated(key):
                self._client.remove_object(self._bucket, key)
        except ObjectNotFound:
            return

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Yield the objects whose key starts with `prefix`, a page of the server at a time."""
        check_prefix(prefix)
        return self._pages(prefix)

    def check(self) -> None:
        """Write, read and remove a small object."""
        probe(self)

    def _pages(self, prefix: str) -> Iterator[Stat]:
        with self._translated():
            for found in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                if not found.is_dir:
                    yield Stat(found.object_name, found.size, found.last_modified)

    def _head(self, key: str) -> Any:
        try:
            with self._translated(key):
                return self._client.stat_object(self._bucket, key)
        except ObjectNotFound:
            # the answer to HEAD has no body, so a missing bucket looks the same
            with self._translated():
                if self._client.bucket_exists(self._bucket):
                    raise
            raise BucketMissing(
                f"there is no bucket {self._bucket!r} on {self._server}; make it, or correct its name"
            ) from None

    def _verify(self, key: str, size: int, sha256: str) -> None:
        """Ask the server what it has; a wrong size counts only when it stays so.

        JuiceFS shows an object's new size and its old metadata for a moment while another
        put of the same key is under way.
        """
        for pause in (PAUSE_SECONDS, PAUSE_SECONDS, 0.0):
            kept, recorded = self._kept(key, sha256)
            if recorded != sha256 or kept == size:  # another digest: a later put has replaced ours
                return
            time.sleep(pause)
        raise StoreCorrupt(f"{self._server} keeps {kept} bytes of {key!r}, it was sent {size}")

    def _kept(self, key: str, sha256: str) -> tuple[int, str]:
        """Return the size the server has and the digest it recorded, ours when it records none."""
        try:
            kept = self._head(key)
        except ObjectNotFound as error:
            raise StoreCorrupt(
                f"{self._server} confirmed {key!r} and does not have it; do not use it"
            ) from error
        return kept.size, kept.metadata.get(f"x-amz-meta-{SHA256_METADATA}", sha256)

    def _read(self, key: str, request: Callable[[], Any]) -> bytes:
        """Send `request` and read its whole body, again when the body breaks off."""
        attempt = 1
        while True:
            try:
                with self._translated(key), _released(request()) as response:
                    return cast("bytes", response.read())
            except StoreUnreachable as error:
                # no answer at all was already tried `attempts` times by the connection pool
                if attempt == self._attempts or isinstance(error.__cause__, MaxRetryError):
                    raise
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            attempt += 1

    @contextmanager
    def _translated(self, key: str | None = None) -> Iterator[None]:
        """Turn what the client raises into the storage error that names its cause."""
        try:
            yield
        except S3Error as error:
            raise self._cause(error, key) from error
        except (InvalidResponseError, ServerError, ParseError) as error:
            raise self._not_s3(error) from error
        except HTTPError as error:
            raise self._unreachable(error) from error

    def _cause(self, error: S3Error, key: str | None) -> StorageError:
        status = error.response.status or 0
        if error.code == "NoSuchKey" and key is not None:
            return ObjectNotFound(f"there is no object {key!r}")
        for codes, cause, text in _CAUSES:
            if error.code in codes:
                return cause(f"{text.format(server=self._server, bucket=self._bucket)} ({error.code})")
        if status == _INSUFFICIENT_STORAGE:
            return StoreFull(f"{self._server} has no space left; make room there ({error.code})")
        return StorageError(
            f"{self._server} failed the request ({error.code})", retriable=status >= _SERVER_FAULT
        )

    def _unreachable(self, error: HTTPError) -> StorageError:
        reason = error.reason if isinstance(error, MaxRetryError) else error
        if isinstance(reason, SSLError):
            return StoreUnreachable(
                f"no trusted TLS connection to {self._server}; "
                "check its certificate, SSL_CERT_FILE and whether it speaks TLS at all",
                retriable=False,
            )
        return StoreUnreachable(
            f"{self._server} does not answer; check that it runs and the network ({type(reason).__name__})"
        )

    def _not_s3(self, error: Exception) -> StorageError:
        status: int = getattr(error, "status_code", 0) or getattr(error, "_code", 0)
        if status == _INSUFFICIENT_STORAGE:
            return StoreFull(f"{self._server} has no space left; make room there")
        return StoreUnreachable(
            f"{self._server} does not answer as an S3 server does (HTTP {status}); check the address",
            retriable=status >= _SERVER_FAULT,
        )


class _CheckedReader:
    """Reads for the client, and refuses to give the last bytes when the whole is not what was hashed.

    The client sends nothing visible before it has the last bytes, so a file that changed
    between hashing and sending never becomes an object.
    """

    def __init__(self, body: IO[bytes], size: int, sha256: str) -> None:
        self._body = body
        self._left = size
        self._sha256 = sha256
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        chunk = self._body.read(size)
        self._digest.update(chunk)
        self._left -= len(chunk)
        ended_early = not chunk and size > 0 and self._left > 0
        if ended_early or (self._left == 0 and self._digest.hexdigest() != self._sha256):
            raise SourceChanged(
                "the file changed while it was being stored; nothing was kept, store it again"
            )
        return chunk


class _Body(io.RawIOBase):
    """The body of an answer as a raw stream that raises storage errors."""

    def __init__(self, response: Any, translated: Callable[[], Any]) -> None:
        self._response = response
        self._translated = translated

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._translated():
            chunk = self._response.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        if not self.closed:
            _release(self._response)
        super().close()


class _Spool(Staged):
    """Bytes that wait here, because the server wants to know their number first."""

    def __init__(self, store: S3Store) -> None:
        super().__init__()
        self._store = store
        self._spool = tempfile.SpooledTemporaryFile(max_size=PART_BYTES)  # noqa: SIM115 - closed by _release

    def _append(self, pieces: Sequence[Piece], _size: int) -> None:
        try:
            for piece in pieces:
                self._spool.write(piece)
        except OSError as error:
            raise StoreFull(
                f"no space left in {tempfile.gettempdir()} to receive the object; "
                f"make room there or set TMPDIR ({error.strerror})"
            ) from error

    def _readable(self) -> BinaryIO:
        return cast("BinaryIO", self._spool)

    def _name(self, key: str, _tells_content: bool) -> None:
        self._spool.seek(0)
        self._store.send(key, self._spool, self.size, self.sha256)

    def _release(self) -> None:
        self._spool.close()


@contextmanager
def _released(response: Any) -> Iterator[Any]:
    try:
        yield response
    finally:
        _release(response)


def _release(response: Any) -> None:
    response.close()
    response.release_conn()
