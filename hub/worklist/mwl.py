"""Modality Worklist SCP: a device asks what it is to take (PS3.4 annex K).

A device sees the orders of its own site and no others, whatever it may query among
images. Orders wait on the list until objects come for them or somebody says that they
were taken; one that went back to be taken again is on it again.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from hub.audit import service as audit
from hub.audit.service import ActorRef
from hub.audit.tags import Tag
from hub.config import Settings
from hub.context import Context
from hub.dicom.identifier import decode_identifier, encode_attributes
from hub.dicom.peers import device_of
from hub.dicom.wire import dimse, status
from hub.dicom.wire.service import WIRE_SYNTAXES, Request, Service
from hub.errors import Rejected
from hub.sites.repository import SiteRepository
from hub.sites.service import DeviceKnown
from hub.worklist.mwl_keys import (
    KEYS,
    STATUSES,
    STEP_KEYS,
    STEP_SEQUENCE,
    UNDER_WAY,
    UNVALUED,
    Entry,
    answer,
    unsupported,
)
from hub.worklist.repository import Scheduled, WorklistRepository
from hub.worklist.states import State
from hub.worklist.wire_text import charset_for, name_matches, wildcard_matches

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"

MOST_ANSWERS = 500
LIMIT_REACHED = 0xB001
"""Warning: there are more. Annex K has none; annex CC gives this meaning to this one."""

WAITING = frozenset({State.ORDERED, State.ARRIVED, State.REJECTED})
"""States of exams that are on the list; `PERFORMED` only where its status is asked for by name."""

WALK_IN_DAYS = 7
"""An order without a planned time counts as planned for today for so long: the patient may come any day,
and consoles ask for today only."""

STEP_HISTORY = timedelta(days=2)
"""A step that began longer ago and never ended is not under way any more."""

_DATE = re.compile(r"\d{8}|\d{4}\.\d{2}\.\d{2}")
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.\d{1,6})?)?)?")


class BadKey(Rejected):
    """A key of the query cannot be one: a date that is none, or no key at all."""


@dataclass(frozen=True)
class Window:
    """When a step is to begin, as the query narrows it; stamps are ``YYYYMMDDHHMMSS``, local, inclusive."""

    first: str = ""
    last: str = ""
    time_first: str = ""
    """Time of day, apart from the date."""
    time_last: str = ""

    def holds(self, moment: datetime) -> bool:
        """Tell whether a local time is within it."""
        stamp = f"{moment:%Y%m%d%H%M%S}"
        return (
            (not self.first or stamp >= self.first)
            and (not self.last or stamp <= self.last)
            and (not self.time_first or stamp[8:] >= self.time_first)
            and (not self.time_last or stamp[8:] <= self.time_last)
        )


@dataclass(frozen=True)
class Query:
    """A worklist query, read."""

    asked: frozenset[int]
    step_asked: frozenset[int] | None
    """None: the sequence had no item, which asks for all of it."""
    keys: dict[str, str]
    """Values of the matching keys by keyword, without the empty ones."""
    window: Window
    charset: str
    """In which the answer is written."""
    more_asked: bool
    """Whether it names attributes that the hub does not know, or cannot match."""


@dataclass(frozen=True)
class Found:
    """The answers to a query, encoded when they are sent."""

    entries: Sequence[Entry]
    more: bool
    """There were more than may be sent."""


def mwl_service(context: Context) -> Service:
    """Return the worklist service over a hub's orders."""
    return Service(
        "modality worklist",
        (MODALITY_WORKLIST,),
        WIRE_SYNTAXES,
        lambda request: _handle(context, request),
    )


def _handle(context: Context, request: Request) -> None:
    if request.command.field != dimse.C_FIND_RQ:
        request.respond(status.UNRECOGNISED_OPERATION)
        return
    device = device_of(request)
    syntax = request.context.transfer_syntax
    query = read_query(request.dataset, syntax, device.charset)
    with context.db.reading() as session:
        found = find(session, device, query, settings=context.settings, now=context.clock())
    with context.db.transaction() as session:
        note_query(session, device, len(found.entries), request.peer.address)
    pending = status.PENDING_WARNING if query.more_asked else status.PENDING
    for entry in found.entries:
        if request.cancelled():
            request.respond(status.CANCELLED)
            return
        attributes = answer(entry, query.asked, query.step_asked)
        request.respond(pending, encode_attributes(attributes, syntax, entry.charset))
    request.respond(LIMIT_REACHED if found.more else status.SUCCESS)


