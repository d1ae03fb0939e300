r"""QIDO-RS parameters made into conditions (PS3.18 section 8.3.4, PS3.4 section C.2.2.2).

What is not supported is ignored and named in a Warning header, as PS3.18 section 8.3
demands; a supported parameter with a value that cannot be is refused with 400.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date

from hub.catalogue.search import MODALITIES_IN_STUDY, Match, Slice
from hub.errors import Malformed
from hub.kit.people import has_han

TAGS = {
    "StudyInstanceUID": "0020000D",
    "StudyDate": "00080020",
    "StudyTime": "00080030",
    "StudyDescription": "00081030",
    "AccessionNumber": "00080050",
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
    "SOPInstanceUID": "00080018",
    "SOPClassUID": "00080016",
    "InstanceNumber": "00200013",
}
"""Attributes that can be matched, with their tags (PS3.6 Table 6-1)."""

_KEYWORDS = {tag: keyword for keyword, tag in TAGS.items()}
_UIDS = frozenset({"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"})
_CODES = frozenset({"Modality", MODALITIES_IN_STUDY, "PatientSex", "BodyPartExamined"})
_NUMBERS = frozenset({"SeriesNumber", "InstanceNumber"})
_DATES = frozenset({"StudyDate", "PatientBirthDate"})

_PAGING = frozenset({"limit", "offset"})
_SWITCHES = {
    "fuzzymatching": (
        "The fuzzymatching parameter is not supported. Only literal matching has been performed."
    ),
    "emptyvaluematching": (
        "The emptyvaluematching parameter is not supported. Empty Value Matching has not been performed."
    ),
    "multiplevaluematching": (
        "The multiplevaluematching parameter is not supported. "
        "Multiple Value Matching has not been performed."
    ),
}
"""Warnings in the words of PS3.18 sections 8.3.4.2, 8.3.4.5 and 8.3.4.6."""

_KNOWN_ELSEWHERE = frozenset({"includefield", "accept", "charset"})
_PRINTABLE_NAME = re.compile(r"[A-Za-z0-9.]{1,64}")
_MOST_VALUES = 1000


class BadQuery(Malformed):
    """A search parameter has a value that cannot be."""


@dataclass(frozen=True, slots=True)
class Query:
    """A search as asked for."""

    matches: tuple[Match, ...]
    part: Slice
    warnings: tuple[str, ...]


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
    asked: dict[str, list[str]] = {}
    paging: dict[str, int] = {}
    ignored: list[str] = []
    warnings: list[str] = []
    for name, value in parameters:
        keyword = _KEYWORDS.get(name.upper(), name)
        if name in _PAGING:
            paging[name] = _count(name, value)
        elif name in _SWITCHES:
            if _switch(name, value):
                warnings.append(_SWITCHES[name])
        elif keyword in keywords:
            asked.setdefault(keyword, []).append(value)
        elif name not in _KNOWN_ELSEWHERE:
            ignored.append(name)
    if ignored:
        warnings.append(ignored_parameters(ignored))
    part = Slice(min(paging.get("limit", most), most), paging.get("offset", 0))
    matches = (_match(keyword, values) for keyword, values in asked.items())
    return Query(tuple(match for match in matches if match is not None), part, tuple(warnings))


def ignored_parameters(names: Iterable[str]) -> str:
    """Return the warning that names parameters which were not heeded."""
    shown = sorted({name if _PRINTABLE_NAME.fullmatch(name) else "(unprintable)" for name in names})
    return f"The following parameters are not supported and were ignored: {', '.join(shown)}."


def _match(keyword: str, values: list[str]) -> Match | None:
    """Return the condition; None when every value matches (PS3.4 section C.2.2.2.3)."""
    if all(value.strip() in {"", "*"} for value in values):
        return None
    if keyword in _UIDS or keyword in _NUMBERS:
        return Match(keyword, "any_of", _listed(keyword, values, _uid if keyword in _UIDS else _number))
    if len(values) > 1 and keyword not in _CODES:
        raise BadQuery(f"{keyword} may be given once")
    if keyword in _DATES or keyword == "StudyTime":
        ends = (_day, _day) if keyword in _DATES else (_time_from, _time_to)
        return Match(keyword, "range", _range(keyword, values[0], *ends))
    if keyword == "PatientName":
        return Match(keyword, "name", _names(values[0]))
    listed = _listed(keyword, values, _code) if keyword in _CODES else (values[0].strip(),)
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
    """Return patterns for the one-line form in which the index keeps names.

    Any component group may match; carets are what the index has in their place: nothing
    in Chinese names, a space in others.
    """
    patterns = []
    for group in text.split("="):
        joined = group.strip().rstrip("^").replace("^", "" if has_han(group) else " ").strip()
        if joined:
            patterns.append(re.sub(r" +", " ", joined))
    return tuple(patterns)


def _count(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value.strip()):
        raise BadQuery(f"{name} is no whole number")
    return int(value)


def _switch(name: str, value: str) -> bool:
    if value not in {"true", "false"}:
        raise BadQuery(f"{name} is neither true nor false")
    return value == "true"
