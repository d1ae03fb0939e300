"""Studies and series as one zip file, for taking along (PS3.18 section 8.6.1.3).

Files are stored in it uncompressed, exactly as they were received, and written out one
at a time. Sizes are known before the first byte, so that a browser shows how much is
still to come, and a download that broke off is seen to be cut.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter
from fastapi.responses import Response

from hub.catalogue.models import Instance, Series, Study
from hub.context import Context
from hub.dicom.access import VIEWING, Visit, VisitDep, VisitRoute
from hub.dicom.answers import Streamed
from hub.dicom.negotiate import Acceptable
from hub.dicom.stored import checked_chunks
from hub.errors import NotFound

ZIP = "application/zip"

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_END_64, _LOCATOR_64 = b"PK\x06\x06", b"PK\x06\x07"
_VERSION = 45
"""Of the format that a reader must know: with 64-bit sizes (APPNOTE.TXT section 4.4.3)."""
_UNKNOWN_32, _UNKNOWN_16 = 0xFFFFFFFF, 0xFFFF
_EXTRA_64 = 1

routes = APIRouter(dependencies=[VIEWING], tags=["DICOMweb"], route_class=VisitRoute)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the zip."""

    name: bytes
    instance: Instance


@routes.get("/studies/{study_uid}/archive")
def download_study(visit: VisitDep, study_uid: str) -> Response:
    """Return every object of a study as it was received, in one zip file."""
    return zipped(visit, *visit.objects(study_uid), study_uid)


@routes.get("/studies/{study_uid}/series/{series_uid}/archive")
def download_series(visit: VisitDep, study_uid: str, series_uid: str) -> Response:
    """Return every object of a series as it was received, in one zip file."""
    return zipped(visit, *visit.objects(study_uid, series_uid), series_uid)


def wants_zip(accepted: Sequence[Acceptable]) -> bool:
    """Tell whether a client would rather have a zip file than anything else."""
    return bool(accepted) and accepted[0].media_type == ZIP


def zipped(visit: Visit, study: Study, found: Sequence[tuple[Series, Instance]], uid: str) -> Response:
    """Return objects of a study as a zip file that is named by `uid`."""
    if not found:
        raise NotFound
    members = name_members(found)
    moment = visit.context.clock().astimezone(visit.context.settings.zone)
    headers = {
        "Content-Disposition": f'attachment; filename="{uid}.zip"',
        "Cache-Control": "private, no-store",
    }
    body = write_zip(visit.context, members, moment)
    answer = Streamed(body, length=zip_size(members), media_type=ZIP, headers=headers)
    # The first bytes are there, so that what could not be sent does not count as taken.
    visit.note_download(study, [member.instance for member in members])
    return answer


def name_members(found: Sequence[tuple[Series, Instance]]) -> list[Member]:
    """Give each object a name: a folder for each series, files numbered in their order.

    No name holds anything of the patient.
    """
    folders: dict[str, int] = {}
    files: dict[str, int] = {}
    members = []
    for series, instance in found:
        folder = folders.setdefault(series.id, len(folders) + 1)
        files[series.id] = files.get(series.id, 0) + 1
        members.append(Member(f"SE{folder:05d}/IM{files[series.id]:05d}.dcm".encode(), instance))
    return members


def write_zip(context: Context, members: Sequence[Member], moment: datetime) -> Iterator[bytes]:
    """Yield a zip file of objects, each checked before its first byte (APPNOTE.TXT section 4.3).

    Raises
    ------
    ObjectDamaged
        An object is not what was received; the file ends there.
    """
    day = ((max(moment.year, 1980) - 1980) << 9) | (moment.month << 5) | moment.day
    time = (moment.hour << 11) | (moment.minute << 5) | (moment.second // 2)
    entries: list[bytes] = []
    offset = 0
    for member in members:
        size = member.instance.size
        crc = 0
        for piece in (pieces := _Pieces(context, member.instance)):
            crc = zlib.crc32(piece, crc)
        stamp = struct.pack("<HHL", time, day, crc)
        head = _local_head(member.name, size, stamp)
        yield head
        yield from pieces
        entries.append(_entry(member.name, size, stamp, offset))
        offset += len(head) + size
    directory = b"".join(entries)
    yield directory + _end(len(entries), len(directory), offset)


class _Pieces:
    """The bytes of an object, twice: first for their sum, then to be sent; small ones are read once."""

    def __init__(self, context: Context, instance: Instance) -> None:
        self._context, self._instance = context, instance
        self._held: bytes | None = None

    def __iter__(self) -> Iterator[bytes]:
        if self._held is not None:
            yield self._held
            return
        for piece in checked_chunks(self._context, self._instance):
            if len(piece) == self._instance.size:
                self._held = bytes(piece)
            yield piece


def zip_size(members: Sequence[Member]) -> int:
    """Return how many bytes `write_zip` yields."""
    offset, directory = 0, 0
    for member in members:
        size = member.instance.size
        stamp = bytes(8)
        directory += len(_entry(member.name, size, stamp, offset))
        offset += len(_local_head(member.name, size, stamp)) + size
    return offset + directory + len(_end(len(members), directory, offset))


def _local_head(name: bytes, size: int, stamp: bytes) -> bytes:
    large = size >= _UNKNOWN_32
    extra = struct.pack("<HHQQ", _EXTRA_64, 16, size, size) if large else b""
    stated = _UNKNOWN_32 if large else size
    fixed = struct.pack("<4sHHH", _LOCAL, _VERSION, 0, 0) + stamp
    return fixed + struct.pack("<LLHH", stated, stated, len(name), len(extra)) + name + extra


def _entry(name: bytes, size: int, stamp: bytes, offset: int) -> bytes:
    values = [size, size] if size >= _UNKNOWN_32 else []
    values += [offset] if offset >= _UNKNOWN_32 else []
    extra = struct.pack(f"<HH{len(values)}Q", _EXTRA_64, 8 * len(values), *values) if values else b""
    stated, at = min(size, _UNKNOWN_32), min(offset, _UNKNOWN_32)
    fixed = struct.pack("<4sHHHH", _CENTRAL, _VERSION, _VERSION, 0, 0) + stamp
    rest = struct.pack("<LLHHHHHLL", stated, stated, len(name), len(extra), 0, 0, 0, 0, at)
    return fixed + rest + name + extra


def _end(entries: int, directory: int, offset: int) -> bytes:
    large = b""
    if entries >= _UNKNOWN_16 or offset >= _UNKNOWN_32 or directory >= _UNKNOWN_32:
        record = struct.pack("<4sQHHLLQQ", _END_64, 44, _VERSION, _VERSION, 0, 0, entries, entries)
        record += struct.pack("<QQ", directory, offset)
        large = record + struct.pack("<4sLQL", _LOCATOR_64, 0, offset + directory, 1)
    count = min(entries, _UNKNOWN_16)
    sizes = struct.pack("<LL", min(directory, _UNKNOWN_32), min(offset, _UNKNOWN_32))
    return large + struct.pack("<4sHHHH", _END, 0, 0, count, count) + sizes + b"\0\0"


router = APIRouter()
router.include_router(routes, prefix="/dicom-web")
router.include_router(routes, prefix="/dicom-web/sites/{site_id}", include_in_schema=False)
