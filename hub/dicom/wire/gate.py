"""What the listener asks and is told: who may come in, and under which limits."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from hub.dicom.wire.association import Peer


class Admission(Enum):
    """Why the gate turns a caller away (PS3.8 Table 9-21): result, source, reason."""

    UNKNOWN_CALLER = (1, 1, 3)
    """Calling AE title not recognised."""
    WRONG_CALLED = (1, 1, 7)
    """Called AE title not recognised."""
    BUSY = (2, 3, 1)
    """Temporary congestion."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The gate's No. `reason` is a stable word, e.g. ``unknown_device``."""

    admission: Admission
    reason: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """The gate's Yes, with what it knows of the peer; strangers may use few services."""

    identity: object | None = None
    stranger: bool = False


Gate = Callable[[Peer], Admitted | Refusal]
Refused = Callable[[Peer, str, str], None]
"""Told of a caller that was turned away or cut off: who, a stable word, and detail for a person."""


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """Where and how the listener waits for devices."""

    host: str = "0.0.0.0"  # noqa: S104 - devices come from other machines
    port: int = 11112
    """0 takes any free port; `Listener.port` tells which."""
    tls: ssl.SSLContext | None = None
    """To listen with TLS; None for the plain port."""
    maximum_associations: int = 400
    """Associations that are served at once; further ones wait for a place."""
    queue_seconds: float = 20.0
    """How long one waits before it is told to come again later."""
    request_seconds: float = 30.0
    """Time for TLS and the association request."""
    silence_seconds: float = 60.0
    """An association on which nothing moves for so long is aborted."""
    maximum_object_bytes: int = 4 * 1024 * 1024 * 1024
    """An association that sends more for one object is aborted."""
    shared_port: bool = False
    """Several processes listen on the same port; the kernel spreads the connections."""
