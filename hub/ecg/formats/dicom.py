"""DICOM ECG waveform objects (PS3.3 C.10.9): 12-Lead, General, General 32-bit and Ambulatory."""

import zlib
from dataclasses import replace
from datetime import datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np

from hub.ecg.errors import NoLeads, RecordingTooLarge
from hub.ecg.formats.dicom_annotations import measurements, statements
from hub.ecg.formats.dicom_group import Group, channel_leads, decode_group, is_derived
from hub.ecg.formats.dicom_text import (
    TextReader,
    date_time,
    number,
    patient_text,
    whole_number,
)
from hub.ecg.limits import MAX_FILE_BYTES, MAX_LEADS, MAX_SECONDS, MAX_VALUES
from hub.ecg.waveform import Part, Waveform
from hub.errors import HubError, Malformed

if TYPE_CHECKING:
    from pydicom import Dataset

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MAX_GROUPS = 64
_SPARSE = 16
"""Groups recorded one after another are joined while the empty cells stay below this multiple of the rest."""


def read_dicom(data: bytes, *, charset_override: str | None = None) -> Waveform:
    """Read one DICOM ECG object as calibrated millivolts.

    Parameters
    ----------
    data : bytes
        A Part 10 file, or a bare data set.
    charset_override : str, optional
        What this device is known to send, whatever Specific Character Set says.

    Returns
    -------
    Waveform
        The rhythm: the longest original group, joined with other original groups of the same
        rate whose place in time is stated and which fill other cells of it. Leads recorded one
        after another (``leads_sequential``) are NaN while they were not recorded. All other
        groups are in ``parts``; ``leads_in_other_groups`` warns when they hold leads that the
        rhythm lacks.

    Raises
    ------
    UnitsMissing, FormatFeature, Truncated, NoLeads, RateMissing, RecordingTooLarge, Malformed
        As `hub.ecg.formats.dicom_group.decode_group` says.
    """
    from pydicom import dcmread

    _refuse_bomb(data)
    try:
        return _read(dcmread(BytesIO(data), force=True), charset_override)
    except HubError:
        raise
    except Exception as error:  # pydicom raises almost anything on damaged bytes
        raise Malformed("the DICOM data set cannot be decoded") from error


def _refuse_bomb(data: bytes) -> None:
    """Measure a deflated data set piece by piece before anything inflates it in one."""
    if _DEFLATED not in data[:4096]:
        return
    start = 144 + int.from_bytes(data[140:144], "little")
    inflater, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, data[start:]
    try:
        while rest and not inflater.eof:
            size += len(inflater.decompress(rest, 1024 * 1024))
            rest = inflater.unconsumed_tail
            if size > MAX_FILE_BYTES:
                raise RecordingTooLarge(limit="bytes", declared=size)
    except zlib.error as error:
        raise Malformed("the deflated DICOM data set is damaged") from error


def _read(ds: "Dataset", charset_override: str | None) -> Waveform:
    items = list(ds.get("WaveformSequence") or [])
    if not items:
        raise NoLeads("the DICOM object holds no waveform")
    if len(items) > _MAX_GROUPS:
        raise Malformed("the DICOM object states too many waveform groups", groups=len(items))
    leads = [channel_leads(item) for item in items]
    place = max(range(len(items)), key=lambda n: _rank(items[n], n))
    little_endian = ds.original_encoding[1] is not False
    first = decode_group(items[place], little_endian=little_endian)
    others = {n: _further(item, little_endian) for n, item in enumerate(items) if n != place}
    rhythm, joined = _join(place, first, others)
    apart = [group for n, group in others.items() if group is not None and n not in joined]
    warnings = list(rhythm.warnings)
    unseen = {
        lead
        for n, group in others.items()
        if n not in joined and not is_derived(items[n])
        for lead in leads[n]
    }
    if unseen - set(rhythm.leads):
        warnings.append("leads_in_other_groups")
    started_at, source = date_time(ds)
    reader = TextReader(ds, charset_override)
    return Waveform(
        samples_mv=rhythm.samples_mv,
        rate_hz=rhythm.rate_hz,
        leads=rhythm.leads,
        format="dicom",
        started_at=_group_start(started_at, source, rhythm.offset_ms),
        started_at_source=source,
        lsb_mv=rhythm.lsb_mv,
        filters=rhythm.filters,
        patient=patient_text(ds, reader),
        device=_device(ds, reader),
        device_measurements=measurements(ds, reader, leads),
        device_statements=statements(ds, reader),
        parts=tuple(_part(group) for group in apart),
        warnings=tuple(warnings),
    )