def read_query(data: bytes, transfer_syntax: str, device_charset: str | None) -> Query:
    """Read the identifier of a query.

    Raises
    ------
    BadIdentifier, IdentifierTooLarge
        It is no data set.
    BadKey
        A date or time is none, or nothing is asked for.
    """
    dataset = decode_identifier(data, transfer_syntax, device_charset)
    asked = frozenset(int(element.tag) for element in dataset)
    if not asked - UNVALUED and STEP_SEQUENCE not in asked:
        raise BadKey
    items = dataset.get(STEP_SEQUENCE)
    step = items.value[0] if items is not None and items.value else None
    step_asked = frozenset(int(element.tag) for element in step) if step is not None else None
    keys = {key.keyword: _text(dataset, key.tag) for key in KEYS if key.matched}
    if step is not None:
        keys |= {key.keyword: _text(step, key.tag) for key in STEP_KEYS if key.matched}
    keys = {keyword: value for keyword, value in keys.items() if value.strip("*")}
    ignored = any(
        not key.matched and _text(part, key.tag).strip("*")
        for part, table in ((dataset, KEYS), (step, STEP_KEYS))
        for key in table
        if part is not None
    )
    return Query(
        asked,
        step_asked or (None if STEP_SEQUENCE in asked else frozenset()),
        keys,
        window_of(
            keys.get("ScheduledProcedureStepStartDate", ""), keys.get("ScheduledProcedureStepStartTime", "")
        ),
        charset_for(device_charset, _text(dataset, 0x00080005)),
        ignored or unsupported(asked, KEYS) or unsupported(step_asked or (), STEP_KEYS),
    )


def _text(dataset: "Dataset", tag: int) -> str:
    r"""Return a key as one text, ``\`` between several values; empty when it says nothing."""
    element = dataset.get(tag)
    if element is None or element.value is None or element.VR == "SQ":
        return ""
    value = element.value
    several = not isinstance(value, str) and isinstance(value, Sequence) and element.VR != "PN"
    return "\\".join(map(str, value)) if several else str(value).strip()


def window_of(date_key: str, time_key: str) -> Window:
    """Return the window that Start Date and Start Time ask for.

    A range of dates and a range of times together are one period, from the first time of
    the first day to the last time of the last (remark of Table K.6-1).

    Raises
    ------
    BadKey
        One of them is no date, no time and no range of such.
    """
    first_day, last_day = _range(date_key, _day, _day)
    first_time, last_time = _range(time_key, lambda text: _clock(text, "00"), lambda text: _clock(text, "59"))
    if not date_key or "-" not in time_key:
        return Window(
            first_day and first_day + "000000", last_day and last_day + "235959", first_time, last_time
        )
    return Window(
        first_day and first_day + (first_time or "000000"), last_day and last_day + (last_time or "235959")
    )


def _range(text: str, lower: Callable[[str], str], upper: Callable[[str], str]) -> tuple[str, str]:
    """Return both ends of a range, empty where it is open; a single value is both."""
    if not text:
        return "", ""
    first, dash, last = text.partition("-")
    if not dash:
        return lower(first), upper(first)
    if not first.strip() and not last.strip():
        raise BadKey
    return first.strip() and lower(first.strip()), last.strip() and upper(last.strip())


def _day(text: str) -> str:
    if not _DATE.fullmatch(text):
        raise BadKey
    plain = text.replace(".", "")
    try:
        datetime.strptime(plain, "%Y%m%d")  # noqa: DTZ007 - a calendar day has no zone
    except ValueError as error:
        raise BadKey from error
    return plain


