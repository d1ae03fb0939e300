"""WADO-RS: objects, metadata, bulk data, frames and pictures of studies (PS3.18 section 10.4)."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse

from hub.audit.tags import Tag
from hub.catalogue.models import Instance, Series, Study
from hub.dicom import retrieve
from hub.dicom.access import VIEWING, Visit, VisitDep, caching, etag, not_modified, warning
from hub.dicom.frames import NoPixels, NoSuchFrame
from hub.dicom.negotiate import (
    EXPLICIT_LITTLE,
    OCTETS,
    FrameForm,
    choose_frames,
    choose_instances,
    choose_json,
    choose_octets,
    choose_picture,
)
from hub.dicom.query import ignored_parameters
from hub.dicom.render import DEFAULT_QUALITY, Window, render_frame
from hub.dicom.retrieve import Part, multipart, primed
from hub.dicom.stored import open_object
from hub.errors import Malformed, NotFound
from hub.sites.repository import SiteRepository

THUMBNAIL_SIDE = 128
MOST_FRAMES = 10_000
_RENDERING = frozenset({"accept", "viewport", "window", "quality"})
_FUNCTIONS: dict[str, Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]] = {
    "linear": "LINEAR",
    "linear-exact": "LINEAR_EXACT",
    "sigmoid": "SIGMOID",
}
"""PS3.18 section 8.3.5.1.4."""

SERIES = "/studies/{study_uid}/series/{series_uid}"
INSTANCE = SERIES + "/instances/{sop_uid}"

routes = APIRouter(dependencies=[VIEWING], tags=["DICOMweb"])


class BadFrameList(Malformed):
    """Frame numbers are whole numbers from 1, separated by commas."""


class BadRendering(Malformed):
    """A rendering parameter has a value that cannot be."""


@routes.get("/studies/{study_uid}")
def retrieve_study(visit: VisitDep, study_uid: str) -> Response:
    """Return every object of a study as it was received."""
    study = visit.study(study_uid)
    return _files(visit, study, visit.index.instances_of_study(study.id))


@routes.get(SERIES)
def retrieve_series(visit: VisitDep, study_uid: str, series_uid: str) -> Response:
    """Return every object of a series as it was received."""
    study, found = _of_series(visit, study_uid, series_uid)
    return _files(visit, study, found)


@routes.get(INSTANCE)
def retrieve_instance(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str) -> Response:
    """Return one object as it was received."""
    study, series, instance = _one(visit, study_uid, series_uid, sop_uid)
    return _files(visit, study, [(series, instance)])


@routes.get("/studies/{study_uid}/metadata")
def study_metadata(visit: VisitDep, study_uid: str) -> Response:
    """Describe every object of a study."""
    study = visit.study(study_uid)
    return _metadata(visit, study, visit.index.instances_of_study(study.id))


@routes.get(SERIES + "/metadata")
def series_metadata(visit: VisitDep, study_uid: str, series_uid: str) -> Response:
    """Describe every object of a series."""
    study, found = _of_series(visit, study_uid, series_uid)
    return _metadata(visit, study, found)


@routes.get(INSTANCE + "/metadata")
def instance_metadata(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str) -> Response:
    """Describe one object."""
    study, series, instance = _one(visit, study_uid, series_uid, sop_uid)
    return _metadata(visit, study, [(series, instance)])


@routes.get(INSTANCE + "/frames/{frames}")
def retrieve_frames(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str, frames: str) -> Response:
    """Return frames, stored or decoded, by their numbers from 1."""
    study, series, instance = _one(visit, study_uid, series_uid, sop_uid)
    numbers = _frame_numbers(frames)
    syntax, count = retrieve.stored_form(visit.context, instance)
    if max(numbers) > count:
        raise NoSuchFrame(index=max(numbers) - 1, frames=count)
    url = f"{_url(visit, study, series, instance)}/frames"
    return _frames(visit, study, instance, numbers, syntax, url_of=lambda number: f"{url}/{number}")


@routes.get(INSTANCE + "/bulkdata/{path:path}")
def retrieve_bulk_data(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str, path: str) -> Response:
    """Return a binary value that metadata gave by address."""
    study, series, instance = _one(visit, study_uid, series_uid, sop_uid)
    url = f"{_url(visit, study, series, instance)}/bulkdata/{path}"
    if retrieve.is_pixel_path(path):
        syntax, count = retrieve.stored_form(visit.context, instance)
        if syntax != EXPLICIT_LITTLE:
            numbers = list(range(1, count + 1))
            return _frames(visit, study, instance, numbers, syntax, url_of=lambda _: url)
    as_part = choose_octets(visit.accepted)
    tag = etag(instance.sha256, "bulkdata", path, as_part)
    body = primed(retrieve.bulk_values(visit.context, instance, path))
    visit.note_view(study)
    return not_modified(visit.request, tag) or _octets([Part(OCTETS, url, body)], tag, as_part=as_part)


@routes.get(INSTANCE + "/rendered")
def rendered_instance(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str) -> Response:
    """Draw an image; of several frames the first."""
    study, _, instance = _one(visit, study_uid, series_uid, sop_uid)
    return _picture(visit, study, instance, 1)


@routes.get(INSTANCE + "/frames/{frame}/rendered")
def rendered_frame(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str, frame: str) -> Response:
    """Draw one frame."""
    study, _, instance = _one(visit, study_uid, series_uid, sop_uid)
    return _picture(visit, study, instance, _one_number(frame))


@routes.get("/studies/{study_uid}/thumbnail")
def study_thumbnail(visit: VisitDep, study_uid: str) -> Response:
    """Draw a small picture that stands for a study: the middle image of its first series with images."""
    study = visit.study(study_uid)
    return _thumbnail(visit, study, visit.index.instances_of_study(study.id))


@routes.get(SERIES + "/thumbnail")
def series_thumbnail(visit: VisitDep, study_uid: str, series_uid: str) -> Response:
    """Draw a small picture that stands for a series: its middle image."""
    study, found = _of_series(visit, study_uid, series_uid)
    return _thumbnail(visit, study, found)


@routes.get(INSTANCE + "/thumbnail")
def instance_thumbnail(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str) -> Response:
    """Draw a small picture of an image: its middle frame."""
    study, series, instance = _one(visit, study_uid, series_uid, sop_uid)
    return _thumbnail(visit, study, [(series, instance)])


@routes.get(INSTANCE + "/frames/{frame}/thumbnail")
def frame_thumbnail(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str, frame: str) -> Response:
    """Draw a small picture of a frame."""
    study, _, instance = _one(visit, study_uid, series_uid, sop_uid)
    return _picture(visit, study, instance, _one_number(frame), thumbnail=True)


def _of_series(visit: Visit, study_uid: str, series_uid: str) -> tuple[Study, list[tuple[Series, Instance]]]:
    study = visit.study(study_uid)
    series = visit.series(study, series_uid)
    return study, [(series, instance) for instance in visit.index.instances(series.id)]


def _one(visit: Visit, study_uid: str, series_uid: str, sop_uid: str) -> tuple[Study, Series, Instance]:
    study = visit.study(study_uid)
    series = visit.series(study, series_uid)
    return study, series, visit.instance(study, series_uid, sop_uid)


def _url(visit: Visit, study: Study, series: Series, instance: Instance) -> str:
    of_study = f"{visit.own_root}/studies/{study.study_uid}"
    return f"{of_study}/series/{series.series_uid}/instances/{instance.sop_uid}"


def _files(visit: Visit, study: Study, found: Sequence[tuple[Series, Instance]]) -> Response:
    """Send stored files, bit by bit as received, one at a time in memory."""
    if not found:
        raise NotFound
    instances = [instance for _, instance in found]
    as_parts = choose_instances(visit.accepted, frozenset(each.transfer_syntax for each in instances))
    tag = etag("files", as_parts, *(instance.sha256 for instance in instances))
    unchanged = not_modified(visit.request, tag)
    if unchanged is not None:
        visit.note_view(study)
        return unchanged
    urls = [(instance, _url(visit, study, series, instance)) for series, instance in found]
    if not as_parts and len(instances) == 1:
        (part,) = retrieve.file_parts(visit.context, urls)
        body, media_type = primed(part.body), part.media_type
        headers = caching(tag) | {"Content-Length": str(instances[0].size)}
    else:
        body = primed(multipart(retrieve.file_parts(visit.context, urls), tag))
        media_type, headers = f'multipart/related; type="application/dicom"; boundary={tag}', caching(tag)
    visit.note_download(study, instances)
    return StreamingResponse(body, media_type=media_type, headers=headers)


def _metadata(visit: Visit, study: Study, found: Sequence[tuple[Series, Instance]]) -> Response:
    if not found:
        raise NotFound
    media_type = choose_json(visit.accepted)
    charset_of = _charsets(visit)
    facts = [f"{instance.sha256} {charset_of(instance)}" for _, instance in found]
    tag = etag("metadata", visit.own_root, *facts)
    visit.note_view(study)
    unchanged = not_modified(visit.request, tag)
    if unchanged is not None:
        return unchanged
    urls = [(instance, _url(visit, study, series, instance)) for series, instance in found]
    body = retrieve.metadata(visit.context, urls, charset_of)
    return Response(body, media_type=media_type, headers=caching(tag))


def _charsets(visit: Visit) -> Callable[[Instance], str | None]:
    """Return what tells the charset an object's device is known to use."""
    known: dict[str, str | None] = {}
    repository = SiteRepository(visit.session)

    def charset_of(instance: Instance) -> str | None:
        if instance.device_id is None:
            return None
        if instance.device_id not in known:
            device = repository.device(instance.device_id)
            known[instance.device_id] = device.charset if device else None
        return known[instance.device_id]

    return charset_of


