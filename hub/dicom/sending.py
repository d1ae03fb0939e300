"""Sending stored objects over an association: what to negotiate for them, and their bytes as they came.

Objects go out as they are stored wherever the peer takes them so; else in plain little
endian, when that can be made without loss.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from hub.catalogue.models import Instance
from hub.context import Context
from hub.dicom.stored import checked_chunks, open_object
from hub.dicom.wire.association import Association
from hub.dicom.wire.association import Context as PresentationContext
from hub.dicom.wire.service import WIRE_SYNTAXES

MOST_PAIRS = 60
"""Pairs of SOP class and transfer syntax on one association; with the plain form of each class
they stay under the 128 presentation contexts of PS3.8 section 9.3.2.2."""
PIECE_BYTES = 256 * 1024


class Sendable(Protocol):
    """What has to be known of an object before it is sent."""

    @property
    def sop_class(self) -> str:
        """SOP Class UID."""

    @property
    def transfer_syntax(self) -> str:
        """Transfer syntax in which it is stored."""


Object = TypeVar("Object", bound=Sendable)


def batches(objects: Sequence[Object]) -> Iterator[list[Object]]:
    """Split objects into what one association each can negotiate for; their order stays within one."""
    left = list(objects)
    while left:
        pairs: set[tuple[str, str]] = set()
        now, rest = [], []
        for one in left:
            pair = (one.sop_class, one.transfer_syntax)
            if pair in pairs or len(pairs) < MOST_PAIRS:
                pairs.add(pair)
                now.append(one)
            else:
                rest.append(one)
        yield now
        left = rest


def proposal(objects: Sequence[Object]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the presentation contexts for objects: each kind as it is stored, each class plain as well."""
    stored = dict.fromkeys((one.sop_class, one.transfer_syntax) for one in objects)
    plain = dict.fromkeys(one.sop_class for one in objects)
    return [
        *((sop_class, (syntax,)) for sop_class, syntax in stored),
        *((sop_class, WIRE_SYNTAXES) for sop_class in plain),
    ]


def dataset_pieces(context: Context, instance: Instance) -> Iterator[bytes]:
    """Yield the data set of an object as it was received, without preamble and group 2.

    One of odd length, as some deflate, gets a NUL at its end: no fragment may be odd
    (PS3.5 section A.5, PS3.8 annex E), and DCMTK aborts when one is.

    Raises
    ------
    ObjectDamaged
        Before the first piece: the stored bytes are not those that were received.
    StorageError
        The store does not answer, perhaps in the middle.
    """
    skip = instance.dataset_offset
    for chunk in checked_chunks(context, instance):
        for at in range(min(skip, len(chunk)), len(chunk), PIECE_BYTES):
            yield chunk[at : at + PIECE_BYTES]
        skip = max(0, skip - len(chunk))
    if (instance.size - instance.dataset_offset) % 2:
        yield b"\0"


def accepted_context(association: Association, one: Sendable) -> PresentationContext | None:
    """Return the context on which an object goes out: as it is stored, else plain; None when it cannot."""
    for syntax in dict.fromkeys((one.transfer_syntax, *WIRE_SYNTAXES)):
        accepted = association.context_for(one.sop_class, syntax)
        if accepted is not None and accepted.peer_is_scp:
            return accepted
    return None


def object_pieces(context: Context, instance: Instance, syntax: str) -> Iterator[bytes]:
    """Yield the data set of an object, as it came or in the one form that the peer takes.

    Raises
    ------
    ObjectDamaged, StorageError
        As `dataset_pieces`.
    Unsupported, Malformed
        Before the first piece: it cannot be brought into that form without loss.
    Retriable
        Before the first piece: too much is being decoded just now.
    """
    if syntax == instance.transfer_syntax:
        yield from dataset_pieces(context, instance)
        return
    # The codecs take their time to load, and most objects go out as they came.
    from hub.dicom.retrieve import decoding
    from hub.dicom.transcode import transcode_file

    with open_object(context, instance) as stored, decoding(instance):
        _header, *pieces = transcode_file(stored, syntax)
    yield from pieces
