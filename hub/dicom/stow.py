"""STOW-RS: storing objects over HTTP (PS3.18 section 10.5).

Each part goes from the wire into the store, a megabyte at a time in memory, and through
the same gate as an object that came by C-STORE. Every object is answered for itself.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from hub.auth.actor import Actor
from hub.auth.deps import guard
from hub.auth.roles import Permission
from hub.catalogue.arrivals import Arrival
from hub.catalogue.service import Origin, Outcome
from hub.catalogue.twins import enter
from hub.context import Context
from hub.dicom import ingest
from hub.dicom.access import Visit, warning
from hub.dicom.header import InstanceHeader
from hub.dicom.negotiate import DICOM, choose_json
from hub.dicom.part10 import split
from hub.dicom.parts import BodyTooLarge, BrokenBody, Part, body_of, boundary_of, content_type, parts
from hub.dicom.upload_endpoints import EmptyFile, NothingSent, UidConflict
from hub.errors import HubError, Rejected, Retriable, StoreUnavailable
from hub.kit.uids import parse_uid
from hub.sites import service as sites
from hub.web.deps import ContextDep
from storage.errors import StorageError
from storage.staged import Staged

log = structlog.get_logger()

ENTERED_TOGETHER = 64
"""Rows of so many objects are committed at once; their bytes are durable before that."""

DONE, PARTLY, NOTHING = 200, 202, 409
_OPAQUE = frozenset({DICOM, "application/octet-stream", ""})

Sender = Annotated[Actor, guard(Permission.UPLOAD)]
Json = dict[str, Any]

routes = APIRouter(tags=["DICOMweb"])


class WrongMediaType(Rejected):
    """Send multipart/related with parts of application/dicom; metadata with bulk data is not taken."""

    http_status = 415


class WrongStudy(Rejected):
    """The object belongs to another study than the one in the address."""

    dimse_status = 0xA901


class PartNotDicom(Rejected):
    """The part is not of media type application/dicom."""

    dimse_status = 0xC000


@dataclass(slots=True)
class Result:
    """What became of one part; UIDs are empty as long as they are not known."""

    sop_class: str = ""
    sop_uid: str = ""
    series_uid: str = ""
    study_uid: str = ""
    error: HubError | None = None


@dataclass(slots=True)
class Sending:
    """One request: for which site and study, and what came of its parts so far."""

    context: Context
    origin: Origin
    site_code: str
    study_uid: str
    results: list[Result] = field(default_factory=list)
    _waiting: list[tuple[Result, Arrival]] = field(default_factory=list)

    def take_all(self, incoming: Iterable[Part]) -> None:
        """Keep every part, each for itself.

        A body that breaks off ends it: what came before has been kept, and the result of
        the part that broke off says so.

        Raises
        ------
        Retriable
            Store or database are away: the whole request should be sent again.
        """
        try:
            for part in incoming:
                self._take(part)
        except (BrokenBody, BodyTooLarge) as error:
            if not self.results or self.results[-1].error or self.results[-1].sop_uid:
                self.results.append(Result())
            self.results[-1].error = error
        self._enter()

    def _take(self, part: Part) -> None:
        result = Result()
        self.results.append(result)
        try:
            if part.media_type not in _OPAQUE:
                raise PartNotDicom
            self._keep(part.pieces(), result)
        except (Retriable, BrokenBody, BodyTooLarge):
            raise
        except HubError as error:
            result.error = error
        if len(self._waiting) >= ENTERED_TOGETHER:
            self._enter()

    def _keep(self, pieces: Iterator[bytes], result: Result) -> None:
        with ingest.stage(self.context) as staged:
            _write(staged, pieces)
            if not staged.size:
                raise EmptyFile
            meta, start = split(staged.reader())
            parse_uid(meta.transfer_syntax)
            result.sop_class, result.sop_uid = meta.sop_class, meta.sop_instance
            header = ingest.header_of(staged, start, meta.transfer_syntax, sop_class=meta.sop_class)
            self._check(header, result)
            if start == 0:  # a bare data set: it is given a file header, so it is copied once more
                outcome = ingest.file_upload(self.context, staged.reader(), self.origin, self.site_code)
                _judge(result, outcome)
                return
            arrival = ingest.arrival_of(staged, ingest.facts_of(header), start, self.origin, self.site_code)
            ingest.keep(staged, arrival)
            self._waiting.append((result, arrival))

    def _check(self, header: InstanceHeader, result: Result) -> None:
        result.sop_class, result.sop_uid = header.sop_class, header.sop_uid
        result.series_uid, result.study_uid = header.series_uid, header.study_uid
        if self.study_uid and header.study_uid != self.study_uid:
            raise WrongStudy

    def _enter(self) -> None:
        """Commit the rows of objects whose bytes are durable."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            arrivals = [arrival for _, arrival in waiting]
            outcomes = enter(self.context, arrivals, now=self.context.clock())
            for (result, _), outcome in zip(waiting, outcomes, strict=True):
                _judge(result, outcome)


