"""Ways for an S3 server to fail, made real: a wire that can be cut, and a server that plays a script."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Wire:
    """A TCP relay on loopback before a real server, whose failures are set by its attributes.

    cut_after : bytes sent to the server, over all connections, after which everything is cut for good
    stall_after : the same, but the bytes stop flowing and connections stay open
    drop_first : number of connections closed at once
    cut_answer_after, cut_answers : the first `cut_answers` answers end after so many bytes
    """

    def __init__(self, target: str) -> None:
        host, port = target.split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut_after: int | None = None
        self.stall_after: int | None = None
        self.drop_first = 0
        self.cut_answer_after: int | None = None
        self.cut_answers = 0
        self.sent = 0
        self.connections = 0
        self.stalled = threading.Event()
        self._closed = threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        for connection in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closed.is_set():
                client, _ = self._listener.accept()
                self.connections += 1
                if self.connections <= self.drop_first:
                    client.close()
                    continue
                server = socket.create_connection(self._target)
                self._open += [client, server]
                threading.Thread(target=self._upload, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _upload(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                self.sent += len(data)
                if self.cut_after is not None and self.sent > self.cut_after:
                    self.close()
                    return
                if self.stall_after is not None and self.sent > self.stall_after:
                    self.stalled.set()
                    self._closed.wait(60)
                    return
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            given = 0
            while data := server.recv(1 << 16):
                given += len(data)
                if (
                    self.cut_answer_after is not None
                    and given > self.cut_answer_after
                    and self.cut_answers > 0
                ):
                    self.cut_answers -= 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)


@contextmanager
def wire_to(endpoint: str) -> Iterator[Wire]:
    """Give a wire to the server at `endpoint`, closed at the end."""
    wire = Wire(endpoint)
    try:
        yield wire
    finally:
        wire.close()


Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def scripted_server(
    answer: Callable[[str, str], Answer],
) -> Iterator[tuple[str, list[tuple[str, str, float]]]]:
    """Serve `answer(method, path)`; gives the endpoint and the list of (method, path, time) as it grows."""
    seen: list[tuple[str, str, float]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append((self.command, self.path, time.monotonic()))
            status, headers, body = answer(self.command, self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def s3_error(status: int, code: str) -> Answer:
    """An error as the S3 API describes it."""
    body = f"<Error><Code>{code}</Code><Message>scripted</Message></Error>".encode()
    return status, {"Content-Type": "application/xml"}, body
