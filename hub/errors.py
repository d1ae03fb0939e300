"""The one error tree of the hub. Each class carries its own answer on every wire.

    HubError                    500 / 0xC000   a fault of the hub
    ├── Rejected                422 / 0xA900   the sender must change what it sent
    │   ├── Malformed           400 / 0xC000   the bytes cannot be understood
    │   └── TooLarge            413 / 0xA700   beyond a stated limit
    ├── Unauthenticated         401 / 0x0124   nobody is logged in
    ├── Forbidden               403 / 0x0124   somebody is, and may not
    ├── NotFound                404 / 0x0112   absent, or not visible to this actor
    ├── Conflict                409 / 0x0110   the state of things forbids it just now
    ├── Unsupported             406 / 0x0122   a representation we do not make
    └── Retriable               503 / 0xA700   the same request may succeed later
        ├── StoreUnavailable    503 / 0xA700   the object store does not answer
        └── DatabaseUnavailable 503 / 0xA700   the database does not answer

DIMSE statuses: PS3.4 Table B.2-1 (C-STORE) and PS3.7 Annex C. The class docstring
is the message when none is given. Messages never hold patient data: facts are ids.
"""

from typing import ClassVar


class HubError(Exception):
    """Something happened that the hub did not expect."""

    http_status: ClassVar[int] = 500
    dimse_status: ClassVar[int] = 0xC000

    def __init__(self, message: str = "", **facts: str | int) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])
        self.facts = facts

    @property
    def code(self) -> str:
        """Stable machine-readable name, also the key of the translated message."""
        return type(self).__name__


class Rejected(HubError):
    """What was sent cannot be accepted; it must be changed first."""

    http_status = 422
    dimse_status = 0xA900


class Malformed(Rejected):
    """What was sent cannot be understood."""

    http_status = 400
    dimse_status = 0xC000


class TooLarge(Rejected):
    """What was sent is larger than the hub accepts."""

    http_status = 413
    dimse_status = 0xA700


class Unauthenticated(HubError):
    """Log in first."""

    http_status = 401
    dimse_status = 0x0124


class Forbidden(HubError):
    """The account may not do that."""

    http_status = 403
    dimse_status = 0x0124


class NotFound(HubError):
    """There is no such thing, or it is not visible to this account."""

    http_status = 404
    dimse_status = 0x0112


class Conflict(HubError):
    """Not possible in the present state."""

    http_status = 409
    dimse_status = 0x0110


class Unsupported(HubError):
    """None of the requested representations can be made."""

    http_status = 406
    dimse_status = 0x0122


class Retriable(HubError):
    """Not possible just now; the same request may succeed later."""

    http_status = 503
    dimse_status = 0xA700


class StoreUnavailable(Retriable):
    """The object store does not answer."""


class DatabaseUnavailable(Retriable):
    """The database does not answer."""
