"""Which recordings the files and folders of a command line hold."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from hub.ecg.errors import RecordingTooLarge
from hub.ecg.formats.sniff import is_wfdb_header
from hub.ecg.formats.table import format_of
from hub.ecg.formats.wfdb_header import MAX_HEADER_BYTES, companions
from hub.ecg.grouping import unclaimed
from hub.ecg.limits import MAX_FILE_BYTES, MAX_FILES
from hub.errors import HubError, Malformed, NotFound


@dataclass(frozen=True)
class Recording:
    """The files of one recording, or why there are none.

    Attributes
    ----------
    file : str
        The file that is read first, as given or as found in a folder.
    place : pathlib.PurePath
        The same below the folder that was given: where its output belongs in a folder of outputs.
    files : mapping of str to bytes
        By name without folders; empty when `error` says why.
    error : HubError or None
        Why the files could not be gathered.
    """

    file: str
    place: PurePath
    files: Mapping[str, bytes] = field(default_factory=dict)
    error: HubError | None = None


def recordings(paths: Sequence[Path]) -> Iterator[Recording]:
    """Gather the recordings that files and folders hold, one at a time.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Files, and folders that are searched through in the order of names.

    Yields
    ------
    Recording
        One for each file of a format that is one file and for each WFDB header, which brings the files that
        it names as far as they lie beside it; what lies elsewhere is never opened. Those files are no
        recordings of their own, nor are WFDB annotations beside their header. Every other file is reported
        with its error.
    """
    folders = _folders(paths)
    for path in paths:
        if not path.is_dir():
            yield from folders[path.parent].recording(path.name, PurePath(path.name))
            continue
        unread: list[OSError] = []
        for root, below, names in os.walk(path, onerror=unread.append):
            below.sort()
            names.sort()
            here = _Folder(Path(root), names)
            for name in names:
                yield from here.recording(name, Path(root, name).relative_to(path))
        for error in unread:
            yield Recording(str(error.filename), PurePath(), error=_unreadable(error))


def several(paths: Sequence[Path]) -> bool:
    """Say whether the paths of a command line may hold more than one recording."""
    folders = _folders(paths)
    alone = [path for path in paths if path.is_dir() or not folders[path.parent].belongs(path.name)]
    return len(alone) > 1 or any(path.is_dir() for path in alone)


def _folders(paths: Sequence[Path]) -> "dict[Path, _Folder]":
    """Return the folders in which files were named one by one, with these files."""
    given: dict[Path, list[str]] = {}
    for path in paths:
        if not path.is_dir():
            given.setdefault(path.parent, []).append(path.name)
    return {folder: _Folder(folder, names) for folder, names in given.items()}


def _unreadable(error: OSError) -> Malformed:
    return Malformed("this cannot be read", reason=error.strerror or "")


class _Folder:
    """Some files of one folder, and which of them belong to the headers among them."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._beside: dict[str, str] | None = None
        self._headers = {name: named for name in names if (named := self._of_header(name)) is not None}
        self._belonging = {each for named in self._headers.values() for each in named}
        self._stems = {PurePath(name).stem for name in self._headers}

    def belongs(self, name: str) -> bool:
        """Say whether a file is part of the recording of another."""
        return name in self._belonging

    def recording(self, name: str, place: PurePath) -> Iterator[Recording]:
        """Yield the recording that a file begins, if it is not part of another."""
        if self.belongs(name):
            return
        file = str(self._folder / name)
        try:
            files = self._load((name, *self._headers.get(name, ())))
        except HubError as error:
            yield Recording(file, place, error=error)
            return
        if name in self._headers or format_of(files[name]) is not None:
            yield Recording(file, place, files)
        elif not (PurePath(name).stem in self._stems and _is_annotation(files[name])):
            yield Recording(file, place, error=unclaimed(name, files[name]))

    def _of_header(self, name: str) -> tuple[str, ...] | None:
        """Return the files that a WFDB header names and that lie beside it; None when it is no header.

        The headers of a record's segments bring what they name in turn.
        """
        data = self._probe(name)
        if format_of(data) is not None or not is_wfdb_header(data):
            return None
        found: dict[str, None] = {}
        waiting = [data]
        while waiting:
            for stated in companions(waiting.pop()):
                beside = self._find(stated)
                if beside is None or beside == name or beside in found:
                    continue
                found[beside] = None
                part = self._probe(beside)
                if is_wfdb_header(part):
                    waiting.append(part)
        return tuple(found)

    def _find(self, stated: str) -> str | None:
        """Return the file of this folder that a header means, whatever its case: devices differ in it."""
        if self._beside is None:
            try:
                with os.scandir(self._folder) as entries:
                    self._beside = {entry.name.casefold(): entry.name for entry in entries if entry.is_file()}
            except OSError:
                self._beside = {}
        return self._beside.get(stated.casefold())

    def _probe(self, name: str) -> bytes:
        path = self._folder / name
        try:
            if not path.is_file():
                return b""
            with path.open("rb") as file:
                return file.read(MAX_HEADER_BYTES)
        except OSError:
            return b""

    def _load(self, names: Sequence[str]) -> dict[str, bytes]:
        """Read files whole, up to what one recording may be."""
        if len(names) > MAX_FILES:
            raise RecordingTooLarge(limit="files", declared=len(names))
        paths = [self._folder / name for name in names]
        try:
            if not all(path.is_file() for path in paths):
                raise NotFound("there is no such file")
            size = sum(path.stat().st_size for path in paths)
            if size > MAX_FILE_BYTES:
                raise RecordingTooLarge(limit="bytes", declared=size)
            return {path.name: path.read_bytes() for path in paths}
        except OSError as error:
            raise _unreadable(error) from error


def _is_annotation(data: bytes) -> bool:
    """Say whether bytes may be WFDB annotations: 16-bit words, the last of them zero (annot(5))."""
    return len(data) % 2 == 0 and data.endswith(b"\x00\x00")