def _write(staged: Staged, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        try:
            staged.write(piece)
        except StorageError as error:
            log.exception("store_failed")
            raise StoreUnavailable from error


def _judge(result: Result, outcome: Outcome) -> None:
    """Tell the sender of what was kept at the desk only."""
    if outcome is Outcome.CONFLICT:
        result.error = UidConflict()
    elif outcome is Outcome.OTHER_PATIENT:
        result.error = ingest.PatientConflict()
    log.info("instance_received", sop_uid=result.sop_uid, outcome=str(outcome))


@routes.post("/studies")
def store(request: Request, actor: Sender, context: ContextDep) -> JSONResponse:
    """Store objects of any studies."""
    return _store(request, actor, context, "")


@routes.post("/studies/{study_uid}")
def store_in_study(request: Request, actor: Sender, context: ContextDep, study_uid: str) -> JSONResponse:
    """Store objects of one study; those of another are refused."""
    return _store(request, actor, context, parse_uid(study_uid))


def _store(request: Request, actor: Actor, context: Context, study_uid: str) -> JSONResponse:
    visit = Visit(request, actor, context, request.path_params.get("site_id"))
    with context.db.reading() as session:
        site = sites.acting_site(session, actor, Permission.UPLOAD, visit.site_id or "")
    media_type = choose_json(visit.accepted)
    incoming = _incoming(request)
    sending = Sending(context, Origin(site.id, actor.ref, actor.address), site.code, study_uid)
    sending.take_all(incoming)
    results = sending.results
    if not results:
        raise NothingSent
    failures = [result.error for result in results if result.error]
    if len(failures) == len(results) and isinstance(failures[-1], BrokenBody | BodyTooLarge):
        raise failures[-1]
    status = DONE if not failures else PARTLY if len(failures) < len(results) else NOTHING
    headers = {}
    if failures:
        said = f"{len(failures)} of {len(results)} objects were not stored. The first: {failures[0]}"
        headers["Warning"] = warning(visit.own_root, said)
    root = f"{visit.root}/sites/{site.id}/studies"
    return JSONResponse(_report(root, results), status, headers=headers, media_type=media_type)


def _incoming(request: Request) -> Iterator[Part]:
    """Return the parts that the request carries.

    Raises
    ------
    WrongMediaType
        It carries something else than DICOM files.
    BrokenBody
        It names no boundary.
    """
    kind = content_type(request.headers.get("content-type", ""))
    inner = str(kind.get_param("type", "") or "").lower()
    if kind.get_content_type() == "multipart/related" and inner in {"", DICOM}:
        return parts(body_of(request), boundary_of(kind))
    if kind.get_content_type() == DICOM:
        return iter((Part(kind, body_of(request)),))
    raise WrongMediaType


def _report(root: str, results: list[Result]) -> Json:
    """Return the Store Instances Response (PS3.18 section 10.5.3 and annex I.2)."""
    stored = [result for result in results if not result.error]
    named = [result for result in results if result.error and result.sop_uid]
    unnamed = [result for result in results if result.error and not result.sop_uid]
    report: Json = {}
    studies = {result.study_uid for result in stored}
    if len(studies) == 1:
        report["00081190"] = {"vr": "UR", "Value": [f"{root}/{studies.pop()}"]}
    if named:
        report["00081198"] = {"vr": "SQ", "Value": [_sop(each) | _reason(each) for each in named]}
    if stored:
        report["00081199"] = {"vr": "SQ", "Value": [_sop(each) | _address(root, each) for each in stored]}
    if unnamed:
        report["0008119A"] = {"vr": "SQ", "Value": [_reason(each) for each in unnamed]}
    return report


def _sop(result: Result) -> Json:
    sop_class = {"vr": "UI", "Value": [result.sop_class]} if result.sop_class else {"vr": "UI"}
    return {"00081150": sop_class, "00081155": {"vr": "UI", "Value": [result.sop_uid]}}


def _address(root: str, result: Result) -> Json:
    url = f"{root}/{result.study_uid}/series/{result.series_uid}/instances/{result.sop_uid}"
    return {"00081190": {"vr": "UR", "Value": [url]}}


def _reason(result: Result) -> Json:
    code = result.error.dimse_status if result.error else 0
    return {"00081197": {"vr": "US", "Value": [code]}}


router = APIRouter()
router.include_router(routes, prefix="/dicom-web")
router.include_router(routes, prefix="/dicom-web/sites/{site_id}", include_in_schema=False)
