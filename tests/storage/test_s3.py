"""The S3 store when things go wrong: each cause has its own clear error, nothing is half-written.

Peers: a real JuiceFS gateway (it checks signatures) and MiniStack, looked at behind the store's
back with the plain client; a relay cuts the wire to them at a chosen byte. What neither
can be brought to do (a full server, a lying one) is played by a scripted server with the
answers of the S3 API reference and of MinIO.
"""

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from storage.base import ObjectStore
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
from storage.s3 import S3Store
from tests.fixtures.ports import free_port
from tests.fixtures.s3 import S3Server, run_juicefs
from tests.storage.conftest import s3_store
from tests.storage.faults import Answer, s3_error, scripted_server, wire_to
from tests.storage.sources import Endless

MIB = 1 << 20


def every_call(store: ObjectStore) -> dict[str, Callable[[], object]]:
    return {
        "put": lambda: store.put("k", b"x"),
        "get": lambda: store.get("k"),
        "open": lambda: store.open("k"),
        "get_range": lambda: store.get_range("k", 0, 1),
        "stat": lambda: store.stat("k"),
        "delete": lambda: store.delete("k"),
        "list": lambda: list(store.list()),
        "check": store.check,
    }


CALLS = ["put", "get", "open", "get_range", "stat", "delete", "list", "check"]


@pytest.fixture
def server(juicefs_s3: S3Server) -> S3Server:
    return juicefs_s3.fresh_bucket()


def keys(server: S3Server) -> list[str | None]:
    return [found.object_name for found in server.client.list_objects(server.bucket, recursive=True)]


class TestOneErrorPerCause:
    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("wrong", [{"secret_key": "wrong-secret"}, {"access_key": "nobody"}])
    def test_wrong_credentials(self, server: S3Server, call: str, wrong: dict[str, str]) -> None:
        store = s3_store(server, **wrong)
        with pytest.raises(StoreDenied, match="check key, secret and rights") as caught:
            every_call(store)[call]()
        assert caught.value.retriable is False
        assert server.secret_key not in str(caught.value)
        assert keys(server) == []

    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("peer", ["juicefs_s3", "ministack_s3"])
    @pytest.mark.parametrize("region", ["", "us-east-1"])  # when asked for, the region already tells
    def test_missing_bucket(self, request: pytest.FixtureRequest, peer: str, region: str, call: str) -> None:
        store = s3_store(request.getfixturevalue(peer), bucket="no-such-bucket", region=region)
        with pytest.raises(BucketMissing, match="no bucket 'no-such-bucket'") as caught:
            every_call(store)[call]()
        assert caught.value.retriable is False

    @pytest.mark.parametrize("call", CALLS)
    def test_nobody_listens(self, server: S3Server, call: str) -> None:
        store = s3_store(replace(server, endpoint=f"127.0.0.1:{free_port()}"), attempts=2)
        with pytest.raises(StoreUnreachable, match="does not answer") as caught:
            every_call(store)[call]()
        assert caught.value.retriable is True

    def test_server_without_tls(self, server: S3Server) -> None:
        with pytest.raises(StoreUnreachable, match="TLS") as caught:
            s3_store(server, secure=True, attempts=1).check()
        assert caught.value.retriable is False

    @pytest.mark.parametrize(
        ("status", "code", "cause", "retriable"),
        [
            (507, "XMinioStorageFull", StoreFull, True),
            (507, "SomethingNew", StoreFull, True),
            (403, "QuotaExceeded", StoreFull, True),
            (403, "RequestTimeTooSkewed", StoreDenied, False),
            (400, "XMinioParentIsObject", InvalidKey, False),
            (503, "SlowDown", StoreUnreachable, True),
            (500, "InternalError", StoreUnreachable, True),
            (501, "NotImplemented", StorageError, True),
            (400, "InvalidArgument", StorageError, False),
        ],
    )
    def test_scripted_answers(
        self, status: int, code: str, cause: type[StorageError], retriable: bool
    ) -> None:
        """Codes: S3 API reference, Error responses; the XMinio ones are MinIO's."""
        with scripted_server(lambda *_: s3_error(status, code)) as (endpoint, _):
            store = S3Store("bucket", endpoint=endpoint, access_key="a", secret_key="b", secure=False,
                            region="us-east-1", attempts=1)  # fmt: skip
            with pytest.raises(cause, match=code) as caught:
                store.put("k", b"x")
        assert type(caught.value) is cause
        assert caught.value.retriable is retriable

    @pytest.mark.parametrize("status", [200, 404, 502])
    def test_something_else_listens(self, status: int) -> None:
        page: Answer = (status, {"Content-Type": "text/html"}, b"<html><p>Router login</html>")
        with scripted_server(lambda *_: page) as (endpoint, _):
            store = S3Store(
                "bucket", endpoint=endpoint, access_key="a", secret_key="b", secure=False, attempts=1
            )
            with pytest.raises(StoreUnreachable, match=r"not answer as an S3 server does \(HTTP"):
                list(store.list())


