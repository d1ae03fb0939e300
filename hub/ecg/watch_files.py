"""Files of a watched folder: listed, read and moved without following a link or leaving the folder."""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

DONE, REFUSED = "done", "refused"
MOST_LISTED = 20_000
DEEPEST = 4
"""Folders below the watched one that are looked into; carts make one a day, or one a patient."""

_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".filepart")
_MOVING = ".moving-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Lying:
    """A file as it lay there at one look.

    Attributes
    ----------
    place : str
        Folder below the watched one, with slashes; empty for itself.
    changed_ns : int
        Time of its last change.
    """

    place: str
    name: str
    size: int
    changed_ns: int


class Folder:
    """An open watched folder; every name is taken relative to its descriptor.

    Parameters
    ----------
    top : int
        Descriptor of the folder.
    day : str
        Name of the day's folder below ``done`` and ``refused``.
    """

    def __init__(self, top: int, day: str) -> None:
        self._top, self._day = top, day

    @classmethod
    @contextmanager
    def open(cls, root: Path, day: str) -> Iterator["Folder"]:
        """Open a watched folder; raises OSError when it is not there."""
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield cls(top, day)
        finally:
            os.close(top)

    def files(self) -> list[Lying]:
        """Return the regular files that may be meant for the hub, those of unfinished copies left out."""
        found: list[Lying] = []
        for root, folders, names, here in os.fwalk(".", dir_fd=self._top, follow_symlinks=False):
            place = "" if root == "." else root.removeprefix("./")
            depth = len(PurePosixPath(place).parts)
            own = {DONE, REFUSED} if not place else set()
            folders[:] = sorted(
                name for name in folders if depth < DEEPEST and name not in own and not name.startswith(".")
            )
            for name in sorted(names):
                if name.startswith((".", "~")) or name.lower().endswith(_UNFINISHED):
                    continue
                with suppress(FileNotFoundError):
                    about = os.stat(name, dir_fd=here, follow_symlinks=False)
                    if stat.S_ISREG(about.st_mode):
                        found.append(Lying(place, name, about.st_size, about.st_mtime_ns))
            if len(found) >= MOST_LISTED:
                break
        return found[:MOST_LISTED]

    def read(self, lying: Lying) -> bytes | None:
        """Return the content of a file; None when it is not the file any more that lay there."""
        with self._below(lying.place) as here:
            try:
                descriptor = os.open(lying.name, _FILE, dir_fd=here)
            except FileNotFoundError:
                return None
            with os.fdopen(descriptor, "rb") as file:
                if not _is(descriptor, lying):
                    return None
                content = file.read(lying.size + 1)
                return content if len(content) == lying.size and _is(descriptor, lying) else None

    def move(self, members: Sequence[Lying], into: str, reason: str = "") -> None:
        """Move the files of one recording below `into`, with the reason in a text beside the first.

        What is to be moved is written down first: a crash between two files is made up for by
        `finish_moves`, so that no file is left behind that lacks the one it belongs to.
        """
        with self._day_of(into) as target:
            plan = _reserve(target, f"{_MOVING}{members[0].name[:150]}")
            _write(target, plan, json.dumps([[each.place, each.name] for each in members]))
            moved = [self._move_one(each.place, each.name, target) for each in members]
            if reason and moved[0]:
                _write(target, _reserve(target, f"{moved[0]}.txt"), f"{reason}\n")
            os.unlink(plan, dir_fd=target)

    def prepare(self) -> None:
        """Make the folders that files are moved into; raises OSError when nothing could be moved."""
        for into in (DONE, REFUSED):
            with self._day_of(into):
                continue

    def finish_moves(self) -> None:
        """Make up for moves that a crash cut short, on any day."""
        for into in (DONE, REFUSED):
            for plan in self._plans(into):
                # One that cannot be moved keeps its plan and holds up nothing else.
                with suppress(OSError), self._below(f"{into}/{plan.parent}") as target:
                    for place, name in _planned(target, plan.name):
                        self._move_one(place, name, target)
                    os.unlink(plan.name, dir_fd=target)

    def _plans(self, into: str) -> list[PurePosixPath]:
        found: list[PurePosixPath] = []
        with suppress(FileNotFoundError), self._below(into) as here:
            for day in os.listdir(here):  # noqa: PTH208 - of a descriptor
                with suppress(OSError), self._below(f"{into}/{day}") as target:
                    names = os.listdir(target)  # noqa: PTH208 - of a descriptor
                    found += [PurePosixPath(day, name) for name in names if name.startswith(_MOVING)]
        return found

    def _move_one(self, place: str, name: str, target: int) -> str:
        """Move one file; return its new name, empty when it was not there any more."""
        with suppress(FileNotFoundError), self._below(place) as here:
            os.stat(name, dir_fd=here, follow_symlinks=False)
            kept = _reserve(target, name)
            try:
                os.rename(name, kept, src_dir_fd=here, dst_dir_fd=target)
            except OSError:
                os.unlink(kept, dir_fd=target)
                raise
            return kept
        return ""

    @contextmanager
    def _below(self, place: str) -> Iterator[int]:
        """Open a folder below the watched one, link by link, none of them symbolic."""
        here = os.dup(self._top)
        try:
            for part in PurePosixPath(place).parts:
                if part in {"..", "/"}:
                    raise FileNotFoundError(part)
                below = os.open(part, _FOLDER, dir_fd=here)
                os.close(here)
                here = below
            yield here
        finally:
            os.close(here)

    @contextmanager
    def _day_of(self, into: str) -> Iterator[int]:
        for place, name in (("", into), (into, self._day)):
            with self._below(place) as here, suppress(FileExistsError):
                os.mkdir(name, dir_fd=here)
        with self._below(f"{into}/{self._day}") as target:
            yield target


def _is(descriptor: int, lying: Lying) -> bool:
    about = os.fstat(descriptor)
    same = (about.st_size, about.st_mtime_ns) == (lying.size, lying.changed_ns)
    return stat.S_ISREG(about.st_mode) and same


def _reserve(target: int, name: str) -> str:
    """Make an empty file of a name that nothing has yet, so that a move replaces nothing else."""
    stem, dot, ending = name.rpartition(".")
    stem, ending = (stem, dot + ending) if stem else (name, "")
    for number in range(1, 10_000):
        tried = name if number == 1 else f"{stem}-{number}{ending}"
        with suppress(FileExistsError):
            os.close(os.open(tried, _NEW, 0o644, dir_fd=target))
            return tried
    raise FileExistsError(name)


def _write(target: int, name: str, text: str) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _planned(target: int, plan: str) -> list[tuple[str, str]]:
    """Return the files that a move meant; none when a crash cut the plan itself short."""
    with os.fdopen(os.open(plan, _FILE, dir_fd=target), encoding="utf-8") as file:
        try:
            entries = json.load(file)
        except ValueError:
            return []
    named = [entry for entry in entries if isinstance(entry, list) and len(entry) == 2]  # noqa: PLR2004 - place and name
    return [
        (str(place), str(name)) for place, name in named if "/" not in str(name) and name not in {".", ".."}
    ]
