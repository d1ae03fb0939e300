"""The desk: what could not be filed or matched, and what a person decides about it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from hub.audit.service import ActorRef
from hub.catalogue import service as catalogue
from hub.catalogue.conflicts import CONFLICTS
from hub.catalogue.models import Quarantined, Study
from hub.catalogue.places import Place, open_place
from hub.catalogue.repository import CatalogueRepository
from hub.context import Context
from hub.dicom.header import InstanceHeader, read_header
from hub.dicom.ingest import release_quarantined
from hub.dicom.part10 import split
from hub.dicom.source import Readable
from hub.errors import Conflict, HubError, NotFound, Rejected, StoreUnavailable
from hub.kit.people import comparable_name, mask_name, mask_number
from hub.patients.models import Patient
from hub.patients.repository import PatientRepository
from hub.sites import service as sites
from hub.sites.models import Site
from hub.sites.repository import SiteRepository
from hub.sites.service import DeviceKnown, DeviceTaken, usable_title
from hub.worklist.matching import WAITING
from hub.worklist.models import Exam, Order
from hub.worklist.repository import WorklistRepository
from hub.worklist.states import State
from storage.errors import StorageError

FILED, SET_ASIDE = "filed", "set_aside"
"""How an item leaves the desk."""

NO_TITLE = "NO-TITLE"
"""Under this a device is registered that sends no title: it is known by its address."""


class DecidedBySite(Conflict):
    """The site decides that: only there the patients are known."""


class ReasonMissing(Rejected):
    """Say why."""


@dataclass(frozen=True)
class Glimpse:
    """What can be read of a quarantined object, the patient masked: it is shown to the IT administrator.

    `problem` is the code of the error that stopped the reading, empty when there was none.
    """

    problem: str = ""
    patient_name: str = ""
    local_id: str = ""
    sex: str = ""
    birth_year: str = ""
    study_date: str = ""
    modality: str = ""
    description: str = ""
    institution: str = ""
    station: str = ""
    equipment: str = ""
    charset: str = ""


def glimpse(context: Context, item: Quarantined) -> Glimpse:
    """Read what can be read of an item's header."""
    if item.kind != "dicom" or len(item.files) != 1:
        return Glimpse()
    try:
        header = header_of(context, item)
    except HubError as error:
        return Glimpse(problem=error.code)
    return Glimpse(
        patient_name=mask_name(header.patient.name.display),
        local_id=mask_number(header.patient.local_id),
        sex=header.patient.sex,
        birth_year=header.patient.birth_date[:4],
        study_date=header.study_date,
        modality=header.modality,
        description=header.study_description.text,
        institution=header.institution.text,
        station=header.station.text,
        equipment=" ".join(part for part in (header.manufacturer.text, header.model.text) if part),
        charset=header.patient.name.used,
    )


@contextmanager
def open_item(context: Context, item: Quarantined) -> Iterator[Readable]:
    """Open the one file of a quarantined object.

    Raises
    ------
    NotFound
        It is no DICOM object.
    StoreUnavailable
        Its bytes cannot be had just now.
    """
    if item.kind != "dicom" or len(item.files) != 1:
        raise NotFound
    kept = item.files[0]
    try:
        with open_place(context.store, Place(kept["key"], 0, kept["size"], kept["sha256"])) as file:
            yield file
    except StorageError as error:
        raise StoreUnavailable from error


def header_of(context: Context, item: Quarantined, charset: str | None = None) -> InstanceHeader:
    """Read the header of a quarantined object.

    Raises
    ------
    HubError
        It cannot be read.
    """
    with open_item(context, item) as file:
        meta, start = split(file)
        return read_header(file, meta.transfer_syntax, charset, sop_class=meta.sop_class, start=start)


def charset_of(session: Session, item: Quarantined, site_id: str | None) -> str | None:
    """Return the character set that the sender of an item is known to use, if it is of that site."""
    device = sites.recognise(session, item.calling_ae, item.address)
    return device.charset if isinstance(device, DeviceKnown) and device.site_id == site_id else None


