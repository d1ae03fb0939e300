"""Hostile peers: every layer from the first byte to the data set, made up and mutated.

What must hold whatever is sent: the listener goes on serving, a connection ends in time,
memory stays within bounds, nothing is written outside the store, and the IT page tells of
each association that broke.
"""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from hub.catalogue.models import Instance
from hub.context import Context
from hub.dicom.listening import start_listening
from hub.dicom.wire import dimse, pdu
from hub.dicom.wire.errors import ProtocolError
from hub.dicom.wire.requestor import Target, echo
from hub.dicom.wire.server import Listener
from hub.processes import dicom_services
from hub.sites import service as sites
from hub.sites.models import AssociationRefusal
from storage.filesystem import FileSystemStore
from tests.dicom.samples import CT_CLASS, build, element
from tests.dicom.test_odd_associations import c_store, item, request
from tests.fixtures.world import SETUP, World

IDLE_SECONDS = 0.5
RELEASE = struct.pack(">BxI", 5, 4) + bytes(4)
FIND = "1.2.840.10008.5.1.4.1.2.2.1"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([pdu.ASSOCIATE_RQ, pdu.ASSOCIATE_AC]))
def test_association_requests_are_read_or_refused(body: bytes, kind: int) -> None:
    with contextlib.suppress(ProtocolError):
        pdu.decode_associate(kind, body)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 0x90), st.binary(max_size=80)), max_size=8))
def test_items_of_any_kind(items: list[tuple[int, bytes]]) -> None:
    body = struct.pack(">HH", 1, 0) + b"HUB".ljust(16) + b"CT1".ljust(16) + bytes(32)
    with contextlib.suppress(ProtocolError):
        found = pdu.decode_associate(pdu.ASSOCIATE_RQ, body + b"".join(item(*each) for each in items))
        assert len(found.proposed) <= len(items)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_command_sets_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        dimse.decode_command(data)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([each for each, (_, vr) in dimse.KEYWORDS.items() if vr == "US"]),
        st.integers(0, 0xFFFF),
    )
)
def test_what_is_written_is_read_again(numbers: dict[str, int]) -> None:
    command = dimse.decode_command(dimse.encode_command(**{"CommandField": 1, **numbers}))
    assert {each: command.number(each) for each in numbers} == numbers


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=3000), max_size=6), st.integers(1024, 4096))
def test_units_hold_the_pieces_in_order_and_keep_to_the_length(pieces: list[bytes], maximum: int) -> None:
    content, last = b"", []
    for unit in pdu.data_units(5, command=False, pieces=pieces, maximum=maximum):
        kind, length, inner, context, control = struct.unpack_from(">BxIIBB", unit)
        assert (kind, context, len(unit)) == (pdu.P_DATA, 5, length + 6)
        assert inner + 4 == length <= maximum
        content += unit[12:]
        last.append(bool(control & 2))
    assert content == b"".join(pieces)
    assert last == [False] * (len(last) - 1) + [True]


class Fortress:
    """A hub on real files, with every service, that must stand."""

    def __init__(self, world: World, root: Path) -> None:
        base = world.context
        changed = base.settings.model_copy(
            update={"dicom_bind": "127.0.0.1:0", "dicom_idle_seconds": IDLE_SECONDS}
        )
        self.context = Context(changed, base.db, FileSystemStore(root / "store"), base.clock)
        with self.context.db.transaction() as session:
            sites.add_device(
                session, sites.require_site(session, "DP"), "CT1", now=world.clock(), actor=SETUP
            )
        self.listener: Listener = start_listening(self.context, dicom_services(self.context))

    def throw(self, stream: bytes) -> bool:
        """Send a stream and wait for the end of the connection; tell whether it came in time."""
        with socket.create_connection(("127.0.0.1", self.listener.port), timeout=IDLE_SECONDS * 6) as wire:
            try:
                wire.sendall(stream)
                while wire.recv(65536):
                    pass
            except TimeoutError:
                return False
            except OSError:
                pass
        return True

    def refusals(self) -> int:
        with self.context.db.reading() as session:
            return sum(row.count for row in session.scalars(select(AssociationRefusal)))


@pytest.fixture
def fortress(sqlite_world: World, tmp_path: Path) -> Iterator[Fortress]:
    running = Fortress(sqlite_world, tmp_path)
    yield running
    running.listener.shutdown()


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def captures() -> list[bytes]:
    """Whole conversations of a device: a store, two stores, an echo, a query."""
    query = element(0x00080052, "CS", b"STUDY ") + element(0x00100010, "PN", b"*")
    find = c_store(query).replace(CT_CLASS.encode().ljust(26, b"\0"), FIND.encode().ljust(26, b"\0"))
    return [
        request(abstract=CT_CLASS) + c_store(build()) + RELEASE,
        request(abstract=CT_CLASS) + c_store(build()) + c_store(build(), "1.2.3.5") + RELEASE,
        request() + RELEASE,
        request(abstract=FIND) + find + RELEASE,
    ]


