"""How one row follows another: canonical JSON of all its columns, SHA-256."""

import hashlib
import json
from datetime import UTC
from typing import Any

GENESIS = "0" * 64
"""The hash before the first row."""

_COLUMNS = (
    "seq",
    "id",
    "actor_kind",
    "actor_id",
    "actor_name",
    "site_id",
    "tag",
    "subject_kind",
    "subject_id",
    "patient_id",
    "address",
    "facts",
    "previous_hash",
)


_as_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def canonical(row: dict[str, Any]) -> bytes:
    """Return what is hashed: all columns but the hash, keys sorted, time in UTC to the microsecond."""
    values = {name: row[name] for name in _COLUMNS}
    values["at"] = row["at"].astimezone(UTC).isoformat(timespec="microseconds")
    return _as_json(values).encode("utf-8", errors="surrogatepass")


def hash_of(row: dict[str, Any]) -> str:
    """Return the SHA-256 of a row, lower-case hexadecimal."""
    return hashlib.sha256(canonical(row)).hexdigest()
