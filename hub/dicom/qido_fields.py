"""What ``includefield`` asks for beyond the index: read from stored objects (PS3.18 section 8.3.4.3).

At the instance level everything an object says can be had. Of a study or a series one
object speaks for all, and only attributes that belong to that level are taken from it.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from hub.catalogue.models import Instance, Series, Study
from hub.context import Context
from hub.dicom.json_model import json_model
from hub.dicom.qido_json import Json, instance_url, study_url
from hub.dicom.retrieve import blaming
from hub.dicom.series_metadata import series_metadata
from hub.dicom.stored import open_object
from hub.errors import HubError

log = structlog.get_logger()

MOST_OBJECTS = 2000
"""So many objects are read for one answer at most."""

_REQUESTS, _REQUEST_IDS = "00400275", ("00400009", "00401001")

NOT_READ = "Some attributes are missing: not every object was read for them."


def _tags(**groups: str) -> frozenset[str]:
    """Return tags from the elements of each group."""
    return frozenset(
        f"{group[1:]}{element}" for group, elements in groups.items() for element in elements.split()
    )


STUDY_TAGS = _tags(
    g0008="0020 0030 0050 0051 0090 0096 009C 009D 1030 1032 1048 1049 1060 1062 1080 1084 1110",
    g0010="0010 0020 0021 0022 0024 0026 0030 0032 0040 1000 1001 1002 1010 1020 1021 1030 1090"
    " 2000 2110 2160 2180 21A0 21B0 21C0 21D0 21F0 2203 4000",
    g0020="000D 0010",
    g0032="1033 1060 1064",
    g0038="0010 0014 0060 0062 0064 0500",
    g0040="1012",
)
"""Attributes of patient and study (PS3.3 sections C.7.1.1, C.7.2.1 and C.7.2.2)."""

SERIES_TAGS = _tags(
    g0008="0021 0031 0060 0070 0080 0081 103E 103F 1010 1040 1041 1050 1052 1070 1072 1090 1111",
    g0018="0015 1000 1020 1030 5100",
    g0020="000E 0011 0052 0060",
    g0028="0108 0109",
    g0040="0244 0245 0250 0251 0253 0254 0260 0275 0280",
)
"""Attributes of series and equipment (PS3.3 sections C.7.3.1, C.7.4.1 and C.7.5.1)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be read.

    Attributes
    ----------
    paths : tuple of str
        Tags, a dot between levels.
    everything : bool
        All attributes of the level.
    level : frozenset of str, optional
        Tags that belong to the level; None at the instance level, where all do.
    """

    paths: tuple[str, ...]
    everything: bool
    level: frozenset[str] | None

    def needed(self, known: Iterable[Json]) -> bool:
        """Tell whether objects must be read, given what the index says."""
        if self.everything:
            return True
        first = next(iter(known), {})
        tops = ((path, path.partition(".")[0]) for path in self.paths)
        return any(self.belongs(top) and (top != path or top not in first) for path, top in tops)

    def belongs(self, tag: str) -> bool:
        """Tell whether an attribute is one of this level."""
        return self.level is None or tag in self.level

    def outside(self) -> list[str]:
        """Return the paths that name attributes of another level."""
        return [path for path in self.paths if not self.belongs(path.partition(".")[0])]

    def taken_from(self, model: Json) -> Json:
        """Return what is wanted of an object; values that are given by address only are left out."""
        if self.everything:
            return {
                tag: _inline(value) for tag, value in model.items() if _given(value) and self.belongs(tag)
            }
        found: Json = {}
        wanted = list(self.paths)
        if any(path.startswith(f"{_REQUESTS}.") for path in wanted):
            wanted += [
                f"{_REQUESTS}.{tag}" for tag in _REQUEST_IDS
            ]  # which the index has of one request only
        for path in wanted:
            if self.belongs(path.partition(".")[0]):
                _take(model, path.split("."), found)
        return found


@dataclass(frozen=True, slots=True)
class Row:
    """One result, with an object that speaks for it."""

    answer: Json
    study: Study
    series: Series
    instance: Instance


def complete(
    context: Context,
    rows: Sequence[Row],
    wanted: Wanted,
    root: str,
    charset_of: Callable[[Instance], str | None],
) -> bool:
    """Add to answers what is wanted of their objects; what the index says stays as it is.

    Returns
    -------
    bool
        Whether every object could be read.
    """
    whole = _described(context, rows, root) if wanted.level is None else {}
    read_all = True
    for number, row in enumerate(rows):
        model = whole.get((row.series.id, row.instance.sop_uid))
        if model is None and number < MOST_OBJECTS:
            model = _model(context, row, root, charset_of(row.instance))
        if model is None:
            read_all = False
            continue
        for tag, value in wanted.taken_from(model).items():
            if tag not in row.answer or value["vr"] == "SQ":
                row.answer[tag] = value
    return read_all


def _described(context: Context, rows: Sequence[Row], root: str) -> dict[tuple[str, str], Json]:
    """Return the objects of settled series from their stored descriptions."""
    found: dict[tuple[str, str], Json] = {}
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.series.id] = counts.get(row.series.id, 0) + 1
    for row in rows:
        # Worth it only where most of a series is wanted: the description is one piece.
        if counts.pop(row.series.id, 0) * 2 > row.series.n_instances > 1:
            body = series_metadata(context, row.study, row.series, study_url(root, row.study))
            for model in json.loads(body) if body else []:
                found[row.series.id, model["00080018"]["Value"][0]] = model
    return found


def _model(context: Context, row: Row, root: str, charset: str | None) -> Json | None:
    url = instance_url(root, row.study, row.series, row.instance)
    try:
        with open_object(context, row.instance) as data, blaming(row.instance):
            return json_model(data, lambda path: f"{url}/bulkdata/{path}", charset).elements
    except HubError as error:
        log.warning("attributes_not_read", sop_uid=row.instance.sop_uid, cause=error.code)
        return None


def _take(model: Json, steps: list[str], found: Json) -> None:
    tag = steps[0]
    value = model.get(tag)
    if value is None or not _given(value):
        return
    group, element = int(tag[:4], 16), int(tag[4:], 16)
    creator = f"{tag[:4]}{element >> 8:04X}"
    if group % 2 and creator in model:
        found[creator] = model[creator]
    if len(steps) == 1 or value["vr"] != "SQ":
        found[tag] = _inline(value)
        return
    items = value.get("Value", [])
    sequence = found.setdefault(tag, {"vr": "SQ", "Value": [{} for _ in items]})
    for item, into in zip(items, sequence["Value"], strict=True):
        _take(item, steps[1:], into)


def _given(value: dict[str, Any]) -> bool:
    return "BulkDataURI" not in value


def _inline(value: dict[str, Any]) -> dict[str, Any]:
    if value["vr"] != "SQ" or "Value" not in value:
        return value
    items = [{tag: _inline(each) for tag, each in item.items() if _given(each)} for item in value["Value"]]
    return {"vr": "SQ", "Value": items}
