"""Every way the object store can fail, one class per cause.

    StorageError           a fault with no name of its own
    ├── InvalidKey         the key breaks the rules of `storage.base.check_key`
    ├── ObjectNotFound     nothing is kept under this key
    ├── SourceChanged      the file to be stored changed while it was read
    ├── StoreCorrupt       the store does not give back what it was given
    ├── StoreDenied        the store refuses these credentials or this account
    ├── BucketMissing      the bucket or the folder does not exist
    ├── StoreFull          no space left
    └── StoreUnreachable   the store does not answer

Messages say what a person can do. They name keys, so keys must hold no patient data;
a key that was refused is not repeated.
"""

from typing import ClassVar


class StorageError(Exception):
    """The object store failed.

    Attributes
    ----------
    retriable : bool
        Whether the same call may succeed later with nothing changed by the caller.
    """

    retriable_by_default: ClassVar[bool] = False

    def __init__(self, message: str, *, retriable: bool | None = None) -> None:
        super().__init__(message)
        self.retriable = self.retriable_by_default if retriable is None else retriable


class InvalidKey(StorageError):
    """The key breaks the key rules, or lies beneath or above another object."""


class ObjectNotFound(StorageError):
    """Nothing is kept under this key."""


class SourceChanged(StorageError):
    """The file to be stored changed while it was being read; nothing was stored."""

    retriable_by_default = True


class StoreCorrupt(StorageError):
    """The store does not give back what it was given."""


class StoreDenied(StorageError):
    """The store refuses these credentials, or this account may not write there."""


class BucketMissing(StorageError):
    """The bucket or the folder of the store does not exist."""


class StoreFull(StorageError):
    """The store has no space left; once space is made the same call succeeds."""

    retriable_by_default = True


class StoreUnreachable(StorageError):
    """The store does not answer just now."""

    retriable_by_default = True
