"""The form of a pack: a ZIP archive of files that are not compressed, so that any program opens it.

Members carry the keys under which their files lay alone, so that unpacking one in the
store's folder brings those files back. The last member, `MANIFEST`, holds for each what
its row in the catalogue says and the file itself does not. Sizes stay below what would
need the 64-bit extension. Format: PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.4.
"""

import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from hub.catalogue.places import Place, open_place
from hub.errors import Malformed
from storage.base import ObjectStore, chunks

MANIFEST = "manifest.json"
FORMAT = "shared-diagnosis-hub pack"
VERSION = 1

MOST_MEMBERS = 10_000
"""Less than the 65,535 that a ZIP archive can count without the 64-bit extension."""

_LOCAL, _CENTRAL, _END = 0x04034B50, 0x02014B50, 0x06054B50
_NEEDS_VERSION = 10  # a stored file, section 4.4.3
_UTF8_NAMES = 1 << 11
_DATE = 0x21  # 1980-01-01, the earliest there is: times stand in the manifest
_BIGGEST = 0xFFFFFFFF


class NotAPack(Malformed):
    """The object is no pack of this hub, or its list of contents cannot be read."""


@dataclass(slots=True)
class PackWriter:
    """Writes a pack piece by piece; it needs the memory of one member and of the list."""

    write: Callable[[bytes], None]
    size: int = 0
    _entries: list[bytes] = field(default_factory=list)

    def add(self, name: str, content: bytes) -> int:
        """Write one member; return the offset of its first byte in the pack."""
        if len(self._entries) > MOST_MEMBERS or self.size + len(content) > _BIGGEST // 2:
            raise ValueError("the pack is full")
        encoded = name.encode("ascii")
        crc, size, start = zlib.crc32(content), len(content), self.size
        common = struct.pack(
            "<HHHHHLLLHH", _NEEDS_VERSION, _UTF8_NAMES, 0, 0, _DATE, crc, size, size, len(encoded), 0
        )
        head = struct.pack("<L", _LOCAL) + common + encoded
        central = struct.pack("<LH", _CENTRAL, _NEEDS_VERSION) + common
        self._entries.append(central + struct.pack("<HHHLL", 0, 0, 0, 0, start) + encoded)
        self._put(head)
        self._put(content)
        return start + len(head)

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest and the list of contents."""
        self.add(MANIFEST, json.dumps({"format": FORMAT, "version": VERSION} | manifest, indent=1).encode())
        start, entries = self.size, b"".join(self._entries)
        count = len(self._entries)
        self._put(entries)
        self._put(struct.pack("<LHHHHLLH", _END, 0, 0, count, count, len(entries), start, 0))

    def _put(self, piece: bytes) -> None:
        self.write(piece)
        self.size += len(piece)


def read_manifest(store: ObjectStore, key: str) -> dict[str, Any]:
    """Return the manifest of a pack.

    Raises
    ------
    NotAPack
        There is none that can be read.
    ObjectNotFound
        The object is not there.
    """
    place = Place(key, 0, store.stat(key).size, "")
    try:
        with open_place(store, place) as stream, zipfile.ZipFile(stream) as archive:
            manifest = json.loads(archive.read(MANIFEST))
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, struct.error, RuntimeError) as error:
        raise NotAPack(key=key) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise NotAPack(key=key)
    return manifest


def damaged_parts(store: ObjectStore, key: str, parts: Iterable[Place]) -> tuple[str, set[int]]:
    """Read a pack once and hold its members against their hashes.

    Parameters
    ----------
    parts : iterable of Place
        Its members.

    Returns
    -------
    sha256, offsets : tuple
        SHA-256 of the whole object, and the offsets of the members that are not what they should be.
    """
    left = sorted(parts, key=lambda part: part.offset, reverse=True)
    whole, at, damaged = hashlib.sha256(), 0, set[int]()
    digest, current = hashlib.sha256(), left.pop() if left else None
    with closing(store.open(key)) as stream:
        for piece in chunks(stream):
            whole.update(piece)
            view, end = memoryview(piece), at + len(piece)
            while current is not None and current.offset < end:
                stop = current.offset + current.size
                digest.update(view[max(0, current.offset - at) : max(0, stop - at)])
                if stop > end:
                    break
                if digest.hexdigest() != current.sha256:
                    damaged.add(current.offset)
                digest, current = hashlib.sha256(), left.pop() if left else None
            at = end
    rest: Sequence[Place] = left if current is None else [*left, current]
    return whole.hexdigest(), damaged | {part.offset for part in rest}
