"""Unique identifiers: checked before they become keys, paths or addresses."""

import re
import uuid

from hub.errors import Malformed

MAX_UID_LENGTH = 64
"""PS3.5 section 9.1."""

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")


class BadUid(Malformed):
    """Not a DICOM unique identifier."""


def parse_uid(text: str) -> str:
    """Return `text` without padding, once it is known to be a UID.

    Components with leading zeros are let through: PS3.5 section 9.1 forbids them,
    devices send them all the same, and the identifier must be kept as it was sent.

    Raises
    ------
    BadUid
        Empty, longer than 64 characters, or anything but digits and single dots.
    """
    uid = text.strip("\0 \t\r\n")
    if len(uid) > MAX_UID_LENGTH or not _UID.fullmatch(uid):
        raise BadUid(length=len(uid))
    return uid


def new_uid() -> str:
    """Return a fresh UID below 2.25, made from a random UUID (PS3.5 section B.2)."""
    return f"2.25.{uuid.uuid4().int}"
