"""QIDO-RS: searching studies, series and instances (PS3.18 section 10.6)."""

import json
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from hub.catalogue.models import Instance, Series, Study
from hub.catalogue.search import (
    INSTANCE_COLUMNS,
    MODALITIES_IN_STUDY,
    SERIES_COLUMNS,
    STUDY_COLUMNS,
    Match,
)
from hub.dicom.access import VIEWING, Visit, VisitDep, warning
from hub.dicom.negotiate import choose_json
from hub.dicom.query import Query, parse_query

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

NO_CONTENT = 204
Json = dict[str, Any]

routes = APIRouter(dependencies=[VIEWING], tags=["DICOMweb"])


@routes.get("/studies")
def search_studies(visit: VisitDep) -> Response:
    """Search studies. Modality is understood as Modalities in Study."""
    query = _query(visit, STUDY_KEYS | {"Modality"}, MOST_ANYWHERE)
    matches = [
        Match(MODALITIES_IN_STUDY, match.kind, match.values) if match.keyword == "Modality" else match
        for match in query.matches
    ]
    studies = visit.index.studies(visit.actor, matches, query.part, visit.site_id)
    modalities = visit.index.modalities(study.id for study in studies)
    found = [_study_json(visit, study, modalities.get(study.id, [])) for study in studies]
    return _answer(visit, query, found, MOST_ANYWHERE)


@routes.get("/series")
def search_series(visit: VisitDep) -> Response:
    """Search series of all studies; each comes with its study's attributes (PS3.18 section 10.6.3.3.2)."""
    query = _query(visit, STUDY_KEYS | SERIES_KEYS, MOST_ANYWHERE)
    rows = visit.index.series_found(visit.actor, query.matches, query.part, visit.site_id)
    modalities = visit.index.modalities({study.id for study, _, _ in rows})
    found = [
        _study_json(visit, study, modalities.get(study.id, [])) | _series_json(visit, study, series, count)
        for study, series, count in rows
    ]
    return _answer(visit, query, found, MOST_ANYWHERE)


@routes.get("/studies/{study_uid}/series")
def search_series_of_study(visit: VisitDep, study_uid: str) -> Response:
    """Search the series of one study."""
    query = _query(visit, SERIES_KEYS, MOST_IN_STUDY)
    matches = (_this_study(visit, study_uid), *query.matches)
    rows = visit.index.series_found(visit.actor, matches, query.part, visit.site_id)
    return _answer(visit, query, [_series_json(visit, *row) for row in rows], MOST_IN_STUDY)


@routes.get("/studies/{study_uid}/instances")
def search_instances_of_study(visit: VisitDep, study_uid: str) -> Response:
    """Search the instances of one study; each comes with its series' attributes."""
    query = _query(visit, SERIES_KEYS | INSTANCE_KEYS, MOST_IN_STUDY)
    matches = (_this_study(visit, study_uid), *query.matches)
    rows = visit.index.instances_found(visit.actor, matches, query.part, visit.site_id)
    sizes: dict[str, int] = {}
    if rows:
        sizes = {series.id: count for series, count, _ in visit.index.series_sizes(rows[0][0].id)}
    found = [
        _series_json(visit, study, series, sizes[series.id]) | _instance_json(visit, study, series, instance)
        for study, series, instance in rows
    ]
    return _answer(visit, query, found, MOST_IN_STUDY)


@routes.get("/studies/{study_uid}/series/{series_uid}/instances")
def search_instances_of_series(visit: VisitDep, study_uid: str, series_uid: str) -> Response:
    """Search the instances of one series."""
    query = _query(visit, INSTANCE_KEYS, MOST_IN_STUDY)
    this = (_this_study(visit, study_uid), Match("SeriesInstanceUID", "any_of", (series_uid,)))
    rows = visit.index.instances_found(visit.actor, (*this, *query.matches), query.part, visit.site_id)
    return _answer(visit, query, [_instance_json(visit, *row) for row in rows], MOST_IN_STUDY)


def _query(visit: Visit, keywords: frozenset[str], most: int) -> Query:
    # One more than is given, so that there being more is known.
    return parse_query(visit.request.query_params.multi_items(), keywords, most + 1)