def _clock(text: str, missing: str) -> str:
    """Return ``HHMMSS``; what is not said is filled in, so that 1030 means that whole minute."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise BadKey
    stamp = "".join(part or missing for part in found.groups())
    if stamp[:2] > "23" or max(stamp[2:4], stamp[4:]) > "59":
        raise BadKey
    return stamp


# --- matching


def find(
    session: Session,
    device: DeviceKnown,
    query: Query,
    *,
    settings: Settings,
    now: datetime,
) -> Found:
    """Return the entries of a device's worklist that fit its query, soonest first.

    The list is cut to the latest `MOST_ANSWERS`.
    """
    repository = WorklistRepository(session)
    site = SiteRepository(session).site(device.site_id)
    assert site is not None  # the foreign key says so
    local_now = now.astimezone(settings.zone)
    asked_for = query.keys.get("ScheduledStationAETitle", "")
    own_title = asked_for if asked_for and not set(asked_for) & set("*?\\") else device.ae_title
    since, until = _bounds(query.window, settings)
    states = WAITING | {State.PERFORMED} if "ScheduledProcedureStepStatus" in query.keys else WAITING
    rows = repository.scheduled(site.id, states, since=since, until=until, same=_exact(query))
    under_way = repository.orders_under_way(site.id, now - STEP_HISTORY)
    entries: list[Entry] = []
    for row in rows:
        begins = start_of(row, query.window, local_now)
        if begins is None or not _fits(query, row):
            continue
        state = UNDER_WAY if row.order.id in under_way else STATUSES[State(row.exam.state)]
        if not _any_matches(query.keys.get("ScheduledProcedureStepStatus", ""), state):
            continue
        entries.append(Entry(row, site, begins, state, row.order.station_ae or own_title, query.charset))
        if len(entries) > MOST_ANSWERS:
            break
    soonest_first = sorted(entries[:MOST_ANSWERS], key=lambda entry: (entry.start, entry.row.order.id))
    return Found(soonest_first, len(entries) > MOST_ANSWERS)


def note_query(session: Session, device: DeviceKnown, answers: int, address: str) -> None:
    """Note that a device has asked for its worklist, and how many entries it gets."""
    audit.record(
        session,
        Tag.WORKLIST_QUERY,
        actor=ActorRef("device", device.id, device.ae_title),
        subject_kind="site",
        subject_id=device.site_id,
        site_id=device.site_id,
        address=address,
        answers=answers,
    )


def _bounds(window: Window, settings: Settings) -> tuple[datetime | None, datetime | None]:
    """Return what the database may leave out beforehand."""

    def moment(stamp: str) -> datetime:
        return datetime.strptime(stamp, "%Y%m%d%H%M%S").replace(tzinfo=settings.zone)

    walk_in = timedelta(days=WALK_IN_DAYS + 1)
    return (
        moment(window.first) - walk_in if window.first else None,
        moment(window.last) + timedelta(seconds=1) if window.last else None,
    )


_EXACT = {"AccessionNumber": "accession", "StudyInstanceUID": "study_uid", "PatientID": "local_id"}


def _exact(query: Query) -> dict[str, str]:
    """Return the keys that the database can look up by themselves."""
    return {
        column: query.keys[keyword]
        for keyword, column in _EXACT.items()
        if keyword in query.keys and not set(query.keys[keyword]) & set("*?\\")
    }


def start_of(row: Scheduled, window: Window, now: datetime) -> datetime | None:
    """Return when an order is to begin, within the window asked for; None when it is not.

    Parameters
    ----------
    now : datetime
        In the time zone in which the window is meant.
    """
    planned = (row.order.scheduled_at or row.order.created_at).astimezone(now.tzinfo)
    if window.holds(planned):
        return planned
    if row.order.scheduled_at is not None or planned < now - timedelta(days=WALK_IN_DAYS):
        return None
    opens = window.first[8:] if window.first[:8] == f"{now:%Y%m%d}" else window.time_first
    opening = time(int(opens[:2]), int(opens[2:4]), int(opens[4:])) if opens else time()
    candidates = (now.replace(microsecond=0), datetime.combine(now.date(), opening, now.tzinfo))
    return next((one for one in candidates if window.holds(one)), None)


def _fits(query: Query, row: Scheduled) -> bool:
    """Tell whether an order fits the keys beside time and status."""
    order, patient, keys = row.order, row.patient, query.keys
    station = keys.get("ScheduledStationAETitle", "")
    return (
        name_matches(keys.get("PatientName", ""), patient.name)
        and _any_matches(keys.get("PatientID", ""), patient.local_id)
        and _any_matches(keys.get("AccessionNumber", ""), order.accession)
        and _any_matches(keys.get("RequestedProcedureID", ""), order.accession)
        and _any_matches(keys.get("ScheduledProcedureStepID", ""), order.accession)
        and _any_matches(keys.get("StudyInstanceUID", ""), order.study_uid)
        and _any_matches(keys.get("Modality", ""), order.modality)
        and (not order.station_ae or _any_matches(station, order.station_ae))
        # No order names a performing physician, so a name that is asked for fits none.
        and "ScheduledPerformingPhysicianName" not in keys
    )


def _any_matches(key: str, value: str) -> bool:
    """Match a key against a value: nothing asked, one of several values, or with wildcards."""
    return not key or any(wildcard_matches(one.strip(), value) for one in key.split("\\"))