def _rank(item: "Dataset", place: int) -> tuple[bool, float, int]:
    """Order groups: original before derived, then longest, then first."""
    rate = number(item, "SamplingFrequency") or 0.0
    samples = whole_number(item, "NumberOfWaveformSamples") or 0
    return not is_derived(item), samples / rate if rate > 0 else 0.0, -place


def _further(item: "Dataset", little_endian: bool) -> Group | None:
    """Decode a further group; one that cannot be calibrated is left out, the rhythm is not."""
    try:
        return decode_group(item, little_endian=little_endian)
    except HubError:
        return None


def _join(place: int, first: Group, others: dict[int, Group | None]) -> tuple[Group, set[int]]:
    """Join the rhythm with the original groups that are known to lie beside, before or after it."""
    cells = _Cells()
    members = {place: first} if cells.take(first) else {}
    if members:
        # The order of the dictionary is that of the file: earlier groups claim their time first.
        members |= {
            n: group
            for n, group in others.items()
            if group and not group.derived and group.rate_hz == first.rate_hz and cells.take(group)
        }
    if len(members) < 2:  # noqa: PLR2004 - nothing to join
        return first, {place}
    return _joined([members[n] for n in sorted(members)]), set(members)


class _Cells:
    """Which lead is recorded when, in samples since the file's reference time."""

    def __init__(self) -> None:
        self._taken: dict[str, list[tuple[int, int]]] = {}
        self._values = 0

    def take(self, group: Group) -> bool:
        """Claim the time of a group for its leads unless one of them is recorded then already."""
        if group.offset_ms is None or abs(group.offset_ms) > MAX_SECONDS * 1000:
            return False
        begin = _first_row(group)
        end = begin + len(group.samples_mv)
        spans = {lead: [*self._taken.get(lead, []), (begin, end)] for lead in group.leads}
        if any(begin < b and a < end for spans_ in spans.values() for a, b in spans_[:-1]):
            return False
        taken = self._taken | spans
        every = [span for spans_ in taken.values() for span in spans_]
        size = (max(b for _, b in every) - min(a for a, _ in every)) * len(taken)
        values = self._values + group.samples_mv.size
        if len(taken) > MAX_LEADS or size > min(MAX_VALUES, _SPARSE * values):
            return False
        self._taken, self._values = taken, values
        return True


def _first_row(group: Group) -> int:
    return round((group.offset_ms or 0.0) * group.rate_hz / 1000)


def _joined(groups: list[Group]) -> Group:
    starts = [_first_row(group) for group in groups]
    begin = min(starts)
    end = max(start + len(group.samples_mv) for start, group in zip(starts, groups, strict=True))
    leads = tuple(dict.fromkeys(lead for group in groups for lead in group.leads))
    samples = np.full((end - begin, len(leads)), np.nan)
    lsb_mv: dict[str, float | None] = {}
    for start, group in zip(starts, groups, strict=True):
        for column, lead in enumerate(group.leads):
            rows = slice(start - begin, start - begin + len(group.samples_mv))
            samples[rows, leads.index(lead)] = group.samples_mv[:, column]
            same = lsb_mv.get(lead, group.lsb_mv[column]) == group.lsb_mv[column]
            lsb_mv[lead] = group.lsb_mv[column] if same else None
    warnings = [warning for group in groups for warning in group.warnings]
    if len(set(starts)) > 1:
        warnings.append("leads_sequential")
    return replace(
        groups[0],
        samples_mv=samples,
        leads=leads,
        lsb_mv=tuple(lsb_mv[lead] for lead in leads),
        offset_ms=min(group.offset_ms or 0.0 for group in groups),
        warnings=tuple(warnings),
    )


def _group_start(started_at: datetime | None, source: str, offset_ms: float | None) -> datetime | None:
    """Return when the first row was recorded: offsets count from Acquisition DateTime (C.10.9.1.1)."""
    if started_at is None or not offset_ms or source != "AcquisitionDateTime":
        return started_at
    try:
        return started_at + timedelta(milliseconds=offset_ms)
    except OverflowError:
        return started_at


def _part(group: Group) -> Part:
    kind: Literal["median", "rhythm"] = "median" if group.derived else "rhythm"
    return Part(kind, group.label, group.samples_mv, group.rate_hz, group.leads)


def _device(ds: "Dataset", reader: TextReader) -> str:
    maker, model = reader.read(ds, "Manufacturer"), reader.read(ds, "ManufacturerModelName")
    return " ".join(word for word in (maker, model) if word)[:128]
