"""Bodies of DICOMweb answers: parts, multipart, and sending them without wasting a thread's time."""

import asyncio
import gzip
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hub.dicom.access import caching
from hub.dicom.source import Octets

BATCH_BYTES = 1 << 20
"""Pieces are handed from the thread that makes them to the one that sends them in lots of this size."""

_GZIP_LEVEL = 3
_WORTH_COMPRESSING = 1024
_KEPT_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart answer.

    `body` is made when its turn comes; `size` is its length in bytes where that is known
    before.
    """

    media_type: str
    location: str
    body: Iterable[Octets]
    size: int | None = None


def primed(body: Iterable[Octets]) -> Iterator[Octets]:
    """Ask for the first piece at once, so that an error comes before the answer begins."""
    rest = iter(body)
    for first in rest:
        return chain((first,), rest)
    return iter(())


def multipart(parts: Iterable[Part], boundary: str) -> Iterator[Octets]:
    """Yield a multipart/related body (RFC 2387), one piece of one part in memory at a time."""
    before = b""
    for part in parts:
        # The part's first bytes are asked for before its head is sent: what is refused must
        # end the answer, not look like an empty part.
        body = primed(part.body)
        yield before + _head(part, boundary)
        yield from body
        before = b"\r\n"
    yield before + f"--{boundary}--\r\n".encode("ascii")


def multipart_length(parts: Sequence[Part], boundary: str) -> int | None:
    """Return the bytes of what `multipart` yields; None when a part's size is not known."""
    length = len(boundary) + 6
    for part in parts:
        if part.size is None:
            return None
        length += len(_head(part, boundary)) + part.size + 2
    return length


def _head(part: Part, boundary: str) -> bytes:
    head = f"--{boundary}\r\nContent-Type: {part.media_type}\r\nContent-Location: {part.location}\r\n\r\n"
    return head.encode("ascii")


@dataclass(frozen=True, slots=True)
class Value:
    """A binary value of which parts can be sent."""

    size: int
    chunks: Callable[[int, int], Iterator[Octets]]
    """Takes offset and length in bytes."""


def value_of(content: Octets) -> Value:
    """Return bytes in memory as a value."""
    return Value(len(content), lambda start, count: iter((content[start : start + count],)))


def ranged(request: Request, value: Value, tag: str, media_type: str) -> Response:
    """Send a value, or the one range of it that is asked for (RFC 9110 section 14).

    Several ranges at once are answered with the whole, as the RFC allows.
    """
    headers = caching(tag) | {"Accept-Ranges": "bytes"}
    span = _span(request, tag, value.size)
    if span is None:
        whole = value.chunks(0, value.size)
        return Streamed(whole, length=value.size, media_type=media_type, headers=headers)
    start, stop = span
    if start >= stop:
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{value.size}"})
    return Streamed(
        value.chunks(start, stop - start),
        length=stop - start,
        media_type=media_type,
        headers=headers | {"Content-Range": f"bytes {start}-{stop - 1}/{value.size}"},
        status_code=206,
    )


def _span(request: Request, tag: str, size: int) -> tuple[int, int] | None:
    """Return first byte and the one behind the last; None when the whole value is meant."""
    asked = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", request.headers.get("range", "").strip())
    if asked is None or not any(asked.groups()) or request.headers.get("if-range", f'"{tag}"') != f'"{tag}"':
        return None
    first, last = asked.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def gzip_wanted(request: Request) -> bool:
    """Tell whether the caller takes gzip (RFC 9110 section 12.5.3)."""
    for entry in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = entry.partition(";")
        if name.strip() in {"gzip", "x-gzip"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def json_answer(request: Request, body: bytes, tag: str, media_type: str) -> Response:
    """Send DICOM JSON, compressed for who takes that; `tag` must depend on `gzip_wanted`."""
    headers = caching(tag) | {"Vary": "Accept, Accept-Encoding, Authorization, Cookie"}
    if gzip_wanted(request) and len(body) >= _WORTH_COMPRESSING:
        headers["Content-Encoding"] = "gzip"
        body = compressed.of(tag, body)
    return Response(body, media_type=media_type, headers=headers)


class _Compressed:
    """Bodies that were compressed a short while ago, by their tags."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def of(self, tag: str, body: bytes) -> bytes:
        """Return a body compressed."""
        with self._lock:
            if tag in self._known:
                self._known.move_to_end(tag)
                return self._known[tag]
        made = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        with self._lock:
            if tag not in self._known:
                self._known[tag] = made
                self._bytes += len(made)
            while self._bytes > _KEPT_BYTES:
                self._bytes -= len(self._known.popitem(last=False)[1])
        return made


compressed = _Compressed()


class Streamed(Response):
    """An answer whose body is made piece by piece in worker threads, one lot ahead of the sending.

    The first lot is made here, in the thread of the route: an error becomes a proper
    answer, and a body that fits into it needs no other thread.

    Parameters
    ----------
    pieces : iterable of bytes
        Closed, where it can be, when the caller hangs up.
    length : int, optional
        Bytes of the whole body, for Content-Length.
    """

    def __init__(
        self,
        pieces: Iterable[Octets],
        *,
        length: int | None = None,
        media_type: str,
        headers: dict[str, str],
        status_code: int = 200,
    ) -> None:
        self.status_code, self.media_type, self.background = status_code, media_type, None
        self._pieces = iter(pieces)
        self._first = self._lot()
        if length is None and not self._first[1]:
            length = sum(map(len, self._first[0]))
        self.init_headers(headers | ({} if length is None else {"Content-Length": str(length)}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the body; stop making it when the caller has gone."""
        del scope
        lot, more = self._first
        # What was sent is let go of at once: only one lot waits for the network.
        self._first = ([], False)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if more:
            await self._send_rest(lot, receive, send)
            await send(_body(b"", more=False))
            return
        last = lot.pop() if lot else b""
        for piece in lot:
            await send(_body(piece))
        await send(_body(last, more=False))

    async def _send_rest(self, lot: list[Octets], receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_gone(receive))
        more = True
        try:
            while lot and not gone.done():
                ahead = asyncio.ensure_future(run_in_threadpool(self._lot)) if more else None
                try:
                    for piece in lot:
                        await send(_body(piece))
                finally:
                    lot, more = await ahead if ahead else ([], False)
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
            close: Any = getattr(self._pieces, "close", None)
            if close is not None:
                await run_in_threadpool(close)

    def _lot(self) -> tuple[list[Octets], bool]:
        """Return the next pieces, and whether there may be more."""
        lot: list[Octets] = []
        size = 0
        for piece in self._pieces:
            lot.append(piece)
            size += len(piece)
            if size >= BATCH_BYTES:
                return lot, True
        return lot, False


def _body(piece: Octets, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": piece, "more_body": more}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
