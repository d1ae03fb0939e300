"""DICOM files sent over HTTP by a person's browser or a site's machine."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any, BinaryIO, cast

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.catalogue.service import Origin, Outcome
from hub.context import Context
from hub.dicom import ingest
from hub.errors import Conflict, HubError, Malformed, Rejected, Retriable
from hub.sites import service as sites
from hub.web.deps import ContextDep
from hub.web.errors import message_of
from hub.web.templating import language_of

router = APIRouter(prefix="/api/v1", tags=["upload"])

MEMORY_BYTES = 4 << 20
"""A body stays in memory up to this size and goes to a temporary file beyond it."""

FILES_AT_ONCE = 2000
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
ACCEPTED, PARTLY, NOTHING = 200, 202, 422

Sender = Annotated[Actor, guard(Permission.UPLOAD)]


class ArchiveRefused(Rejected):
    """Archives are not unpacked: send the DICOM files themselves."""


class EmptyFile(Malformed):
    """The file is empty."""


class NothingSent(Malformed):
    """The request holds no file."""


class UidConflict(Conflict):
    """Another object with this UID is filed already; these bytes are kept at the desk."""

    dimse_status = 0x0111


@dataclass(frozen=True)
class Sent:
    """What a request carries: files on disk or in memory, and the site it names."""

    files: tuple[tuple[str, IO[bytes]], ...]
    site: str


async def received(request: Request, actor: Sender) -> AsyncIterator[Sent]:
    """Take the body in, after the guard has let the sender in; temporary files end with the request."""
    del actor
    site = request.query_params.get("site", "")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=FILES_AT_ONCE, max_fields=20) as form:
            uploads = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            named = form.get("site")
            files = tuple((part.filename or "", cast("IO[bytes]", part.file)) for part in uploads)
            yield Sent(files, named if isinstance(named, str) and named else site)
        return
    with SpooledTemporaryFile(max_size=MEMORY_BYTES) as spool:
        async for chunk in request.stream():
            spool.write(chunk)
        yield Sent((("", spool),) if spool.tell() else (), site)


@router.post(
    "/dicom",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/dicom": {"schema": {"type": "string", "format": "binary"}},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["files"],
                        "properties": {
                            "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                            "site": {"type": "string"},
                        },
                    }
                },
            },
        }
    },
)
def upload(
    request: Request, actor: Sender, sent: Annotated[Sent, Depends(received)], context: ContextDep
) -> JSONResponse:
    """File DICOM objects under a site. Each file is answered for itself.

    200 when all were taken, 202 when some were, 422 when none was. What is listed under
    ``accepted`` is durable; sending it again does no harm. 503 means that the same
    request may succeed later.
    """
    with context.db.reading() as session:
        site = sites.acting_site(session, actor, Permission.UPLOAD, sent.site)
    if not sent.files:
        raise NothingSent
    origin = Origin(site.id, actor.ref, actor.address)
    lang = language_of(request)
    accepted: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for name, file in sent.files:
        try:
            outcome = _file(context, file, origin, site.code)
        except Retriable:
            raise
        except HubError as error:
            message = message_of(lang, error.code, str(error))
            refused.append({"name": name, "code": error.code, "message": message})
        else:
            accepted.append({"name": name, "outcome": str(outcome)})
    status = NOTHING if not accepted else PARTLY if refused else ACCEPTED
    body: dict[str, Any] = {"accepted": accepted, "refused": refused}
    if not accepted:
        body |= {"code": refused[0]["code"], "message": refused[0]["message"]}
    return JSONResponse(body, status)


def _file(context: Context, file: IO[bytes], origin: Origin, site_code: str) -> Outcome:
    """File one upload."""
    if file.seek(0, 2) == 0:
        raise EmptyFile
    file.seek(0)
    if file.read(4).startswith(ZIP_MAGIC):
        raise ArchiveRefused
    outcome = ingest.file_upload(context, cast("BinaryIO", file), origin, site_code)
    if outcome is Outcome.CONFLICT:
        raise UidConflict
    return outcome
