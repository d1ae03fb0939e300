"""Row identifiers: time-ordered, unguessable, the same on every database."""

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 26
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = range(120, -1, -10)


def new_id() -> str:
    """Return a 26-character id: 48 bits of Unix milliseconds, 80 random bits.

    The layout is that of a ULID, in lower case, so that ids sort by creation
    and an index on them stays local; the random half keeps them unguessable.
    """
    value = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join([_PAIRS[value >> shift & 1023] for shift in _SHIFTS])


def is_id(text: str) -> bool:
    """Tell whether `text` has the shape of an id made here."""
    return len(text) == ID_LENGTH and all(character in _ALPHABET for character in text)
