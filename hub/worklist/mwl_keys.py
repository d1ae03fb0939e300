"""What a worklist query may ask for, and what it gets (PS3.4 Table K.6-1).

Each row of the two tables is an attribute that the hub can return. One that it knows no
value for (weight, allergies) is returned empty when it is asked for, as the standard wants
of type 2; one that is not in the tables is left out, and the answer says so.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hub.dicom.identifier import Attribute
from hub.sites.models import Site
from hub.worklist.repository import Scheduled
from hub.worklist.states import State
from hub.worklist.wire_text import wire_name, wire_text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

STEP_SEQUENCE = 0x00400100
"""Scheduled Procedure Step Sequence."""

PRIORITIES = {"critical": "STAT", "urgent": "HIGH", "routine": "ROUTINE"}
"""Urgency of an order to Requested Procedure Priority (PS3.3 section C.4.11)."""

UNDER_WAY = "STARTED"
STATUSES = {
    State.ORDERED: "SCHEDULED",
    State.REJECTED: "SCHEDULED",
    State.ARRIVED: "ARRIVED",
    State.PERFORMED: "DEPARTED",
}
"""State of an exam to Scheduled Procedure Step Status (PS3.3 section C.4.10); `UNDER_WAY` once a
device has said that it began."""

LONGEST_TEXT = 1024
"""Characters of the clinical question that are given to a device."""


@dataclass(frozen=True)
class Entry:
    """One order on its way to one device."""

    row: Scheduled
    site: Site
    start: datetime
    """In the hub's time zone."""
    status: str
    station: str
    charset: str

    def name(self, text: str) -> str:
        """A person's name as the device can show it."""
        return wire_name(text, self.charset)

    def text(self, text: str, length: int = 64) -> str:
        """A text as the device can show it."""
        return wire_text(text, self.charset, length)

    @property
    def description(self) -> str:
        """What is to be taken."""
        return self.text(self.row.order.body_part or self.row.order.modality)

    @property
    def patient_name(self) -> str:
        """Never empty, because consoles refuse an entry without a name."""
        return self.name(self.row.patient.name) or self.text(self.row.patient.local_id)

    @property
    def birth_date(self) -> str:
        """Whole dates only: DA holds no others."""
        known = self.row.patient.birth_date
        return known if len(known) == len("YYYYMMDD") else ""


@dataclass(frozen=True)
class Key:
    """An attribute that can be asked for."""

    keyword: str
    tag: int
    vr: str
    value: Callable[[Entry], Any]
    matched: bool = False
    """Whether a value in the query narrows the answer."""
    always: bool = False
    """Returned whether asked for or not (type 1 and 1C)."""


def _empty(_entry: Entry) -> str:
    return ""


def _none(_entry: Entry) -> list[Any]:
    return []


STEP_KEYS = (
    Key("Modality", 0x00080060, "CS", lambda e: e.row.order.modality, matched=True, always=True),
    Key("RequestedContrastAgent", 0x00321070, "LO", _empty),
    Key("ScheduledStationAETitle", 0x00400001, "AE", lambda e: e.station, matched=True, always=True),
    Key(
        "ScheduledProcedureStepStartDate",
        0x00400002,
        "DA",
        lambda e: f"{e.start:%Y%m%d}",
        matched=True,
        always=True,
    ),
    Key(
        "ScheduledProcedureStepStartTime",
        0x00400003,
        "TM",
        lambda e: f"{e.start:%H%M%S}",
        matched=True,
        always=True,
    ),
    Key("ScheduledPerformingPhysicianName", 0x00400006, "PN", _empty, matched=True),
    Key("ScheduledProcedureStepDescription", 0x00400007, "LO", lambda e: e.description, always=True),
    Key("ScheduledProtocolCodeSequence", 0x00400008, "SQ", _none),
    Key(
        "ScheduledProcedureStepID",
        0x00400009,
        "SH",
        lambda e: e.row.order.accession,
        matched=True,
        always=True,
    ),
    Key("ScheduledStationName", 0x00400010, "SH", _empty),
    Key("ScheduledProcedureStepLocation", 0x00400011, "SH", _empty),
    Key("PreMedication", 0x00400012, "LO", _empty),
    Key("ScheduledProcedureStepStatus", 0x00400020, "CS", lambda e: e.status, matched=True),
    Key(
        "CommentsOnTheScheduledProcedureStep",
        0x00400400,
        "LT",
        lambda e: e.text(e.row.order.clinical_question, LONGEST_TEXT),
    ),
)
"""Within an item of the Scheduled Procedure Step Sequence."""