def mutated(dice: random.Random, stream: bytes) -> bytes:
    """One to four faults: bits flipped, bytes lost, repeated or made up, lengths at their limits."""
    content = bytearray(stream)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(content))
        kind = dice.randrange(5)
        if kind == 0:
            content[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del content[at : at + dice.randint(1, 40)]
        elif kind == 2:
            content[at:at] = content[at : at + dice.randint(1, 40)]
        elif kind == 3:
            content[at : at + 4] = dice.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
        else:
            content[at:at] = dice.randbytes(dice.randint(1, 12))
        if not content:
            content = bytearray(b"\1")
    return bytes(content)


def test_mutated_conversations_do_no_harm(fortress: Fortress, tmp_path: Path) -> None:
    seed = time.time_ns() % 100_000
    dice = random.Random(seed)
    streams = [mutated(dice, dice.choice(captures())) for _ in range(120)]
    for stream in captures():
        assert fortress.throw(stream)
    quiet = {thread.name for thread in threading.enumerate()}
    before = resident_bytes()
    late: list[bytes] = []

    def thrower(mine: list[bytes]) -> None:
        late.extend(stream for stream in mine if not fortress.throw(stream))

    throwers = [threading.Thread(target=thrower, args=(streams[n::12],)) for n in range(12)]
    for thread in throwers:
        thread.start()
    for thread in throwers:
        thread.join()
    assert late == [], f"seed {seed}"
    assert resident_bytes() - before < 64 << 20, f"seed {seed}"
    target = Target("127.0.0.1", fortress.listener.port, "HUB", "CT1")
    assert echo(target) == 0, f"seed {seed}"
    assert fortress.refusals() > 0
    deadline = time.monotonic() + 5
    while {each.name for each in threading.enumerate()} - quiet and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not {each.name for each in threading.enumerate() if each.name.startswith("dicom-2")} - quiet
    kept = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert all(path.is_relative_to(tmp_path / "store") or path.name.startswith("hub.db") for path in kept)
    assert not list((tmp_path / "store" / ".tmp").iterdir()), f"seed {seed}"


def test_each_broken_association_leaves_a_row(fortress: Fortress) -> None:
    """Streams that are broken for certain: cut anywhere within a unit."""
    (whole, *_) = captures()
    ends = {len(request(abstract=CT_CLASS))}  # there the device just leaves, which is no fault
    cuts = [cut for cut in range(1, len(whole) - len(RELEASE), 37) if cut not in ends]
    for cut in cuts:
        with socket.create_connection(("127.0.0.1", fortress.listener.port), timeout=10) as wire:
            wire.sendall(whole[:cut])
            wire.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while wire.recv(65536):
                    pass
    deadline = time.monotonic() + 5
    while fortress.refusals() < len(cuts) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert fortress.refusals() == len(cuts)
    with fortress.context.db.reading() as session:
        assert session.scalars(select(Instance)).all() == []


def test_a_large_object_takes_no_memory(fortress: Fortress) -> None:
    """96 MB in pieces; the oracle is the process's own resident memory while it is received."""
    from hub.dicom.wire.requestor import connect

    target = Target("127.0.0.1", fortress.listener.port, "HUB", "CT1")
    association = connect(target, [(CT_CLASS, ["1.2.840.10008.1.2.1"])])
    context = association.context_for(CT_CLASS)
    assert context is not None
    frames, side = 96, 1024
    pixels = frames * side * side
    head = build(
        t00280008=element(0x00280008, "IS", str(frames).encode()),
        t00280010=element(0x00280010, "US", struct.pack("<H", side)),
        t00280011=element(0x00280011, "US", struct.pack("<H", side)),
        t00280100=element(0x00280100, "US", struct.pack("<H", 8)),
        t7FE00010=struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, pixels),
    )
    peak = before = resident_bytes()

    def pieces() -> Iterator[bytes]:
        nonlocal peak
        yield head
        for _ in range(pixels >> 20):
            peak = max(peak, resident_bytes())
            yield bytes(1 << 20)

    sop = "1.2.3.4"
    assert association.store(context, sop_class=CT_CLASS, sop_instance=sop, pieces=pieces()) == 0
    peak = max(peak, resident_bytes())
    association.release()
    assert peak - before < 24 << 20
    with fortress.context.db.reading() as session:
        (instance,) = session.scalars(select(Instance)).all()
    assert instance.size > pixels
