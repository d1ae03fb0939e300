"""The most that a receive loop of this machine can do: the limit to hold the listener against.

A plain blocking loop over a socket: large reads, fragments straight into the file, fdatasync
before the answer, no index, no checks, no other service. A yardstick, not a server.

    python receive_limit.py PORT FOLDER
"""

import os
import socket
import struct
import sys
import threading
from pathlib import Path

from hub.dicom.wire import pdu
from hub.dicom.wire.dimse import decode_command, encode_command

QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)


def fill(connection: socket.socket, view: memoryview) -> None:
    """Receive exactly as many bytes as fit."""
    got = 0
    while got < len(view):
        count = connection.recv_into(view[got:])
        if not count:
            raise EOFError
        got += count


def accepted(body: bytes) -> bytes:
    """Answer every context with its first transfer syntax."""
    asked = pdu.decode_associate(pdu.ASSOCIATE_RQ, body)
    answered = [pdu.AnsweredContext(each.id, 0, each.transfer_syntaxes[0]) for each in asked.proposed]
    return pdu.encode_associate(
        pdu.ASSOCIATE_AC, pdu.Associate(asked.called, asked.calling, answered=answered)
    )


def stored(context_id: int, command: bytes) -> bytes:
    """Answer a C-STORE with Success."""
    request = decode_command(command)
    answer = encode_command(
        AffectedSOPClassUID=request.sop_class,
        CommandField=0x8001,
        MessageIDBeingRespondedTo=request.message_id,
        CommandDataSetType=0x0101,
        Status=0,
        AffectedSOPInstanceUID=request.sop_instance,
    )
    return b"".join(pdu.data_units(context_id, command=True, pieces=[answer], maximum=16384))


def serve(connection: socket.socket, folder: Path) -> None:
    """Serve one association."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    command, descriptor = b"", -1
    try:
        while True:
            fill(connection, view[:6])
            kind, length = struct.unpack_from(">BxI", buffer)
            fill(connection, view[:length])
            if kind == pdu.ASSOCIATE_RQ:
                connection.sendall(accepted(bytes(view[:length])))
                continue
            if kind != pdu.P_DATA:
                if kind == pdu.RELEASE_RQ:
                    connection.sendall(pdu.release(pdu.RELEASE_RP))
                return
            at = 0
            while at < length:
                size, context_id, control = struct.unpack_from(">IBB", buffer, at)
                part = view[at + 6 : at + 4 + size]
                at += 4 + size
                if control & 1:
                    command = bytes(part)
                    name = decode_command(command).sop_instance
                    descriptor = os.open(folder / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
                else:
                    os.write(descriptor, part)
                    if control & 2:
                        os.fdatasync(descriptor)
                        os.close(descriptor)
                        connection.sendall(stored(context_id, command))
            if QUICK_ACK is not None:
                connection.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)
    except EOFError:
        pass
    finally:
        connection.close()


def main() -> None:
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    door = socket.create_server(("127.0.0.1", port), backlog=256)
    while True:
        connection, _ = door.accept()
        threading.Thread(target=serve, args=(connection, folder), daemon=True).start()


if __name__ == "__main__":
    main()