class TestServerGoesAway:
    def test_in_the_middle_of_a_large_put(self, server: S3Server) -> None:
        direct = s3_store(server)
        direct.put("old", b"old")
        for key in ("new", "old"):
            with wire_to(server.endpoint) as wire:
                wire.cut_after = 20 * MIB
                store = s3_store(replace(server, endpoint=wire.endpoint), attempts=2)
                with pytest.raises(StoreUnreachable, match="does not answer"):
                    store.put(key, Endless(40 * MIB))
                assert wire.sent > 20 * MIB
        assert keys(server) == ["old"]
        assert direct.get("old") == b"old"

    def test_in_the_middle_of_a_small_put(self, server: S3Server) -> None:
        with wire_to(server.endpoint) as wire:
            wire.cut_after = 100_000
            with pytest.raises(StoreUnreachable):
                s3_store(replace(server, endpoint=wire.endpoint), attempts=2).put("new", bytes(MIB))
        assert keys(server) == []

    def test_killed_for_good(self, tmp_path: Path) -> None:
        with run_juicefs(tmp_path) as (server, process):
            store = s3_store(server, attempts=2)
            store.put("k", b"x")
            process.kill()
            process.wait()
            with pytest.raises(StoreUnreachable):
                store.put("k", bytes(9 * MIB))
            with pytest.raises(StoreUnreachable):
                store.get("k")

    def test_for_a_moment_only(self, server: S3Server) -> None:
        with wire_to(server.endpoint) as wire:
            wire.drop_first = 3
            store = s3_store(replace(server, endpoint=wire.endpoint))
            started = time.monotonic()
            stored = store.put("k", b"hello")
            assert time.monotonic() - started > 0.2  # it paused before trying again
        assert wire.connections >= 4
        assert s3_store(server).get("k") == b"hello"
        assert stored.size == 5

    def test_attempts_are_bounded_and_further_apart_each_time(self) -> None:
        with scripted_server(lambda *_: s3_error(503, "SlowDown")) as (endpoint, seen):
            store = S3Store("bucket", endpoint=endpoint, access_key="a", secret_key="b", secure=False,
                            region="us-east-1", attempts=4)  # fmt: skip
            with pytest.raises(StoreUnreachable, match="SlowDown"):
                store.put("k", b"x")
        assert [method for method, _, _ in seen] == ["PUT"] * 4
        times = [time for _, _, time in seen]
        assert times[2] - times[1] < times[3] - times[2]

    def test_in_the_middle_of_an_answer(self, server: S3Server) -> None:
        body = os.urandom(3 * MIB)
        s3_store(server).put("k", body)
        with wire_to(server.endpoint) as wire:
            wire.cut_answer_after, wire.cut_answers = MIB, 2

            def fresh_store() -> S3Store:
                # with a connection of its own: the wire counts bytes by connection
                return s3_store(replace(server, endpoint=wire.endpoint))

            assert fresh_store().get("k") == body
            wire.cut_answers = 2
            assert fresh_store().get_range("k", 5, 2 * MIB) == body[5 : 5 + 2 * MIB]
            wire.cut_answers = 1
            with closing(fresh_store().open("k")) as stream, pytest.raises(StoreUnreachable):
                stream.read()  # a stream may be half used already: the caller decides
            wire.cut_answers = 99
            with pytest.raises(StoreUnreachable):
                fresh_store().get("k")


class TestKilledProcess:
    PROGRAM = """
import sys
from pathlib import Path
from storage.factory import open_store
bucket, endpoint, access_key, secret_key, key, path = sys.argv[1:]
login = {"access_key": access_key, "secret_key": secret_key, "secure": False}
open_store(f"s3://{bucket}", endpoint=endpoint, **login).put(key, Path(path))
"""

    @pytest.mark.parametrize("key", ["new", "old"])
    def test_leaves_nothing_under_the_key(self, server: S3Server, tmp_path: Path, key: str) -> None:
        direct = s3_store(server)
        direct.put("old", b"old")
        (tmp_path / "source").write_bytes(bytes(40 * MIB))
        with wire_to(server.endpoint) as wire:
            wire.stall_after = 20 * MIB
            arguments = [
                server.bucket,
                wire.endpoint,
                server.access_key,
                server.secret_key,
                key,
                tmp_path / "source",
            ]
            with subprocess.Popen(
                [sys.executable, "-c", self.PROGRAM, *map(str, arguments)],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            ) as process:
                assert wire.stalled.wait(60)
                process.send_signal(signal.SIGKILL)
            assert process.returncode == -signal.SIGKILL
        assert keys(server) == ["old"]
        assert direct.get("old") == b"old"


