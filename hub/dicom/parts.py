"""Reading multipart bodies as they come in (RFC 2046 section 5.1), a piece at a time in memory."""

import re
from collections.abc import Iterable, Iterator
from email.message import Message
from functools import partial

from anyio import from_thread
from fastapi import Request
from starlette.requests import ClientDisconnect

from hub.errors import Malformed, TooLarge

PIECE_BYTES = 1 << 20
HEAD_BYTES = 16 << 10
"""Longest head of a part, and longest text before the first."""

_END_OF_HEAD = b"\r\n\r\n"
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,255}[0-9A-Za-z'()+_,./:=?-]")
"""RFC 2046 allows 70 characters; Orthanc sends 73."""


class BrokenBody(Malformed):
    """The multipart body is cut off, or does not follow the boundary that its head names."""


class BodyTooLarge(TooLarge):
    """The body of the request is larger than the hub accepts: send fewer objects at once."""


class Part:
    """One part; its bytes can be read once, before the next part is asked for."""

    def __init__(self, head: Message, body: Iterator[bytes]) -> None:
        self.head = head
        self._body = body

    @property
    def media_type(self) -> str:
        """Lower-case, empty when the part does not say."""
        return self.head.get_content_type() if "content-type" in self.head else ""

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes; raises `BrokenBody` when the body ends before the part does."""
        return self._body


def content_type(value: str) -> Message:
    """Return a Content-Type header for reading its parameters."""
    message = Message()
    message["content-type"] = value
    return message


def boundary_of(kind: Message) -> bytes:
    """Return the boundary that a Content-Type names.

    Raises
    ------
    BrokenBody
        None, or one that cannot be.
    """
    boundary = kind.get_boundary("")
    if not _BOUNDARY.fullmatch(boundary):
        raise BrokenBody
    return boundary.encode("ascii")


def body_of(request: Request) -> Iterator[bytes]:
    """Yield a request's body within a worker thread, about `PIECE_BYTES` at a time.

    Raises
    ------
    BrokenBody
        The sender has gone.
    BodyTooLarge
        It is beyond the limit of the server.
    """
    incoming = request.stream()

    async def gather() -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for piece in incoming:
            pieces.append(piece)
            size += len(piece)
            if size >= PIECE_BYTES:
                break
        return b"".join(pieces)

    take = partial(from_thread.run, gather)
    try:
        while piece := take():
            yield piece
    except ClientDisconnect as error:
        raise BrokenBody from error
    except TooLarge as error:
        raise BodyTooLarge from error


def parts(pieces: Iterable[bytes], boundary: bytes) -> Iterator[Part]:
    """Yield the parts of a multipart body.

    Raises
    ------
    BrokenBody
        While iterating, or while a part is read.
    """
    incoming = _Incoming(iter(pieces), b"\r\n--" + boundary)
    if sum(map(len, incoming.until_boundary())) > HEAD_BYTES:
        raise BrokenBody
    while not incoming.at_end():
        head = incoming.head()
        body = incoming.until_boundary()
        yield Part(head, body)
        for _ in body:  # what nobody wanted to read
            pass


class _Incoming:
    """Bytes that have come and are not read yet."""

    def __init__(self, pieces: Iterator[bytes], delimiter: bytes) -> None:
        self._pieces = pieces
        self._delimiter = delimiter
        self._held = b"\r\n"  # the first boundary need not have a line before it

    def until_boundary(self) -> Iterator[bytes]:
        """Yield what comes before the next boundary, and step over that."""
        keep = len(self._delimiter) - 1
        while (at := self._held.find(self._delimiter)) < 0:
            if len(self._held) > keep:
                ready, self._held = self._held[:-keep], self._held[-keep:]
                yield ready
            self._more()
        ready, self._held = self._held[:at], self._held[at + len(self._delimiter) :]
        if ready:
            yield ready

    def at_end(self) -> bool:
        """Step over the rest of a boundary's line; tell whether it was the last one."""
        while len(self._held) < 2:  # noqa: PLR2004 - two dashes, or the end of the line
            self._more()
        if self._held.startswith(b"--"):
            return True
        while b"\r\n" not in self._held[:HEAD_BYTES]:
            if len(self._held) >= HEAD_BYTES:
                raise BrokenBody
            self._more()
        padding, _, rest = self._held.partition(b"\r\n")
        if padding.strip(b" \t"):
            raise BrokenBody
        self._held = b"\r\n" + rest
        return False

    def head(self) -> Message:
        """Read the head of a part; the end of the boundary's line is still held, for parts without one."""
        while (at := self._held.find(_END_OF_HEAD, 0, HEAD_BYTES)) < 0:
            if len(self._held) >= HEAD_BYTES:
                raise BrokenBody
            self._more()
        text, self._held = self._held[:at], self._held[at + len(_END_OF_HEAD) :]
        head = Message()
        for line in re.sub(rb"\r\n[ \t]+", b" ", text).split(b"\r\n"):
            name, colon, value = line.decode("latin-1").partition(":")
            if line and not colon:
                raise BrokenBody
            if colon and name.strip() not in head:
                head[name.strip()] = value.strip()
        return head

    def _more(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            raise BrokenBody
        self._held += piece