def _this_study(visit: Visit, study_uid: str) -> Match:
    """Make sure the study is the caller's to see, and the only one of this UID."""
    return Match("StudyInstanceUID", "any_of", (visit.study(study_uid).study_uid,))


def _answer(visit: Visit, query: Query, found: list[Json], most: int) -> Response:
    """Send the results; 204 without a body when there are none (PS3.18 Table 10.6.3-1)."""
    media_type = choose_json(visit.accepted)
    texts = [*query.warnings, *([MORE_RESULTS] if len(found) > most else [])]
    headers = {"Warning": ", ".join(warning(visit.own_root, text) for text in texts)} if texts else {}
    if not found:
        return Response(status_code=NO_CONTENT, headers=headers)
    body = json.dumps(found[:most], ensure_ascii=False, separators=(",", ":"))
    return Response(body, media_type=media_type, headers=headers)


def _element(vr: str, *values: Any) -> Json:
    """Return one element of DICOM JSON; a value that is not known is left out (PS3.18 section F.2.5)."""
    present = [value for value in values if value not in {None, ""}]
    return {"vr": vr, "Value": present} if present else {"vr": vr}


def _study_url(visit: Visit, study: Study) -> str:
    # With the site, so that the address leads to this study whoever else has its UID.
    return f"{visit.root}/sites/{study.site_id}/studies/{study.study_uid}"


def _study_json(visit: Visit, study: Study, modalities: list[str]) -> Json:
    """Return the attributes of PS3.18 Table 10.6.3-3, and the others of the study level in the index."""
    name = {"vr": "PN", "Value": [{"Alphabetic": study.patient_name}]} if study.patient_name else {"vr": "PN"}
    return {
        "00080005": _element("CS", "ISO_IR 192"),
        "00080020": _element("DA", study.study_date),
        "00080030": _element("TM", study.study_time),
        "00080050": _element("SH", study.accession),
        "00080056": _element("CS", "ONLINE"),
        "00080061": _element("CS", *modalities),
        "00080090": _element("PN"),
        "00081030": _element("LO", study.description),
        "00081190": _element("UR", _study_url(visit, study)),
        "00100010": name,
        "00100020": _element("LO", study.local_id),
        "00100030": _element("DA", study.birth_date),
        "00100040": _element("CS", study.sex),
        "0020000D": _element("UI", study.study_uid),
        "00200010": _element("SH"),
        "00201206": _element("IS", study.n_series),
        "00201208": _element("IS", study.n_instances),
    }


def _series_json(visit: Visit, study: Study, series: Series, instances: int) -> Json:
    """Return the attributes of PS3.18 Table 10.6.3-4 that are known."""
    return {
        "00080005": _element("CS", "ISO_IR 192"),
        "00080060": _element("CS", series.modality),
        "0008103E": _element("LO", series.description),
        "00081190": _element("UR", f"{_study_url(visit, study)}/series/{series.series_uid}"),
        "00180015": _element("CS", series.body_part),
        "0020000D": _element("UI", study.study_uid),
        "0020000E": _element("UI", series.series_uid),
        "00200011": _element("IS", series.number),
        "00201209": _element("IS", instances),
    }


def _instance_json(visit: Visit, study: Study, series: Series, instance: Instance) -> Json:
    """Return the attributes of PS3.18 Table 10.6.3-5 that are known."""
    url = f"{_study_url(visit, study)}/series/{series.series_uid}/instances/{instance.sop_uid}"
    found = {
        "00080005": _element("CS", "ISO_IR 192"),
        "00080016": _element("UI", instance.sop_class),
        "00080018": _element("UI", instance.sop_uid),
        "00080056": _element("CS", "ONLINE"),
        "00081190": _element("UR", url),
        "00083002": _element("UI", instance.transfer_syntax),
        "0020000D": _element("UI", study.study_uid),
        "0020000E": _element("UI", series.series_uid),
        "00200013": _element("IS", instance.number),
    }
    if instance.rows and instance.columns:
        found["00280008"] = _element("IS", instance.frames)
        found["00280010"] = _element("US", instance.rows)
        found["00280011"] = _element("US", instance.columns)
    return found


router = APIRouter()
router.include_router(routes, prefix="/dicom-web")
router.include_router(routes, prefix="/dicom-web/sites/{site_id}", include_in_schema=False)
