"""Password hashing with argon2id."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

_HASHER = PasswordHasher()


@cache
def unknown_account() -> str:
    """Return a hash to check when a login name is unknown, so that both answers take as long."""
    return _HASHER.hash("an account that does not exist")


def hash_password(password: str) -> str:
    """Return the argon2id hash with its salt and parameters."""
    return _HASHER.hash(password)


def check_password(stored: str, password: str) -> bool:
    """Tell whether `password` is the one that was hashed."""
    try:
        return _HASHER.verify(stored, password)
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False
