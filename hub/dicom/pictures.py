"""Rendered pictures and thumbnails over DICOMweb (PS3.18 sections 8.3.5 and 10.4.1.1.3)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import Response

from hub.audit.tags import Tag
from hub.catalogue.models import Instance, Series, Study
from hub.dicom import retrieve
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
    warning,
)
from hub.dicom.answers import Part, Streamed, multipart
from hub.dicom.frames import NoPixels, NoSuchFrame
from hub.dicom.negotiate import choose_picture
from hub.dicom.query import ignored_parameters
from hub.dicom.render import DEFAULT_QUALITY, Region, Window, render_frame
from hub.dicom.stored import open_object
from hub.errors import Malformed, TooLarge

THUMBNAIL_SIDE = 128
MOST_PICTURES = 200
"""Pictures in one answer; of larger series single frames are asked for."""

_RENDERING = frozenset({"accept", "viewport", "window", "quality"})
_FUNCTIONS: dict[str, Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]] = {
    "linear": "LINEAR",
    "linear-exact": "LINEAR_EXACT",
    "sigmoid": "SIGMOID",
}
"""PS3.18 section 8.3.5.1.4."""
_NUMBER = r"[+-]?[0-9]{1,9}(?:\.[0-9]{0,9})?"

routes = APIRouter(dependencies=[VIEWING], tags=["DICOMweb"], route_class=VisitRoute)


class BadRendering(Malformed):
    """A rendering parameter has a value that cannot be."""


class TooManyPictures(TooLarge):
    """More than 200 pictures in one answer are not drawn; ask for single instances or frames."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """How pictures are drawn, as a request says."""

    image_format: Literal["jpeg", "png"]
    window: Window | None
    size: tuple[int, int] | None
    region: Region | None
    quality: int


@routes.get("/studies/{study_uid}/rendered")
def rendered_study(visit: VisitDep, study_uid: str) -> Response:
    """Draw every frame of a study, each as a part; at most 200."""
    return _pictures(visit, *visit.objects(study_uid))


@routes.get(SERIES + "/rendered")
def rendered_series(visit: VisitDep, study_uid: str, series_uid: str) -> Response:
    """Draw every frame of a series, each as a part; at most 200."""
    return _pictures(visit, *visit.objects(study_uid, series_uid))


@routes.get(INSTANCE + "/rendered")
def rendered_instance(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str) -> Response:
    """Draw an image; of several frames the first."""
    study, _, instance = visit.one(study_uid, series_uid, sop_uid)
    return _picture(visit, study, instance, 1)


@routes.get(INSTANCE + "/frames/{frame}/rendered")
def rendered_frame(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str, frame: str) -> Response:
    """Draw one frame."""
    study, _, instance = visit.one(study_uid, series_uid, sop_uid)
    return _picture(visit, study, instance, _one_number(frame))


@routes.get("/studies/{study_uid}/thumbnail")
def study_thumbnail(visit: VisitDep, study_uid: str) -> Response:
    """Draw a small picture that stands for a study: the middle image of its first series with images."""
    return _thumbnail(visit, *visit.objects(study_uid))


@routes.get(SERIES + "/thumbnail")
def series_thumbnail(visit: VisitDep, study_uid: str, series_uid: str) -> Response:
    """Draw a small picture that stands for a series: its middle image."""
    return _thumbnail(visit, *visit.objects(study_uid, series_uid))


@routes.get(INSTANCE + "/thumbnail")
def instance_thumbnail(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str) -> Response:
    """Draw a small picture of an image: its middle frame."""
    return _thumbnail(visit, *visit.objects(study_uid, series_uid, sop_uid))


@routes.get(INSTANCE + "/frames/{frame}/thumbnail")
def frame_thumbnail(visit: VisitDep, study_uid: str, series_uid: str, sop_uid: str, frame: str) -> Response:
    """Draw a small picture of a frame."""
    study, _, instance = visit.one(study_uid, series_uid, sop_uid)
    return _picture(visit, study, instance, _one_number(frame), thumbnail=True)


def _thumbnail(visit: Visit, study: Study, found: Sequence[tuple[Series, Instance]]) -> Response:
    pictures = _with_pixels(found)
    own = [instance for series, instance in pictures if series.id == pictures[0][0].id]
    instance = own[(len(own) - 1) // 2]
    return _picture(visit, study, instance, (max(instance.frames, 1) + 1) // 2, thumbnail=True)


def _with_pixels(found: Sequence[tuple[Series, Instance]]) -> list[tuple[Series, Instance]]:
    pictures = [(series, instance) for series, instance in found if instance.rows and instance.columns]
    if not pictures:
        raise NoPixels
    return pictures


def _picture(
    visit: Visit, study: Study, instance: Instance, frame: int, *, thumbnail: bool = False
) -> Response:
    """Draw one frame for looking something up; reading is done on the stored values."""
    drawing = _drawing(visit, several=False, thumbnail=thumbnail)
    tag = etag(instance.sha256, "picture", frame, drawing)
    if frame > max(instance.frames, 1):
        raise NoSuchFrame(index=frame - 1, frames=instance.frames)
    # A thumbnail is no look at the images: signing asks for one, and a list may show thumbnails.
    visit.note_view(study, Tag.STUDY_PREVIEW if thumbnail else Tag.STUDY_VIEW)
    unchanged = not_modified(visit.request, tag)
    if unchanged is not None:
        return unchanged
    drawn = _drawn(visit, instance, frame, drawing)
    return Response(drawn, media_type=f"image/{drawing.image_format}", headers=_headers(visit, tag))


def _pictures(visit: Visit, study: Study, found: Sequence[tuple[Series, Instance]]) -> Response:
    """Draw every frame, one after the other while they are sent."""
    pictures = [
        (series, instance, frame)
        for series, instance in _with_pixels(found)
        for frame in range(1, min(max(instance.frames, 1), MOST_PICTURES + 1) + 1)
    ]
    if len(pictures) > MOST_PICTURES:
        raise TooManyPictures
    drawing = _drawing(visit, several=True)
    tag = etag("pictures", drawing, *(f"{instance.sha256} {frame}" for _, instance, frame in pictures))
    visit.note_view(study)
    unchanged = not_modified(visit.request, tag)
    if unchanged is not None:
        return unchanged
    kind = f"image/{drawing.image_format}"

    def parts() -> Iterator[Part]:
        of_study = f"{visit.own_root}/studies/{study.study_uid}"
        for series, instance, frame in pictures:
            url = (
                f"{of_study}/series/{series.series_uid}/instances/{instance.sop_uid}/frames/{frame}/rendered"
            )
            yield Part(kind, url, (_drawn(visit, instance, frame, drawing),))

    media_type = f'multipart/related; type="{kind}"; boundary={tag}'
    return Streamed(multipart(parts(), tag), media_type=media_type, headers=_headers(visit, tag))


def _drawn(visit: Visit, instance: Instance, frame: int, drawing: Drawing) -> bytes:
    with open_object(visit.context, instance) as data, retrieve.decoding(instance):
        return render_frame(
            data,
            frame - 1,
            window=drawing.window,
            size=drawing.size,
            region=drawing.region,
            image_format=drawing.image_format,
            quality=drawing.quality,
        )


def _headers(visit: Visit, tag: str) -> dict[str, str]:
    """Return the headers of a picture; what was asked for and is not done is named."""
    ignored = {name for name in visit.request.query_params if name not in _RENDERING}
    if not ignored:
        return caching(tag)
    return caching(tag) | {"Warning": warning(visit.own_root, ignored_parameters(ignored))}


def _drawing(visit: Visit, *, several: bool, thumbnail: bool = False) -> Drawing:
    parameters = visit.request.query_params
    size, region = _viewport(parameters.get("viewport", ""))
    if thumbnail and size is None:
        size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return Drawing(
        image_format=choose_picture(visit.accepted, several=several),
        window=_window(parameters.get("window", "")),
        size=size,
        region=region,
        quality=_quality(parameters.get("quality", "")),
    )


def _one_number(text: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text, re.ASCII):
        raise BadRendering("one frame is drawn at a time; they are numbered from 1")
    return int(text)


def _window(text: str) -> Window | None:
    """Read ``center,width,function`` (PS3.18 section 8.3.5.1.4)."""
    if not text:
        return None
    center, _, rest = text.partition(",")
    width, _, function = rest.partition(",")
    fits = re.fullmatch(_NUMBER, center) and re.fullmatch(_NUMBER, width)
    if not fits or (function or "linear").lower() not in _FUNCTIONS:
        raise BadRendering("window reads CENTER,WIDTH,FUNCTION; linear, linear-exact or sigmoid")
    return Window(float(center), float(width), _FUNCTIONS[(function or "linear").lower()])


def _viewport(text: str) -> tuple[tuple[int, int] | None, Region | None]:
    """Read ``width,height,left,top,width,height``; the last four may be left out (PS3.18 8.3.5.1.3)."""
    if not text:
        return None, None
    found = re.fullmatch(r"([0-9]{1,5}),([0-9]{1,5})" + rf"(?:,({_NUMBER})?)?" * 4, text)
    if found is None:
        raise BadRendering("viewport reads WIDTH,HEIGHT,LEFT,TOP,WIDTH,HEIGHT in pixels")
    size = int(found[1]), int(found[2])
    left, top, width, height = (float(part) if part else None for part in found.groups()[2:])
    if (left, top, width, height) == (None,) * 4:
        return size, None
    return size, Region(left or 0.0, top or 0.0, width, height)


def _quality(text: str) -> int:
    if not text:
        return DEFAULT_QUALITY
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 100:  # noqa: PLR2004 - percent
        raise BadRendering("quality is a whole number from 1 to 100")
    return int(text)
