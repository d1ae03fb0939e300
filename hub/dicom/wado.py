"""WADO-RS: objects, metadata, bulk data and frames of studies (PS3.18 section 10.4)."""

import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from fastapi import APIRouter
from fastapi.responses import Response

from hub.catalogue.models import Instance, Series, Study
from hub.dicom import pictures, retrieve
from hub.dicom.access import (
    INSTANCE,
    SERIES,
    VIEWING,
    Visit,
    VisitDep,
    VisitRoute,
    caching,
    etag,
    not_modified,
)
from hub.dicom.answers import (
    Part,
    Streamed,
    gzip_wanted,
    json_answer,
    multipart,
    multipart_length,
    ranged,
    value_of,
)
from hub.dicom.archive import wants_zip, zipped
from hub.dicom.frames import Image, NoSuchFrame, native_frame_size
from hub.dicom.negotiate import OCTETS, choose_files, choose_frames, choose_json, choose_octets
from hub.dicom.retrieve import frame_syntax
from hub.dicom.series_metadata import series_metadata as prepared_metadata
from hub.dicom.source import Octets
from hub.dicom.transcode import frame_transcodable
from hub.errors import Malformed, NotFound
from hub.sites.repository import SiteRepository

MOST_FRAMES = 10_000
AT_ONCE_BYTES = 32 << 20
"""Frames up to this size together are read before the answer begins; more are read while it is sent."""

routes = APIRouter(dependencies=[VIEWING], tags=["DICOMweb"], route_class=VisitRoute)


class BadFrameList(Malformed):
    """Frame numbers are whole numbers from 1, separated by commas."""


# First, because a viewer asks for little else, and paths are tried in their order.
@routes.get(INSTANCE + "/frames/{frames}")
def retrieve_frames(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str, frames: str) -> Response:
    """Return frames by their numbers from 1: stored, decoded, or in a transfer syntax that is asked for."""
    study, series, instance = visit.one(study_uid, series_uid, sop_uid)
    url = f"{_url(visit, study, series, instance)}/frames"
    visit.request.app.state.read_ahead.after(instance)
    return _frames(visit, study, instance, _frame_numbers(frames), lambda number: f"{url}/{number}")


@routes.get("/studies/{study_uid}")
def retrieve_study(visit: VisitDep, study_uid: str) -> Response:
    """Return every object of a study, as it was received or in a transfer syntax that is asked for."""
    found = visit.objects(study_uid)
    return zipped(visit, *found, study_uid) if wants_zip(visit.accepted) else _files(visit, *found)


@routes.get(SERIES)
def retrieve_series(visit: VisitDep, study_uid: str, series_uid: str) -> Response:
    """Return every object of a series."""
    found = visit.objects(study_uid, series_uid)
    return zipped(visit, *found, series_uid) if wants_zip(visit.accepted) else _files(visit, *found)


@routes.get(INSTANCE)
def retrieve_instance(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str) -> Response:
    """Return one object."""
    return _files(visit, *visit.objects(study_uid, series_uid, sop_uid))


@routes.get("/studies/{study_uid}/metadata")
def study_metadata(visit: VisitDep, study_uid: str) -> Response:
    """Describe every object of a study."""
    return _metadata(visit, *visit.objects(study_uid))


@routes.get(SERIES + "/metadata")
def series_metadata(visit: VisitDep, study_uid: str, series_uid: str) -> Response:
    """Describe every object of a series; once it is settled, from one stored object."""
    study, series = visit.one_series(study_uid, series_uid)
    media_type = choose_json(visit.accepted)
    body = prepared_metadata(visit.context, study, series, visit.own_root)
    if body is None:
        return _metadata(visit, *visit.objects(study_uid, series_uid))
    visit.note_view(study)
    tag = etag("prepared metadata", sha256(body).hexdigest(), gzip_wanted(visit.request))
    return not_modified(visit.request, tag) or json_answer(visit.request, body, tag, media_type)


@routes.get(INSTANCE + "/metadata")
def instance_metadata(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str) -> Response:
    """Describe one object."""
    return _metadata(visit, *visit.objects(study_uid, series_uid, sop_uid))


@routes.get(INSTANCE + "/bulkdata/{path:path}")
def retrieve_bulk_data(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str, path: str) -> Response:
    """Return a binary value that metadata gave by address, or a range of it."""
    study, series, instance = visit.one(study_uid, series_uid, sop_uid)
    url = f"{_url(visit, study, series, instance)}/bulkdata/{path}"
    if retrieve.is_pixel_path(path):
        with retrieve.open_image(visit.context, instance) as image:
            compressed, count = image.encapsulated, image.size.frames
        if compressed:
            return _frames(visit, study, instance, list(range(1, count + 1)), lambda _: url)
    as_part = choose_octets(visit.accepted)
    tag = etag(instance.sha256, "bulkdata", path, as_part)
    value = retrieve.bulk_value(visit.context, instance, path)
    visit.note_view(study)
    unchanged = not_modified(visit.request, tag)
    if unchanged is not None:
        return unchanged
    if not as_part:
        return ranged(visit.request, value, tag, OCTETS)
    return _parts([Part(OCTETS, url, value.chunks(0, value.size), value.size)], tag, OCTETS)


