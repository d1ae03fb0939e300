"""ECGs sent to a running hub at a rate, and a browser that notes when which patient stands on top."""

import http.client
import re
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

from playwright.sync_api import Page

from tests.ecg.records import ludb

SENDERS = 32
"""Carts that send at once; a village sends one at a time, a county many."""

ROUTINE = (88, 45, 135)
NOTE_TOPS = """
() => {
  const seen = (window.tops = []);
  const body = document.querySelector("#worklist-rows");
  const note = () => {
    const row = document.querySelector("#worklist-rows tr");
    const name = row?.querySelector("a .strong")?.textContent?.trim() ?? "";
    if (seen.at(-1)?.[0] !== name) seen.push([name, Date.now() / 1000]);
  };
  new MutationObserver(note).observe(body, { childList: true, subtree: true });
  note();
}
"""


def fresh(record: int, rate: int = 500) -> dict[str, bytes]:
    """Return a record of the LUDB that no hub has seen: a comment makes its header new.

    Another sampling rate in the header than it was recorded with makes the same heart slower or
    faster: 65 beats a minute taken at 500 Hz are 26 at 200 Hz, below every list's limit.
    """
    files = dict(ludb(record))
    name = f"ludb_{record}.hea"
    header = re.sub(rb"^(\S+ 12) 500", rb"\1 %d" % rate, files[name])
    return {**files, name: header + f"# {secrets.token_hex(8)}\n".encode()}


@dataclass
class Sent:
    """What became of one upload."""

    at: float
    seconds: float
    status: int
    body: bytes


@dataclass
class Cart:
    """Sends ECGs with a machine's token, on a connection of its own for each thread."""

    host: str
    port: int
    token: str
    answers: list[Sent] = field(default_factory=list)
    _local: threading.local = field(default_factory=threading.local)
    _opened: list[http.client.HTTPConnection] = field(default_factory=list)

    def send(self, files: dict[str, bytes], **fields: str) -> Sent:
        """Post one recording; return when the hub has answered."""
        edge = secrets.token_hex(8)
        parts = [f'name="{name}"\r\n\r\n'.encode() + value.encode() for name, value in fields.items()]
        parts += [
            f'name="files"; filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'.encode()
            + content
            for name, content in files.items()
        ]
        start = f"--{edge}\r\nContent-Disposition: form-data; ".encode()
        body = b"".join(start + part + b"\r\n" for part in parts) + f"--{edge}--\r\n".encode()
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": f"multipart/form-data; boundary={edge}",
        }
        begun, at = time.monotonic(), time.time()
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
            self._opened.append(connection)
        try:
            connection.request("POST", "/api/v1/ecg", body, headers)
        except (BrokenPipeError, ConnectionResetError):  # it was idle so long that the hub has closed it
            connection.close()
            connection.request("POST", "/api/v1/ecg", body, headers)
        answer = connection.getresponse()
        sent = Sent(at, time.monotonic() - begun, answer.status, answer.read())
        self.answers.append(sent)
        return sent

    def close(self) -> None:
        """Close all connections."""
        for connection in self._opened:
            connection.close()


@contextmanager
def routine(cart: Cart, per_second: float) -> Iterator[list[Future[Sent]]]:
    """Send routine ECGs at a rate, whether or not the hub keeps up, until the block ends."""
    stop, sent = threading.Event(), []

    def schedule(pool: ThreadPoolExecutor) -> None:
        number, begun = 0, time.monotonic()
        while not stop.is_set():
            files = fresh(ROUTINE[number % len(ROUTINE)])
            sent.append(
                pool.submit(cart.send, files, patient_name=f"常规{number}", local_id=f"R{number}", sex="F")
            )
            number += 1
            stop.wait(max(0.0, begun + number / per_second - time.monotonic()))

    with ThreadPoolExecutor(SENDERS) as pool:
        thread = threading.Thread(target=schedule, args=(pool,), daemon=True)
        thread.start()
        try:
            yield sent
        finally:
            stop.set()
            thread.join()
            pool.shutdown(wait=True, cancel_futures=True)


def on_top(page: Page, name: str, seconds: float) -> float:
    """Return the moment at which a patient came to stand on top of the open list."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        tops = page.evaluate("window.tops")
        for top, at in tops:
            if top == name:
                return float(at)
        page.wait_for_timeout(50)
    raise AssertionError(f"{name} was never on top, but {tops}")


def summary(seconds: list[float]) -> str:
    """Return median and worst of some times."""
    return f"median {median(seconds):.2f} s, worst {max(seconds):.2f} s (n={len(seconds)})"