class TestSource:
    @pytest.mark.parametrize("size", [100, 20 * MIB])
    @pytest.mark.parametrize("change", ["altered", "shorter"])
    def test_that_changes_while_it_is_sent(
        self, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, change: str
    ) -> None:
        path = tmp_path / "source"
        path.write_bytes(bytes(size))
        store = s3_store(server)
        send = store._client.put_object

        def change_then_send(*args, **kwargs):
            with path.open("r+b") as file:
                if change == "altered":
                    file.seek(size - 1)
                    file.write(b"\1")
                else:
                    file.truncate(size // 2)
            return send(*args, **kwargs)

        monkeypatch.setattr(store._client, "put_object", change_then_send)
        with pytest.raises(SourceChanged) as caught:
            store.put("k", path)
        assert caught.value.retriable
        assert keys(server) == []

    def test_no_room_to_spool(self, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """ENOSPC injected where the spool is written."""

        class Full(io.BytesIO):
            def write(self, _) -> int:
                raise OSError(28, os.strerror(28))

        monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda **_: Full())
        with pytest.raises(StoreFull, match="TMPDIR"):
            s3_store(server).put("k", io.BytesIO(b"x"))
        assert keys(server) == []

    def test_leaves_its_digest_as_metadata(self, server: S3Server) -> None:
        stored = s3_store(server).put("k", Endless(20 * MIB))
        kept = server.client.stat_object(server.bucket, "k")
        assert kept.size == stored.size
        assert kept.metadata["x-amz-meta-sha256"] == stored.sha256


class TestLyingServer:
    """A put is believed only when the server shows the object in its full size."""

    @staticmethod
    def put_to(head: Answer, etag: str = '"e"') -> None:
        def answer(method: str, path: str) -> Answer:
            return head if method == "HEAD" else (200, {"ETag": etag}, b"")

        with scripted_server(answer) as (endpoint, _):
            S3Store("bucket", endpoint=endpoint, access_key="a", secret_key="b", secure=False,
                    region="us-east-1", attempts=1).put("k", b"hello")  # fmt: skip

    def test_truthful(self) -> None:
        self.put_to((200, {"Content-Length": "5", "ETag": "e"}, b""))

    def test_shorter(self) -> None:
        with pytest.raises(StoreCorrupt, match="keeps 4 bytes"):
            self.put_to((200, {"Content-Length": "4", "ETag": "e"}, b""))

    def test_absent(self) -> None:
        def answer(method: str, path: str) -> Answer:
            if method != "HEAD":
                return 200, {"ETag": '"e"'}, b""
            return (404 if path.endswith("/k") else 200), {}, b""

        with scripted_server(answer) as (endpoint, _):
            store = S3Store("bucket", endpoint=endpoint, access_key="a", secret_key="b", secure=False,
                            region="us-east-1", attempts=1)  # fmt: skip
            with pytest.raises(StoreCorrupt, match="confirmed 'k' and does not have it"):
                store.put("k", b"hello")

    def test_unfinished(self) -> None:
        with pytest.raises(StoreUnreachable, match="did not finish"):
            self.put_to((200, {"Content-Length": "5"}, b""), etag="")


class TestSettings:
    @pytest.mark.parametrize(
        ("changed", "word"),
        [
            ({"endpoint": ""}, "endpoint"),
            ({"endpoint": "http://localhost:9000"}, "without scheme"),
            ({"access_key": ""}, "access key"),
            ({"secret_key": ""}, "secret key"),
            ({"bucket": "Upper"}, "bucket name"),
            ({"bucket": "a"}, "bucket name"),
        ],
    )
    def test_that_cannot_be_right(self, changed: dict[str, str], word: str) -> None:
        with pytest.raises(ValueError, match=word):
            s3_store(S3Server("localhost:1", "a", "b", "bucket"), **changed)


def test_old_versions_survive_a_replacement_where_the_bucket_keeps_them(ministack_s3: S3Server) -> None:
    from minio.commonconfig import ENABLED
    from minio.versioningconfig import VersioningConfig

    server = ministack_s3.fresh_bucket()
    server.client.set_bucket_versioning(server.bucket, VersioningConfig(ENABLED))
    store = s3_store(server)
    store.put("k", b"first")
    store.put("k", b"second")
    store.delete("k")
    with pytest.raises(ObjectNotFound):
        store.get("k")
    versions = list(server.client.list_objects(server.bucket, include_version=True))
    assert [version.is_delete_marker for version in versions].count(True) == 1
    assert len(versions) == 3
