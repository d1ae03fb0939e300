"""Sending stored objects over an association: what to negotiate for them, and their bytes as they came."""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from hub.catalogue.models import Instance
from hub.context import Context
from hub.dicom.stored import checked_chunks
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