def _url(visit: Visit, study: Study, series: Series, instance: Instance) -> str:
    of_study = f"{visit.own_root}/studies/{study.study_uid}"
    return f"{of_study}/series/{series.series_uid}/instances/{instance.sop_uid}"


def _files(visit: Visit, study: Study, found: Sequence[tuple[Series, Instance]]) -> Response:
    """Send stored files, bit by bit as received, or copies of them in another syntax."""
    if not found:
        raise NotFound
    form = choose_files(visit.accepted)
    chosen = [
        (instance, _url(visit, study, series, instance), _syntax_of(visit, instance, form.of))
        for series, instance in found
    ]
    tag = etag("files", form.multipart, *(f"{instance.sha256} {syntax}" for instance, _, syntax in chosen))
    instances = [instance for _, instance in found]
    unchanged = not_modified(visit.request, tag)
    if unchanged is not None:
        visit.note_view(study)
        return unchanged
    if not form.multipart and len(chosen) == 1:
        (part,) = retrieve.file_parts(visit.context, chosen)
        answer = Streamed(part.body, length=part.size, media_type=part.media_type, headers=caching(tag))
    else:
        length = multipart_length(retrieve.part_heads(chosen), tag)
        body = multipart(retrieve.file_parts(visit.context, chosen), tag)
        kind = f'multipart/related; type="application/dicom"; boundary={tag}'
        answer = Streamed(body, length=length, media_type=kind, headers=caching(tag))
    # The first bytes are there, so that what could not be sent does not count as taken.
    visit.note_download(study, instances)
    return answer


def _syntax_of(visit: Visit, instance: Instance, choose: Callable[[str, Callable[[str], bool]], str]) -> str:
    return choose(
        instance.transfer_syntax,
        lambda syntax: retrieve.can_transcode(visit.context, instance, syntax),
    )


def _metadata(visit: Visit, study: Study, found: Sequence[tuple[Series, Instance]]) -> Response:
    if not found:
        raise NotFound
    media_type = choose_json(visit.accepted)
    charset_of = _charsets(visit, {instance.device_id for _, instance in found})
    facts = [f"{instance.sha256} {charset_of(instance)}" for _, instance in found]
    tag = etag("metadata", visit.own_root, gzip_wanted(visit.request), *facts)
    visit.note_view(study)
    unchanged = not_modified(visit.request, tag)
    if unchanged is not None:
        return unchanged
    urls = [(instance, _url(visit, study, series, instance)) for series, instance in found]
    body = retrieve.metadata(visit.context, urls, charset_of)
    return json_answer(visit.request, body, tag, media_type)


def _charsets(visit: Visit, device_ids: set[str | None]) -> Callable[[Instance], str | None]:
    """Return what tells the charset an object's device is known to use."""
    known: dict[str | None, str | None] = {None: None}
    with visit.context.db.reading() as session:
        repository = SiteRepository(session)
        for device_id in device_ids:
            device = repository.device(device_id) if device_id else None
            known[device_id] = device.charset if device else None
    return lambda instance: known[instance.device_id]


def _frames(
    visit: Visit, study: Study, instance: Instance, numbers: list[int], url_of: Callable[[int], str]
) -> Response:
    with retrieve.open_image(visit.context, instance) as image:
        if max(numbers) > image.size.frames:
            raise NoSuchFrame(index=max(numbers) - 1, frames=image.size.frames)
        form = choose_frames(
            visit.accepted,
            frame_syntax(image),
            lambda syntax: frame_transcodable(image, syntax),
            several=len(numbers) > 1,
        )
        tag = etag(instance.sha256, "frames", numbers, form)
        visit.note_view(study)
        unchanged = not_modified(visit.request, tag)
        if unchanged is not None:
            return unchanged
        ready = _ready_frames(image, instance, numbers, form.syntax)
    media_type = f"{form.media_type}; transfer-syntax={form.syntax}"
    contents = ready or retrieve.frames(visit.context, instance, numbers, form.syntax)
    if not form.multipart:
        (content,) = contents
        return ranged(visit.request, value_of(content), tag, media_type)
    parts = (
        Part(media_type, url_of(number), (content,), len(content))
        for number, content in zip(numbers, contents, strict=True)
    )
    return _parts(list(parts) if ready else parts, tag, form.media_type)


def _ready_frames(image: Image, instance: Instance, numbers: list[int], syntax: str) -> list[Octets]:
    """Return the frames when they are small together, so that the object need not be opened again."""
    if native_frame_size(image) * len(numbers) > AT_ONCE_BYTES:
        return []
    return list(retrieve.frames_of(image, instance, numbers, syntax))


def _parts(parts: Iterable[Part], tag: str, media_type: str) -> Response:
    length = multipart_length(parts, tag) if isinstance(parts, list) else None
    kind = f'multipart/related; type="{media_type}"; boundary={tag}'
    return Streamed(multipart(parts, tag), length=length, media_type=kind, headers=caching(tag))


def _frame_numbers(text: str) -> list[int]:
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text):
        raise BadFrameList
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1 or len(numbers) > MOST_FRAMES:
        raise BadFrameList
    return numbers


router = APIRouter()
for each in (routes, pictures.routes):
    router.include_router(each, prefix="/dicom-web")
    router.include_router(each, prefix="/dicom-web/sites/{site_id}", include_in_schema=False)
