"""QIDO-RS: searching studies, series and instances (PS3.18 section 10.6)."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import Response

from hub.catalogue.models import Instance, Study
from hub.catalogue.search import (
    INSTANCE_COLUMNS,
    MODALITIES_IN_STUDY,
    SERIES_COLUMNS,
    STUDY_COLUMNS,
    Match,
)
from hub.dicom.access import VIEWING, Visit, VisitDep, VisitRoute, warning
from hub.dicom.negotiate import choose_json
from hub.dicom.qido_fields import NOT_READ, SERIES_TAGS, STUDY_TAGS, Row, Wanted, complete
from hub.dicom.qido_json import Json, instance_json, series_json, study_json
from hub.dicom.query import Query, ignored_parameters, parse_query
from hub.sites.repository import SiteRepository

STUDY_KEYS = frozenset({*STUDY_COLUMNS, MODALITIES_IN_STUDY})
SERIES_KEYS = frozenset(SERIES_COLUMNS)
INSTANCE_KEYS = frozenset(INSTANCE_COLUMNS)

MOST_ANYWHERE = 1000
"""Results of one search over all studies."""
MOST_IN_STUDY = 20_000
"""Results of one search within a study: a viewer needs all of it."""

MORE_RESULTS = (
    "The number of results exceeded the maximum supported by the server. Additional results can be requested."
)
"""In the words of PS3.18 section 8.3.4.4."""

TOTAL = "X-Total-Count"
"""How many match altogether. The standard has no place for it; this header is what others use."""

routes = APIRouter(dependencies=[VIEWING], tags=["DICOMweb"], route_class=VisitRoute)


@dataclass(frozen=True, slots=True)
class Level:
    """What a kind of search matches and returns.

    Attributes
    ----------
    keys : frozenset of str
        Attributes that can be matched.
    tags : frozenset of str, optional
        Attributes that may be returned; None for all that an instance has.
    most : int
        Results at once.
    """

    keys: frozenset[str]
    tags: frozenset[str] | None
    most: int


@routes.get("/studies")
def search_studies(visit: VisitDep) -> Response:
    """Search studies. Modality is understood as Modalities in Study."""
    level = Level(STUDY_KEYS | {"Modality"}, STUDY_TAGS, MOST_ANYWHERE)
    query = _query(visit, level)
    matches = [
        Match(MODALITIES_IN_STUDY, match.kind, match.values) if match.keyword == "Modality" else match
        for match in query.matches
    ]
    studies = visit.index.studies(visit.actor, matches, query.part, visit.site_id)
    modalities = visit.index.modalities(study.id for study in studies)
    found = [study_json(visit.root, study, modalities.get(study.id, [])) for study in studies]

    def rows(shown: Sequence[Json]) -> list[Row]:
        first = visit.index.first_of_studies(study.id for study in studies)
        pairs = zip(shown, studies, strict=False)
        return [Row(answer, study, *first[study.id]) for answer, study in pairs if study.id in first]

    def count() -> int | None:
        return visit.index.count_studies(visit.actor, matches, visit.site_id)

    return _answer(visit, query, level, found, rows, count)


@routes.get("/series")
def search_series(visit: VisitDep) -> Response:
    """Search series of all studies; each comes with its study's attributes (PS3.18 section 10.6.3.3.2)."""
    level = Level(STUDY_KEYS | SERIES_KEYS, STUDY_TAGS | SERIES_TAGS, MOST_ANYWHERE)
    return _series(visit, level, (), with_study=True)


@routes.get("/instances")
def search_instances(visit: VisitDep) -> Response:
    """Search instances of all studies; each comes with its study's and its series' attributes."""
    level = Level(STUDY_KEYS | SERIES_KEYS | INSTANCE_KEYS, None, MOST_ANYWHERE)
    return _instances(visit, level, (), with_study=True, with_series=True)


@routes.get("/studies/{study_uid}/series")
def search_series_of_study(visit: VisitDep, study_uid: str) -> Response:
    """Search the series of one study."""
    level = Level(SERIES_KEYS, SERIES_TAGS, MOST_IN_STUDY)
    return _series(visit, level, (_this_study(visit, study_uid),))


@routes.get("/studies/{study_uid}/instances")
def search_instances_of_study(visit: VisitDep, study_uid: str) -> Response:
    """Search the instances of one study; each comes with its series' attributes."""
    level = Level(SERIES_KEYS | INSTANCE_KEYS, None, MOST_IN_STUDY)
    return _instances(visit, level, (_this_study(visit, study_uid),), with_series=True)