@dataclass
class FilingResult:
    """What became of several items that were filed together."""

    filed: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Item id and code of the error."""


def same_sender(session: Session, item: Quarantined) -> Sequence[str]:
    """Return the ids of the open items that came from the same AE title and address, this one first."""
    others = CatalogueRepository(session).quarantine_desk(None)
    return [item.id] + [
        other.id
        for other in others
        if other.id != item.id and (other.calling_ae, other.address) == (item.calling_ae, item.address)
    ]


def file_under(
    context: Context, item_ids: Sequence[str], site_id: str, site_code: str, actor: ActorRef
) -> FilingResult:
    """File quarantined objects under a site, each in a transaction of its own.

    One that still cannot be filed does not keep the others back; it stays at the desk
    and is named in the result.
    """
    result = FilingResult()
    for item_id in item_ids:
        try:
            with context.db.transaction() as session:
                item = catalogue.resolve_quarantined(
                    session, item_id, resolution=FILED, reason=site_code, now=context.clock(), actor=actor
                )
                if item.reason in CONFLICTS:
                    raise DecidedBySite
                charset = charset_of(session, item, site_id)
                release_quarantined(context, session, item, site_id, site_code, actor, charset)
        except HubError as error:
            result.refused.append((item_id, error.code))
        else:
            result.filed += 1
    return result


def register_sender(
    context: Context, session: Session, item: Quarantined, site: Site, actor: ActorRef
) -> None:
    """Register the device that an item came from, so that its next objects are filed by themselves."""
    title = usable_title(item.calling_ae) or NO_TITLE
    try:
        with session.begin_nested():
            sites.add_device(
                session, site, title, address=item.address or None, now=context.clock(), actor=actor
            )
    except DeviceTaken:
        known = SiteRepository(session).devices_on_wire(title, item.address)
        if not any(device.site_id == site.id and device.address == item.address for device in known):
            raise


def set_aside(context: Context, session: Session, item_id: str, reason: str, actor: ActorRef) -> None:
    """Close an item without filing it; its bytes are kept."""
    if not reason.strip():
        raise ReasonMissing
    item = catalogue.resolve_quarantined(
        session, item_id, resolution=SET_ASIDE, reason=reason.strip(), now=context.clock(), actor=actor
    )
    if item.reason in CONFLICTS:
        raise DecidedBySite


@dataclass(frozen=True)
class Field:
    """One field of an order beside the same field of the objects."""

    name: str
    ordered: str
    seen: str
    differs: bool


@dataclass(frozen=True)
class Comparison:
    """An order and the objects that name it although they contradict it."""

    exam: Exam
    order: Order | None
    ordered_number: str
    study: Study
    fields: tuple[Field, ...]
    can_belong: bool
    """Whether the order still waits for objects."""


def compare(session: Session, exam: Exam) -> Comparison:
    """Put both sides of an unmatched exam next to each other."""
    repository = WorklistRepository(session)
    study = CatalogueRepository(session).study(exam.study_id) if exam.study_id else None
    if study is None:
        raise NotFound
    order = repository.order(exam.candidate_order_id) if exam.candidate_order_id else None
    ordered = repository.exam_of_order(order.id) if order else None
    patient = PatientRepository(session).patient(order.patient_id) if order else None
    return Comparison(
        exam,
        order,
        ordered.number if ordered else "",
        study,
        _fields(order, patient, study),
        ordered is not None and State(ordered.state) in WAITING,
    )


def _fields(order: Order | None, patient: Patient | None, study: Study) -> tuple[Field, ...]:
    def pair(name: str, ordered: str, seen: str) -> Field:
        return Field(name, ordered, seen, bool(ordered and seen) and ordered != seen)

    name = patient.name if patient else ""
    names_differ = bool(name and study.patient_name) and comparable_name(name) != comparable_name(
        study.patient_name
    )
    return (
        Field("name", name, study.patient_name, names_differ),
        pair("id", patient.local_id if patient else "", study.local_id),
        pair("sex", patient.sex if patient else "", study.sex),
        pair("birth_date", patient.birth_date if patient else "", study.birth_date),
        pair("accession", order.accession if order else "", study.accession),
        pair("modality", catalogue.study_modality(order.modality) if order else "", study.modality),
        pair("body_part", order.body_part if order else "", study.body_part),
    )
