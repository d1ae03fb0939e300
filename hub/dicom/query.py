r"""QIDO-RS parameters made into conditions (PS3.18 section 8.3.4, PS3.4 section C.2.2.2).

What is not supported is ignored and named in a Warning header, as PS3.18 section 8.3
demands; a supported parameter with a value that cannot be is refused with 400.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache

from hub.catalogue.search import MODALITIES_IN_STUDY, STEP_MOMENT, STUDY_MOMENT, Match, Slice
from hub.errors import Malformed
from hub.kit.people import has_han, searchable_name

TAGS = {
    "StudyInstanceUID": "0020000D",
    "StudyDate": "00080020",
    "StudyTime": "00080030",
    "StudyID": "00200010",
    "StudyDescription": "00081030",
    "AccessionNumber": "00080050",
    "ReferringPhysicianName": "00080090",
    "ModalitiesInStudy": "00080061",
    "PatientID": "00100020",
    "PatientName": "00100010",
    "PatientBirthDate": "00100030",
    "PatientSex": "00100040",
    "SeriesInstanceUID": "0020000E",
    "Modality": "00080060",
    "SeriesNumber": "00200011",
    "SeriesDescription": "0008103E",
    "BodyPartExamined": "00180015",
    "PerformedProcedureStepStartDate": "00400244",
    "PerformedProcedureStepStartTime": "00400245",
    "RequestAttributesSequence.ScheduledProcedureStepID": "00400275.00400009",
    "RequestAttributesSequence.RequestedProcedureID": "00400275.00401001",
    "SOPInstanceUID": "00080018",
    "SOPClassUID": "00080016",
    "InstanceNumber": "00200013",
}
"""Attributes that can be matched, with their tags (PS3.6 Table 6-1); a dot leads into a sequence."""

_KEYWORDS = {tag: keyword for keyword, tag in TAGS.items()}
_UIDS = frozenset({"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"})
_CODES = frozenset({"Modality", MODALITIES_IN_STUDY, "PatientSex", "BodyPartExamined"})
_NUMBERS = frozenset({"SeriesNumber", "InstanceNumber"})
_DATES = frozenset({"StudyDate", "PatientBirthDate", "PerformedProcedureStepStartDate"})
_TIMES = frozenset({"StudyTime", "PerformedProcedureStepStartTime"})
_NAMES = frozenset({"PatientName", "ReferringPhysicianName"})

EMPTY = '""'
"""Matches attributes without a value, when that is asked for (PS3.4 section C.2.2.2.7)."""

_PAGING = frozenset({"limit", "offset"})
_SWITCHES = frozenset({"fuzzymatching", "emptyvaluematching", "multiplevaluematching"})
_KNOWN_ELSEWHERE = frozenset({"accept", "charset"})
_PRINTABLE_NAME = re.compile(r"[A-Za-z0-9.]{1,64}")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_MOST_VALUES = 1000
_MOST_WORDS = 8


class BadQuery(Malformed):
    """A search parameter has a value that cannot be."""


@dataclass(frozen=True, slots=True)
class Query:
    """A search as asked for."""

    matches: tuple[Match, ...]
    part: Slice
    warnings: tuple[str, ...]
    paged: bool
    """Whether the caller named a limit or an offset."""
    fields: tuple[str, ...]
    """Tag paths that are wanted beyond the usual ones, ``00400275.00400009``."""
    everything: bool
    """Whether ``includefield=all`` was given."""


@dataclass(slots=True)
class _Asked:
    """The parameters of a search by what they are for."""

    values: dict[str, list[str]] = field(default_factory=dict)
    paging: dict[str, int] = field(default_factory=dict)
    switches: set[str] = field(default_factory=set)
    fields: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def parse_query(parameters: Iterable[tuple[str, str]], keywords: frozenset[str], most: int) -> Query:
    """Read the parameters of a search.

    Parameters
    ----------
    parameters : iterable of (name, value)
        Of the address, decoded; names are keywords or tags.
    keywords : frozenset of str
        What can be matched at this level.
    most : int
        Results given at once at most; a larger limit is lowered to it.

    Raises
    ------
    BadQuery
        Naming the parameter, never its value.
    """
    asked = _sorted_out(parameters, keywords)
    paths = {name: "" if name == "all" else field_path(name) for name in asked.fields}
    ignored = [*asked.ignored, *(name for name, path in paths.items() if path is None)]
    part = Slice(min(asked.paging.get("limit", most), most), asked.paging.get("offset", 0))
    return Query(
        tuple(_matches(asked)),
        part,
        (ignored_parameters(ignored),) if ignored else (),
        bool(asked.paging),
        tuple(dict.fromkeys(path for path in paths.values() if path)),
        "all" in paths,
    )


def _sorted_out(parameters: Iterable[tuple[str, str]], keywords: frozenset[str]) -> _Asked:
    asked = _Asked()
    for name, value in parameters:
        if name in _PAGING:
            asked.paging[name] = _count(name, value)
        elif name in _SWITCHES:
            asked.switches |= {name} if _switch(name, value) else set()
        elif name == "includefield":
            asked.fields += [part.strip() for part in value.split(",") if part.strip()]
        elif name not in _KNOWN_ELSEWHERE:
            keyword = _KEYWORDS.get(field_path(name) or "", "")
            if keyword in keywords:
                asked.values.setdefault(keyword, []).append(value)
            else:
                asked.ignored.append(name)
    return asked


@lru_cache(maxsize=1024)
def field_path(name: str) -> str | None:
    """Return the tags of an attribute that keywords or tags name, a dot between levels; None for none."""
    from pydicom.datadict import tag_for_keyword

    tags: list[str] = []
    for step in name.split("."):
        known = int(step, 16) if _TAG.fullmatch(step) else tag_for_keyword(step)
        if known is None:
            return None
        tags.append(f"{known:08X}")
    return ".".join(tags)


def ignored_parameters(names: Iterable[str]) -> str:
    """Return the warning that names parameters which were not heeded."""
    shown = sorted({name if _PRINTABLE_NAME.fullmatch(name) else "(unprintable)" for name in names})
    return f"The following parameters are not supported and were ignored: {', '.join(shown)}."


def _matches(asked: _Asked) -> Iterator[Match]:
    for both, keywords in ((STUDY_MOMENT, STUDY_MOMENT.split()), (STEP_MOMENT, STEP_MOMENT.split())):
        ranges = [asked.values.get(keyword, [""]) for keyword in keywords]
        if all(len(values) == 1 and "-" in values[0] for values in ranges):
            day, time = (asked.values.pop(keyword)[0] for keyword in keywords)
            yield Match(both, "range", _moments(keywords, day, time))
    for keyword, values in asked.values.items():
        match = _match(keyword, values, asked.switches)
        if match is not None:
            yield match


def _match(keyword: str, values: list[str], switches: set[str]) -> Match | None:
    """Return the condition; None when every value matches (PS3.4 section C.2.2.2.3)."""
    if all(value.strip() in {"", "*"} for value in values):
        return None
    if "emptyvaluematching" in switches and values == [EMPTY]:
        return Match(keyword, "empty", ())
    if keyword in _UIDS or keyword in _NUMBERS:
        return Match(keyword, "any_of", _listed(keyword, values, _uid if keyword in _UIDS else _number))
    several = "multiplevaluematching" in switches and keyword not in _DATES | _TIMES | _NAMES
    if several and keyword not in _CODES:
        values = [part for value in values for part in value.split("\\")]
    if len(values) > 1 and keyword not in _CODES and not several:
        raise BadQuery(f"{keyword} may be given once")
    if keyword in _DATES or keyword in _TIMES:
        ends = (_day, _day) if keyword in _DATES else (_time_from, _time_to)
        return Match(keyword, "range", _range(keyword, values[0], *ends))
    return _text_match(keyword, values, fuzzy="fuzzymatching" in switches)


def _text_match(keyword: str, values: list[str], *, fuzzy: bool) -> Match:
    if keyword in _NAMES:
        words = _words(keyword, values[0]) if fuzzy else _names(values[0])
        return Match(keyword, "words" if fuzzy else "name", words)
    listed = _listed(keyword, values, _code) if keyword in _CODES else _texts(keyword, values)
    wild = any("*" in text or "?" in text for text in map(str, listed))
    return Match(keyword, "wildcard" if wild else "any_of", listed)


def _listed(
    keyword: str, values: list[str], read: Callable[[str], str | int | None]
) -> tuple[str | int, ...]:
    r"""Read values separated by commas (PS3.18 section 8.3.4.1) or, as in DIMSE, by ``\``."""
    parts = [part.strip() for value in values for part in re.split(r"[,\\]", value) if part.strip()]
    if len(parts) > _MOST_VALUES:
        raise BadQuery(f"{keyword} has too many values")
    found: list[str | int] = []
    for part in parts:
        one = read(part)
        if one is None:
            raise BadQuery(f"{keyword} has a value that cannot be")
        found.append(one)
    return tuple(found)


def _texts(keyword: str, values: list[str]) -> tuple[str | int, ...]:
    if len(values) > _MOST_VALUES:
        raise BadQuery(f"{keyword} has too many values")
    return tuple(value.strip() for value in values if value.strip())


def _uid(text: str) -> str | None:
    return text if re.fullmatch(r"[0-9.]{1,64}", text) else None


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,9}", text) else None


def _code(text: str) -> str:
    return text.upper()


def _range(
    keyword: str, text: str, first: Callable[[str], str | None], last: Callable[[str], str | None]
) -> tuple[str, str]:
    """Read a single value or a range with one side left open or none (PS3.4 section C.2.2.2.5)."""
    low, dash, high = text.strip().partition("-")
    high = high if dash else low
    start, stop = first(low) if low else "", last(high) if high else ""
    if start is None or stop is None or not (start or stop):
        raise BadQuery(f"{keyword} is neither a value nor a range")
    return start, stop


def _moments(keywords: list[str], day: str, time: str) -> tuple[str, ...]:
    """Read a range of dates with a range of times as from one moment to another (section C.2.2.2.5.4)."""
    from_day, to_day = _range(keywords[0], day, _day, _day)
    from_time, to_time = _range(keywords[1], time, _time_from, _time_to)
    return from_day, from_time or "", to_day, to_time or "235959"


def _day(text: str) -> str | None:
    if not re.fullmatch(r"[0-9]{8}", text):
        return None
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None
    return text


def _time_from(text: str) -> str | None:
    return _time(text, "000000")


def _time_to(text: str) -> str | None:
    return _time(text, "235959")


def _time(text: str, rest: str) -> str | None:
    """Fill up a time that stops at the hour or the minute; fractions are not in the index."""
    if not re.fullmatch(r"[0-9]{2}([0-9]{2}([0-9]{2}(\.[0-9]{1,6})?)?)?", text):
        return None
    digits = text.partition(".")[0]
    return digits + rest[len(digits) :]


def _names(text: str) -> tuple[str, ...]:
    """Return patterns for the searched form of names, which is one line.

    Any component group may match; carets are what the index has in their place: nothing
    in Chinese names, a space in others.
    """
    patterns = []
    for group in text.split("="):
        joined = group.strip().rstrip("^").replace("^", "" if has_han(group) else " ")
        if joined.strip():
            patterns.append(searchable_name(joined))
    return tuple(patterns)


def _words(keyword: str, text: str) -> tuple[str, ...]:
    """Return the words of a name for fuzzy matching, without their order (PS3.4 section C.2.2.2.1.1)."""
    words = searchable_name(re.sub(r"[*?=]", " ", text)).split()
    if len(words) > _MOST_WORDS:
        raise BadQuery(f"{keyword} has too many words")
    return tuple(words)


def _count(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value.strip()):
        raise BadQuery(f"{name} is no whole number")
    return int(value)


def _switch(name: str, value: str) -> bool:
    if value not in {"true", "false"}:
        raise BadQuery(f"{name} is neither true nor false")
    return value == "true"
