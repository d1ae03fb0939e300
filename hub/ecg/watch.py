"""A folder into which devices or people put ECG files: what lies there complete and at rest is taken.

Nothing in it is believed: links are not followed, no name leads out of the folder, and a file that
still grows is left alone. What was taken moves to ``done``, what cannot be taken to ``refused`` with
the reason beside it; no file is ever removed. Whoever keeps the recordings knows them by their
content, so it does no harm when a crash lets the same files be taken twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from hub.ecg.errors import CompanionMissing, HeaderMissing, RecordingTooLarge, Truncated
from hub.ecg.grouping import Group, bare_name, group_files
from hub.ecg.limits import MAX_FILE_BYTES
from hub.ecg.watch_files import DONE, REFUSED, Folder, Lying
from hub.errors import HubError, Retriable

MOST_FILES = 400
"""Files of one folder that one look reads; the next look takes the rest."""

PATIENCE_SECONDS = 120.0
"""How long a recording waits for a file that its header names, or for the rest of a short one."""

UNSPEAKABLE = "FileName"
"""Problem of files whose names cannot be printed: they stay where they are until somebody renames them."""

_MAY_COME = (CompanionMissing, HeaderMissing, Truncated)

Take = Callable[[Group], None]
"""Keeps one recording; returns only when it is durable, raises a `HubError` otherwise."""


@dataclass
class Look:
    """What one look into the folder has brought."""

    taken: int = 0
    refused: int = 0
    waiting: int = 0
    """Files that lie there still."""
    problem: str = ""
    """Name of the error for which something could not be taken just now."""


@dataclass
class Watcher:
    """One watched folder, looked into again and again.

    Parameters
    ----------
    root : Path
        The folder. One that is not there just now, as a share that is not mounted, is a problem
        that is told and no error to fail on.
    rest_seconds : float
        A file is read once its size and time of change were the same for so long.
    take : callable
        Keeps a recording.
    reason_of : callable
        Why something is refused, in words for people, without patient data.
    """

    root: Path
    rest_seconds: float
    take: Take
    reason_of: Callable[[HubError], str]
    _since: dict[Lying, float] = field(default_factory=dict)
    _kept: set[Lying] = field(default_factory=set)

    def look(self, now: datetime, at_seconds: float) -> Look:
        """Take what is complete and at rest.

        Parameters
        ----------
        now : datetime
            Names the day's folder below ``done`` and ``refused``.
        at_seconds : float
            Of a clock that only goes forward.
        """
        result = Look()
        try:
            with Folder.open(self.root, f"{now:%Y%m%d}") as folder:
                folder.prepare()
                folder.finish_moves()
                lying = folder.files()
                self._since = {each: self._since.get(each, at_seconds) for each in lying}
                self._kept &= self._since.keys()
                result.waiting = len(lying)
                if any(bare_name(each.name) != each.name for each in lying):
                    result.problem = UNSPEAKABLE
                rested = [
                    each
                    for each in lying
                    if at_seconds - self._since[each] >= self.rest_seconds
                    and bare_name(each.name) == each.name
                ]
                for place in sorted({each.place for each in rested}):
                    here = [each for each in rested if each.place == place]
                    self._take_from(folder, here[:MOST_FILES], at_seconds, result)
        except OSError as error:
            result.problem = type(error).__name__
        return result

    def _take_from(self, folder: Folder, lying: Sequence[Lying], at_seconds: float, result: Look) -> None:
        """Take the recordings among files of one place."""
        by_name = {each.name: each for each in lying}
        contents = self._read(folder, lying, result)
        groups, refusals = group_files(contents.items())
        for group in groups:
            members = [by_name[name] for name in group.files]
            try:
                if not self._kept.issuperset(members):  # else it was taken, and could not be moved
                    self.take(group)
            except Retriable as error:
                result.problem = error.code
            except HubError as error:
                self._refuse(folder, members, error, at_seconds, result)
            else:
                self._kept.update(members)
                folder.move(members, DONE)
                result.taken += 1
                result.waiting -= len(members)
        for refusal in refusals:
            self._refuse(folder, [by_name[refusal.name]], refusal.error, at_seconds, result)

    def _read(self, folder: Folder, lying: Sequence[Lying], result: Look) -> dict[str, bytes]:
        """Return contents by name, as much as one look should hold in memory."""
        contents: dict[str, bytes] = {}
        held = 0
        for each in lying:
            if each.size > MAX_FILE_BYTES:
                self._put_aside(folder, [each], RecordingTooLarge(limit="bytes", declared=each.size), result)
                continue
            held += each.size
            if held > MAX_FILE_BYTES:
                break
            try:
                content = folder.read(each)
            except OSError as error:
                result.problem = type(error).__name__
                continue
            if content is not None:
                contents[each.name] = content
        return contents

    def _refuse(
        self, folder: Folder, members: Sequence[Lying], error: HubError, at_seconds: float, result: Look
    ) -> None:
        """Put files aside that cannot be taken, unless what they lack may still come."""
        rested = at_seconds - max(self._since[each] for each in members)
        if isinstance(error, _MAY_COME) and rested < PATIENCE_SECONDS:
            return
        self._put_aside(folder, members, error, result)

    def _put_aside(self, folder: Folder, members: Sequence[Lying], error: HubError, result: Look) -> None:
        folder.move(members, REFUSED, self.reason_of(error))
        result.refused += 1
        result.waiting -= len(members)