KEYS = (
    Key("AccessionNumber", 0x00080050, "SH", lambda e: e.row.order.accession, matched=True),
    Key("InstitutionName", 0x00080080, "LO", lambda e: e.text(e.site.name)),
    Key("ReferringPhysicianName", 0x00080090, "PN", lambda e: e.name(e.row.order.ordered_by_name)),
    Key("ReferencedStudySequence", 0x00081110, "SQ", _none),
    Key("ReferencedPatientSequence", 0x00081120, "SQ", _none),
    Key("PatientName", 0x00100010, "PN", lambda e: e.patient_name, matched=True, always=True),
    Key("PatientID", 0x00100020, "LO", lambda e: e.text(e.row.patient.local_id), matched=True, always=True),
    Key("IssuerOfPatientID", 0x00100021, "LO", lambda e: e.site.code),
    Key("PatientBirthDate", 0x00100030, "DA", lambda e: e.birth_date),
    Key("PatientSex", 0x00100040, "CS", lambda e: e.row.patient.sex),
    Key("PatientWeight", 0x00101030, "DS", _empty),
    Key("MedicalAlerts", 0x00102000, "LO", _empty),
    Key("Allergies", 0x00102110, "LO", _empty),
    Key("PregnancyStatus", 0x001021C0, "US", _empty),
    Key("StudyInstanceUID", 0x0020000D, "UI", lambda e: e.row.order.study_uid, matched=True, always=True),
    Key("RequestingPhysician", 0x00321032, "PN", lambda e: e.name(e.row.order.ordered_by_name)),
    Key("RequestedProcedureDescription", 0x00321060, "LO", lambda e: e.description, always=True),
    Key("RequestedProcedureCodeSequence", 0x00321064, "SQ", _none),
    Key("AdmissionID", 0x00380010, "LO", _empty),
    Key("SpecialNeeds", 0x00380050, "LO", _empty),
    Key("CurrentPatientLocation", 0x00380300, "LO", _empty),
    Key("PatientState", 0x00380500, "LO", _empty),
    Key("RequestedProcedureID", 0x00401001, "SH", lambda e: e.row.order.accession, matched=True, always=True),
    Key(
        "ReasonForTheRequestedProcedure",
        0x00401002,
        "LO",
        lambda e: e.text(e.row.order.clinical_question),
    ),
    Key("RequestedProcedurePriority", 0x00401003, "SH", lambda e: PRIORITIES[e.row.order.urgency]),
    Key("PatientTransportArrangements", 0x00401004, "LO", _empty),
    Key("NamesOfIntendedRecipientsOfResults", 0x00401010, "PN", _empty),
    Key(
        "RequestedProcedureComments",
        0x00401400,
        "LT",
        lambda e: e.text(e.row.order.clinical_question, LONGEST_TEXT),
    ),
    Key("ConfidentialityConstraintOnPatientDataDescription", 0x00403001, "LO", _empty),
)
"""Beside that sequence."""

UNVALUED = frozenset({0x00080005, 0x00080201, STEP_SEQUENCE})
"""Attributes of a query that are no keys: character set, time zone, the sequence itself."""


def answer(entry: Entry, asked: frozenset[int], step_asked: frozenset[int] | None) -> list[Attribute]:
    """Return the attributes of one answer.

    Parameters
    ----------
    asked
        Tags in the query.
    step_asked
        Tags in its Scheduled Procedure Step Sequence; None when that has no item, which
        asks for all of it.
    """
    step = _chosen(STEP_KEYS, entry, step_asked)
    return [*_chosen(KEYS, entry, asked), (STEP_SEQUENCE, "SQ", [_item(step)])]


def unsupported(asked: Iterable[int], keys: Iterable[Key]) -> bool:
    """Tell whether a query asks for attributes that the hub does not know."""
    known = {key.tag for key in keys} | UNVALUED
    return any(tag not in known for tag in asked)


def _chosen(keys: Iterable[Key], entry: Entry, asked: frozenset[int] | None) -> list[Attribute]:
    return [
        (key.tag, key.vr, key.value(entry)) for key in keys if key.always or asked is None or key.tag in asked
    ]


def _item(attributes: Iterable[Attribute]) -> "Dataset":
    from pydicom import config
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    item = Dataset()
    for tag, vr, value in attributes:
        item.add(DataElement(tag, vr, value, validation_mode=config.IGNORE))
    return item