def _frames(
    visit: Visit,
    study: Study,
    instance: Instance,
    numbers: list[int],
    syntax: str,
    *,
    url_of: Callable[[int], str],
) -> Response:
    form = choose_frames(visit.accepted, syntax, several=len(numbers) > 1)
    tag = etag(instance.sha256, "frames", numbers, form)
    visit.note_view(study)
    unchanged = not_modified(visit.request, tag)
    if unchanged is not None:
        return unchanged
    sent = syntax if form.stored else EXPLICIT_LITTLE
    contents = retrieve.frames(visit.context, instance, numbers, stored=form.stored)
    return _octets(_frame_parts(form, sent, numbers, contents, url_of), tag, form.media_type, form.multipart)


def _frame_parts(
    form: FrameForm,
    syntax: str,
    numbers: list[int],
    contents: Iterator[bytes],
    url_of: Callable[[int], str],
) -> Iterator[Part]:
    for number, content in zip(numbers, contents, strict=True):
        yield Part(f"{form.media_type}; transfer-syntax={syntax}", url_of(number), (content,))


def _octets(
    parts: Iterable[Part], tag: str, media_type: str = OCTETS, as_part: bool = True
) -> StreamingResponse:
    """Send parts, or the content of the only one alone; the first is made before the answer begins."""
    if as_part:
        body = primed(multipart(parts, tag))
        kind = f'multipart/related; type="{media_type}"; boundary={tag}'
        return StreamingResponse(body, media_type=kind, headers=caching(tag))
    (alone,) = parts
    return StreamingResponse(primed(alone.body), media_type=alone.media_type, headers=caching(tag))