@routes.get("/studies/{study_uid}/series/{series_uid}/instances")
def search_instances_of_series(visit: VisitDep, study_uid: str, series_uid: str) -> Response:
    """Search the instances of one series."""
    level = Level(INSTANCE_KEYS, None, MOST_IN_STUDY)
    this = (_this_study(visit, study_uid), Match("SeriesInstanceUID", "any_of", (series_uid,)))
    return _instances(visit, level, this)


def _series(visit: Visit, level: Level, within: tuple[Match, ...], *, with_study: bool = False) -> Response:
    query = _query(visit, level)
    matches = (*within, *query.matches)
    pairs = visit.index.series_found(visit.actor, matches, query.part, visit.site_id)
    above = _studies_above(visit, [study for study, _ in pairs]) if with_study else {}
    found = [above.get(study.id, {}) | series_json(visit.root, study, series) for study, series in pairs]

    def rows(shown: Sequence[Json]) -> list[Row]:
        first = visit.index.first_of_series(series.id for _, series in pairs)
        zipped = zip(shown, pairs, strict=False)
        return [Row(answer, *pair, first[pair[1].id]) for answer, pair in zipped if pair[1].id in first]

    def count() -> int | None:
        return visit.index.count_series(visit.actor, matches, visit.site_id)

    return _answer(visit, query, level, found, rows, count)


def _instances(
    visit: Visit,
    level: Level,
    within: tuple[Match, ...],
    *,
    with_study: bool = False,
    with_series: bool = False,
) -> Response:
    query = _query(visit, level)
    matches = (*within, *query.matches)
    triples = visit.index.instances_found(visit.actor, matches, query.part, visit.site_id)
    above = _studies_above(visit, [study for study, _, _ in triples]) if with_study else {}
    found = [
        above.get(study.id, {})
        | (series_json(visit.root, study, series) if with_series else {})
        | instance_json(visit.root, study, series, instance)
        for study, series, instance in triples
    ]

    def rows(shown: Sequence[Json]) -> list[Row]:
        return [Row(answer, *triple) for answer, triple in zip(shown, triples, strict=False)]

    def count() -> int | None:
        return visit.index.count_instances(visit.actor, matches, visit.site_id)

    return _answer(visit, query, level, found, rows, count)


def _studies_above(visit: Visit, studies: Sequence[Study]) -> dict[str, Json]:
    modalities = visit.index.modalities({study.id for study in studies})
    each = {study.id: study for study in studies}.values()
    return {study.id: study_json(visit.root, study, modalities.get(study.id, [])) for study in each}


def _query(visit: Visit, level: Level) -> Query:
    # One more than is given, so that there being more is known.
    return parse_query(visit.request.query_params.multi_items(), level.keys, level.most + 1)


def _this_study(visit: Visit, study_uid: str) -> Match:
    """Make sure the study is the caller's to see, and the only one of this UID."""
    return Match("StudyInstanceUID", "any_of", (visit.study(study_uid).study_uid,))


def _answer(  # noqa: PLR0917 - what was asked, what was found, how to find out more
    visit: Visit,
    query: Query,
    level: Level,
    found: list[Json],
    rows: Callable[[Sequence[Json]], list[Row]],
    count: Callable[[], int | None],
) -> Response:
    """Send the results; an empty list when there are none.

    PS3.18 Table 10.6.3-1 has 204 for that, but Orthanc as a client reads a list in any case.
    """
    media_type = choose_json(visit.accepted)
    shown = found[: level.most]
    wanted = Wanted(query.fields, query.everything, level.tags)
    warnings = list(query.warnings)
    if wanted.outside():
        warnings.append(ignored_parameters(wanted.outside()))
    needed = bool(shown) and wanted.needed(shown)
    if needed and not complete(visit.context, rows(shown), wanted, visit.root, _charsets(visit)):
        warnings.append(NOT_READ)
    if len(found) > level.most:
        warnings.append(MORE_RESULTS)
    headers = {"Warning": ", ".join(warning(visit.own_root, text) for text in warnings)} if warnings else {}
    ended = len(found) < query.part.limit and (found or not query.part.offset)
    total = query.part.offset + len(found) if ended else count()
    if total is not None:
        headers[TOTAL] = str(total)
    body = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return Response(body, media_type=media_type, headers=headers)


def _charsets(visit: Visit) -> Callable[[Instance], str | None]:
    """Return what tells the charset an object's device is known to use."""
    known: dict[str, str | None] = {}
    repository = SiteRepository(visit.index.session)

    def charset_of(instance: Instance) -> str | None:
        if instance.device_id is None:
            return None
        if instance.device_id not in known:
            device = repository.device(instance.device_id)
            known[instance.device_id] = device.charset if device else None
        return known[instance.device_id]

    return charset_of


router = APIRouter()
router.include_router(routes, prefix="/dicom-web")
router.include_router(routes, prefix="/dicom-web/sites/{site_id}", include_in_schema=False)
