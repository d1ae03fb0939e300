"""Which of the files of one upload belong together: a recording each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hub.ecg.errors import HeaderMissing, NameTwice, UnknownFormat
from hub.ecg.formats.sniff import is_wfdb_header, name_of_unread
from hub.ecg.formats.table import format_of
from hub.ecg.formats.wfdb_header import companions, roots
from hub.errors import HubError

_SAMPLE_ENDINGS = (".dat", ".mat")
_UNTOLD = ("unknown bytes", "WFDB samples in MATLAB 4 form without their header")


@dataclass(frozen=True)
class Group:
    """The files of one recording.

    Attributes
    ----------
    name : str
        The file that is read first.
    files : mapping of str to bytes
        By name without folders.
    dicom : bool
        Whether it is a single DICOM object.
    """

    name: str
    files: Mapping[str, bytes]
    dicom: bool = False


@dataclass(frozen=True)
class Refusal:
    """A file that belongs to no recording, and why."""

    name: str
    error: HubError


def group_files(sent: Iterable[tuple[str, bytes]]) -> tuple[list[Group], list[Refusal]]:
    """Sort the files of an upload into recordings.

    Parameters
    ----------
    sent : iterable of (str, bytes)
        Names as sent and contents. Folders in names do not count.

    Returns
    -------
    groups, refusals : tuple
        A file of a format that is one file is a recording of its own; a WFDB header takes the files that it
        and its segments' headers name, whatever their case. What is missing shows when it is read.
    """
    files, refusals = _by_name(sent)
    found = [(name, data, each) for name, data in files.items() if (each := format_of(data))]
    groups = [Group(name, {name: data}, dicom=each.key == "dicom") for name, data, each in found]
    taken = {group.name for group in groups}
    by_folded = {name.casefold(): name for name in files}
    headers = {name: data for name, data in files.items() if name not in taken and is_wfdb_header(data)}
    for header in roots(headers):
        members = {name: files[name] for name in (header, *_with_companions(header, files, by_folded))}
        groups.append(Group(header, members))
        taken |= members.keys()
    refusals += [Refusal(name, unclaimed(name, data)) for name, data in files.items() if name not in taken]
    return groups, refusals


def _by_name(sent: Iterable[tuple[str, bytes]]) -> tuple[dict[str, bytes], list[Refusal]]:
    files: dict[str, bytes] = {}
    refusals: list[Refusal] = []
    for number, (stated, data) in enumerate(sent, start=1):
        name = bare_name(stated) or f"file-{number}"
        if files.get(name, data) != data:
            refusals.append(Refusal(name, NameTwice()))
        files.setdefault(name, data)
    for name in {refusal.name for refusal in refusals}:
        del files[name]
    return files, refusals


def bare_name(stated: str) -> str:
    """Return a file name without folders and without what cannot be printed, at most 200 characters."""
    last = stated.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable()).strip()[-200:]


def _with_companions(header: str, files: Mapping[str, bytes], by_folded: Mapping[str, str]) -> list[str]:
    """Return the files among those sent that a header names, and those that its segments' headers name."""
    found: dict[str, None] = {}
    asked = [header]
    while asked:
        for stated in companions(files[asked.pop()]):
            name = by_folded.get(bare_name(stated).casefold())
            if name and name != header and name not in found:
                found[name] = None
                if is_wfdb_header(files[name]):
                    asked.append(name)
    return list(found)


def unclaimed(name: str, data: bytes) -> HubError:
    """Say why a file of no format that is read belongs to no recording."""
    seen = name_of_unread(data)
    if seen in _UNTOLD and name.casefold().endswith(_SAMPLE_ENDINGS):
        return HeaderMissing()
    return UnknownFormat(seen=seen)