def _thumbnail(visit: Visit, study: Study, found: Sequence[tuple[Series, Instance]]) -> Response:
    pictures = [(series, instance) for series, instance in found if instance.rows and instance.columns]
    if not pictures:
        raise NoPixels
    own = [instance for series, instance in pictures if series.id == pictures[0][0].id]
    instance = own[(len(own) - 1) // 2]
    return _picture(visit, study, instance, (max(instance.frames, 1) + 1) // 2, thumbnail=True)


def _picture(
    visit: Visit, study: Study, instance: Instance, frame: int, *, thumbnail: bool = False
) -> Response:
    """Draw one frame for looking something up; reading is done on the stored values."""
    parameters = visit.request.query_params
    image_format = choose_picture(visit.accepted)
    window, size = _window(parameters.get("window", "")), _viewport(parameters.get("viewport", ""))
    if thumbnail and size is None:
        size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    quality = _quality(parameters.get("quality", ""))
    tag = etag(instance.sha256, "picture", frame, image_format, window, size, quality)
    # A thumbnail is no look at the images: signing asks for one, and a list may show thumbnails.
    visit.note_view(study, Tag.STUDY_PREVIEW if thumbnail else Tag.STUDY_VIEW)
    unchanged = not_modified(visit.request, tag)
    if unchanged is not None:
        return unchanged
    with open_object(visit.context, instance) as data, retrieve.decoding(instance):
        drawn = render_frame(
            data, frame - 1, window=window, size=size, image_format=image_format, quality=quality
        )
    headers = caching(tag)
    ignored = {name for name in parameters if name not in _RENDERING}
    if ignored:
        headers["Warning"] = warning(visit.own_root, ignored_parameters(ignored))
    return Response(drawn, media_type=f"image/{image_format}", headers=headers)


def _frame_numbers(text: str) -> list[int]:
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text):
        raise BadFrameList
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1 or len(numbers) > MOST_FRAMES:
        raise BadFrameList
    return numbers


def _one_number(text: str) -> int:
    numbers = _frame_numbers(text)
    if len(numbers) != 1:
        raise BadFrameList("one frame is drawn at a time")
    return numbers[0]


def _window(text: str) -> Window | None:
    """Read ``center,width,function`` (PS3.18 section 8.3.5.1.4)."""
    if not text:
        return None
    center, _, rest = text.partition(",")
    width, _, function = rest.partition(",")
    number = r"[+-]?[0-9]{1,9}(\.[0-9]{0,9})?"
    fits = re.fullmatch(number, center) and re.fullmatch(number, width)
    if not fits or (function or "linear").lower() not in _FUNCTIONS:
        raise BadRendering("window reads CENTER,WIDTH,FUNCTION; linear, linear-exact or sigmoid")
    return Window(float(center), float(width), _FUNCTIONS[(function or "linear").lower()])


def _viewport(text: str) -> tuple[int, int] | None:
    """Read ``width,height`` (PS3.18 section 8.3.5.1.3); parts of a picture are not drawn."""
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5},[0-9]{1,5}", text):
        raise BadRendering("viewport reads WIDTH,HEIGHT in pixels; regions of the source are not supported")
    width, height = text.split(",")
    return int(width), int(height)


def _quality(text: str) -> int:
    if not text:
        return DEFAULT_QUALITY
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 100:  # noqa: PLR2004 - percent
        raise BadRendering("quality is a whole number from 1 to 100")
    return int(text)


router = APIRouter()
router.include_router(routes, prefix="/dicom-web")
router.include_router(routes, prefix="/dicom-web/sites/{site_id}", include_in_schema=False)
