"""One connection of the upper layer: whole protocol data units in and out, without a copy too many.

Measured with DCMTK as the sender: its Nagle algorithm waits for our acknowledgement of
each object's last segment, and the kernel delays that by 40 ms unless told to be quick.
So acknowledgements are asked for at once after each unit, in and out (Linux: what we send makes
the kernel forget the wish), and our own answers leave without Nagle.

A plain connection waits in the kernel, which calls back when a unit is whole: Python's own
timeouts make two calls of the system for each segment, and each of them gives the interpreter
to other threads.
"""

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterable

from hub.dicom.wire import pdu
from hub.dicom.wire.errors import Aborted, MessageTooLarge, NotDicomPeer, ProtocolError, TimedOut

QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)
SMALLEST_BUFFER = 16 * 1024
WHOLE_UNIT_SECONDS = 600.0
"""Longest time one unit may take: 128 kB over the thinnest line is minutes, never ten."""

_HEAD = struct.Struct(">BBI")
_TIMEVAL = struct.Struct("@ll")
_HTTP = (b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"PRI ")


class Link:
    """A connected socket that carries protocol data units.

    Parameters
    ----------
    connection : socket.socket
        Connected, plain or TLS. The link owns it.
    silence_seconds : float
        Time without a byte after which the peer counts as dead; of a unit that has begun to
        arrive on a plain connection, up to twice that.
    """

    def __init__(self, connection: socket.socket, silence_seconds: float) -> None:
        self._socket = connection
        self._plain = not isinstance(connection, ssl.SSLSocket)
        self._whole = socket.MSG_WAITALL if self._plain else 0
        self._buffer = bytearray(SMALLEST_BUFFER)
        self._view = memoryview(self._buffer)
        self.received = 0
        """Bytes received so far."""
        self.within_unit = False
        """Whether a unit has begun to arrive and not come to its end."""
        with contextlib.suppress(OSError):  # a socket that is no TCP connection
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.wait_at_most(silence_seconds)
        self._acknowledge()

    def wait_at_most(self, seconds: float) -> None:
        """Set the time without a byte after which the peer counts as dead."""
        if not self._plain:
            self._socket.settimeout(seconds)
            return
        self._socket.settimeout(None)
        whole, part = divmod(max(seconds, 1e-3), 1)
        limit = _TIMEVAL.pack(int(whole), int(part * 1e6))
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, direction, limit)

    def read(self, longest: int) -> tuple[int, memoryview]:
        """Return kind and body of the next unit; the body is valid until the next call.

        Parameters
        ----------
        longest : int
            Longest body that is accepted, in bytes.

        Raises
        ------
        TimedOut
            Nothing came for the time set.
        Aborted
            The connection is gone.
        NotDicomPeer
            The first bytes are those of another protocol.
        ProtocolError, MessageTooLarge
            No unit begins like this, or it is longer than allowed.
        """
        self._fill(pdu.HEADER_BYTES)
        self.within_unit = True
        kind, _, length = _HEAD.unpack_from(self._buffer)
        if not pdu.ASSOCIATE_RQ <= kind <= pdu.ABORT:
            raise self._foreign()
        if length > longest:
            raise MessageTooLarge("the peer sends a longer protocol data unit than it was allowed")
        if length > len(self._buffer):
            self._view.release()
            self._buffer = bytearray(length)
            self._view = memoryview(self._buffer)
        self._fill(length)
        self.within_unit = False
        self._acknowledge()
        return kind, self._view[:length]

    def readable(self) -> bool:
        """Tell whether something has come that was not read yet."""
        import select

        pending = getattr(self._socket, "pending", None)
        if pending is not None and pending():
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | select.POLLHUP)
        return bool(poll.poll(0))

    def send(self, pieces: Iterable[bytes]) -> None:
        """Send units.

        Raises
        ------
        Aborted, TimedOut
            The peer is gone, or takes nothing for the time set.
        """
        try:
            for piece in pieces:
                self._socket.sendall(piece)
        except (TimeoutError, BlockingIOError) as error:
            raise TimedOut from error
        except OSError as error:
            raise Aborted from error
        self._acknowledge()

    def close(self) -> None:
        """End the connection. What was sent is still delivered."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            self._socket.close()

    def drain(self, seconds: float) -> None:
        """Wait for the peer to close first, as the standard has it after a rejection or release.

        Closing with unread bytes would reset the connection, and the peer might never see
        the reason it was given.
        """
        deadline = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            self.wait_at_most(seconds)
            while time.monotonic() < deadline and self._socket.recv_into(self._buffer):
                pass

    def _acknowledge(self) -> None:
        """Have what came acknowledged at once; the kernel forgets the wish with each thing we send."""
        if QUICK_ACK is None:
            return
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)
        except OSError:
            return  # a socket that is no TCP connection, or one that was closed: the next read tells

    def _fill(self, wanted: int) -> None:
        got, began = 0, 0.0
        try:
            while got < wanted:
                count = self._socket.recv_into(self._view[got:wanted], 0, self._whole)
                if not count:
                    raise Aborted
                got += count
                if got < wanted:
                    began = began or time.monotonic()
                    if time.monotonic() - began > WHOLE_UNIT_SECONDS:
                        raise TimedOut
        except (TimeoutError, BlockingIOError) as error:
            raise TimedOut from error
        except OSError as error:
            raise Aborted from error
        finally:
            self.received += got
            self.within_unit = self.within_unit or 0 < got < wanted

    def _foreign(self) -> ProtocolError:
        start = bytes(self._buffer[:4])
        if start in _HTTP:
            return NotDicomPeer("an HTTP client speaks to the DICOM port")
        if start[:2] == b"\x16\x03":
            return NotDicomPeer("the peer begins TLS on the port without TLS")
        return NotDicomPeer("the first bytes are no DICOM protocol data unit")
