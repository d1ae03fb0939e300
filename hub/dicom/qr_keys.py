r"""Reading the identifiers of Query/Retrieve: level, keys, and what is asked for (PS3.4 section C.4).

The models are used hierarchically: every level above the one asked for is named by its
unique key. Relational queries and other extended negotiation are not offered.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub.catalogue.qr_search import SOP_CLASSES_IN_STUDY, Level
from hub.catalogue.search import MODALITIES_IN_STUDY, Match
from hub.dicom.query import BadQuery, parse_query
from hub.errors import Rejected

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PATIENT_ROOT_FIND, STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_ROOT_GET, STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3", "1.2.840.10008.5.1.4.1.2.2.3"

TOP_LEVEL = {
    PATIENT_ROOT_FIND: Level.PATIENT,
    PATIENT_ROOT_MOVE: Level.PATIENT,
    PATIENT_ROOT_GET: Level.PATIENT,
    STUDY_ROOT_FIND: Level.STUDY,
    STUDY_ROOT_MOVE: Level.STUDY,
    STUDY_ROOT_GET: Level.STUDY,
}
"""Highest level of each information model; the attributes of a patient belong to the study in Study Root."""

QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY = 0x00080052, 0x00080054, 0x00080056
SPECIFIC_CHARACTER_SET = 0x00080005


class IdentifierMismatch(Rejected):
    """The identifier does not fit the information model."""

    def __init__(self, message: str, tag: int) -> None:
        super().__init__(message)
        self.tag = tag


@dataclass(frozen=True, slots=True)
class Key:
    """An attribute that can be asked for.

    Attributes
    ----------
    tag, vr, keyword, level
        What it is, and the level to which it belongs.
    matched : bool
        Whether values of it are matched, or only returned.
    """

    tag: int
    vr: str
    keyword: str
    level: Level
    matched: bool = True


_KEYS = (
    Key(0x00100020, "LO", "PatientID", Level.PATIENT),
    Key(0x00100010, "PN", "PatientName", Level.PATIENT),
    Key(0x00100030, "DA", "PatientBirthDate", Level.PATIENT),
    Key(0x00100040, "CS", "PatientSex", Level.PATIENT),
    Key(0x00100021, "LO", "IssuerOfPatientID", Level.PATIENT, matched=False),
    Key(0x00201200, "IS", "NumberOfPatientRelatedStudies", Level.PATIENT, matched=False),
    Key(0x00201202, "IS", "NumberOfPatientRelatedSeries", Level.PATIENT, matched=False),
    Key(0x00201204, "IS", "NumberOfPatientRelatedInstances", Level.PATIENT, matched=False),
    Key(0x0020000D, "UI", "StudyInstanceUID", Level.STUDY),
    Key(0x00080020, "DA", "StudyDate", Level.STUDY),
    Key(0x00080030, "TM", "StudyTime", Level.STUDY),
    Key(0x00080050, "SH", "AccessionNumber", Level.STUDY),
    Key(0x00200010, "SH", "StudyID", Level.STUDY),
    Key(0x00080090, "PN", "ReferringPhysicianName", Level.STUDY),
    Key(0x00081030, "LO", "StudyDescription", Level.STUDY),
    Key(0x00080061, "CS", MODALITIES_IN_STUDY, Level.STUDY),
    Key(0x00080062, "UI", SOP_CLASSES_IN_STUDY, Level.STUDY),
    Key(0x00201206, "IS", "NumberOfStudyRelatedSeries", Level.STUDY, matched=False),
    Key(0x00201208, "IS", "NumberOfStudyRelatedInstances", Level.STUDY, matched=False),
    Key(0x0020000E, "UI", "SeriesInstanceUID", Level.SERIES),
    Key(0x00080060, "CS", "Modality", Level.SERIES),
    Key(0x00200011, "IS", "SeriesNumber", Level.SERIES),
    Key(0x0008103E, "LO", "SeriesDescription", Level.SERIES),
    Key(0x00180015, "CS", "BodyPartExamined", Level.SERIES),
    Key(0x00400244, "DA", "PerformedProcedureStepStartDate", Level.SERIES),
    Key(0x00400245, "TM", "PerformedProcedureStepStartTime", Level.SERIES),
    Key(0x00201209, "IS", "NumberOfSeriesRelatedInstances", Level.SERIES, matched=False),
    Key(0x00080018, "UI", "SOPInstanceUID", Level.IMAGE),
    Key(0x00080016, "UI", "SOPClassUID", Level.IMAGE),
    Key(0x00200013, "IS", "InstanceNumber", Level.IMAGE),
    Key(0x00280008, "IS", "NumberOfFrames", Level.IMAGE, matched=False),
    Key(0x00280010, "US", "Rows", Level.IMAGE, matched=False),
    Key(0x00280011, "US", "Columns", Level.IMAGE, matched=False),
    Key(0x00083002, "UI", "AvailableTransferSyntaxUID", Level.IMAGE, matched=False),
)
KEYS = {key.tag: key for key in _KEYS}
"""Every key that is supported, by its tag."""

UNIQUE_KEYS = {
    Level.PATIENT: KEYS[0x00100020],
    Level.STUDY: KEYS[0x0020000D],
    Level.SERIES: KEYS[0x0020000E],
    Level.IMAGE: KEYS[0x00080018],
}
"""The key that names one entity of a level (PS3.4 section C.2.2.1.1)."""

_NO_KEYS = frozenset({SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY})
_MODALITY, _MODALITIES = 0x00080060, 0x00080061
_DATES_AND_TIMES = frozenset({"DA", "TM"})


@dataclass(frozen=True, slots=True)
class Question:
    r"""A C-FIND as it was asked.

    Attributes
    ----------
    level : Level
    matches : tuple of Match
        All must hold.
    asked : tuple of Key
        What to answer with, in order of tag; the unique keys are among them.
    partial : bool
        Some optional keys are not supported, for matching or at all.
    charset : str
        Specific Character Set of the identifier, ``\`` between several values.
    """

    level: Level
    matches: tuple[Match, ...]
    asked: tuple[Key, ...]
    partial: bool
    charset: str


def read_question(dataset: "Dataset", top: Level) -> Question:
    """Read the identifier of a C-FIND.

    Parameters
    ----------
    top
        Highest level of the information model.

    Raises
    ------
    IdentifierMismatch
        No level of this model, a level above that is not named by one value, or a value
        that cannot be one.
    """
    level = _level(dataset, top)
    named = {UNIQUE_KEYS[upper].tag for upper in Level if top <= upper < level}
    matches = [_named(dataset, UNIQUE_KEYS[upper], several=False) for upper in Level if top <= upper < level]
    asked = {UNIQUE_KEYS[each].tag: UNIQUE_KEYS[each] for each in Level if top <= each <= level}
    partial = False
    for element in dataset:
        tag = int(element.tag)
        if tag in _NO_KEYS or tag in named:
            continue
        key = KEYS.get(tag)
        if key is not None and key.level <= level:
            asked[tag] = key
        else:
            partial = True
            # Asked so by many: studies with a series of this modality.
            key = KEYS[_MODALITIES] if tag == _MODALITY and level is Level.STUDY else None
        text = _text(element.value) if key is not None else ""
        if key is None or _universal(text):
            continue
        partial = partial or not key.matched
        if key.matched:
            matches += _conditions(key, text)
    answers = tuple(key for _, key in sorted(asked.items()))
    return Question(level, tuple(matches), answers, partial, _text(dataset.get("SpecificCharacterSet")))


def read_retrieval(dataset: "Dataset", top: Level) -> tuple[Match, ...]:
    """Read the identifier of a C-MOVE or C-GET: unique keys and nothing else (PS3.4 section C.4.2.1.4).

    At the level itself several may be named, but only one patient. Other keys are ignored.

    Raises
    ------
    IdentifierMismatch
        As `read_question`, or the level itself is not named.
    """
    level = _level(dataset, top)
    return tuple(
        _named(dataset, UNIQUE_KEYS[each], several=each is level and each is not Level.PATIENT)
        for each in Level
        if top <= each <= level
    )


def _level(dataset: "Dataset", top: Level) -> Level:
    stated = _text(dataset.get("QueryRetrieveLevel")).upper()
    level = Level.__members__.get(stated)
    if level is None or level < top:
        raise IdentifierMismatch("no level of this information model", QUERY_RETRIEVE_LEVEL)
    return level


def _named(dataset: "Dataset", key: Key, *, several: bool) -> Match:
    """Return the condition that one entity, or one of several, is meant."""
    text = _text(dataset.get(key.keyword))
    values = [value.strip() for value in text.split("\\")] if several else [text]
    if not all(values) or any(set(value) & set("*?\\") for value in values):
        raise IdentifierMismatch(f"{key.keyword} has to name what is meant", key.tag)
    found = _conditions(key, text)
    if not found:
        raise IdentifierMismatch(f"{key.keyword} has to name what is meant", key.tag)
    return found[0]


def _conditions(key: Key, text: str) -> tuple[Match, ...]:
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise IdentifierMismatch(f"{key.keyword} holds control characters", key.tag)
    if key.keyword == SOP_CLASSES_IN_STUDY:
        return (Match(key.keyword, "any_of", tuple(part.strip() for part in text.split("\\"))),)
    if key.vr in _DATES_AND_TIMES:
        # As ACR-NEMA wrote them (PS3.5 Table 6.2-1, DA and TM).
        text = text.replace(":", "") if key.vr == "TM" else text.replace(".", "")
    try:
        return parse_query([(key.keyword, text)], frozenset({key.keyword}), 1).matches
    except BadQuery as error:
        raise IdentifierMismatch(f"{key.keyword} has a value that cannot be", key.tag) from error


def _universal(text: str) -> bool:
    """Tell whether every value matches (PS3.4 section C.2.2.2.3)."""
    return all(part.strip() in {"", "*"} for part in text.split("\\"))


def _text(value: Any) -> str:
    r"""Return the values of an element as they came, ``\`` between several."""
    if value is None:
        return ""
    if isinstance(value, (bytes, str)) or not isinstance(value, Iterable) or hasattr(value, "components"):
        return str(value).strip() if not isinstance(value, bytes) else ""
    return "\\".join("" if each is None else str(each).strip() for each in value)
