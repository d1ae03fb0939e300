"""C-FIND of Query/Retrieve: answers to what a device asks, one by one, in its own character set."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from hub.audit import service as audit
from hub.audit.service import ActorRef
from hub.audit.tags import Tag
from hub.catalogue.models import Study
from hub.catalogue.qr_search import Found, PatientTotals, RetrieveRepository
from hub.context import Context
from hub.dicom.identifier import Attribute, answer_charset, decode_identifier, encode_attributes, texts_of
from hub.dicom.peers import device_of
from hub.dicom.qr_keys import (
    INSTANCE_AVAILABILITY,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    TOP_LEVEL,
    IdentifierMismatch,
    Key,
    Question,
    read_question,
)
from hub.dicom.wire import status
from hub.dicom.wire.service import Request
from hub.errors import Forbidden
from hub.kit.text import person_name
from hub.sites.repository import SiteRepository
from hub.sites.service import DeviceKnown

log = structlog.get_logger()

MOST_ANSWERS = 10_000
"""After so many the device is told to ask more narrowly."""
TOO_MANY = f"more than {MOST_ANSWERS} matches, ask more narrowly"
CHUNK = 200
"""Answers that are read from the index at a time; none of its transactions waits for a device."""
_DAY_DIGITS = 8


class QueryNotAllowed(Forbidden):
    """This device is registered as one that may not query or retrieve."""


@dataclass(frozen=True)
class Shelf:
    """What several answers need beside their own rows, read for many at a time."""

    modalities: dict[str, list[str]] = field(default_factory=dict)
    sop_classes: dict[str, list[str]] = field(default_factory=dict)
    totals: dict[tuple[str, str], PatientTotals] = field(default_factory=dict)
    sites: dict[str, str] = field(default_factory=dict)
    """Row id to code."""


def asking_device(request: Request) -> DeviceKnown:
    """Return the device that asks.

    Raises
    ------
    Forbidden
        It is not registered, or registered with the scope ``none``.
    """
    device = device_of(request)
    if device.query_scope not in {"site", "all"}:
        raise QueryNotAllowed
    return device


def actor_of(request: Request, device: DeviceKnown) -> ActorRef:
    """Return a device as the trail names it."""
    return ActorRef("device", device.id, request.peer.calling_ae)


def mismatch(request: Request, error: IdentifierMismatch) -> None:
    """Answer an identifier that does not fit the model; the comment names the attribute, not its value."""
    request.respond(status.IDENTIFIER_MISMATCH, ErrorComment=str(error), OffendingElement=error.tag)


def find(context: Context, request: Request) -> None:
    """Answer one C-FIND."""
    device = asking_device(request)
    syntax = request.context.transfer_syntax
    try:
        identifier = decode_identifier(request.dataset, syntax, device.charset)
        question = read_question(identifier, TOP_LEVEL[request.context.abstract_syntax])
    except IdentifierMismatch as error:
        mismatch(request, error)
        return
    with context.db.reading() as session:
        ids = RetrieveRepository(session).matching(device, question.level, question.matches, MOST_ANSWERS + 1)
    note_query(context, request, device, question, len(ids))
    pending = status.PENDING_WARNING if question.partial else status.PENDING
    for attributes in answers(context, device, question, ids[:MOST_ANSWERS]):
        if request.cancelled():
            request.respond(status.CANCELLED)
            return
        charset = answer_charset(device.charset, question.charset, "".join(texts_of(attributes)))
        request.respond(pending, encode_attributes(attributes, syntax, charset))
    if len(ids) > MOST_ANSWERS:
        request.respond(status.OUT_OF_RESOURCES, ErrorComment=TOO_MANY)
    else:
        request.respond(status.SUCCESS)


def note_query(
    context: Context, request: Request, device: DeviceKnown, question: Question, found: int
) -> None:
    """Put a query on record before it is answered: which attributes were asked for, never their values."""
    with context.db.transaction() as session:
        audit.record(
            session,
            Tag.CATALOGUE_QUERY,
            actor=actor_of(request, device),
            subject_kind="device",
            subject_id=device.id,
            site_id=device.site_id,
            address=request.peer.address,
            level=question.level.name,
            keys=sorted({match.keyword for match in question.matches}),
            found=found,
        )


def answers(
    context: Context, device: DeviceKnown, question: Question, ids: Sequence[str]
) -> Iterator[list[Attribute]]:
    """Yield the attributes of each answer, in order of tag."""
    keywords = {key.keyword for key in question.asked}
    remaining = iter(ids)
    while chunk := list(itertools.islice(remaining, CHUNK)):
        with context.db.reading() as session:
            repository = RetrieveRepository(session)
            rows = repository.found(question.level, chunk)
            shelf = _shelf(repository, device, keywords, rows)
        for row in rows:
            yield answer(row, question, shelf, context.settings.dicom_ae_title)


def answer(found: Found, question: Question, shelf: Shelf, retrieve_ae: str) -> list[Attribute]:
    """Return the attributes of one answer: those asked for, and where its objects can be had."""
    attributes: list[Attribute] = [
        (QUERY_RETRIEVE_LEVEL, "CS", question.level.name),
        (RETRIEVE_AE_TITLE, "AE", retrieve_ae),
        (INSTANCE_AVAILABILITY, "CS", "ONLINE"),
    ]
    attributes += [(key.tag, key.vr, _value(key, found, shelf)) for key in question.asked]
    return sorted(attributes, key=lambda attribute: attribute[0])


def _shelf(
    repository: RetrieveRepository, device: DeviceKnown, keywords: set[str], rows: Sequence[Found]
) -> Shelf:
    """Read what these rows need for these keywords, and nothing else."""
    studies = {found.study.id: found.study for found in rows}
    totals = any(keyword.startswith("NumberOfPatientRelated") for keyword in keywords)
    return Shelf(
        repository.modalities(studies) if "ModalitiesInStudy" in keywords else {},
        repository.sop_classes(studies) if "SOPClassesInStudy" in keywords else {},
        repository.patient_totals(device, {(one.site_id, one.local_id) for one in studies.values()})
        if totals
        else {},
        {site.id: site.code for site in SiteRepository(repository.session).sites()}
        if "IssuerOfPatientID" in keywords
        else {},
    )


def _value(key: Key, found: Found, shelf: Shelf) -> Any:
    return _VALUES[key.keyword](found, shelf)


def full_name(study: Study) -> str:
    """Return a patient's name with its components and groups, where the index still knows them.

    A name that was corrected by hand, or received before the bytes were kept, has the one
    line in which it is shown.
    """
    if study.name_raw:
        name = person_name(study.name_raw, study.declared_charset, study.name_charset or None)
        if name.display == study.patient_name:
            return name.text
    return study.patient_name


def _day(text: str) -> str:
    """Return a date that is one; the index keeps what devices sent."""
    return text if len(text) == _DAY_DIGITS and text.isdigit() else ""


def _total(which: Callable[[PatientTotals], int]) -> Callable[[Found, Shelf], Any]:
    def value(found: Found, shelf: Shelf) -> int | str:
        totals = shelf.totals.get((found.study.site_id, found.study.local_id))
        return which(totals) if totals is not None and found.study.local_id else ""

    return value


def _series(name: str) -> Callable[[Found, Shelf], Any]:
    return lambda found, _: getattr(found.series, name)


def _instance(name: str) -> Callable[[Found, Shelf], Any]:
    return lambda found, _: getattr(found.instance, name)


def _image(name: str) -> Callable[[Found, Shelf], Any]:
    """Return a dimension; objects without pixels have none."""
    return lambda found, _: getattr(found.instance, name) or None


_VALUES: dict[str, Callable[[Found, Shelf], Any]] = {
    "PatientID": lambda found, _: found.study.local_id,
    "PatientName": lambda found, _: full_name(found.study),
    "PatientBirthDate": lambda found, _: _day(found.study.birth_date),
    "PatientSex": lambda found, _: found.study.sex,
    "IssuerOfPatientID": lambda found, shelf: shelf.sites.get(found.study.site_id, ""),
    "NumberOfPatientRelatedStudies": _total(lambda totals: totals.studies),
    "NumberOfPatientRelatedSeries": _total(lambda totals: totals.series),
    "NumberOfPatientRelatedInstances": _total(lambda totals: totals.instances),
    "StudyInstanceUID": lambda found, _: found.study.study_uid,
    "StudyDate": lambda found, _: _day(found.study.study_date),
    "StudyTime": lambda found, _: found.study.study_time,
    "AccessionNumber": lambda found, _: found.study.accession,
    "StudyID": lambda found, _: found.study.study_number,
    "ReferringPhysicianName": lambda found, _: found.study.referring_name,
    "StudyDescription": lambda found, _: found.study.description,
    "ModalitiesInStudy": lambda found, shelf: shelf.modalities.get(found.study.id, []),
    "SOPClassesInStudy": lambda found, shelf: shelf.sop_classes.get(found.study.id, []),
    "NumberOfStudyRelatedSeries": lambda found, _: found.study.n_series,
    "NumberOfStudyRelatedInstances": lambda found, _: found.study.n_instances,
    "SeriesInstanceUID": _series("series_uid"),
    "Modality": _series("modality"),
    "SeriesNumber": _series("number"),
    "SeriesDescription": _series("description"),
    "BodyPartExamined": _series("body_part"),
    "PerformedProcedureStepStartDate": _series("performed_date"),
    "PerformedProcedureStepStartTime": _series("performed_time"),
    "NumberOfSeriesRelatedInstances": _series("n_instances"),
    "SOPInstanceUID": _instance("sop_uid"),
    "SOPClassUID": _instance("sop_class"),
    "InstanceNumber": _instance("number"),
    "NumberOfFrames": _image("frames"),
    "Rows": _image("rows"),
    "Columns": _image("columns"),
    "AvailableTransferSyntaxUID": _instance("transfer_syntax"),
}
"""Where the value of each key comes from."""
